"""The generator's output is dead: pixels pressed against their bounds, or one constant image.

Condition: ``more`` more of the numbers of a sample stand at -1 or 1 than in real data; or the spread is below
``still`` and the samples do not move at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ganrun.diseases.base import Disease, at, rate
from ganrun.ground.finding import Evidence, Remedy, Row
from ganrun.ground.registry import register


@register("disease", "dead_output")
class DeadOutput(Disease):
    """The generator's output is dead."""

    title = "the generator's output is dead: pressed against its bounds, or constant"
    watches = ("spread",)
    explains = frozenset(
        {"collapse", "saturated", "vanishing", "dropping", "stalled", "noise_ignored", "label_ignored", "blurred"}
    )

    def __init__(self, *, more: float = 0.25, still: float = 0.02) -> None:
        self.more, self.still = more, still

    def holds(self, rows: Sequence[Row], place: int) -> Evidence | None:
        row = rows[place]
        if row.get("extreme", 0.0) > self.more:
            words = f"{100 * row['extreme']:.0f} points more of the samples' numbers stand at -1 or 1 than of real data's"
            return Evidence(words, {"extreme": row["extreme"]})
        if row["spread"] < self.still and row.get("move_generator", 1.0) < 1e-7:
            words = f"samples are {row['spread']:.3f} as far apart as real ones, and the generator does not move"
            return Evidence(words, {"spread": row["spread"]})
        return None

    def remedies(self, config: Mapping[str, Any], evidence: Evidence) -> list[Remedy]:
        held = rate(config, "generator")
        found = (
            [Remedy((f"optimizer.generator.lr={held / 10:g}",), "smaller steps of the generator, from before it died")]
            if held
            else []
        )
        if at(config, "model.generator.norm") == "none":
            found.append(Remedy(("model.generator.norm=batch",), "normalization keeps activations in range", fork=False))
        return found
