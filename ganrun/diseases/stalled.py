"""The generator hardly moves: its learning rate is too small for what is left to learn.

Condition: one step moves G by less than ``still`` of its weights, samples are ``far`` or more from the data and not improving.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ganrun.diseases.base import Disease, improving, rate
from ganrun.ground.finding import Evidence, Remedy, Row
from ganrun.ground.registry import register


@register("disease", "stalled")
class Stalled(Disease):
    """The generator hardly moves."""

    title = "the generator hardly moves: its learning rate is too small"
    watches = ("move_generator", "gap")
    explains = frozenset({"saturated", "dropping", "weak_discriminator", "collapse", "spectral_collapse", "blurred"})

    def __init__(self, *, still: float = 2e-5, far: float = 0.05) -> None:
        self.still, self.far = still, far

    def holds(self, rows: Sequence[Row], place: int) -> Evidence | None:
        row = rows[place]
        if row["move_generator"] >= self.still or row["gap"] <= self.far or improving(rows, place):
            return None
        words = (
            f"a step moves the generator by {row['move_generator']:.0e} of its weights (runs that learn: 3e-4 to 5e-3), while "
            f"samples stay {row['gap']:.2f} from the data (real from real: {row.get('gap_floor', 0.0):.3f})"
        )
        return Evidence(words, {"move_generator": row["move_generator"], "gap": row["gap"]})

    def remedies(self, config: Mapping[str, Any], evidence: Evidence) -> list[Remedy]:
        held = rate(config, "generator")
        if not held:
            return []
        return [
            Remedy((f"optimizer.generator.lr={max(10 * held, 1e-3 if held < 1e-4 else 0):g}",), "larger steps of the generator")
        ]
