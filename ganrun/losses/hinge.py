"""D: E_p max(0, 1 - s) + E_q max(0, 1 + s);  G: -E_q s.  Lim and Ye 2017, "Geometric GAN"; Miyato et al. 2018.

Best critic: sign(p - q), where D's loss is 2 (1 - TV(p, q)). The sum of both means, not their average.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import relu

from ganrun.ground.duel import Duel
from ganrun.ground.registry import register
from ganrun.losses.base import Loss


@register("loss", "hinge")
class Hinge(Loss):
    """Margins of one on both sides for D, linear for G."""

    def d(self, duel: Duel) -> Tensor:
        real = relu(1 - duel.real_output.score).mean()
        return real + duel.fake_weight * relu(1 + duel.fake_output.score).mean()

    def g(self, duel: Duel) -> Tensor:
        return -duel.fake_weight * duel.fake_output.score.mean()
