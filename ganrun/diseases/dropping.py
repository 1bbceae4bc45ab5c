"""Mode dropping: some of the data's modes hardly occur among the samples.

Condition: modes that got less than a quarter of their share of the samples hold more than ``share`` of the data, and that does
not shrink (by ``filling`` between the first and last three of eight looks); nor, while it is above ``far``, does the distance
of the samples from the data (by ``falling``). A mode is a class of the data where class means tell classes apart, else a
k-means cluster of real data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

    def __init__(self, *, share: float = 0.2, filling: float = 0.2, far: float = 0.03, falling: float = 0.15) -> None:
        self.share, self.filling, self.far, self.falling = share, filling, far, falling

    def holds(self, rows: Sequence[Row], place: int) -> Evidence | None:
        starved = rows[place]["starved"]
        if starved <= self.share:
            return None
        if rows[place].get("gap", 0.0) > self.far and improving(rows, place, by=self.falling):
            return None  # the coarse law comes first
        if len(series(rows, place, "starved", 5)) == 5 and improving(rows, place, "starved", by=self.filling):
            return None
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
