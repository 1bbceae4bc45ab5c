"""The standard deviation that stands beside a score is the one that fresh samples show."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ganrun.engine.generator_scores import rows_of
from ganrun.engine.progress import in_words, scores_table, with_spread
from ganrun.ground.registry import build, names
from ganrun.metrics.base import Result, Sample
from ganrun.metrics.fid import compare, frechet_distance, moments
from ganrun.metrics.ngrams import by_chance, divergence
from ganrun.metrics.two_samples import standard_error

CENTRES = torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0], [5.0, 5.0]], dtype=torch.float64)


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def repeated(name: str, draw, real: Sample | None = None, repeats: int = 80, **options):
    """(values, spreads) of ``repeats`` fresh samples, as {name: list}."""
    values: dict[str, list[float]] = {}
    spreads: dict[str, list[float]] = {}
    for seed in range(repeats):
        metric = build("metric", {"name": name, **options})
        metric.bind(SimpleNamespace(centres=CENTRES, std=1.0, log_density=lambda x: -0.5 * x.square().sum(1)))
        if real is not None:
            metric.update(real, real=True)
        metric.update(draw(seed), real=False)
        for key, value in metric.compute().items():
            values.setdefault(key, []).append(value)
        for key, value in metric.spreads.items():
            spreads.setdefault(key, []).append(value)
    return values, spreads


def check(values, spreads, *names: str, within: float = 0.3) -> None:
    for name in names:
        assert np.mean(spreads[name]) == pytest.approx(np.std(values[name]), rel=within), name


def test_frechet_distance():
    real = Sample(features=normal(2000, 6, seed=999))
    scale = torch.linspace(0.5, 2, 6, dtype=torch.float64)
    check(*repeated("fid", lambda seed: Sample(features=0.4 + scale * normal(150, 6, seed=seed)), real), "fid")


def test_the_influence_on_the_frechet_distance_is_its_derivative():
    real, x = moments(normal(300, 5, seed=1)), 0.3 + 1.4 * normal(60, 5, seed=2)
    scores = []
    for left in range(len(x)):  # the jackknife
        scores.append(frechet_distance(real, moments(torch.cat((x[:left], x[left + 1 :])))))
    jackknife = math.sqrt((len(x) - 1) / len(x) * sum((score - np.mean(scores)) ** 2 for score in scores))
    assert compare(real, moments(x)).spread(x) == pytest.approx(jackknife, rel=0.08)


@pytest.mark.parametrize(("reals", "fakes"), [(30, 200), (200, 30), (20, 25)])
def test_a_frechet_distance_of_few_samples_has_a_deviation_too(reals, fakes):
    real, x = normal(reals, 40), 1 + normal(fakes, 40, seed=1)
    found = compare(moments(real), moments(x)).spread(x)
    assert 0 < found < 0.2 * frechet_distance(moments(real), moments(x))


def test_inception_score():
    draw = lambda seed: Sample(logits=2 * normal(300, 5, seed=seed))  # noqa: E731
    check(*repeated("is", draw), "is")
    check(*repeated("is", draw, splits=5), "is", within=0.45)


def test_log_density():
    real = Sample(x=normal(2000, 2, seed=999))
    check(*repeated("log_density", lambda seed: Sample(x=1.2 * normal(200, 2, seed=seed)), real), "log_density", "likely")


def test_modes():
    def draw(seed: int) -> Sample:
        source = torch.Generator().manual_seed(seed)
        chosen = torch.multinomial(torch.tensor([0.5, 0.3, 0.15, 0.05]), 400, replacement=True, generator=source)
        return Sample(x=CENTRES[chosen] + normal(400, 2, seed=seed))

    check(*repeated("modes", draw, radius=2.0), "high_quality", "reverse_kl", "forward_kl")


def test_n_grams():
    def rows(seed: int, count: int, weights: list[float]) -> Sample:
        source = torch.Generator().manual_seed(seed)
        symbols = torch.multinomial(torch.tensor(weights), 6 * count, replacement=True, generator=source).view(count, 6)
        return Sample(x=torch.nn.functional.one_hot(symbols, 4).float())

    found = repeated("ngrams", lambda seed: rows(seed, 120, [4, 3, 2, 1.0]), rows(999, 3000, [1, 1, 1, 1.0]), longest=2)
    check(*found, "ngrams_1", "ngrams_2")


def test_n_grams_say_what_samples_of_their_size_read_by_chance():
    source = torch.Generator().manual_seed(0)
    real, made = torch.randint(0, 6, (40, 400, 2), generator=source), torch.randint(0, 6, (40, 200, 2), generator=source)
    read = [divergence(one, other, 2, 6) for one, other in zip(real, made, strict=True)]
    told = [by_chance(one, other, 2, 6) for one, other in zip(real, made, strict=True)]
    assert np.mean(told) == pytest.approx(np.mean(read), rel=0.1)
    metric = build("metric", {"name": "ngrams", "longest": 2})
    for rows, is_real in ((real[0], True), (made[0], False)):
        metric.update(Sample(x=torch.nn.functional.one_hot(rows, 6).float()), real=is_real)
    metric.compute()
    assert [remark.partition(" ")[0] for remark in metric.remarks] == ["ngrams_2", "ngrams_1", "distinct"]
    assert f"about {told[0]:.2g} if their laws were equal" in metric.remarks[0]
    metric.reset()
    for rows, is_real in ((real.view(-1, 2), True), (made.view(-1, 2).clamp(max=3), False)):  # many, and far apart
        metric.update(Sample(x=torch.nn.functional.one_hot(rows, 6).float()), real=is_real)
    metric.compute()
    assert metric.remarks == ()


def test_paired_distances():
    values, spreads = {}, {}
    for seed in range(80):
        metric = build("metric", {"name": "paired_distance"})
        metric.targets = torch.zeros(150, 4)
        scale = 0.5 + torch.rand(150, 1, generator=torch.Generator().manual_seed(seed))  # pairs differ as wholes
        metric.update(Sample(x=scale * normal(150, 4, seed=seed)), real=False)
        for key, value in metric.compute().items():
            values.setdefault(key, []).append(value)
            spreads.setdefault(key, []).append(metric.spreads[key])
    check(values, spreads, "paired_l1", "paired_l2")


def test_a_mean_has_the_deviation_of_a_mean():
    assert standard_error(torch.tensor([0.0, 0.0, 1.0, 1.0])) == pytest.approx(0.25)
    assert standard_error(torch.ones(1)) == 0


def test_deviations_stand_in_the_rows_and_in_the_table():
    rows = rows_of({"fid": Result({"fid": 3.14159, "other": 2.0}, {"metric": "fid"}, spreads={"fid": 0.0271})})
    assert (rows["fid"]["std"], "std" in rows["other"]) == (0.0271, False)
    assert (with_spread(rows["fid"]), with_spread(rows["other"]), with_spread({})) == ("3.142 ±0.027", "2", "-")
    assert next(iter(scores_table(rows, {"noise": rows}).columns[2].cells)) == "3.142 ±0.027"


@pytest.mark.parametrize("name", names("metric"))
def test_every_card_says_how_the_deviation_was_found(name):
    assert build("metric", {"name": name}).card()["std"]


def test_a_score_in_words_names_its_extractor_its_samples_and_what_real_images_read():
    card = {"metric": "fid", "samples": 500, "extractor": {"name": "band_energies"}}
    entry, real = {"value": 12.34, "std": 0.4, "card": card}, {"value": 3.1, "std": 0.2, "card": card}
    expected = "fid 12.34 ±0.4 (band_energies, N=500; held-out real 3.1 ±0.2)"
    assert in_words("fid", entry, {"held_out": {"fid": real}, "noise": {"fid": {"value": 99.0}}}) == expected
    assert in_words("fid", entry, {"held_out": {"fid": {"value": None}}}) == "fid 12.34 ±0.4 (band_energies, N=500)"
    assert in_words("modes", {"value": 8.0, "card": {"samples": 20, "extractor": None}}, {}) == "modes 8 (N=20)"
    assert in_words("modes", {"value": 8.0}, {}) == "modes 8"
    assert str(scores_table({"fid": entry}, {}).caption) == "band_energies, N=500"
    both = {"fid": entry, "modes": {"value": 8.0, "card": {"samples": 20, "extractor": None}}, "is": {"value": None}}
    assert str(scores_table(both, {}).caption) == "fid: band_energies, N=500; modes: N=20"
