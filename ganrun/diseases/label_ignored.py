"""The label is ignored: the class that comes out is not the one asked for.

Condition: the share of samples of the class asked for, above chance, is below ``share`` of real data's by the same
nearest-class-mean judge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ganrun.diseases.base import Disease, at, percent
from ganrun.ground.finding import Evidence, Remedy, Row
from ganrun.ground.registry import register


@register("disease", "label_ignored")
class LabelIgnored(Disease):
    """The class that comes out is not the one asked for."""

    title = "the label is ignored: the class that comes out is not the one asked for"
    watches = ("class_hits", "class_hits_real", "class_chance")
    outcome = ("class_hits", True)

    def __init__(self, *, share: float = 0.5) -> None:
        self.share = share

    def holds(self, rows: Sequence[Row], place: int) -> Evidence | None:
        row = rows[place]
        above = row["class_hits_real"] - row["class_chance"]
        if above <= 0.1 or row["class_hits"] - row["class_chance"] >= self.share * above:
            return None
        words = (
            f"{percent(row['class_hits'])} of the samples lie nearest the mean of the class asked for "
            f"(real data: {percent(row['class_hits_real'])}, chance: {percent(row['class_chance'])})"
        )
        return Evidence(words, {"class_hits": row["class_hits"], "class_hits_real": row["class_hits_real"]})

    def remedies(self, config: Mapping[str, Any], evidence: Evidence) -> list[Remedy]:
        named = at(config, "condition")
        present = at(named, "name") if isinstance(named, Mapping) else named
        return [
            Remedy((f"condition={other}",), "another way to tell the players the label", fork=False)
            for other in ("projection", "acgan")
            if other != present
        ]
