"""weight * E (||grad s(x^)|| - target)^2, x^ = a x + (1 - a) G(z), a ~ U(0, 1) one a sample.  Gulrajani et al. 2017.

The norm runs over all of a sample's numbers (all inputs of the duel together). ``one_sided``: only slopes above the
target cost (the variant in the paper's section 4).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ganrun.ground.duel import Duel
from ganrun.ground.registry import register
from ganrun.ground.turn import Turn
from ganrun.regularizers.base import SINGLE_SAMPLE, Players, Regularizer, check_weight


@register("regularizer", "gradient_penalty")
class GradientPenalty(Regularizer):
    """Pull the critic's slope between real and fake samples to ``target``."""

    traits = frozenset({"lipschitz"})
    refuses = {"discriminator.batch_coupled": SINGLE_SAMPLE}

    def __init__(self, *, weight: float = 10.0, target: float = 1.0, one_sided: bool = False, every: int = 1) -> None:
        super().__init__()
        check_weight(weight, every)
        self.weight, self.target, self.one_sided, self.every = weight, target, one_sided, every

    def term(self, duel: Duel, players: Players, turn: Turn) -> Tensor:
        mix = turn.uniform("gradient_penalty")
        between = tuple(interpolate(x, g.detach(), mix) for x, g in zip(duel.real, duel.fake, strict=True))
        squared = duel.slope_at(between, duel.real_condition)
        norm = (squared + 1e-12).sqrt()  # the root's own slope is infinite at zero
        excess = norm - self.target
        return (excess.clamp_min(0) if self.one_sided else excess).square().mean()


def interpolate(x: Tensor, g: Tensor, mix: Tensor) -> Tensor:
    """mix * x + (1 - mix) * g with one ``mix`` of shape (n,) a sample."""
    return torch.lerp(g, x.detach(), mix.to(x.dtype).view(-1, *[1] * (x.ndim - 1)))
