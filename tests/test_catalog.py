"""The catalogue: every yaml of conf/ with its description and options, without torch, and the user's own."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import cli_driver
import pytest
from cli_driver import CONF, run, write
from conftest import compose_config, one_in
from rich.console import Console

from ganrun.cli import describe, listing
from ganrun.cli.schema import catalog, comments, grammar, keys
from ganrun.disk import yaml_files
from ganrun.ground import registry

FOLDERS = [CONF]
WORLD = catalog.world(FOLDERS)
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


@pytest.mark.parametrize("name", one_in(3, catalog.files("model", FOLDERS)))
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
    assert "    weight=10.0  final=null  decay=0  at=sample  every=1" in answer.out.splitlines()


def test_list_of_one_group_shows_that_group_with_defaults_of_its_options() -> None:
    answer = run("list", "loss")
    assert {line.split("=")[0] for line in answer.out.splitlines() if not line.startswith(" ")} == {"loss"}
    assert "    a=0.0  b=1.0  c=1.0" in answer.out.splitlines()
    assert "loss=nonsaturating (default): The GAN loss" in answer.out


def test_list_on_a_terminal_is_a_table(tmp_path: Path) -> None:
    with open(tmp_path / "out", "w+") as file:
        listing.show("loss", None, None, Console(file=file, force_terminal=True, width=100), 100)
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


# what a key takes and means


@pytest.mark.parametrize(("group", "name"), OPTIONS)
def test_every_key_has_a_sentence_and_its_default_is_one_of_its_values(group: str, name: str) -> None:
    for key in catalog.keys(catalog.entry(group, name, FOLDERS)):
        assert re.fullmatch(r"[A-Z\[0-9].*[.]", key.help), f"{key.path}: {key.help!r}"
        if key.rule is not None and "${" not in str(key.default):
            assert grammar.misfit(key.rule, key.default, key.default, world=WORLD) is None, key


def test_every_key_of_the_root_has_a_sentence_and_every_bracket_is_read() -> None:
    assert [key.path for key in keys.keys_of_root() if not re.fullmatch(r"[A-Z].*[.]", key.help)] == []
    for path in CONF.rglob("*.yaml"):
        for key, words in comments.comments(path.read_text(encoding="utf-8")).items():
            said = grammar.split(words)[0]
            assert not said or grammar.parse(said).said == said, (path, key)


def test_text_that_may_be_null_is_what_run_folders_are_read_by() -> None:
    root = {key.path for key in keys.keys_of_root() if key.default is None and key.rule is not None and key.rule.is_text}
    assert root | {"dataset.root"} == set(yaml_files.OR_NULL)
    paths = {key.path for key in keys.keys_of_root() if key.rule is not None and key.rule.kind in ("folder", "file", "run")}
    assert paths <= set(yaml_files.PATHS)


TAKES: list[tuple[str, object, list[object], list[object]]] = [
    (">= 1", 2, [1, 5, 10**9], [0, -1, "x", 1.5, True, None]),
    (">= 0, < 1", 0.5, [0, 0.0, 0.999], [-0.1, 1, 1.0, float("nan"), "x"]),
    ("> -1, <= 2.5", 0.0, [-0.9, 2.5], [-1, 2.51, float("inf")]),
    ("a | b | none", "a", ["a", "none"], ["c", None, 1, ["a"]]),
    ("1 | 3 | null", 3, [1, None], [2, "1", True, 1.0]),
    ("int >= 1 | null", None, [1, None], [0, "x", 2.5]),
    ("float | null", None, [1, 0.5, None], ["wide", True]),
    ("bool | null", None, [True, None], [0, "yes"]),
    ("list | null", None, [[], [1, "cat"], None], [1, "cat"]),
    ("text | null", None, ["x", None], [3]),
    ("list of int >= 2", [10], [[], [2, 3]], [[1], 2, ["x"], [2, 1.5]]),
    ("some of a | b", ["a"], [["a"], ["a", "b"]], [[], ["c"], "a"]),
    ("2 of float >= 0, < 1", [0.5, 0.9], [[0, 0.5]], [[0.5], [0.5, 1], [0.1, 0.2, 0.3], ["x", 0]]),
    ("list of <loss>", [], [["hinge"]], [["hing"]]),
    ("name", "x", ["x-1.0"], ["../x", ""]),
    ("list of module", [], [["a.b"]], [["../a"]]),
]


@pytest.mark.parametrize(("said", "default", "right", "wrong"), TAKES, ids=[said for said, *_ in TAKES])
def test_what_stands_in_brackets_is_what_a_key_takes(
    said: str, default: object, right: list[object], wrong: list[object]
) -> None:
    for value in right:
        assert grammar.misfit(grammar.parse(said), default, value, "a.b", WORLD) is None, value
    for value in wrong:
        assert grammar.misfit(grammar.parse(said), default, value, "a.b", WORLD), value


@pytest.mark.parametrize("said", ["> x", ">= 1 < 2", "int float", "a | > 1"])
def test_brackets_that_cannot_be_read_are_said(said: str) -> None:
    with pytest.raises(ValueError, match=r"no list of bounds|types|neither|float"):
        grammar.parse(said)


def test_comments_are_read_by_the_places_of_the_keys() -> None:
    text = "# Head.\n# More.\nname: x\na: 'q # z'  # A.\n# above\n# b\nb: {c: 1}  # B.\n"
    text += "d:  # D.\n  e: [1, 2]  # E.\n  f: 2\n  g:\n    - 1\n"
    assert comments.comments(text) == {"a": "A.", "b": "above b B.", "d": "D.", "d.e": "E."}
    assert comments.comments("a: [") == comments.comments("") == comments.comments("- a") == {}


THEIRS = """# Mine.
name: mine
weight: 1.0  # [0, 1] is where it usually is
mode: fast  # [todo] say which there are
rate: 0.5
"""


def test_a_file_of_others_needs_no_grammar_and_a_bracket_of_theirs_forbids_nothing(tmp_path: Path) -> None:
    option = catalog.entry("loss", "mine", [write(tmp_path, loss__mine=THEIRS), CONF])
    assert {key.path: key.rule for key in catalog.keys(option)} == dict.fromkeys(["loss.weight", "loss.mode", "loss.rate"])


def test_a_preset_of_others_takes_over_what_its_component_says(tmp_path: Path) -> None:
    folders = [write(tmp_path, regularizer__mild="# @package regularizer.mild\n# Mild.\nname: r1\nweight: 0.1\n"), CONF]
    (key,) = catalog.keys(catalog.entry("regularizer", "mild", folders))
    assert (key.rule and key.rule.said, key.help.split(";")[0]) == (">= 0", "Gamma")


SUGGESTED = re.compile(r"(?:Try|try|[Ww]rite|[Aa]dd|[Tt]ype|override is) '?([a-z_]+(?:\.[a-z_{}]+)*)=(\[[^\]]*\]|[^\s'\",;:)]*)")
OF_A_SENTENCE = {"key", "resume", "output"}  # KEY=VALUE, and places


def suggestions() -> list[tuple[str, str, str]]:
    """(file, key, value) of each override that a message of ours suggests, {} for what is filled in, and of each trait's rule."""
    found = set()
    for path in sorted((CONF.parent / "ganrun").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)) if SUGGESTED.search(text) else ():
            parts = [node] if isinstance(node, ast.Constant) else node.values if isinstance(node, ast.JoinedStr) else []
            said = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in parts)
            found |= {(path.name, *match.groups()) for match in SUGGESTED.finditer(said) if ".mine." not in match[0]}
    for group in ("loss", "regularizer", "game", "condition", "model", "dataset", "metric"):
        for name in registry.names(group):
            component = registry.lookup(group, name)
            held = [getattr(component, kind, {}) for kind in ("needs", "refuses", "advises")]
            rules = [rule for part in held if isinstance(part, dict) for rule in part.values()]
            for rule in rules:
                key, _, value = rule.override.partition(" (")[0].partition("=")
                found.add((f"{group}={name}", key, value))
    return sorted(found)


def test_every_override_that_a_message_suggests_is_one_that_can_be_typed() -> None:
    """Its key has its place, unless the registry puts it there (``norm=layer`` of a player), and its value fits."""
    known = {entry.path: entry for entry in keys.keys_of_root()}
    for group, name in OPTIONS:
        if group != "experiment":  # which have no keys of their own
            known |= {entry.path: entry for entry in catalog.keys(catalog.entry(group, name, FOLDERS))}
    wrong, found = [], suggestions()
    for where, key, value in found:
        said = f"{where}: {key}={value}"
        if key in catalog.groups(FOLDERS):
            chosen = {name.strip("' ") for name in value.strip("[]").split(",") if "{}" not in name}
            wrong += [said] if chosen - set(catalog.files(key, FOLDERS)) - {"none", "..."} else []
            continue
        pattern = re.escape(key).replace(r"\{\}", "[a-z0-9_]+")
        fitting = [entry for place, entry in known.items() if re.fullmatch(pattern, place)]
        if "." not in key and key not in OF_A_SENTENCE:  # a field of an option, which the registry gives its place
            fitting = fitting or [entry for place, entry in known.items() if place.endswith(f".{key}")]
        if not fitting and key not in OF_A_SENTENCE:
            wrong.append(said)
        elif value and "{" not in value and value.upper() != value:
            given = yaml_files.scalar(value)
            fits = [grammar.misfit(entry.rule, entry.default, given, entry.path, world=WORLD) for entry in fitting]
            wrong += [said] if fits and None not in fits else []
    assert wrong == []
    assert len(found) > 80  # the pattern still finds them


# one option


@pytest.mark.parametrize("words", [("regularizer=r1",), ("regularizer", "r1")])
def test_list_of_one_option_says_of_every_key_its_meaning_default_values_and_the_source(words: tuple[str, ...]) -> None:
    answer = run("list", *words)
    assert (answer.code, answer.err) == (0, "")
    assert "regularizer.r1.weight = 10.0   [>= 0]\n    Gamma; the penalty is gamma / 2" in answer.out
    assert "regularizer.r1.at = sample   [sample | input]" in answer.out
    assert answer.out.splitlines()[-1].startswith("Source: Mescheder, Geiger and Nowozin 2018, ")


@pytest.mark.parametrize(("group", "name"), OPTIONS)
def test_one_option_is_read_at_80_columns_and_leaves_no_key_out(group: str, name: str) -> None:
    lines = list(describe.option(group, name, None, 80))
    assert [line for line in lines if len(line) > 80 and " " in line.strip()] == []
    for key in catalog.keys(catalog.entry(group, name, FOLDERS)):
        assert any(line.startswith(f"{key.path} = ") for line in lines), key.path


def test_list_of_a_root_key_and_of_what_there_is_not(tmp_path: Path) -> None:
    assert "every.log = 50   [>= 0]\n    Steps between two rows" in run("list", "every").out
    assert run("list", "loss=hing").err == "loss=hing: there is no loss 'hing'. Did you mean 'hinge'?\n"
    assert run("list", "los", "hinge").err == "there is no group 'los'. Did you mean 'loss'?\n"
    assert "one option at a time" in run("list", "loss=hinge", "lsgan").err
    assert "no keys of its own" in run("list", "loss", "hinge").out
    mine = write(tmp_path, loss__mine=THEIRS)
    assert "loss.weight = 1.0" in run("list", "loss=mine", "-cd", mine).out


def test_sources_are_named_once_and_in_full() -> None:
    text = 'Lim and Ye 2017, "Geometric GAN"; (Miyato et al. 2018). Miyato, Kataoka and Koyama 2018. Miyato and Koyama 2018.'
    assert describe.named_sources(text) == [
        'Lim and Ye 2017, "Geometric GAN"',
        "Miyato, Kataoka and Koyama 2018",
        "Miyato and Koyama 2018",
    ]
