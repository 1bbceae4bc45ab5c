"""Images in memory and the digits: exact pixels, no copy too many, fingerprints of content."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ganrun.data.base import ContentHash, Images, to_pixels, to_range
from ganrun.data.digits import FILE, digits
from ganrun.ground.errors import BadInput
from ganrun.ground.registry import build

ROOT = Path(__file__).resolve().parent.parent


def random_images(count=7, size=6, channels=3, seed=0, **options):
    source = torch.Generator().manual_seed(seed)
    return Images(torch.randint(0, 256, (count, size, size, channels), generator=source, dtype=torch.uint8), **options)


class Recorder(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.calls.append(function.__name__.split(".")[0])
        return function(*args, **(kwargs or {}))


def test_every_pixel_value_survives_the_round_trip():
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_pixels(to_range(every)), every)
    assert to_range(every)[0] == -1
    assert to_range(every)[255] == pytest.approx(1, abs=1e-6)
    assert to_range(every)[51] == pytest.approx(51 / 127.5 - 1, abs=1e-6)


def test_pixels_are_rounded_to_the_nearest_and_clamped():
    values = torch.tensor([10.4, 10.6, -3.0, 300.0, 254.6])
    assert to_pixels(values / 127.5 - 1).tolist() == [10, 11, 0, 255, 255]


def test_a_batch_is_the_chosen_images_in_channels_first_order():
    images = random_images(labels=torch.arange(7))
    batch = images.batch(torch.tensor([5, 0, 5]))
    assert batch.x.shape == (3, 3, 6, 6)
    assert batch.y.tolist() == [5, 0, 5]
    assert torch.equal(to_pixels(batch.x), images.pixels[[5, 0, 5]].permute(0, 3, 1, 2))


def test_a_batch_is_channels_last_and_costs_one_gather_and_one_conversion():
    images = random_images(size=8)
    indices = torch.tensor([1, 2, 3])
    with Recorder() as recorder:
        batch = images.batch(indices)
    assert batch.x.is_contiguous(memory_format=torch.channels_last)
    assert recorder.calls == ["index", "permute", "_to_copy", "mul_", "sub_"]


def test_padding_keeps_the_pixels_in_the_centre_and_adds_black():
    held = random_images(seed=1)
    images = random_images(held_out=held, labels=torch.zeros(7, dtype=torch.int64), class_names=("only",))
    padded = images.fitted(9)
    assert padded.spec.shape == (3, 9, 9)
    assert torch.equal(padded.pixels[:, 1:7, 1:7], images.pixels)
    assert padded.pixels.sum() == images.pixels.sum()
    assert torch.equal(padded.held_out().pixels[:, 1:7, 1:7], held.pixels)
    assert padded.notes == ("padded with black from 6x6 to 9x9",)
    assert torch.equal(padded.labels, images.labels)
    assert images.fitted(6) is images
    assert random_images(size=28).fitted(32).pixels[0, 2, 2].tolist() == random_images(size=28).pixels[0, 0, 0].tolist()
    with pytest.raises(BadInput, match="never cut"):
        images.fitted(4)


def test_resizing_by_half_a_smooth_image_samples_it_and_keeps_the_mean():
    ramp = torch.arange(0, 64, 2, dtype=torch.uint8).expand(32, 32)
    images = Images(torch.stack((ramp, ramp.T))[..., None].contiguous(), held_out=random_images(size=32, channels=1))
    small = images.resized(16)
    assert small.spec.shape == (1, 16, 16)
    inner = small.pixels[0, 2:-2, 2:-2, 0].float()  # pixel j stands for x = 2 j + 0.5 of the original ramp 2 x
    assert torch.allclose(inner, (4 * torch.arange(2, 14) + 1).float().expand(12, 12), atol=1)
    assert torch.equal(small.pixels[1, ..., 0], small.pixels[0, ..., 0].T)
    assert small.pixels.float().mean() == pytest.approx(images.pixels.float().mean(), abs=0.5)
    assert small.held_out().spec.shape == (1, 16, 16)
    assert small.notes == ("resized from 32x32 to 16x16, bilinear, antialiased",)
    assert images.resized(None) is images
    assert images.resized(32) is images


def test_resizing_rounds_to_the_nearest():
    steps = torch.tensor([[10, 10, 10, 11], [10, 10, 10, 13], [10, 10, 10, 10], [10, 10, 10, 12]], dtype=torch.uint8)
    blocks = steps.reshape(4, 2, 2, 1)  # four images of 2x2, whose means are 10.25, 10.75, 10, 10.5
    assert Images(blocks).resized(1).pixels.flatten().tolist() == [10, 11, 10, 10]


def test_resizing_is_antialiased():
    stripes = (torch.arange(32) % 4 == 0).to(torch.uint8).mul(200).expand(32, 32)[None, ..., None].contiguous()
    small = Images(stripes).resized(8).pixels[0, 2:-2, 2:-2].float()
    assert torch.allclose(small, torch.full_like(small, 50), atol=4)  # without it: one column of four, 0 or 200


@pytest.mark.parametrize("size", [0, -8, 2.5, "abc", True])
def test_a_size_that_is_no_number_of_pixels_is_refused(size):
    with pytest.raises(BadInput, match=r"dataset\.size"):
        build("dataset", {"name": "digits", "size": size})


def test_the_fingerprint_follows_every_pixel_every_label_and_the_shape():
    labels = torch.tensor([0, 1, 0, 1, 0, 1, 0])
    base = random_images(labels=labels)
    assert random_images(labels=labels.clone()).fingerprint() == base.fingerprint()
    changed = base.pixels.clone()
    changed[3, 2, 1, 0] ^= 1
    assert Images(changed, labels).fingerprint() != base.fingerprint()
    assert Images(base.pixels, labels.flip(0).roll(1)).fingerprint() != base.fingerprint()
    assert Images(base.pixels).fingerprint() != base.fingerprint()
    assert Images(base.pixels.reshape(7, 6, 6, 3).transpose(1, 2).contiguous(), labels).fingerprint() != base.fingerprint()
    grey = random_images(count=4, size=3, channels=1)
    assert Images(grey.pixels.reshape(1, 6, 6, 1)).fingerprint() != grey.fingerprint()
    pieces = ContentHash()
    for row in base.pixels:
        pieces.add(row)
    assert pieces.close(base.pixels.shape, labels) == base.fingerprint()


def test_labels_must_fit_the_images_and_the_classes():
    with pytest.raises(BadInput, match="7 images need as many"):
        random_images(labels=torch.arange(6))
    with pytest.raises(BadInput, match="labels run from 0 to 6, but there are 2 classes"):
        random_images(labels=torch.arange(7), class_names=("a", "b"))


def test_images_must_be_square_bytes():
    with pytest.raises(BadInput, match="square"):
        Images(torch.zeros(2, 4, 5, 1, dtype=torch.uint8))
    with pytest.raises(ValueError, match="uint8"):
        Images(torch.zeros(2, 4, 4, 1))


def test_the_digits_are_those_that_were_published():
    data = digits()
    assert (len(data), len(data.held_out())) == (1437, 360)
    assert data.spec.shape == (1, 8, 8)
    assert data.spec.classes == 10
    assert data.traits == {"dataset.image", "dataset.labelled"}
    assert data.held_out().labels.bincount().tolist() == [36] * 10
    assert (data.labels.bincount() + 36).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    with np.load(FILE) as held:
        first = held["images"][0].tolist()
    zero = [[0, 0, 5, 13, 9, 1, 0, 0], [0, 0, 13, 15, 10, 15, 5, 0]]  # the first rows of the published first digit
    assert first[:2] == zero
    whole = torch.cat((data.pixels, data.held_out().pixels))
    values = sorted({round(v * 255 / 16) for v in range(17)})
    assert whole.unique().tolist() == values
    assert whole.float().mean() == pytest.approx(4.8841646 * 255 / 16, abs=0.05)


def test_no_held_out_digit_is_trained_on():
    data = digits()
    train = {bytes(image) for image in data.pixels.numpy()}
    assert not train & {bytes(image) for image in data.held_out().pixels.numpy()}


def test_the_digits_can_be_resized_with_their_held_out_part():
    data = build("dataset", {"name": "digits", "size": 16})
    assert data.spec.shape == (1, 16, 16)
    assert data.held_out().spec.shape == (1, 16, 16)
    assert "resized from 8x8 to 16x16" in data.card()["notes"][0]


def test_the_script_makes_the_file_that_ships():
    pytest.importorskip("sklearn")
    location = importlib.util.spec_from_file_location("make_digits", ROOT / "scripts" / "make_digits.py")
    script = importlib.util.module_from_spec(location)
    location.loader.exec_module(script)
    assert FILE.stat().st_size <= 50_000
    with np.load(FILE, allow_pickle=False) as held:
        made = script.arrays()
        assert set(held) == set(made)
        assert all(np.array_equal(held[name], made[name]) and held[name].dtype == made[name].dtype for name in made)


def test_the_licence_ships_beside_the_digits():
    text = FILE.with_name("DIGITS_LICENSE.txt").read_text()
    assert "Alpaydin" in text
    assert "CC BY 4.0" in text
    assert "BSD 3-Clause" in text
