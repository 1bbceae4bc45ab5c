"""D: E_p (s - b)^2 / 2 + E_q (s - a)^2 / 2;  G: E_q (s - c)^2 / 2.  Mao et al. 2017, "Least Squares GAN".

Best critic: s = (b p + a q) / (p + q). With b - c = 1 and b - a = 2, as (a, b, c) = (-1, 1, 0), G minimises half the
Pearson chi-square between p + q and 2 q; (0, 1, 1) is the other choice of the paper. A duel's target t stands for
a + (b - a) t.
"""

from __future__ import annotations

from torch import Tensor

from ganrun.ground.duel import Duel
from ganrun.ground.registry import register
from ganrun.losses.base import Loss


@register("loss", "lsgan")
class LSGAN(Loss):
    """Least squares to the labels a (fake), b (real) and c (what the generator wants)."""

    reads = frozenset({"targets"})

    def __init__(self, *, a: float = 0.0, b: float = 1.0, c: float = 1.0) -> None:
        super().__init__()
        if a == b:
            raise ValueError(f"a={a} and b={b} must differ: they tell fake from real")
        self.a, self.b, self.c = a, b, c
        self.signless = a + b != 0  # scores meet half-way between the labels

    def d(self, duel: Duel) -> Tensor:
        real = self._distance(duel.real_output.score, duel.real_target)
        return real + duel.fake_weight * self._distance(duel.fake_output.score, duel.fake_target)

    def g(self, duel: Duel) -> Tensor:
        return duel.fake_weight * (duel.fake_output.score - self.c).square().mean() / 2

    def _distance(self, score: Tensor, target: float | Tensor) -> Tensor:
        if isinstance(target, Tensor):
            target = target.view(-1, *[1] * (score.ndim - 1))
        return (score - (self.a + (self.b - self.a) * target)).square().mean() / 2
