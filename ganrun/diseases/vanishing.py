"""The generator gets no gradient: the loss is flat where its samples are scored.

Condition: D ranks more than ``sure`` of the pairs rightly and the loss's derivative by the fake scores is below
``flat`` (1 where a unit of score is a unit of loss); or G's RMS gradient is below ``steps`` of the optimizer's eps;
and samples are ``far`` or more from the data. The saturating case of Goodfellow et al. 2014; Arjovsky and Bottou
2017.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ganrun.diseases.base import Disease, at, percent, rate, regularizers, stack
from ganrun.ground.finding import Evidence, Remedy, Row
from ganrun.ground.registry import register


@register("disease", "vanishing")
class Vanishing(Disease):
    """The generator gets no gradient."""

    title = "the generator gets no gradient: its loss is flat where its samples are scored"
    watches = ("auc", "gap")
    explains = frozenset({"saturated", "stalled", "dropping", "collapse", "spectral_collapse", "blurred"})

    def __init__(self, *, flat: float = 0.1, sure: float = 0.9, steps: float = 10.0, far: float = 0.05) -> None:
        self.flat, self.sure, self.steps, self.far = flat, sure, steps, far

    def holds(self, rows: Sequence[Row], place: int) -> Evidence | None:
        row = rows[place]
        if row["gap"] <= self.far:
            return None
        if row.get("teaching", 1.0) < self.flat and row["auc"] > self.sure:
            words = (
                f"a unit of the fakes' score changes the generator's loss by {row['teaching']:.1g} (about 0.5 to 1 in runs that "
                f"learn), while the discriminator ranks {percent(row['auc'])} of real-fake pairs rightly"
            )
            return Evidence(words, {"teaching": row["teaching"], "auc": row["auc"]})
        if row.get("generator_gradient", self.steps) < self.steps:
            words = (
                f"the generator's gradient is {row['generator_gradient']:.1g} of the optimizer's eps a weight: "
                "its steps are lost in eps"
            )
            return Evidence(words, {"generator_gradient": row["generator_gradient"]})
        return None

    def remedies(self, config: Mapping[str, Any], evidence: Evidence) -> list[Remedy]:
        found = []
        generator, critic = rate(config, "generator"), rate(config, "discriminator")
        if at(config, "n_critic", 1) != 1 or (generator and critic and generator < critic):
            overrides = ["n_critic=1"] if at(config, "n_critic", 1) != 1 else []
            overrides += [f"optimizer.generator.lr={critic:g}"] if generator and critic and generator < critic else []
            found.append(Remedy(tuple(overrides), "the discriminator's head start goes, so that its scores overlap again"))
        if at(config, "loss.name") == "minimax":
            found.append(Remedy(("loss=nonsaturating", stack(config, "r1")), "a loss that is steep where fakes are told apart"))
        elif "r1" not in regularizers(config):
            found.append(Remedy((stack(config, "r1"),), "a bound on the slope keeps scores where the loss is not flat"))
        return found
