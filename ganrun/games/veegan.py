"""The discriminator judges pairs of sample and code.  Srivastava et al. 2017, "VEEGAN: Reducing Mode Collapse in GANs ...".

A reconstructor F maps samples to codes. Real pairs are (x, F(x) + noise * e), e ~ N(0, I), generated ones (G(z), z), and s = -D
of the paper, whose D is large on generated pairs:

    D: the loss on pairs; with the logistic one E sp(-s(x, F(x))) + E sp(s(G(z), z)), 2 log 2 if G and F are perfect;
    G: -E s(G(z), z) + weight * E ||z - F(G(z))||^2;      F: weight * E ||z - F(G(z))||^2.

G's first term is the paper's D itself, without a logarithm and without bounds; ``raw=false`` takes the loss's own. F gets nothing
from the duel, as in algorithm 1, and G's gradient runs through F(G(z)). Squares are summed over the code. With noise the
reconstructor is the Gaussian p(z | x) about F(x): without it real codes fill a set of as few dimensions as the data have, and
are told from z at a glance.
"""

from __future__ import annotations

import torch

from ganrun.games.base import Phase, Ports, Terms
from ganrun.games.encoding import Encoding, check_weights, squared_error
from ganrun.ground.duel import Duel
from ganrun.ground.registry import register
from ganrun.ground.turn import Turn


@register("game", "veegan")
class VEEGAN(Encoding):
    """Generator and reconstructor against a discriminator of (sample, code) pairs."""

    code_role = "reconstructor"

    def __init__(
        self,
        *,
        n_critic: int = 1,
        condition: str = "none",
        pack: int = 1,
        weight: float = 1.0,
        noise: float = 0.1,
        raw: bool = True,
    ) -> None:
        super().__init__(n_critic=n_critic, condition=condition, pack=pack)
        check_weights(weight=weight)
        if noise < 0:
            raise ValueError(f"noise={noise} must not be negative: it is a standard deviation")
        self.weight, self.noise, self.raw = weight, noise, raw

    def roles(self) -> dict[str, tuple[Ports, Ports]]:
        found = super().roles()
        data, code = found[self.code_role]
        return {**found, "discriminator": ((*data, *code), found["discriminator"][1])}

    def phases(self) -> list[Phase]:
        return [
            Phase("discriminator", "discriminator", ("discriminator",), self.judge_fakes, repeat=self.n_critic),
            Phase("generator", "generator", ("generator", self.code_role), self.make_fakes, fresh=False),
        ]

    def duel(self, turn: Turn) -> Duel:
        real = self.condition.real(turn)
        labels = self.labels(real)
        latent = turn.latent(len(real.x) * turn.share[1])
        with torch.no_grad():
            code = self.encode(real.x)
            if self.noise:
                code = code + self.noise * turn.noise(self.code_role, code)
        return self.against((real.x, code), (self.generate(latent, labels), latent), labels, kinds=("data", "code"))

    def make_fakes(self, turn: Turn) -> Terms:
        duel = self.duel(turn)
        made, latent = duel.fake
        terms = self.play(duel, turn, "generator")
        if self.raw:
            terms["loss"] = -duel.fake_weight * duel.fake_verdict.score.mean()
        terms["reconstruction"] = self.weight * squared_error(self.encode(made), latent).mean()
        return terms
