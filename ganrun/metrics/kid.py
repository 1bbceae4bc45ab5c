"""Kernel distance of features (Binkowski et al. 2018): unbiased MMD^2 with the kernel k(x, y) = (x.y / d + 1)^3.

    mean of k(x_i, x_j), i != j  +  mean of k(y_i, y_j), i != j  -  2 mean of k(x_i, y_j)

``kid`` is the mean over subsets drawn without replacement from each side, by the numbers that torch-fidelity draws, and
``kid_std`` their standard deviation (ddof 0), as published. It is unbiased at any sample size, so it may be negative, and
serves where a sample is too small for a Frechet distance.

The standard deviation of ``kid`` itself is smaller: a subset of m of n samples varies by about (1 - m/n) / m, the mean over
many subsets by 1 / n, hence kid_std * sqrt((m / n) / (1 - m / n)) with n the smaller side. Subsets hold at most half of it.

Products of rows, less a middle, are in the features' own precision, float32 as a rule, all else in float64. Roundings go up as
often as down, so kid is that of float64 products to 1e-8, and nearer the more pairs there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ganrun.ground.errors import BadInput
from ganrun.ground.registry import register
from ganrun.ground.traits import Rule
from ganrun.metrics.base import IMAGES
from ganrun.metrics.two_samples import TwoSampleScore, symmetric_blocks

BLOCK = 1024  # rows whose kernels with all others are held at a time
SHUFFLE_SEED = 2020  # torch-fidelity's, so that the subsets are its own


@dataclass
class Rows:
    """Rows x_i (n, d) less a middle m that all share, and ``along`` (x_i.m - |m|^2 / 2) / d + 1/2 in float64 (n,).

    x.y / d + 1 is then (x - m).(y - m) / d + along_x + along_y, and only the first of these is rounded to the rows' precision.
    """

    centred: Tensor
    along: Tensor

    def __getitem__(self, which: slice | Tensor) -> Rows:
        return Rows(self.centred[which], self.along[which])

    def __len__(self) -> int:
        return len(self.along)


def both_sides(x: Tensor, y: Tensor) -> tuple[Rows, Rows]:
    """``x`` (n, d) and ``y`` (m, d) about the middle of their means."""
    middle = sum(part.double().sum(0) / (2 * len(side)) for side in (x, y) for part in side.split(BLOCK)).to(x.dtype)
    exact = middle.double()
    first, second = (
        Rows(
            side - middle,
            (torch.cat([part.double() @ exact for part in side.split(BLOCK)]) - exact.square().sum() / 2) / len(exact) + 0.5,
        )
        for side in (x, y)
    )
    return first, second


def kernel(x: Rows, y: Rows) -> Tensor:
    """(x.y / d + 1)^3 for all pairs: (n, m) in float64, of products in the precision of the rows."""
    products = x.centred @ y.centred.T
    return torch.add(x.along[:, None], products, alpha=1 / x.centred.shape[1]).add_(y.along).pow_(3)


def own_sum(x: Rows) -> float:
    """The sum of the kernel over all pairs i != j of rows of ``x``."""
    total = 0.0
    for rows, columns in symmetric_blocks(len(x), max(len(x) // 4, 1)):
        found = kernel(x[rows], x[columns])
        square = found[:, : len(found)]
        total += (2 * found.sum() - square.sum() - square.trace()).item()
    return total


def squared_mmd(x: Rows, y: Rows) -> float:
    """Unbiased MMD^2 of the rows of ``x`` (n, d) and ``y`` (m, d), n and m at least 2."""
    own = sum(own_sum(side) / (len(side) * (len(side) - 1)) for side in (x, y))
    return own - 2 * kernel(x, y).mean().item()


def of_subsets(x: Rows, y: Rows, first: Tensor, second: Tensor) -> Tensor:
    """``squared_mmd`` of the rows ``first[s]`` of ``x`` and ``second[s]`` of ``y`` for each subset s: float64 (subsets,).

    Each pair's kernel is computed once however many subsets hold it, or once for each that does, whichever is less work.
    """
    (subsets, size), dimension = first.shape, x.centred.shape[1]
    every = (len(x) ** 2 + len(y) ** 2) / 2 + len(x) * len(y)
    if every * (dimension + subsets) >= subsets * 2 * size**2 * dimension:
        return torch.tensor([squared_mmd(x[i], y[j]) for i, j in zip(first, second, strict=True)], dtype=torch.float64)
    marks = [torch.zeros(subsets, len(side), dtype=torch.float64) for side in (x, y)]
    for mark, chosen in zip(marks, (first, second), strict=True):
        mark.scatter_(1, chosen, 1.0)
    own = torch.zeros(subsets, dtype=torch.float64)
    for side, mark in zip((x, y), marks, strict=True):
        for rows, columns in symmetric_blocks(len(side), BLOCK):
            found = kernel(side[rows], side[columns])
            found[:, : len(found)].fill_diagonal_(0.0)
            sums = (mark[:, rows] @ found) * mark[:, columns]
            own += sums.sum(1) + sums[:, len(found) :].sum(1)  # a pair of two blocks stands for its mirror image too
    across = torch.zeros(subsets, dtype=torch.float64)
    for start in range(0, len(x), BLOCK):
        across += ((marks[0][:, start : start + BLOCK] @ kernel(x[start : start + BLOCK], y)) * marks[1]).sum(1)
    return own / (size * (size - 1)) - 2 * across / size**2


@register("metric", "kid")
class KernelDistance(TwoSampleScore):
    """Unbiased squared kernel distance between real and generated features: lower is better, zero in the mean for one law."""

    directions: Mapping[str, bool | None] = {"kid": False, "kid_std": None}
    tells: ClassVar[Mapping[str, tuple[str, ...]]] = {"kid": ("fidelity", "diversity")}
    extracts = frozenset({"features"})
    needs: ClassVar[Mapping[str, Rule]] = IMAGES
    least = 4

    def __init__(self, *, subsets: int = 100, subset_size: int = 1000) -> None:
        super().__init__()
        if subsets < 1:
            raise BadInput(f"metric.kid.subsets={subsets}: must be at least 1")
        if subset_size < 2:
            raise BadInput(f"metric.kid.subset_size={subset_size}: must be at least 2")
        self.subsets, self.subset_size = subsets, subset_size
        self.used: int | None = None

    def compute(self) -> dict[str, float]:
        """``kid`` and ``kid_std``; ``BadInput`` for fewer than four samples on a side."""
        real, generated = self.given("kid")
        smaller = min(len(real), len(generated))
        self.used = size = min(self.subset_size, smaller // 2)
        self.remarks = ()
        if size < self.subset_size:
            self.remarks = (
                f"KID by subsets of {size} instead of {self.subset_size}, half of the {smaller} samples there are; "
                f"evaluation.num={2 * self.subset_size} allows it where as many are real",
            )
        source = np.random.RandomState(SHUFFLE_SEED)
        drawn = [[source.choice(len(side), size, replace=False) for side in (real, generated)] for _ in range(self.subsets)]
        first, second = (torch.from_numpy(np.stack(side)) for side in zip(*drawn, strict=True))
        found = of_subsets(*both_sides(real, generated), first, second).numpy()
        deviation, share = float(np.std(found)), size / smaller
        if self.subsets > 1:
            self.spreads = {"kid": deviation * (share / (1 - share)) ** 0.5}
        return {"kid": float(np.mean(found)), "kid_std": deviation}

    def card(self) -> dict[str, Any]:
        return {
            "kernel": "(x.y / d + 1)^3, unbiased",
            "subsets": self.subsets,
            "subset_size": self.subset_size,
            "subset_size used": self.used,
            "std": "of the mean over subsets, from their deviation kid_std, scaled by subset and sample size",
        }
