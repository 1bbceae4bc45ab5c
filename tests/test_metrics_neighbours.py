"""KID, precision and recall, density and coverage: hand values, laws, and agreement with independent libraries."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ganrun.ground.errors import BadInput
from ganrun.ground.registry import build
from ganrun.metrics.base import Sample, Stage
from ganrun.metrics.kid import both_sides, of_subsets
from ganrun.metrics.kid import squared_mmd as of_rows
from ganrun.metrics.neighbourhood import Neighbourhood
from ganrun.metrics.two_samples import neighbour_radii, squared_distances


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def squared_mmd(x: torch.Tensor, y: torch.Tensor) -> float:
    return of_rows(*both_sides(x, y))


def scored(name: str, real: torch.Tensor, fake: torch.Tensor, **options):
    metric = build("metric", {"name": name, **options})
    metric.update(Sample(features=real), real=True)
    metric.update(Sample(features=fake), real=False)
    return metric, metric.compute()


# ---------------------------------------------------------------- distances


def test_radii_are_those_of_a_plain_sort():
    x = normal(70, 3)
    expected = torch.cdist(x, x).sort(1).values[:, 4].square()
    assert torch.allclose(neighbour_radii(x, 4), expected, rtol=1e-10)


def test_chunks_change_no_radius(monkeypatch):
    x = normal(70, 3)
    whole = neighbour_radii(x, 2)
    monkeypatch.setattr("ganrun.metrics.two_samples.CHUNK", 16)
    assert torch.allclose(neighbour_radii(x, 2), whole, rtol=1e-12)


def test_distances_are_those_of_differences():
    x, y = normal(9, 4), normal(6, 4, seed=1)
    assert torch.allclose(squared_distances(x, y), (x[:, None] - y).square().sum(2), rtol=1e-12)


# what is in float32 decides nothing


def plain_balls(real: torch.Tensor, fake: torch.Tensor, k: int) -> dict[str, torch.Tensor]:
    """All differences in float64, one by one: (n, n) at a time, and nothing else."""
    real, fake = real.double(), fake.double()
    own = {name: (side[:, None] - side).square().sum(2) for name, side in (("real", real), ("fake", fake))}
    radii = {name: distances.fill_diagonal_(math.inf).kthvalue(k, 1).values for name, distances in own.items()}
    across = (fake[:, None] - real).square().sum(2)
    return {"real": across <= radii["real"], "strict": across < radii["real"], "fake": radii["fake"] >= across.T}


@pytest.mark.parametrize("seed", range(6))
def test_balls_of_float32_features_are_those_of_float64_differences(seed):
    # values on a coarse grid with an offset: many pairs exactly on a boundary, which rounding in float32 would move
    source = torch.Generator().manual_seed(seed)
    real, fake = (1000.0 + torch.randint(0, 3, (90, 7), generator=source) / 3 for _ in range(2))
    fake[:20] = real[:20]
    assert real.dtype == torch.float32
    for k in (1, 3, 20):
        near, plain = Neighbourhood(real, fake), plain_balls(real, fake, k)
        for side, boundary, key in (("real", True, "real"), ("real", False, "strict"), ("generated", True, "fake")):
            counts, held = near.within(side, k, boundary=boundary)
            assert torch.equal(counts, plain[key].sum(1)), (k, key)
            assert torch.equal(held, plain[key].sum(0)), (k, key)


def test_a_row_far_from_all_others_takes_no_certainty_from_them():
    real, fake = normal(60, 5).float(), normal(60, 5, seed=1).float()
    real[0], fake[3] = 1e5, -1e5  # the bound on the rounding of its distances is wider than all the others
    near, plain = Neighbourhood(real, fake), plain_balls(real, fake, 3)
    assert torch.equal(near.within("real", 3, boundary=True)[0], plain["real"].sum(1))
    assert torch.equal(near.within("generated", 3, boundary=True)[0], plain["fake"].sum(1))


def test_blocks_change_no_ball(monkeypatch):
    real, fake = normal(70, 3).float(), normal(70, 3, seed=1).float()
    whole = Neighbourhood(real, fake).within("generated", 3, boundary=True)
    for name, value in (("BLOCK", 16), ("PAIRS", 5), ("NEAREST", 4)):
        monkeypatch.setattr(f"ganrun.metrics.neighbourhood.{name}", value)
    found = Neighbourhood(real, fake).within("generated", 3, boundary=True)
    assert torch.equal(found[0], whole[0])
    assert torch.equal(found[1], whole[1])


def test_metrics_that_are_scored_together_share_their_distances(monkeypatch):
    built = []
    plain = Neighbourhood.__init__
    monkeypatch.setattr(Neighbourhood, "__init__", lambda self, *sides: (built.append(len(sides[0])), plain(self, *sides))[1])
    sample, stage, found = [normal(300, 4).float(), normal(60, 4, seed=1).float()], Stage(lambda split: None), []
    for scene in (stage, None):
        for name in ("precision_recall", "density_coverage"):
            metric = build("metric", {"name": name})
            if scene is not None:
                metric.enter(scene)
            for is_real, rows in zip((True, False), sample, strict=True):
                metric.update(Sample(features=rows), real=is_real)
            found.append(metric.compute())
    assert found[:2] == found[2:]
    assert built == [60, 60, 60]


# ---------------------------------------------------------------- KID


@pytest.mark.parametrize(("counts", "size"), [((300, 240), 90), ((60, 60), 30), ((2100, 1100), 40)])
def test_each_subset_reads_the_same_whichever_way_it_is_summed(monkeypatch, counts, size):
    real, fake = normal(counts[0], 6), 0.3 + normal(counts[1], 6, seed=1)
    first, second = (torch.stack([torch.randperm(n)[:size] for _ in range(30)]) for n in counts)
    plain = [squared_mmd(real[i], fake[j]) for i, j in zip(first, second, strict=True)]
    assert of_subsets(*both_sides(real, fake), first, second).tolist() == pytest.approx(plain, rel=1e-9)
    monkeypatch.setattr("ganrun.metrics.kid.BLOCK", 16)
    assert of_subsets(*both_sides(real, fake), first, second).tolist() == pytest.approx(plain, rel=1e-9)


def test_kid_of_float32_features_is_that_of_float64_ones():
    real, fake = normal(400, 256).abs().float(), (0.3 + 1.1 * normal(400, 256, seed=1)).abs().float()
    for size in (20, 150):  # subsets one by one, all pairs at once
        options = {"subsets": 10, "subset_size": size}
        single, double = scored("kid", real, fake, **options)[1], scored("kid", real.double(), fake.double(), **options)[1]
        assert single == pytest.approx(double, rel=1e-6, abs=1e-8)


def test_the_hand_case_of_two_equal_pairs():
    # d = 1, X = Y = {0, 1}: kernels 1, 1, 1, 8: off-diagonal means 1 and 1, mean of the crosses 11 / 4
    x = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    assert squared_mmd(x, x) == pytest.approx(2 - 5.5, abs=1e-12)


def test_the_kernel_is_cubic_scaled_by_the_dimension():
    x, y = normal(7, 5), 1 + normal(4, 5, seed=1)
    k = lambda a, b: (float(a @ b) / 5 + 1) ** 3  # noqa: E731
    pairs = lambda rows: np.mean([k(a, b) for i, a in enumerate(rows) for j, b in enumerate(rows) if i != j])  # noqa: E731
    expected = pairs(x) + pairs(y) - 2 * np.mean([k(a, b) for a in x for b in y])
    assert squared_mmd(x, y) == pytest.approx(expected, rel=1e-12)


def test_one_law_reads_zero_in_the_mean():
    found = [squared_mmd(normal(20, 3, seed=2 * s), normal(20, 3, seed=2 * s + 1)) for s in range(1000)]
    assert abs(np.mean(found)) < 3 * np.std(found) / math.sqrt(len(found))
    assert min(found) < 0


def test_kid_agrees_with_torch_fidelity_on_the_same_features():
    from torch_fidelity.metric_kid import kid_features_to_metric

    real, fake = normal(300, 16), 0.2 + 1.1 * normal(240, 16, seed=1)
    _, found = scored("kid", real, fake, subsets=20, subset_size=90)
    options = {"kid_subsets": 20, "kid_subset_size": 90, "rng_seed": 2020, "verbose": False}
    theirs = kid_features_to_metric(real, fake, **options)
    assert found["kid"] == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-10)
    assert found["kid_std"] == pytest.approx(theirs["kernel_inception_distance_std"], rel=1e-10)


def test_subsets_hold_at_most_half_of_the_smaller_side_and_that_is_said():
    metric, _ = scored("kid", normal(60, 4), normal(41, 4, seed=1), subsets=3)
    assert metric.card()["subset_size used"] == 20
    assert "20 instead of 1000" in metric.remarks[0]
    metric, _ = scored("kid", normal(60, 4), normal(40, 4, seed=1), subsets=3, subset_size=20)
    assert metric.remarks == ()


def test_the_deviation_of_kid_is_that_over_fresh_samples():
    pairs = [(normal(200, 4, seed=2 * s), 0.5 + normal(200, 4, seed=2 * s + 1)) for s in range(60)]
    found = [scored("kid", *pair, subsets=40, subset_size=50) for pair in pairs]
    truth = np.std([values["kid"] for _, values in found])
    assert np.median([metric.spreads["kid"] for metric, _ in found]) == pytest.approx(truth, rel=0.35)


# ---------------------------------------------------------------- precision, recall, density, coverage


@pytest.mark.parametrize(("name", "k"), [("precision_recall", 3), ("density_coverage", 5)])
def test_a_sample_against_itself_reads_one(name, k):
    x = normal(50, 4)
    _, found = scored(name, x, x, neighbours=k)
    assert set(found.values()) == {1.0}


@pytest.mark.parametrize("name", ["precision_recall", "density_coverage"])
def test_samples_far_apart_read_zero(name):
    _, found = scored(name, normal(50, 4), 100 + normal(50, 4, seed=1))
    assert set(found.values()) == {0.0}


@pytest.mark.parametrize("k", [1, 3, 5])
def test_all_four_agree_with_prdc(k):
    from prdc import compute_prdc

    real, fake = normal(150, 6), 0.3 + 0.8 * normal(150, 6, seed=1)
    theirs = compute_prdc(real.numpy(), fake.numpy(), nearest_k=k)
    found = scored("precision_recall", real, fake, neighbours=k)[1] | scored("density_coverage", real, fake, neighbours=k)[1]
    assert 0.05 < found["precision"] != found["recall"]
    assert found == pytest.approx({key: float(value) for key, value in theirs.items()}, abs=1e-12)


def test_precision_and_recall_agree_with_torch_fidelity():
    from torch_fidelity.metric_prc import prc_features_to_metric

    real, fake = normal(150, 6), 0.3 + 0.8 * normal(150, 6, seed=1)
    # its first sample is the generated one
    theirs = prc_features_to_metric(fake, real, prc_neighborhood=3, prc_batch_size=1000, save_cpu_ram=False, verbose=False)
    found = scored("precision_recall", real, fake)[1]
    assert found == pytest.approx({key: theirs[key] for key in ("precision", "recall")}, abs=1e-6)  # float32


def test_a_generator_of_one_mode_has_precision_and_no_recall_and_the_reverse():
    real = torch.cat((normal(100, 3), 30 + normal(100, 3, seed=1)))
    _, narrow = scored("precision_recall", real, normal(200, 3, seed=2))
    assert narrow["precision"] > 0.85
    assert narrow["recall"] == pytest.approx(0.5, abs=0.05)
    _, other = scored("precision_recall", normal(200, 3, seed=2), real)
    assert other == {"precision": narrow["recall"], "recall": narrow["precision"]}


def test_one_law_has_density_one_and_the_known_coverage():
    count, k, found = 200, 5, []
    for seed in range(60):
        found.append(scored("density_coverage", normal(count, 3, seed=2 * seed), normal(count, 3, seed=2 * seed + 1))[1])
    coverage = 1 - math.prod((count - i) / (2 * count - i) for i in range(1, k + 1))
    for name, expected in (("density", 1.0), ("coverage", coverage)):
        values = [entry[name] for entry in found]
        assert np.mean(values) == pytest.approx(expected, abs=4 * np.std(values) / math.sqrt(len(values)))


def test_the_boundary_of_a_ball_belongs_to_precision_and_not_to_density():
    real = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    fake = torch.tensor([[2.0], [50.0]], dtype=torch.float64)  # the first is just as far from 1 as 0 is
    assert scored("precision_recall", real, fake, neighbours=1)[1]["precision"] == 0.5
    assert scored("density_coverage", real, fake, neighbours=1)[1] == {"density": 0.0, "coverage": 0.0}


def test_both_sides_are_cut_to_equal_size():
    metric, found = scored("precision_recall", normal(300, 3), normal(40, 3, seed=1))
    assert metric.card()["samples of a side"] == 40
    assert 0 < metric.spreads["precision"] == pytest.approx(math.sqrt(found["precision"] * (1 - found["precision"]) / 40))


@pytest.mark.parametrize("name", ["precision_recall", "density_coverage"])
def test_fewer_samples_than_neighbours_are_refused(name):
    with pytest.raises(BadInput, match=rf"metric={name}: needs at least 6 samples, there are 5 generated"):
        scored(name, normal(20, 3), normal(5, 3), neighbours=5)


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("kid", "subsets", 0),
        ("kid", "subset_size", 1),
        ("precision_recall", "neighbours", 0),
        ("density_coverage", "neighbours", 0),
    ],
)
def test_options_out_of_bounds_are_refused_by_name(name, option, value):
    with pytest.raises(BadInput, match=rf"metric\.{name}\.{option}={value}"):
        build("metric", {"name": name, option: value})
