"""Exact Wasserstein-1 distance between real and generated points (Kantorovich 1942; Villani 2009).

For two samples of n points W1 = min over assignments of the mean distance |x_i - y_a(i)|: on the line the mean difference of
the sorted samples, in the plane the solution of the assignment problem, exact, of cost n^3, hence subsets.

``wasserstein`` is the mean over disjoint subsets of ``subset_size`` points a side, ``wasserstein_real`` the same between the
real sample and itself, no point twice: what a perfect generator reads, since two finite samples of one law are never at
distance 0 (in the plane about sqrt(log n / n)). Read one beside the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ganrun.ground import rng
from ganrun.ground.errors import BadInput
from ganrun.ground.registry import register
from ganrun.ground.traits import Rule
from ganrun.metrics.transport import line_cost
from ganrun.metrics.two_samples import TwoSampleScore

POINTS = {"dataset.points": Rule("it measures distances between points, and this data set has none", "dataset=ring8")}


def exact(x: Tensor, y: Tensor) -> float:
    """W1 of two samples of equally many points, (n, d) each."""
    if x.shape[1] == 1:
        return line_cost(x, y, 1).item()
    distances = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist").numpy()
    return float(distances[linear_sum_assignment(distances)].mean())


@register("metric", "wasserstein")
class Wasserstein(TwoSampleScore):
    """Exact W1 between subsets of real and generated points, beside that of real points among themselves."""

    directions: Mapping[str, bool | None] = {"wasserstein": False, "wasserstein_real": None}
    field = "x"
    extracts = frozenset({"x"})
    needs: ClassVar[Mapping[str, Rule]] = POINTS
    least = 4

    def __init__(self, *, subsets: int = 5, subset_size: int = 500) -> None:
        super().__init__()
        if subsets < 1:
            raise BadInput(f"metric.wasserstein.subsets={subsets}: must be at least 1")
        if not 2 <= subset_size <= 5000:
            raise BadInput(f"metric.wasserstein.subset_size={subset_size}: must be from 2 to 5000, since the cost is its cube")
        self.subsets, self.subset_size = subsets, subset_size
        self.used: tuple[int, int] | None = None

    def compute(self) -> dict[str, float]:
        """``wasserstein``, ``wasserstein_real``; ``BadInput`` for fewer than four points on a side."""
        real, generated = self.both("wasserstein")
        size = min(self.subset_size, len(generated), len(real) // 2)
        count = min(self.subsets, len(generated) // size, len(real) // (2 * size))
        self.used, self.remarks = (count, size), ()
        if (count, size) != (self.subsets, self.subset_size):
            self.remarks = (
                f"W1 by {count} subsets of {size} points instead of {self.subsets} of {self.subset_size}: there are no more; "
                "it falls as subsets grow, so compare it with wasserstein_real",
            )
        first, second = self._parts(real, 2 * count, size, "real").chunk(2)
        made = self._parts(generated, count, size, "generated")
        found = {
            "wasserstein": [exact(x, y) for x, y in zip(first, made, strict=True)],
            "wasserstein_real": [exact(x, y) for x, y in zip(first, second, strict=True)],
        }
        if count > 1:
            self.spreads = {name: float(np.std(values, ddof=1)) / count**0.5 for name, values in found.items()}
        return {name: float(np.mean(values)) for name, values in found.items()}

    def _parts(self, rows: Tensor, count: int, size: int, side: str) -> Tensor:
        """``count`` disjoint subsets: (count, size, d)."""
        order = torch.randperm(len(rows), generator=rng.generator("metric", "wasserstein", side))
        return rows[order[: count * size]].view(count, size, -1)

    def card(self) -> dict[str, Any]:
        return {
            "subsets": self.subsets,
            "subset_size": self.subset_size,
            "subsets used": None if self.used is None else f"{self.used[0]} of {self.used[1]}",
            "distance": "Euclidean, exact assignment",
            "std": "over disjoint subsets, divided by the root of their number",
        }
