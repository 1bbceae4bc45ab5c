"""Diversity by multi-scale structural similarity (Wang et al. 2003; Odena et al. 2017, AC-GAN).

``ms_ssim`` is the mean over random pairs of generated images of one class, ``ms_ssim_real`` that over real pairs: 1 for equal
images, higher than the real one where the generator repeats itself. Images of different classes are never paired: the class
is the extractor's, and without classes any two images make a pair, which the card says.

Eleven taps and five scales need images of 176 pixels; from 99 pixels there are four scales, from 44 three, from 22 two, with
the first of Wang's exponents scaled to a sum of 1; below 11 pixels one scale of 5 taps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure
from torchmetrics.utilities import dim_zero_cat

from ganrun.ground import rng
from ganrun.ground.errors import BadInput
from ganrun.ground.registry import register
from ganrun.ground.traits import Rule
from ganrun.metrics.base import IMAGES, Data, Sample, Score
from ganrun.metrics.collected import standard_error

EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
SIDES = (22, 44, 99, 176)  # from which there are 2, 3, 4, 5 scales; torchmetrics refuses four below 99
TAPS = 11
LEAST_SIDE = 5  # the taps below 11 pixels
BLOCK = 100  # pairs at a time


def scales(side: int) -> int:
    """How many scales images of ``side`` pixels bear, so that the last holds the 11 taps."""
    return 1 + sum(side >= least for least in SIDES)


def similarity(one: Tensor, other: Tensor) -> Tensor:
    """MS-SSIM of pairs of images in [-1, 1], (n, c, h, w) each: (n,), 1 for equal images."""
    side = min(one.shape[-2:])
    exponents = EXPONENTS[: scales(side)]
    found = multiscale_structural_similarity_index_measure(
        (one + 1) / 2,
        (other + 1) / 2,
        sigma=1.5 if side >= TAPS else 0.5,
        kernel_size=TAPS if side >= TAPS else LEAST_SIDE,
        betas=tuple(entry / sum(exponents) for entry in exponents),
        data_range=1.0,
        reduction="none",
        normalize="relu",
    )
    return torch.as_tensor(found).double().reshape(-1)


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
        self.scales = scales(min(sample.x.shape[-2:]))
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
            "std": "over pairs, divided by the root of their number",
        }
