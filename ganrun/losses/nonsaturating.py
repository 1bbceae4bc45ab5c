"""D: -E_p log D - E_q log(1 - D);  G: -E_q log D, D = sigmoid(s).  Goodfellow et al. 2014, section 3.

Same fixed point as the minimax loss; the generator's gradient, -(1 - D), is largest where D is sure of a fake.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import softplus

from ganrun.ground.duel import Duel
from ganrun.ground.registry import register
from ganrun.losses.base import NO_ENERGY, Loss, logistic


@register("loss", "nonsaturating")
class Nonsaturating(Loss):
    """The generator maximises log D instead of minimising log(1 - D)."""

    reads = frozenset({"targets"})
    log_ratio = True
    refuses = NO_ENERGY

    def d(self, duel: Duel) -> Tensor:
        return logistic(duel)

    def g(self, duel: Duel) -> Tensor:
        return duel.fake_weight * softplus(-duel.fake_output.score).mean()
