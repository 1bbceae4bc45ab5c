"""Density and coverage by nearest neighbours in feature space (Naeem et al. 2020).

A real sample's ball B reaches to, and does not include, its k-th nearest other real sample. With n samples y of the
generator and n real ones x:

- ``density`` = sum over y and x of 1[y in B(x)] / (k n): 1 in the mean for one law, above where samples crowd the peaks.
- ``coverage`` = share of x whose ball holds any y: 1 - prod_{i=1..k} (n - i) / (2 n - i) for one law, about 1 - 2^-k.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ganrun.ground.errors import BadInput
from ganrun.ground.registry import register
from ganrun.ground.traits import Rule
from ganrun.metrics.base import IMAGES
from ganrun.metrics.neighbourhood import Neighbours
from ganrun.metrics.two_samples import standard_error

FEW = 1000  # below, the size of the sample tells more than that of the balls


@register("metric", "density_coverage")
class DensityCoverage(Neighbours):
    """Real balls per generated sample, and the share of real balls that hold a generated one."""

    directions: Mapping[str, bool | None] = {"density": True, "coverage": True}
    tells: ClassVar[Mapping[str, tuple[str, ...]]] = {"density": ("fidelity",), "coverage": ("diversity",)}
    extracts = frozenset({"features"})
    needs: ClassVar[Mapping[str, Rule]] = IMAGES

    def __init__(self, *, neighbours: int = 5) -> None:
        super().__init__()
        if neighbours < 1:
            raise BadInput(f"metric.density_coverage.neighbours={neighbours}: must be at least 1")
        self.neighbours = neighbours
        self.used: int | None = None

    def fewest(self) -> tuple[int, int]:
        return self.neighbours + 1, self.neighbours + 1

    def compute(self) -> dict[str, float]:
        """``density``, ``coverage``; ``BadInput`` where a side has no more samples than neighbours."""
        near = self.neighbourhood("density_coverage", self.fewest()[0])
        self.used, self.remarks = near.count, ()
        if near.count < FEW:
            self.remarks = (
                f"density and coverage move with N, which is {near.count} on each side: compare at the same N, "
                f"or raise evaluation.num to {FEW}",
            )
        counts, held = near.within("real", self.neighbours, boundary=False)
        density, coverage = counts.double() / self.neighbours, (held > 0).double()
        self.spreads = {"density": standard_error(density), "coverage": standard_error(coverage)}
        return {"density": density.mean().item(), "coverage": coverage.mean().item()}

    def card(self) -> dict[str, Any]:
        return {
            "neighbours": self.neighbours,
            "samples of a side": self.used,
            "std": "over generated samples (density) and real samples (coverage), the balls held fixed",
        }
