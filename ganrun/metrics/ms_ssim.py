"""Diversity by multi-scale structural similarity (Wang et al. 2003; Odena et al. 2017, AC-GAN).

``ms_ssim`` is the mean over random pairs of generated images of one class, ``ms_ssim_real`` that over real pairs: 1 for equal
images, higher than the real one where the generator repeats itself. Images of different classes are never paired: the class
is the extractor's, and without classes any two images make a pair, which the card says.

A window is a Gaussian of 11 taps, standard deviation 1.5, and lies wholly in the images. Each further scale halves them by
averages, as long as the last holds the window: one scale below 22 pixels, two from 22, three from 44, four from 88, five from
176; the first of Wang's exponents are scaled to a sum of 1. Below 11 pixels the window has 5 taps and standard deviation 0.5.
The card says how many scales there were. Means of contrast and structure below zero count as zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d
from torchmetrics.utilities import dim_zero_cat

from ganrun.ground import rng
from ganrun.ground.errors import BadInput
from ganrun.ground.registry import register
from ganrun.ground.traits import Rule
from ganrun.metrics.base import IMAGES, Data, Sample, Score
from ganrun.metrics.two_samples import standard_error

EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
C1, C2 = 0.01**2, 0.03**2  # for numbers in [0, 1]
TAPS = 11
LEAST_SIDE = 5  # the taps below 11 pixels
BLOCK = 100  # pairs at a time


def scales(side: int) -> int:
    """How many scales images of ``side`` pixels bear: so many, at most five, that the last still holds the window."""
    return 1 + sum(side >> halvings >= TAPS for halvings in range(1, len(EXPONENTS)))


def similarity(one: Tensor, other: Tensor) -> Tensor:
    """MS-SSIM of pairs of images in [-1, 1], (n, c, h, w) each: (n,), 1 for equal images."""
    x, y = ((entry.double() + 1) / 2 for entry in (one, other))
    side = min(x.shape[-2:])
    exponents = torch.tensor(EXPONENTS[: scales(side)], dtype=torch.float64)
    row = window(side)
    found = torch.ones(len(x), dtype=torch.float64)
    for scale, exponent in enumerate(exponents / exponents.sum()):
        if scale:
            x, y = avg_pool2d(x, 2), avg_pool2d(y, 2)
        luminance, structure = maps(x, y, row)
        whole = luminance * structure if scale == len(exponents) - 1 else structure
        found = found * whole.flatten(1).mean(1).clamp_min(0) ** exponent
    return found


def window(side: int) -> Tensor:
    """The Gaussian window along one direction, for images of ``side`` pixels: it sums to one."""
    taps, sigma = (TAPS, 1.5) if side >= TAPS else (min(5, side), 0.5)
    places = torch.arange(taps, dtype=torch.float64) - (taps - 1) / 2
    weights = (-(places**2) / (2 * sigma**2)).exp()
    return weights / weights.sum()


def maps(x: Tensor, y: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
    """(luminance, contrast and structure) at every place where the whole window lies in the images."""
    channels = x.shape[1]
    kernel = torch.outer(row, row).expand(channels, 1, -1, -1)
    mean_x, mean_y, square_x, square_y, product = (
        conv2d(entry, kernel, groups=channels) for entry in (x, y, x * x, y * y, x * y)
    )
    luminance = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
    variances = square_x - mean_x**2 + square_y - mean_y**2
    return luminance, (2 * (product - mean_x * mean_y) + C2) / (variances + C2)


def pairs(classes: Tensor, count: int, source: torch.Generator) -> Tensor:
    """``count`` pairs of different rows of one class, (count, 2), or none where no class has two: rows are drawn uniformly."""
    order = classes.argsort(stable=True)
    sizes = classes.bincount()
    places = torch.arange(len(order))[sizes[classes[order]] >= 2]
    if not len(places):
        return torch.empty(0, 2, dtype=torch.int64)
    first = places[torch.randint(len(places), (count,), generator=source)]
    kind = classes[order[first]]
    starts = sizes.cumsum(0) - sizes
    shift = 1 + (torch.rand(count, generator=source) * (sizes[kind] - 1)).long().clamp(max=sizes[kind] - 2)
    second = starts[kind] + (first - starts[kind] + shift) % sizes[kind]
    return torch.stack((order[first], order[second]), 1)


@register("metric", "ms_ssim")
class StructuralSimilarity(Score):
    """Mean similarity of generated images of one class, beside that of real ones: lower is more diverse."""

    directions: Mapping[str, bool | None] = {"ms_ssim": False, "ms_ssim_real": None}
    extracts = frozenset({"x"})
    welcomes = frozenset({"logits"})
    needs: ClassVar[Mapping[str, Rule]] = IMAGES
    real: list[Tensor]
    generated: list[Tensor]
    real_classes: list[Tensor]
    generated_classes: list[Tensor]

    def __init__(self, *, pairs: int = 500) -> None:
        super().__init__()
        if pairs < 2:
            raise BadInput(f"metric.ms_ssim.pairs={pairs}: must be at least 2")
        self.pairs = pairs
        self.within: str | None = None
        self.scales: int | None = None
        self.window: str | None = None
        for name in ("real", "generated", "real_classes", "generated_classes"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def fewest(self) -> tuple[int, int]:
        return 2, 2

    def verify(self, dataset: Data) -> None:
        side = min(dataset.spec.shape[-2:])
        if side < LEAST_SIDE:
            raise BadInput(f"metric=ms_ssim: compares windows of {LEAST_SIDE} pixels, and these images have a side of {side}")

    def update(self, sample: Sample, *, real: bool) -> None:
        if sample.x is None:
            raise ValueError("structural similarity needs the images themselves")
        classes = torch.zeros(len(sample.x), dtype=torch.int64) if sample.logits is None else sample.logits.argmax(1)
        self.within = "any two images" if sample.logits is None else "of one class, by the extractor"
        side = min(sample.x.shape[-2:])
        self.scales, self.window = scales(side), f"{len(window(side))} taps, inside the images"
        (self.real if real else self.generated).append(sample.x)
        (self.real_classes if real else self.generated_classes).append(classes)

    def compute(self) -> dict[str, float]:
        """``ms_ssim``, ``ms_ssim_real``; a side in which no class has two samples gives none."""
        found, self.spreads, remarks = {}, {}, []
        sides = {"ms_ssim": (self.generated, self.generated_classes), "ms_ssim_real": (self.real, self.real_classes)}
        for name, (parts, classes) in sides.items():
            x, source = dim_zero_cat(parts), rng.generator("metric", name)
            chosen = pairs(dim_zero_cat(classes), self.pairs, source)
            if not len(chosen):
                remarks.append(f"{name}: no two samples are of one class; raise evaluation.num")
                continue
            values = torch.cat([similarity(x[block[:, 0]], x[block[:, 1]]) for block in chosen.split(BLOCK)])
            found[name], self.spreads[name] = values.mean().item(), standard_error(values)
        self.remarks = tuple(remarks)
        self.missing = "" if found else "no two samples are of one class"
        return found

    def card(self) -> dict[str, Any]:
        return {
            "pairs": self.pairs,
            "pairs are": self.within,
            "scales": self.scales,
            "window": self.window,
            "std": "over pairs, divided by the root of their number",
        }
