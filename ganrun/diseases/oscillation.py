"""Oscillation: the same latents jump from mode to mode while the samples do not get closer to the data.

Condition, on medians of the last ``looks`` looks, of which any one may find it at rest: more than ``moving`` of the fixed
samples' mode histogram moves between two looks (total variation), and samples are ``far`` or more from the data; and they are
not improving.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from ganrun.diseases.base import Disease, at, improving, percent, rate, regularizers, series, stack
from ganrun.ground.finding import Evidence, Remedy, Row
from ganrun.ground.registry import register


@register("disease", "oscillation")
class Oscillation(Disease):
    """The samples run from mode to mode."""

    title = "oscillation: the samples run from mode to mode and do not settle"
    watches = ("mode_move", "gap")
    explains = frozenset({"dropping", "saturated", "blurred"})

    def __init__(self, *, moving: float = 0.35, far: float = 0.03, looks: int = 5) -> None:
        self.moving, self.far, self.looks = moving, far, looks

    def holds(self, rows: Sequence[Row], place: int) -> Evidence | None:
        moves, gaps = (series(rows, place, name, self.looks) for name in ("mode_move", "gap"))
        moved, gap = median(moves), median(gaps)
        if len(moves) < self.looks or moved <= self.moving or gap <= self.far or improving(rows, place):
            return None
        words = (
            f"{percent(moved)} of the samples' shares of the data's modes move from look to look, while samples stay {gap:.2f} "
            f"from the data (real from real: {rows[place].get('gap_floor', 0.0):.3f}; medians of {self.looks} looks)"
        )
        return Evidence(words, {"mode_move": moved, "gap": gap})

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
