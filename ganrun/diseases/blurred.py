"""Blurred modes: samples lie between real ones, where coverage counts them and an eye does not.

Condition: the median distance from a sample to its nearest real one is more than ``times`` that from a held-out (or
other) real sample to its nearest, while the samples cover the data: spread above ``spread`` and distance below
``near``; and it does not shrink.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ganrun.diseases.base import Disease, at, improving
from ganrun.ground.finding import Evidence, Remedy, Row
from ganrun.ground.registry import register


@register("disease", "blurred")
class Blurred(Disease):
    """Samples lie between real ones."""

    title = "blurred modes: samples lie between the data's modes"
    watches = ("sharpness", "spread", "gap")
    patience = (6, 8)

    def __init__(self, *, times: float = 4.0, spread: float = 0.5, near: float = 0.1) -> None:
        self.times, self.spread, self.near = times, spread, near

    def holds(self, rows: Sequence[Row], place: int) -> Evidence | None:
        row = rows[place]
        covers = row["spread"] > self.spread and row["gap"] < self.near
        if not covers or row["sharpness"] <= self.times or improving(rows, place, "sharpness"):
            return None
        words = (
            f"a sample is {row['sharpness']:.1f} times as far from its nearest real one as another real sample is, though "
            f"samples as a whole are only {row['gap']:.3f} from the data"
        )
        return Evidence(words, {"sharpness": row["sharpness"], "gap": row["gap"]})

    def remedies(self, config: Mapping[str, Any], evidence: Evidence) -> list[Remedy]:
        found = []
        for name, options in (at(config, "regularizer") or {}).items():
            weight = at(options, "weight") if isinstance(options, Mapping) else None
            if isinstance(weight, int | float) and weight > 0:
                found.append(Remedy((f"regularizer.{name}.weight={weight / 10:g}",), "a sharper discriminator"))
        if int(at(config, "n_critic", 1)) == 1:
            found.append(Remedy(("n_critic=2",), "a discriminator that knows more of the data"))
        return found
