"""The critic is clipped flat: so many weights stand at the bound that its slope, and with it G's gradient, is gone.

Condition: ``share`` or more of the discriminator's weights stand at the clipping bound, and its slope over the data's
scale is below ``flat`` or G's RMS gradient is below ``steps`` of the optimizer's eps (Arjovsky et al. 2017, section
on clipping).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ganrun.diseases.base import Disease, at, percent, stack
from ganrun.ground.finding import Evidence, Remedy, Row
from ganrun.ground.registry import register


@register("disease", "clipped")
class Clipped(Disease):
    """The critic is clipped flat."""

    title = "clipping has flattened the critic: its score hardly changes anywhere"
    watches = ("clip_share", "slope")
    explains = frozenset(
        {"vanishing", "stalled", "spectral_collapse", "saturated", "weak_discriminator", "collapse", "dropping", "blurred"}
    )

    def __init__(self, *, share: float = 0.2, flat: float = 1e-4, steps: float = 10.0) -> None:
        self.share, self.flat, self.steps = share, flat, steps

    def holds(self, rows: Sequence[Row], place: int) -> Evidence | None:
        row = rows[place]
        dead = row["slope"] < self.flat or row.get("generator_gradient", self.steps) < self.steps
        if row["clip_share"] < self.share or not dead:
            return None
        words = (
            f"{percent(row['clip_share'])} of the critic's weights stand at the bound, and its score changes by "
            f"{row['slope']:.1g} over one deviation of the data"
        )
        return Evidence(words, {"clip_share": row["clip_share"], "slope": row["slope"]})

    def remedies(self, config: Mapping[str, Any], evidence: Evidence) -> list[Remedy]:
        bound = at(config, "regularizer.weight_clip.clip")
        if not isinstance(bound, int | float):
            return []
        wider = max(10 * float(bound), 0.05)
        penalty = stack(config, "gradient_penalty", without=("weight_clip",))
        return [
            Remedy((f"regularizer.weight_clip.clip={wider:g}",), "a wider bound lets the critic slope"),
            Remedy((penalty,), "a penalty bounds the slope without flattening the critic"),
        ]
