"""The classifier, the random filters and the choice between the extractors."""

from __future__ import annotations

import hashlib
import os

import pytest
import torch

from ganrun.data.base import Images, to_pixels
from ganrun.ground.errors import BadInput
from ganrun.ground.registry import build, names
from ganrun.metrics import classifier, training, weights
from ganrun.metrics.base import in_chunks
from ganrun.metrics.choose import choose_extractor, resolve
from ganrun.metrics.fid import frechet_distance, moments
from ganrun.metrics.images import centre, rgb, to_size

CPU = torch.device("cpu")


class Payload:
    """A pickle that makes a folder when it is read without care."""

    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (self.marker,)


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setenv("GANRUN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(training, "EPOCHS", 1)
    monkeypatch.setattr(training, "LEAST_STEPS", 30)


@pytest.fixture(scope="module")
def digits():
    return build("dataset", {"name": "digits", "size": None})


def stripes(count: int = 120, *, seed: int = 0, labelled: bool = True, held_out: Images | None = None, side: int = 8) -> Images:
    """Grey images of horizontal (0) or vertical (1) stripes in noise: easy to tell apart."""
    source = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 2, (count,), generator=source)
    bars = (torch.arange(side) % 2 * 150).to(torch.uint8)
    pixels = torch.where(labels[:, None, None] == 0, bars[None, :, None], bars[None, None, :]).expand(count, side, side)
    pixels = pixels + torch.randint(0, 100, pixels.shape, generator=source, dtype=torch.uint8)
    return Images(
        pixels.unsqueeze(-1),
        labels if labelled else None,
        class_names=("rows", "columns") if labelled else None,
        held_out=held_out,
    )


def everything(dataset: Images) -> torch.Tensor:
    return to_pixels(dataset.batch(torch.arange(len(dataset))).x)


def noise(count: int, *shape: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, *shape), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


# ---------------------------------------------------------------- the shipped network


def test_the_shipped_network_is_the_released_file_and_small():
    data = classifier.SHIPPED.read_bytes()
    assert hashlib.sha256(data).hexdigest() == classifier.SHIPPED_SHA256
    assert len(data) <= 150_000
    shipped = [path for path in classifier.SHIPPED.parent.parent.rglob("*") if path.suffix in (".pt", ".pth", ".safetensors")]
    assert shipped == [classifier.SHIPPED]  # the one weight file of the repository


def test_the_shipped_network_names_98_percent_of_the_held_out_digits(digits):
    held_out = digits.held_out()
    extractor = choose_extractor("classifier", digits, say=pytest.fail)
    _, logits = in_chunks(extractor, everything(held_out), 100, CPU)
    assert (logits.argmax(1) == held_out.labels).float().mean() >= 0.98
    assert extractor.card()["origin"] == "shipped with ganrun"
    assert extractor.card()["weights_sha256"] == classifier.SHIPPED_SHA256


def test_padded_digits_are_read_exactly_as_the_digits_themselves(digits):
    extractor, padded = choose_extractor("classifier", digits, say=pytest.fail), digits.fitted(32)
    wide = choose_extractor("classifier", padded, say=pytest.fail)
    for mine, theirs in zip(
        in_chunks(extractor, everything(digits), 500, CPU), in_chunks(wide, everything(padded), 500, CPU), strict=True
    ):
        assert torch.equal(mine, theirs)
    assert "central 8x8" in wide.card()["resize"]


@pytest.mark.parametrize("size", [12, 16, 64])
def test_enlarged_digits_are_read_by_the_shipped_network_too(size):
    dataset = build("dataset", {"name": "digits", "size": size})
    card = choose_extractor("classifier", dataset, say=pytest.fail).card()
    assert card["origin"] == "shipped with ganrun"
    assert card["held_out_accuracy"] >= 0.98
    assert card["resize"] == "bilinear, antialiased, to 8x8"


def test_other_images_with_the_labels_of_the_digits_get_a_network_of_their_own(digits):
    upside_down = Images(digits.pixels.flip(1), digits.labels, class_names=digits.class_names)
    extractor = choose_extractor("classifier", upside_down, say=lambda line: None)
    assert extractor.card()["origin"] == "trained on this data"


def test_a_damaged_shipped_network_is_refused(digits, tmp_path, monkeypatch):
    damaged = tmp_path / "digits_classifier.pt"
    damaged.write_bytes(classifier.SHIPPED.read_bytes()[:-1] + b"\1")
    monkeypatch.setattr(classifier, "SHIPPED", damaged)
    with pytest.raises(BadInput, match="damaged"):
        choose_extractor("classifier", digits)


# ---------------------------------------------------------------- networks trained once


def test_a_classifier_is_trained_once_and_its_accuracy_is_that_on_held_out_images(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "LEAST_STEPS", 120)
    held_out = stripes(50, seed=1)
    dataset, said = stripes(held_out=held_out), []
    first = choose_extractor("classifier", dataset, say=said.append)
    assert len(said) == 2
    assert "held-out images right" in said[1]
    again = choose_extractor("classifier", dataset, say=pytest.fail)
    assert again.card() == first.card()
    _, logits = in_chunks(again, everything(held_out), 20, CPU)
    right = (logits.argmax(1) == held_out.labels).double().mean().item()
    assert first.card()["held_out_accuracy"] == pytest.approx(right, abs=1e-4)
    assert first.card()["held_out_images"] == 50
    assert right > 0.9
    assert len(list((tmp_path / "cache").glob("classifier-*.pt"))) == 1


def test_without_held_out_images_a_tenth_is_kept_back():
    card = choose_extractor("classifier", stripes(120), say=lambda line: None).card()
    assert card["held_out_images"] == 12


def test_training_is_a_function_of_the_data_and_leaves_the_global_random_numbers_alone():
    before = torch.get_rng_state()
    states = [training.train(stripes(), CPU).state for _ in range(2)]
    assert torch.equal(torch.get_rng_state(), before)
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_training_works_where_gradients_are_switched_off(monkeypatch):
    monkeypatch.setattr(training, "LEAST_STEPS", 120)
    with torch.inference_mode():
        assert training.train(stripes(), CPU).accuracy > 0.9


def test_other_content_gets_another_network(tmp_path):
    first = choose_extractor("classifier", stripes(seed=0), say=lambda line: None)
    other = choose_extractor("classifier", stripes(seed=5), say=lambda line: None)
    assert first.card()["weights_sha256"] != other.card()["weights_sha256"]
    assert len(list((tmp_path / "cache").glob("classifier-*.pt"))) == 2


def test_a_damaged_file_in_the_cache_is_not_used(tmp_path):
    first, said = choose_extractor("classifier", stripes(), say=lambda line: None), []
    (file,) = (tmp_path / "cache").glob("classifier-*.pt")
    file.write_bytes(file.read_bytes()[:-2])
    again = choose_extractor("classifier", stripes(), say=said.append)
    assert said[0].endswith(": damaged, not used")
    assert again.card() == first.card()


def test_a_hostile_file_in_the_cache_is_never_run(tmp_path):
    choose_extractor("classifier", stripes(), say=lambda line: None)
    (file,) = (tmp_path / "cache").glob("classifier-*.pt")
    hostile, stem = weights.encode({"state": Payload(str(tmp_path / "ran"))}), file.stem.rpartition("-")[0]
    file.rename(tmp_path / "cache" / f"{stem}-{hashlib.sha256(hostile).hexdigest()}.pt").write_bytes(hostile)
    said: list[str] = []
    choose_extractor("classifier", stripes(), say=said.append)
    assert "not used" in said[0]
    assert not (tmp_path / "ran").exists()


def test_a_cache_that_cannot_be_written_costs_only_the_cache(tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    said: list[str] = []
    choose_extractor("classifier", stripes(), say=said.append)
    assert "could not be kept" in said[-1]


def test_labels_are_needed_for_a_classifier():
    with pytest.raises(BadInput, match="extractor=band_energies"):
        choose_extractor("classifier", stripes(labelled=False))


@pytest.mark.parametrize(("side", "channels"), [(4, 1), (8, 1), (17, 3), (28, 1), (32, 3), (64, 3)])
def test_the_network_ends_in_64_features_at_any_size(side, channels):
    features, logits = training.Network(channels, side, 5)(torch.zeros(2, channels, side, side))
    assert features.shape == (2, 64)
    assert logits.shape == (2, 5)


def test_folding_and_saving_keep_what_the_network_says():
    network = training._initial(1, 8, 3)
    for norm in network.norms:  # statistics as after training
        norm.running_mean.uniform_(-1, 1, generator=torch.Generator().manual_seed(0))
        norm.running_var.uniform_(0.5, 2, generator=torch.Generator().manual_seed(1))
    x = torch.randn(20, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    expected = network.eval()(x)[1]
    state = training._folded(network)
    found = training.Trained(1, 8, 3, state, 1.0, 1).network()(x)[1]
    assert torch.allclose(found, expected, atol=0.02)
    assert all(entry.dtype == torch.float16 for entry in state.values())


# ---------------------------------------------------------------- random filters


def test_random_filters_are_the_same_everywhere_and_for_ever():
    before = torch.get_rng_state()
    card = choose_extractor("random_conv", stripes(labelled=False)).card()
    assert torch.equal(torch.get_rng_state(), before)
    assert card["weights_sha256"] == "e92284449b84d0603a36f0667d966f593a019866f52d6a6c10f5d17811af94d9"


def test_random_filters_rank_half_the_classes_and_noise_below_held_out_digits(digits):
    extractor = choose_extractor("random_conv", digits)
    held_out = digits.held_out()
    reference = moments(in_chunks(extractor, everything(digits), 500, CPU)[0])

    def distance(pixels: torch.Tensor) -> float:
        return frechet_distance(moments(in_chunks(extractor, pixels, 500, CPU)[0]), reference)

    pixels = everything(held_out)
    found = [distance(pixels), distance(pixels[held_out.labels < 5]), distance(noise(360, 1, 8, 8))]
    assert found[0] < 0.3 * found[1]
    assert found[1] < 0.3 * found[2]


def test_random_filters_see_the_layout_and_not_the_texture_alone():
    extractor = choose_extractor("random_conv", stripes(labelled=False, side=32))
    pixels = everything(stripes(labelled=False, side=32))[:60] // 2
    left, right = pixels.clone(), pixels.clone()
    left[..., :16], right[..., 16:] = 0, 0
    apart = frechet_distance(*(moments(in_chunks(extractor, side, 60, CPU)[0]) for side in (left, right)))
    again = frechet_distance(*(moments(in_chunks(extractor, side, 60, CPU)[0]) for side in (left[:30], left[30:])))
    assert apart > 10 * again


def test_random_filters_have_no_classes_and_say_so():
    extractor = choose_extractor("random_conv", stripes())
    features, logits = in_chunks(extractor, everything(stripes()), 50, CPU)
    assert features.shape == (120, 128)
    assert logits is None
    assert "IS needs class probabilities" in extractor.why_no_logits


# ---------------------------------------------------------------- all of them


@pytest.mark.parametrize("name", ["classifier", "band_energies", "random_conv"])
def test_an_extractor_looks_at_each_image_by_itself_and_always_alike(name, digits):
    extractor = choose_extractor(name, digits)
    pixels = everything(digits)[:40]
    before = torch.get_rng_state()
    whole, parts = in_chunks(extractor, pixels, 40, CPU)[0], in_chunks(extractor, pixels.flip(0), 7, CPU)[0].flip(0)
    assert torch.allclose(whole, parts, atol=1e-5)
    assert torch.equal(torch.get_rng_state(), before)
    assert not extractor.training
    assert not any(entry.requires_grad for entry in extractor.parameters())
    assert whole.shape == (40, extractor.num_features)


def test_the_names_are_registered():
    assert {"inception", "classifier", "band_energies", "random_conv"} <= set(names("extractor"))


def test_auto_takes_inception_where_its_weights_are_named_and_else_what_the_labels_allow():
    assert resolve("auto", stripes(), None) == "classifier"
    assert resolve("auto", stripes(labelled=False), None) == "band_energies"
    assert resolve("auto", stripes(labelled=False), "weights.pth") == "inception"
    assert resolve("auto", stripes(), "weights.pth") == "inception"
    assert resolve("random_conv", stripes(), None) == "random_conv"


def test_options_that_the_extractor_would_not_read_are_refused():
    with pytest.raises(BadInput, match=r"evaluation\.weights=w\.pth: evaluation\.extractor=random_conv reads no weights"):
        choose_extractor("random_conv", stripes(), weights="w.pth")
    with pytest.raises(BadInput, match=r"evaluation\.weights_sha256"):
        choose_extractor("auto", stripes(), weights_sha256="0" * 64)
    with pytest.raises(BadInput, match="random_conv"):
        choose_extractor("random_con", stripes())


def test_grey_becomes_rgb_and_odd_channel_counts_are_refused():
    grey = noise(2, 1, 4, 4)
    assert torch.equal(rgb(grey, "x"), grey.repeat(1, 3, 1, 1))
    assert rgb(noise(2, 3, 4, 4), "x").shape == (2, 3, 4, 4)
    with pytest.raises(BadInput, match="not 2 channels"):
        rgb(noise(2, 2, 4, 4), "x")


def test_resizing_keeps_the_mean_and_cropping_the_middle():
    x = noise(3, 1, 64, 64)
    assert to_size(x, 8).mean() == pytest.approx(x.float().mean().item(), rel=0.01)
    assert torch.equal(to_size(x, 64), x.float())
    padded = torch.nn.functional.pad(x, (2, 3, 2, 3))
    assert torch.equal(centre(padded, 64), x)
