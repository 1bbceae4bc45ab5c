"""Trackers: what a run wrote arrives once, in each library; and a tracker that fails or hangs costs the run nothing."""

from __future__ import annotations

import importlib.util
import json
import os
import sqlite3
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli_driver import CONF
from conftest import compose_config
from PIL import Image
from typer.testing import CliRunner

import ganrun
from ganrun.cli.app import app
from ganrun.disk import identity, signals
from ganrun.disk.rows import Rows
from ganrun.disk.run_folder import RunFolder
from ganrun.ground import registry
from ganrun.ground.errors import BadInput
from ganrun.trackers import base, companions, worker
from ganrun.trackers.base import About, Entry, Tracker
from ganrun.trackers.follow import Follower, State, Tail, numbers, of_scores, state_file

RUN = "0123456789" + "a" * 54
NAMES = ("tensorboard", "wandb", "mlflow", "trackio")
FAKES = '''
import json, os, pathlib, threading
from ganrun import register
from ganrun.trackers.base import Tracker

@register("tracker", "notes")
class Notes(Tracker):
    """Writes what it hears to a file in the run folder."""
    def __init__(self, *, to: str = "notes.jsonl", wait: float = 30.0) -> None:
        super().__init__(wait=wait)
        self.to = to
    def open(self, about):
        self.file = open(about.folder / self.to, "a")
        self.write(open=about.held, sent=about.sent, settings=len(about.settings()))
        return about.held or "the first", str(self.to)
    def write(self, **what):
        self.file.write(json.dumps(what) + "\\n")
        self.file.flush()
    def log(self, entry):
        self.write(step=entry.step, values=dict(entry.values), pictures=[path.name for path in entry.pictures.values()])
    def close(self, status):
        self.write(close=status)

@register("tracker", "fails")
class Fails(Notes):
    """Fails at the first row."""
    def log(self, entry):
        print("some words of the library")
        raise ConnectionError("no such host")

@register("tracker", "hangs")
class Hangs(Notes):
    """Never comes back from the first row."""
    patience = 0.2
    def log(self, entry):
        threading.Event().wait()

@register("tracker", "late")
class Late(Notes):
    """Never comes back from the first row, and has all the time in the world."""
    def log(self, entry):
        threading.Event().wait()

@register("tracker", "dies")
class Dies(Notes):
    """Takes its process with it."""
    def log(self, entry):
        os._exit(3)
'''
SMALL = (
    *("dataset=ring8", "model=mlp", "model.generator.width=8", "model.discriminator.width=8", "batch_size=8", "metric=none"),
    *("device=cpu", "device.threads=1", "steps=6", "doctor.every=3", "doctor.samples=8"),
    "every={log: 2, sample: 3, eval: 0, checkpoint: 3}",
)


@pytest.fixture(autouse=True)
def whoever_stops_the_tests_is_heard() -> Iterator[None]:
    """Commands take over signals."""
    yield
    signals.restore()


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run at step 4, as it lies on the disk."""
    made = RunFolder(tmp_path / "run-seed0-0123456789")
    made.samples.mkdir(parents=True)
    config = {**compose_config("tracker=tensorboard"), "name": "some"}
    made.config.write_text(yaml.safe_dump(config))
    made.run.write_text(json.dumps({"identity": RUN, "status": "running"}))
    for step in (1, 2, 4):
        add(made, step)
    return made


def add(folder: RunFolder, step: int, loss: float | None = None) -> None:
    """What a run writes at a step."""
    clock = {"at": f"2030-01-01T00:00:{step:02d}+00:00", "seconds": step / 10}
    found = {"step": step, "images": 8 * step, "generator/loss": 0.25 + step if loss is None else loss, "time": clock}
    Rows(folder.metrics, run=RUN).append(found)
    Rows(folder.signs, run=RUN).append({"step": step, "gap": step / 8, "modes": "0123"})
    if step % 2 == 0:
        Image.new("L", (4, 3), step).save(folder.samples / f"step_{step:08d}.png")
        scores = {"fid": {"value": 10.0 / step, "std": 0.5, "card": {"metric": "fid"}}, "is": {"value": None, "card": {}}}
        row = {"step": step, "scores": scores, "baselines": {"held_out": {"fid": {"value": 0.5}}}, "time": clock["at"]}
        Rows(folder.scores, holds="scores", run=RUN).append(row)


# what there is to send


def test_the_rows_and_pictures_of_a_run_folder_become_entries_in_order_of_their_steps(folder: RunFolder) -> None:
    (folder.samples / "step_00000004 seed_0 num_64.png").touch()  # a picture that a person asked for
    found = Follower(folder, State()).entries()
    assert [entry.step for entry in found] == [1, 1, 2, 2, 2, 2, 4, 4, 4, 4]
    whole: dict[str, Any] = {}
    for entry in found:
        whole |= {(entry.step, name): value for name, value in [*entry.values.items(), *entry.pictures.items()]}
    assert whole[4, "generator/loss"] == 4.25
    assert whole[4, "images"] == 32
    assert whole[4, "time/seconds"] == 0.4
    assert whole[4, "signs/gap"] == 0.5
    assert (whole[4, "scores/fid"], whole[4, "scores/fid_std"], whole[4, "baselines/held_out/fid"]) == (2.5, 0.5, 0.5)
    assert whole[4, "samples"] == folder.samples / "step_00000004.png"
    assert not [name for _, name in whole if "modes" in name or name in ("scores/is", "step")]
    assert found[0].time == 1893456001.0


def test_what_has_arrived_is_not_sent_again_and_what_is_taken_again_neither(folder: RunFolder) -> None:
    state = State()
    assert len(Follower(folder, state).entries()) == 10
    assert Follower(folder, state).entries() == []
    folder.metrics.write_text("".join(folder.metrics.read_text().splitlines(keepends=True)[:2]))  # killed, and back at step 2
    folder.scores.write_text("".join(folder.scores.read_text().splitlines(keepends=True)[:1]))
    (folder.samples / "step_00000004.png").unlink()
    follower = Follower(folder, state)
    assert follower.entries() == []
    add(folder, 4)
    assert follower.entries() == []
    add(folder, 6)
    assert {entry.step for entry in follower.entries()} == {6}
    add(folder, 3)  # a score of an earlier checkpoint, made later
    Rows(folder.scores, holds="scores", run=RUN).append({"step": 2, "scores": {"fid": {"value": 7.0, "card": {}}}, "time": ""})
    assert [(entry.step, dict(entry.values)) for entry in follower.entries()] == [(2, {"scores/fid": 7.0})]


def test_a_line_that_is_half_written_is_read_when_it_is_whole_and_damaged_ones_and_foreign_ones_are_passed_over(
    tmp_path: Path,
) -> None:
    path = tmp_path / "rows"
    tail = Tail(path, RUN)
    assert tail.rows(lambda row: True) == []
    path.write_bytes(b'{"step": 1}\n{"step": 2, "a"')
    assert tail.rows(lambda row: True) == [{"step": 1}]
    with open(path, "ab") as file:
        file.write(b': 3}\nnonsense\n[1]\n{"step": "x"}\n{"step": 5, "run_id": "another"}\n{"step": 6, "run_id": "0123456789"}\n')
    assert [row["step"] for row in tail.rows(lambda row: True)] == [2, 6]
    path.write_text("".join(f'{{"step": {step}}}\n' for step in range(2000)))
    assert [row["step"] for row in Tail(path, None).rows(lambda row: row["step"] >= 1990)] == list(range(1990, 2000))
    long = Tail(path, None)
    assert [len(long.rows(lambda row: True)) for _ in range(5)] == [500, 500, 500, 500, 0]


def test_numbers_that_are_not_finite_and_truth_values_are_left_out() -> None:
    assert numbers({"step": 3, "a": 1, "b": True, "c": "x", "d": float("inf"), "e": None, "f": 2.5}) == {"a": 1.0, "f": 2.5}
    assert of_scores({"scores": {"x": 3}, "baselines": None}) == {}


def test_each_place_has_a_state_of_its_own_and_how_long_to_wait_is_no_place(tmp_path: Path) -> None:
    one, other, longer = (
        state_file(tmp_path, "wandb", {"name": "wandb", "project": project, "wait": wait})
        for project, wait in (("a", 1), ("b", 1), ("a", 2))
    )
    assert one == longer != other
    one.parent.mkdir()
    one.write_text("{")
    assert State.read(one) == State()
    State("x", "there", 3, 2, 1, ["y"]).write(one)
    assert State.read(one) == State("x", "there", 3, 2, 1, ["y"])
    assert State.read(one).last == 3


# each library


def installed(*names: str) -> Any:
    gone = [name for name in names if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(gone), reason=f"not installed: {', '.join(gone)}")


def track(name: str, above: Path, made: RunFolder) -> None:
    """Let a tracker follow a run to step 4; the run is killed, takes steps 3 and 4 again, and is followed to step 6."""
    options: dict[str, dict[str, Any]] = {
        "tensorboard": {"dir": str(above / "events")},
        "wandb": {"mode": "offline"},
        "mlflow": {"uri": f"sqlite:///{above}/mlflow.db"},
        "trackio": {},
    }
    chosen = {name: {"name": name, "wait": 120.0, **options[name]}}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(above)
        patch.setenv("TRACKIO_DIR", str(above / "trackio"))
        patch.setenv("WANDB_MODE", "offline")
        for last in (4, 6):
            trackers = companions.Companions({"tracker": chosen}, made)
            trackers.start()
            if last == 6:
                add(made, 6)
            made.note(status="done" if last == 6 else "stopped")
            trackers.end()
            if last == 4:
                for rows in (made.metrics, made.signs):
                    rows.write_text("".join(rows.read_text().splitlines(keepends=True)[:2]))
                made.scores.write_text("".join(made.scores.read_text().splitlines(keepends=True)[:1]))
                add(made, 4)
    warnings = [line for line in made.journal.read_text().splitlines() if "warning" in line]
    assert not warnings, "\n".join([*warnings, *(path.read_text() for path in (made.path / "trackers").glob("*.log"))])


def expected(above: Path) -> dict[tuple[int, str], float]:
    """(step, name): value, as the run's files have them."""
    record, found = RunFolder(above / "run-seed0-0123456789"), {}
    for path, prefix in ((record.metrics, ""), (record.signs, "signs/")):
        for row in map(json.loads, path.read_text().splitlines()):
            held = {**row, **({"time/seconds": row["time"]["seconds"]} if "time" in row else {})}
            found |= {
                (row["step"], f"{prefix}{name}"): value
                for name, value in held.items()
                if type(value) in (int, float) and name != "step"
            }
    for row in map(json.loads, record.scores.read_text().splitlines()):
        found[row["step"], "scores/fid"] = row["scores"]["fid"]["value"]
        found[row["step"], "scores/fid_std"] = row["scores"]["fid"]["std"]
        found[row["step"], "baselines/held_out/fid"] = row["baselines"]["held_out"]["fid"]["value"]
    assert {step for step, _ in found} == {1, 2, 4, 6}
    return found


def once(pairs: list[tuple[tuple[int, str], float]], above: Path) -> None:
    """Each value of the run's files is there, once, and nothing else."""
    wanted = expected(above)
    assert sorted(key for key, _ in pairs) == sorted(wanted)
    assert dict(pairs) == pytest.approx(wanted, rel=1e-6)


@installed("tensorboard")
def test_tensorboard_holds_what_the_run_wrote(tmp_path: Path, folder: RunFolder) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    track("tensorboard", tmp_path, folder)
    (place,) = (tmp_path / "events" / "some").iterdir()
    assert len(list(place.iterdir())) == 2  # a file of each process
    read = EventAccumulator(str(place))
    read.Reload()
    tags = read.Tags()
    once([((event.step, tag), event.value) for tag in tags["scalars"] for event in read.Scalars(tag)], tmp_path)
    assert [(event.step, event.width, event.height) for event in read.Images("samples")] == [(2, 4, 3), (4, 4, 3), (6, 4, 3)]
    assert [event.encoded_image_string for event in read.Images("samples")] == [
        (folder.samples / f"step_{step:08d}.png").read_bytes() for step in (2, 4, 6)
    ]
    assert [event.wall_time for event in read.Scalars("images")] == [1893456000 + step for step in (1, 2, 4, 6)]
    (text,) = read.Tensors("config/text_summary" if "config/text_summary" in tags["tensors"] else "config")
    assert b"| loss.name | nonsaturating |" in text.tensor_proto.string_val[0]


@installed("tensorboard")
def test_tensorboard_drops_what_a_killed_process_wrote_and_did_not_count(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    about = {"name": "run", "group": "g", "config": compose_config()}
    first = registry.build("tracker", {"name": "tensorboard"})
    assert first.open(About(tmp_path, **about))[0]
    for step in (1, 2, 3):
        first.log(Entry(step, 5.0 + step, {"a": step}))
    first.flush()  # and then it is killed: step 3 is not on record
    then = registry.build("tracker", {"name": "tensorboard"})
    then.open(About(tmp_path, **about, held="x", sent=2))
    for step in (3, 4):
        then.log(Entry(step, 50.0 + step, {"a": 10 * step}))
    then.close("done")
    first.close("running")
    read = EventAccumulator(str(tmp_path / "trackers" / "tensorboard"))
    read.Reload()
    assert [(event.step, event.value) for event in read.Scalars("a")] == [(1, 1), (2, 2), (3, 30), (4, 40)]


def log_records(data: bytes) -> Iterator[bytes]:
    """The records of a LevelDB log with a header of 7 bytes: blocks of 32 KiB; a piece is CRC (4), length (2), kind (1), data."""
    place, record = 7, b""
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        length, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        record += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            yield record
            record = b""


@pytest.mark.long
@installed("wandb")
def test_wandb_offline_holds_what_the_run_wrote(tmp_path: Path, folder: RunFolder) -> None:
    from wandb.proto import wandb_internal_pb2 as told

    track("wandb", tmp_path, folder)
    pairs, configs, ids, pictures = [], [], set(), []
    for path in sorted((folder.path / "trackers" / "wandb").glob("offline-run-*/*.wandb")):
        for data in log_records(path.read_bytes()):
            record = told.Record()
            record.ParseFromString(data)
            if record.WhichOneof("record_type") == "run":
                ids.add(record.run.run_id)
                configs.append({item.key: json.loads(item.value_json) for item in record.run.config.update})
            if record.WhichOneof("record_type") == "history":
                row = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
                step = row.pop("step")
                pictures += [step for name in row if name.startswith("samples")][:1]
                pairs += [((step, name), value) for name, value in row.items() if not name.startswith(("_", "samples"))]
    once(pairs, tmp_path)
    assert pictures == [2, 4, 6]
    assert len(ids) == 1
    assert configs[0]["loss.name"] == "nonsaturating"
    assert configs[0]["run_folder"] == folder.path.name
    (state,) = (folder.path / "trackers").glob("wandb-*.json")
    assert json.loads(state.read_text())["id"] in ids


@pytest.mark.long
@installed("mlflow", "sqlalchemy")
def test_mlflow_holds_what_the_run_wrote(tmp_path: Path, folder: RunFolder) -> None:
    track("mlflow", tmp_path, folder)
    with sqlite3.connect(tmp_path / "mlflow.db") as base:
        pairs = [((step, name), value) for name, step, value in base.execute("select key, step, value from metrics")]
        once(pairs, tmp_path)
        ((uuid, status, place),) = base.execute("select run_uuid, status, artifact_uri from runs")
        params = dict(base.execute("select key, value from params"))
        times = [time for (time,) in base.execute("select timestamp from metrics where key = 'images' order by step")]
    assert status == "FINISHED"
    assert times == [1000 * (1893456000 + step) for step in (1, 2, 4, 6)]
    assert (params["loss.name"], params["every.log"]) == ("nonsaturating", "50")
    held = Path(place.removeprefix("file://"))
    assert sorted(path.name for path in (held / "samples").iterdir()) == [f"step_{step:08d}.png" for step in (2, 4, 6)]
    assert (held / "config.yaml").exists()
    (state,) = (folder.path / "trackers").glob("mlflow-*.json")
    assert json.loads(state.read_text())["id"] == uuid


@pytest.mark.long
@installed("trackio")
def test_trackio_holds_what_the_run_wrote(tmp_path: Path, folder: RunFolder) -> None:
    track("trackio", tmp_path, folder)
    (place,) = (tmp_path / "trackio").glob("ganrun*.db")
    pairs, pictures, runs = [], [], set()
    with sqlite3.connect(place) as base:
        for step, name, text in base.execute("select step, run_name, metrics from metrics order by id"):
            runs.add(name)
            for key, value in json.loads(text).items():
                if key == "samples":
                    pictures.append(step)
                else:
                    pairs.append(((step, key), value))
        ((config,),) = base.execute("select config from configs")
    once(pairs, tmp_path)
    assert pictures == [2, 4, 6]
    assert len(runs) == 1
    assert json.loads(config)["loss.name"] == "nonsaturating"


# none of this can hurt a run


@pytest.fixture
def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A person's own trackers, in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_trackers.py").write_text(FAKES)
    (tmp_path / "conf" / "tracker").mkdir(parents=True)
    for name in ("notes", "fails", "hangs", "late", "dies"):
        text = f"# @package tracker.{name}\n# A tracker of mine.\nname: {name}\nto: {name}.jsonl\nwait: 30.0\n"
        (tmp_path / "conf" / "tracker" / f"{name}.yaml").write_text(text)
    importlib.invalidate_caches()
    yield tmp_path
    sys.modules.pop("my_trackers", None)
    for name in ("notes", "fails", "hangs", "late", "dies"):
        registry._components.pop(("tracker", name), None)


def train(*words: str) -> ganrun.Run:
    return ganrun.train([*SMALL, *words], config_dir="conf", plugins=["my_trackers"])


def losses(run: ganrun.Run) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl without the clock."""
    return [{key: entry for key, entry in row.items() if key != "time"} for row in ganrun.read_metrics(run.path)]


def notes(run: ganrun.Run, name: str = "notes") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run.path / f"{name}.jsonl").read_text().splitlines()]


def test_failing_hanging_late_and_dying_trackers_cost_a_run_one_line_each_and_no_bit(fakes: Path) -> None:
    plain = train()
    rows, digest = losses(plain), json.loads((plain.path / "run.json").read_text())["digest"]
    plain.path.rename(fakes / "plain")
    run = train("tracker=[notes,fails,hangs,late,dies]", "tracker.late.wait=0.5")
    assert run.path == plain.path  # the same command with another tracker is the same run
    assert run.status == "done"
    assert losses(run) == rows
    assert json.loads((run.path / "run.json").read_text())["digest"] == digest
    log = (run.path / "train.log").read_text()
    for name, why in (
        ("fails", "ConnectionError: no such host"),
        ("hangs", "its log has given no answer for 0.2 s"),
        ("late", "the last rows have not arrived in time"),
        ("dies", "its process has ended"),
    ):
        assert log.count(f"tracker {name} is off for this process: {why}") == 1
        assert log.count(f"tracker {name} is off") == 1
    assert "some words of the library" in (run.path / "trackers" / "fails.log").read_text()
    heard = notes(run)
    assert heard[0]["open"] is None
    assert heard[0]["settings"] > 50
    assert heard[-1] == {"close": "done"}
    assert [row["step"] for row in heard if "generator/loss" in row.get("values", {})] == [1, 2, 4, 6]
    assert [row["pictures"] for row in heard if row.get("pictures")] == [[f"step_{step:08d}.png"] for step in (0, 3, 6)]


def test_the_same_run_goes_on_and_another_tracker_gets_the_whole_of_it(fakes: Path) -> None:
    run = train("tracker=notes", "steps=4")
    again = train("tracker=notes", "steps=8")
    assert again.path == run.path
    heard = notes(run)
    assert [row["open"] for row in heard if "open" in row] == [None, "the first"]
    assert [row["sent"] for row in heard if "sent" in row] == [-1, 4]
    assert [row["step"] for row in heard if "generator/loss" in row.get("values", {})] == [1, 2, 4, 6, 8]
    done = train("tracker=notes", "tracker.notes.to=later.jsonl", "steps=8")
    assert done.path == run.path
    later = notes(run, "later")
    assert [row["step"] for row in later if "generator/loss" in row.get("values", {})] == [1, 2, 4, 6, 8]
    assert later[0]["open"] is None


def test_a_run_goes_on_with_its_tracker_with_another_one_or_with_none(fakes: Path) -> None:
    run = train("tracker=notes", "steps=4")
    words = ["resume=" + str(run.path), "steps=6"]
    ganrun.train(words, config_dir="conf", plugins=["my_trackers"])
    assert [row for row in notes(run) if "close" in row] == [{"close": "done"}] * 2
    ganrun.train([*words[:1], "steps=8", "tracker=none"], config_dir="conf", plugins=["my_trackers"])
    assert [row for row in notes(run) if "close" in row] == [{"close": "done"}] * 2


def test_the_end_of_the_run_is_the_end_of_its_tracker_even_where_the_run_is_killed(fakes: Path, folder: RunFolder) -> None:
    registry.load_plugins(["my_trackers"])
    options = {"name": "notes", "to": "notes.jsonl", "wait": 30.0}
    trackers = companions.Companions({"tracker": {"notes": options}, "plugins": ["my_trackers"]}, folder)
    trackers.start()
    (companion,) = trackers.all
    companion.finish()  # as the system does for a process that is gone
    process = companion._process
    assert process is not None
    assert process.wait(60) == 0
    found = [json.loads(line) for line in (folder.path / "notes.jsonl").read_text().splitlines()]
    assert found[-1] == {"close": "running"}
    trackers.end()


def test_hearing_waits_for_nobody_and_a_process_that_cannot_start_is_off(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no(*words: Any, **options: Any) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(companions.subprocess, "Popen", no)
    trackers = companions.Companions({"tracker": {"mlflow": {"name": "mlflow"}}}, folder)
    trackers.start()
    trackers.hear()
    assert trackers.places() == {}
    trackers.end()
    assert "tracker mlflow is off for this process: cannot be started (Cannot allocate memory)" in folder.journal.read_text()


def test_a_call_within_the_patience_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()
    monkeypatch.setattr(worker, "leave", ended.set)
    with open(os.devnull, "w") as answers:
        watch = worker.Watch(0.05, answers)
        with watch("log"):
            pass
        assert not ended.wait(0.2)
        with watch("log"):
            assert ended.wait(30)


# what is refused, before anything begins


def test_libraries_that_are_not_there_are_named_with_their_extras_and_with_every_other_mistake(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    real = importlib.util.find_spec
    monkeypatch.setattr(base.importlib.util, "find_spec", lambda module: None if module in NAMES else real(module))
    done = CliRunner().invoke(app, ["train", f"tracker=[{','.join(NAMES)}]", "losss=hinge"])
    assert done.exit_code == 2
    for name in NAMES:
        assert f'tracker={name}: needs {name}, which is not installed: pip install "ganrun[{name}]"' in done.stderr
    assert "losss=hinge" in done.stderr
    experiment = tmp_path / "conf" / "experiment"
    experiment.mkdir(parents=True)
    (experiment / "mine.yaml").write_text(
        "# @package _global_\n# Mine.\ndefaults: [override /tracker: [wandb], _self_]\nsteps: 1\n"
    )
    done = CliRunner().invoke(app, ["train", "--config-dir", "conf", "experiment=mine"])
    assert done.exit_code == 2
    assert 'pip install "ganrun[wandb]"' in done.stderr
    assert not (tmp_path / "outputs").exists()


def test_each_tracker_needs_what_its_extra_installs() -> None:
    text = (CONF.parent / "pyproject.toml").read_text(encoding="utf-8")
    extras = tomllib.loads(text)["project"]["optional-dependencies"]
    for name in NAMES:
        component: type[Tracker] = registry.lookup("tracker", name)  # type: ignore[assignment]
        assert all(any(need in wanted for wanted in extras[component.extra]) for need in component.needs)


def test_a_folder_is_no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "nosuchtracker").mkdir()
    assert not base._is_there("nosuchtracker")
    assert base._is_there("json")


def test_wrong_options_of_trackers_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["tracker=wandb", "tracker.wandb.mode=onlin", "tracker.wandb.wait=-1", "tracker.wandb.projct=x"]
    done = CliRunner().invoke(app, ["train", *words])
    assert done.exit_code == 2
    for part in ("tracker.wandb.mode=onlin", "online", "tracker.wandb.wait=-1", "tracker.wandb.projct=x"):
        assert part in done.stderr
    done = CliRunner().invoke(app, ["train", "tracker=tensorbord"])
    assert (done.exit_code, "tensorboard" in done.stderr) == (2, True)
    for name, option in (("wandb", {"mode": "x"}), ("mlflow", {"wait": -1.0}), ("trackio", {"wait": float("nan")})):
        with pytest.raises(BadInput, match=next(iter(option))):
            registry.build("tracker", {"name": name, **option})


def test_trackers_count_for_nothing() -> None:
    plain = compose_config()
    for word in ("tracker=[tensorboard,wandb]", "tracker=mlflow"):
        assert identity.identity(compose_config(word)) == identity.identity(plain)
    assert plain["tracker"] == {}
    before = {key: value for key, value in plain.items() if key != "tracker"}  # a run of an earlier version
    assert identity.identity(before) == identity.identity(plain)
    assert companions.chosen(before) == {}


def test_a_tracker_of_the_program_itself_has_to_move_into_a_module(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine(Tracker):
        """Mine."""

    Mine.__module__ = "__main__"
    monkeypatch.setitem(registry._components, ("tracker", "of_main"), Mine)
    with pytest.raises(BadInput, match="must stand in a module, named by plugins"):
        companions.refuse({"tracker": {"of_main": {"name": "of_main"}}})


def test_a_tracker_sees_no_torch() -> None:
    code = (
        "import sys; from ganrun.ground import registry; import ganrun.trackers.worker; "
        "[registry.lookup('tracker', name) for name in registry.names('tracker')]; "
        "print([name for name in ('torch', 'numpy', 'wandb', 'mlflow', 'trackio', 'tensorboard') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


@pytest.mark.parametrize("name", NAMES)
def test_the_file_of_a_tracker_agrees_with_its_signature(name: str) -> None:
    held = compose_config(f"tracker={name}")["tracker"]
    assert list(held) == [name]
    taken = {key: list(value) if isinstance(value, tuple) else value for key, value in registry.options(lookup(name)).items()}
    assert held[name] == {"name": name, **taken}


def lookup(name: str) -> Any:
    return registry.lookup("tracker", name)
