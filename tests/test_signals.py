"""Signals: the step is finished, the state is saved, the exit code says to come again; and coming again loses nothing."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import driver
import pytest

NAME = "penalised"
ADVANCE = "ganrun.engine.loop:Trainer.advance"
SAVE = "ganrun.disk.checkpoint:save"
PLACES = {
    "a step": (ADVANCE, 5, 5),
    "a save": (SAVE, 3, 6),
    "a rename inside a save": ("os:replace", 10, None),
    "a log row": ("ganrun.engine.run:Run.log", 4, 4),
    "a picture": ("ganrun.engine.run:Run.picture", 2, 4),
    "an evaluation": ("ganrun.engine.run:Run.evaluate", 1, 5),
    "the start": ("ganrun.engine.papers:introduce", 1, 1),
}


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("signals") / "reference"
    driver.finished(driver.config(NAME), folder)
    return folder


def goes_on(outcome: driver.Outcome, run: Path, reference: Path, given: Any = None) -> None:
    """The run said that it stopped and had saved; the same command takes it to the same end."""
    assert outcome.code == 75, outcome.said
    assert "Traceback" not in outcome.said
    assert driver.facts(run)["status"] == "stopped"
    step = driver.facts(run)["step"]
    assert driver.steps_kept(run)[-1] == step
    again = driver.train(given or driver.config(NAME), run)
    assert again.code == 0, again.said
    assert f"going on from step {step}" in again.said
    driver.assert_identical(run, reference)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1"])
def test_a_signal_during_a_step_stops_after_it(name: str, tmp_path: Path, reference: Path) -> None:
    outcome = driver.train(driver.config(NAME), tmp_path / "run", setup=[["signal_at", ADVANCE, 5, getattr(signal, name)]])
    assert driver.facts(tmp_path / "run")["step"] == 5
    assert f"{name} after step 5" in outcome.said
    goes_on(outcome, tmp_path / "run", reference)


@pytest.mark.parametrize("place", PLACES)
def test_a_signal_in_the_midst_of_anything_else_stops_too(place: str, tmp_path: Path, reference: Path) -> None:
    where, nth, step = PLACES[place]
    given = driver.config(
        NAME,
        "every={log: 1, sample: 4, eval: 5, checkpoint: 3}",
        "metric=fid",
        "evaluation.extractor=random_conv",
        "evaluation.num=16",
    )
    outcome = driver.train(given, tmp_path / "run", setup=[["signal_at", where, nth, signal.SIGTERM]])
    if step is not None:
        assert driver.facts(tmp_path / "run")["step"] == step
    goes_on(outcome, tmp_path / "run", reference, given)


def test_a_signal_before_anything_else_stops_after_the_first_step(tmp_path: Path, reference: Path) -> None:
    outcome = driver.train(driver.config(NAME), tmp_path / "run", setup=[["signal_now", signal.SIGTERM]])
    assert driver.facts(tmp_path / "run")["step"] == 1
    goes_on(outcome, tmp_path / "run", reference)


def test_a_run_that_is_stopped_at_every_step_still_ends_the_same(tmp_path: Path, reference: Path) -> None:
    given = driver.config(NAME)
    for step in (1, 2, 3):
        outcome = driver.train(given, tmp_path / "run", setup=[["signal_now", signal.SIGINT]])
        assert outcome.code == 75
        assert driver.steps_kept(tmp_path / "run")[-1] == step
    driver.finished(given, tmp_path / "run")
    driver.assert_identical(tmp_path / "run", reference)


def test_a_signal_in_the_last_step_finds_the_run_done(tmp_path: Path, reference: Path) -> None:
    outcome = driver.train(driver.config(NAME), tmp_path / "run", setup=[["signal_at", ADVANCE, 12, signal.SIGTERM]])
    assert outcome.code == 0, outcome.said
    driver.assert_identical(tmp_path / "run", reference)


def test_a_second_interrupt_ends_at_once(tmp_path: Path, reference: Path) -> None:
    given, run = driver.config(NAME), tmp_path / "run"
    outcome = driver.train(given, run, setup=[["signal_at", "ganrun.ground.turn:Turn.latent", 8, signal.SIGINT, 2]])
    assert outcome.code == 130
    assert "Traceback" not in outcome.said
    assert driver.facts(run)["status"] == "running"
    driver.finished(given, run)
    driver.assert_identical(run, reference)


def test_an_interrupt_after_a_termination_still_saves(tmp_path: Path, reference: Path) -> None:
    setup = [["signal_at", ADVANCE, 5, signal.SIGTERM], ["signal_at", "ganrun.engine.run:Run.save", 2, signal.SIGINT]]
    goes_on(driver.train(driver.config(NAME), tmp_path / "run", setup=setup), tmp_path / "run", reference)


def test_nohup_is_respected(tmp_path: Path, reference: Path) -> None:
    setup = [["ignore", signal.SIGHUP], ["signal_at", ADVANCE, 5, signal.SIGHUP]]
    outcome = driver.train(driver.config(NAME), tmp_path / "run", setup=setup)
    assert outcome.code == 0, outcome.said
    driver.assert_identical(tmp_path / "run", reference)


def test_signals_from_outside_count_as_well(tmp_path: Path, reference: Path) -> None:
    run = tmp_path / "run"
    for name in ("ready", "go"):
        os.mkfifo(tmp_path / name)
    setup = [["pause", 5, str(tmp_path / "ready"), str(tmp_path / "go")]]
    child = driver.start("train", driver.config(NAME), run, setup=setup)
    (tmp_path / "ready").read_text()
    child.signal(signal.SIGTERM)
    (tmp_path / "go").write_text("go")
    goes_on(child.wait(), run, reference)
