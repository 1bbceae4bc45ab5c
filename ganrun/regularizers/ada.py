"""Augmentations with a probability p that follows overfitting.  Karras et al. 2020, "Training GANs with Limited Data".

Each operation of the policy acts on each sample, real and fake, in both phases, with probability p, independently. p answers
r = E sgn s(x) over the real samples as D sees them, s > 0 for real: an overfitted D is sure of all of them, r = 1. After every
``interval`` updates of D

    p <- p + sgn(mean r - target) * interval * batch / images, within [0, 1],

so ``images`` real samples move p from 0 to 1. p starts at 0, where nothing is augmented. Where a loss leaves open at which
score real and fake part (Wasserstein and relativistic critics, energies, LSGAN's 0 and 1), ``around=middle`` takes the sign of
s(x) minus the middle between the mean scores of real and fake. With micro-batches r is that of the last one.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ganrun.ground.duel import Duel
from ganrun.ground.errors import BadInput, suggestion
from ganrun.ground.registry import register
from ganrun.ground.spec import Port
from ganrun.ground.traits import Rule
from ganrun.ground.turn import Turn
from ganrun.regularizers.augmentations import NO_TOKENS, augment, check_fits, check_policy, mirroring
from ganrun.regularizers.base import Players, Regularizer

AROUND = ("zero", "middle")
NO_SIGN = Rule(
    "the sign of these scores does not tell real from fake, so it cannot steer the augmentation", "regularizer.ada.around=middle"
)


@register("regularizer", "ada")
class AdaptiveAugment(Regularizer):
    """Augment whatever the discriminator sees, the more the surer it is of the real samples."""

    p: Tensor
    signs: Tensor

    sides = ("discriminator", "generator")

    def __init__(
        self,
        *,
        target: float = 0.6,
        images: int = 500_000,
        interval: int = 4,
        policy: list[str] = ["color", "translation", "cutout"],
        around: str = "zero",
    ) -> None:
        super().__init__()
        if not -1 < target < 1:
            raise ValueError(f"target={target} must be between -1 and 1: it is a mean of signs")
        if images < 1:
            raise ValueError(f"images={images} must be at least 1: so many real samples move p from 0 to 1")
        if interval < 1:
            raise ValueError(f"interval={interval} must be at least 1")
        if around not in AROUND:
            raise BadInput(f"around={around}: {suggestion(around, AROUND)}")
        self.target, self.images, self.interval, self.around = target, images, interval, around
        self.policy = check_policy(policy)
        self.advises = mirroring(self.policy, "ada", ["color", "translation", "cutout"])
        self.register_buffer("p", torch.zeros(()))
        self.register_buffer("signs", torch.zeros(()))  # sum of r since p last moved

    @property
    def refuses(self) -> Mapping[str, Rule]:
        return NO_TOKENS if self.around == "middle" else {**NO_TOKENS, "energy": NO_SIGN, "loss.signless": NO_SIGN}

    def allocate(self, ports: tuple[Port, ...]) -> None:
        check_fits("ada", self.policy, ports)

    def readings(self) -> Mapping[str, Tensor]:
        return {"p": self.p}

    def before(self, duel: Duel, turn: Turn) -> None:
        duel.real = augment(duel.real, duel.kinds, self.policy, turn, "ada/real", self.p)
        duel.fake = augment(duel.fake, duel.kinds, self.policy, turn, "ada/fake", self.p)

    @torch.no_grad()
    def after_step(self, players: Players, duel: Duel, turn: Turn) -> None:
        """Steer p by the scores of an update of the discriminator; an update of another player says nothing."""
        if all(player is not duel.discriminator for player in players.values()):
            return
        score = duel.real_output.score
        if self.around == "middle":
            score = score - (score.mean() + duel.fake_output.score.mean()) / 2
        self.signs += score.sign().mean()
        if (turn.update + 1) % self.interval == 0:
            change = self.interval * turn.batch_size / self.images
            self.p += (self.signs / self.interval - self.target).sign() * change
            self.p.clamp_(0, 1)
            self.signs.zero_()
