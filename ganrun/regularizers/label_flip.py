"""With probability pi a sample's target is swapped, t -> 1 - t, real and fake alike.  Chintala et al. 2016, "ganhacks".

Best D = ((1 - pi) p + pi q) / (p + q): its scores stay within +-log((1 - pi) / pi). In expectation this is smoothing of both
sides to 1 - pi and pi. In the discriminator phase only; smoothing, if any, then applies to the swapped targets.
"""

from __future__ import annotations

import torch

from ganrun.ground.duel import Duel
from ganrun.ground.registry import register
from ganrun.ground.turn import Turn
from ganrun.regularizers.base import Regularizer
from ganrun.regularizers.targets import TARGETS_READ


@register("regularizer", "label_flip")
class LabelFlip(Regularizer):
    """Tell the discriminator the wrong side of some samples."""

    needs = TARGETS_READ

    def __init__(self, *, probability: float = 0.05) -> None:
        super().__init__()
        if not 0 <= probability < 0.5:
            raise ValueError(
                f"probability={probability} must be in [0, 0.5): from one half on the targets teach nothing, or the reverse"
            )
        self.probability = probability

    def before(self, duel: Duel, turn: Turn) -> None:
        for side, inputs, target in (("real", duel.real, duel.real_target), ("fake", duel.fake, duel.fake_target)):
            swapped = turn.uniform(f"label_flip/{side}", like=inputs[0]) < self.probability
            setattr(duel, f"{side}_target", torch.where(swapped, 1 - target, target))
