"""The discriminator memorises, and it shows: it ranks training data above held-out data of the same law.

Condition: the median over ``looks`` looks of AUC(training data, held-out data) is above ``apart``, and either it is above
``deep``, or samples are ``far`` or more from the data, or more than ``copies`` of them lie nearer to training than to held-out
data. A discriminator that knows its data by heart while samples are near the data, and no nearer to the training data than
to others, does no harm that can be seen.
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

    def __init__(self, *, apart: float = 0.6, looks: int = 4, deep: float = 0.9, far: float = 0.02, copies: float = 0.6) -> None:
        self.apart, self.looks, self.deep, self.far, self.copies = apart, looks, deep, far, copies

    def holds(self, rows: Sequence[Row], place: int) -> Evidence | None:
        held = series(rows, place, "auc_held_out", self.looks)
        if len(held) < self.looks or median(held) <= self.apart:
            return None
        auc, gap, copied = median(held), rows[place].get("gap", 0.0), series(rows, place, "copied", self.looks)
        copies = median(copied) if copied else 0.5
        if auc <= self.deep and gap <= self.far and copies <= self.copies:
            return None
        words = (
            f"it ranks {percent(auc)} of pairs of a training and a held-out sample as if only the first were real "
            f"(half is right; median of {self.looks} looks)"
        )
        if copied:
            words += f"; {percent(copies)} of the samples lie nearer to training than to held-out data (half is right)"
        words += f"; samples are {gap:.3f} from the data"
        return Evidence(words, {"auc_held_out": auc, "gap": gap} | ({"copied": copies} if copied else {}))

    def remedies(self, config: Mapping[str, Any], evidence: Evidence) -> list[Remedy]:
        if "diffaugment" in regularizers(config) or "ada" in regularizers(config):
            return []
        return [Remedy((stack(config, "diffaugment"),), "a discriminator that never sees the same image twice")]
