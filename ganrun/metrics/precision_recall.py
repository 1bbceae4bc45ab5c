"""Improved precision and recall by nearest neighbours in feature space (Kynkaanniemi et al. 2019).

A sample's ball reaches to its k-th nearest other sample of its own side, boundary included.

- ``precision``: share of generated samples inside any real ball, i.e. that look like data.
- ``recall``: share of real samples inside any generated ball, i.e. that the generator could have made.

Both sides are cut to equally many samples, since balls shrink as a sample grows. One outlier with a large ball flatters
either number; ``density_coverage`` is less moved by it.
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


@register("metric", "precision_recall")
class PrecisionRecall(Neighbours):
    """Share of generated samples near real ones, and of real samples near generated ones."""

    directions: Mapping[str, bool | None] = {"precision": True, "recall": True}
    tells: ClassVar[Mapping[str, tuple[str, ...]]] = {"precision": ("fidelity",), "recall": ("diversity",)}
    extracts = frozenset({"features"})
    needs: ClassVar[Mapping[str, Rule]] = IMAGES

    def __init__(self, *, neighbours: int = 3) -> None:
        super().__init__()
        if neighbours < 1:
            raise BadInput(f"metric.precision_recall.neighbours={neighbours}: must be at least 1")
        self.neighbours = neighbours
        self.used: int | None = None

    def fewest(self) -> tuple[int, int]:
        return self.neighbours + 1, self.neighbours + 1

    def compute(self) -> dict[str, float]:
        """``precision``, ``recall``; ``BadInput`` where a side has no more samples than neighbours."""
        near = self.neighbourhood("precision_recall", self.fewest()[0])
        self.used, self.remarks = near.count, ()
        if near.count < FEW:
            self.remarks = (
                f"precision and recall move with N, which is {near.count} on each side: compare at the same N, "
                f"or raise evaluation.num to {FEW}",
            )
        around = {"precision": "real", "recall": "generated"}
        found = {name: near.share(side, self.neighbours) for name, side in around.items()}
        self.spreads = {name: standard_error(hits) for name, hits in found.items()}
        return {name: hits.mean().item() for name, hits in found.items()}

    def card(self) -> dict[str, Any]:
        return {
            "neighbours": self.neighbours,
            "samples of a side": self.used,
            "std": "binomial, the balls held fixed",
        }
