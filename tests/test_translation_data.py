"""Pairs and pairless sets: what the sources are, that the sides belong together, and folders of a person's own."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ganrun.data.base import Images, to_pixels
from ganrun.data.digit_tasks import blur, downscale, invert, mask, outline
from ganrun.data.digits import digits
from ganrun.data.jitter import Jitter
from ganrun.data.streamed import StreamedImages
from ganrun.data.translation import Paired, Translation
from ganrun.data.unpaired_digits import halves
from ganrun.engine import assemble
from ganrun.ground import rng
from ganrun.ground.errors import BadInput
from ganrun.ground.registry import build
from ganrun.ground.runtime import resolve
from ganrun.ground.spec import Latent, Spec
from ganrun.ground.turn import Turn

RED, BLUE, GREEN = (200, 10, 30), (5, 20, 250), (0, 255, 0)


def pixels(*rows: str) -> Tensor:
    return torch.tensor([[255 if entry == "#" else 0 for entry in row] for row in rows], dtype=torch.uint8)[None, :, :, None]


def whole(dataset: Any) -> Any:
    return dataset.batch(torch.arange(len(dataset)))


# what sources are


def test_an_outline_is_the_ink_beside_what_is_no_ink() -> None:
    before = pixels(".....", ".###.", ".###.", ".###.", ".....")
    assert torch.equal(outline(before), pixels(".....", ".###.", ".#.#.", ".###.", "....."))
    assert torch.equal(outline(pixels("###", "###", "###")), pixels("###", "#.#", "###"))
    faint = torch.full((1, 3, 3, 1), 127, dtype=torch.uint8)
    assert not outline(faint).any()
    assert outline(faint + 1).sum() == 8 * 255


def test_the_negative_of_the_negative_is_the_image() -> None:
    every = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1)
    assert torch.equal(invert(invert(every)), every)
    assert int(invert(every)[0, 0, 0, 0]) == 255


def test_a_blurred_point_is_the_filter_itself_and_a_constant_stays() -> None:
    point = torch.zeros(1, 9, 9, 1, dtype=torch.uint8)
    point[0, 4, 4] = 255
    kernel = torch.tensor([1, 4, 6, 4, 1])
    wanted = (255 * kernel[:, None] * kernel + 128) // 256
    assert torch.equal(blur(point)[0, 2:7, 2:7, 0], wanted.to(torch.uint8))
    assert blur(point).sum() == wanted.sum()
    constant = torch.full((1, 16, 16, 1), 93, dtype=torch.uint8)
    assert torch.equal(blur(constant), constant)


@pytest.mark.parametrize("size", [8, 16])
def test_every_source_belongs_to_its_digit_in_training_and_held_out(size: int) -> None:
    found = build("dataset", {"name": "paired_digits", "size": size, "task": "invert"})
    assert found.spec == Spec("image", (1, size, size), 10, (1, size, size))
    assert {"dataset.paired", "dataset.unpaired", "dataset.image", "dataset.labelled"} <= found.traits
    held = found.held_out()
    assert (len(found), len(held)) == (1437, 360)
    for part, plain in ((found, digits(size=size)), (held, digits(size=size).held_out())):
        batch = part.batch(torch.tensor([7, 3, 100]))
        assert torch.equal(to_pixels(batch.x), 255 - to_pixels(batch.source))
        assert torch.equal(batch.x, plain.batch(torch.tensor([7, 3, 100])).x)
        assert torch.equal(batch.y, plain.labels[[7, 3, 100]])
    assert held is found.held_out()
    alone = found.sources().batch(torch.tensor([7, 3, 100]))
    assert torch.equal(alone.x, found.batch(torch.tensor([7, 3, 100])).source)


def test_the_two_halves_share_no_digit_and_leave_none_out() -> None:
    images = digits(size=8)
    for whole_set, (one, other) in ((images, halves(images)), (images.held_out(), halves(images.held_out()))):
        assert len(one) - len(other) in (0, 1)
        both = torch.cat((one.pixels, other.pixels)).flatten(1)
        assert torch.equal(torch.unique(both, dim=0), torch.unique(whole_set.pixels.flatten(1), dim=0))
        assert len(both) == len(whole_set)
    found = build("dataset", {"name": "unpaired_digits", "size": 8, "task": "invert"})
    assert found.batch(torch.arange(4)).source is None
    assert (len(found), len(found.sources()), len(found.held_out()), len(found.held_out().sources())) == (719, 718, 180, 180)
    targets, sources = (to_pixels(whole(part).x).flatten(1) for part in (found, found.sources()))
    rows = {row.numpy().tobytes() for row in targets}
    assert not any((255 - row).numpy().tobytes() in rows for row in sources)
    assert "dataset.paired" not in found.traits


def test_the_fingerprint_covers_the_sources_and_the_pairing() -> None:
    prints = {
        build("dataset", {"name": name, "size": 8, "task": task}).fingerprint()
        for name in ("paired_digits", "unpaired_digits")
        for task in ("outline", "invert", "blur", "downscale", "mask")
    }
    assert len(prints) == 10
    images = digits()
    turned = Images(images.pixels.flip(0))
    assert Paired(images, images).fingerprint() != Paired(images, turned).fingerprint()
    assert Paired(images, images).fingerprint() != Translation(images, images).fingerprint()
    assert build("dataset", {"name": "paired_digits"}).fingerprint() == build("dataset", {"name": "paired_digits"}).fingerprint()


def test_padding_pads_both_sides_and_what_is_held_out() -> None:
    found = build("dataset", {"name": "paired_digits", "size": 12, "task": "blur"}).fitted(16)
    assert found.spec.shape == found.spec.source == (1, 16, 16)
    batch = found.held_out().batch(torch.arange(3))
    for side in (batch.x, batch.source):
        assert (side[:, :, :2] == -1).all()
        assert side[:, :, 2:14, 2:14].max() > 0


@pytest.mark.parametrize(("size", "side"), [(8, 2), (16, 4), (32, 4)])
def test_small_images_are_the_means_of_blocks_by_another_library(size: int, side: int) -> None:
    pixels = torch.randint(0, 256, (5, size, size, 1), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    for image, made in zip(pixels, downscale(pixels), strict=True):
        small = Image.fromarray(image[:, :, 0].numpy()).resize((size // side,) * 2, Image.Resampling.BOX)
        wanted = torch.from_numpy(np.array(small.resize((size, size), Image.Resampling.NEAREST)))
        assert (made[:, :, 0].int() - wanted.int()).abs().max() <= 1  # rounding of halves
    assert downscale(pixels[:, :7, :7]).shape == (5, 7, 7, 1)
    assert (downscale(torch.full((1, 8, 8, 1), 201, dtype=torch.uint8)) == 201).all()


def test_the_hole_is_grey_and_the_rest_is_the_target() -> None:
    pixels = torch.randint(0, 128, (2, 16, 16, 1), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    made = mask(pixels)
    hole = torch.zeros(16, 16, dtype=torch.bool)
    hole[4:12, 4:12] = True
    assert (made[:, hole] == 128).all()
    assert torch.equal(made[:, ~hole], pixels[:, ~hole])


@pytest.mark.parametrize("task", ["outlines", ""])
def test_an_unknown_task_is_refused(task: str) -> None:
    with pytest.raises(BadInput, match=r"dataset\.task"):
        build("dataset", {"name": "paired_digits", "task": task})


def test_sides_that_do_not_fit_are_refused() -> None:
    with pytest.raises(BadInput, match="not pairs"):
        Paired(digits(), halves(digits())[0])
    with pytest.raises(BadInput, match="pixels"):
        Paired(digits(size=8), digits(size=16))


@pytest.mark.parametrize("angle", [22.5, 90.0])
def test_the_ring_is_turned_by_its_angle(angle: float) -> None:
    found = build("dataset", {"name": "rotated_ring", "angle": angle, "num": 500, "std": 0.05})
    for part in (found, found.held_out()):
        batch = whole(part)
        one, other = (torch.view_as_complex(side.double()) for side in (batch.source, batch.x))
        assert torch.allclose(torch.angle(other / one).rad2deg(), torch.full((500,), angle, dtype=torch.float64), atol=1e-4)
        assert torch.allclose(one.abs(), other.abs(), atol=1e-6)
    assert found.spec == Spec("points", (2,), 8, (2,))
    nearest = torch.cdist(whole(found).x.double(), found.centres).argmin(1)
    assert torch.equal(nearest, whole(found).y)
    ring = build("dataset", {"name": "ring8", "num": 500, "std": 0.05})
    assert torch.allclose(found.log_density(whole(found).x), ring.log_density(whole(ring).x), atol=1e-4)
    assert torch.equal(whole(found.sources()).x, whole(ring).x)
    assert math.isclose(float(found.centres[0, 1]), math.sin(math.radians(angle)), abs_tol=1e-12)


# folders


def picture(path: Path, colour: Any, size: tuple[int, int] = (10, 10)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def side_by_side(path: Path, left: Any, right: Any, size: tuple[int, int] = (10, 10)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas = Image.new("RGB", (2 * size[0], size[1]))
    canvas.paste(left, (0, 0, size[0], size[1]))
    canvas.paste(right, (size[0], 0, 2 * size[0], size[1]))
    canvas.save(path)


def folder(name: str, root: Path, **options: Any) -> Any:
    return build("dataset", {"name": name, "root": str(root), "size": 8, "held_out": 0.0, **options})


def colours(batch: Tensor) -> list[tuple[int, ...]]:
    return [tuple(entry) for entry in to_pixels(batch)[:, :, 4, 4].tolist()]


@pytest.mark.parametrize("memory_gib", [4.0, 0.0])
def test_pairs_lie_side_by_side_and_the_direction_is_a_choice(tmp_path: Path, memory_gib: float) -> None:
    for index in range(4):
        side_by_side(tmp_path / "deep" / f"{index}.png", (index, 10, 30), BLUE, (12, 10))
    there = folder("paired_folder", tmp_path, memory_gib=memory_gib)
    back = folder("paired_folder", tmp_path, memory_gib=memory_gib, source="right", target="left", channels=3)
    assert isinstance(there.targets, StreamedImages) is (memory_gib == 0)
    batch, other = (part.batch(torch.tensor([2, 0])) for part in (there, back))
    assert colours(batch.source) == [(2, 10, 30), (0, 10, 30)]
    assert colours(batch.x) == [BLUE, BLUE]
    assert torch.equal(batch.source, other.x)
    assert torch.equal(batch.x, other.source)
    assert there.fingerprint() != back.fingerprint()
    for side in (batch.x, batch.source):  # nothing of the other half at the seam
        assert side.std((2, 3)).max() < 1e-6
    grey = folder("paired_folder", tmp_path, source_channels=1)
    assert (grey.spec.source, grey.spec.shape) == ((1, 8, 8), (3, 8, 8))
    assert "4 pairs" in there.notes


def test_pairs_in_two_folders_meet_by_name_whatever_the_suffix(tmp_path: Path) -> None:
    for index, name in enumerate(["a", "a.k", "a-b", "z/c"]):  # sorted otherwise with .jpg than with .png
        picture(tmp_path / "edges" / f"{name}.png", (index * 10, 0, 0))
        Image.fromarray(np.full((8, 8, 3), 100 + index * 10, np.uint8)).save(
            _made(tmp_path / "photos" / f"{name}.jpg"), quality=100
        )
    found = folder("paired_folder", tmp_path, source="edges", target="photos")
    batch = whole(found)
    sources = [colour[0] // 10 for colour in colours(batch.source)]
    targets = [round((colour[0] - 100) / 10) for colour in colours(batch.x)]
    assert sorted(sources) == [0, 1, 2, 3]
    assert sources == targets


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@pytest.mark.parametrize("broken", ["edges/2.png", "photos/2.png"])
def test_an_unreadable_file_takes_its_pair_with_it(tmp_path: Path, broken: str) -> None:
    for index in range(5):
        picture(tmp_path / "edges" / f"{index}.png", (index, 0, 0))
        picture(tmp_path / "photos" / f"{index}.png", (0, index, 0))
    (tmp_path / broken).write_bytes(b"no image")
    with pytest.raises(BadInput, match=f"{broken}.*on_error=skip"):
        folder("paired_folder", tmp_path, source="edges", target="photos")
    found = whole(folder("paired_folder", tmp_path, source="edges", target="photos", on_error="skip"))
    assert [colour[0] for colour in colours(found.source)] == [0, 1, 3, 4]
    assert [colour[1] for colour in colours(found.x)] == [0, 1, 3, 4]


def test_what_is_held_out_is_held_out_on_both_sides(tmp_path: Path) -> None:
    for index in range(30):
        picture(tmp_path / "edges" / f"{index}.png", (index, 0, 0))
        picture(tmp_path / "photos" / f"{index}.png", (0, index, 0))
    found = folder("paired_folder", tmp_path, source="edges", target="photos", held_out=0.3)
    kept, away = ([colour[0] for colour in colours(whole(part).source)] for part in (found, found.held_out()))
    assert sorted(kept + away) == list(range(30))
    assert 2 <= len(away) < 20
    assert away == [colour[1] for colour in colours(whole(found.held_out()).x)]


def test_both_sides_of_large_folders_hold_some_out_by_default(tmp_path: Path) -> None:
    for index in range(250):
        for side in ("trainA", "trainB"):
            picture(tmp_path / side / f"{index}.png", (index, 0, 0))
    for name, options in (("unpaired_folder", {}), ("paired_folder", {"source": "trainA", "target": "trainB"})):
        found = build("dataset", {"name": name, "root": str(tmp_path), "size": 1, **options})
        assert len(found) + len(found.held_out()) == 250
        assert 30 <= len(found.held_out()) <= 70
        assert any(f"held out for scoring: {len(found.held_out())} of 250" in note for note in found.notes)


def test_two_folders_without_pairs_keep_their_own_lengths(tmp_path: Path) -> None:
    for index in range(3):
        picture(tmp_path / "trainA" / f"{index}.png", RED)
    for index in range(5):
        picture(tmp_path / "trainB" / f"x{index}.png", BLUE)
    found = folder("unpaired_folder", tmp_path)
    assert (len(found), len(found.sources())) == (5, 3)
    assert set(colours(whole(found).x)) == {BLUE}
    assert set(colours(whole(found.sources()).x)) == {RED}
    assert found.batch(torch.arange(2)).source is None
    back = folder("unpaired_folder", tmp_path, source="trainB", target="trainA")
    assert found.fingerprint() != back.fingerprint()
    assert any(note.startswith("sources: 3 images") for note in found.notes)


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("paired_folder", {"root": None}, "dataset=paired_folder needs dataset.root"),
        ("unpaired_folder", {"root": None}, "dataset=unpaired_folder needs dataset.root"),
        ("unpaired_folder", {"source": "trainC"}, "no such folder below.*'trainA'"),
        ("unpaired_folder", {"source": "trainB"}, "another folder"),
        ("unpaired_folder", {"source": "../other"}, "below dataset.root"),
        ("paired_folder", {"source": "left", "target": "trainA"}, "must be left and right"),
        ("paired_folder", {"source": "left", "target": "left"}, "must be left and right"),
        ("paired_folder", {"source": "trainA", "target": "trainB"}, "without a partner.*only"),
        ("paired_folder", {}, "11x10 does not divide"),
        ("paired_folder", {"source_channels": 2}, "channels=2"),
        ("paired_folder", {"content": "0"}, "images changed"),
    ],
)
def test_folders_that_cannot_be_are_refused_in_words(tmp_path: Path, name: str, options: dict[str, Any], match: str) -> None:
    for side in ("trainA", "trainB"):
        for index in range(2):
            picture(tmp_path / side / f"{index}.png", GREEN, (11, 10))
    picture(tmp_path / "trainB" / "only.png", GREEN)
    with pytest.raises(BadInput, match=match):
        folder(name, **{"root": tmp_path, **options}) if options.get("root", 1) else build("dataset", {"name": name})


# jitter and mirroring


def counted(size: int) -> Tensor:
    """Images whose pixels say their row and column."""
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    return torch.stack((rows, columns)).double()


def test_jitter_is_a_part_of_the_enlarged_image_and_mirroring_turns_it_round() -> None:
    """Of a linear image, bilinear enlargement is known inside: at place i it is (i + 1/2) s / S - 1/2."""
    x = counted(16).expand(5, 2, 16, 16)
    draws = torch.tensor([[0.0, 0.0, 0.9], [0.99, 0.0, 0.9], [0.4, 0.99, 0.9], [0.0, 0.0, 0.1], [0.5, 0.5, 0.2]])
    made = Jitter(0.125, True).changed(x, draws)
    places = (torch.arange(18).double() + 0.5) * 16 / 18 - 0.5
    for image, (top, left, mirrored) in zip(made, ((0, 0, 0), (2, 0, 0), (1, 2, 0), (0, 0, 1), (1, 1, 1)), strict=True):
        image = image.flip(2) if mirrored else image
        inside = slice(1, 15)
        assert torch.allclose(image[0, inside, 3], places[top : top + 16][inside])
        assert torch.allclose(image[1, 3, inside], places[left : left + 16][inside])


def test_jitter_treats_a_source_as_its_sample_and_comes_out_again_as_it_was() -> None:
    data = build("dataset", {"name": "paired_digits", "task": "invert", "jitter": 0.125})
    plain = build("dataset", {"name": "paired_digits", "task": "invert"})
    assert plain.change is None
    stream = assemble.supply(data, resolve({"name": "cpu", "threads": 1, "precision": "fp32", "deterministic": True}))

    def turn_at(index: int, part: tuple[int, int] = (0, 1)) -> Turn:
        where = {"streams": {"data": stream}, "batch_index": index, "micro_batch": part}
        return Turn(0, index, "discriminator", 0, 8, Latent(1), torch.device("cpu"), **where)

    batch = turn_at(0).real()
    assert torch.allclose(batch.source, -batch.x, atol=1e-6)  # the negative of each was cut out at the same place
    assert torch.equal(turn_at(0).real().x, batch.x)
    assert torch.equal(torch.cat([turn_at(0, (part, 2)).real().x for part in (0, 1)]), batch.x)
    usual = data.batch(rng.order(0, "data", 0, 8, len(data)))
    assert not torch.equal(batch.x, usual.x)


def test_the_sides_of_unpaired_data_are_both_jittered_and_padding_keeps_it() -> None:
    data = build("dataset", {"name": "unpaired_digits", "jitter": 0.125})
    for made in (data, data.fitted(32)):
        assert made.change == made.sources().change == Jitter(0.125, False)
    with pytest.raises(BadInput, match=r"dataset\.jitter=1\.5"):
        build("dataset", {"name": "paired_digits", "jitter": 1.5})
