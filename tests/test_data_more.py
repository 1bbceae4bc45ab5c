"""Points of one, two and 1200 dimensions, stacked digits and discs: samples against closed forms and against their recipes."""

import math

import pytest
import torch
from scipy.stats import multivariate_normal
from test_data_torchvision import write_mnist

from ganrun.data.gauss1200 import embed
from ganrun.data.points import log_mixture
from ganrun.data.shapes import GAP
from ganrun.data.stacked import joined
from ganrun.ground import rng
from ganrun.ground.errors import BadInput
from ganrun.ground.registry import build


def make(name, **options):
    return build("dataset", {"name": name, **options})


def all_of(data):
    return data.batch(torch.arange(len(data)))


# points


@pytest.mark.parametrize("dimensions", [1, 2, 3, 5])
def test_the_density_of_a_mixture_agrees_with_another_library_in_any_dimension(dimensions):
    source = torch.Generator().manual_seed(dimensions)
    centres = torch.randn(4, dimensions, generator=source, dtype=torch.float64)
    x = torch.randn(7, dimensions, generator=source, dtype=torch.float64)
    weights = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    wanted = sum(
        weight * multivariate_normal(centre.numpy(), 0.49).pdf(x.numpy())
        for weight, centre in zip(weights.tolist(), centres, strict=True)
    )
    assert log_mixture(x, centres, weights.log(), 0.7).exp().tolist() == pytest.approx(list(wanted))


def test_two_gaussians_have_the_moments_of_the_best_single_one():
    """min KL(p || q) over single Gaussians q matches the moments: mean 0, variance mu^2 + std^2."""
    data = make("two_gaussians", mu=3.0, std=0.5)
    x = data.x.double()
    assert data.spec.shape == (1,)
    assert x.mean().item() == pytest.approx(0, abs=0.04)
    assert x.var().item() == pytest.approx(9.25, abs=0.04)
    ticks = torch.arange(-8, 8, 0.01, dtype=torch.float64)[:, None]
    density = data.log_density(ticks).exp()
    assert density.sum().item() * 0.01 == pytest.approx(1, abs=1e-9)
    assert (density * ticks[:, 0].square()).sum().item() * 0.01 == pytest.approx(9.25, abs=1e-6)


def test_one_of_two_gaussians_is_the_real_law_of_the_discriminator_and_critic_picture():
    real, made = make("two_gaussians", classes=[1]), make("two_gaussians", classes=[0])
    assert real.x.mean().item() == pytest.approx(4, abs=0.02)
    assert real.x.std().item() == pytest.approx(1, abs=0.02)
    x = torch.tensor([[0.0], [4.0], [6.0]], dtype=torch.float64)
    wanted = -0.5 * (x[:, 0] - 4) ** 2 - 0.5 * math.log(2 * math.pi)
    torch.testing.assert_close(real.log_density(x), wanted)
    count = min(len(real), len(made))
    transport = (real.x[:count].sort(0).values - made.x[:count].sort(0).values).abs().mean()
    assert transport.item() == pytest.approx(8, abs=0.05)


def test_parallel_lines_are_as_far_apart_as_their_offset_and_have_no_density():
    here, there = make("parallel_lines", num=20000), make("parallel_lines", num=20000, theta=0.25)
    assert torch.equal(here.x[:, 1], there.x[:, 1])
    assert here.x[:, 0].unique().tolist() == [0.0]
    assert there.x[:, 0].unique().tolist() == [0.25]
    assert here.x[:, 1].mean().item() == pytest.approx(1 / 2, abs=0.01)
    assert here.x[:, 1].var().item() == pytest.approx(1 / 12, abs=0.002)
    assert 0 <= here.x[:, 1].min() < 0.001
    assert 0.999 < here.x[:, 1].max() <= 1
    assert here.log_density is None
    assert here.traits == {"dataset.points", "dataset.achiral"}
    assert not torch.equal(here.held_out().x[:50], here.x[:50])


def test_the_embedding_of_700_dimensions_keeps_all_distances_and_uses_all_coordinates():
    basis = embed(torch.eye(700, dtype=torch.float64))
    torch.testing.assert_close(basis @ basis.T, torch.eye(700, dtype=torch.float64))
    assert (basis != 0).sum(1).min() > 600
    assert (basis != 0).any(0).all()


def test_gauss1200_has_ten_modes_of_700_dimensions():
    data = make("gauss1200", num=2000)
    assert data.spec.shape == (1200,)
    assert data.centres.shape == (10, 1200)
    assert data.traits == {"dataset.points", "dataset.labelled", "dataset.modes", "dataset.achiral"}
    offsets = data.x.double() - data.centres[data.labels]
    assert offsets.norm(dim=1).square().mean().sqrt().item() == pytest.approx(data.std, rel=0.005)
    assert data.std == pytest.approx(0.05 * math.sqrt(700))
    assert torch.linalg.matrix_rank(offsets, rtol=1e-5).item() == 700
    spread = torch.linalg.svdvals(offsets)[:700] / math.sqrt(len(offsets))
    assert spread.square().mean().sqrt().item() == pytest.approx(0.05, rel=0.01)
    assert torch.pdist(data.centres).min() > 2 * 10 * data.std
    assert torch.pdist(data.centres).mean().item() == pytest.approx(math.sqrt(1400), rel=0.03)
    assert torch.equal(torch.cdist(data.x.double(), data.centres).argmin(1), data.labels)


def test_gauss1200_is_read_by_the_modes_metric():
    from ganrun.metrics.base import Sample

    data = make("gauss1200", num=400)
    found = {}
    for name, x in {"real": data.held_out().x, "one": data.x[data.labels == 3], "none": torch.zeros(50, 1200)}.items():
        metric = build("metric", {"name": "modes", "radius": 10.0})
        metric.bind(data)
        metric.update(Sample(x=x), real=False)
        found[name] = metric.compute()
    assert (found["real"]["modes"], found["real"]["high_quality"]) == (10, 1)
    assert (found["one"]["modes"], found["one"]["high_quality"]) == (1, 1)
    assert found["one"]["reverse_kl"] == pytest.approx(math.log(10))
    assert (found["none"]["modes"], found["none"]["high_quality"]) == (0, 0)


@pytest.mark.parametrize(
    ("name", "options", "word"),
    [
        ("two_gaussians", {"mu": 0.0}, "dataset.mu=0.0"),
        ("two_gaussians", {"std": -1.0}, "dataset.std=-1.0"),
        ("two_gaussians", {"num": 1}, "dataset.num=1"),
        ("parallel_lines", {"theta": math.inf}, "dataset.theta=inf"),
        ("gauss1200", {"std": 0.0}, "dataset.std=0.0"),
        ("stacked_digits", {"num": 1}, "dataset.num=1"),
        ("stacked_digits", {"size": 0}, "dataset.size=0"),
        ("shapes", {"num": 1}, "dataset.num=1"),
        ("shapes", {"size": 8}, "dataset.size=8"),
        ("shapes", {"counts": []}, r"dataset.counts=\[\]"),
        ("shapes", {"counts": [2, 2]}, r"dataset.counts=\[2, 2\]"),
        ("shapes", {"counts": [0]}, r"dataset.counts=\[0\]"),
        ("shapes", {"counts": ["x"]}, r"dataset.counts=\['x'\]"),
        ("shapes", {"counts": [3, 9]}, "9 discs would touch"),
    ],
)
def test_what_cannot_be_is_refused_by_its_key(name, options, word):
    with pytest.raises(BadInput, match=word):
        make(name, **options)


@pytest.mark.parametrize("name", ["two_gaussians", "parallel_lines", "gauss1200", "stacked_digits", "shapes"])
def test_every_run_sees_the_same_samples_and_held_out_ones_differ(name):
    first, again = make(name, num=300), make(name, num=300)
    assert first.fingerprint() == again.fingerprint() != first.held_out().fingerprint()
    assert torch.equal(all_of(first).x, all_of(again).x)
    assert len(first) == len(first.held_out()) == 300
    assert make(name, num=301).fingerprint() != first.fingerprint()
    assert not torch.equal(all_of(first).x, all_of(first.held_out()).x)


# stacks


def test_a_stack_is_three_digits_and_its_label_names_them():
    data, digits = make("stacked_digits", num=500), make("digits")
    batch = all_of(data)
    assert batch.x.shape == (500, 3, 8, 8)
    assert data.spec.classes == 1000
    assert "dataset.stacked" in data.traits
    singles = all_of(digits)
    for channel, place in enumerate((100, 10, 1)):
        rows = data.rows[:, channel]
        assert torch.equal(batch.x[:, channel], singles.x[rows, 0])
        assert torch.equal(batch.y // place % 10, singles.y[rows])
    assert data.class_names[123] == "123"
    assert batch.x.is_contiguous(memory_format=torch.channels_last)
    some = torch.tensor([7, 2, 7])
    assert torch.equal(data.batch(some).x, batch.x[some])
    assert torch.equal(data.batch(some).y, batch.y[some])


def test_the_channels_of_a_stack_are_drawn_independently():
    data = make("stacked_digits")
    digits = torch.stack([data.labels // 100, data.labels // 10 % 10, data.labels % 10])
    shares = torch.stack([row.bincount(minlength=10) / len(data) for row in digits])
    assert (shares - 0.1).abs().max() < 0.015
    for one, other in ((0, 1), (0, 2), (1, 2)):
        joint = (digits[one] * 10 + digits[other]).bincount(minlength=100).view(10, 10) / len(data)
        assert (joint - shares[one][:, None] * shares[other]).abs().max() < 0.003
    assert len(data.labels.unique()) == 1000


def test_labels_are_joined_with_the_first_channel_counting_most():
    assert joined(torch.tensor([[1, 2, 3], [0, 0, 9], [9, 0, 0]]), 10).tolist() == [123, 9, 900]
    assert joined(torch.tensor([[1, 0, 1]]), 2).tolist() == [5]


def test_held_out_stacks_are_of_held_out_digits():
    data = make("stacked_digits", num=50)
    held, singles = data.held_out(), make("digits").held_out()
    assert torch.equal(all_of(held).x[:, 1], all_of(singles).x[held.rows[:, 1], 0])
    assert held.rows.max() < len(singles)
    training = torch.randint(len(singles), (50, 3), generator=rng.generator("dataset", "stacked_digits", "train"))
    assert not torch.equal(held.rows, training)


def test_a_stack_is_padded_and_resized_as_its_digits_are():
    padded = make("stacked_digits", num=40).fitted(16)
    assert padded.spec.shape == (3, 16, 16)
    assert padded.held_out().spec.shape == (3, 16, 16)
    assert torch.equal(all_of(padded).x[:, :, 4:12, 4:12], all_of(make("stacked_digits", num=40)).x)
    assert (all_of(padded).x[:, :, :4] == -1).all()
    assert any("padded" in note for note in padded.notes)
    assert padded.fingerprint() != make("stacked_digits", num=40).fingerprint()
    resized = make("stacked_digits", num=40, size=12)
    assert torch.equal(all_of(resized).x[:, 0], all_of(make("digits", size=12)).x[resized.rows[:, 0], 0])


def test_stacks_of_mnist_are_made_without_a_copy_of_them(tmp_path):
    pixels, labels = write_mnist(tmp_path / "MNIST" / "raw", train=9, test=4)
    data = make("stacked_mnist", root=str(tmp_path), download=False)
    assert (len(data), len(data.held_out())) == (128000, 10000)
    assert data.layers.pixels.shape == (9, 28, 28, 1)
    batch = data.batch(torch.tensor([127999]))
    rows = data.rows[-1].numpy()
    assert torch.equal(batch.x[0], torch.from_numpy(pixels[rows]).float().mul(2 / 255).sub(1))
    assert batch.y.item() == labels[rows] @ [100, 10, 1]
    assert data.rows[:, 0].bincount(minlength=9).min() > 13500


# discs


def test_an_image_of_discs_has_the_light_of_its_discs_at_their_places():
    data = make("shapes", counts=[2, 3], size=32, num=60)
    light = (all_of(data).x[:, 0].double() + 1) / 2
    ticks = torch.arange(32, dtype=torch.float64) - 15.5
    for image, number, angle in zip(light, data.number.tolist(), data.angle.tolist(), strict=True):
        assert image.sum().item() == pytest.approx(number * math.pi * 3.2**2, rel=0.04)
        rest = image.clone()
        for disc in range(number):
            theta = angle + 2 * math.pi * disc / number
            x, y = 9.6 * math.cos(theta), 9.6 * math.sin(theta)
            near = torch.hypot(ticks[None, :] - x, -ticks[:, None] - y) < 3.2 + 1
            weights = image * near
            assert (weights.sum(0) @ ticks / weights.sum()).item() == pytest.approx(x, abs=0.05)
            assert (weights.sum(1) @ -ticks / weights.sum()).item() == pytest.approx(y, abs=0.05)
            rest[near] = 0
        assert rest.sum() == 0


def test_discs_are_drawn_with_equal_shares_at_uniform_angles():
    data = make("shapes", counts=[4, 2, 3])
    assert data.spec.classes == 3
    assert data.class_names == ("2", "3", "4")
    assert torch.equal(data.labels + 2, data.number)
    assert (data.labels.bincount() / len(data) - 1 / 3).abs().max() < 0.02
    turn = data.angle * data.number / (2 * math.pi)
    assert 0 <= turn.min() < turn.max() < 1
    assert turn.mean().item() == pytest.approx(0.5, abs=0.01)
    assert turn.var().item() == pytest.approx(1 / 12, abs=0.003)
    single = make("shapes", num=20)
    assert single.spec.classes is None
    assert single.number.unique().tolist() == [3]


def test_discs_never_touch():
    data = make("shapes", counts=[6], size=16, num=10)
    chord = 2 * data.layout.ring * math.sin(math.pi / 6)
    assert chord >= 2 * data.layout.radius + GAP
    with pytest.raises(BadInput, match="would touch"):
        make("shapes", counts=[7], size=16)


def test_padded_discs_keep_their_layout_in_the_new_place():
    data = make("shapes", num=30)
    wide = data.fitted(32)
    assert torch.equal(all_of(wide).x[:, :, 8:24, 8:24], all_of(data).x)
    assert wide.layout.middle == data.layout.middle + 8
    assert (wide.layout.ring, wide.layout.radius) == (data.layout.ring, data.layout.radius)
    assert wide.held_out().layout == wide.layout
    assert torch.equal(wide.angle, data.angle)
    assert "dataset.shapes" in wide.traits
