"""Energies of bands, the default extractor of images without labels: closed forms, determinism, the order of known bad sets."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import avg_pool2d, interpolate

from ganrun.data.base import Images, to_pixels
from ganrun.data.selection import Selection
from ganrun.engine import baselines, doubts
from ganrun.ground.errors import BadInput
from ganrun.ground.registry import build
from ganrun.metrics.band_energies import energies, opponents
from ganrun.metrics.base import Score, in_chunks
from ganrun.metrics.choose import choose_extractor
from ganrun.metrics.fid import frechet_distance, moments
from ganrun.metrics.neighbourhood import Neighbourhood

CPU = torch.device("cpu")
SIDE = 16


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def level(amplitude: float) -> float:
    return math.log(amplitude**2 + 1) / 2


def test_a_ramp_has_the_energies_of_its_slope_at_every_scale():
    """Slope 3 to the right: differences of 3, 0, 3 and -3 to the neighbours, and twice that after each halving."""
    ramp = (3.0 * torch.arange(8)).expand(1, 1, 8, 8).double()
    layout = avg_pool2d(ramp, 2).flatten() / 32
    expected = []
    for slope in (3.0, 6.0):
        expected += [level(slope), 0.0, level(slope), level(slope), *[level(slope * math.sqrt(3) / 2)] * 4]
    assert torch.allclose(energies(ramp)[0], torch.cat([layout, torch.tensor(expected).double()]))
    turned = energies(ramp.mT)[0][16:20].tolist()
    assert turned == pytest.approx([0.0, level(3.0), level(3.0), level(3.0)])


def test_the_quarters_say_where_the_edges_are():
    image = torch.zeros(1, 1, 8, 8).double()
    image[..., :3, 5:] = 100 * (torch.arange(3) % 2)  # in the upper right
    quarters = energies(image)[0][20:24]
    assert quarters[1] > 3
    assert quarters[[0, 2, 3]].abs().max() < 1e-9


def test_opponents_are_orthogonal_and_grey_has_none():
    basis = opponents(torch.eye(3).reshape(3, 3, 1, 1)).flatten(1)  # the rows are what red, green and blue become
    scaled = basis * torch.tensor([math.sqrt(3), 1.0, 1.0])
    assert torch.allclose(scaled @ scaled.T, torch.eye(3), atol=1e-6)
    grey = torch.rand(2, 1, 5, 5).expand(-1, 3, -1, -1)
    assert opponents(grey)[:, 1:].abs().max() < 1e-6
    assert torch.allclose(opponents(grey)[:, :1], grey[:, :1])


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (3, 7), (8, 8), (33, 64)])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_any_size_have_finite_features(shape, channels):
    x = torch.randint(0, 256, (3, channels, *shape)).float()
    found = energies(x)
    assert found.isfinite().all()
    assert len(found) == 3


# A small folder of discs with textures, of two kinds.


def discs(count: int, seed: int, kind: int | None = None) -> torch.Tensor:
    """uint8 (count, 3, 16, 16): a striped disc of one of two sizes, anywhere, on a shaded ground."""
    source = torch.Generator().manual_seed(seed)
    rand = lambda *shape: torch.rand(count, *shape, generator=source)  # noqa: E731
    place, angle, period = 5 + 6 * rand(2, 1, 1), math.pi * rand(1, 1), 3 + 2 * rand(1, 1)
    kinds = torch.randint(0, 2, (count, 1, 1), generator=source) if kind is None else torch.full((count, 1, 1), kind)
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    inside_it = (y - place[:, 0]).square() + (x - place[:, 1]).square() < (3 + 3 * kinds).square()
    stripes = ((x * angle.cos() + y * angle.sin()) * 2 * math.pi / period).sin() * 60 + 128
    ground = 40 + 120 * rand(1, 1) + 3 * x * rand(1, 1)
    grey = torch.where(inside_it, stripes, ground)[:, None]
    return (grey * (0.5 + 0.5 * rand(3, 1, 1)) + 4 * rand(3, SIDE, SIDE)).clamp(0, 255).to(torch.uint8)


def blurred(pixels: torch.Tensor, width: int) -> torch.Tensor:
    x = pixels.float()
    for _ in range(2):
        x = avg_pool2d(x, width, 1, padding=width // 2, count_include_pad=False)
    return x.round().to(torch.uint8)


def noisy(pixels: torch.Tensor, deviation: float) -> torch.Tensor:
    noise = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(3))
    return (pixels + deviation * noise).round().clamp(0, 255).to(torch.uint8)


@pytest.fixture(scope="module")
def folder():
    torch.set_num_threads(1)
    held_out = Images(discs(150, 1).permute(0, 2, 3, 1).contiguous())
    return Images(discs(300, 0).permute(0, 2, 3, 1).contiguous(), held_out=held_out)


@pytest.fixture(scope="module")
def reader(folder):
    extractor = choose_extractor("auto", folder)
    assert extractor.card()["name"] == "band_energies"
    real = in_chunks(extractor, to_pixels(folder.batch(torch.arange(300)).x), 500, CPU)[0].double()

    def read(pixels: torch.Tensor) -> tuple[float, float, float]:
        """(fid, precision, recall)."""
        made = in_chunks(extractor, pixels, 500, CPU)[0].double()
        some = real[: len(made)]
        near = Neighbourhood(some, made)
        sharp, whole = (near.share(side, 3).mean().item() for side in ("real", "generated"))
        return frechet_distance(moments(made), moments(real)), sharp, whole

    return read


def test_known_bad_sets_score_below_real_images_that_were_held_out(reader):
    held_out = discs(150, 1)
    checks = (torch.arange(SIDE)[:, None] // 4 + torch.arange(SIDE) // 4) % 2
    colours = torch.rand(150, 2, 3, 1, 1, generator=torch.Generator().manual_seed(5)) * 255
    board = blurred(torch.where(checks > 0, colours[:, 0], colours[:, 1]).to(torch.uint8), 3)
    distance, sharp, whole = reader(held_out)
    assert sharp > 0.7
    assert whole > 0.7
    coarse = interpolate(avg_pool2d(held_out.float(), 4), scale_factor=4).to(torch.uint8)
    spoilt = {
        "board": board,
        "noise": noisy(torch.full_like(held_out, 128), 60),
        "blur": blurred(held_out, 5),
        "coarse": coarse,
        "flat": held_out.float().mean((2, 3), keepdim=True).expand(-1, -1, SIDE, SIDE).to(torch.uint8),
        "shuffled": held_out.flatten(2)[..., torch.randperm(SIDE**2, generator=torch.Generator().manual_seed(6))].reshape(
            held_out.shape
        ),
    }
    for name, pixels in spoilt.items():
        far, precise, _ = reader(pixels)
        assert far > 2 * distance, name
        assert precise < sharp - 0.2, name
    for name, pixels in {"copies": discs(8, 0).repeat(19, 1, 1, 1)[:150], "one kind": discs(150, 0, kind=0)}.items():
        far, _, spread = reader(pixels)
        assert far > 1.5 * distance, name
        assert spread < whole - 0.1, name


def test_the_distance_grows_with_each_blur_and_each_noise(reader):
    held_out = discs(150, 1)
    for change in ([blurred(held_out, width) for width in (3, 5, 7)], [noisy(held_out, size) for size in (8, 16, 32)]):
        found = [reader(pixels)[0] for pixels in (held_out, *change)]
        assert found == sorted(found)
        assert len(set(found)) == 4


# What stands beside the scores by default

EVALUATION = {"num": None, "reference": "train", "extractor": "auto", "weights": None, "weights_sha256": None,
              "average": True, "baselines": None, "batch_size": 250, "seed": 7}  # fmt: skip


def metrics(*names: str) -> dict[str, Score]:
    return {name: build("metric", {"name": name}) for name in names}


def doubted(data: Images, extractor: str) -> dict[str, list[str]]:
    chosen = {**EVALUATION, "extractor": extractor}
    return doubts.doubts(metrics("fid", "precision_recall"), data, num=150, evaluation=chosen, say=[].append)


def test_spoilt_images_are_what_their_words_say():
    x, train = torch.rand(5, 1, 8, 8), torch.rand(2, 1, 8, 8)
    made = doubts.spoilt(x, train)
    assert torch.allclose(made["fidelity"]["averaged in pairs"][0], (x[0] + x[4]) / 2)
    assert torch.allclose(made["fidelity"]["their mean"][3], x.mean(0))
    assert torch.equal(made["diversity"]["2 training images repeated"], train[[0, 1, 0, 1, 0]])
    blurred = made["fidelity"]["blurred"]
    assert blurred.mean((1, 2, 3)) == pytest.approx(x.mean((1, 2, 3)), abs=0.05)
    assert (blurred.diff(dim=3).square().mean() < 0.3 * x.diff(dim=3).square().mean()).item()
    assert all(images.shape == x.shape for sets in made.values() for images in sets.values())


def test_a_score_that_puts_spoilt_images_above_real_ones_says_so(folder):
    said = doubted(folder, "random_conv")
    assert any(sentence.startswith("precision by random_conv does not tell") for sentence in said["precision_recall"])
    assert "blurred" in said["precision_recall"][0]
    assert not any("blurred" in sentence for sentences in doubted(folder, "auto").values() for sentence in sentences)


def test_nothing_is_doubted_where_nothing_is_held_out_and_of_metrics_that_promise_nothing(folder):
    alone = Images(folder.pixels)
    assert doubted(alone, "auto") == {}
    assert doubts.doubts(metrics("sliced_wasserstein"), folder, num=150, evaluation=EVALUATION, say=[].append) == {}


def test_by_default_held_out_images_are_scored_too_where_the_extractor_has_no_scale_of_its_own(folder):
    digits = build("dataset", {"name": "digits", "size": None})
    for data, asked, kinds in (
        (folder, None, ["held_out"]),
        (folder, False, []),
        (folder, True, ["held_out", "noise"]),
        (Images(folder.pixels), None, []),
        (digits, None, []),
    ):
        evaluation = {**EVALUATION, "baselines": asked}
        found = baselines.real_and_noise(metrics("fid"), data, evaluation=evaluation, device="cpu", say=[].append)
        assert [kind for kind, wanted in zip(("held_out", "noise"), found, strict=True) if wanted] == kinds


# The card


def test_equal_data_give_an_equal_hash_on_every_machine_and_other_data_another(folder):
    digits = build("dataset", {"name": "digits", "size": None})
    before = torch.get_rng_state()
    card = choose_extractor("band_energies", digits).card()
    assert torch.equal(torch.get_rng_state(), before)
    assert card["weights_sha256"] == "65a56689d650e4396dd76a9648b6e73b92a0f8bd397e614f44fe90ab4ec37d7d"
    assert card["standardised"] == "by 1437 training images"
    assert choose_extractor("band_energies", folder).card()["weights_sha256"] != card["weights_sha256"]


def test_a_part_of_a_data_set_is_measured_by_the_whole(folder):
    part = Selection(folder, torch.arange(20), None, None, "")
    whole, some = (choose_extractor("band_energies", data).card() for data in (folder, part))
    assert some == whole


def test_training_images_have_mean_zero_and_variance_one_where_they_vary(folder):
    extractor = choose_extractor("band_energies", folder)
    found = in_chunks(extractor, to_pixels(folder.batch(torch.arange(300)).x), 100, CPU)[0]
    assert found.mean(0).abs().max() < 5e-3
    assert ((found.std(0) > 0.9) & (found.std(0) < 1.001)).all()
    assert found.shape == (300, extractor.num_features)


def test_other_channel_counts_are_refused():
    with pytest.raises(BadInput, match="band_energies: reads grey or RGB images, not 2 channels"):
        choose_extractor("band_energies", Images(torch.zeros(4, 8, 8, 2, dtype=torch.uint8)))
