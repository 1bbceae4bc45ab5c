"""What is done to handwritten digits to make the sources of a translation. In whole numbers, so the same everywhere.

- outline: white where ink (128 or more) has a neighbour above, below, left or right, or the border, that is none;
- invert: 255 - v;
- blur: the binomial filter 1 4 6 4 1 in both directions, size / 8 times, borders repeated;
- downscale: the mean of each block of 2 x 2 pixels, from size 16 of 4 x 4, in all of the block, borders repeated, so that the
  translation is super-resolution (Ledig et al. 2017);
- mask: grey (128) in the middle square of half the size, so that the translation is inpainting (Pathak et al. 2016).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

from ganrun.data.base import Images
from ganrun.ground.errors import BadInput, suggestion

BINOMIAL = (1, 4, 6, 4, 1)


def outline(pixels: Tensor) -> Tensor:
    """uint8 (n, height, width, 1) to the outlines of the ink, 0 or 255."""
    ink = pixels >= 128
    wide = pad(ink, (0, 0, 1, 1, 1, 1))
    inside = wide[:, :-2, 1:-1] & wide[:, 2:, 1:-1] & wide[:, 1:-1, :-2] & wide[:, 1:-1, 2:]
    return (ink & ~inside).to(torch.uint8) * 255


def invert(pixels: Tensor) -> Tensor:
    """uint8 to its negative."""
    return 255 - pixels


def blur(pixels: Tensor) -> Tensor:
    """uint8 (n, height, width, 1) after the binomial filter."""
    x = pixels.to(torch.int64)
    for _ in range(max(1, pixels.shape[1] // 8)):
        for axis in (1, 2):
            size = x.shape[axis]
            places = torch.arange(-2, size + 2).clamp(0, size - 1)
            wide = x.index_select(axis, places)
            x = sum((weight * wide.narrow(axis, shift, size) for shift, weight in enumerate(BINOMIAL)), torch.zeros_like(x))
        x = (x + 128) // 256
    return x.to(torch.uint8)


def downscale(pixels: Tensor) -> Tensor:
    """uint8 (n, height, width, 1) to the means of its blocks, each in all of its block."""
    size = pixels.shape[1]
    side = 4 if size >= 16 else 2
    places = torch.arange(-(-size // side) * side).clamp_max(size - 1)
    wide = pixels.to(torch.int64).index_select(1, places).index_select(2, places)
    blocks = wide.unflatten(2, (-1, side)).unflatten(1, (-1, side)).sum((2, 4))
    means = (blocks + side * side // 2) // (side * side)
    return means.repeat_interleave(side, 1).repeat_interleave(side, 2)[:, :size, :size].to(torch.uint8)


def mask(pixels: Tensor) -> Tensor:
    """uint8 (n, height, width, 1) with a grey square of half the size in the middle."""
    size = pixels.shape[1]
    hole = slice(size // 4, size // 4 + size // 2)
    made = pixels.clone()
    made[:, hole, hole] = 128
    return made


TASKS: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "outline": (outline, "the outlines of the ink"),
    "invert": (invert, "the negative"),
    "blur": (blur, "blurred"),
    "downscale": (downscale, "the means of blocks"),
    "mask": (mask, "a grey square in the middle"),
}


def sources_of(images: Images, task: str) -> Images:
    """The sources that belong to ``images``, those held out included."""
    if task not in TASKS:
        raise BadInput(f"dataset.task={task}: {suggestion(task, TASKS)}")
    change, note = TASKS[task]
    held = images.held_out()
    away = None if held is None else sources_of(held, task)
    names, chiral = images.class_names, images.chiral
    return Images(change(images.pixels), images.labels, class_names=names, held_out=away, notes=(note,), chiral=chiral)
