"""D: discriminator * E (s(G(z)) - s(G(z + e)))^2;  G: -generator * E |G(z) - G(z + e)|^2, e ~ N(0, sigma^2 I).

Latent consistency, zCR, of Zhao et al. 2021, "Improved Consistency Regularization for GANs": D shall not mind a small step in the
latent space, while G shall make something of it. D's squares are of the score, a map's mean; G's are means over a sample's
numbers. With regularizer=consistency and ``fakes=true`` beside it, it is the paper's improved form, ICR. D looks at fakes as G
made them, before noise, augmentations and old fakes. Where none of these changes them, its main output serves. G's part has no
bound where samples have none, as points.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ganrun.ground.duel import Duel, of_sample
from ganrun.ground.registry import register
from ganrun.ground.traits import Rule
from ganrun.ground.turn import Turn
from ganrun.regularizers.base import Players, Regularizer


@register("regularizer", "zcr")
class LatentConsistency(Regularizer):
    """A small step in the latent space changes the sample, and not the score."""

    rank = -2  # before what gives the discriminator other fakes than those that were made
    needs = {
        "game.remakes": Rule(
            "it makes fakes again from latents a little off, and the main duel's fakes here come from given samples",
            "regularizer=r1",
        )
    }

    def __init__(self, *, discriminator: float = 5.0, generator: float = 0.5, sigma: float = 0.03) -> None:
        super().__init__()
        for name, weight in (("discriminator", discriminator), ("generator", generator)):
            if weight < 0:
                raise ValueError(f"{name}={weight} must not be negative")
        if not discriminator and not generator:
            raise ValueError("discriminator=0 and generator=0 leave nothing to do. One must be positive")
        if sigma <= 0:
            raise ValueError(f"sigma={sigma} must be positive: it is the deviation of a step in the latent space")
        self.weights, self.sigma = {"discriminator": discriminator, "generator": generator}, sigma
        self.sides = tuple(side for side, weight in self.weights.items() if weight)

    def before(self, duel: Duel, turn: Turn) -> None:
        duel.made = duel.fake, duel.fake_condition

    def term(self, duel: Duel, players: Players, turn: Turn) -> Tensor | None:
        if duel.remake is None:
            return None
        assert duel.made is not None
        made, labels = duel.made
        near = duel.remake(lambda z: z + self.sigma * turn.noise("zcr", z))
        if all(player is not duel.discriminator for player in players.values()):
            pairs = [pair for *pair, kind in zip(made, near, duel.kinds, strict=True) if kind == "data"]
            return -self.weights["generator"] * torch.stack([(one - other).square().mean() for one, other in pairs]).sum()
        change = of_sample(duel.output_on(made, labels).score) - of_sample(duel.discriminate_single(near, labels).score)
        return self.weights["discriminator"] * change.square().mean()
