"""Points in the plane: samples and densities against closed forms, and against each other."""

import math

import pytest
import torch

from ganrun.ground.errors import BadInput
from ganrun.ground.registry import build

NAMES = ("ring8", "grid25", "swiss_roll")


def make(name, **options):
    return build("dataset", {"name": name, **options})


def mass(data, low, high, step):
    """The density's integral over a square, by the midpoint rule."""
    ticks = torch.arange(low, high, step, dtype=torch.float64) + step / 2
    return data.log_density(torch.cartesian_prod(ticks, ticks)).exp().sum().item() * step**2


@pytest.mark.parametrize(
    ("name", "options", "reach", "step"),
    [
        ("ring8", {}, 1.1, 0.005),
        ("ring8", {"radius": 2.0, "std": 0.2}, 4.0, 0.1),
        ("grid25", {}, 4.5, 0.025),
        ("swiss_roll", {"noise": 0.5}, 2.4, 0.05),
    ],
)
def test_the_density_integrates_to_one(name, options, reach, step):
    assert mass(make(name, num=2, **options), -reach, reach, step) == pytest.approx(1, abs=1e-6)


def test_ring8_has_the_moments_of_its_closed_form():
    data = make("ring8", radius=1.5, std=0.4)
    x = data.x.double()
    assert torch.allclose(x.mean(0), torch.zeros(2, dtype=torch.float64), atol=0.015)
    assert torch.allclose(x.T.cov(correction=0), torch.eye(2, dtype=torch.float64) * (1.5**2 / 2 + 0.4**2), atol=0.02)


def test_grid25_has_the_moments_of_its_closed_form():
    x = make("grid25").x.double()
    assert torch.allclose(x.mean(0), torch.zeros(2, dtype=torch.float64), atol=0.04)
    assert torch.allclose(x.T.cov(correction=0), torch.eye(2, dtype=torch.float64) * (8 + 0.05**2), atol=0.09)
    wide = make("grid25", spacing=1.0, std=0.5).x.double()
    assert wide.var(0).tolist() == pytest.approx([2.25, 2.25], abs=0.04)


def test_swiss_roll_has_the_moments_of_its_closed_form():
    """E t cos t = 2, E t sin t = 2 / (3 pi) and E t^2 = (end^3 - start^3) / (9 pi), by parts."""
    x = make("swiss_roll", noise=2.0, scale=5.0).x.double()
    end, start = 4.5 * math.pi, 1.5 * math.pi
    square = ((end**3 - start**3) / (9 * math.pi) + 2 * 2.0**2) / 25
    assert x.mean(0).tolist() == pytest.approx([2 / 5, 2 / (3 * math.pi) / 5], abs=0.02)
    assert x.square().sum(1).mean().item() == pytest.approx(square, rel=0.01)


def test_the_centres_lie_where_the_papers_put_them():
    ring = make("ring8", num=10)
    assert ring.std == 0.01
    assert ring.centres[0].tolist() == pytest.approx([1, 0])
    assert ring.centres[1].tolist() == pytest.approx([math.sqrt(0.5)] * 2)
    assert torch.allclose(ring.centres.norm(dim=1), torch.ones(8, dtype=torch.float64))
    grid = {tuple(centre) for centre in make("grid25", num=10).centres.tolist()}
    assert grid == {(a, b) for a in (-4.0, -2.0, 0.0, 2.0, 4.0) for b in (-4.0, -2.0, 0.0, 2.0, 4.0)}


@pytest.mark.parametrize("name", ["ring8", "grid25"])
def test_a_label_names_the_mode_that_its_point_was_drawn_from(name):
    data = make(name, num=5000)
    nearest = torch.cdist(data.x.double(), data.centres).argmin(1)
    assert torch.equal(nearest, data.labels)
    assert data.labels.bincount(minlength=len(data.centres)).min() > 0.5 * 5000 / len(data.centres)
    assert data.spec.classes == len(data.centres)


def test_a_mixture_density_is_the_sum_of_its_gaussians():
    data = make("ring8", num=2, radius=1.0, std=0.5)
    x = torch.tensor([[0.0, 0.0], [1.0, 0.3], [30.0, 0.0]], dtype=torch.float64)
    normal = torch.distributions.Normal(0, torch.tensor(0.5, dtype=torch.float64))
    each = torch.stack([normal.log_prob(x - centre).sum(1) for centre in data.centres])
    assert torch.allclose(data.log_density(x), each.logsumexp(0) - math.log(8))
    assert data.log_density(x)[0].item() == pytest.approx(-1 / (2 * 0.25) - math.log(2 * math.pi * 0.25))
    assert data.log_density(x).dtype == torch.float64


@pytest.mark.parametrize(("name", "modes", "std"), [("ring8", 8, 0.01), ("grid25", 25, 0.05)])
def test_the_mean_log_density_of_held_out_points_is_minus_the_entropy(name, modes, std):
    held_out = make(name).held_out()
    entropy = math.log(modes) + 1 + math.log(2 * math.pi * std**2)
    assert held_out.log_density(held_out.x.double()).mean().item() == pytest.approx(-entropy, abs=0.04)  # 4 standard errors


def test_the_swiss_roll_density_agrees_with_a_fine_midpoint_sum():
    data = make("swiss_roll", num=100)
    x = torch.cat((data.x[:6].double(), torch.tensor([[0.0, 0.0], [1.0, -1.0], [0.0, 1.9]], dtype=torch.float64)))
    count = 400_000
    t = 1.5 * math.pi + 3 * math.pi * (torch.arange(count, dtype=torch.float64) + 0.5) / count
    std = 0.25 / 7.5
    spiral = torch.stack((t * t.cos(), t * t.sin()), 1) / 7.5
    for point in x:
        terms = -(point - spiral).square().sum(1) / (2 * std**2) - math.log(2 * math.pi * std**2)
        expected = terms.logsumexp(0) - math.log(count)
        assert data.log_density(point[None]).item() == pytest.approx(expected.item(), abs=1e-5)


def test_the_swiss_roll_density_predicts_the_share_of_points_in_boxes():
    data = make("swiss_roll", noise=0.5)
    for low in ((-1.0, -1.0), (0.6, 0.0), (-0.4, 0.6)):
        inside = ((data.x > torch.tensor(low)) & (data.x < torch.tensor(low) + 0.5)).all(1).double().mean().item()
        ticks = [start + 0.5 * (torch.arange(25, dtype=torch.float64) + 0.5) / 25 for start in low]
        expected = data.log_density(torch.cartesian_prod(*ticks)).exp().mean().item() * 0.25
        assert inside == pytest.approx(expected, abs=4 * math.sqrt(expected / 100_000) + 1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_points_are_the_same_in_every_run_and_held_out_ones_are_others(name):
    data, again = make(name, num=500), make(name, num=500)
    assert torch.equal(data.x, again.x)
    assert data.fingerprint() == again.fingerprint()
    assert len(data.held_out()) == 500
    assert data.held_out().fingerprint() != data.fingerprint()
    assert not set(map(tuple, data.x.tolist())) & set(map(tuple, data.held_out().x.tolist()))
    assert make(name, num=501).fingerprint() != data.fingerprint()
    assert data.fitted(32) is data


@pytest.mark.parametrize("name", NAMES)
def test_at_most_ten_thousand_points_are_held_out_and_traits_are_stated(name):
    data = make(name)
    assert (len(data), len(data.held_out())) == (100_000, 10_000)
    assert data.x.dtype == torch.float32
    assert "dataset.density" in data.traits
    assert "dataset.points" in data.traits
    assert ("dataset.modes" in data.traits) == (name != "swiss_roll")
    batch = data.batch(torch.tensor([7, 3]))
    assert torch.equal(batch.x, data.x[[7, 3]])
    assert name == "swiss_roll" or torch.equal(batch.y, data.labels[[7, 3]])


def test_the_fingerprint_follows_the_options():
    prints = [make("ring8", num=50, **options).fingerprint() for options in ({}, {"std": 0.02}, {"radius": 2.0})]
    assert len(set(prints)) == 3


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ring8", {"std": 0.0}),
        ("ring8", {"radius": -1.0}),
        ("grid25", {"spacing": 0.0}),
        ("swiss_roll", {"noise": 0.0}),
        ("swiss_roll", {"scale": 0.0}),
        ("grid25", {"num": 1}),
    ],
)
def test_a_law_that_does_not_exist_is_refused_by_name(name, options):
    key, value = next(iter(options.items()))
    with pytest.raises(BadInput, match=rf"dataset\.{key}={value}"):
        make(name, **options)
