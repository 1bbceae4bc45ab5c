"""``keep_best``: the checkpoint with the best score stays, which follows from the rows, and ``--best`` takes it."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import cli_driver
import driver
import pytest
from cli_driver import run
from conftest import compose_config

import ganrun
from ganrun.disk import identity, runs
from ganrun.disk.rows import rows_of_scores
from ganrun.disk.run_folder import RunFolder
from ganrun.engine import best
from ganrun.engine import run as running
from ganrun.engine.best import KeepBest
from ganrun.ground.errors import BadInput
from ganrun.ground.objective import Objective

inside, engine = cli_driver.inside, cli_driver.engine  # fixtures

ASKED = ("metric=sliced_wasserstein", "evaluation.num=64", "keep_best=sliced_wasserstein", "keep=1", "doctor.every=0")
EVERY = "every={log: 1, sample: 0, eval: 2, checkpoint: 7}"  # no step of an evaluation, so that these save by themselves


def given(*overrides: str) -> dict[str, Any]:
    return driver.config("points", *ASKED, EVERY, "optimizer.lr=0.05", *overrides)  # so fast that the score goes up and down


def brute(folder: Path, every: int, last: int, until: int | None = None, higher: bool = False) -> int:
    """The best step, read from the file without any of ganrun's code."""
    held = {}
    for line in (folder / "scores.jsonl").read_text().splitlines():
        row = json.loads(line)
        if (row["step"] % every == 0 or row["step"] == last) and (until is None or row["step"] <= until):
            held[row["step"]] = row["scores"]["sliced_wasserstein"]["value"]
    target = (max if higher else min)(held.values())
    return min(step for step, value in held.items() if value == target)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run whose best score is neither its first nor its last."""
    folder = tmp_path_factory.mktemp("best") / "run"
    running.train(given(), folder, overrides=[], sweep=True)
    assert 2 < brute(folder, 2, 12) < 12
    return folder


def test_the_best_checkpoint_and_the_newest_are_kept_and_no_bit_of_training_changes(whole: Path, tmp_path: Path) -> None:
    assert driver.steps_kept(whole) == [brute(whole, 2, 12), 12]
    assert runs.step_of(best.checkpoint(whole)) == brute(whole, 2, 12)
    plain = given("keep_best=null")
    running.train(plain, tmp_path / "plain", overrides=[], sweep=True)
    driver.assert_identical(whole, tmp_path / "plain")
    assert driver.steps_kept(tmp_path / "plain") == [12]
    assert identity.identity(given()) == identity.identity(plain)


LONG = [pytest.param(fault, marks=pytest.mark.long) for fault in ("before_prune:8", "mid_write:31", "after_commit:4")]


@pytest.mark.parametrize("fault", ["before_commit:3", "between_renames:5", "mid_prune:2", *LONG])
def test_a_run_that_was_killed_and_goes_on_keeps_the_same_one(fault: str, whole: Path, tmp_path: Path) -> None:
    killed = driver.train(given(), tmp_path / "run", environment={"GANRUN_FAULT": fault})
    assert killed.code == -signal.SIGKILL, killed.said
    committed = runs.committed(tmp_path / "run")
    if any(step % 2 == 0 and step for step in committed):
        meanwhile = runs.step_of(best.checkpoint(tmp_path / "run"))
        assert meanwhile == brute(tmp_path / "run", 2, 12, until=max(committed))  # of the rows whose steps were saved
    driver.finished(given(), tmp_path / "run")
    driver.assert_identical(tmp_path / "run", whole)
    assert driver.steps_kept(tmp_path / "run") == driver.steps_kept(whole)
    assert best.checkpoint(tmp_path / "run").name == best.checkpoint(whole).name


def test_a_longer_run_keeps_what_it_had_kept_if_it_had_been_so_long_from_the_start(whole: Path, tmp_path: Path) -> None:
    """The last step of the shorter run, 11, is scored and is no step of every.eval."""
    every = "every={log: 1, sample: 0, eval: 4, checkpoint: 5}"
    for steps in (11, 16):
        running.train(given(every, f"steps={steps}"), tmp_path / "prolonged", overrides=[], sweep=True)
        assert runs.step_of(best.checkpoint(tmp_path / "prolonged")) == brute(tmp_path / "prolonged", 4, steps)
    running.train(given(every, "steps=16"), tmp_path / "long", overrides=[], sweep=True)
    assert driver.steps_kept(tmp_path / "prolonged") == driver.steps_kept(tmp_path / "long")


def test_an_earlier_best_one_goes_once_the_last_step_is_scored_and_better(whole: Path, tmp_path: Path) -> None:
    """As a run that was killed after its last scores and before that: the same command ends it."""
    shutil.copytree(whole, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    row = rows_of_scores(folder).read()[-1]
    row["scores"]["sliced_wasserstein"]["value"] = 0.0
    rows_of_scores(folder).append(row)
    folder.note(status="running")
    running.train(given(), tmp_path / "run", overrides=[], sweep=True)
    assert driver.steps_kept(tmp_path / "run") == [12]
    assert runs.step_of(best.checkpoint(tmp_path / "run")) == 12


def test_best_is_taken_by_load_sample_export_and_the_command_line(whole: Path, tmp_path: Path) -> None:
    step = brute(whole, 2, 12)
    trained = ganrun.load(whole, best=True)
    assert trained.step == step
    assert ganrun.load(whole).step == 12
    for words in (
        ["sample", whole, "--best", "--num", "2", "--out", tmp_path / "s"],
        ["export", whole, "--best", "--out", tmp_path / "g.safetensors"],
    ):
        assert run(*words).code == 0
    assert ganrun.load_generator(tmp_path / "g.safetensors")
    assert any(f"{step:08d}" in path.name or f"{step}" in path.name for path in (tmp_path / "s").iterdir())


def test_best_of_a_run_without_it_or_of_a_checkpoint_is_refused_in_words(whole: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    shutil.copytree(whole, plain)
    facts = json.loads((plain / "run.json").read_text())
    (plain / "run.json").write_text(json.dumps({key: fact for key, fact in facts.items() if key != "keep_best"}))
    with pytest.raises(BadInput, match="trained without keep_best"):
        best.checkpoint(plain)
    with pytest.raises(BadInput, match="give its folder"):
        best.checkpoint(best.checkpoint(whole))
    (plain / "run.json").write_text(json.dumps(facts))
    (plain / "scores.jsonl").write_text("")
    with pytest.raises(BadInput, match=r"has a score sliced_wasserstein yet; .* checkpoints of the steps"):
        best.checkpoint(plain)


CARD = {"metric": "fid", "samples": 50}


def row(step: int, value: float | None, name: str = "fid", **card: Any) -> dict[str, Any]:
    return {"step": step, "scores": {name: {"value": value, "card": {**CARD, **card}}}}


@pytest.mark.parametrize("higher", [False, True])
def test_the_best_is_the_earliest_of_equal_ones_under_the_card_that_is_asked_for(higher: bool) -> None:
    asked = KeepBest(Objective("fid", "fid", higher), CARD, every=10, last=45)
    sign = -1.0 if higher else 1.0
    rows = [row(10, 5.0 * sign), row(20, 3.0 * sign), row(30, 3.0 * sign), row(40, None), row(45, 4.0 * sign)]
    rows += [row(15, 0.0), row(20, -9.0 * sign, samples=7), row(30, float("nan")), row(30, 3.0 * sign), row(50, -99.0 * sign)]
    steps = {10, 15, 20, 30, 40, 45}
    assert asked.find(rows, steps) == (20, 3.0 * sign)
    assert asked.find(rows, steps - {20}) == (30, 3.0 * sign)
    assert asked.find(rows, {45, 10}) == (45, 4.0 * sign)
    assert asked.find([*rows, row(10, 2.0 * sign)], steps) == (10, 2.0 * sign)  # scored again: the newest counts
    assert asked.find(rows, {15, 40, 99}) is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["keep_best=fdi", "every.eval=100"], "keep_best=fdi: is no value of metric=[is,fid]. Did you mean 'fid'"),
        (["keep_best=kid", "every.eval=100"], "keep_best=kid: is no value of metric=[is,fid]"),
        (["keep_best=fid"], "keep_best=fid: with every.eval=0 the last step alone is scored"),
        (["keep_best=fid", "every.eval=100", "metric=none"], "nothing is scored with metric=none"),
        (["keep_best=kid_std", "metric=kid", "every.eval=1"], "neither more nor less of it is better"),
        (["objective=fdi"], "objective=fdi: is no value"),
    ],
)
def test_a_score_that_cannot_be_is_named_before_torch(words: list[str], said: str, inside: Path, engine: Any) -> None:
    answer = run("train", *words)
    assert (answer.code, engine.calls) == (2, [])
    assert said in " ".join(answer.err.split())


def test_every_value_with_a_direction_may_be_asked_for(inside: Path, engine: Any) -> None:
    assert run("train", "keep_best=recall", "metric=precision_recall", "every.eval=10").code == 0
    assert engine.last["config"]["keep_best"] == "recall"


def test_an_earlier_config_that_has_no_such_key_trains() -> None:
    config = {key: value for key, value in compose_config("dataset=ring8").items() if key != "keep_best"}
    best.verify(config)
