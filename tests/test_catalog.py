"""The catalogue: every yaml of conf/ with its description and options, without torch, and the user's own."""

from __future__ import annotations

from pathlib import Path

import cli_driver
import pytest
from cli_driver import CONF, run, write
from conftest import compose_config
from rich.console import Console

from ganrun.cli import listing
from ganrun.cli.schema import catalog, keys
from ganrun.ground import registry

FOLDERS = [CONF]
OPTIONS = [(group, name) for group in catalog.groups(FOLDERS) for name in catalog.files(group, FOLDERS)]


@pytest.mark.parametrize(("group", "name"), OPTIONS)
def test_every_yaml_says_in_a_comment_what_it_is(group: str, name: str) -> None:
    entry = catalog.entry(group, name, FOLDERS)
    assert len(entry.description) > 10, entry.path
    assert entry.description.endswith("."), entry.path


@pytest.mark.parametrize(
    ("group", "name"), [pair for pair in OPTIONS if pair[0] in ("regularizer", "metric") and pair[1] != "none"]
)
def test_an_option_of_a_stack_has_a_place_of_its_own(group: str, name: str) -> None:
    assert catalog.entry(group, name, FOLDERS).package in (f"{group}.{name}", group)


@pytest.mark.parametrize("group", ["loss", "regularizer", "game", "optimizer", "dataset", "metric"])
def test_every_registered_component_of_ours_can_be_chosen(group: str) -> None:
    ours = {name for name in registry.names(group) if registry.lookup(group, name).__module__.startswith("ganrun.")}
    assert ours <= set(catalog.files(group, FOLDERS))


@pytest.mark.parametrize("name", catalog.files("model", FOLDERS))
def test_the_options_listed_are_those_that_hydra_composes(name: str) -> None:
    def flat(values: object, prefix: str = "") -> set[str]:
        if not isinstance(values, dict):
            return {prefix}
        return {path for key, value in values.items() for path in flat(value, f"{prefix}.{key}")}

    assert flat(catalog.entry("model", name, FOLDERS).values) == flat(compose_config(f"model={name}")["model"])


def test_a_recipe_lists_what_it_builds_on_what_it_chooses_and_what_it_sets() -> None:
    entry = catalog.entry("model", "wgan", FOLDERS)
    assert entry.values["generator"] == catalog.entry("model", "dcgan", FOLDERS).values["generator"]
    assert entry.chooses == {"loss": "wasserstein", "optimizer": "rmsprop", "regularizer": "weight_clip"}
    assert entry.sets["n_critic"] == 5
    assert catalog.entry("model", "sngan", FOLDERS).sets["optimizer"]["betas"] == [0.0, 0.9]
    assert catalog.entry("optimizer", "ttur", FOLDERS).values["eps"] == catalog.entry("optimizer", "adam", FOLDERS).values["eps"]


def test_list_without_a_terminal_is_plain_lines_that_name_everything() -> None:
    answer = run("list")
    assert answer.code == 0
    for group, name in OPTIONS:
        assert any(line.startswith((f"{group}={name}:", f"{group}={name} (default):")) for line in answer.out.splitlines())
    assert "    weight=10.0  at=sample  every=1" in answer.out.splitlines()


def test_list_of_one_group_shows_that_group_with_defaults_of_its_options() -> None:
    answer = run("list", "loss")
    assert {line.split("=")[0] for line in answer.out.splitlines() if not line.startswith(" ")} == {"loss"}
    assert "    a=0.0  b=1.0  c=1.0" in answer.out.splitlines()
    assert "loss=nonsaturating (default): The GAN loss" in answer.out


def test_list_on_a_terminal_is_a_table(tmp_path: Path) -> None:
    with open(tmp_path / "out", "w+") as file:
        listing.show("loss", None, Console(file=file, force_terminal=True, width=100))
        file.seek(0)
        text = file.read()
    assert "\x1b[" in text
    assert "options and their defaults" in text
    assert all(name in text for name in catalog.files("loss", FOLDERS))


def test_list_of_a_misspelt_group_names_the_nearest() -> None:
    answer = run("list", "losses")
    assert (answer.code, answer.out) == (2, "")
    assert answer.lines == ["there is no group 'losses'. Did you mean 'loss'?"]


def test_list_shows_the_users_own_and_it_hides_ours_of_the_same_name(tmp_path: Path) -> None:
    mine = write(tmp_path, loss__mine="# Mine.\nname: mine\nmargin: 3.0\n", loss__hinge="# My hinge.\nname: hinge\n")
    answer = run("list", "loss", "--config-dir", mine)
    assert "loss=mine: Mine." in answer.out
    assert "    margin=3.0" in answer.out
    assert "loss=hinge: My hinge." in answer.out
    assert "loss=lsgan: Least squares" in answer.out


def test_options_in_sub_folders_and_presets_are_found(tmp_path: Path) -> None:
    mine = write(tmp_path, experiment__paper__a="# @package _global_\n# A.\nsteps: 3\n")
    assert "experiment=paper/a: A." in run("list", "experiment", "-cd", mine).out
    assert run("train", "experiment=paper/a", "-cd", mine, "--cfg", "job", "-p", "steps").out.strip().endswith("3")


@pytest.mark.parametrize("text", ["a: [", "- a\n", "just text"])
def test_a_damaged_file_of_the_users_is_named(tmp_path: Path, text: str) -> None:
    answer = run("list", "loss", "-cd", write(tmp_path, loss__bad=text))
    assert answer.code == 2
    assert len(answer.lines) == 1
    assert str(Path("loss", "bad.yaml")) in answer.err


def test_the_root_keys_and_defaults_are_those_of_config_yaml() -> None:
    assert keys.root_keys()["batch_size"] == 64
    assert not {"loss", "hydra", "defaults", "metric"} & set(keys.root_keys())
    assert catalog.defaults()["model"] == ["dcgan"]
    assert set(catalog.defaults()) == set(catalog.groups(FOLDERS))


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    answer = run("list", "-cd", tmp_path / "nowhere")
    assert answer.code == 2
    assert "there is no such folder" in answer.err
    assert cli_driver.files(tmp_path) == set()
