"""Counting, places and angles in images of discs: the failures of samples that look right in every patch (Goodfellow 2016).

For the data set ``shapes``. A disc is a connected component of at least ``least`` pixels that are brighter than half; its place
is the centre of its brightness. Read from generated images:

- ``structure``: share of images where all that follows is right;
- ``count_right``: share of images with a number of discs that the data has;
- ``place_right``: share of all discs whose centre is within ``tolerance`` pixels of the circle on which discs stand and whose
  area is between half and twice that of a disc;
- ``angle_right``: share of images with a right count where the angles between neighbours, seen from the middle of the image,
  are 2 pi / k to within ``degrees``; an image with another count, or with a disc off the circle, is not right.

Real images read 1, 1, 1, 1 up to what pixels blur.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from ganrun.ground.errors import BadInput
from ganrun.ground.registry import register
from ganrun.ground.traits import Rule
from ganrun.metrics.base import Sample, Score
from ganrun.metrics.components import label, moments
from ganrun.metrics.two_samples import standard_error

CHUNK = 2000  # images that are looked at together


@register("metric", "structure")
class Structure(Score):
    """Shares of images, and of discs in them, whose count, places and angles are right, for data with a ``layout``."""

    directions: Mapping[str, bool | None] = {"structure": True, "count_right": True, "place_right": True, "angle_right": True}
    extracts = frozenset({"x"})
    needs: ClassVar[Mapping[str, Rule]] = {"dataset.shapes": Rule("it reads where discs stand in images", "dataset=shapes")}
    generated: list[Tensor]

    def __init__(self, *, tolerance: float = 1.0, degrees: float = 15.0, least: int = 2) -> None:
        super().__init__()
        if not tolerance > 0:
            raise BadInput(f"metric.structure.tolerance={tolerance}: must be above 0 (pixels)")
        if not 0 < degrees <= 180:
            raise BadInput(f"metric.structure.degrees={degrees}: must be above 0 and at most 180")
        if least < 1:
            raise BadInput(f"metric.structure.least={least}: must be at least 1 pixel")
        self.tolerance, self.degrees, self.least = tolerance, degrees, least
        self.layout: Any = None
        self.add_state("generated", [], dist_reduce_fx="cat")

    def bind(self, dataset: Any) -> None:
        self.layout = dataset.layout

    def update(self, sample: Sample, *, real: bool) -> None:
        if real:
            return
        if sample.x is None or self.layout is None:
            raise ValueError("discs are read from the samples themselves, by the layout of a bound data set")
        self.generated.append(sample.x)

    def compute(self) -> dict[str, float]:
        """``structure``, ``count_right``, ``place_right``, ``angle_right``."""
        parts = [self._read(x) for x in dim_zero_cat(self.generated).split(CHUNK)]
        counted, angled, whole, placed = (torch.cat(column).double() for column in zip(*parts, strict=True))
        found = {"structure": whole, "count_right": counted, "place_right": placed, "angle_right": angled}
        self.spreads = {name: standard_error(values) for name, values in found.items()}
        return {name: values.mean().item() if len(values) else 0.0 for name, values in found.items()}

    def _read(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """For images (n, 1, size, size): count right, angles right, all right (n,) each; and for each disc, place right (m,)."""
        light, layout = (x[:, 0] + 1) / 2, self.layout
        image, area, across, down = moments(label(light > 0.5), light)
        image, area, across, down = (entry[area >= self.least] for entry in (image, area, across, down))
        right, up = across - layout.middle, layout.middle - down
        disc = math.pi * layout.radius**2
        placed = (torch.hypot(right, up) - layout.ring).abs() <= self.tolerance
        placed &= (area >= disc / 2) & (area <= 2 * disc)

        number = image.bincount(minlength=len(x))
        counted = torch.isin(number, torch.tensor(layout.counts))
        lost = image[~placed].bincount(minlength=len(x)) > 0
        angled = counted & ~lost & self._even(image, torch.atan2(up, right), number)
        return counted, angled, counted & ~lost & angled, placed

    def _even(self, image: Tensor, angle: Tensor, number: Tensor) -> Tensor:
        """Whether the angles of each image are those of a regular polygon: bool (n,). ``image`` is in order."""
        order = (image * 8 + angle).argsort()  # by image, then by angle: angles are within -pi to pi
        image, angle = image[order], angle[order]
        start = number.cumsum(0) - number
        place = torch.arange(len(image)) - start[image]
        last = place + 1 == number[image]
        following = torch.where(last, start[image], torch.arange(1, len(image) + 1))
        gap = angle[following] - angle + torch.where(last, 2 * math.pi, 0.0)
        uneven = (gap - 2 * math.pi / number[image]).abs() > math.radians(self.degrees)
        return image[uneven].bincount(minlength=len(number)) == 0

    def card(self) -> dict[str, Any]:
        return {
            "tolerance": f"{self.tolerance} pixels from the circle, an area of half to twice a disc's",
            "degrees": self.degrees,
            "disc": f"a component of at least {self.least} pixels brighter than half, corners touching",
            "std": "over images, or discs, divided by the root of their number",
        }
