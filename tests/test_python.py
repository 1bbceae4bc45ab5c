"""ganrun from a person's own program: what it returns, and that the program's torch is as it was."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import ganrun
from ganrun.cli import listing, targets
from ganrun.disk import gather
from ganrun.disk.run_folder import RunFolder
from ganrun.engine import run, sample_run, sampling
from ganrun.engine.export import export
from ganrun.ground import terminal_text

SMALL = ("steps=2", "batch_size=8", "device=cpu", "device.threads=1", "metric=none", "model=mlp", "model.generator.width=8")


def state() -> dict[str, Any]:
    """Whatever of torch and the environment a library could leave changed."""
    return {
        "threads": torch.get_num_threads(),
        "determinism": torch.get_deterministic_debug_mode(),
        "fill": torch.utils.deterministic.fill_uninitialized_memory,
        "benchmark": torch.backends.cudnn.benchmark,
        "tf32": torch.backends.cudnn.allow_tf32,
        "dtype": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "generator": torch.get_rng_state().tolist(),
        "environment": dict(os.environ),
    }


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A program that has chosen everything otherwise."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    threads, benchmark = torch.get_num_threads(), torch.backends.cudnn.benchmark
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = True
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(77)
    try:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.benchmark = benchmark
        torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from conftest import compose_config

    folder = tmp_path_factory.mktemp("python") / "run"
    run.train(compose_config(*SMALL), folder, overrides=list(SMALL), sweep=True)
    return folder


def test_a_loaded_run_samples_as_the_command_does_and_leaves_the_program_alone(trained: Path, tmp_path: Path, host: None) -> None:
    before = state()
    x = ganrun.load(trained).sample(5, seed=3)
    assert state() == before
    assert (x.dtype, x.shape) == (torch.float32, (5, 1, 8, 8))
    config = ganrun.load(trained).config
    picture = sample_run.sample(trained, num=5, seed=3, out=tmp_path, config=config, separate=True)
    shown = [np.asarray(Image.open(path)) for path in sorted(picture.with_suffix("").glob("*.png"))]
    assert np.array_equal(np.stack(shown), (x[:, 0] * 255).round().to(torch.uint8).numpy())
    assert state() == before


def test_a_video_begins_with_the_first_sample_and_its_faults_are_named_before_torch_is(trained: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"num": 2, "seed": 3, "out": None, "raw": False, "labels": None, "separate": False}
    asked = targets.Sampling(**options, video=targets.Film(tmp_path / "new" / "walk.gif", 6, 20))
    path = targets.sample(trained, [], None, asked)
    x = ganrun.load(trained).sample(2, seed=3)
    with Image.open(path) as film:
        assert (film.n_frames, film.info["duration"]) == (6, 50)  # type: ignore[attr-defined]
        for place, image in ((0, x[0, 0]), (3, x[1, 0])):
            film.seek(place)
            shown, factor = np.asarray(film.convert("L")), film.width // 10  # 8 pixels, and a gap on each side
            assert np.abs(shown[factor:-factor:factor, factor:-factor:factor][:8, :8] - 255.0 * image.numpy()).max() <= 1
    for changed, said in (
        ({"separate": True}, "leave out --separate"),
        ({"num": 8}, "--frames 6: the walk goes through 8 samples"),
        ({"labels": [1]}, "trained without labels"),
    ):
        with pytest.raises(ganrun.GanrunError, match=said):
            targets.sample(trained, [], None, targets.Sampling(**{**options, **changed}, video=asked.video))


def test_an_exported_generator_and_a_new_run_leave_the_program_alone(trained: Path, tmp_path: Path, host: None) -> None:
    from conftest import compose_config

    config = sampling.Trained(trained, compose_config(*SMALL)).config
    path = export(trained, tmp_path / "g.safetensors", config)
    before = state()
    assert next(ganrun.load_generator(path).parameters()).dtype == torch.float32
    assert state() == before
    run.train(compose_config(*SMALL), tmp_path / "again", overrides=[], sweep=True)
    assert state() == before
    states = [torch.load(folder / "checkpoints/step_00000002.pt", weights_only=True) for folder in (trained, tmp_path / "again")]
    for part, entries in states[0].items():
        if isinstance(entries, dict):
            for name, entry in entries.items():
                if isinstance(entry, torch.Tensor):
                    assert torch.equal(entry, states[1][part][name]), (part, name)


def test_the_program_is_left_alone_where_a_run_fails(trained: Path, tmp_path: Path, host: None) -> None:
    before = state()
    with pytest.raises(ganrun.GanrunError):
        ganrun.load(tmp_path)
    with pytest.raises(ganrun.GanrunError):
        ganrun.load(trained).sample(0)
    assert state() == before


PLAIN = (str, int, float, type(None))


def test_runs_are_flat_records_with_the_step_of_their_scores(trained: Path) -> None:
    rows = [
        {"step": step, "scores": {"fid": {"value": value, "card": {"metric": "fid"}}}, "time": ""}
        for step, value in ((2, 5.0), (1, 9.0))
    ]
    (trained / "scores.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "{torn")
    (record,) = ganrun.runs(trained.parent)
    known = {"run": str(trained), "status": "done", "step": 2, "steps": 2, "seed": 0, "model": "mlp", "loss": "nonsaturating"}
    assert record.items() >= {**known, "dataset": "digits", "scores_step": 2, "scores.fid": 5.0, "error": None}.items()
    assert all(isinstance(value, PLAIN) for value in record.values())
    assert record["size"] == sum(path.stat().st_size for path in trained.rglob("*") if path.is_file())
    assert record["created"].startswith("20")
    assert [row["step"] for row in ganrun.read_metrics(trained)] == [1, 2]
    assert [row["scores"]["fid"]["value"] for row in ganrun.read_scores(trained)] == [5.0, 9.0]
    assert all(isinstance(row["step"], int) for row in ganrun.read_signs(trained))
    (trained / "scores.jsonl").unlink()


def test_a_damaged_run_is_a_record_too_and_no_folder_is_an_error(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "a" / "b")
    (tmp_path / "a" / "b" / "config.yaml").write_text("seed: [")
    (record,) = ganrun.runs(tmp_path)
    assert (record["status"], "config.yaml" in record["error"]) == ("damaged", True)
    assert ganrun.runs(tmp_path / "a" / "b" / "samples") == []
    for read in (ganrun.runs, ganrun.read_metrics, ganrun.read_scores, ganrun.read_signs):
        with pytest.raises(ganrun.GanrunError, match="there is no such"):
            read(tmp_path / "gone")


def test_records_hold_every_key_as_it_is_typed_and_make_a_table(trained: Path, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    for seed in (0, 1):
        shutil.copytree(trained, tmp_path / "o" / f"run{seed}")
    frame = pandas.DataFrame(ganrun.runs(tmp_path / "o"))
    assert list(frame["run"]) == [str(tmp_path / "o" / f"run{seed}") for seed in (0, 1)]
    assert list(frame["optimizer.lr"]) == [2e-4, 2e-4]
    assert list(frame["batch_size"]) == [8, 8]
    assert list(frame["regularizer"]) == ["", ""]
    assert list(frame["optimizer.betas"]) == ["0.5,0.999"] * 2
    assert frame.groupby(["loss", "optimizer.lr"])["step"].max().tolist() == [2]
    assert json.loads(listing.runs_as_json(tmp_path / "o")) == ganrun.runs(tmp_path / "o")


def test_folders_that_hold_no_run_are_named_and_stop_nothing(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "mine" / "run")
    for name in ("foreign/deep", "mine/notes", ".hidden", "empty"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("foreign/deep/a.txt", "mine/notes/b.txt", ".hidden/c.txt"):
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    found, others = gather.survey(tmp_path)
    assert found == [tmp_path / "mine" / "run"]
    assert others == [f"{tmp_path / 'foreign'}: no run folder", f"{tmp_path / 'mine' / 'notes'}: no run folder"]
    lines = list(listing.show_runs(tmp_path, 80))
    assert [" ".join(line.split()) for line in lines if "no run folder" in " ".join(line.split())] == [
        f"note: {other}" for other in others
    ]
    assert lines[-1].startswith("1 run in ")
    assert gather.survey(tmp_path / "foreign") == ([], [f"{tmp_path / 'foreign'}: no run folder"])


def test_a_run_that_no_process_works_in_is_not_running(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "run")
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps({**facts, "status": "running"}))
    assert ganrun.runs(tmp_path)[0]["status"] == "interrupted"
    folder = RunFolder(tmp_path / "run")
    folder.open()
    try:
        assert ganrun.runs(tmp_path)[0]["status"] == "running"
    finally:
        folder.close()


def test_results_are_listed_without_torch_and_nothing_is_cut(trained: Path) -> None:
    argv = ["ganrun", "list", "runs", str(trained.parent)]
    code = f"import sys; from ganrun.cli import app; sys.argv = {argv!r}\ntry: app.main()\n"
    code += "finally: print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert (lines[0], lines[-1]) == (str(trained), "False")
    assert lines[1].startswith("  done, step 2 of 2, ")
    assert max(len(line) for line in listing.show_runs(trained.parent, 40) if "/" not in line) <= 40


def test_a_run_from_before_the_doctor_is_still_taken(trained: Path, tmp_path: Path) -> None:
    config = yaml.safe_load((trained / "config.yaml").read_text())
    config.pop("disease", None)
    old = tmp_path / "old"
    shutil.copytree(trained, old)
    (old / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    facts = json.loads((old / "run.json").read_text())
    facts.pop("config_sha256")
    (old / "run.json").write_text(json.dumps(facts))
    _, taken = targets.prepare(old, [], None, ("device",), "sample")
    assert taken["seed"] == 0


@pytest.mark.parametrize("columns", [40, 80])
def test_sentences_break_between_words_and_commands_stay_whole(columns: int) -> None:
    command = "ganrun sample outputs/default/mlp-nonsaturating-ring8-seed0-0123456789 --num 100 plugins=[mine]"
    text = f"note: N=360 samples are few for FID, whose bias falls as one over their number. Next: {command} or another seed"
    lines = terminal_text.wrapped(text, columns).split("\n")
    assert " ".join(lines) == text
    assert sum(command in line for line in lines) == 1
    assert all(len(line) <= columns for line in lines if command not in line)


def test_a_program_trains_twice_and_its_torch_is_left_alone(tmp_path: Path, host: None) -> None:
    words = [*SMALL, f"output={tmp_path}", "every.sample=0"]
    before = state()
    runs = [ganrun.train([*words, f"seed={seed}"]) for seed in (0, 1)]
    assert state() == before
    assert [(run.status, run.step, run.scores, run.scores_step) for run in runs] == [("done", 2, {}, None)] * 2
    assert [record["run"] for record in ganrun.runs(tmp_path)] == [str(run.path) for run in runs]
    assert ganrun.train([*words, "seed=0"]).path == runs[0].path


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["seed=0,1"], "seed=0,1: ganrun.train trains one run. Call it once for each value"),
        (["lss=hinge"], "Did you mean"),
        ("seed=0", "takes a list of overrides"),
        (["-m"], "flags go before"),
    ],
)
def test_what_a_program_asks_wrongly_is_one_error(overrides: Any, said: str) -> None:
    with pytest.raises(ganrun.GanrunError, match=re.escape(said)):
        ganrun.train(overrides)
