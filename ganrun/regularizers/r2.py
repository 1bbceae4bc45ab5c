"""weight / 2 * E_q ||grad s(G(z))||^2 at fake samples.  Mescheder, Geiger and Nowozin 2018, "Which Training Methods ...".

R1's twin: ``weight`` is the paper's gamma; the squared norm is summed over a sample's numbers, no root, of the raw score.
The gradient trains the critic; where a generator that learns has just made the fakes, as in unrolled play, it goes on to that
generator. R1, R2 and the loss rpgan together are the objective of Huang et al. 2024. Beside augmentations the slope is that at
G(z), through them, as R1's is at x; ``at=input`` takes it at what D sees. A fake of earlier steps (replay) is a sample like
any other.
"""

from __future__ import annotations

from torch import Tensor

from ganrun.ground.duel import Duel
from ganrun.ground.registry import register
from ganrun.ground.turn import Turn
from ganrun.regularizers.base import PER_SAMPLE, Players, Regularizer, check_decay, check_weight
from ganrun.regularizers.places import BEFORE_CHANGES, check_place


@register("regularizer", "r2")
class R2(Regularizer):
    """Zero-centred penalty on the discriminator's slope at fake samples."""

    rank = BEFORE_CHANGES
    traits = frozenset({"lipschitz"})
    refuses = PER_SAMPLE

    def __init__(
        self, *, weight: float = 10.0, final: float | None = None, decay: int = 0, at: str = "sample", every: int = 1
    ) -> None:
        super().__init__()
        check_weight(weight, every)
        check_decay(final, decay)
        self.final, self.fall_steps = final, decay
        self.weight, self.at, self.every = weight, check_place(at), every

    def before(self, duel: Duel, turn: Turn) -> None:
        if self.due(turn):
            (duel.watch_origin if self.at == "sample" else duel.require_input_grad)("fake")

    def term(self, duel: Duel, players: Players, turn: Turn) -> Tensor:
        slope = duel.origin_slope("fake") if self.at == "sample" else duel.grad_norm_sq("fake")
        return slope.mean() / 2
