"""IS, FID, modes and log density against values known without them."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.linalg
import torch

from ganrun.ground.errors import BadInput
from ganrun.ground.registry import build
from ganrun.metrics.base import Sample
from ganrun.metrics.fid import CHUNK, Moments, frechet_distance, moments
from ganrun.metrics.inception_score import inception_scores


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def value(metric, fake: Sample, real: Sample | None = None) -> dict[str, float]:
    if real is not None:
        metric.update(real, real=True)
    metric.update(fake, real=False)
    return metric.compute()


# ---------------------------------------------------------------- inception score


def one_hot(classes: list[int], kinds: int, height: float = 1000.0) -> torch.Tensor:
    return height * torch.nn.functional.one_hot(torch.tensor(classes), kinds).float()


def test_equal_predictions_score_one():
    logits = torch.tensor([[0.3, -1.0, 2.0]]).repeat(50, 1)
    assert value(build("metric", {"name": "is"}), Sample(logits=logits))["is"] == pytest.approx(1.0, abs=1e-9)


def test_certain_predictions_of_all_classes_score_their_number():
    logits = one_hot([k for k in range(7) for _ in range(3)], 7)
    assert inception_scores(logits).item() == pytest.approx(7.0, abs=1e-9)


def test_half_sure_half_uniform_scores_the_hand_value():
    # p = (1,0), (0,1), (.5,.5), (.5,.5): mean KL to (.5,.5) is log(2) / 2
    logits = torch.cat((one_hot([0, 1], 2), torch.zeros(2, 2)))
    assert inception_scores(logits).item() == pytest.approx(math.sqrt(2), abs=1e-5)


def test_only_the_classes_that_occur_count():
    assert inception_scores(one_hot([0, 1, 2] * 4, 10)).item() == pytest.approx(3.0, abs=1e-9)


def test_inception_score_equals_its_definition_in_probabilities():
    logits = 2 * normal(40, 6)
    p = logits.softmax(1).numpy()
    expected = np.exp(np.mean([(row * np.log(row / p.mean(0))).sum() for row in p]))
    assert inception_scores(logits).item() == pytest.approx(expected, rel=1e-12)


def test_samples_sorted_by_class_score_as_well_in_splits_as_whole():
    logits = one_hot([k for k in range(5) for _ in range(400)], 5)
    metric = build("metric", {"name": "is", "splits": 10})
    found = value(metric, Sample(logits=logits))
    assert 4.8 < found["is"] <= 5.0  # unshuffled splits would hold one class each and read 1
    assert metric.remarks


def test_the_deviation_over_splits_has_ddof_zero():
    logits = 2 * normal(60, 4)
    found = value(build("metric", {"name": "is", "splits": 3}), Sample(logits=logits))
    order = np.random.RandomState(2020).permutation(60)
    scores = [inception_scores(logits[torch.from_numpy(part)]).item() for part in np.split(order, 3)]
    assert found["is"] == pytest.approx(np.mean(scores), rel=1e-12)
    assert found["is_std"] == pytest.approx(np.std(scores), rel=1e-12)


def test_splits_lower_the_score_of_one_sample():
    logits = 3 * normal(300, 10)
    whole = value(build("metric", {"name": "is"}), Sample(logits=logits))
    parts = value(build("metric", {"name": "is", "splits": 10}), Sample(logits=logits))
    assert parts["is"] < whole["is"]
    assert "is_std" not in whole


def test_real_samples_do_not_move_the_inception_score():
    fake, real = Sample(logits=normal(30, 5)), Sample(logits=9 * normal(30, 5, seed=1))
    assert value(build("metric", {"name": "is"}), fake, real) == value(build("metric", {"name": "is"}), fake)


@pytest.mark.parametrize("splits", [0, -1])
def test_fewer_than_one_split_is_refused(splits):
    with pytest.raises(BadInput, match=r"metric\.is\.splits"):
        build("metric", {"name": "is", "splits": splits})


def test_more_splits_than_samples_are_refused():
    with pytest.raises(BadInput, match="more splits than samples"):
        value(build("metric", {"name": "is", "splits": 10}), Sample(logits=torch.zeros(9, 3)))


# ---------------------------------------------------------------- Frechet distance


def gaussian(mean: torch.Tensor, covariance: torch.Tensor) -> Moments:
    return Moments(10**6, mean.double(), covariance.double())


def by_sqrtm(x: torch.Tensor, y: torch.Tensor, ridge: float = 0.0) -> float:
    """The textbook formula; a ridge makes singular covariances regular at the cost of about its root."""
    a, b = (np.cov(side.numpy(), rowvar=False) + ridge * np.eye(side.shape[1]) for side in (x, y))
    shift = ((x.mean(0) - y.mean(0)) ** 2).sum().item()
    return shift + np.trace(a) + np.trace(b) - 2 * np.real(np.trace(scipy.linalg.sqrtm(a @ b)))


def fid(real: torch.Tensor, fake: torch.Tensor) -> float:
    return value(build("metric", {"name": "fid"}), Sample(features=fake), Sample(features=real))["fid"]


def test_two_one_dimensional_gaussians_are_ten_apart():
    # N(0, 1) and N(3, 4): 3^2 + (1 - 2)^2
    one = gaussian(torch.zeros(1), torch.ones(1, 1))
    other = gaussian(3 * torch.ones(1), 4 * torch.ones(1, 1))
    assert frechet_distance(one, other) == pytest.approx(10.0, abs=1e-12)


def test_commuting_covariances_differ_by_their_roots():
    a, b = torch.tensor([4.0, 1.0, 9.0]), torch.tensor([1.0, 25.0, 9.0])
    expected = (a.sqrt() - b.sqrt()).square().sum().item()
    assert frechet_distance(gaussian(torch.zeros(3), a.diag()), gaussian(torch.zeros(3), b.diag())) == pytest.approx(expected)


def test_moments_are_the_mean_and_the_covariance_of_ddof_one():
    x = normal(2 * CHUNK + 7, 3) * torch.tensor([1.0, 2.0, 0.5]) + 4
    found = moments(x)
    assert np.allclose(found.mean, x.numpy().mean(0), atol=1e-12)
    assert np.allclose(found.covariance, np.cov(x.numpy(), rowvar=False), atol=1e-12)


def test_a_sample_is_at_no_distance_from_itself():
    x = normal(500, 20) @ normal(20, 20, seed=1)
    assert fid(x, x) <= 1e-6 * moments(x).covariance.trace()


def test_the_distance_agrees_with_the_matrix_square_root():
    x, y = normal(400, 12) @ normal(12, 12, seed=1), 0.3 + normal(300, 12, seed=2) @ normal(12, 12, seed=3)
    assert fid(x, y) == pytest.approx(by_sqrtm(x, y), rel=1e-9)


def test_the_distance_is_symmetric():
    x, y = normal(90, 8), 1.7 * normal(60, 8, seed=1) + 0.2
    assert fid(x, y) == pytest.approx(fid(y, x), rel=1e-10)


def test_a_rotation_of_both_samples_changes_nothing():
    x, y = normal(90, 8), 1.7 * normal(60, 8, seed=1) + 0.2
    rotation = torch.linalg.qr(normal(8, 8, seed=2)).Q
    assert fid(x @ rotation, y @ rotation) == pytest.approx(fid(x, y), rel=1e-10)


def test_a_shift_adds_its_square():
    x, y = normal(90, 8), normal(60, 8, seed=1)
    y = y - y.mean(0) + x.mean(0)
    assert fid(x, y + 0.5) - fid(x, y) == pytest.approx(8 * 0.25, rel=1e-9)


@pytest.mark.parametrize(("real", "fake"), [(25, 15), (15, 25), (200, 15), (15, 200), (40, 40)])
def test_samples_smaller_than_the_dimension_go_the_gram_route_and_agree_with_the_full_one(real, fake):
    x, y = normal(real, 40), 1.5 * normal(fake, 40, seed=1) + 0.1
    assert fid(x, y) == pytest.approx(by_sqrtm(x, y, ridge=1e-10), rel=1e-4)


def test_a_sample_smaller_than_the_dimension_has_distance_zero_from_itself_too():
    x = normal(30, 100)
    assert fid(x, x) <= 1e-6 * moments(x).covariance.trace()


def test_a_sample_smaller_than_the_dimension_is_said():
    metric = build("metric", {"name": "fid"})
    value(metric, Sample(features=normal(30, 40)), Sample(features=normal(100, 40, seed=1)))
    assert len(metric.remarks) == 1
    assert "metric=kid" in metric.remarks[0]
    assert "N=30 <= 40 feature dimensions on the generated side" in metric.remarks[0]
    metric.reset()
    value(metric, Sample(features=normal(80, 40)), Sample(features=normal(100, 40, seed=1)))
    assert metric.remarks == ()


def test_features_that_never_vary_do_not_break_the_distance():
    x, y = normal(100, 6), 2 * normal(90, 6, seed=1)
    x[:, 2], y[:, 2] = 3.0, 5.0
    x[:, 4] = x[:, 3]
    varying = [0, 1, 3, 5]
    smaller = fid(x[:, varying], y[:, varying])
    y[:, 4] = y[:, 3]
    doubled = fid(torch.cat((x[:, varying], x[:, [3]]), 1), torch.cat((y[:, varying], y[:, [3]]), 1))
    assert fid(x, y) == pytest.approx(doubled + 4.0, rel=1e-6)
    assert doubled > smaller


def test_the_distance_of_halves_falls_like_one_over_n():
    sizes, found = [200, 400, 800, 1600], []
    for size in sizes:
        halves = [normal(2 * size, 10, seed=1000 * size + repeat).split(size) for repeat in range(20)]
        found.append(np.mean([fid(*pair) for pair in halves]))
    slope = np.polyfit(np.log(sizes), np.log(found), 1)[0]
    assert slope == pytest.approx(-1, abs=0.1)


def test_float32_features_give_the_distance_of_float64_ones():
    x, y = (100 + normal(300, 10)).float(), (100 + normal(300, 10, seed=1)).float()
    assert fid(x, y) == pytest.approx(fid(x.double(), y.double()), rel=1e-12)


def plain_fid(real: torch.Tensor, fake: torch.Tensor) -> tuple[float, float]:
    """(value, standard deviation) with a dense factor, two decompositions and all rows in float64."""
    a, b = (torch.from_numpy(np.cov(side.double().numpy(), rowvar=False)) for side in (real, fake))
    values, vectors = torch.linalg.eigh(a)
    root = vectors @ torch.diag(values.clamp(min=0).sqrt()) @ vectors.T
    shift = real.double().mean(0) - fake.double().mean(0)
    value = shift.square().sum() + a.trace() + b.trace() - 2 * torch.linalg.eigvalsh(root @ b @ root).clamp(min=0).sqrt().sum()
    values, vectors = torch.linalg.eigh(root @ b @ root)
    kept = values > 1e-12 * values.max()
    transport = root @ (vectors[:, kept] * values[kept] ** -0.5) @ vectors[:, kept].T @ root
    c = fake.double() - fake.double().mean(0)
    influence = -2 * c @ shift + c.square().sum(1) - ((c @ transport) * c).sum(1)
    return value.item(), (influence.std(correction=0) / len(c) ** 0.5).item()


@pytest.mark.parametrize(("real", "fake"), [(900, 700), (5000, 30), (30, 700), (30, 20), (20, 30)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_value_and_deviation_from_one_decomposition_are_those_of_the_plain_route(real, fake, dtype):
    scale = torch.logspace(0, -3, 40, dtype=torch.float64)
    x, y = (normal(real, 40) * scale + 2).to(dtype), (0.01 + 2 + normal(fake, 40, seed=1) * scale * 1.1).to(dtype)
    metric = build("metric", {"name": "fid"})
    found = value(metric, Sample(features=y), Sample(features=x))["fid"], metric.spreads["fid"]
    plain = plain_fid(x, y)
    singular = min(real, fake) <= 40  # then the plain route takes roots of rounding noise
    assert found[0] == pytest.approx(plain[0], rel=1e-5 if singular else 1e-9)
    assert found[1] == pytest.approx(plain[1], rel=1e-4 if singular else 1e-6)


def test_moments_of_many_parts_copy_few_rows_at_a_time():
    x = normal(2 * CHUNK + 7, 3)
    whole, parts = moments(x), moments(*x.split(1000))
    assert torch.allclose(whole.covariance, parts.covariance, rtol=0, atol=1e-13)
    assert torch.allclose(whole.mean, parts.mean, rtol=0, atol=1e-14)


def test_one_sample_has_no_covariance_and_is_refused():
    with pytest.raises(BadInput, match="at least 2 samples"):
        fid(normal(10, 3), normal(1, 3))


# ---------------------------------------------------------------- modes


def ring(kinds: int = 8) -> torch.Tensor:
    angles = torch.arange(kinds) * (2 * math.pi / kinds)
    return torch.stack((angles.cos(), angles.sin()), 1)


def modes(x: torch.Tensor, centres: torch.Tensor, std: float = 0.01, **options) -> dict[str, float]:
    metric = build("metric", {"name": "modes", **options})
    metric.bind(SimpleNamespace(centres=centres.double(), std=std))
    return value(metric, Sample(x=x.float()))


def test_one_mode_of_eight_has_reverse_kl_log_eight():
    found = modes(ring()[:1].repeat(100, 1), ring())
    assert found["reverse_kl"] == pytest.approx(math.log(8), abs=1e-12)
    assert (found["modes"], found["modes_20"], found["high_quality"]) == (1, 1, 1)


def test_seventeen_modes_of_twenty_five_have_the_known_reverse_kl():
    grid = torch.cartesian_prod(torch.arange(5.0), torch.arange(5.0))
    found = modes(grid[:17].repeat(20, 1), grid, std=0.05)
    assert found["reverse_kl"] == pytest.approx(math.log(25 / 17), abs=1e-12)
    assert (found["modes"], found["modes_20"]) == (17, 17)


def test_a_perfect_sampler_reaches_the_ceiling_and_no_more():
    count = 20_000
    centres = ring()
    x = centres[torch.arange(count) % 8] + 0.01 * normal(count, 2)
    found = modes(x, centres)
    ceiling = 1 - math.exp(-4.5)
    assert found["high_quality"] == pytest.approx(ceiling, abs=4 * math.sqrt(ceiling * (1 - ceiling) / count))
    assert found["reverse_kl"] == pytest.approx(0, abs=1e-12)
    assert found["modes"] == found["modes_20"] == 8


def test_the_radius_counts_standard_deviations():
    x = ring()[:1] + torch.tensor([[0.035, 0.0]])
    assert modes(x, ring())["high_quality"] == 0
    assert modes(x, ring(), radius=4.0)["high_quality"] == 1


def test_the_forward_kl_is_that_of_equal_shares_against_smoothed_counts():
    counts = [7, 2, 0, 1]
    centres = 10 * torch.cartesian_prod(torch.arange(2.0), torch.arange(2.0))
    found = modes(torch.cat([centre.repeat(count, 1) for centre, count in zip(centres, counts, strict=True)]), centres)
    q = (np.array(counts) + 0.5) / 12
    assert found["forward_kl"] == pytest.approx(np.sum(0.25 * np.log(0.25 / q)), abs=1e-12)
    assert modes(centres.repeat(5, 1), centres)["forward_kl"] == pytest.approx(0, abs=1e-12)


def test_the_forward_kl_weighs_lost_modes_more_than_surplus_ones():
    lost, surplus = ring()[:7].repeat(100, 1), torch.cat((ring().repeat(100, 1), ring()[:1].repeat(100, 1)))
    found = [modes(lost, ring()), modes(surplus, ring())]
    assert found[0]["forward_kl"] / found[0]["reverse_kl"] > 3
    assert found[1]["forward_kl"] / found[1]["reverse_kl"] < 1.2


def test_stray_points_count_for_the_reverse_kl_but_for_no_mode():
    found = modes(torch.cat((ring()[:1], 1.5 * ring()[1:2])), ring())
    assert (found["modes"], found["high_quality"]) == (1, 0.5)
    assert found["reverse_kl"] == pytest.approx(math.log(4), abs=1e-12)


def test_twenty_samples_make_a_solid_mode_and_nineteen_do_not():
    x = torch.cat((ring()[:1].repeat(20, 1), ring()[1:2].repeat(19, 1)))
    assert (modes(x, ring())["modes"], modes(x, ring())["modes_20"]) == (2, 1)


@pytest.mark.parametrize("radius", [0, -1, math.nan])
def test_a_radius_that_is_not_positive_is_refused(radius):
    with pytest.raises(BadInput, match=r"metric\.modes\.radius"):
        build("metric", {"name": "modes", "radius": radius})


# ---------------------------------------------------------------- log density


def log_density(x: torch.Tensor, real: torch.Tensor) -> dict[str, float]:
    metric = build("metric", {"name": "log_density"})
    metric.bind(SimpleNamespace(log_density=lambda x: -0.5 * x.double().square().sum(1) - math.log(2 * math.pi)))
    return value(metric, Sample(x=x), Sample(x=real))


def test_the_log_density_of_gaussian_points_is_minus_their_entropy():
    count = 40_000
    found = log_density(normal(count, 2), normal(count, 2, seed=1))
    entropy = 1 + math.log(2 * math.pi)  # of N(0, I) in two dimensions; log p has variance 1
    assert found["log_density"] == pytest.approx(-entropy, abs=4 / math.sqrt(count))
    assert found["log_density_real"] == pytest.approx(-entropy, abs=4 / math.sqrt(count))
    assert found["likely"] == pytest.approx(0.99, abs=0.003)


def test_a_blurred_generator_reads_less_and_a_shrunken_one_more():
    real = normal(10_000, 2, seed=1)
    blurred, shrunken = log_density(2 * normal(10_000, 2), real), log_density(0.5 * normal(10_000, 2), real)
    # E log p = -log(2 pi) - scale^2
    assert blurred["log_density"] == pytest.approx(-math.log(2 * math.pi) - 4, abs=0.2)
    assert shrunken["log_density"] == pytest.approx(-math.log(2 * math.pi) - 0.25, abs=0.02)
    # P(|x|^2 / scale^2 <= 2 log(100) / scale^2), chi-squared of two degrees
    assert blurred["likely"] == pytest.approx(1 - 0.01**0.25, abs=0.02)
    assert shrunken["likely"] == 1


# ---------------------------------------------------------------- all of them


@pytest.mark.parametrize("name", ["is", "fid", "modes", "log_density"])
def test_computing_a_metric_leaves_the_global_random_numbers_alone(name):
    metric = build("metric", {"name": name})
    metric.bind(SimpleNamespace(centres=ring().double(), std=0.1, log_density=lambda x: -x.square().sum(1)))
    samples = [Sample(x=normal(40, 2, seed=s), features=normal(40, 5, seed=s), logits=normal(40, 5, seed=s)) for s in (0, 1)]
    before = torch.get_rng_state()
    numpy_before = np.random.get_state()[1].copy()
    value(metric, *samples)
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == numpy_before).all()


@pytest.mark.parametrize("name", ["is", "fid", "log_density"])
def test_samples_in_several_updates_count_as_one_sample(name):
    source = {"x": normal(40, 2), "features": normal(40, 5), "logits": normal(40, 5)}
    real = Sample(**{key: 2 * entry for key, entry in source.items()})
    whole, parts = build("metric", {"name": name}), build("metric", {"name": name})
    for metric in (whole, parts):
        metric.bind(SimpleNamespace(log_density=lambda x: -x.square().sum(1)))
        metric.update(real, real=True)
    whole.update(Sample(**source), real=False)
    for part in (slice(0, 13), slice(13, 40)):
        parts.update(Sample(**{key: entry[part] for key, entry in source.items()}), real=False)
    assert whole.compute() == pytest.approx(parts.compute(), rel=1e-12)
