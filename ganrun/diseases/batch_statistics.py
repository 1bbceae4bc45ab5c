"""The generator depends on its batch: the same latents give other samples in training mode than when it samples.

Condition: a sample moves by more than ``moved`` of the distance between real samples from training to evaluation
mode; or evaluation-mode samples are more than ``times`` as far from the data as those of training mode, and more than
``far``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ganrun.diseases.base import Disease, at
from ganrun.ground.finding import Evidence, Remedy, Row
from ganrun.ground.registry import register


@register("disease", "batch_statistics")
class BatchStatistics(Disease):
    """Samples in training and in evaluation mode differ."""

    title = "batch statistics: samples differ between training and evaluation mode"
    watches = ("batch_move", "gap", "gap_training")
    outcome = ("batch_move", False)
    explains = frozenset({"saturated", "oscillation", "dropping", "blurred"})

    def __init__(self, *, moved: float = 0.35, times: float = 4.0, far: float = 0.05) -> None:
        self.moved, self.times, self.far = moved, times, far

    def holds(self, rows: Sequence[Row], place: int) -> Evidence | None:
        row = rows[place]
        worse = row["gap"] > self.far and row["gap"] > self.times * row["gap_training"]
        if row["batch_move"] <= self.moved and not worse:
            return None
        words = (
            f"the same latents move by {row['batch_move']:.2f} of the distance between real samples from training to evaluation "
            f"mode; samples are {row['gap']:.3f} from the data in evaluation mode, {row['gap_training']:.3f} in training mode"
        )
        return Evidence(words, {"batch_move": row["batch_move"], "gap": row["gap"], "gap_training": row["gap_training"]})

    def remedies(self, config: Mapping[str, Any], evidence: Evidence) -> list[Remedy]:
        found = []
        if at(config, "model.generator.norm") == "batch":
            found.append(Remedy(("model.generator.norm=layer",), "a normalization that sees one sample at a time", fork=False))
        size = int(at(config, "batch_size", 64))
        if size < 64:
            found.append(Remedy(("batch_size=64",), "statistics of a larger batch"))
        return found
