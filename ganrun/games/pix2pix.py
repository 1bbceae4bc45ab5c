"""Translation learned from pairs (Isola et al. 2017, "Image-to-Image Translation with Conditional Adversarial Networks").

D tells pairs (source, x) from (source, G(source, z)); G: adversarial * L_G + weight * E |x - G(source, z)|, a mean over
pixels, so that 100 is the paper's. D's loss is multiplied by ``d_weight``, 1/2 in the paper. ``conditional`` false: D sees the
image alone. With ``adversarial`` 0 the best G is the conditional median (l1) or mean (l2), and D only looks on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ganrun.games.base import Ports, Terms, check_weights
from ganrun.games.translation import Translating, check_distance, distance
from ganrun.ground.duel import Duel
from ganrun.ground.registry import register
from ganrun.ground.spec import Port
from ganrun.ground.traits import Rule
from ganrun.ground.turn import Turn

PAIRS_NEEDED = Rule("it takes pairs of a source and a sample, and this data set has none", "dataset=paired_digits")


@register("game", "pix2pix")
class Pix2Pix(Translating):
    """A conditional adversarial loss on pairs, and a distance to the right answer."""

    def __init__(
        self,
        *,
        distance: str = "l1",
        weight: float = 100.0,
        adversarial: float = 1.0,
        d_weight: float = 0.5,
        conditional: bool = True,
        **base: Any,
    ) -> None:
        super().__init__(**base)
        check_distance(distance)
        check_weights(weight=weight, adversarial=adversarial, d_weight=d_weight)
        self.distance, self.weight, self.adversarial, self.d_weight = distance, weight, adversarial, d_weight
        self.conditional = conditional

    @property
    def needs(self) -> Mapping[str, Rule]:
        return {**super().needs, "dataset.paired": PAIRS_NEEDED}

    def roles(self) -> dict[str, tuple[Ports, Ports]]:
        source, data = self.sides()
        judged = (source, data) if self.conditional else (data,)
        return {"generator": (self.with_noise(source), (data,)), "discriminator": (judged, (Port("score", ()),))}

    def duel(self, turn: Turn) -> Duel:
        real = self.condition.real(turn)
        labels, source = self.labels(real), real.source
        assert source is not None
        latent = turn.latent(len(source) * turn.micro_batch[1]) if self.noisy else None
        made = self.translate("generator", source, labels, turn, "latent", latent)
        if self.conditional:
            return self.against((source, real.x), (source, made), labels, kinds=("data", "data"))
        return self.against((real.x,), (made,), labels)

    def discriminator_loss(self, turn: Turn) -> Terms:
        terms = super().discriminator_loss(turn)
        return {**terms, "loss": terms["loss"] * self.d_weight}

    def generator_loss(self, turn: Turn) -> Terms:
        duel = self.duel(turn)
        real, made = duel.real[-1], duel.fake[-1]  # before anything is done to them
        terms = self.compute_terms(duel, turn, "generator")
        terms["loss"] = terms["loss"] * self.adversarial
        return {**terms, "distance": distance(made, real, self.distance) * self.weight}
