"""weight / 2 * E_p ||grad s(x)||^2 at real samples.  Mescheder, Geiger and Nowozin 2018, "Which Training Methods ...".

``weight`` is the paper's gamma (their released code leaves the half out: its 10 is 20 here). Squared norm, summed over
a sample's numbers, no root; of the raw score. Makes the Dirac-GAN converge.
"""

from __future__ import annotations

from torch import Tensor

from ganrun.ground.duel import Duel
from ganrun.ground.registry import register
from ganrun.ground.turn import Turn
from ganrun.regularizers.base import PER_SAMPLE, Players, Regularizer, check_weight


@register("regularizer", "r1")
class R1(Regularizer):
    """Zero-centred penalty on the discriminator's slope at real samples."""

    traits = frozenset({"lipschitz"})
    refuses = PER_SAMPLE

    def __init__(self, *, weight: float = 10.0, every: int = 1) -> None:
        super().__init__()
        check_weight(weight, every)
        self.weight, self.every = weight, every

    def before(self, duel: Duel, turn: Turn) -> None:
        if self.due(turn):
            duel.watch("real")

    def term(self, duel: Duel, players: Players, turn: Turn) -> Tensor:
        return duel.slope("real").mean() / 2
