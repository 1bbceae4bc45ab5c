"""The mean over classes of the Frechet distance within each: intra-FID (Miyato and Koyama 2018, "cGANs with Projection
Discriminator").

    intra_fid = 1 / K sum_c FID(features of real samples of class c, features of samples generated for class c).

FID looks at all classes as one cloud, so it does not see labels that are ignored or exchanged; this does. For points and tokens
the features are the numbers themselves. A class has few samples, so the distance is biased up more than FID is: compare it only
at equal numbers, and with that of real samples that were held out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ganrun.ground.registry import register
from ganrun.metrics.asked import Asked
from ganrun.metrics.fid import compare, moments

LEAST = 2  # samples of a class on each side


@register("metric", "intra_fid")
class IntraFrechetDistance(Asked):
    """Mean Frechet distance between real samples of a class and those that were asked to be of it: lower is better."""

    directions: Mapping[str, bool | None] = {"intra_fid": False}
    welcomes = frozenset({"features"})

    def compute(self) -> dict[str, float]:
        """``intra_fid``; none where a class has fewer than two samples on a side."""
        real, known = self.side(real=True)
        made, asked = self.side(real=False)
        counts = [(int((known == label).sum()), int((asked == label).sum())) for label in range(self.classes)]
        short = next((label for label, pair in enumerate(counts) if min(pair) < LEAST), None)
        if short is not None:
            there = f"class {short} has {counts[short][0]} real and {counts[short][1]} generated"
            self.missing = f"intra_fid compares at least {LEAST} samples of each class, and {there}; raise evaluation.num"
            return {}
        distances, squares = [], 0.0
        for label in range(self.classes):
            rows = made[asked == label].flatten(1)
            first, second = moments(real[known == label].flatten(1)), moments(rows)
            found = compare(first, second)
            distances.append(found.distance)
            squares += found.spread(rows) ** 2
        self.spreads = {"intra_fid": squares**0.5 / self.classes}
        fewest, worst = min(min(pair) for pair in counts), max(range(self.classes), key=lambda label: distances[label])
        size = made.flatten(1).shape[1]
        self.remarks = (f"the largest distance is that of class {worst}: {distances[worst]:.3g}",)
        if fewest <= size:
            self.remarks += (
                f"intra_fid: a class has {fewest} samples, not more than the {size} feature dimensions, so the distances are "
                "biased up: compare them only with those of as many samples",
            )
        return {"intra_fid": sum(distances) / self.classes}

    def card(self) -> dict[str, Any]:
        return {
            "classes": self.classes or None,
            "covariance": "ddof 1, float64",
            "std": "of the generated sample, by the influence function, classes independent; the bias is not in it",
        }
