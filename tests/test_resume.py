"""Exact resume: a run that was killed, however often and wherever, ends as the one that was not."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import driver
import pytest
import torch

from ganrun.disk import checkpoint
from ganrun.disk.fault_injection import SAVE_POINTS
from ganrun.engine import assemble
from ganrun.engine.loop import OptimizerState, Trainer
from ganrun.ground import registry
from ganrun.ground.errors import NoCheckpoint
from ganrun.ground.runtime import resolve
from ganrun.regularizers.base import Regularizer

SIGKILL = -signal.SIGKILL


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The folder of an uninterrupted run of each config, trained when first asked for; and the seconds it took."""
    made: dict[str, tuple[Path, float]] = {}

    def reference(name: str) -> tuple[Path, float]:
        if name not in made:
            folder = tmp_path_factory.mktemp("reference") / name
            driver.ready()
            began = time.monotonic()
            driver.finished(driver.config(name), folder)
            made[name] = (folder, time.monotonic() - began)
        return made[name]

    return reference


def kill_at(given: Any, folder: Path, seconds: float) -> bool:
    """Start the run, kill it after ``seconds``; False if it had ended by itself."""
    child = driver.start("train", given, folder)
    time.sleep(seconds)
    child.signal(signal.SIGKILL)  # the child is not waited for yet, so its number is still its own
    outcome = child.wait()
    assert outcome.code in (0, SIGKILL), outcome.said
    return outcome.code == SIGKILL


def survive(name: str, kills: int, folder: Path, references: Any, chance: random.Random) -> None:
    """Kill runs of ``name`` until ``kills`` have landed, each going on where the last one died; compare each that ends."""
    reference, duration = references(name)
    given, landed, number = driver.config(name), 0, 0
    while landed < kills:
        run, number = folder / f"run{number}", number + 1
        while landed < kills and kill_at(given, run, chance.uniform(0.05, duration)):
            landed += 1
        driver.finished(given, run)
        driver.assert_identical(run, reference)


def test_five_kills_at_random_moments_leave_no_trace(tmp_path: Path, references: Any) -> None:
    survive("normed", 5, tmp_path, references, random.Random(5))


@pytest.mark.parametrize("point", SAVE_POINTS)
def test_a_kill_inside_a_save_leaves_no_trace(point: str, tmp_path: Path, references: Any) -> None:
    given = driver.config("penalised")
    # the third passing is in the midst of the run; the points of every write, which run.json passes too, at a later one
    nth = {"mid_write": 9, "before_sync": 9, "mid_prune": 1}.get(point, 3)
    killed = driver.train(given, tmp_path / "run", environment={"GANRUN_FAULT": f"{point}:{nth}"})
    assert killed.code == SIGKILL, killed.said
    driver.finished(given, tmp_path / "run")
    driver.assert_identical(tmp_path / "run", references("penalised")[0])
    assert driver.steps_kept(tmp_path / "run") == [6, 9, 12]


def test_a_kill_before_anything_was_saved_leaves_no_trace(tmp_path: Path, references: Any) -> None:
    given = driver.config("penalised")
    for point in ("mid_write:1", "before_sync:2", "before_write:1", "between_renames:1"):
        killed = driver.train(given, tmp_path / "run", environment={"GANRUN_FAULT": point})
        assert killed.code == SIGKILL, killed.said
    driver.finished(given, tmp_path / "run")
    driver.assert_identical(tmp_path / "run", references("penalised")[0])
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {"config.yaml", "overrides.txt", "run.json", "metrics.jsonl"}


@pytest.mark.parametrize("name", ["points", "labelled"])
def test_other_optimizers_conditions_and_no_average_resume_exactly_too(name: str, tmp_path: Path, references: Any) -> None:
    killed = driver.train(driver.config(name), tmp_path / "run", environment={"GANRUN_FAULT": "before_commit:3"})
    assert killed.code == SIGKILL, killed.said
    driver.finished(driver.config(name), tmp_path / "run")
    driver.assert_identical(tmp_path / "run", references(name)[0])


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(driver.CONFIGS))
def test_two_hundred_kills_at_random_moments_leave_no_trace(name: str, tmp_path: Path, references: Any) -> None:
    survive(name, 200 // len(driver.CONFIGS), tmp_path, references, random.Random(f"long {name}"))


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(driver.CONFIGS))
@pytest.mark.parametrize("point", SAVE_POINTS)
def test_kills_inside_three_saves_leave_no_trace(point: str, name: str, tmp_path: Path, references: Any) -> None:
    for nth in (1, 2) if point == "mid_prune" else (1, 2, 3):  # only two checkpoints are pruned in such a short run
        folder = tmp_path / f"run{nth}"
        killed = driver.train(driver.config(name), folder, environment={"GANRUN_FAULT": f"{point}:{nth}"})
        assert killed.code == SIGKILL, killed.said
        driver.finished(driver.config(name), folder)
        driver.assert_identical(folder, references(name)[0])


@pytest.mark.long
def test_a_kill_at_any_write_whatever_leaves_no_trace(tmp_path: Path, references: Any) -> None:
    for nth in range(1, 100):
        folder = tmp_path / f"run{nth}"
        killed = driver.train(driver.config("points"), folder, environment={"GANRUN_FAULT": f"mid_write:{nth}"})
        if killed.code == 0:
            assert nth > 20
            break
        driver.finished(driver.config("points"), folder)
        driver.assert_identical(folder, references("points")[0])
    else:
        pytest.fail("the run has no end of writes")


# what must not matter


SCORED = ("metric=fid", "evaluation.extractor=random_conv", "evaluation.num=64")


@pytest.mark.parametrize(
    "overrides",
    [
        ("every={log: 5, sample: 2, eval: 0, checkpoint: 0}",),
        ("every={log: 0, sample: 0, eval: 0, checkpoint: 1}", "keep=1"),
        ("every={log: 1, sample: 0, eval: 5, checkpoint: 3}", *SCORED),
    ],
    ids=["rarely", "saved at every step", "scored"],
)
def test_how_often_a_run_logs_samples_scores_and_saves_changes_nothing(
    overrides: tuple[str, ...], tmp_path: Path, references: Any
) -> None:
    given = driver.config("normed", *overrides)
    assert driver.finished(given, tmp_path / "run") == driver.final_digest(references("normed")[0])
    logged = {row["step"]: row for row in driver.rows(tmp_path / "run")}
    for row in driver.rows(references("normed")[0]):
        assert logged.get(row["step"], row) == row
    assert {1, 12} <= logged.keys()
    if "metric=fid" in overrides:
        scored = [json.loads(line)["step"] for line in (tmp_path / "run" / "scores.jsonl").read_text().splitlines()]
        assert scored == [5, 10, 12]


def test_an_interrupted_run_that_scores_itself_has_each_score_once(tmp_path: Path) -> None:
    given = driver.config("points", "every={log: 1, sample: 2, eval: 2, checkpoint: 3}", "metric=modes", "evaluation.num=64")
    driver.finished(given, tmp_path / "reference")
    for point in ("before_commit:4", "after_commit:2"):  # the one loses scores that came after the checkpoint, the other none
        killed = driver.train(given, tmp_path / "run", environment={"GANRUN_FAULT": point})
        assert killed.code == SIGKILL, killed.said
    driver.finished(given, tmp_path / "run")
    driver.assert_identical(tmp_path / "run", tmp_path / "reference")
    scores = [
        [{key: value for key, value in json.loads(line).items() if key != "time"} for line in path.read_text().splitlines()]
        for path in (tmp_path / "run" / "scores.jsonl", tmp_path / "reference" / "scores.jsonl")
    ]
    assert [row["step"] for row in scores[0]] == [2, 4, 6, 8, 10, 12]
    assert scores[0] == scores[1]


def test_clock_time_zone_and_locale_change_nothing(tmp_path: Path, references: Any) -> None:
    environment = {"TZ": "Pacific/Kiritimati", "LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONHASHSEED": "7"}
    folder = tmp_path / "R\u00e9seau \u2116 1"
    driver.finished(driver.config("penalised"), folder, environment=environment, setup=[["wild_clock"]])
    driver.assert_identical(folder, references("penalised")[0])
    assert driver.facts(folder)["created"].endswith("+00:00")


# what must matter


class Memory(Regularizer):
    """A regularizer with a state of its own: its cost grows with the updates it has seen."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: torch.Tensor
        self.register_buffer("seen", torch.zeros(()))

    def term(self, duel: Any, players: Any, turn: Any) -> torch.Tensor:
        return duel.fake_output.score.square().mean() * (0.1 + self.seen)

    def after_step(self, players: Any, duel: Any, turn: Any) -> None:
        self.seen += 0.01


class Everything:
    """A run in this process that has every kind of state."""

    steps, half = 3, 2

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        monkeypatch.setitem(registry._components, ("regularizer", "memory"), Memory)
        torch.set_num_threads(1)
        self.given = driver.config(name, f"steps={self.steps}", "dataset.num=256" if name == "points" else "seed=0")
        self.given["regularizer"]["memory"] = {"name": "memory"}
        parts = assemble.build(self.given)
        self.dataset = assemble.load_data(self.given, parts.family)

    def trainer(self) -> Trainer:
        return assemble.trainer(assemble.build(self.given), self.dataset, resolve(self.given["device"]))


def entries(state: Any, where: tuple[Any, ...] = ()) -> Any:
    """Paths of all leaves of nested mappings."""
    if isinstance(state, dict):
        for key, value in state.items():
            yield from entries(value, (*where, key))
    else:
        yield where


def changed(state: Any, where: tuple[Any, ...], value: Any) -> Any:
    """A copy of ``state`` with another leaf at ``where``; without it for ``value=None``."""
    copied = dict(state)
    if len(where) == 1:
        if value is None:
            del copied[where[0]]
        else:
            copied[where[0]] = value
    else:
        copied[where[0]] = changed(state[where[0]], where[1:], value)
    return copied


def at(state: Any, where: tuple[Any, ...]) -> Any:
    for key in where:
        state = state[key]
    return state


def frozen(state: Any) -> Any:
    """A state that the next step does not write into."""
    return {key: frozen(value) for key, value in state.items()} if isinstance(state, dict) else _own(state)


def _own(value: Any) -> Any:
    return value.clone() if isinstance(value, torch.Tensor) else value


# Saved although nothing else follows from them: counts that torch keeps, statistics that only sampling reads, averages,
# which nothing trains on. Their loss is seen in themselves.
INERT = ("num_batches_tracked", "running_mean", "running_var", "averages/")


@pytest.mark.parametrize("name", ["normed", "points"])
def test_every_entry_of_a_checkpoint_matters_and_none_may_be_missing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Everything(monkeypatch, name)
    trainer = run.trainer()
    start = frozen(trainer.state_dict())
    while trainer.step < run.half:
        trainer.advance()
    middle = frozen(trainer.state_dict())
    assert middle["regularizers/memory"]["seen"] > 0
    for role, optimizer in trainer.optimizers.items():  # before the first step there are no moments: theirs begin at zero
        blank = OptimizerState(optimizer, trainer.game.players[role]).template(1)
        start[f"optimizers/{role}"] = {
            name: {key: torch.zeros_like(value) for key, value in moments.items()} for name, moments in blank.items()
        }

    def end_of(state: Any) -> dict[str, Any]:
        again = run.trainer()
        again.load_state_dict(state)
        while again.step < run.steps:
            again.advance()
        return dict(checkpoint.leaves(frozen(again.state_dict())))

    reference = end_of(middle)
    uninterrupted = trainer
    while uninterrupted.step < run.steps:
        uninterrupted.advance()
    assert checkpoint.digest(uninterrupted.state_dict()) == checkpoint.digest(reference_state(reference))

    untouched = run.trainer()
    leaves = [where for where in entries(middle) if where != ("step",)]  # the file is refused without it, see below
    assert len(leaves) > 30
    for where in leaves:
        label = "/".join(str(key) for key in where)
        with pytest.raises(NoCheckpoint, match=re.escape(f"{where[-1]} is missing")):
            untouched.load_state_dict(changed(middle, where, None))
        initial = at(start, where)
        if _equal(initial, at(middle, where)):  # the one-row matrix's u, which is 1 or -1
            initial = -initial
        end = end_of(changed(middle, where, initial))
        differing = {path for path in reference if not _equal(end[path], reference[path])}
        assert differing, f"{label} was lost, and nothing came of it"
        others = differing - {"/" + label}
        if not any(word in label for word in INERT):
            assert others, f"{label} is saved, though nothing follows from it"
    assert untouched.step == 0
    with pytest.raises(NoCheckpoint, match="unexpected"):  # no moments exist before the first step
        untouched.load_state_dict(changed(middle, ("step",), 0))
    assert checkpoint.digest(untouched.state_dict()) == checkpoint.digest(run.trainer().state_dict())


def reference_state(leaves: dict[str, Any]) -> Any:
    """Leaves as a flat mapping that has the digest of the state they came from."""
    return {path.removeprefix("/"): value for path, value in leaves.items()}


def _equal(one: Any, other: Any) -> bool:
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def test_a_checkpoint_without_one_of_its_entries_is_refused_with_its_name(tmp_path: Path, references: Any) -> None:
    for number, where in enumerate([("step",), ("averages/generator",), ("optimizers/discriminator", "output.bias", "exp_avg")]):
        folder = tmp_path / f"run{number}"
        shutil.copytree(references("normed")[0], folder)
        for old in (6, 9):
            for path in (folder / "checkpoints").glob(f"step_{old:08d}.*"):
                path.unlink()
        state = checkpoint.read(folder / "checkpoints" / "step_00000012.pt")
        checkpoint.save(folder / "checkpoints", 12, changed(state, where, None), 3)
        before = driver.contents(folder / "checkpoints")
        outcome = driver.train(driver.config("normed"), folder)
        assert outcome.code == 5
        assert where[-1] in outcome.said
        assert "Traceback" not in outcome.said
        assert driver.contents(folder / "checkpoints") == before


def test_another_seed_ends_elsewhere(tmp_path: Path, references: Any) -> None:
    """The comparison itself can fail."""
    digest = driver.finished(driver.config("penalised", "seed=1"), tmp_path / "run")
    assert digest != driver.final_digest(references("penalised")[0])


def test_the_children_really_are_other_processes(tmp_path: Path) -> None:
    driver.finished(driver.config("points", "steps=1"), tmp_path / "run")
    holder = (tmp_path / "run" / ".lock").read_text()
    assert f"process {os.getpid()} " not in holder
