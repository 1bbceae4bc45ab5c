"""The players run away: weights, slopes or samples grow without bound, as they do before the first NaN.

Condition, each against the run's own past: a player's weight norm has grown to ``growth`` times what it was within ten looks, and
has not come back, while samples are ``far`` or more from the data; or the slope of its score over the data's scale is above
``steep`` and ``steeper`` times its first; or that slope has risen at nearly every look (Kendall's tau of ``climbing``), is above
``high`` and half of ``steeper`` times its first, and samples stay more than ``near`` from the data; or the samples' radius is
``radius`` times the data's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ganrun.diseases.base import Disease, kendall, rate, regularizers, series, stack
from ganrun.ground.finding import Evidence, Remedy, Row
from ganrun.ground.registry import register


@register("disease", "explosion")
class Explosion(Disease):
    """The players run away."""

    title = "the players run away: weights, slopes or samples grow without bound"
    watches = ("gap",)
    explains = frozenset(
        {
            "weak_discriminator",
            "saturated",
            "vanishing",
            "collapse",
            "oscillation",
            "dropping",
            "stalled",
            "spectral_collapse",
            "dead_output",
            "penalty",
            "average_lag",
            "batch_statistics",
            "clipped",
            "blurred",
        }
    )

    def __init__(
        self,
        *,
        growth: float = 2.0,
        far: float = 0.1,
        steep: float = 300.0,
        steeper: float = 20.0,
        climbing: float = 0.9,
        high: float = 20.0,
        near: float = 0.03,
        radius: float = 5.0,
    ) -> None:
        self.growth, self.far, self.steep, self.steeper = growth, far, steep, steeper
        self.climbing, self.high, self.near, self.radius = climbing, high, near, radius

    def holds(self, rows: Sequence[Row], place: int) -> Evidence | None:
        row = rows[place]
        for player in ("discriminator", "generator"):
            times = grown(series(rows, place, f"norm_{player}", place + 1), self.growth)
            if times >= self.growth and row["gap"] > self.far:
                words = (
                    f"the {player}'s weights have grown to {times:.1f} times their size within ten looks, while samples "
                    f"are {row['gap']:.2f} from the data (real from real: {row.get('gap_floor', 0.0):.3f})"
                )
                return Evidence(words, {"growth": times, "gap": row["gap"]})
        slopes = series(rows, place, "slope", place + 1)
        steep = "slope" in row and row["slope"] > self.steep and row["slope"] > self.steeper * slopes[0]
        if steep or ("slope" in row and self._climbs(slopes, row["gap"])):
            words = (
                f"the discriminator's score changes by {row['slope']:.0f} over one deviation of the data "
                f"({slopes[0]:.1f} at the first look)"
            )
            return Evidence(words, {"slope": row["slope"]})
        if row.get("radius", 0.0) > self.radius and row.get("auc", 1.0) > 0.5:  # else D is fooled, and they follow it
            words = f"samples lie {row['radius']:.1f} times as far out as the data"
            return Evidence(words, {"radius": row["radius"]})
        return None

    def _climbs(self, slopes: Sequence[float], gap: float) -> bool:
        """Whether the slope has risen all along to where it is high, without samples that get near."""
        steep = slopes[-1] > self.high and slopes[-1] > self.steeper / 2 * slopes[0]
        return steep and gap > self.near and kendall(slopes) >= self.climbing

    def remedies(self, config: Mapping[str, Any], evidence: Evidence) -> list[Remedy]:
        found = []
        if "gradient_penalty" not in regularizers(config) and "r1" not in regularizers(config):
            found.append(
                Remedy(
                    (stack(config, "gradient_penalty", without=("weight_clip",)),),
                    "a bound on the discriminator's slope bounds its weights",
                )
            )
        for player in ("discriminator", "generator"):
            held = rate(config, player)
            if held:
                found.append(Remedy((f"optimizer.{player}.lr={held / 10:g}",), "smaller steps"))
        return found


def grown(norms: Sequence[float], growth: float) -> float:
    """How many times the last norm is what it was before the latest growth by ``growth`` within ten looks; 1 without any.

    The first two looks do not count as a start: weights grow from how they were drawn.
    """
    times = 1.0
    for start in range(min(2, max(len(norms) - 2, 0)), len(norms)):
        size = norms[start]
        if size > 0 and max(norms[start : start + 11]) >= growth * size:
            times = max(times, norms[-1] / size)
    return times
