"""Runs on bad disks: what is damaged is passed over loudly, what cannot be written stops the run, nothing good is lost."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import driver
import pytest

NAME = "penalised"


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted run of 12 steps."""
    folder = tmp_path_factory.mktemp("storage") / "reference"
    driver.finished(driver.config(NAME), folder)
    return folder


@pytest.fixture(scope="module")
def broken_off(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed before its last save: checkpoints of steps 3, 6 and 9, rows to step 12."""
    folder = tmp_path_factory.mktemp("storage") / "run"
    killed = driver.train(driver.config(NAME), folder, environment={"GANRUN_FAULT": "before_write:5"})
    assert killed.code == -signal.SIGKILL, killed.said
    assert driver.steps_kept(folder) == [3, 6, 9]
    return folder


@pytest.fixture
def run(broken_off: Path, tmp_path: Path) -> Path:
    """A copy of the broken-off run, to be damaged."""
    return Path(shutil.copytree(broken_off, tmp_path / "run"))


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 16
    path.write_bytes(data)


def swap_in(run: Path) -> None:
    folder = run / "checkpoints"
    shutil.copy(folder / "step_00000006.pt", folder / "step_00000009.pt")


def newest(run: Path, suffix: str = ".pt") -> Path:
    return run / "checkpoints" / f"step_00000009{suffix}"


def tear_last_row(run: Path) -> None:
    with open(run / "metrics.jsonl", "ab") as file:
        file.write(b'{"step": 13, "images": 104, "discriminator/lo')


def tear_an_early_row(run: Path) -> None:
    path = run / "metrics.jsonl"
    rows = path.read_text().splitlines(keepends=True)
    path.write_text("".join(rows[:10]) + rows[10].rstrip("\n"))


def lay_orphans(run: Path) -> None:
    names = ("run.json.tmp.77", "checkpoints/step_00000012.pt.tmp.77", "samples/step_00000012.png.tmp.1")
    for path in (run / name for name in names):
        path.write_bytes(b"left by a killed process")


# what is done to the run, and the step from which it must go on; test_checkpoint.py has more kinds
DAMAGE: dict[str, tuple[Callable[[Path], Any], int]] = {
    "truncated": (lambda run: os.truncate(newest(run), 1000), 6),
    "a bit flipped": (lambda run: flip_a_bit(newest(run)), 6),
    "deleted": (lambda run: newest(run).unlink(), 6),
    "manifest missing": (lambda run: newest(run, ".json").unlink(), 6),
    "old data swapped in": (swap_in, 6),
    "the two newest": (lambda run: (newest(run).write_bytes(b""), flip_a_bit(run / "checkpoints" / "step_00000006.pt")), 3),
    "a torn last row": (tear_last_row, 9),
    "a row without its end": (tear_an_early_row, 9),
    "orphans": (lay_orphans, 9),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_run_goes_on_from_the_newest_good_checkpoint_to_the_same_end(name: str, run: Path, reference: Path) -> None:
    damage, step = DAMAGE[name]
    damage(run)
    outcome = driver.train(driver.config(NAME), run)
    assert outcome.code == 0, outcome.said
    driver.assert_identical(run, reference)
    journal = (run / "train.log").read_text()
    assert f"going on from step {step}" in journal
    if step < 9:
        for text in (journal, outcome.said):
            assert "step_00000009.pt" in text
            assert "not usable" in text
    assert driver.steps_kept(run)[-1] == 12


def test_a_damaged_newest_checkpoint_never_costs_a_good_one(run: Path, reference: Path) -> None:
    """With keep=1, a broken checkpoint that still counts as the newest would push out each good one that is written."""
    flip_a_bit(newest(run))
    given = driver.config(NAME, "keep=1", "every={log: 1, sample: 0, eval: 0, checkpoint: 1}")
    stopped = driver.train(given, run, setup=[["signal_at", "ganrun.engine.loop:Trainer.advance", 1, signal.SIGTERM]])
    assert stopped.code == 75, stopped.said
    assert driver.steps_kept(run)[-1] == 7
    assert newest(run).with_name("step_00000009.pt.unusable").exists()
    outcome = driver.train(given, run)
    assert outcome.code == 0, outcome.said
    assert "going on from step 7" in outcome.said
    driver.assert_identical(run, reference)
    assert driver.steps_kept(run) == [12]


def test_when_all_checkpoints_are_bad_nothing_is_touched_until_a_person_says_so(run: Path, reference: Path) -> None:
    for path in (run / "checkpoints").glob("*.pt"):
        os.truncate(path, 100)
    before = driver.contents(run, "train.log", "run.json", ".lock")
    outcome = driver.train(driver.config(NAME), run)
    assert outcome.code == 5
    assert "fresh=true" in outcome.said
    assert "Traceback" not in outcome.said
    assert driver.contents(run, "train.log", "run.json", ".lock") == before
    driver.finished(driver.config(NAME, "fresh=true"), run)
    driver.assert_identical(run, reference)
    aside = run.with_name("run.aside-1")
    assert {name: data for name, data in before.items() if "checkpoints" in name}.items() <= driver.contents(aside).items()


@pytest.mark.parametrize("also", [(), ("metrics.jsonl",), ("run.json",)], ids=["alone", "and the rows", "and run.json"])
def test_checkpoints_that_are_gone_are_missed(also: tuple[str, ...], run: Path) -> None:
    shutil.rmtree(run / "checkpoints")
    for name in also:
        (run / name).unlink()
    before = driver.contents(run, "train.log", "run.json", ".lock")
    outcome = driver.train(driver.config(NAME), run)
    assert outcome.code == (2 if "run.json" in also else 5)  # without run.json nothing says what the folder is
    assert ("is missing" if "run.json" in also else "gone") in outcome.said
    assert "fresh=true" in outcome.said
    assert driver.contents(run, "train.log", "run.json", ".lock") == before


def test_manifests_that_are_all_gone_are_missed(run: Path) -> None:
    for path in (run / "checkpoints").glob("*.json"):
        path.unlink()
    assert driver.train(driver.config(NAME), run).code == 5


# the disk says no


def untouched(run: Path, kept: dict[str, bytes], outcome: driver.Outcome) -> None:
    assert outcome.code == 4, outcome.said
    assert "Traceback" not in outcome.said
    assert "cannot be written" in outcome.said
    assert driver.leftovers(run) == []
    assert kept.items() <= driver.contents(run / "checkpoints").items()


def test_a_full_disk_ends_the_run_and_room_continues_it(run: Path, reference: Path) -> None:
    size = newest(run).stat().st_size
    kept = driver.contents(run / "checkpoints")
    largest_other = max(path.stat().st_size for path in run.rglob("*") if path.is_file() and path.suffix != ".pt")
    assert largest_other < size - 2000
    for room in (size - 1000, size // 2 if size // 2 > largest_other + 1000 else size - 1001):
        untouched(run, kept, driver.train(driver.config(NAME), run, setup=[["small_disk", room]]))
    driver.finished(driver.config(NAME), run)
    driver.assert_identical(run, reference)


@pytest.mark.parametrize(
    ("place", "nth", "code", "words"),
    [
        ("os:fsync", 1, errno.EIO, "Input/output error"),
        ("os:fsync", 9, errno.ENOSPC, "disk full: "),
        ("os:replace", 5, errno.EIO, "Input/output error"),
        ("os:replace", 6, errno.EDQUOT, "disk full: "),
        ("ganrun.disk.rows:Rows.append", 1, errno.ENOSPC, ""),
        ("ganrun.disk.checkpoint:prune", 1, errno.EROFS, ""),
    ],
)
def test_a_write_that_fails_ends_the_run_with_all_that_was_saved(
    place: str, nth: int, code: int, words: str, run: Path, reference: Path
) -> None:
    inside = {"ganrun.disk.rows:Rows.append": "builtins:open", "ganrun.disk.checkpoint:prune": "os:unlink"}
    setup = [["fails_inside", place, inside[place], code] if place in inside else ["fails", place, nth, code]]
    kept = driver.contents(run / "checkpoints")
    outcome = driver.train(driver.config(NAME), run, setup=setup)
    untouched(run, kept if place != "ganrun.disk.checkpoint:prune" else {}, outcome)
    assert words in outcome.said
    driver.finished(driver.config(NAME), run)
    driver.assert_identical(run, reference)


def test_a_folder_that_cannot_be_made_ends_the_run_before_its_first_step(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    below = driver.train(driver.config(NAME), tmp_path / "file" / "run")
    read_only = driver.train(driver.config(NAME), tmp_path / "new" / "run", setup=[["fails", "os:mkdir", 1, errno.EROFS]])
    for outcome in (below, read_only):
        assert outcome.code == 4, outcome.said
        assert "cannot be written" in outcome.said
        assert "step 1" not in outcome.said
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_vanishes_ends_the_run(tmp_path: Path) -> None:
    run, (ready, go) = tmp_path / "run", pipes(tmp_path)
    child = driver.start("train", driver.config(NAME), run, setup=[["pause", 4, str(ready), str(go)]])
    ready.read_text()
    shutil.rmtree(run)
    go.write_text("go")
    outcome = child.wait()
    assert outcome.code == 4, outcome.said
    assert not run.exists()


def test_rows_are_on_the_disk_before_the_checkpoint_that_counts_on_them(tmp_path: Path) -> None:
    book = tmp_path / "book"
    driver.finished(driver.config(NAME), tmp_path / "run", setup=[["record", str(book)]])
    rows = (tmp_path / "run" / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    synced, saves = 0, []
    for kind, *words in map(json.loads, book.read_text().splitlines()):
        if kind == "fsync" and words[0].endswith("metrics.jsonl"):
            synced = words[1]
        if kind == "rename" and words[1].endswith(".json") and "step_" in words[1]:
            step = int(Path(words[1]).stem.removeprefix("step_"))
            assert synced >= sum(map(len, rows[:step]))
            saves.append(step)
    assert saves == [0, 3, 6, 9, 12]


# one process at a time


def pipes(folder: Path) -> tuple[Path, Path]:
    for name in ("ready", "go"):
        os.mkfifo(folder / name)
    return folder / "ready", folder / "go"


def test_a_second_process_is_turned_away_by_name_and_the_lock_dies_with_its_holder(tmp_path: Path, reference: Path) -> None:
    given, run, (ready, go) = driver.config(NAME), tmp_path / "run", pipes(tmp_path)
    first = driver.start("train", given, run, setup=[["pause", 5, str(ready), str(go)]])
    ready.read_text()
    before = driver.contents(run)
    for options in ((), ("fresh=true",)):  # fresh=true must not pull the folder away from under a running process
        second = driver.train(driver.config(NAME, *options), run)
        assert second.code == 6, second.said
        assert f"process {first.pid} on {os.uname().nodename}" in second.said
        assert "Traceback" not in second.said
    assert driver.contents(run) == before
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["run"]
    first.signal(signal.SIGKILL)
    assert first.wait().code == -signal.SIGKILL
    driver.finished(given, run)
    driver.assert_identical(run, reference)


def test_the_process_that_was_there_first_is_not_disturbed(tmp_path: Path, reference: Path) -> None:
    given, run, (ready, go) = driver.config(NAME), tmp_path / "run", pipes(tmp_path)
    first = driver.start("train", given, run, setup=[["pause", 0, str(ready), str(go)]])
    ready.read_text()
    assert driver.train(given, run).code == 6
    go.write_text("go")
    assert first.wait().code == 0
    driver.assert_identical(run, reference)


def test_three_starts_at_once_make_one_run(tmp_path: Path, reference: Path) -> None:
    children = [driver.start("train", driver.config(NAME), tmp_path / "run") for _ in range(3)]
    outcomes = [child.wait() for child in children]
    assert {outcome.code for outcome in outcomes} <= {0, 6}, [outcome.said for outcome in outcomes]
    assert 0 in {outcome.code for outcome in outcomes}
    driver.assert_identical(tmp_path / "run", reference)
