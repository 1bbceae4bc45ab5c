"""D: E sp(-(s(x) - s(G(z))));  G: E sp(-(s(G(z)) - s(x))), over random pairs, sp(t) = log(1 + e^t).

Jolicoeur-Martineau 2019, "The relativistic discriminator" (RSGAN there; RpGAN in Huang et al. 2024). Only the difference of
two scores counts: adding a constant to the critic changes nothing, and L_G is L_D with the sides exchanged, so the
generator needs the real batch too. Best critic: s(x) - s(y) = log p(x) q(y) / (q(x) p(y)).

Row i of the real batch meets row i of the fakes, which carry its label; maps of patches meet place by place. Where there
are more rows on one side, as with several generators, the other side's are used again from the first on. Every pair
holds a fake, so ``fake_weight`` multiplies both losses whole.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import softplus

from ganrun.ground.duel import Duel
from ganrun.ground.registry import register
from ganrun.losses.base import Loss, cycled


@register("loss", "rpgan")
class RelativisticPairing(Loss):
    """Each real sample should be more real than the fake it is paired with, and the other way round for G."""

    signless = True

    def d(self, duel: Duel) -> Tensor:
        return duel.fake_weight * softplus(-_margins(duel)).mean()

    def g(self, duel: Duel) -> Tensor:
        return duel.fake_weight * softplus(_margins(duel)).mean()


def _margins(duel: Duel) -> Tensor:
    """s(x) - s(G(z)) for each pair: the shape of the larger side's scores."""
    real, fake = duel.real_output.score, duel.fake_output.score
    count = max(len(real), len(fake))
    return cycled(real, count) - cycled(fake, count)
