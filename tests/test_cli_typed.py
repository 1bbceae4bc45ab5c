"""What is typed is what runs: text stays text, paths stay paths, and what the environment gives is read as if typed."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import cli_driver
import pytest
from cli_driver import CONF, Engine, run, write

from ganrun.cli.compose import composer
from ganrun.cli.overrides import parse
from ganrun.cli.schema import catalog
from ganrun.disk import runs, yaml_files
from ganrun.ground import spell
from ganrun.ground.errors import BadInput

inside, engine = cli_driver.inside, cli_driver.engine  # fixtures

LIKE_NUMBERS = ["2024_06_01", "1.10", "1e-4", "0123", "true", "2026", "nan"]
ODD_PATHS = [
    "~/a b (1)",
    "Bilder für 漢字",
    "lr=1",
    "a,b",
    "#c & d;",
    "[x]",
    "{y}:$",
    "it's",
    " x ",
    "a\\b",
    "glob(x)",
    "choice(a,b)",
]


def read(*overrides: str, multirun: bool = False) -> list[Any]:
    with composer() as found:
        found.multirun = multirun
        return [[value for _, value in parse(text, found).values] for text in overrides]


def test_text_that_looks_like_something_else_stays_as_typed() -> None:
    assert read(*(f"name={text}" for text in LIKE_NUMBERS)) == [[text] for text in LIKE_NUMBERS]
    assert read("name='1.10'", 'output="a b"', "resume=null", "seed=010", "optimizer.lr=1e-4") == [
        ["1.10"],
        ["a b"],
        [None],
        ["010"],
        [1e-4],
    ]


def test_the_values_of_a_sweep_do_too() -> None:
    typed = ["name=2024_06_01,1.10", "name=choice(1e-4,'a,b')", "name=range(1,3)", "dataset.root=~/a (1),b c"]
    assert read(*typed, multirun=True) == [["2024_06_01", "1.10"], ["1e-4", "a,b"], ["1", "2"], ["~/a (1)", "b c"]]


def test_a_path_is_what_the_shell_handed_over() -> None:
    for key in ("dataset.root", "output", "resume", "init_from", "evaluation.weights"):
        assert read(*(f"{key}={path}" for path in ODD_PATHS)) == [[path] for path in ODD_PATHS]


@pytest.mark.parametrize("path", ODD_PATHS[1:8:3] + ODD_PATHS[8:10])
def test_a_path_reaches_the_engine_and_the_run_resumes(path: str, inside: Path, engine: Engine) -> None:
    assert run("train", f"output={path}", "name=1e-4", "steps=3").code == 0
    config, folder = engine.last["config"], engine.last["folder"]
    assert (config["output"], config["name"]) == (path, "1e-4")
    if not path.startswith("~"):
        assert folder.parent == inside / path / "1e-4"
    assert runs.read_config(folder)["name"] == "1e-4"
    assert run("train", f"resume={folder}", "every.log=1").code == 0
    assert (engine.last["config"]["name"], engine.last["folder"]) == ("1e-4", folder)


def test_a_folder_may_be_named_as_an_interpolation_is_written(
    inside: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "a${b}\\${c}"
    refused = run("train", f"output={name}")
    assert (refused.code, len(refused.lines)) == (2, 1)
    (spelt,) = shlex.split(refused.err.partition("For the text itself: ")[2])
    (inside / name).mkdir()
    monkeypatch.chdir(inside / name)  # Hydra writes the current folder into its config, too
    for words in (["output=${name}", "name=o", "seed=1"], [spelt, "seed=2"], ["-m", spelt, "seed=3"]):
        assert run("train", *words).code == 0
    assert [call["config"]["output"] for call in engine.calls] == ["o", name, name]
    folder = engine.last["folder"]
    assert folder.parent == inside / name / name / "default"
    assert runs.read_config(folder)["output"] == name
    assert run("train", f"resume={spell.value(str(folder))}", "every.log=1").code == 0
    assert (engine.last["config"]["output"], engine.last["folder"]) == (name, folder)
    assert run("eval", folder).code == 0
    assert engine.last["config"]["output"] == name


def test_a_name_that_hydra_cannot_hold_is_one_clear_sentence(inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (inside / "a${b").mkdir()
    for words in (["output=a${b"], ["-cd", "a${b"], ["hydra.run.dir=${nothing}"]):
        answer = run("train", *words)
        assert (answer.code, len(answer.lines)) == (2, 1)
        assert words[-1].partition("=")[0].removeprefix("-cd") in answer.err
    monkeypatch.chdir(inside / "a${b")
    answer = run("train")
    assert (answer.code, len(answer.lines)) == (2, 1)
    assert "rename the current folder" in answer.err


def test_a_tilde_is_home_in_every_path(inside: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(inside / "home"))
    assert run("train", "output=~/runs").code == 0
    folder = engine.last["folder"]
    assert folder.is_relative_to(inside / "home" / "runs")
    short = f"~/{folder.relative_to(inside / 'home')}"
    assert run("train", f"resume={short}").code == 0
    assert engine.last["folder"] == folder
    assert run("train", f"init_from={short}", "seed=1").code == 0
    assert run("sample", short).code == 0


def test_values_of_the_environment_are_read_as_if_typed(inside: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in {"S": "3", "F": "false", "N": "007", "X": "4", "L": "[0.1,0.2]"}.items():
        monkeypatch.setenv(f"GANRUN_{key}", value)
    assert run("train", "seed=3", "optimizer.lr=1e-4", "optimizer.betas=[0.1,0.2]").code == 0
    typed = engine.last["folder"]
    line = ["seed=${oc.env:GANRUN_S}", "fresh=${oc.env:GANRUN_F}", "optimizer.lr=1e-${oc.env:GANRUN_X}"]
    assert run("train", *line, "optimizer.betas=${oc.env:GANRUN_L}").code == 0
    assert engine.last["folder"] == typed
    assert (engine.last["config"]["seed"], engine.last["config"]["fresh"]) == (3, False)
    assert run("train", "name=${oc.env:GANRUN_N}", "optimizer.betas=[0.1,'0.${oc.env:GANRUN_X}']").code == 0
    assert (engine.last["config"]["name"], engine.last["config"]["optimizer"]["betas"]) == ("007", [0.1, 0.4])
    assert run("train", "-m", "seed=1,${oc.env:GANRUN_S}").code == 0
    assert engine.last["config"]["seed"] == 3


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("seed=${oc.env:GANRUN_BAD}", "seed=${oc.env:GANRUN_BAD}: gives x: must be a whole number"),
        ("fresh=${oc.env:GANRUN_BAD}", "gives x: must be true or false"),
        ("optimizer.lr=${name}", "optimizer.lr=${name}: gives default: must be a number"),
        ("seed=${oc.decode:${oc.env:GANRUN_LOW}}", "gives -1: must be at least 0"),
        ("name=${seed}", "must be text"),
        ("seed=${oc.env:GANRUN_NOT_THERE}", "'GANRUN_NOT_THERE' not found"),
        ("resume=${oc.env:GANRUN_NOT_THERE}", "'GANRUN_NOT_THERE' not found"),
        ("seed=010", "seed=010: must be a whole number: write seed=10"),
        ("name=null", "must be text: for the word null write 'name=\"null\"'"),
    ],
)
def test_what_an_interpolation_gives_is_checked(
    typed: str, words: str, inside: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GANRUN_BAD", "x")
    monkeypatch.setenv("GANRUN_LOW", "-1")
    answer = run("train", typed)
    assert (answer.code, len(answer.lines), engine.calls) == (2, 1, [])
    assert words in answer.err


def test_a_file_is_read_as_a_command_line_is(inside: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANRUN_S", "5")
    mine = write(
        inside,
        loss__mine="# Mine.\nname: mine\nnote: word\nmargin: 1.0\n",
        experiment__x="\ufeff# @package _global_\n# X.\ndefaults: [override /loss: mine]\nname: 1.10\noutput: 0123\n"
        "seed: ${oc.env:GANRUN_S}\nloss: {note: 12:30:45, margin: 2}\nevaluation: {weights: 12}\n",
    )
    assert run("train", "-cd", mine, "experiment=x").code == 0
    config = engine.last["config"]
    assert (config["name"], config["output"], config["seed"]) == ("1.10", "0123", 5)
    assert (config["loss"]["note"], config["loss"]["margin"], config["evaluation"]["weights"]) == ("12:30:45", 2, "12")
    assert run("train", "-cd", mine, "experiment=x", "loss.note=yes", "loss.margin=${oc.env:GANRUN_S}").code == 0
    assert (engine.last["config"]["loss"]["note"], engine.last["config"]["loss"]["margin"]) == ("yes", 5)


def test_a_zero_before_a_number_is_not_octal(inside: Path, engine: Engine) -> None:
    mine = write(inside, experiment__x="# @package _global_\n# X.\nseed: 010\n")
    answer = run("train", "-cd", mine, "experiment=x")
    assert answer.err == "experiment=x: seed='010' must be a whole number: write seed=10\n"


BAD_FILES = {
    "latin": (b"# caf\xe9\nname: x\n", "line 1: byte 0xe9 is not UTF-8"),
    "utf16": ("# x\n".encode("utf-16"), "is UTF-16"),
    "tab": (b"# X.\nname: x\n\tmargin: 1\n", "line 3: found a tab"),
    "twice": (b"# X.\nname: x\nname: y\n", "line 3: 'name' stands twice"),
    "list": (b"- a\n", "not a mapping"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_file_that_cannot_be_read_is_named_with_its_line_by_train_and_list(case: str, inside: Path, engine: Engine) -> None:
    content, words = BAD_FILES[case]
    path = write(inside, loss__x="") / "loss" / "x.yaml"
    path.write_bytes(content)
    for line in (["train", "loss=x"], ["list", "loss"]):
        answer = run(*line, "-cd", "mine")
        assert (answer.code, len(answer.lines)) == (2, 1), answer.err
        assert "mine/loss/x.yaml" in answer.err
        assert words in answer.err
    assert run("train", "-cd", "mine", "loss.name=3").code == 2  # the others are still read
    assert run("train", "-cd", "mine").code == 0


@pytest.mark.parametrize("text", ["3", "-1.5", "1e-3", "1_000", ".5", "true", "null", "[1, a]", "{a: 1}", "word", "", "a: b: c"])
def test_what_ships_and_what_the_environment_gives_is_read_as_before(text: str) -> None:
    expected = {"3": 3, "-1.5": -1.5, "1e-3": 1e-3, "1_000": 1000, ".5": 0.5, "true": True, "null": None}
    expected |= {"[1, a]": [1, "a"], "{a: 1}": {"a": 1}, "": None}
    assert yaml_files.scalar(text) == expected.get(text, text)


def test_every_file_that_ships_means_what_hydra_reads() -> None:
    from omegaconf import OmegaConf

    for path in CONF.rglob("*.yaml"):
        ours = yaml_files.load(path, lambda key: False)
        assert ours == OmegaConf.to_container(OmegaConf.load(path), resolve=False), path


def test_a_key_takes_text_where_every_option_that_has_it_holds_text() -> None:
    assert catalog.is_text(["model", "generator", "norm"], [CONF])
    assert catalog.is_text(["dataset", "root"], [CONF])
    assert not catalog.is_text(["optimizer", "lr"], [CONF])
    assert not catalog.is_text(["plugins"], [CONF])
    assert catalog.is_text(["plugins", "0"], [CONF])


def test_a_run_whose_path_holds_an_equals_sign_is_a_run(inside: Path, engine: Engine) -> None:
    found = []
    for seed in ("0", "1"):
        assert run("train", "output=lr=1", f"seed={seed}").code == 0
        found.append(engine.last["folder"].relative_to(inside))
    answer = run("eval", found[0], "metric=[fud]", found[1])
    assert answer.lines[0].startswith("metric=[fud]: there is no metric")
    gone = run("eval", found[0], "lr=1/default/gone")
    assert gone.err.startswith("lr=1/default/gone: ganrun eval takes")
    assert "nor is there such a run folder" in gone.err
    with pytest.raises(BadInput):
        runs.locate(Path("lr=1/default/gone"))
