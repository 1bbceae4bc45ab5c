"""weight * E (||grad s(x^)|| - target)^2, x^ = a x + (1 - a) G(z), a ~ U(0, 1) one a sample.  Gulrajani et al. 2017.

The norm runs over all of a sample's numbers (all inputs of the duel together; a pack is one sample). ``one_sided``: only
slopes above the target cost (the variant in the paper's section 4). Where the sides have unequal numbers of rows, as with
several generators, the smaller one's are used again from the first on, with their labels. Beside augmentations and noise x and
G(z) are what the critic sees: the penalty bounds it as a function of its inputs, whose two laws it compares.
"""

from __future__ import annotations

from torch import Tensor

from ganrun.ground.duel import Duel
from ganrun.ground.registry import register
from ganrun.ground.turn import Turn
from ganrun.regularizers.base import PER_SAMPLE, Players, Regularizer, check_decay, check_weight
from ganrun.regularizers.between import cycled, interpolate


@register("regularizer", "gradient_penalty")
class GradientPenalty(Regularizer):
    """Pull the critic's slope between real and fake samples to ``target``."""

    traits = frozenset({"lipschitz", "slope_penalty"})
    refuses = PER_SAMPLE

    def __init__(
        self,
        *,
        weight: float = 10.0,
        final: float | None = None,
        decay: int = 0,
        target: float = 1.0,
        one_sided: bool = False,
        every: int = 1,
    ) -> None:
        super().__init__()
        check_weight(weight, every)
        check_decay(final, decay)
        self.final, self.fall_steps = final, decay
        self.weight, self.target, self.one_sided, self.every = weight, target, one_sided, every

    def term(self, duel: Duel, players: Players, turn: Turn) -> Tensor:
        count = max(len(duel.real[0]), len(duel.fake[0]))
        real, fake = (tuple(cycled(entry.detach(), count) for entry in side) for side in (duel.real, duel.fake))
        mix = turn.uniform("gradient_penalty", real[0])
        between = tuple(interpolate(x, g, mix) for x, g in zip(real, fake, strict=True))
        labels = None if duel.real_condition is None else cycled(duel.real_condition, count)
        squared = duel.grad_norm_sq_at(between, labels)
        norm = (squared + 1e-12).sqrt()  # the root's own slope is infinite at zero
        excess = norm - self.target
        return (excess.clamp_min(0) if self.one_sided else excess).square().mean()
