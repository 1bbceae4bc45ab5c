"""``ganrun train`` through Hydra: folders, sweeps, launchers, exit codes, signals, and no stray files."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cli_driver
import hydra
import pytest
from cli_driver import Engine, await_line, files, finish, run, start, write
from hydra._internal.config_loader_impl import ConfigLoaderImpl

import ganrun.engine
from ganrun.cli import compose, signature
from ganrun.disk import signals
from ganrun.ground import errors
from ganrun.ground.errors import BadInput, Diverged, Stopped

inside, engine = cli_driver.inside, cli_driver.engine  # fixtures


def folders(engine: Engine) -> list[str]:
    return [call["folder"].name for call in engine.calls]


def test_a_run_gets_its_plain_resolved_config_its_folder_and_what_was_typed(inside: Path, engine: Engine) -> None:
    assert run("train", "model=wgan", "n_critic=3", "name=study", "seed=4").code == 0
    (call,) = engine.calls
    config = call["config"]
    assert type(config) is type(config["model"]) is type(config["model"]["generator"]) is dict
    assert "hydra" not in config
    assert (config["game"]["n_critic"], config["optimizer"]["generator"]["lr"]) == (3, 5e-5)
    assert call["overrides"] == ["model=wgan", "n_critic=3", "name=study", "seed=4"]
    assert call["sweep"] is False
    assert call["folder"] == inside / signature.run_folder(config)
    assert call["folder"].parent == inside / "outputs" / "study"


def test_hydra_leaves_nothing_beside_the_run_folder(inside: Path, engine: Engine) -> None:
    run("train")
    folder = engine.last["folder"].relative_to(inside).as_posix()
    made = {"outputs", "outputs/default", folder, f"{folder}/config.yaml", f"{folder}/checkpoints"}
    assert files(inside) == {*made, f"{folder}/checkpoints/step_00000001.pt"}


def test_the_same_command_finds_the_same_folder_however_it_is_spelt(inside: Path, engine: Engine) -> None:
    for line in (
        ["optimizer.lr=1", "regularizer=[r1,spectral_norm]"],
        ["regularizer=[spectral_norm,r1]", "optimizer.lr=1.0", "every.log=7", "metric=[fid]", "device=cpu"],
        ["+experiment=none", "optimizer.lr=1e0", "regularizer=[r1,spectral_norm]", "evaluation.num=5"],
    ):
        assert run("train", *line).code == 0
    assert len(set(folders(engine))) == 1
    run("train", "optimizer.lr=1", "regularizer=[r1,spectral_norm]", "seed=1")
    assert len(set(folders(engine))) == 2


def test_a_users_hydra_run_dir_and_output_are_honoured(inside: Path, engine: Engine) -> None:
    run("train", "hydra.run.dir=elsewhere")
    run("train", "output=there")
    assert [call["folder"].relative_to(inside).parts[0] for call in engine.calls] == ["elsewhere", "there"]
    assert not (inside / "outputs").exists()


def test_cfg_shows_what_runs_and_runs_nothing(inside: Path, engine: Engine) -> None:
    line = ["model=wgan", "regularizer=[r1]", "optimizer.lr=3e-4", "experiment=none"]
    shown = run("train", *line, "--cfg", "job", "--resolve")
    assert files(inside) == set()
    assert engine.calls == []
    run("train", *line)
    import yaml

    assert yaml.safe_load(shown.out) == engine.last["config"]
    part = run("train", *line, "-c", "job", "-p", "optimizer")
    assert part.out.startswith("# @package optimizer\n")
    assert "lr: ${..lr}" in part.out


@pytest.mark.parametrize("what", ["defaults-tree", "plugins"])
def test_info_and_hydras_help_show_and_run_nothing(what: str, inside: Path, engine: Engine) -> None:
    answer = run("train", "--info", what)
    assert answer.code == 0
    assert len(answer.out) > 100
    assert files(inside) == set()


def test_hydras_own_page_is_reachable(inside: Path) -> None:
    answer = run("train", "--hydra-help")
    assert answer.code == 0
    assert "Hydra (" in answer.out
    assert files(inside) == set()


def test_a_sweep_puts_ordinary_run_folders_under_one_name(inside: Path, engine: Engine) -> None:
    engine.act = lambda config, folder: 0.5 + config["seed"]
    answer = run("train", "-m", "seed=0,1", "loss=hinge,lsgan", "name=study")
    assert answer.code == 0
    assert len(set(folders(engine))) == 4
    assert {call["folder"].parent for call in engine.calls} == {inside / "outputs" / "study"}
    assert all(call["sweep"] for call in engine.calls)
    first = engine.calls[0]
    said = f"[0] outputs/study/{first['folder'].name}: done: objective fid 0.5 at step 1, lower is better"
    assert without_progress(answer.lines[0]) == said
    assert "(1 of 4 jobs, " in answer.lines[0]
    assert answer.lines[3].endswith("(4 of 4 jobs)")
    assert answer.lines[-1] == "sweep: 4 done"
    table = answer.lines[4:-1]  # which job it was, what it varied, what became of it, whatever the width
    assert sum("seed=1 loss=lsgan" in line for line in table) == 1
    assert sum("objective fid 0.5 at step 1" in line for line in table) == 2
    visible = {path for path in files(inside) if not path.startswith("outputs/study/")}
    assert visible == {"outputs", "outputs/study", "outputs/.sweep", "outputs/.sweep/study", "outputs/.sweep/study/multirun.yaml"}
    single = folders(engine)[0]
    run("train", "loss=hinge", "name=study")
    assert folders(engine)[-1] == single


def test_a_sweep_in_a_folder_that_the_user_names_stays_there(inside: Path, engine: Engine) -> None:
    run("train", "-m", "seed=0,1", "hydra.sweep.dir=mine_too")
    assert {call["folder"].parent for call in engine.calls} == {inside / "mine_too"}
    assert not (inside / "outputs").exists()


def without_progress(line: str) -> str:
    """A job's line without how many jobs are done and the time left."""
    return re.sub(r" \(\d+ of \d+ jobs[^)]*\)$", "", line)


def test_a_failed_job_stops_no_other_and_the_sweep_ends_with_one(inside: Path, engine: Engine) -> None:
    def act(config: Mapping[str, Any], folder: Path) -> None:
        if config["seed"] == 1:
            raise Diverged("step 3: loss.d is not finite")
        if config["seed"] == 2:
            (folder / "train.log").write_text("began\n")
            raise RuntimeError("a defect\nof two lines")

    engine.act = act
    answer = run("train", "-m", "seed=0,1,2,3", "hydra.sweeper.max_batch_size=1")
    assert answer.code == 1
    assert len(engine.calls) == 4
    assert [without_progress(line).partition(": ")[2] for line in answer.lines[:4]] == [
        "done",
        "failed (exit 3): step 3: loss.d is not finite",
        "failed (exit 1): RuntimeError: a defect of two lines",
        "done",
    ]
    assert answer.lines[-1] == "sweep: 2 done, 2 failed; the same command goes on with what is missing"
    one, two = (engine.calls[index]["folder"] for index in (1, 2))
    assert not one.exists()
    assert "Traceback" in (two / "train.log").read_text()


def test_after_a_stop_no_further_job_starts(inside: Path, engine: Engine) -> None:
    def act(config: Mapping[str, Any], folder: Path) -> None:
        if config["seed"] == 1:
            raise Stopped("saved at step 7")

    engine.act = act
    answer = run("train", "-m", "seed=0,1,2,3")
    assert answer.code == 75
    assert [call["config"]["seed"] for call in engine.calls] == [0, 1]
    assert "sweep: 1 done, 3 stopped" in answer.lines[-1]
    engine.act = lambda config, folder: None
    assert run("train", "-m", "seed=0,1").code == 0


def test_a_signal_before_the_engine_is_heeded(inside: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "requested", lambda: "SIGTERM")
    assert run("train").code == 75
    assert run("train", "-m", "seed=0,1").code == 75
    assert engine.calls == []
    assert {path for path in files(inside) if ".sweep" not in path} == {"outputs"}


@pytest.mark.parametrize(
    "kind", [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.GanrunError)]
)
def test_each_error_meant_for_a_person_is_its_message_and_its_exit_code(
    kind: type[errors.GanrunError], inside: Path, engine: Engine
) -> None:
    def act(config: Mapping[str, Any], folder: Path) -> None:
        raise kind("key=value: not so.\nA second line.")

    engine.act = act
    answer = run("train")
    assert answer.code == kind.exit_code
    assert answer.err == "key=value: not so.\nA second line.\n"
    assert files(inside) == set()


def test_a_defect_is_a_traceback_and_exit_one(inside: Path, engine: Engine) -> None:
    def act(config: Mapping[str, Any], folder: Path) -> None:
        (folder / "train.log").touch()
        raise RuntimeError("a defect")

    engine.act = act
    answer = run("train")
    assert answer.code == 1
    assert "Traceback" in answer.err
    assert "RuntimeError: a defect" in answer.err
    assert engine.last["folder"].exists()


def test_an_empty_folder_of_a_failed_run_goes_but_neighbours_stay(inside: Path, engine: Engine) -> None:
    run("train", "name=study")

    def act(config: Mapping[str, Any], folder: Path) -> None:
        raise BadInput("no")

    engine.act = act
    before = files(inside)
    run("train", "name=study", "seed=1")
    run("train", "name=other", "seed=1")
    assert files(inside) == before


def test_an_output_that_cannot_be_written_is_exit_four(inside: Path, engine: Engine) -> None:
    (inside / "taken").touch()
    for flags in ([], ["-m"]):
        answer = run("train", "output=taken", *flags)
        assert (answer.code, len(answer.lines)) == (4, 1)
        assert "taken" in answer.err
    assert engine.calls == []


def test_plugins_and_users_options_reach_the_engine(inside: Path, engine: Engine) -> None:
    mine = write(inside, loss__mine="# Mine.\nname: mine\nmargin: 3.0\n")
    assert run("train", "-cd", mine, "loss=mine", "loss.margin=2", "plugins=[my.losses]").code == 0
    assert (engine.last["config"]["loss"], engine.last["config"]["plugins"]) == ({"name": "mine", "margin": 2}, ["my.losses"])
    assert run("train", "loss=mine").code == 2, "the folder of the command before is forgotten"


def test_the_digest_of_a_users_images_is_in_the_config_and_names_the_folder(inside: Path, engine: Engine) -> None:
    for place in ("a", "b"):
        (inside / place).mkdir()
        (inside / place / "x.png").write_text("12345")
        run("train", "dataset=folder", f"dataset.root={place}")
    assert len(set(folders(engine))) == 1
    (inside / "b" / "y.png").touch()
    run("train", "dataset=folder", "dataset.root=b")
    assert len(set(folders(engine))) == 2
    assert run("train", "dataset=folder", "dataset.root=nowhere").code == 0
    assert engine.last["config"]["dataset"]["content"] == "missing"


def test_jobs_that_differ_in_their_seed_alone_are_tried_once(
    inside: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[Any] = []
    module = ganrun.engine.beforehand
    monkeypatch.setattr(module, "Check", type("Check", (), {"verify": lambda self, config: tried.append(config)}))
    assert run("train", "-m", "seed=range(3)", "loss=hinge,lsgan", "batch_size=8,16").code == 0
    assert [(config["loss"]["name"], config["batch_size"]) for config in tried] == [
        ("hinge", 8),
        ("hinge", 16),
        ("lsgan", 8),
        ("lsgan", 16),
    ]
    assert len(engine.calls) == 12


# Real processes


def test_joblib_runs_a_sweep_and_its_failures_are_counted(inside: Path) -> None:
    line = ["train", "-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "seed=1,13,2"]
    answer = finish(start(inside, *line))
    assert answer.code == 1, answer.err
    assert answer.lines[-1].startswith("sweep: 2 done, 1 failed")
    assert sum(": done: objective" in said for said in answer.lines) == 2
    jobs = [without_progress(said) for said in answer.lines if said.startswith("[")]
    assert sum(said.endswith("failed (exit 2): seed=13: unlucky") for said in jobs) == 1
    visible = sorted(path.name.split("-seed")[1].split("-")[0] for path in (inside / "outputs" / "default").iterdir())
    assert visible == ["1", "2"]
    assert {path.name for path in (inside / "outputs" / ".sweep" / "default").iterdir()} == {"multirun.yaml"}


@pytest.mark.parametrize("flags", [[], ["-m"], ["-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]])
def test_sigterm_to_the_command_reaches_every_job_and_ends_with_75(flags: list[str], inside: Path) -> None:
    seeds = "seed=1,2,3" if flags else "seed=1"
    process = start(inside, "train", *flags, "steps=99", seeds)
    running = 2 if "hydra/launcher=joblib" in flags else 1
    said = await_line(process, "TRAINS", running)
    process.send_signal(signal.SIGTERM)
    answer = finish(process, said)
    assert answer.code == 75, answer.err
    jobs = [line for line in answer.lines if line.startswith("[")] if flags else answer.lines
    assert sum("saved at step 7" in line for line in jobs) == running
    assert sum("not started" in line for line in jobs) == (3 - running if flags else 0)
    assert "Traceback" not in answer.err


def test_a_second_ctrl_c_ends_at_once_with_130(inside: Path) -> None:
    process = start(inside, "train", "steps=98", "seed=1")
    await_line(process, "TRAINS")
    process.send_signal(signal.SIGINT)
    await_line(process, "HEARD")
    process.send_signal(signal.SIGINT)
    assert finish(process).code == 130


@pytest.mark.parametrize(
    "line", [["loss=hinge"], ["experiment=wgan_gp", "seed=3"], ["model=wgan", "optimizer.lr=1e-4"], ["optimizer.lr=${ema}"]]
)
def test_a_run_is_composed_once(line: list[str], inside: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    load, composed = ConfigLoaderImpl._load_configuration_impl, []

    def counted(self: ConfigLoaderImpl, *args: object, **said: object) -> object:
        composed.append(1)
        return load(self, *args, **said)

    monkeypatch.setattr(compose, "compose", hydra.compose)  # not the tests' own, which remembers
    monkeypatch.setattr(ConfigLoaderImpl, "_load_configuration_impl", counted)
    assert run("train", *line).code == 0
    assert (len(composed), len(engine.calls)) == (1, 1)
