"""The discriminator is too weak: it prefers fakes, or guesses, while the samples are far from the data.

Condition: samples ``far`` or more from the data and AUC < ``fooled``; or AUC < ``guessing`` and a step moves D's
weights by less than ``slow`` of what it moves G's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ganrun.diseases.base import Disease, at, percent, rate
from ganrun.ground.finding import Evidence, Remedy, Row
from ganrun.ground.registry import register


@register("disease", "weak_discriminator")
class WeakDiscriminator(Disease):
    """The discriminator is too weak."""

    title = "the discriminator is too weak: it does not tell real from fake"
    watches = ("auc", "gap", "teaching")
    explains = frozenset({"collapse", "dropping", "oscillation", "batch_statistics", "blurred"})

    def __init__(self, *, fooled: float = 0.35, guessing: float = 0.7, slow: float = 0.02, far: float = 0.1) -> None:
        self.fooled, self.guessing, self.slow, self.far = fooled, guessing, slow, far

    def holds(self, rows: Sequence[Row], place: int) -> Evidence | None:
        row = rows[place]
        if row["gap"] <= self.far:
            return None
        own, other = row.get("move_discriminator"), row.get("move_generator")
        left_behind = own is not None and other is not None and own < self.slow * other
        if row["auc"] < self.fooled or (row["auc"] < self.guessing and left_behind):
            words = (
                f"it ranks {percent(row['auc'])} of real-fake pairs rightly (half is guessing), while samples are "
                f"{row['gap']:.2f} from the data (real from real: {row.get('gap_floor', 0.0):.3f})"
            )
            if own is not None and other is not None:
                words += f"; a step moves D by {own:.0e} of its weights, G by {other:.0e}"
            return Evidence(words, {"auc": row["auc"], "gap": row["gap"]})
        return None

    def remedies(self, config: Mapping[str, Any], evidence: Evidence) -> list[Remedy]:
        generator, critic = rate(config, "generator"), rate(config, "discriminator")
        updates = int(at(config, "n_critic", 1))
        found = []
        if generator and critic and critic < generator:
            found.append(
                Remedy((f"optimizer.discriminator.lr={generator:g}", f"n_critic={max(2, updates)}"), "D learns as fast as G")
            )
        if updates < 5:
            found.append(Remedy((f"n_critic={max(2, 2 * updates)}",), "more updates of D for each of G"))
        if generator:
            found.append(Remedy((f"optimizer.generator.lr={generator / 4:g}",), "a slower generator"))
        return found
