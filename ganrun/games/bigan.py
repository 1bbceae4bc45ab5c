"""The discriminator judges pairs of sample and code, and an encoder learns against it too.  Donahue et al. 2017, "BiGAN".

"Adversarial Feature Learning", and Dumoulin et al. 2017, "Adversarially Learned Inference" (ALI), the same game. Real pairs are
(x, E(x)), generated ones (G(z), z):

    D: L_D on pairs;        G and E: L_D with the sides exchanged,

which with the logistic loss is E -log(1 - D(x, E(x))) + E -log D(G(z), z), the form with the stronger gradient that both papers
train with. A loss's own generator side is not asked, since it knows nothing of E. Where D cannot tell the pairs apart, their
joint laws are equal, and E inverts G on what G makes. ``stochastic``: E gives a mean and a deviation for each number, and a
code is drawn from N(mean, deviation^2), as in ALI; otherwise it is E(x), as in BiGAN.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from ganrun.games.base import Phase, Ports, Terms
from ganrun.games.encoding import Encoding
from ganrun.ground.duel import Duel
from ganrun.ground.registry import register
from ganrun.ground.traits import Rule
from ganrun.ground.turn import Turn

UNMATCHED = Rule("its players learn from exchanged sides of a duel of pairs, where no features are matched", "loss=nonsaturating")


@register("game", "bigan")
class BiGAN(Encoding):
    """Generator and encoder together against a discriminator of (sample, code) pairs."""

    def __init__(
        self,
        *,
        stochastic: bool = False,
        **base: Any,
    ) -> None:
        super().__init__(**base)
        self.stochastic = stochastic

    @property
    def refuses(self) -> Mapping[str, Rule]:
        return {**super().refuses, "loss.reads_features": UNMATCHED}

    def roles(self) -> dict[str, tuple[Ports, Ports]]:
        found = super().roles()
        data, (code,) = found[self.code_role]
        made = replace(code, shape=(2 * code.shape[0],)) if self.stochastic else code
        return {**found, self.code_role: (data, (made,)), "discriminator": ((*data, code), found["discriminator"][1])}

    def phases(self) -> list[Phase]:
        return [
            Phase("discriminator", "discriminator", ("discriminator",), self.discriminator_loss, repeat=self.n_critic),
            Phase("generator", "generator", ("generator", self.code_role), self.generator_loss, fresh=False),
        ]

    def code(self, x: Tensor, turn: Turn) -> Tensor:
        """A code of each sample: (n, latent size)."""
        made = self.encode(x)
        if not self.stochastic:
            return made
        mean, logarithm = made.chunk(2, 1)
        return mean + logarithm.exp() * turn.noise(self.code_role, mean)

    def duel(self, turn: Turn) -> Duel:
        real = self.condition.real(turn)
        labels = self.labels(real)
        latent = turn.latent(len(real.x) * turn.micro_batch[1])
        pair = lambda z: (self.generate(z, labels), z)  # noqa: E731
        duel = self.against((real.x, self.code(real.x, turn)), pair(latent), labels, kinds=("data", "code"))
        duel.remake = lambda move: pair(move(latent))
        return duel

    def generator_loss(self, turn: Turn) -> Terms:
        duel = self.duel(turn)
        terms = self.compute_terms(duel, turn, "generator")
        terms["loss"] = self.loss.d(duel.exchanged())
        return terms
