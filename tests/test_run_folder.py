"""The run folder: what is in it, when it is gone on with, set aside, copied or refused; and runs that diverge."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import driver
import pytest
import torch

import ganrun
from ganrun.disk import checkpoint
from ganrun.disk.rows import Rows
from ganrun.disk.run_folder import RunFolder, set_aside
from ganrun.engine import papers, sampling

NAME = "normed"
VOLATILE = ("train.log", ".lock")


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted run of 12 steps."""
    folder = tmp_path_factory.mktemp("folder") / "reference"
    driver.finished(driver.config(NAME), folder, overrides=["model=dcgan", "seed=0"])
    return folder


@pytest.fixture(scope="module")
def broken_off(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed before its last save: checkpoints of steps 3, 6 and 9, rows to step 12."""
    folder = tmp_path_factory.mktemp("folder") / "run"
    killed = driver.train(driver.config(NAME), folder, environment={"GANRUN_FAULT": "before_write:5"})
    assert killed.code == -signal.SIGKILL, killed.said
    return folder


@pytest.fixture
def run(broken_off: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(broken_off, tmp_path / "run"))


@pytest.fixture
def done(reference: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(reference, tmp_path / "done"))


# what is in it


def test_a_run_folder_holds_what_the_readme_says(reference: Path) -> None:
    assert {path.name for path in reference.iterdir()} <= {
        *("config.yaml", "overrides.txt", "run.json", "metrics.jsonl", "samples", "checkpoints", "train.log", ".lock")
    }
    assert (reference / "overrides.txt").read_text() == "model=dcgan\nseed=0\n"
    facts = driver.facts(reference)
    assert facts["status"] == "done"
    assert facts["step"] == 12
    assert facts["budget"] == {"steps": 12, "batch_size": 8}
    assert facts["environment"]["torch"] == torch.__version__
    assert facts["environment"]["threads"] == 1
    assert facts["data"]["spec"] == {"kind": "image", "shape": [1, 8, 8], "classes": 10}
    assert len(facts["data"]["fingerprint"]) == 64
    rows = driver.rows(reference)
    assert [row["step"] for row in rows] == list(range(1, 13))
    assert [row["images"] for row in rows] == [16 * step for step in range(1, 13)]  # two critic updates of eight
    assert {"discriminator/loss", "generator/loss", "discriminator/gradient_norm"} <= rows[0].keys()
    assert sorted(path.name for path in (reference / "samples").iterdir()) == ["step_00000000.png", "step_00000012.png"]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            "evaluation.extractor=clasifier",
            "evaluation.extractor=clasifier: there is no such extractor. Did you mean 'classifier'?",
        ),
        ("evaluation.weights=/nowhere.pt", "evaluation.weights=/nowhere.pt: there is no such file"),
    ],
)
def test_what_scoring_would_lack_is_known_before_anything_is_trained_or_written(tmp_path: Path, override: str, said: str) -> None:
    outcome = driver.train(driver.config(NAME, "metric=[fid]", override), tmp_path / "run")
    assert outcome.code == 2
    assert said in outcome.said
    assert not (tmp_path / "run").exists()


def test_a_controller_is_logged_step_by_step(tmp_path: Path) -> None:
    stack = ("n_critic=1", "accumulate=1", "regularizer=ada", "regularizer.ada.images=80", "regularizer.ada.interval=1")
    driver.finished(driver.config(NAME, *stack, "regularizer.ada.target=-0.999"), tmp_path / "run")
    assert [row["ada/p"] for row in driver.rows(tmp_path / "run")][:3] == pytest.approx([0.1, 0.2, 0.3])


def test_nothing_inside_names_where_the_folder_lies(reference: Path) -> None:
    for name, content in driver.contents(reference, "train.log").items():
        assert str(reference).encode() not in content, name


def test_the_state_holds_no_clock_no_score_and_no_name(reference: Path, tmp_path: Path) -> None:
    other = tmp_path / "another name"
    driver.finished(driver.config(NAME, "name=else", "metric=none"), other)
    files = [folder / "checkpoints" / "step_00000012.pt" for folder in (reference, other)]
    assert files[0].read_bytes() == files[1].read_bytes()


# when it is gone on with


def test_a_run_folder_can_be_moved_and_reached_through_a_link(run: Path, tmp_path: Path, reference: Path) -> None:
    moved = run.rename(tmp_path / "moved")
    (tmp_path / "link").symlink_to(moved, target_is_directory=True)
    driver.finished(driver.config(NAME), tmp_path / "link")
    driver.assert_identical(moved, reference)


def test_a_finished_run_says_so_and_is_left_as_it_is(done: Path) -> None:
    before = driver.contents(done, *VOLATILE)
    outcome = driver.train(driver.config(NAME), done)
    assert outcome.code == 0
    assert "already done" in outcome.said
    assert driver.contents(done, *VOLATILE) == before


def test_fresh_sets_the_old_folder_aside_and_erases_nothing(done: Path, reference: Path) -> None:
    before = driver.contents(done, *VOLATILE)
    for number in (1, 2):
        outcome = driver.train(driver.config(NAME, "fresh=true"), done)
        assert outcome.code == 0, outcome.said
        assert f"{done.name}.aside-{number}" in outcome.said
        driver.assert_identical(done, reference)
    assert driver.contents(done.with_name("done.aside-1"), *VOLATILE) == before


def test_fresh_sets_nothing_aside_for_a_config_that_cannot_run(done: Path) -> None:
    given = driver.config(NAME, "fresh=true")
    given["model"]["generator"]["norm"] = "batsch"
    outcome = driver.train(given, done)
    assert outcome.code == 2
    assert "batch" in outcome.said
    assert [path.name for path in done.parent.iterdir()] == ["done"]


def test_a_folder_in_use_is_not_set_aside(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.open()
    with pytest.raises(ganrun.ground.errors.RunBusy, match=f"process {os.getpid()} "):
        set_aside(folder.path)
    folder.close()
    assert set_aside(folder.path).name == "run.aside-1"
    assert not folder.path.exists()


def test_a_run_of_no_steps_makes_its_first_checkpoint_and_ends(tmp_path: Path) -> None:
    driver.finished(driver.config(NAME, "steps=0"), tmp_path / "run")
    assert driver.steps_kept(tmp_path / "run") == [0]


def test_a_run_that_is_already_further_is_not_cut_back(done: Path) -> None:
    before = driver.contents(done / "checkpoints")
    outcome = driver.train(driver.config(NAME, "steps=5"), done)
    assert outcome.code == 2
    assert "already at step 12" in outcome.said
    assert driver.contents(done / "checkpoints") == before


def test_another_environment_is_said_and_recorded(run: Path, reference: Path) -> None:
    facts = driver.facts(run)
    facts["environment"] |= {"torch": "1.0.0", "threads": 3}
    (run / "run.json").write_text(json.dumps(facts))
    outcome = driver.train(driver.config(NAME), run)
    assert outcome.code == 0
    assert f"bits may differ: torch: 1.0.0 before, {torch.__version__} now; threads: 3 before, 1 now" in outcome.said
    driver.assert_identical(run, reference)
    assert driver.facts(run)["environment"]["torch"] == "1.0.0"
    assert [later["torch"] for later in driver.facts(run)["environments_later"]] == [torch.__version__]


def test_changed_data_are_refused(tmp_path: Path) -> None:
    from PIL import Image

    images, run = tmp_path / "images", tmp_path / "run"
    images.mkdir()
    for number in range(9):
        Image.new("L", (8, 8), 20 * number).save(images / f"{number}.bmp")
    given = driver.config(NAME, "dataset=folder", f"dataset.root={images}", "dataset.size=8", "steps=2", "n_critic=1")
    killed = driver.train(given, run, environment={"GANRUN_FAULT": "before_write:2"})
    assert killed.code == -signal.SIGKILL, killed.said
    Image.new("L", (8, 8), 255).save(images / "3.bmp")  # of the same name and size: only the content tells
    before = driver.contents(run, "train.log", "run.json", ".lock")
    outcome = driver.train(given, run)
    assert outcome.code == 2
    assert "the data set has changed" in outcome.said
    assert driver.contents(run, "train.log", "run.json", ".lock") == before
    Image.new("L", (8, 8), 60).save(images / "3.bmp")
    driver.finished(given, run)


# forks


def fork(parent: Path, folder: Path, *overrides: str) -> driver.Outcome:
    return driver.train(driver.config(NAME, f"resume='{parent}'", "fork=true", *overrides), folder)


def test_a_fork_goes_on_from_its_parent_in_a_folder_of_its_own(done: Path, tmp_path: Path) -> None:
    before = driver.contents(done)
    outcome = fork(done, tmp_path / "child", "steps=15", "optimizer.lr=1e-3")
    assert outcome.code == 0, outcome.said
    assert driver.contents(done) == before
    state = checkpoint.read(done / "checkpoints" / "step_00000012.pt")
    parent = driver.facts(tmp_path / "child")["parent"]
    assert parent == {"run": str(done), "step": 12, "digest": checkpoint.digest(state), "left": []}
    assert [row["step"] for row in driver.rows(tmp_path / "child")] == [13, 14, 15]
    assert driver.steps_kept(tmp_path / "child") == [12, 15]
    assert checkpoint.digest(checkpoint.read(tmp_path / "child" / "checkpoints" / "step_00000012.pt")) == parent["digest"]


def test_a_fork_that_changes_nothing_but_its_length_is_the_longer_run(done: Path, tmp_path: Path) -> None:
    fork(done, tmp_path / "child", "steps=14")
    assert driver.final_digest(tmp_path / "child") == driver.finished(driver.config(NAME, "steps=14"), tmp_path / "longer")


@pytest.mark.parametrize("fault", ["before_write:1", "between_renames:1", "after_commit:1", "before_commit:2"])
def test_a_fork_that_is_killed_goes_on_by_the_same_command(fault: str, done: Path, tmp_path: Path) -> None:
    given = driver.config(NAME, f"resume='{done}'", "fork=true", "steps=15")
    driver.finished(given, tmp_path / "whole")
    killed = driver.train(given, tmp_path / "child", environment={"GANRUN_FAULT": fault})
    assert killed.code == -signal.SIGKILL, killed.said
    driver.finished(given, tmp_path / "child")
    driver.assert_identical(tmp_path / "child", tmp_path / "whole")
    assert driver.facts(tmp_path / "child")["parent"] == driver.facts(tmp_path / "whole")["parent"]


def test_a_fork_says_what_it_starts_anew_and_refuses_other_networks(done: Path, tmp_path: Path) -> None:
    outcome = fork(done, tmp_path / "child", "steps=13", "optimizer=rmsprop", "ema=0")
    assert outcome.code == 0, outcome.said
    left = driver.facts(tmp_path / "child")["parent"]["left"]
    assert [sentence.split(": ")[1].split(" (")[0] for sentence in left] == [
        "averages/generator",
        "optimizers/discriminator",
        "optimizers/generator",
    ]
    for sentence in left:
        assert f"warning: {sentence}" in outcome.said
    outcome = fork(done, tmp_path / "wider", "steps=13", "model.generator.width=3")
    assert outcome.code == 2
    assert "players/generator: layers.0.weight" in outcome.said
    shutil.rmtree(done / "checkpoints")
    assert fork(done, tmp_path / "orphan", "steps=13").code == 5


# damage


def test_rows_that_are_damaged_are_left_out_loudly_and_kept(run: Path, reference: Path) -> None:
    path = run / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = b'{"step": 3, "ima\xff\x00\n'
    path.write_bytes(b"".join(lines))
    damaged = path.read_bytes()
    outcome = driver.train(driver.config(NAME), run)
    assert outcome.code == 0
    assert "1 of 12 rows of" in outcome.said
    assert driver.final_digest(run) == driver.final_digest(reference)
    assert driver.rows(run) == [row for row in driver.rows(reference) if row["step"] != 3]
    assert (run / "metrics.jsonl.damaged-1").read_bytes() == damaged


def test_a_last_row_that_was_torn_is_made_again_where_the_run_is_prolonged(done: Path) -> None:
    path = done / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    driver.finished(driver.config(NAME, "steps=13"), done)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == list(range(1, 14))


def test_a_newest_checkpoint_that_is_gone_is_missed_by_who_only_reads(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for suffix in ("pt", "json"):
        (done / "checkpoints" / f"step_00000012.{suffix}").unlink()
    assert sampling.load_state(done)[1]["step"] == 9
    assert "tells of step 12, but the newest checkpoint is of step 9" in capsys.readouterr().err


BROKEN_FACTS = {
    "empty": b"",
    "torn": b'{"data": {"spec"',
    "binary": bytes(range(256)),
    "a list": b"[1, 2]",
    "deep": b"[" * 100_000,
    "data no mapping": b'{"data": 3}',
    "step no number": b'{"step": "many"}',
    "a budget of words": b'{"budget": {"steps": "many"}}',
    "a budget without steps": b'{"budget": {}}',
    "odd lengths": b'{"earlier_steps": [2, "x"]}',
    "odd findings": b'{"findings": [1, {}]}',
    "seconds that are none": b'{"seconds": NaN}',
}


@pytest.mark.parametrize("content", BROKEN_FACTS.values(), ids=BROKEN_FACTS.keys())
def test_a_damaged_run_json_is_refused_with_the_way_out(content: bytes, run: Path) -> None:
    (run / "run.json").write_bytes(content)
    before = driver.contents(run, *VOLATILE)
    outcome = driver.train(driver.config(NAME), run)
    assert outcome.code == 2, outcome.said
    assert "run.json" in outcome.said
    assert "fresh=true" in outcome.said
    assert "Traceback" not in outcome.said
    assert driver.contents(run, *VOLATILE) == before


def test_rows_stand_on_lines_of_their_own_whatever_was_torn_before(tmp_path: Path) -> None:
    rows, said = Rows(tmp_path / "rows.jsonl", holds="scores"), []
    assert rows.read() == []
    rows.cut(3, said.append)
    rows.sync()
    assert not rows.path.exists()
    rows.append({"step": 1, "scores": {"a": 0.1}})
    with open(rows.path, "ab") as file:
        file.write(b'{"step": 2, "sco')
    rows.append({"step": 3, "scores": {"a": 1 / 3}})
    rows.append({"step": 9, "scores": {}})
    rows.append({"step": 3, "scores": 5})
    assert rows.read() == [{"step": 1, "scores": {"a": 0.1}}, {"step": 3, "scores": {"a": 1 / 3}}, {"step": 9, "scores": {}}]
    rows.cut(3, said.append)
    assert rows.read() == [{"step": 1, "scores": {"a": 0.1}}, {"step": 3, "scores": {"a": 1 / 3}}]
    assert rows.path.read_text().count("\n") == 2
    assert len(said) == 1


# a file of rows that is too large to be parsed at every start

RUN = "0123456789abcdef" * 4


def many(path: Path, count: int = 400, run: str = RUN) -> Rows:
    rows = Rows(path, run=run)
    for step in (1, *range(50, 50 * count, 50)):
        rows.append({"step": step, "images": 64 * step, "loss/d": 1 / step, "time": {"at": "2026-01-01", "seconds": 0.1 * step}})
    return rows


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "none": lambda data: data,
    "a torn end": lambda data: data[:-30],
    "a missing line break": lambda data: data[:-1],
    "a row of another run": lambda data: data.replace(b'"run_id": "0123456789"', b'"run_id": "9123456789"', 1),
    "an early row of another run": lambda data: data.replace(
        b'"time": {"at": "2026-01-01", "seconds": 5.0}, "run_id": "0123456789"', b'"run_id": "0000000000"'
    ),
    "two lines in one": lambda data: data.replace(b"}\n", b"}", 100).replace(b"}{", b"}\n{", 99),
    "a lost line": lambda data: b"\n".join(line for line in data.split(b"\n") if b'"step": 5000,' not in line),
    "a line twice": lambda data: data.replace(b'{"step": 5000,', b'{"step": 4950,'),
    "an empty line": lambda data: data.replace(b"}\n{", b"}\n\n{", 1),
    "zeros": lambda data: data[:9000] + bytes(500) + data[9500:],
    "a brace": lambda data: data[:9000] + data[9000:].replace(b"}, ", b", ", 1),
    "a quote": lambda data: data[:9000] + data[9000:].replace(b'"images', b"images", 1),
    "no step": lambda data: data.replace(b'{"step": 5000,', b'{"sten": 5000,'),
    "a step in words": lambda data: data.replace(b'{"step": 5000,', b'{"step": "5000",'),
    "a negative step": lambda data: data.replace(b'{"step": 1,', b'{"step": -1,'),
    "a step with a point": lambda data: data.replace(b'{"step": 5000,', b'{"step": 5000.5,'),
    "a damaged last row": lambda data: data[:-40] + b"?" + data[-39:].replace(b": ", b"; ", 1),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_large_file_of_rows_is_judged_as_a_small_one(
    damage: Callable[[bytes], bytes], tmp_path: Path, monkeypatch: Any
) -> None:
    held = many(tmp_path / "rows.jsonl").path.read_bytes()
    found = []
    for large in (True, False):
        monkeypatch.setattr("ganrun.disk.rows.LARGE", 0 if large else 10**9)
        monkeypatch.setattr("ganrun.disk.row_scan.BLOCK", 5000)
        monkeypatch.setattr("ganrun.disk.row_scan.PARSED", 1500)
        said: list[str] = []
        for step in (0, 1, 4999, 5000, 19900, 10**6):
            path = tmp_path / f"{large} {step}.jsonl"
            path.write_bytes(damage(held))
            rows = Rows(path, run=RUN)
            said += [*(entry.partition(" of ")[0] for entry in rows.remarks()), str(rows.sound()), str(rows.last())]
            said.append(str(rows.ends(step)))
            rows.cut(step, lambda line: None)
            said.append(path.read_text())
            said += [entry.name.partition(" ")[2] for entry in sorted(tmp_path.glob(f"{large} {step}*damaged*"))]
        found.append(said)
    assert found[0] == found[1]


def test_a_large_file_of_rows_is_not_parsed(tmp_path: Path, monkeypatch: Any) -> None:
    rows = many(tmp_path / "rows.jsonl")
    monkeypatch.setattr("ganrun.disk.rows.LARGE", 0)
    monkeypatch.setattr("ganrun.disk.row_scan.PARSED", 1500)
    judged: list[bytes] = []
    plain = Rows._judge
    monkeypatch.setattr(Rows, "_judge", lambda self, line: (judged.append(line), plain(self, line))[1])
    assert (rows.sound(), rows.remarks(), rows.last(), rows.ends(10000)) == (None, [], 19950, (1, 10000))
    rows.cut(10**6, pytest.fail)
    assert 5 < len(judged) < 40
    other = Rows(rows.path, run="f" * 64)
    assert other.remarks()[0].startswith("400 of 400 rows")
    assert len(judged) > 400


def test_a_run_folder_whose_files_point_elsewhere_is_not_written_through(run: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious.txt"
    precious.write_text("mine")
    for name in (".lock", "train.log", "metrics.jsonl", "scores.jsonl", "run.json"):
        folder = Path(shutil.copytree(run, tmp_path / f"with {name}"))
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(precious)
        outcome = driver.train(driver.config(NAME), folder)
        assert outcome.code == 2, outcome.said
        assert "not a regular file" in outcome.said
        assert precious.read_text() == "mine"


# runs that diverge


def test_the_first_term_that_is_not_finite_is_named_with_its_step_and_never_saved(tmp_path: Path) -> None:
    given, run = driver.config(NAME, "every={log: 0, sample: 0, eval: 0, checkpoint: 3}"), tmp_path / "run"
    given["regularizer"]["toy"] = {"name": "toy"}
    outcome = driver.train(given, run, setup=[["broken_regularizer", 7]])
    assert outcome.code == 3, outcome.said
    assert "discriminator phase's term 'toy' was not finite at step 7" in outcome.said
    assert "Traceback" not in outcome.said
    assert driver.facts(run)["status"] == "diverged"
    assert driver.steps_kept(run)[-1] == 6
    finite(run)
    assert all(math.isfinite(value) for row in driver.rows(run) for value in row.values())
    again = driver.train(given, run, setup=[["broken_regularizer", 7]])
    assert again.code == 3  # and the same command says the same
    assert "at step 7" in again.said
    assert driver.train(given, run, setup=[["broken_regularizer", 99]]).code == 0  # what was saved is good to go on from


def test_a_learning_rate_that_explodes_ends_in_code_3(tmp_path: Path) -> None:
    given = driver.config("penalised", "optimizer.lr=1e20", "every={log: 5, sample: 0, eval: 0, checkpoint: 5}")
    outcome = driver.train(given, tmp_path / "run")
    assert outcome.code == 3, outcome.said
    assert "not finite at step " in outcome.said
    assert driver.steps_kept(tmp_path / "run") == [0]
    finite(tmp_path / "run")


def test_weights_that_broke_without_any_term_noticing_are_not_saved(tmp_path: Path) -> None:
    """The last update of a step can break the weights after every term was watched."""
    outcome = driver.train(driver.config(NAME), tmp_path / "run", setup=[["break_weights", 6]])
    assert outcome.code == 3, outcome.said
    assert "the weights of the generator are not finite after step 6" in outcome.said
    assert driver.steps_kept(tmp_path / "run")[-1] == 3


def finite(run: Path) -> None:
    for path in (run / "checkpoints").glob("*.pt"):
        for where, value in checkpoint.leaves(checkpoint.read(path)):
            assert not isinstance(value, torch.Tensor) or value.isfinite().all(), (path, where)


# as a command


def command(*words: str, **options: Any) -> driver.Outcome:
    return driver.start("command", *words, **options).wait()


def typed(name: str, *overrides: str) -> list[str]:
    return [*driver.CONFIGS[name], *driver.TINY, *overrides]


def only_run(output: Path) -> Path:
    (found,) = [path for path in (output / "default").iterdir() if ".aside-" not in path.name]
    return found


def test_the_command_line_keeps_the_promises_too(tmp_path: Path, reference: Path) -> None:
    words = ["train", *typed(NAME, "output=out")]
    killed = command(*words, cwd=tmp_path, environment={"GANRUN_FAULT": "between_renames:3"})
    assert killed.code == -signal.SIGKILL, killed.said
    stopped = command(*words, cwd=tmp_path, setup=[["signal_at", "ganrun.engine.loop:Trainer.advance", 2, signal.SIGTERM]])
    assert stopped.code == 75, stopped.said
    run = only_run(tmp_path / "out")
    full = command(*words, cwd=tmp_path, setup=[["fails", "os:fsync", 1, 28]])
    assert full.code == 4, full.said
    done = command("train", f"resume={run}", "every.log=2", cwd=tmp_path)
    assert done.code == 0, done.said
    assert driver.final_digest(run) == driver.final_digest(reference)
    again = command(*words, cwd=tmp_path)
    assert again.code == 0
    assert "already done" in again.said
    moved = run.rename(tmp_path / "moved")
    assert "already done" in command("train", f"resume={moved}", cwd=tmp_path / "out").said
    shutil.rmtree(moved / "checkpoints")
    for words in (["train", f"resume={moved}"], ["sample", str(moved)], ["eval", str(moved), "metric=fid"]):
        gone = command(*words, cwd=tmp_path)
        assert gone.code == 5, gone.said
        assert "Traceback" not in gone.said


def test_the_command_line_names_the_holder_of_a_folder_and_what_diverged(tmp_path: Path) -> None:
    for name in ("ready", "go"):
        os.mkfifo(tmp_path / name)
    words = ["train", *typed("points", "output=out")]
    setup = [["pause", 2, str(tmp_path / "ready"), str(tmp_path / "go")]]
    first = driver.start("command", *words, cwd=tmp_path, setup=setup)
    (tmp_path / "ready").read_text()
    second = command(*words, cwd=tmp_path)
    assert second.code == 6
    assert f"in use by process {first.pid}" in second.said
    (tmp_path / "go").write_text("go")
    assert first.wait().code == 0
    diverged = command("train", *typed("points", "output=out", "optimizer.lr=1e30"), cwd=tmp_path)
    assert diverged.code == 3
    assert "not finite at step" in diverged.said
    assert "Traceback" not in diverged.said


def test_a_fork_by_the_command_line_lies_in_a_folder_of_its_own(tmp_path: Path) -> None:
    assert command("train", *typed("points", "output=out"), cwd=tmp_path).code == 0
    parent = only_run(tmp_path / "out")
    refused = command("train", f"resume={parent}", "optimizer.lr=1e-3", cwd=tmp_path)
    assert refused.code == 2
    assert "optimizer.lr" in refused.said
    assert "fork=true" in refused.said
    before = driver.contents(parent)
    forked = command("train", f"resume={parent}", "optimizer.lr=1e-3", "steps=14", "fork=true", cwd=tmp_path)
    assert forked.code == 0, forked.said
    assert driver.contents(parent) == before
    (child,) = [path for path in (tmp_path / "out" / "default").iterdir() if path != parent]
    assert driver.facts(child)["parent"]["digest"] == driver.facts(parent)["digest"]
    assert driver.facts(child)["step"] == 14


def test_a_commit_is_marked_where_code_or_conf_differ_from_it_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results and pages cannot change a run, so a file of theirs that is not committed is no mark against its numbers."""
    (tmp_path / "ganrun").mkdir()
    (tmp_path / "ganrun" / "__init__.py").write_text("")
    (tmp_path / "results.jsonl").write_text("")
    monkeypatch.setattr(papers.ganrun, "__file__", str(tmp_path / "ganrun" / "__init__.py"))
    assert papers.commit() is None

    def git(*said: str) -> str:
        line = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", *said]
        return subprocess.run(line, check=True, capture_output=True, text=True).stdout.strip()

    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    clean = git("rev-parse", "HEAD")[:12]
    (tmp_path / "results.jsonl").write_text("a row")
    assert papers.commit() == clean
    (tmp_path / "ganrun" / "new.py").write_text("x = 1")
    assert papers.commit() == f"{clean}-dirty"
    (tmp_path / "ganrun" / "new.py").unlink()
    (tmp_path / "ganrun" / "__init__.py").write_text("x = 1")
    assert papers.commit() == f"{clean}-dirty"
