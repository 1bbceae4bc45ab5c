"""weight * E ||grad s(x^)||^power, x^ = a x + (1 - a) G(z), a ~ U(0, 1) one a sample.  Wu et al. 2018 (WGAN-div).

"Wasserstein Divergence for GANs". Beside loss=wasserstein it makes the critic's objective a divergence,

    E_p s - E_q s - weight * E ||grad s||^power,

which needs no Lipschitz critic: the power holds the slope. A linear critic before two masses at distance d has the slope
(d / (weight * power))^(1 / (power - 1)). The paper's weight is 2 and its power 6. ``at`` "ends": the mean over real and fake
samples themselves, as in public ports, in place of points between them.
"""

from __future__ import annotations

from torch import Tensor

from ganrun.ground.duel import Duel
from ganrun.ground.errors import BadInput, suggestion
from ganrun.ground.registry import register
from ganrun.ground.turn import Turn
from ganrun.regularizers.base import PER_SAMPLE, Players, Regularizer, check_weight
from ganrun.regularizers.between import cycled, interpolate

PLACES = ("between", "ends")


@register("regularizer", "wgan_div")
class WassersteinDivergence(Regularizer):
    """Cost a high power of the critic's slope, with no slope to be near to."""

    traits = frozenset({"lipschitz"})
    refuses = PER_SAMPLE

    def __init__(self, *, weight: float = 2.0, power: float = 6.0, at: str = "between", every: int = 1) -> None:
        super().__init__()
        check_weight(weight, every)
        if power < 2:
            raise ValueError(f"power={power} must be at least 2: the gradient of a smaller one does not fade at slope zero")
        if at not in PLACES:
            raise BadInput(f"at={at}: {suggestion(at, PLACES)}")
        self.weight, self.power, self.at, self.every = weight, power, at, every

    def before(self, duel: Duel, turn: Turn) -> None:
        if self.at == "ends" and self.due(turn):
            duel.require_input_grad("real")
            duel.require_input_grad("fake")

    def term(self, duel: Duel, players: Players, turn: Turn) -> Tensor:
        if self.at == "ends":
            return (self._cost(duel.grad_norm_sq("real")) + self._cost(duel.grad_norm_sq("fake"))) / 2
        count = max(len(duel.real[0]), len(duel.fake[0]))
        real, fake = (tuple(cycled(entry.detach(), count) for entry in side) for side in (duel.real, duel.fake))
        mix = turn.uniform("wgan_div", real[0])
        between = tuple(interpolate(x, g, mix) for x, g in zip(real, fake, strict=True))
        labels = None if duel.real_condition is None else cycled(duel.real_condition, count)
        return self._cost(duel.grad_norm_sq_at(between, labels))

    def _cost(self, squared: Tensor) -> Tensor:
        return squared.pow(self.power / 2).mean()
