"""The noise is ignored: another z at the same label gives the same sample.

Condition: changing z alone moves a sample by less than ``share`` of the mean distance between real samples, in a run
that is told labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ganrun.diseases.base import Disease
from ganrun.ground.finding import Evidence, Remedy, Row
from ganrun.ground.registry import register


@register("disease", "noise_ignored")
class NoiseIgnored(Disease):
    """Another z at the same label gives the same sample."""

    title = "the noise is ignored: each class is one sample"
    watches = ("noise_move",)
    outcome = ("noise_move", True)
    explains = frozenset({"batch_statistics"})

    def __init__(self, *, share: float = 0.05) -> None:
        self.share = share

    def holds(self, rows: Sequence[Row], place: int) -> Evidence | None:
        moved = rows[place]["noise_move"]
        if moved >= self.share:
            return None
        words = f"another z at the same label moves a sample by {moved:.3f} of the distance between real samples"
        return Evidence(words, {"noise_move": moved})

    def remedies(self, config: Mapping[str, Any], evidence: Evidence) -> list[Remedy]:
        return [Remedy(("pack=2",), "a discriminator that sees two samples of a class sees that they are equal", fork=False)]
