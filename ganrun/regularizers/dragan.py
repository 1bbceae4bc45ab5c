"""weight * E_p (||grad s(x^)|| - target)^2 near real samples.  Kodali et al. 2017, "On Convergence and Stability of GANs".

x^ = x + a scale std u, with u ~ U[0, 1) for every number, a ~ U(0, 1) one a sample, and std one number: the population standard
deviation of all numbers of the batch. This is the law of the authors' code, where the noise is never negative; the
paper's text has Gaussian noise. With several inputs each is shifted by its own std, codes not at all; the norm runs over
all of them. Fakes never enter. With micro-batches std is that of the micro-batch. Beside augmentations and noise x is what the
critic sees, as for the gradient penalty.
"""

from __future__ import annotations

from torch import Tensor

from ganrun.ground.duel import Duel
from ganrun.ground.registry import register
from ganrun.ground.turn import Turn
from ganrun.regularizers.base import PER_SAMPLE, Players, Regularizer, check_weight


@register("regularizer", "dragan")
class DRAGAN(Regularizer):
    """Pull the critic's slope around real samples to ``target``."""

    traits = frozenset({"lipschitz", "slope_penalty"})
    refuses = PER_SAMPLE

    def __init__(self, *, weight: float = 10.0, target: float = 1.0, scale: float = 0.5, every: int = 1) -> None:
        super().__init__()
        check_weight(weight, every)
        if scale < 0:
            raise ValueError(f"scale={scale} must not be negative: it is the noise's share of the standard deviation")
        self.weight, self.target, self.scale, self.every = weight, target, scale, every

    def term(self, duel: Duel, players: Players, turn: Turn) -> Tensor:
        around = tuple(
            self._around(entry.detach(), f"dragan/{place}", turn) if kind == "data" else entry
            for place, (entry, kind) in enumerate(zip(duel.real, duel.kinds, strict=True))
        )
        norm = (duel.grad_norm_sq_at(around, duel.real_condition) + 1e-12).sqrt()  # the root's own slope is infinite at zero
        return (norm - self.target).square().mean()

    def _around(self, x: Tensor, purpose: str, turn: Turn) -> Tensor:
        share = turn.uniform("dragan", x).to(x.dtype).view(-1, *[1] * (x.ndim - 1))
        return x + share * (self.scale * x.std(correction=0)) * turn.noise(purpose, x, "uniform")
