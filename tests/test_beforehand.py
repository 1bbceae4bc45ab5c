"""What cannot be scored, or cannot be a job of a sweep, is known before the first step; what fails later loses nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from cli_driver import run

from ganrun.disk import cache
from ganrun.disk.rows import Rows
from ganrun.engine import run as training
from ganrun.engine import scoring
from ganrun.ground import registry
from ganrun.ground.errors import BadInput, GanrunError, StorageFailed
from ganrun.ground.spec import Spec
from ganrun.metrics import reference
from ganrun.metrics.fid import FrechetDistance

EVALUATION = {
    "num": None,
    "reference": "train",
    "extractor": "classifier",
    "weights": None,
    "weights_sha256": None,
    "average": True,
    "baselines": False,
    "batch_size": 250,
    "seed": 0,
}
OPTIONS: dict[str, dict[str, Any]] = {
    "is": {"splits": 5},
    "kid": {"subsets": 3},
    "precision_recall": {"neighbours": 6},
    "density_coverage": {"neighbours": 6},
    "ngrams": {"longest": 3},
}
DATA = {
    "ngrams": "number_names",
    "structure": "shapes",
    "modes": "ring8",
    "log_density": "ring8",
    "wasserstein": "ring8",
    "paired_distance": "paired_digits",
}
OF_SAMPLES = [name for name in registry.names("metric") if "networks" not in registry.lookup("metric", name).extracts]


def quiet(line: str) -> None:
    pass


@pytest.mark.parametrize("name", OF_SAMPLES)
def test_the_fewest_samples_that_are_accepted_are_computed_from_and_one_less_is_refused(name: str) -> None:
    dataset = registry.build("dataset", {"name": DATA.get(name, "digits"), **({"num": 300} if DATA.get(name) == "ring8" else {})})
    metrics = {name: registry.build("metric", {"name": name, **OPTIONS.get(name, {})})}
    _, fewest = metrics[name].fewest()
    x, labels = dataset.batch(torch.arange(fewest)).x, dataset.batch(torch.arange(fewest)).y
    scoring.verify(metrics, dataset, num=fewest, evaluation=EVALUATION)
    found = scoring.score(metrics, x, dataset, evaluation=EVALUATION, say=quiet, labels=labels)[name]
    assert not found.failed, found.missing
    assert set(found.values) <= set(metrics[name].directions)
    with pytest.raises(BadInput, match=f"metric={name}: needs at least {fewest} generated samples"):
        scoring.verify(metrics, dataset, num=fewest - 1, evaluation={**EVALUATION, "num": fewest - 1})


def test_all_that_is_too_small_is_named_at_once_and_the_real_side_too() -> None:
    dataset = registry.build("dataset", {"name": "digits", "classes": [3], "fraction": 0.02})
    metrics = {name: registry.build("metric", {"name": name}) for name in ("kid", "precision_recall", "is")}
    with pytest.raises(BadInput) as caught:
        scoring.verify(metrics, dataset, num=2, evaluation={**EVALUATION, "num": 2})
    said = str(caught.value).splitlines()
    assert [line.partition(":")[0] for line in said if "generated samples" in line] == ["metric=kid", "metric=precision_recall"]
    assert [line.partition(":")[0] for line in said if "real samples" in line] == ["metric=kid", "metric=precision_recall"]


def test_options_that_the_data_do_not_allow_are_refused() -> None:
    rows = registry.build("dataset", {"name": "number_names", "length": 5})
    with pytest.raises(BadInput, match=r"metric\.ngrams\.longest=6: rows of this data hold 5 symbols"):
        registry.build("metric", {"name": "ngrams", "longest": 6}).verify(rows)
    registry.build("metric", {"name": "ngrams", "longest": 5}).verify(rows)
    small = SimpleNamespace(spec=Spec("image", (1, 4, 4)))
    with pytest.raises(BadInput, match="metric=ms_ssim: compares windows of 5 pixels, and these images have a side of 4"):
        registry.build("metric", {"name": "ms_ssim"}).verify(small)


# ---------------------------------------------------------------- a metric that fails

WORDS = ("steps=2", "batch_size=8", "every.sample=0", "device.threads=1", "device=cpu", "model.generator.width=2")
WORDS += ("model.discriminator.width=2", "evaluation.num=20", "metric=[fid,is]")


def test_where_one_metric_fails_the_others_are_kept_and_the_next_try_scores_it_alone(compose, tmp_path, monkeypatch) -> None:
    config = compose(*WORDS)

    def breaks(self: FrechetDistance) -> dict[str, float]:
        raise RuntimeError("no memory")

    with monkeypatch.context() as patched:
        patched.setattr(FrechetDistance, "compute", breaks)
        with pytest.raises(GanrunError, match="fid failed: RuntimeError: no memory\nthe other scores are kept") as caught:
            training.train(config, tmp_path / "run", overrides=[])
    assert caught.value.exit_code == 1
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "done"
    (row,) = Rows(tmp_path / "run" / "scores.jsonl").read()
    assert (row["scores"]["is"]["value"] > 0, row["scores"]["fid"]["value"]) == (True, None)
    training.train(config, tmp_path / "run", overrides=[])
    again = Rows(tmp_path / "run" / "scores.jsonl").read()[1]
    assert list(again["scores"]) == ["fid"]
    assert again["scores"]["fid"]["value"] > 0


def test_values_that_are_not_finite_are_no_scores(monkeypatch) -> None:
    dataset = registry.build("dataset", {"name": "digits"})
    monkeypatch.setattr(FrechetDistance, "compute", lambda self: {"fid": float("nan")})
    metrics = {"fid": registry.build("metric", {"name": "fid"})}
    found = scoring.score(metrics, dataset.batch(torch.arange(9)).x, dataset, evaluation=EVALUATION, say=quiet)["fid"]
    assert (found.values, found.missing, found.remarks) == ({}, "fid gave no finite value", ["fid is nan, which is no score"])


# ---------------------------------------------------------------- sweeps


def test_a_job_that_excludes_itself_is_named_before_the_first_one_trains(tmp_path: Path) -> None:
    words = [word for word in WORDS if not word.startswith("metric")]
    found = run("train", "-m", *words, f"output={tmp_path}", "metric=none", "regularizer=none,[r1]", "seed=0,1")
    assert (found.code, list(tmp_path.rglob("*.pt"))) == (2, [])
    assert "regularizer=r1: " in found.err
    assert "(in the job regularizer=[r1] seed=0)" in found.err
    found = run("train", "-m", *words, f"output={tmp_path}", "metric=kid", "evaluation.num=20,3", "objective=kid")
    assert (found.code, list(tmp_path.rglob("*.pt"))) == (2, [])
    assert "metric=kid: needs at least 4 generated samples, not evaluation.num=3" in found.err


# ---------------------------------------------------------------- places


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    assert run("train", *WORDS[:-1], "metric=none", f"output={folder}").code == 0
    (config,) = folder.rglob("config.yaml")
    return config.parent


def test_scores_of_a_run_that_cannot_be_written_are_shown(trained: Path, monkeypatch) -> None:
    plain = Rows.verify

    def refuses(self: Rows) -> None:
        if self.path.parent == trained:
            raise StorageFailed(f"{self.path}: cannot be written (Permission denied). What was saved before is untouched")
        plain(self)

    monkeypatch.setattr(Rows, "verify", refuses)
    found = run("eval", trained, "metric=[fid]", "evaluation.num=20")
    assert found.code == 0, found.err
    assert "cannot be written (Permission denied): the scores are shown, not kept; --out FILE" in found.err
    assert "scores at step 2" in found.err
    assert not (trained / "scores.jsonl").exists()
    assert not (trained / "train.log").exists()


def test_scores_go_where_out_says(trained: Path, tmp_path: Path) -> None:
    assert run("eval", trained, "metric=[fid]", "evaluation.num=20", "--out", tmp_path / "mine.jsonl").code == 0
    (row,) = Rows(tmp_path / "mine.jsonl").read()
    assert (row["run"], row["step"], list(row["scores"])) == (str(trained), 2, ["fid"])
    assert not (trained / "scores.jsonl").exists()
    (tmp_path / "file").touch()
    found = run("eval", trained, "metric=[fid]", "evaluation.num=20", "--out", tmp_path / "file" / "x.jsonl")
    assert (found.code, "features" in found.err) == (4, False)


def test_a_user_without_a_home_has_no_cache_and_is_told(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.delenv("GANRUN_CACHE")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("Could not determine home directory.")))
    assert cache.cache_folder() is None
    said: list[str] = []
    reference.keep("reference-x", (torch.zeros(2, 2), None), said.append)
    assert reference.load("reference-x", 2, said.append) is None
    assert "GANRUN_CACHE=DIR" in said[0]
    with cache.alone(None):
        pass


def test_scores_that_could_not_be_added_are_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "scores.jsonl").mkdir()
    with pytest.raises(StorageFailed):
        Rows(tmp_path / "scores.jsonl").verify()


def test_training_without_metrics_and_sampling_import_neither_torchmetrics_nor_torchvision(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from ganrun.cli.app import app
app(["train", "metric=none", "steps=1", "batch_size=4", "model.generator.width=2", "model.discriminator.width=2", "device=cpu"],
    standalone_mode=False)
(config,) = Path("outputs").rglob("config.yaml")
app(["sample", str(config.parent), "--num", "2"], standalone_mode=False)
print([name for name in ("torchmetrics", "torchvision") if name in sys.modules])
"""
    found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert found.stdout.splitlines()[-1] == "[]", found.stderr
