"""The discriminator has won: it ranks nearly every real-fake pair rightly and the samples improve no more.

Condition: AUC >= ``won``, samples ``far`` or more from the data and not improving.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ganrun.diseases.base import Disease, at, improving, rate, regularizers, stack
from ganrun.ground.finding import Evidence, Remedy, Row
from ganrun.ground.registry import register


@register("disease", "saturated")
class Saturated(Disease):
    """The discriminator has won."""

    title = "the discriminator has won, and the samples improve no more"
    watches = ("auc", "gap", "teaching")
    explains = frozenset({"dropping", "spectral_collapse", "blurred"})

    def __init__(self, *, won: float = 0.985, far: float = 0.05) -> None:
        self.won, self.far = won, far

    def holds(self, rows: Sequence[Row], place: int) -> Evidence | None:
        row = rows[place]
        if row["auc"] < self.won or row["gap"] <= self.far or improving(rows, place):
            return None
        words = (
            f"it ranks {100 * row['auc']:.1f} % of real-fake pairs rightly (half is guessing), while samples stay "
            f"{row['gap']:.2f} from the data (real from real: {row.get('gap_floor', 0.0):.3f})"
        )
        return Evidence(words, {"auc": row["auc"], "gap": row["gap"]})

    def remedies(self, config: Mapping[str, Any], evidence: Evidence) -> list[Remedy]:
        found = []
        generator, critic = rate(config, "generator"), rate(config, "discriminator")
        overrides = ["n_critic=1"] if at(config, "n_critic", 1) != 1 else []
        if generator and critic and generator < critic:
            overrides.append(f"optimizer.generator.lr={critic:g}")
        if overrides:
            found.append(Remedy(tuple(overrides), "the discriminator loses its head start"))
        if "r1" not in regularizers(config):
            found.append(Remedy((stack(config, "r1"),), "a discriminator of bounded slope cannot separate for ever"))
        if critic:
            found.append(Remedy((f"optimizer.discriminator.lr={critic / 4:g}",), "a slower discriminator"))
        return found
