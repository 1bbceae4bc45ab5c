"""Mode collapse: the samples are nearly one and the same.

Condition: the mean distance between samples is below ``spread`` of that between real samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ganrun.diseases.base import Disease, rate, regularizers, stack
from ganrun.ground.finding import Evidence, Remedy, Row
from ganrun.ground.registry import register


@register("disease", "collapse")
class Collapse(Disease):
    """Mode collapse: the samples are nearly one and the same."""

    title = "mode collapse: the samples are nearly one and the same"
    watches = ("spread",)
    explains = frozenset({"saturated", "label_ignored", "noise_ignored", "dropping", "blurred"})

    def __init__(self, *, spread: float = 0.15) -> None:
        self.spread = spread

    def holds(self, rows: Sequence[Row], place: int) -> Evidence | None:
        spread = rows[place]["spread"]
        if spread >= self.spread:
            return None
        if max(series_of(rows, place)) < 2 * self.spread and rows[place].get("auc", 0.0) >= 0.985:
            return None  # it never spread at all: a generator that D does not let begin
        return Evidence(f"samples are {spread:.2f} as far apart as real ones", {"spread": spread})

    def remedies(self, config: Mapping[str, Any], evidence: Evidence) -> list[Remedy]:
        found = []
        generator, critic = rate(config, "generator"), rate(config, "discriminator")
        if generator and critic and generator > critic:
            found.append(Remedy((f"optimizer.generator.lr={critic:g}", stack(config, "r1")), "G no longer outruns D"))
        if "r1" not in regularizers(config):
            found.append(Remedy((stack(config, "r1"),), "a smooth D pulls a collapsed G apart"))
        found.append(Remedy(("pack=2",), "a D that sees two samples at once sees that they are equal", fork=False))
        return found


def series_of(rows: Sequence[Row], place: int) -> list[float]:
    """The spread at every look so far."""
    return [float(row["spread"]) for row in rows[: place + 1] if "spread" in row]
