"""Wasserstein distances: known laws, sorted samples, and agreement with POT and SciPy."""

from __future__ import annotations

import itertools
import math

import numpy as np
import ot
import pytest
import scipy.stats
import torch

from ganrun.ground.errors import BadInput
from ganrun.ground.registry import build
from ganrun.metrics.base import Sample
from ganrun.metrics.sliced_wasserstein import directions, sliced
from ganrun.metrics.transport import line_cost, line_potential
from ganrun.metrics.wasserstein import exact


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def scored(name: str, real: torch.Tensor, fake: torch.Tensor, **options):
    metric = build("metric", {"name": name, **options})
    metric.update(Sample(x=real), real=True)
    metric.update(Sample(x=fake), real=False)
    return metric, metric.compute()


# ---------------------------------------------------------------- exact W1


def test_the_plane_agrees_with_all_assignments_by_hand():
    x, y = normal(6, 2), 1 + 2 * normal(6, 2, seed=1)
    by_hand = min(sum((x[i] - y[j]).norm().item() for i, j in enumerate(order)) for order in itertools.permutations(range(6))) / 6
    assert exact(x, y) == pytest.approx(by_hand, rel=1e-12)


def test_the_plane_agrees_with_pot():
    x, y = normal(200, 2), 0.5 + 1.5 * normal(200, 2, seed=1)
    theirs = ot.emd2([], [], ot.dist(x.numpy(), y.numpy(), metric="euclidean"))
    assert exact(x, y) == pytest.approx(float(theirs), rel=1e-10)


def test_the_line_agrees_with_scipy_and_pot():
    x, y = normal(300, 1), 0.5 + 1.5 * normal(300, 1, seed=1)
    assert exact(x, y) == pytest.approx(scipy.stats.wasserstein_distance(x[:, 0], y[:, 0]), rel=1e-12)
    assert exact(x, y) == pytest.approx(float(ot.wasserstein_1d(x[:, 0].numpy(), y[:, 0].numpy(), p=1)), rel=1e-12)


@pytest.mark.parametrize("shift", [0.25, 1.0, 4.0])
def test_a_shifted_gaussian_is_as_far_as_it_was_shifted(shift):
    real, fake = normal(20_000, 1), shift + normal(20_000, 1, seed=1)
    metric, found = scored("wasserstein", real, fake, subset_size=2000)
    assert found["wasserstein"] == pytest.approx(shift, abs=4 * metric.spreads["wasserstein"])


def test_parallel_lines_are_as_far_apart_as_they_are():
    # U(0, 1) on two lines at distance 3: KL is infinite and JS log 2 wherever they are, W1 is the distance
    line = torch.stack((torch.zeros(400, dtype=torch.float64), torch.rand(400, dtype=torch.float64)), 1)
    assert exact(line, line + torch.tensor([3.0, 0.0])) == pytest.approx(3.0, rel=1e-12)


def test_uniform_against_the_upper_part_of_itself_is_half_the_cut():
    grid = ((torch.arange(4000, dtype=torch.float64) + 0.5) / 4000)[:, None]
    assert exact(grid, 0.5 + 0.5 * grid) == pytest.approx(0.25, rel=1e-9)  # U(0,1) against U(theta,1): theta / 2


def test_a_perfect_generator_reads_what_real_points_read():
    found = [
        scored("wasserstein", normal(1200, 2, seed=s), normal(400, 2, seed=99 + s), subset_size=100, subsets=4) for s in range(25)
    ]
    gaps = [values["wasserstein"] - values["wasserstein_real"] for _, values in found]
    assert abs(np.mean(gaps)) < 4 * np.std(gaps) / math.sqrt(len(gaps))
    truth = np.std([values["wasserstein_real"] for _, values in found])
    assert np.mean([metric.spreads["wasserstein_real"] for metric, _ in found]) == pytest.approx(truth, rel=0.35)


def test_too_few_points_for_the_subsets_are_said():
    metric, _ = scored("wasserstein", normal(100, 2), normal(60, 2, seed=1))
    assert metric.used == (1, 50)
    assert "1 subsets of 50 points instead of 5 of 500" in metric.remarks[0]
    metric, _ = scored("wasserstein", normal(1000, 2), normal(500, 2, seed=1), subset_size=100)
    assert (metric.used, metric.remarks) == ((5, 100), ())


# ---------------------------------------------------------------- sliced


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("dimension", [1, 2, 7])
def test_sliced_agrees_with_pot_over_the_same_directions(order, dimension):
    x, y = normal(150, dimension), 0.5 + 1.5 * normal(150, dimension, seed=1)
    axes = directions(dimension, 120)
    theirs = ot.sliced_wasserstein_distance(x.numpy(), y.numpy(), projections=axes.numpy(), p=order)
    assert sliced(x, y, axes, order)[0] == pytest.approx(float(theirs), rel=1e-10)


def test_a_shift_reads_its_length_over_the_root_of_the_dimension():
    x = normal(50, 3)
    found = sliced(x + torch.tensor([2.0, 0.0, 0.0]), x, directions(3, 20_000), 2)[0]
    assert found == pytest.approx(2 / math.sqrt(3), rel=0.02)  # E (u.shift)^2 = |shift|^2 / d


def test_directions_are_unit_vectors_and_always_the_same():
    axes = directions(5, 40)
    assert torch.allclose(axes.norm(dim=0), torch.ones(40, dtype=torch.float64))
    assert torch.equal(axes, directions(5, 40))
    assert abs(axes.mean().item()) < 0.1


def test_images_are_flattened_and_sides_are_cut_to_equal_size():
    real, fake = normal(90, 1, 4, 4), normal(30, 1, 4, 4, seed=1)
    metric, found = scored("sliced_wasserstein", real, fake)
    assert metric.card()["samples of a side"] == 30
    assert "there are 30 of a side" in metric.remarks[0]
    assert scored("sliced_wasserstein", normal(1000, 2), normal(1000, 2, seed=1), projections=2)[0].remarks == ()
    assert found["sliced_wasserstein"] > 0


def test_a_perfect_generator_reads_about_the_floor():
    found = [
        scored("sliced_wasserstein", normal(400, 3, seed=s), normal(300, 3, seed=99 + s), projections=50)[1] for s in range(40)
    ]
    ratio = np.mean([v["sliced_wasserstein"] for v in found]) / np.mean([v["sliced_wasserstein_real"] for v in found])
    assert ratio == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("order", [1, 2])
def test_the_potential_is_the_derivative_of_the_cost(order):
    x, y = normal(80, 1), 0.7 + 1.3 * normal(80, 1, seed=1)
    potential, cost = line_potential(x, y, order)[:, 0], line_cost(x, y, order)
    for moved in (0, 17, 40):  # a point moved by a hair: the slope of the potential is n times that of the cost
        near = x.clone()
        near[moved] += 1e-6
        slope = 80 * (line_cost(near, y, order) - cost).item() / 1e-6
        place = (x[:, 0] - x[moved, 0]).abs().argsort()
        order_of = x[:, 0].argsort().argsort()[moved].item()
        difference = x.sort(0).values[order_of] - y.sort(0).values[order_of]
        assert slope == pytest.approx((order * difference.sign() * difference.abs() ** (order - 1)).item(), abs=1e-4)
        assert potential[place[0]] == potential[moved]


@pytest.mark.parametrize("order", [1, 2])
def test_the_deviation_is_that_of_fresh_samples(order):
    real = normal(20_000, 2, seed=999)
    found = [scored("sliced_wasserstein", real, 1 + 1.5 * normal(300, 2, seed=s), projections=40, order=order) for s in range(60)]
    generated = [metric.spreads["sliced_wasserstein"] for metric, _ in found]
    # the real part is the same 300 points each time, so that only the generated ones move the value
    assert np.mean(generated) == pytest.approx(np.std([v["sliced_wasserstein"] for _, v in found]), rel=0.3)


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [("wasserstein", "subsets", 0), ("wasserstein", "subset_size", 1), ("wasserstein", "subset_size", 9999),
     ("sliced_wasserstein", "projections", 0), ("sliced_wasserstein", "order", 3)],
)  # fmt: skip
def test_options_out_of_bounds_are_refused_by_name(name, option, value):
    with pytest.raises(BadInput, match=rf"metric\.{name}\.{option}={value}"):
        build("metric", {"name": name, option: value})
