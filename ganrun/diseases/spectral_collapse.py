"""Spectral collapse: a layer of the discriminator loses its rank (Liu et al. 2019).

Condition on the poorest layer's mean of s_j / s_1, against its own past: it fell to less than ``fall`` of what it was
within three looks and stays below ``stays`` of its best; or it is below ``poor`` and below ``fall`` of its best; and samples
are more than ``far`` from the data (median of four looks) and not improving. The rank also falls slowly in runs that come ever
nearer to data in few dimensions, where it does no harm; below ``lost`` of its best it is named whatever the samples are like.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from ganrun.diseases.base import Disease, improving, regularizers, series, stack
from ganrun.ground.finding import Evidence, Remedy, Row
from ganrun.ground.registry import register


@register("disease", "spectral_collapse")
class SpectralCollapse(Disease):
    """A layer of the discriminator loses its rank."""

    title = "spectral collapse: a layer of the discriminator has lost its rank"
    watches = ("rank", "gap")
    outcome = ("rank", True)

    def __init__(
        self, *, fall: float = 0.4, stays: float = 0.5, poor: float = 0.05, far: float = 0.05, lost: float = 0.06
    ) -> None:
        self.fall, self.stays, self.poor, self.far, self.lost = fall, stays, poor, far, lost

    def holds(self, rows: Sequence[Row], place: int) -> Evidence | None:
        gap = median(series(rows, place, "gap", 4))
        held = series(rows, place, "rank", place + 1)
        now, best = held[-1], max(held)
        lost = now < self.lost * best
        if not lost and (gap <= self.far or improving(rows, place)):
            return None
        fell = any(low < self.fall * max(held[max(0, spot - 3) : spot + 1]) for spot, low in enumerate(held))
        if lost or (fell and now < self.stays * best) or (now < self.poor and now < self.fall * best):
            words = (
                f"in its poorest layer the mean singular value is {now:.3f} of the largest, "
                f"{now / best:.2f} of the best that it was, while samples stay {gap:.2f} from the data"
            )
            return Evidence(words, {"rank": now, "best": best, "gap": gap})
        return None

    def remedies(self, config: Mapping[str, Any], evidence: Evidence) -> list[Remedy]:
        if "spectral_regularization" in regularizers(config):
            return []
        return [Remedy((stack(config, "spectral_regularization"),), "it keeps the singular values up", fork=False)]
