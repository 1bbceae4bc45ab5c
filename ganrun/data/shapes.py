"""Discs at the corners of a regular polygon: images whose structure can be checked part by part, without a classifier.

Generators fail at counting, viewpoint and global structure (Goodfellow 2016, NIPS tutorial, on samples of animals with too many
heads or legs). Here all three are exact. An image of ``size`` pixels has k white discs of radius size / 10 on black; their
centres stand on the circle of radius 3/10 size about the middle of the image, at the angles

    angle + 2 pi j / k,  j = 0 .. k - 1,  angle uniform on [0, 2 pi / k),

counted from the right towards the top. k is drawn from ``counts`` with equal shares. A pixel's brightness is how much of it a
disc covers, to first order: clamp(radius + 1/2 - distance, 0, 1), the largest of all discs. The metric ``structure`` reads
the same numbers from generated images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ganrun.data.base import Images, check_size
from ganrun.ground import rng
from ganrun.ground.errors import BadInput
from ganrun.ground.registry import register

HELD_OUT = 10_000
GAP = 1.5  # pixels of black between the discs at the least


@dataclass(frozen=True)
class Layout:
    """Where discs may stand: ``counts`` an image; ``middle``, ``ring`` and ``radius`` in pixels, for images of ``size``."""

    counts: tuple[int, ...]
    size: int
    middle: float
    ring: float
    radius: float


class Shapes(Images):
    """Images with what is in them: ``number`` int64 (n,) of discs and ``angle`` float64 (n,) of the first, in radians."""

    def __init__(
        self,
        pixels: Tensor,
        number: Tensor,
        angle: Tensor,
        layout: Layout,
        held_out: Shapes | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        labels, names = None, None
        if len(layout.counts) > 1:
            labels = torch.searchsorted(torch.tensor(layout.counts), number)
            names = tuple(str(count) for count in layout.counts)
        super().__init__(pixels, labels, class_names=names, held_out=held_out, notes=notes)
        self.number, self.angle, self.layout = number, angle, layout

    @property
    def traits(self) -> frozenset[str]:
        return super().traits | {"dataset.shapes"}

    def fitted(self, size: int) -> Shapes:
        if size == self.layout.size:
            return self
        wide, old = super().fitted(size), self.layout
        before = (size - old.size) // 2
        layout = Layout(old.counts, size, old.middle + before, old.ring, old.radius)
        held_out = self._held_out.fitted(size) if isinstance(self._held_out, Shapes) else None
        return Shapes(wide.pixels, self.number, self.angle, layout, held_out, wide.notes)


@register("dataset", "shapes")
def shapes(*, counts: list[int] = [3], size: int = 16, num: int = 20000) -> Shapes:
    """``num`` images of ``size`` x ``size`` grey pixels; with several ``counts``, label i is the i-th smallest of them."""
    layout = layout_of(counts, size)
    if not isinstance(num, int) or isinstance(num, bool) or num < 2:
        raise BadInput(f"dataset.num={num}: at least 2 images are needed")
    words = " or ".join(map(str, layout.counts))
    discs = "disc" if layout.counts == (1,) else "discs"
    note = f"{words} {discs} of radius {layout.radius:g} at the corners of a regular polygon in a circle of {layout.ring:g}"

    def split(part: str, count: int, held_out: Shapes | None) -> Shapes:
        source = rng.generator("dataset", "shapes", part)
        number = torch.tensor(layout.counts)[torch.randint(len(layout.counts), (count,), generator=source)]
        angle = torch.rand(count, generator=source, dtype=torch.float64) * 2 * math.pi / number
        return Shapes(draw(number, angle, layout), number, angle, layout, held_out, (note,))

    return split("train", num, split("held_out", min(num, HELD_OUT), None))


def layout_of(counts: object, size: int) -> Layout:
    """The layout for ``counts``, in order; ``BadInput`` where they are no counts or the discs would touch."""
    check_size(size)
    whole = isinstance(counts, list | tuple) and all(isinstance(entry, int) and not isinstance(entry, bool) for entry in counts)
    if not isinstance(counts, list | tuple) or not whole or not counts or min(counts) < 1 or len(set(counts)) < len(counts):
        raise BadInput(f"dataset.counts={counts}: must be a list of different numbers of discs from 1, such as [3] or [2,3,4]")
    layout = Layout(tuple(sorted(counts)), size, (size - 1) / 2, 0.3 * size, 0.1 * size)
    if size < 10:
        raise BadInput(f"dataset.size={size}: must be at least 10, or a disc would be no more than a pixel")
    most = max(layout.counts)
    if most > 1 and 2 * layout.ring * math.sin(math.pi / most) < 2 * layout.radius + GAP:
        raise BadInput(
            f"dataset.counts={list(counts)}: {most} discs would touch at dataset.size={size}; take fewer, or more pixels"
        )
    return layout


def draw(number: Tensor, angle: Tensor, layout: Layout) -> Tensor:
    """uint8 pixels (n, size, size, 1) of ``number`` discs, the first at ``angle``."""
    ticks = torch.arange(layout.size, dtype=torch.float32) - layout.middle
    pixels = torch.empty(len(number), layout.size, layout.size, 1, dtype=torch.uint8)
    for rows in torch.arange(len(number)).split(2000):
        light = torch.zeros(len(rows), layout.size, layout.size)
        for disc in range(max(layout.counts)):
            theta = angle[rows] + 2 * math.pi * disc / number[rows]
            x, y = (layout.ring * theta.cos()).float(), (-layout.ring * theta.sin()).float()
            distance = torch.hypot(ticks[None, None, :] - x[:, None, None], ticks[None, :, None] - y[:, None, None])
            there = (disc < number[rows])[:, None, None]
            light = torch.where(there, light.maximum((layout.radius + 0.5 - distance).clamp(0, 1)), light)
        pixels[rows] = (255 * light).round().to(torch.uint8).unsqueeze(-1)
    return pixels
