"""Oscillation: the same latents jump from mode to mode while the samples do not get closer to the data.

Condition: more than ``moving`` of the fixed samples' mode histogram moves between two looks (total variation),
samples are ``far`` or more from the data and not improving.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ganrun.diseases.base import Disease, at, improving, percent, rate, regularizers, stack
from ganrun.ground.finding import Evidence, Remedy, Row
from ganrun.ground.registry import register


@register("disease", "oscillation")
class Oscillation(Disease):
    """The samples run from mode to mode."""

    title = "oscillation: the samples run from mode to mode and do not settle"
    watches = ("mode_move", "gap")
    explains = frozenset({"dropping", "saturated"})

    def __init__(self, *, moving: float = 0.6, far: float = 0.05) -> None:
        self.moving, self.far = moving, far

    def holds(self, rows: Sequence[Row], place: int) -> Evidence | None:
        row = rows[place]
        if row["mode_move"] <= self.moving or row["gap"] <= self.far or improving(rows, place):
            return None
        words = (
            f"{percent(row['mode_move'])} of the samples' shares of the data's modes have moved since the look before, while "
            f"samples stay {row['gap']:.2f} from the data (real from real: {row.get('gap_floor', 0.0):.3f})"
        )
        return Evidence(words, {"mode_move": row["mode_move"], "gap": row["gap"]})

    def remedies(self, config: Mapping[str, Any], evidence: Evidence) -> list[Remedy]:
        found = []
        betas = at(config, "optimizer.betas")
        if isinstance(betas, Sequence) and betas and float(betas[0]) > 0:
            found.append(Remedy(("optimizer.betas=[0.0,0.9]",), "momentum carries the players round each other"))
        if "r1" not in regularizers(config):
            found.append(Remedy((stack(config, "r1"),), "R1 damps the game around its equilibrium"))
        held = rate(config, "generator")
        if held:
            found.append(Remedy((f"optimizer.lr={held / 10:g}",), "smaller steps"))
        return found
