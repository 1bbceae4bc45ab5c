"""Blurred modes: the samples lie between the data's modes, no nearer to real ones than noise that knows no mode.

Condition: the samples' median distance to the nearest real one, on a scale where other real samples are at 0 and draws of a
Gaussian of the data's mean and covariance at 1, is above ``blur`` and no longer falling (``falling``: by this share between the
first and last three of eight looks); nor is the distance of the samples from the data as a whole, if it is above ``far``. The
sign is there for data that such draws miss clearly: those whose modes, or whose surface, are thin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ganrun.diseases.base import Disease, at, improving, regularizers, stack
from ganrun.ground.finding import Evidence, Remedy, Row
from ganrun.ground.registry import register


@register("disease", "blurred")
class Blurred(Disease):
    """The samples lie between the data's modes."""

    title = "blurred modes: the samples lie between the data's modes"
    watches = ("blur", "gap")
    outcome = ("blur", False)
    patience = (5, 8)
    grace = 6  # the coarse law comes first, and every run is blurred until then

    def __init__(self, *, blur: float = 0.75, falling: float = 0.15, far: float = 0.03) -> None:
        self.blur, self.falling, self.far = blur, falling, far

    def holds(self, rows: Sequence[Row], place: int) -> Evidence | None:
        row = rows[place]
        if row["blur"] <= self.blur or improving(rows, place, "blur", self.falling):
            return None
        if row["gap"] > self.far and improving(rows, place):
            return None
        words = (
            f"samples lie {row['blur']:.2f} times as far from the nearest real ones as noise of the data's mean and covariance "
            f"(other real samples: 0), while they are {row['gap']:.3f} from the data as a whole"
        )
        return Evidence(words, {"blur": row["blur"], "gap": row["gap"]})

    def remedies(self, config: Mapping[str, Any], evidence: Evidence) -> list[Remedy]:
        found = []
        updates = int(at(config, "n_critic", 1))
        if updates < 5:
            found.append(Remedy((f"n_critic={min(5, max(2, 2 * updates))}",), "a discriminator that finds the modes first"))
        for name, options in regularizers(config).items():
            weight = options.get("weight")
            if isinstance(weight, int | float) and weight > 0:
                found.append(
                    Remedy((f"regularizer.{name}.weight={weight / 10:g}",), "a penalty that lets the score turn sharply")
                )
        if "spectral_norm" in regularizers(config):
            found.append(Remedy((stack(config, without=("spectral_norm",)),), "a score that may turn sharply", fork=False))
        return found
