"""What wins: the command line over the experiment, the experiment over the recipe, the recipe over the root."""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from typing import Any

import pytest
from cli_driver import CONF, write
from conftest import one_in
from omegaconf import OmegaConf

from ganrun.cli import signature
from ganrun.cli.compose import composer
from ganrun.cli.schema import catalog, keys
from ganrun.disk import identity
from ganrun.ground.spell import quoted as quote

FOLDERS = [CONF]
STACKS = catalog.STACKS
RECIPES = [name for name in catalog.files("model", FOLDERS) if catalog.entry("model", name, FOLDERS).is_global]
EXPERIMENTS = [name for name in catalog.files("experiment", FOLDERS) if name != "none"]
WRITERS = [("model", name) for name in RECIPES] + [("experiment", name) for name in EXPERIMENTS]
DATA = [name for name in catalog.files("dataset", FOLDERS) if catalog.entry("dataset", name, FOLDERS).is_global]


def composed(*overrides: str, config_dir: Path | None = None) -> dict[str, Any]:
    return copy.deepcopy(once(overrides) if config_dir is None else anew(overrides, config_dir))


def anew(overrides: tuple[str, ...], config_dir: Path | None = None) -> dict[str, Any]:
    with composer(config_dir) as found:
        return signature.plain(found.compose(list(overrides)))


once = functools.cache(anew)


def chosen(config: dict[str, Any], group: str) -> Any:
    """What stands in ``group``: the entries of a stack, else the option without its links to other keys."""
    return {name for name, entry in config[group].items() if "name" in entry} if group in STACKS else config[group]["name"]


def of_option(group: str, option: Any) -> Any:
    """What ``chosen`` says where this option is typed and nothing else."""
    return chosen(composed(f"{group}={quote(option)}"), group)


def another(group: str, option: Any) -> str:
    """An option of ``group`` whose component is another one."""
    return next(name for name in catalog.files(group, FOLDERS) if of_option(group, name) != of_option(group, option))


def overriding(chooses: dict[str, Any], sets: dict[str, Any], body: str = "") -> str:
    """An experiment's file."""
    lines = "\n".join(f"  - override /{group}: {quote(option)}" for group, option in chooses.items())
    values = "\n".join(f"{key}: {quote(value)}" for key, value in sets.items())
    return f"# @package _global_\n# Mine.\n{'defaults:' if lines else ''}\n{lines}\n{values}\n{body}"


@pytest.mark.parametrize(("group", "name"), WRITERS)
def test_what_ships_writes_only_root_keys_and_options_that_it_chooses(group: str, name: str) -> None:
    entry = catalog.entry(group, name, FOLDERS)
    assert set(entry.sets) <= {*keys.root_keys(), *STACKS, *entry.chooses} - {"plugins", "resume", "fork", "fresh", "output"}
    for stack in STACKS:
        for key in entry.sets.get(stack, {}):
            assert key in entry.chooses[stack]


@pytest.mark.parametrize(("group", "name"), one_in(4, WRITERS))
def test_recipes_and_experiments_win_over_the_root(group: str, name: str) -> None:
    entry, config = catalog.entry(group, name, FOLDERS), composed(f"{group}={name}")
    for other, option in entry.chooses.items():
        assert chosen(config, other) == of_option(other, option)
    for path, value in identity.leaves({key: value for key, value in entry.sets.items() if key not in STACKS}):
        assert identity.entry(config, path) == value
    assert config["model"]["name"] == (name if group == "model" else config["model"]["name"])


@pytest.mark.parametrize(("group", "name"), one_in(8, WRITERS))
def test_the_command_line_wins_over_recipes_and_experiments_in_choices_and_values(group: str, name: str) -> None:
    entry = catalog.entry(group, name, FOLDERS)
    for other, option in entry.chooses.items():
        typed = another(other, option)
        for line in ([f"{group}={name}", f"{other}={typed}"], [f"{other}={typed}", f"{group}={name}"]):
            config = composed(*line)
            assert chosen(config, other) == of_option(other, typed)
            if other not in STACKS and other not in ("model", "dataset"):
                assert config[other] == composed(f"{other}={typed}")[other] | (
                    {key: config[key] for key in ("n_critic", "condition", "pack")} if other == "game" else {}
                )
    for key, value in entry.sets.items():
        if type(value) is int:
            assert composed(f"{group}={name}", f"{key}={value + 1}")[key] == value + 1


@pytest.mark.parametrize(("group", "name"), [("model", "sngan"), ("experiment", "cgan"), ("experiment", "cyclegan")])
def test_values_hold_for_the_option_that_their_file_leads_to_and_for_no_other(group: str, name: str) -> None:
    """With another one, it is as if the file had never written into that group."""
    held = catalog.led_to(group, name, FOLDERS)
    for other, (values, option) in held.items():
        assert composed(f"{group}={name}", f"{other}={option}") == composed(f"{group}={name}")
        typed = another(other, option)
        config = composed(f"{group}={name}", f"{other}={typed}")
        for path, _ in identity.leaves({other: values}):
            assert identity.entry(config, path) == identity.entry(composed(f"{other}={typed}"), path)


def test_an_experiment_without_a_choice_means_the_option_that_its_data_set_leads_to(tmp_path: Path) -> None:
    text = "# @package _global_\n# X.\ndefaults: [override /dataset: ring8]\nmodel: {latent: 3}\nloss: {b: 0.5}\n"
    mine = write(tmp_path, experiment__x=text.replace("loss: {b: 0.5}", "optimizer: {generator: {lr: 0.5}}"))
    assert composed("experiment=x", config_dir=mine)["model"]["latent"] == 3
    assert composed("experiment=x", "model=autoencoder", config_dir=mine)["model"]["latent"] == 64
    assert composed("experiment=x", config_dir=mine)["optimizer"]["generator"]["lr"] == 0.5
    for typed in ("optimizer=sgd", "optimizer=ttur", "model=wgan"):  # a recipe leads to another optimizer, too
        assert composed("experiment=x", typed, config_dir=mine)["optimizer"] == composed(typed)["optimizer"]


def test_of_an_inherited_experiment_the_values_of_an_option_that_is_replaced_go(tmp_path: Path) -> None:
    base = "# @package _global_\n# B.\ndefaults: [override /model: dcgan]\nmodel: {latent: 7, generator: {width: 5}}\nsteps: 9\n"
    same = "# @package _global_\n# S.\ndefaults: [base, _self_]\nmodel: {generator: {width: 6}}\n"
    other = "# @package _global_\n# O.\ndefaults: [base, override /model: mlp, _self_]\nmodel: {generator: {depth: 1}}\n"
    mine = write(tmp_path, experiment__base=base, experiment__same=same, experiment__other=other)
    found = composed("experiment=same", config_dir=mine)
    assert (found["model"]["latent"], found["model"]["generator"]["width"], found["steps"]) == (7, 6, 9)
    found, usual = composed("experiment=other", config_dir=mine), composed("model=mlp")["model"]
    assert found["model"] == {**usual, "generator": {**usual["generator"], "depth": 1}}
    assert found["steps"] == 9
    assert composed("experiment=same", "model=mlp", config_dir=mine)["model"] == usual


@pytest.mark.parametrize("recipe", one_in(3, RECIPES))
def test_an_experiment_wins_over_every_recipe_and_the_command_line_over_both(recipe: str, tmp_path: Path) -> None:
    entry = catalog.entry("model", recipe, FOLDERS)
    chooses = {group: another(group, option) for group, option in entry.chooses.items()}
    sets = {key: value + 1 for key, value in entry.sets.items() if type(value) is int}
    mine = write(tmp_path, experiment__mine=overriding({"model": recipe, **chooses}, sets))
    config = composed("experiment=mine", config_dir=mine)
    typed_model = composed("experiment=mine", f"model={recipe}", config_dir=mine)
    assert typed_model == config
    for group, option in chooses.items():
        assert chosen(config, group) == of_option(group, option)
    for key, value in sets.items():
        assert config[key] == value
        assert composed("experiment=mine", f"{key}={value + 1}", config_dir=mine)[key] == value + 1
    for group, option in entry.chooses.items():
        assert chosen(composed("experiment=mine", f"{group}={quote(option)}", config_dir=mine), group) == of_option(group, option)


@pytest.mark.parametrize("name", one_in(5, DATA))
def test_a_data_set_chooses_and_recipe_experiment_and_command_line_win_in_that_order(name: str, tmp_path: Path) -> None:
    entry = catalog.entry("dataset", name, FOLDERS)
    config = composed(f"dataset={name}")
    for group, option in entry.chooses.items():
        assert chosen(config, group) == of_option(group, option)
        typed = another(group, option)
        assert chosen(composed(f"{group}={typed}", f"dataset={name}"), group) == of_option(group, typed)
        mine = write(tmp_path, experiment__mine=overriding({"dataset": name, group: typed}, {}))
        assert chosen(composed("experiment=mine", config_dir=mine), group) == of_option(group, typed)
    recipe = composed(f"dataset={name}", "model=wgan")
    assert (recipe["loss"]["name"], recipe["n_critic"], set(recipe["regularizer"])) == ("wasserstein", 5, {"weight_clip"})


def test_an_experiments_experiment_wins_over_the_one_it_extends(tmp_path: Path) -> None:
    body = "regularizer: {gradient_penalty: {weight: 3}}"
    mine = write(
        tmp_path,
        experiment__base=overriding(
            {"model": "sngan", "loss": "lsgan", "regularizer": ["spectral_norm", "r1"]}, {"steps": 7, "seed": 5}
        ),
        experiment__mine="# @package _global_\n# Mine.\ndefaults: [base, override /regularizer: [gradient_penalty], _self_]\n"
        f"steps: 8\n{body}\n",
    )
    config = composed("experiment=mine", config_dir=mine)
    assert (config["loss"]["name"], config["model"]["name"], config["steps"], config["seed"]) == ("lsgan", "sngan", 8, 5)
    assert config["regularizer"] == {**composed("regularizer=gradient_penalty")["regularizer"]} | {
        "gradient_penalty": {**composed("regularizer=gradient_penalty")["regularizer"]["gradient_penalty"], "weight": 3}
    }
    typed = composed("experiment=mine", "regularizer.gradient_penalty.weight=4", config_dir=mine)
    assert typed["regularizer"]["gradient_penalty"]["weight"] == 4


def test_typing_another_regularizer_leaves_the_experiments_values_idle(tmp_path: Path) -> None:
    mine = write(tmp_path, experiment__mine=overriding({"regularizer": "r1"}, {}, "regularizer: {r1: {weight: 3}}"))
    config = composed("experiment=mine", "regularizer=none", config_dir=mine)
    assert chosen(config, "regularizer") == set()
    assert signature.signature(config) == signature.signature(composed())


def test_wgan_with_nothing_else_typed_is_the_papers() -> None:
    config = composed("model=wgan", "loss=wasserstein")
    assert config["optimizer"]["name"] == "rmsprop"
    assert config["optimizer"]["lr"] == config["optimizer"]["discriminator"]["lr"] == 5e-5
    assert config["regularizer"] == {"weight_clip": {"name": "weight_clip", "clip": 0.01}}
    assert (config["n_critic"], config["game"]["n_critic"], config["loss"]["name"]) == (5, 5, "wasserstein")
    assert config["model"]["generator"] == composed("model=dcgan")["model"]["generator"]


def test_replacing_an_option_removes_everything_it_brought() -> None:
    assert composed("model=wgan", "optimizer=adam")["optimizer"] == composed()["optimizer"]
    assert composed("model=wgan", "regularizer=[]")["regularizer"] == {}
    assert composed("model=wgan", "regularizer=none")["regularizer"] == {}


def test_the_order_of_a_list_of_regularizers_means_nothing() -> None:
    one, other = (composed(f"regularizer=[{names}]") for names in ("r1,spectral_norm", "spectral_norm,r1"))
    assert signature.signature(one) == signature.signature(other)


def test_the_users_own_folder_wins_over_ours(tmp_path: Path) -> None:
    mine = write(
        tmp_path, loss__hinge="# Mine.\nname: hinge\nmargin: 3.0\n", optimizer__mine="# Mine.\ndefaults: [adam, _self_]\nlr: 3\n"
    )
    assert composed("loss=hinge", config_dir=mine)["loss"] == {"name": "hinge", "margin": 3.0}
    assert composed("loss=hinge")["loss"] == {"name": "hinge"}
    assert composed("optimizer=mine", config_dir=mine)["optimizer"]["generator"]["lr"] == 3


@pytest.mark.parametrize(
    "value",
    [None, True, 3, -0.5, 1e-08, "plain", "it's", 'a "b" \\', "a,b=[c]{d}:e ${x}", [1, ["a"]], {"a": {"b-c": [None]}}, ""],
)
def test_a_value_written_as_an_override_is_read_back_as_it_was(value: Any) -> None:
    with composer() as found:
        read = OmegaConf.to_container(OmegaConf.create({"key": found.parse(f"key={quote(value)}").value()}), resolve=True)
        assert read == {"key": value}
        assert type(read["key"]) is type(value)


def test_resolvers_see_the_whole_config() -> None:
    with composer() as found:
        config = found.compose(["name=mine", "output=there"])
        assert config.hydra.sweep.dir == "there/.sweep/mine"
        assert config.hydra.run.dir == str(signature.run_folder(signature.plain(config)))
        assert config.hydra.sweep.subdir == str(Path(config.hydra.run.dir).absolute())
        own = found.compose(["hydra.sweep.dir=mine"])
        assert own.hydra.sweep.subdir == Path(own.hydra.run.dir).name
        assert OmegaConf.select(config, "hydra.output_subdir") is None
