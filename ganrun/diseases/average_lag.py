"""The running average lags: averaged samples are far worse than those of the present weights.

Condition: averaged samples are more than ``far`` from the data and more than ``times`` as far as the present ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ganrun.diseases.base import Disease, at
from ganrun.ground.finding import Evidence, Remedy, Row
from ganrun.ground.registry import register


@register("disease", "average_lag")
class AverageLag(Disease):
    """The running average of the generator lags behind."""

    title = "the running average of the generator lags behind its present weights"
    watches = ("gap", "gap_average")
    outcome = ("gap_average", False)

    def __init__(self, *, far: float = 0.05, times: float = 4.0) -> None:
        self.far, self.times = far, times

    def holds(self, rows: Sequence[Row], place: int) -> Evidence | None:
        row = rows[place]
        if row["gap_average"] <= self.far or row["gap_average"] <= self.times * row["gap"]:
            return None
        words = f"averaged samples are {row['gap_average']:.2f} from the data, those of the present weights {row['gap']:.3f}"
        return Evidence(words, {"gap_average": row["gap_average"], "gap": row["gap"]})

    def remedies(self, config: Mapping[str, Any], evidence: Evidence) -> list[Remedy]:
        decay = float(at(config, "ema", 0.0))
        return [Remedy((f"ema={1 - min(1.0, 10 * (1 - decay)):g}",), "an average over a tenth of the steps")] if decay else []
