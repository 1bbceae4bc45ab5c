"""D: -E_p log D - E_q log(1 - D);  G: E_q log(1 - D), D = sigmoid(s).  Goodfellow et al. 2014, "Generative Adversarial Nets".

At the best D the value is 2 JS(p, q) - 2 log 2. The generator's gradient, -D at each fake, vanishes when D wins.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import softplus

from ganrun.ground.duel import Duel
from ganrun.ground.registry import register
from ganrun.losses.base import NO_ENERGY, Loss, logistic


@register("loss", "minimax")
class Minimax(Loss):
    """The original saturating loss."""

    reads = frozenset({"targets"})
    log_ratio = True
    refuses = NO_ENERGY

    def d(self, duel: Duel) -> Tensor:
        return logistic(duel)

    def g(self, duel: Duel) -> Tensor:
        return -duel.fake_weight * softplus(duel.fake_output.score).mean()
