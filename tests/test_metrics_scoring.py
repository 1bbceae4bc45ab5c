"""Scoring end to end: values, cards, baselines, and what it must never change."""

from __future__ import annotations

import gc
import json
import math
import re
import weakref

import pytest
import torch

from ganrun.data.base import to_range
from ganrun.engine import baselines, scoring
from ganrun.ground import traits
from ganrun.ground.errors import BadInput, Diverged
from ganrun.ground.registry import build
from ganrun.metrics.base import Score

EVALUATION = {
    "num": None,
    "reference": "train",
    "extractor": "auto",
    "weights": None,
    "weights_sha256": None,
    "average": True,
    "baselines": False,
    "batch_size": 250,
    "seed": 7,
}


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setenv("GANRUN_CACHE", str(tmp_path))


@pytest.fixture
def digits():
    return build("dataset", {"name": "digits", "size": None})


def metrics(*names: str) -> dict[str, Score]:
    return {name: build("metric", {"name": name}) for name in names}


def quiet(line: str) -> None:
    """Of the cache alone: nothing else is to be said."""
    assert "real samples" in line, line


def x_of(dataset, rows=None) -> torch.Tensor:
    return dataset.batch(torch.arange(len(dataset)) if rows is None else rows).x


def score(dataset, x, *names: str, **changes):
    return scoring.score(metrics(*names), x, dataset, evaluation={**EVALUATION, **changes}, say=quiet)


def test_held_out_digits_score_well_noise_badly_and_half_the_classes_between(digits):
    rows = baselines.baselines(metrics("is", "fid"), digits, num=360, evaluation=EVALUATION, say=quiet)
    held_out = digits.held_out()
    half = score(digits, x_of(held_out)[held_out.labels < 5], "is", "fid")
    read = [{**row["is"].values, **row["fid"].values} for row in (rows["held_out"], half, rows["noise"])]
    assert 9 < read[0]["is"] <= 10
    assert 4.5 < read[1]["is"] < 5.3
    assert 1 <= read[2]["is"] < 2
    assert 0 < read[0]["fid"] < 1
    assert read[0]["fid"] < 0.1 * read[1]["fid"] < 0.1 * read[2]["fid"]


def test_the_reference_itself_is_at_no_distance(digits):
    assert score(digits, x_of(digits), "fid")["fid"].values["fid"] < 1e-6
    assert score(digits, x_of(digits.held_out()), "fid", reference="held_out")["fid"].values["fid"] < 1e-6


def test_the_card_says_what_makes_two_scores_comparable(digits):
    padded = digits.fitted(16)
    result = score(padded, x_of(padded)[:50], "is", "fid")["is"]
    card = result.card
    assert json.loads(json.dumps(card)) == card
    assert (card["metric"], card["splits"], card["samples"], card["average"], card["seed"]) == ("is", 1, 50, True, 7)
    assert card["reference"] == {**padded.card(), "split": "train", "used": 1437}
    assert card["reference"]["notes"] == ["padded with black from 8x8 to 16x16"]
    assert card["extractor"]["name"] == "classifier"
    assert card["extractor"]["held_out_accuracy"] >= 0.98
    assert "bytes" in card["quantised"]
    assert set(card["versions"]) == {"ganrun", "torch", "torchmetrics", "python"}
    held_out = score(padded, x_of(padded)[:50], "is", reference="held_out")["is"].card["reference"]
    assert (held_out["split"], held_out["used"]) == ("held_out", 360)
    assert held_out["fingerprint"] == padded.held_out().fingerprint()


def test_generated_images_are_rounded_to_bytes_before_they_are_looked_at(digits):
    x = x_of(digits)[:200]
    wobble = (torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) - 0.5) * (1.9 / 255)
    assert score(digits, x + wobble, "is", "fid")["fid"].values == score(digits, x, "is", "fid")["fid"].values
    assert score(digits, x * 1.5, "fid")["fid"].values == score(digits, (x * 1.5).clamp(-1, 1), "fid")["fid"].values


def test_without_class_probabilities_is_has_no_value_and_says_why(digits):
    found = score(digits, x_of(digits)[:200], "is", "fid", extractor="random_conv")
    assert found["is"].values == {}
    assert found["is"].missing.startswith("IS needs class probabilities")
    assert found["fid"].values["fid"] > 0
    assert found["fid"].missing == ""


def test_a_sample_below_the_feature_dimension_is_remarked_on(digits):
    found = score(digits, x_of(digits)[:40], "is", "fid")
    assert "N=40 <= 64 feature dimensions on the generated side" in found["fid"].remarks[0]
    assert "biased down by up to 11%: compare only at the same N, or evaluation.num=225" in found["is"].remarks[0]
    assert score(digits, x_of(digits)[:225], "is")["is"].remarks == []


@pytest.mark.parametrize("name", ["is", "fid", "kid", "precision_recall", "density_coverage", "memorisation", "class_modes"])
def test_a_sample_that_is_too_small_is_said_with_a_better_one(name, digits):
    (remark, *_) = score(digits, x_of(digits)[:20], name)[name].remarks
    assert re.search(r"evaluation\.num|metric=kid|needs fewer|perfect generator", remark), remark


def test_small_samples_of_points_are_remarked_on():
    ring = build("dataset", {"name": "ring8", "num": 400})
    few, enough = (
        scoring.score({"modes": build("metric", {"name": "modes"})}, ring.batch(torch.arange(n)).x, ring, evaluation=EVALUATION)
        for n in (100, 320)
    )
    assert "evaluation.num=320 is enough" in few["modes"].remarks[0]
    assert enough["modes"].remarks == []


def test_scoring_is_a_function_of_its_input_and_leaves_the_global_random_numbers_alone(digits):
    x = x_of(digits)[:300]
    before = torch.get_rng_state()
    first = baselines.baselines(metrics("is", "fid"), digits, num=100, evaluation=EVALUATION, say=quiet)
    found = score(digits, x, "is", "fid")
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert score(digits, x, "is", "fid") == found
    assert baselines.baselines(metrics("is", "fid"), digits, num=100, evaluation=EVALUATION, say=quiet) == first


def test_one_metric_object_scores_again_without_remembering(digits):
    shared = metrics("is", "fid")
    x = x_of(digits.held_out())
    first = scoring.score(shared, x, digits, evaluation=EVALUATION)
    scoring.score(shared, -x, digits, evaluation=EVALUATION)
    assert scoring.score(shared, x, digits, evaluation=EVALUATION) == first


def test_real_features_and_the_extractor_are_made_once_for_a_data_set(digits, monkeypatch):
    sizes = []
    plain = scoring.in_chunks

    def counted(module, pixels, size, device):
        sizes.append(len(pixels))
        return plain(module, pixels, size, device)

    monkeypatch.setattr(scoring, "in_chunks", counted)
    for _ in range(3):
        score(digits, x_of(digits)[:30], "is", "fid")
    assert sum(sizes) == 1437 + 3 * 30


def test_what_is_kept_for_a_data_set_goes_with_it():
    dataset = build("dataset", {"name": "digits", "size": None})
    score(dataset, x_of(dataset)[:30], "is", "fid")
    gone = weakref.ref(dataset)
    del dataset
    gc.collect()
    assert gone() is None


def test_large_references_are_cut_and_the_card_says_so(digits, monkeypatch):
    monkeypatch.setattr(scoring, "MOST_REAL", 100)
    card = score(digits, x_of(digits)[:80], "fid")["fid"].card
    assert (card["reference"]["samples"], card["reference"]["used"]) == (1437, 100)


def test_baselines_say_when_fewer_samples_are_held_out(digits):
    rows = baselines.baselines(metrics("fid"), digits, num=500, evaluation=EVALUATION)
    assert rows["held_out"]["fid"].card["samples"] == 360
    assert any("N=360" in remark for remark in rows["held_out"]["fid"].remarks)
    assert rows["noise"]["fid"].card["samples"] == 500
    assert rows["noise"]["fid"].remarks == []
    assert rows["held_out"]["fid"].card["average"] is False
    assert (rows["held_out"]["fid"].card["scored"], rows["noise"]["fid"].card["scored"]) == (
        "held-out real data",
        "uniform noise",
    )


def test_baselines_against_the_held_out_split_show_the_training_split(digits):
    rows = baselines.baselines(metrics("fid"), digits, num=360, evaluation={**EVALUATION, "reference": "held_out"})
    assert set(rows) == {"train", "noise"}
    assert 0 < rows["train"]["fid"].values["fid"] < 1


def test_data_that_holds_nothing_out_has_no_held_out_baseline_and_says_so(digits):
    digits._held_out = None
    rows = baselines.baselines(metrics("fid"), digits, num=50, evaluation={**EVALUATION, "extractor": "random_conv"})
    assert rows["held_out"]["fid"].values == {}
    assert "nothing out" in rows["held_out"]["fid"].missing
    assert rows["noise"]["fid"].values["fid"] > 0
    with pytest.raises(BadInput, match=r"evaluation\.reference=held_out"):
        score(digits, x_of(digits)[:50], "fid", extractor="random_conv", reference="held_out")


def test_points_are_scored_by_their_exact_law():
    ring = build("dataset", {"name": "ring8", "num": 5000})
    rows = baselines.baselines(metrics("modes", "log_density"), ring, num=2000, evaluation=EVALUATION)
    good, noise = rows["held_out"], rows["noise"]
    ceiling = 1 - math.exp(-4.5)
    assert good["modes"].values["modes"] == good["modes"].values["modes_20"] == 8
    assert good["modes"].values["high_quality"] == pytest.approx(ceiling, abs=4 * math.sqrt(ceiling * (1 - ceiling) / 2000))
    assert good["modes"].values["reverse_kl"] < 5 * 7 / (2 * 2000)
    assert good["log_density"].values["log_density"] == pytest.approx(good["log_density"].values["log_density_real"], abs=0.1)
    assert noise["modes"].values["high_quality"] < 0.05
    assert noise["log_density"].values["likely"] < 0.05
    names = [name for result in good.values() for name in result.values]
    assert len(names) == len(set(names))  # a row of scores holds the values of all metrics
    card = good["modes"].card
    assert card["extractor"] is None
    assert card["quantised"] == "no"
    assert (card["modes of the data"], card["std of a mode"], card["radius"]) == (8, 0.01, 3.0)


def test_points_are_not_rounded():
    ring = build("dataset", {"name": "ring8", "num": 1000})
    x = ring.centres.float().repeat(10, 1) * (1 + 1e-3)
    exact = ring.log_density(x).mean().item()
    assert score(ring, x, "log_density")["log_density"].values["log_density"] == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_samples_that_are_not_numbers_are_not_scored(digits, bad):
    x = x_of(digits)[:20].clone()
    x[3, 0, 2, 2] = bad
    with pytest.raises(Diverged):
        score(digits, x, "fid")


def test_options_that_cannot_be_are_refused_by_name(digits):
    x = x_of(digits)[:20]
    with pytest.raises(BadInput, match=r"evaluation\.reference=trian.*train"):
        score(digits, x, "fid", reference="trian")
    with pytest.raises(BadInput, match=r"evaluation\.batch_size=0"):
        score(digits, x, "fid", batch_size=0)
    with pytest.raises(BadInput, match="classifier"):
        score(digits, x, "fid", extractor="clasifier")
    with pytest.raises(BadInput, match="shape"):
        score(digits, torch.zeros(20, 3, 8, 8), "fid")


def test_as_many_samples_are_asked_for_as_are_held_out_unless_said(digits, monkeypatch):
    assert scoring.default_num(EVALUATION, digits) == 360
    assert scoring.default_num({**EVALUATION, "num": 50}, digits) == 50
    monkeypatch.setattr(scoring, "MOST_GENERATED", 300)
    assert scoring.default_num(EVALUATION, digits) == 300
    monkeypatch.undo()
    digits._held_out = None
    assert scoring.default_num(EVALUATION, digits) == 1437
    for bad in (0, 1, -5, 2.5, True, "many"):
        with pytest.raises(BadInput, match=r"evaluation\.num"):
            scoring.default_num({**EVALUATION, "num": bad}, digits)


@pytest.mark.parametrize(
    ("metric", "dataset", "remedy"),
    [
        ("is", "ring8", "log_density"),
        ("fid", "swiss_roll", "log_density"),
        ("modes", "swiss_roll", None),
        ("modes", "digits", None),
        ("log_density", "digits", None),
    ],
)
def test_metrics_that_do_not_fit_the_data_are_refused_with_an_override_that_does(metric, dataset, remedy):
    held = build("dataset", {"name": dataset})
    with pytest.raises(BadInput) as error:
        traits.verify({f"dataset={dataset}": held, f"metric={metric}": build("metric", {"name": metric})})
    assert f"metric={metric}" in str(error.value)
    override = str(error.value).rpartition("Try ")[2]
    if remedy:
        assert override == f"metric={remedy}"
        assert traits.conflicts({"dataset": held, "metric": build("metric", {"name": remedy})}) == []
    else:
        assert override == "dataset=ring8"
        fitting = build("dataset", {"name": "ring8"})
        assert traits.conflicts({"dataset": fitting, "metric": build("metric", {"name": metric})}) == []


def test_real_pixels_survive_the_way_to_floats_and_back():
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(scoring.to_pixels(to_range(every)), every)
