"""Run folders and checkpoints from anywhere: nothing in them is run, and what does not fit is said and refused."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import driver
import pytest
import torch
import yaml

import ganrun
from ganrun.disk import checkpoint
from ganrun.disk.runs import read_config
from ganrun.ground.errors import BadInput, GanrunError, NoCheckpoint

NAME = "normed"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose newest checkpoint is of step 4."""
    folder = tmp_path_factory.mktemp("hostile") / "run"
    driver.finished(driver.config(NAME, "steps=4", "keep=1"), folder)
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def newest(run: Path) -> Path:
    return run / "checkpoints" / "step_00000004.pt"


def plant(run: Path, data: bytes) -> None:
    """Put ``data`` in the place of the only checkpoint, with the manifest that it asks for."""
    manifest = {"format": 1, "step": 4, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    newest(run).write_bytes(data)
    newest(run).with_suffix(".json").write_text(json.dumps(manifest))


def saved(state: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer, **options)
    return buffer.getvalue()


def refused(run: Path, *words: str, commands: bool = False) -> None:
    """Whatever a person does with the run ends in a documented code and a message with ``words``; the run is as it was."""
    before = driver.contents(run, "train.log", "run.json", ".lock")
    outcomes = {"train": driver.train(driver.config(NAME, "steps=6"), run)}
    if commands:
        scored = driver.config(NAME, "steps=4", "metric=fid", "evaluation.extractor=random_conv", "evaluation.num=16")
        outcomes |= {
            "sample": driver.sample(run, scored),
            "sample from the file": driver.sample(newest(run), scored),
            "eval": driver.evaluate(run, scored),
        }
    for name, outcome in outcomes.items():
        assert outcome.code in (2, 5), (name, outcome.said)
        assert outcome.code == 5 or name != "train", outcome.said
        assert "Traceback" not in outcome.said, (name, outcome.said)
        for word in words:
            assert word in outcome.said, (name, outcome.said)
    for target in (run, newest(run)):
        with pytest.raises((BadInput, NoCheckpoint)) as caught:
            ganrun.load(target)
        for word in words:
            assert word in str(caught.value)
    assert driver.contents(run, "train.log", "run.json", ".lock") == before


# code in a checkpoint


class Bomb:
    """Unpickled, it touches a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


FORMS: dict[str, Callable[[Any], bytes]] = {
    "zip": saved,
    "legacy": lambda state: saved(state, _use_new_zipfile_serialization=False),
    "raw": pickle.dumps,
}


@pytest.mark.parametrize("form", FORMS)
def test_code_in_a_checkpoint_is_never_run(form: str, run: Path, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    state = checkpoint.read(newest(run))
    data = FORMS[form]({**state, "players/generator": Bomb(marker)})
    if form == "raw":
        pickle.loads(data)
    else:
        torch.load(io.BytesIO(data), weights_only=False)
    marker.rmdir()  # the bomb works
    plant(run, data)
    refused(run, "not a checkpoint of plain tensors and values", commands=True)
    assert not marker.exists()


def test_a_packed_checkpoint_is_not_unpacked(run: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(newest(run).read_bytes())) as plain, zipfile.ZipFile(buffer, "w") as packed:
        for entry in plain.infolist():
            packed.writestr(entry.filename, plain.read(entry), zipfile.ZIP_DEFLATED)
        packed.writestr("archive/data/999", bytes(50_000_000), zipfile.ZIP_DEFLATED)
    assert len(buffer.getvalue()) < 1_000_000
    plant(run, buffer.getvalue())
    with pytest.raises(NoCheckpoint, match="not a checkpoint of plain"):
        checkpoint.read(newest(run))


# states that do not fit


def weight(state: dict[str, Any], value: Any, where: str = "players/generator") -> dict[str, Any]:
    return {**state, where: {**state[where], "layers.0.weight": value}}


def held(state: dict[str, Any]) -> torch.Tensor:
    return state["players/generator"]["layers.0.weight"]


MISFITS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "another shape": (lambda state: weight(state, torch.zeros(9, 9, 4, 4)), "layers.0.weight is float32 of shape (9, 9, 4, 4)"),
    "a huge shape": (lambda state: weight(state, torch.zeros(1).expand(10**6, 10**6)), "shape (1000000, 1000000)"),
    "another type": (lambda state: weight(state, held(state).double()), "layers.0.weight is float64"),
    "no tensor": (lambda state: weight(state, [1.0, 2.0]), "layers.0.weight is a list where a Tensor is needed"),
    "a sparse tensor": (lambda state: weight(state, held(state).to_sparse()), "layers.0.weight is not plain"),
    "no mapping": (lambda state: {**state, "players/generator": 3}, "players/generator: it is not a mapping"),
    "a player missing": (lambda state: {key: state[key] for key in state if key != "players/generator"}, "players/generator: "),
    "NaN": (lambda state: weight(state, held(state) * float("nan")), "NaN or Inf"),
    "an infinite average": (lambda state: weight(state, held(state) / 0, "averages/generator"), "NaN or Inf"),
    "no mapping at all": (lambda state: [state], "no step"),
    "no step": (lambda state: {**state, "step": "4"}, "no step"),
    "another step": (lambda state: {**state, "step": 3}, "step 3"),
}


@pytest.mark.filterwarnings("ignore:Validating sparse tensor")
@pytest.mark.parametrize("misfit", MISFITS)
def test_a_checkpoint_that_does_not_fit_is_refused_by_name(misfit: str, run: Path) -> None:
    change, words = MISFITS[misfit]
    plant(run, saved(change(checkpoint.read(newest(run)))))
    if misfit == "another step":
        assert driver.train(driver.config(NAME, "steps=6"), run).code == 5
    else:
        refused(run, words)


def test_a_checkpoint_of_other_networks_is_refused_entry_by_entry(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    driver.finished(driver.config(NAME, "steps=4", "keep=1", "model.generator.width=3"), other)
    shutil.rmtree(run / "checkpoints")
    shutil.copytree(other / "checkpoints", run / "checkpoints")
    refused(run, "another run")
    manifest = json.loads(newest(run).with_suffix(".json").read_text())
    del manifest["run"]  # as earlier versions wrote it
    newest(run).with_suffix(".json").write_text(json.dumps(manifest))
    refused(run, "players/generator: layers.0.weight is float32 of shape", "where float32 of shape")


# what surrounds it


@pytest.mark.parametrize("shape", [[10**6, 10**6, 10**6], [0, 8, 8], [8], ["a", "b", "c"], "shape"], ids=str)
def test_a_shape_that_no_data_have_is_refused(shape: Any, run: Path) -> None:
    facts = driver.facts(run)
    facts["data"]["spec"]["shape"] = shape
    (run / "run.json").write_text(json.dumps(facts))
    outcome = driver.sample(run, driver.config(NAME))
    assert outcome.code == 2
    assert "run.json" in outcome.said
    assert "Traceback" not in outcome.said


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"data": 5}', b'{"data": {"spec": null}}'], ids=str)
def test_a_damaged_run_json_is_refused(content: bytes, run: Path) -> None:
    (run / "run.json").write_bytes(content)
    scored = driver.config(NAME, "metric=fid", "evaluation.extractor=random_conv", "evaluation.num=16")
    before = driver.contents(run)
    for outcome in (driver.sample(run, driver.config(NAME)), driver.evaluate(run, scored)):
        assert outcome.code == 2, outcome.said
        assert "run.json" in outcome.said
        assert "Traceback" not in outcome.said
    with pytest.raises(BadInput, match=r"run\.json"):
        ganrun.load(run)
    assert driver.contents(run) == before


def spots(config: Any, where: tuple[Any, ...] = ()) -> Any:
    """Every place of a config at which a mapping stands."""
    if isinstance(config, dict):
        yield where
        for key, value in config.items():
            yield from spots(value, (*where, key))


def with_target(config: Any, where: tuple[Any, ...], value: Any) -> Any:
    if not where:
        return {**config, "_target_": value}
    return {**config, where[0]: with_target(config[where[0]], where[1:], value)}


def test_a_class_path_anywhere_in_a_runs_config_is_refused(run: Path, tmp_path: Path) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    places = list(spots(config))
    assert len(places) > 10
    for where in places:
        for value in ("os.system", 3):
            text = yaml.safe_dump(with_target(config, where, value))
            (run / "config.yaml").write_text(text)
            with pytest.raises(BadInput, match="_target_"):
                read_config(run)
    with pytest.raises(BadInput, match="_target_"):
        ganrun.load(run)
    nested = {**config, "plugins": [{"_target_": "os.system"}]}
    (run / "config.yaml").write_text(yaml.safe_dump(nested))
    with pytest.raises(BadInput, match="_target_"):
        read_config(run)


def test_a_class_path_that_reaches_the_engine_is_no_option_of_anything(run: Path) -> None:
    given = driver.config(NAME)
    for group in ("model", "game", "loss", "dataset"):
        broken = with_target(given, (group,), "os.system")
        outcome = driver.train(broken, run.with_name("new"))
        assert outcome.code == 2, outcome.said
        assert f"{group}._target_=os.system: there is no such option" in outcome.said
    assert not run.with_name("new").exists()


# as a command


def command(*words: str, **options: Any) -> driver.Outcome:
    return driver.start("command", *words, **options).wait()


def said_no(outcome: driver.Outcome, *words: str) -> None:
    assert outcome.code == 2, outcome.said
    assert "Traceback" not in outcome.said
    for word in words:
        assert word in outcome.said


@pytest.mark.parametrize("name", ["../../x", "/abs", "a/b", "..", ".hidden", "a\nb", "x" * 101, "${oc.env:HOME}", "a;b", "~root"])
def test_a_name_that_leaves_the_output_folder_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    quoted = name if name.startswith("${") else "'" + name + "'"
    said_no(command("train", f"name={quoted}", "steps=1", "dataset=ring8", cwd=tmp_path / "here"), "name")
    assert [path.name for path in tmp_path.rglob("*")] == ["here"]


def test_a_hostile_run_folder_is_refused_by_every_command(run: Path, tmp_path: Path) -> None:
    config, marker = yaml.safe_load((run / "config.yaml").read_text()), tmp_path / "marker"
    hostile = {
        "_target_": yaml.safe_dump(with_target(config, ("optimizer", "generator"), "os.mkdir")),
        "an interpolation": yaml.safe_dump({**config, "name": "${oc.env:HOME}"}),
        "a tag": f"name: !!python/object/apply:os.mkdir ['{marker}']\n",
        "aliases": "a: &a [x, x]\n" + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{f'*{chr(97 + n)},' * 9}]\n" for n in range(9)),
        "a module": yaml.safe_dump({**config, "plugins": ["antigravity"]}),
        "torn": (run / "config.yaml").read_text()[:-300] + "{",
    }
    for what, text in hostile.items():
        (run / "config.yaml").write_text(text)
        before = driver.contents(run)
        every = [["train", f"resume={run}"], ["eval", str(run)], ["sample", str(run)]]
        for words in every if what == "_target_" else every[:1]:
            outcome = command(*words, cwd=tmp_path)
            assert outcome.code == 2, (what, outcome.said)
            assert "Traceback" not in outcome.said
        assert driver.contents(run) == before
    assert not marker.exists()


def test_code_in_a_checkpoint_is_not_run_by_any_command(run: Path, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    plant(run, saved({**checkpoint.read(newest(run)), "players/generator": Bomb(marker)}))
    for words in (["train", f"resume={run}", "every.log=2"], ["eval", str(run), "metric=fid"], ["sample", str(run)]):
        outcome = command(*words, cwd=tmp_path)
        assert outcome.code == 5, outcome.said
        assert "Traceback" not in outcome.said
    assert not marker.exists()


def test_errors_have_the_codes_that_the_readme_lists() -> None:
    codes = {kind.__name__: kind.exit_code for kind in GanrunError.__subclasses__() if kind.exit_code != GanrunError.exit_code}
    assert codes == {"BadInput": 2, "Diverged": 3, "StorageFailed": 4, "NoCheckpoint": 5, "RunBusy": 6, "Stopped": 75}
