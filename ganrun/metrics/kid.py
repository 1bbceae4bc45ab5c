"""Kernel distance of features (Binkowski et al. 2018): unbiased MMD^2 with the kernel k(x, y) = (x.y / d + 1)^3.

    mean of k(x_i, x_j), i != j  +  mean of k(y_i, y_j), i != j  -  2 mean of k(x_i, y_j)

``kid`` is the mean over subsets drawn without replacement from each side, by the numbers that torch-fidelity draws, and
``kid_std`` their standard deviation (ddof 0), as published. It is unbiased at any sample size, so it may be negative, and
serves where a sample is too small for a Frechet distance.

The standard deviation of ``kid`` itself is smaller: a subset of m of n samples varies by about (1 - m/n) / m, the mean over
many subsets by 1 / n, hence kid_std * sqrt((m / n) / (1 - m / n)) with n the smaller side. Subsets hold at most half of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ganrun.ground.errors import BadInput
from ganrun.ground.registry import register
from ganrun.ground.traits import Rule
from ganrun.metrics.base import IMAGES
from ganrun.metrics.two_samples import TwoSampleScore

SHUFFLE_SEED = 2020  # torch-fidelity's, so that the subsets are its own


def kernel(x: Tensor, y: Tensor) -> Tensor:
    """(x.y / d + 1)^3 for all pairs: (n, m)."""
    return (x @ y.T / x.shape[1] + 1).pow(3)


def squared_mmd(x: Tensor, y: Tensor) -> float:
    """Unbiased MMD^2 of the rows of ``x`` (n, d) and ``y`` (m, d), n and m at least 2."""
    own = sum((k.sum() - k.trace()) / (len(k) * (len(k) - 1)) for k in (kernel(x, x), kernel(y, y)))
    return float(own - 2 * kernel(x, y).mean())


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
        real, generated = self.both("kid")
        smaller = min(len(real), len(generated))
        self.used = size = min(self.subset_size, smaller // 2)
        self.remarks = ()
        if size < self.subset_size:
            self.remarks = (
                f"KID by subsets of {size} instead of {self.subset_size}, half of the {smaller} samples there are; "
                f"evaluation.num={2 * self.subset_size} allows it where as many are real",
            )
        source = np.random.RandomState(SHUFFLE_SEED)
        found = []
        for _ in range(self.subsets):
            x, y = (side[torch.from_numpy(source.choice(len(side), size, replace=False))] for side in (real, generated))
            found.append(squared_mmd(x, y))
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
