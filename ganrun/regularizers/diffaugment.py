"""D judges T(x) and T(G(z)), in both phases.  Zhao et al. 2020, "Differentiable Augmentation for Data-Efficient GAN Training".

T is differentiable, so the generator learns through it, and drawn anew for each sample, side and phase; see
``augmentations`` for what it does to images and to points. Augmenting real samples alone would make the generator copy the
augmentations. Samples and scores come from the generator alone.
"""

from __future__ import annotations

from ganrun.ground.duel import Duel
from ganrun.ground.registry import register
from ganrun.ground.spec import Port
from ganrun.ground.turn import Turn
from ganrun.regularizers.augmentations import NO_TOKENS, augment, check_fits, check_policy, mirroring
from ganrun.regularizers.base import Regularizer


@register("regularizer", "diffaugment")
class DiffAugment(Regularizer):
    """Differentiable augmentations of whatever the discriminator sees."""

    sides = ("discriminator", "generator")
    refuses = NO_TOKENS

    def __init__(self, *, policy: list[str] = ["color", "translation", "cutout"]) -> None:
        super().__init__()
        self.policy = check_policy(policy)
        self.advises = mirroring(self.policy, "diffaugment", ["color", "translation", "cutout"])

    def allocate(self, ports: tuple[Port, ...]) -> None:
        check_fits("diffaugment", self.policy, ports)

    def before(self, duel: Duel, turn: Turn) -> None:
        duel.real = augment(duel.real, duel.kinds, self.policy, turn, "diffaugment/real")
        duel.fake = augment(duel.fake, duel.kinds, self.policy, turn, "diffaugment/fake")
