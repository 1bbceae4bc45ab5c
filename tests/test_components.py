"""Every component's file in conf/ agrees with its signature, says what it is, and stands in the code with its source."""

from __future__ import annotations

import functools
import inspect
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import CONF, compose_config, one_in
from torch import nn

from ganrun.cli import logged
from ganrun.cli.schema import catalog, grammar
from ganrun.cli.schema.grammar import EXAMPLES, Rule
from ganrun.cli.schema.keys import Key
from ganrun.ground import registry, runtime
from ganrun.ground.errors import BadInput
from ganrun.optimizers.base import schedule

GROUPS = ("model", "game", "condition", "loss", "regularizer", "dataset", "metric", "optimizer")
STACKABLE = ("regularizer", "metric")
TOGETHER = ("game", "loss", "optimizer")  # groups whose options neither choose nor follow one another's
PLAYERS = ("generator", "discriminator")
FILES = [path for group in GROUPS for path in sorted((CONF / group).glob("**/*.yaml"))]
WITH_OPTIONS = [path for path in FILES if path.stem != "none"]


def identity(path: Path) -> str:
    return str(path.relative_to(CONF).with_suffix(""))


each_file = pytest.mark.parametrize("path", FILES, ids=identity)
each_option = pytest.mark.parametrize("path", WITH_OPTIONS, ids=identity)


@functools.cache
def raw(path: Path) -> dict[str, Any]:
    return yaml.load(path.read_text(encoding="utf-8"), Number) or {}


class Number(yaml.SafeLoader):
    """As Hydra reads numbers: 5e-5 is one."""


Number.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789"))


def is_global(path: Path) -> bool:
    return path.read_text(encoding="utf-8").startswith("# @package _global_")


def bases(path: Path) -> list[Path]:
    """The options of its own group that a file builds on."""
    group = path.parent
    entries = [entry for entry in raw(path).get("defaults", []) if isinstance(entry, str)]
    return [group / f"{entry.split('@')[0]}.yaml" for entry in entries if entry != "_self_"]


def own_values(path: Path) -> dict[str, Any]:
    """What a file itself writes into its group."""
    group = path.parent.name
    held = raw(path).get(group, {}) if is_global(path) else raw(path)
    return {key: value for key, value in held.items() if key != "defaults"}


def chosen(path: Path) -> dict[str, Any]:
    """What choosing the option composes to, recipes and variants followed."""
    group, name = path.parent.name, identity(path).split("/", 1)[1]
    if group in STACKABLE:
        held: dict[str, Any] = compose_config(f"{group}=[{','.join(options_of(group))}]")[group]
        assert name in held, f"{path}: needs the header '# @package {group}.{name}'"
        entry: dict[str, Any] = held[name]
        return entry
    found: dict[str, Any] = compose_config(*together(group, name))[group]
    return found


def together(group: str, name: str) -> list[str]:
    """The choice of one option, and with it options of groups that have no say in this one: one composition shows them all."""
    if group not in TOGETHER:
        return [f"{group}={name}"]
    place = options_of(group).index(name)
    return [f"{other}={options_of(other)[place % len(options_of(other))]}" for other in TOGETHER]


def options_of(group: str) -> list[str]:
    return [identity(path).split("/", 1)[1] for path in WITH_OPTIONS if path.parent.name == group]


def component_of(path: Path) -> Any:
    return registry.lookup(path.parent.name, chosen(path)["name"])


def plain(value: Any) -> Any:
    """Defaults as yaml holds them."""
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    return [plain(entry) for entry in value] if isinstance(value, tuple | list) else value


def typed(value: Any) -> Any:
    """The value with its type, so that 1, 1.0 and true are three things."""
    if isinstance(value, dict):
        return {key: typed(entry) for key, entry in value.items()}
    return [typed(entry) for entry in value] if isinstance(value, list) else (type(value).__name__, value)


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    found = dict(below)
    for key, value in above.items():
        found[key] = merged(found[key], value) if isinstance(value, dict) and isinstance(found.get(key), dict) else value
    return found


# the files


@each_file
def test_the_first_comment_line_says_in_one_sentence_what_it_is(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    line = lines[1] if lines[0].startswith("# @package") else lines[0]
    assert re.fullmatch(r"# [A-Z0-9].{10,120}[.]", line), line


@each_file
def test_the_package_header_fits_the_group(path: Path) -> None:
    group, first = path.parent.name, path.read_text(encoding="utf-8").splitlines()[0]
    if group in STACKABLE and path.stem != "none":
        assert first in (f"# @package {group}.{path.stem}", f"# @package {group}")
    else:
        assert not first.startswith("# @package") or first == "# @package _global_"


@each_option
def test_a_file_has_exactly_the_options_of_its_signature_with_their_defaults(path: Path) -> None:
    options = plain(registry.options(component_of(path)))
    composed = chosen(path)
    name = composed.pop("name")
    if path.parent.name == "game":
        composed["condition"] = composed["condition"]["name"]  # follows the group; from Python a name is enough
    for built_on in bases(path):  # a variant of another option changes what it writes, and nothing else
        own = own_values(built_on)
        options = merged(options, {key: value for key, value in own.items() if not str(value).startswith("${")})
    wanted = merged(options, own_values(path)) if bases(path) else options  # a value that follows a root key is that key's
    wanted = {key: value for key, value in wanted.items() if key != "name"}
    if path.parent.name == "optimizer":
        for key in (*PLAYERS, "schedule"):
            composed.pop(key)
            wanted.pop(key, None)
    assert list(composed) == list(wanted), f"{identity(path)}: other options, or another order, than {name}'s signature"
    assert typed(composed) == typed(wanted)


@each_option
def test_an_option_without_a_base_is_named_as_its_file(path: Path) -> None:
    if not bases(path) or is_global(path):
        assert chosen(path)["name"] == path.stem


@pytest.mark.parametrize(
    "path", [path for path in WITH_OPTIONS if path.parent.name not in ("dataset", "optimizer")], ids=identity
)
def test_every_option_can_be_built_as_it_stands(path: Path) -> None:
    assert registry.build(path.parent.name, chosen(path)) is not None


@each_option
def test_a_misspelt_option_is_refused_with_the_nearest(path: Path) -> None:
    group, config = path.parent.name, chosen(path)
    options = {key: value for key, value in config.items() if key not in ("name", "schedule", *PLAYERS)}
    first = next(iter(options), "")
    with pytest.raises(BadInput, match=f"'{first}'" if first else "There are none"):
        registry.build(group, {"name": config["name"], f"{first}x": 1})


@each_option
def test_recipes_choose_options_and_set_root_keys_and_values_of_what_they_choose(path: Path) -> None:
    if not is_global(path):
        return
    root = yaml.safe_load((CONF / "config.yaml").read_text(encoding="utf-8"))
    scalars = {key for key, value in root.items() if not isinstance(value, dict | list)}
    overrides = [key for entry in raw(path).get("defaults", []) if isinstance(entry, dict) for key in entry]
    assert all(key.startswith("override /") for key in overrides), overrides
    chosen_groups = {key.removeprefix("override /") for key in overrides}
    assert set(raw(path)) - {"defaults", path.parent.name} <= scalars | chosen_groups


# optimizers


@pytest.mark.parametrize("path", [path for path in FILES if path.parent.name == "optimizer"], ids=identity)
def test_an_optimizer_has_a_schedule_and_a_block_for_each_player_that_follows_it(path: Path) -> None:
    composed = chosen(path)
    options = list(registry.options(component_of(path)))
    assert set(composed["schedule"]) == {"name", "warmup", "start", "final"}
    assert schedule(composed["schedule"], 10)(0) == 1
    assert composed["schedule"]["name"] in registry.names("schedule")
    for player in PLAYERS:
        assert list(composed[player]) == options
        own = own_values(path).get(player, {}) if bases(path) else {}  # two time scales
        assert composed[player] == {key: composed[key] for key in options} | own
    first = next(
        key for key in options if not any(key in own_values(path).get(player, {}) for player in PLAYERS) or not bases(path)
    )
    changed = compose_config(f"optimizer={path.stem}", f"optimizer.{first}=0.125", f"optimizer.generator.{first}=0.5")
    assert changed["optimizer"]["discriminator"][first] == 0.125
    assert changed["optimizer"]["generator"][first] == 0.5


def test_the_schedules_that_the_files_name_in_their_comments_are_those_there_are() -> None:
    for path in (CONF / "optimizer").glob("*.yaml"):
        if not bases(path):
            line = path.read_text(encoding="utf-8").split("schedule:")[1].splitlines()[1]
            assert sorted(line.split("[")[1].split("]")[0].split(" | ")) == ["...", *registry.names("schedule")]


# the code


def own_components(group: str) -> dict[str, Any]:
    """What ganrun itself registers."""
    found = {name: registry.lookup(group, name) for name in registry.names(group)}
    return {name: component for name, component in found.items() if component.__module__.startswith("ganrun.")}


@pytest.mark.parametrize("group", GROUPS)
def test_every_component_has_a_file_and_every_file_a_component(group: str) -> None:
    files = {path.stem for path in FILES if path.parent.name == group}
    assert set(own_components(group)) <= files
    assert files - set(own_components(group)) <= {"none"} | {
        path.stem for path in FILES if bases(path) and path.parent.name == group
    }


@pytest.mark.parametrize("group", registry.PACKAGES)
def test_every_component_and_its_module_say_what_they_are(group: str) -> None:
    for name, component in own_components(group).items():
        assert component.__doc__, f"{group}={name} has no docstring"
        module = sys.modules[component.__module__].__doc__
        assert module, f"{component.__module__} has no docstring"
        if group in ("model", "game", "loss", "regularizer"):
            assert re.search(r"\b(19|20)\d\d\b", module + component.__doc__), f"{group}={name} names no source and year"


@pytest.mark.parametrize("group", registry.PACKAGES)
def test_options_are_keyword_only_typed_and_have_defaults(group: str) -> None:
    for name, component in own_components(group).items():
        for key, parameter in inspect.signature(component).parameters.items():
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
                assert parameter.default is not inspect.Parameter.empty, f"{group}={name}: {key} has no default"
                assert parameter.annotation is not inspect.Parameter.empty, f"{group}={name}: {key} has no type"


@pytest.mark.parametrize("group", ["loss", "regularizer"])
def test_a_component_is_found_in_the_module_of_its_name(group: str) -> None:
    for name, component in own_components(group).items():
        assert component.__module__.rpartition(".")[2] == name


# what the comments allow, against what the constructors accept


ONES = [nn.Parameter(torch.ones(1))]
FALLING = {"name": "linear", "warmup": 0, "start": 0.0, "final": 0.0}
NEEDS = {  # what must stand beside a key for it to count
    ("game", "madgan", "variant"): {"generators": 2},
    ("optimizer", "sgd", "nesterov"): {"momentum": 0.5},
    ("optimizer", "sgd", "momentum_final"): {"momentum": 0.5},
    **{("regularizer", name, "final"): {"decay": 5} for name in ("r1", "r2", "gradient_penalty")},
    **{("regularizer", name, "decay"): {"final": 1.0} for name in ("r1", "r2", "gradient_penalty")},
}
IDLE = {"final": None, "decay": 0}  # says that there is none; what NEEDS names must be left out then
AFAR = {"mnist", "fashion_mnist", "cifar10", "stacked_mnist", "paired_folder", "unpaired_folder", "folder"}  # want files


def probes(rule: Rule, default: Any) -> tuple[list[Any], list[Any]]:
    """(values just inside of what a rule allows, values just outside of it)."""
    if rule.entries is not None:
        example = default[0] if default else EXAMPLES.get(rule.entries.kind)
        inside, outside = probes(rule.entries, example)
        pad = (rule.count or 1) - 1
        filled = lambda value: [value, *[inside[0]] * pad]  # noqa: E731
        short = [[]] if rule.fewest else [[inside[0]] * (rule.count + 1)] if rule.count else []
        return [filled(value) for value in inside], [*(filled(value) for value in outside), *short]
    if rule.choices:
        near = [f"{choice}x" if isinstance(choice, str) else choice + 4 for choice in rule.choices]
        return [*rule.choices, *([None] if rule.null else [])], near
    example = EXAMPLES.get(rule.kind, default)
    step: Any = 1 if isinstance(example, int) else 1e-3
    inside, outside = [None] if rule.null else [], []
    for sign, bound in rule.bounds:
        closer, further = (bound + step, bound - step) if sign[0] == ">" else (bound - step, bound + step)
        inside.append(bound if sign.endswith("=") else closer)
        outside.append(further if sign.endswith("=") else bound)
    kind = type(example)
    return [value if value is None else kind(value) for value in inside], [kind(value) for value in outside]


def builds(group: str, name: str, config: dict[str, Any]) -> None:
    """Make the component as a run makes it, without data that are not there."""
    if group == "device":
        runtime.resolve(config)
    elif group == "optimizer":
        schedule(config["schedule"], 10)
        for player in PLAYERS:
            registry.build("optimizer", {**{k: v for k, v in config.items() if not isinstance(v, dict)}, **config[player]}, ONES)
    else:
        registry.build(group, config)


def put(config: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    key, _, rest = path.partition(".")
    return {**config, key: put(config[key], rest, value) if rest else value}


def cases() -> list[Any]:
    found = []
    for group in (*GROUPS, "disease", "device", "tracker"):
        for name in catalog.files(group, [CONF]):
            option = catalog.entry(group, name, [CONF])
            if option.values.get("name") == name and not option.chooses and not (group == "dataset" and name in AFAR):
                stated = [key for key in catalog.keys(option) if key.rule is not None and "${" not in str(key.default)]
                found += [pytest.param(group, name, key, id=f"{name}-{key.path}") for key in stated]
    return found


@functools.cache
def of_default(group: str, name: str) -> dict[str, Any]:
    """The option's own values; what follows another key is left to the constructor's default."""
    config = unlinked(catalog.entry(group, name, [CONF]).values)
    small = {"num": 4} if group == "dataset" and "num" in config else {"name": "cpu"} if group == "device" else {}
    return {**config, **small, **({"schedule": FALLING} if group == "optimizer" else {})}


def unlinked(values: dict[str, Any]) -> dict[str, Any]:
    plain = {key: unlinked(value) if isinstance(value, dict) else value for key, value in values.items()}
    return {key: value for key, value in plain.items() if not (isinstance(value, str) and "${" in value)}


@pytest.mark.parametrize(("group", "name", "key"), cases())
def test_a_component_takes_what_its_comment_allows_and_nothing_beyond(group: str, name: str, key: Key) -> None:
    place = catalog.entry(group, name, [CONF]).place
    path = key.path.removeprefix(f"{place}.")
    config = {**of_default(group, name), **NEEDS.get((group, name, path), {})}
    at = functools.reduce(lambda held, part: held[part], path.split("."), config)
    inside, outside = probes(key.rule, at)
    for value in inside:
        assert grammar.misfit(key.rule, at, value) is None, (key.path, value)
        if not (path == "schedule.name" and value == "exponential"):
            chosen = of_default(group, name) if path in IDLE and value == IDLE[path] else config
            builds(group, name, put(chosen, path, value))
    for value in outside:
        assert grammar.misfit(key.rule, at, value), (key.path, value)
        with pytest.raises((BadInput, ValueError)):
            builds(group, name, put(config, path, value))


# what runs log


def named_in_the_log(toy: Any, *words: str) -> set[str]:
    """The names of a row of metrics.jsonl after one step of the smallest networks."""
    run = toy(*words)
    run.trainer.advance()
    parts = {run.config["loss"]["name"]: run.parts.loss, **run.parts.regularizers}
    return set(run.trainer.terms) | {f"{name}/{key}" for name, part in parts.items() for key in part.readings()}


def names(group: str) -> list[str]:
    return catalog.components(group, [CONF])


DATA = {"pix2pix": "toy_paired", "cyclegan": "toy_unpaired", "semi_supervised": "toy_images"}
MORE = {"semi_supervised": ["game.labels=6"], "per_class": ["batch_size=6"]}
LOGGING = [("mlp", DATA.get(game, "toy_points"), f"game={game}", *MORE.get(game, [])) for game in names("game")]
LOGGING += [("mlp", "toy_points", f"condition={condition}", *MORE.get(condition, [])) for condition in names("condition")]
LOGGING += [("mlp", "toy_points", f"regularizer={name}") for name in names("regularizer") if name not in ("freeze_d", "wgan_div")]
LOGGING += [("mlp", "toy_points", "game=madgan", "game.variant=similarity")]


@pytest.mark.parametrize("words", one_in(3, ((words,) for words in LOGGING)), ids=" ".join)
def test_every_name_that_a_run_logs_is_explained(words: tuple[str, ...], toy: Any) -> None:
    logged_names = {"step", "images", "time", "run_id", *named_in_the_log(toy, *words)}
    assert {name for name in logged_names if logged.meaning(name) is None} == set()


def test_what_losses_of_energies_log_is_explained_and_what_nothing_logs_is_not() -> None:
    found = registry.build("loss", {"name": "began"}).readings()
    assert {logged.meaning(f"began/{key}") for key in found} & {None, ""} == set()
    assert logged.meaning("discriminator/nothing") is logged.meaning("loss") is None
