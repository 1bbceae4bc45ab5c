"""A penalty outweighs the loss: the discriminator learns to be flat and not to tell real from fake.

Condition: the penalties' share of the norm of D's gradient is above ``share``; or above ``much`` while samples are
``far`` from the data; or above ``half`` while the slope is below ``fallen`` of its peak. At any stationary point of D
the share tends to one half, so one half alone says only that D has converged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ganrun.diseases.base import Disease, at, improving, percent, regularizers, series
from ganrun.ground.finding import Evidence, Remedy, Row
from ganrun.ground.registry import register

USUAL = 10  # weight of the papers' gradient penalties (Gulrajani et al. 2017; Mescheder et al. 2018)


@register("disease", "penalty")
class Penalty(Disease):
    """A penalty outweighs the loss."""

    title = "a penalty outweighs the loss in the discriminator's gradient"
    watches = ("penalty_share", "gap")
    explains = frozenset(
        {"weak_discriminator", "stalled", "saturated", "vanishing", "dropping", "collapse", "batch_statistics", "blurred"}
    )

    def __init__(
        self, *, share: float = 0.9, much: float = 0.6, half: float = 0.55, far: float = 0.1, fallen: float = 0.15
    ) -> None:
        self.share, self.much, self.half, self.far, self.fallen = share, much, half, far, fallen

    def holds(self, rows: Sequence[Row], place: int) -> Evidence | None:
        row, share = rows[place], rows[place]["penalty_share"]
        slopes = series(rows, place, "slope", place + 1)
        fallen = bool(slopes) and slopes[-1] < self.fallen * max(slopes)
        much = share > self.much and row["gap"] > self.far and not improving(rows, place)
        if share > self.share or much or (share > self.half and fallen and row["gap"] > self.far / 2):
            words = (
                f"{percent(share)} of the discriminator's gradient come from penalties, while samples are {row['gap']:.2f} from "
                f"the data (real from real: {row.get('gap_floor', 0.0):.3f})"
            )
            return Evidence(words, {"penalty_share": share, "gap": row["gap"]})
        return None

    def remedies(self, config: Mapping[str, Any], evidence: Evidence) -> list[Remedy]:
        found = []
        for name, options in regularizers(config).items():
            weight = options.get("weight")
            if not isinstance(weight, int | float) or weight <= 0:
                continue
            if weight > USUAL and at(config, "n_critic", 1) < 5:
                found.append(
                    Remedy(
                        (f"regularizer.{name}.weight={USUAL}", "n_critic=5"),
                        "the papers' weight, and the papers' five updates of D for each of G",
                    )
                )
            if weight > USUAL:
                found.append(
                    Remedy((f"regularizer.{name}.weight={USUAL}",), "a penalty of the papers' weight leaves the loss its say")
                )
            lower = min(float(weight), USUAL) / 10
            found.append(Remedy((f"regularizer.{name}.weight={lower:g}",), "a tenth of that leaves the loss more of its say"))
        return found
