"""The discriminator judges pairs of sample and code.  Srivastava et al. 2017, "VEEGAN: Reducing Mode Collapse in GANs ...".

A reconstructor maps samples to codes: p(z | x) = N(F(x), S(x)^2), number by number. Real pairs are (x, F(x) + S(x) e) with
e ~ N(0, I), generated ones (G(z), z), and s = -D of the paper, whose D is large on generated pairs:

    D: the loss on pairs; with the logistic one E sp(-s(x, F(x))) + E sp(s(G(z), z)), 2 log 2 if G and F are perfect;
    G: -E s(G(z), z) + weight * E d(z, G(z));      F and S: weight * E d(z, G(z)).

G's first term is the paper's D itself, without a logarithm and without bounds; ``raw=false`` takes the loss's own. F and S get
nothing from the duel, as in algorithm 1, and G's gradient runs through them. Sums run over the numbers of a code:

    deviation=learned: S(x) = noise + softplus, made by the reconstructor beside F(x), and d is the negative logarithm of
        p(z | x), sum (z - F)^2 / (2 S^2) + log S, without its constant: how a public port of the authors' notebook does it;
    deviation=fixed: S = noise, and d = ||z - F||^2, as the paper writes it.

Where S is small beside what x tells of z, and codes have more dimensions than data have, real codes fill a thin set and are told
from z at a glance.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ganrun.games.base import Phase, Ports, Terms, check_weights
from ganrun.games.encoding import Encoding, squared_error
from ganrun.ground.duel import Duel
from ganrun.ground.errors import BadInput, suggestion
from ganrun.ground.registry import register
from ganrun.ground.turn import Turn

DEVIATIONS = ("learned", "fixed")


@register("game", "veegan")
class VEEGAN(Encoding):
    """Generator and reconstructor against a discriminator of (sample, code) pairs."""

    code_role = "reconstructor"

    def __init__(
        self,
        *,
        weight: float = 1.0,
        deviation: str = "learned",
        noise: float = 0.1,
        raw: bool = True,
        **base: Any,
    ) -> None:
        super().__init__(**base)
        check_weights(weight=weight)
        if noise < 0:
            raise ValueError(f"noise={noise} must not be negative: it is a standard deviation")
        if deviation not in DEVIATIONS:
            raise BadInput(f"deviation={deviation}: {suggestion(deviation, DEVIATIONS)}")
        self.weight, self.noise, self.raw, self.learned = weight, noise, raw, deviation == "learned"

    def roles(self) -> dict[str, tuple[Ports, Ports]]:
        found = super().roles()
        data, (code,) = found[self.code_role]
        made = replace(code, shape=(2 * code.shape[0],)) if self.learned else code
        return {**found, self.code_role: (data, (made,)), "discriminator": ((*data, code), found["discriminator"][1])}

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean F(x) and standard deviation S(x) of each sample's code: both (n, latent size)."""
        made = self.encode(x)
        if not self.learned:
            return made, torch.full_like(made, self.noise)
        mean, raw = made.chunk(2, 1)
        return mean, self.noise + softplus(raw)

    def distance(self, latent: Tensor, made: Tensor) -> Tensor:
        """d(z, G(z)) of each sample: (n,)."""
        mean, deviation = self.posterior(made)
        if not self.learned:
            return squared_error(mean, latent)
        return squared_error(mean / deviation, latent / deviation) / 2 + deviation.log().sum(1)

    def phases(self) -> list[Phase]:
        return [
            Phase("discriminator", "discriminator", ("discriminator",), self.discriminator_loss, repeat=self.n_critic),
            Phase("generator", "generator", ("generator", self.code_role), self.generator_loss, fresh=False),
        ]

    def duel(self, turn: Turn) -> Duel:
        real = self.condition.real(turn)
        labels = self.labels(real)
        latent = turn.latent(len(real.x) * turn.micro_batch[1])
        with torch.no_grad():
            mean, deviation = self.posterior(real.x)
            code = mean + deviation * turn.noise(self.code_role, mean)
        pair = lambda z: (self.generate(z, labels), z)  # noqa: E731
        duel = self.against((real.x, code), pair(latent), labels, kinds=("data", "code"))
        duel.remake = lambda move: pair(move(latent))
        return duel

    def generator_loss(self, turn: Turn) -> Terms:
        duel = self.duel(turn)
        made, latent = duel.fake
        terms = self.compute_terms(duel, turn, "generator")
        if self.raw:
            terms["loss"] = -duel.fake_weight * duel.fake_output.score.mean()
        terms["reconstruction"] = self.weight * self.distance(latent, made).mean()
        return terms
