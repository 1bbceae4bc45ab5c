"""The discriminator memorises: it ranks training data above held-out data of the same law.

Condition: the median over ``looks`` looks of AUC(training data, held-out data) is above ``apart``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from ganrun.diseases.base import Disease, percent, regularizers, series, stack
from ganrun.ground.finding import Evidence, Remedy, Row
from ganrun.ground.registry import register


@register("disease", "overfit")
class Overfit(Disease):
    """The discriminator memorises the training data."""

    title = "the discriminator memorises the training data"
    watches = ("auc_held_out",)
    outcome = ("auc_held_out", False)
    explains = frozenset({"saturated", "dropping"})

    def __init__(self, *, apart: float = 0.6, looks: int = 4) -> None:
        self.apart, self.looks = apart, looks

    def holds(self, rows: Sequence[Row], place: int) -> Evidence | None:
        held = series(rows, place, "auc_held_out", self.looks)
        if len(held) < self.looks or median(held) <= self.apart:
            return None
        words = (
            f"it ranks {percent(median(held))} of pairs of a training and a held-out sample as if only the first were real "
            f"(half is right; median of {self.looks} looks)"
        )
        return Evidence(words, {"auc_held_out": median(held)})

    def remedies(self, config: Mapping[str, Any], evidence: Evidence) -> list[Remedy]:
        if "diffaugment" in regularizers(config) or "ada" in regularizers(config):
            return []
        return [Remedy((stack(config, "diffaugment"),), "a discriminator that never sees the same image twice")]
