"""Mode dropping: some of the data's modes hardly occur among the samples.

Condition: modes that got less than a quarter of their share of the samples hold more than ``share`` of the data, and
that does not shrink, and the samples as a whole get no nearer to the data. A mode is a class of the data where class means tell classes apart, else a k-means cluster of
real data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from ganrun.diseases.base import Disease, at, improving, percent, regularizers, series, stack
from ganrun.ground.finding import Evidence, Remedy, Row
from ganrun.ground.registry import register


@register("disease", "dropping")
class Dropping(Disease):
    """Modes of the data are missing."""

    title = "mode dropping: some of the data's modes hardly occur among the samples"
    watches = ("starved",)
    outcome = ("starved", False)
    patience = (6, 8)

    def __init__(self, *, share: float = 0.2) -> None:
        self.share = share

    def holds(self, rows: Sequence[Row], place: int) -> Evidence | None:
        starved = rows[place]["starved"]
        if starved <= self.share or improving(rows, place):
            return None
        held = series(rows, place, "starved", 8)
        if len(held) >= 6 and median(held[-3:]) <= 0.8 * median(held[:3]):
            return None  # they are filling
        words = f"modes that hold {percent(starved)} of the data get less than a quarter of their share of the samples"
        return Evidence(words, {"starved": starved})

    def remedies(self, config: Mapping[str, Any], evidence: Evidence) -> list[Remedy]:
        found = []
        if "r1" not in regularizers(config):
            found.append(Remedy((stack(config, "r1"),), "a smooth discriminator pulls samples to where they are missing"))
        found.append(Remedy(("pack=2",), "a discriminator that sees two samples at once sees their variety", fork=False))
        if at(config, "game.name") == "adversarial":
            found.append(Remedy(("game=unrolled",), "a generator that looks ahead of D's answer", fork=False))
        return found
