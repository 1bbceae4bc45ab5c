"""weight / 2 * E_p ||grad s(x)||^2 at real samples.  Mescheder, Geiger and Nowozin 2018, "Which Training Methods ...".

``weight`` is the paper's gamma (their released code leaves the half out: its 10 is 20 here). Squared norm, summed over
a sample's numbers, no root; of the raw score. Makes the Dirac-GAN converge.

Beside augmentations T (diffaugment, ada) the gradient is that of s(T(x)) by x, through T, as in the authors' codes of
StyleGAN2-ADA (Karras et al. 2020), DiffAugment (Zhao et al. 2020) and R3GAN (Huang et al. 2024); ``at=input`` takes that of s
at T(x). So a pixel that is cut out or moved beyond the edge costs nothing, and one whose contrast T raises costs more. With
noise alone both are the same.
"""

from __future__ import annotations

from torch import Tensor

from ganrun.ground.duel import Duel
from ganrun.ground.registry import register
from ganrun.ground.turn import Turn
from ganrun.regularizers.base import PER_SAMPLE, Players, Regularizer, check_decay, check_weight
from ganrun.regularizers.places import BEFORE_CHANGES, check_place


@register("regularizer", "r1")
class R1(Regularizer):
    """Zero-centred penalty on the discriminator's slope at real samples."""

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
            (duel.watch_origin if self.at == "sample" else duel.require_input_grad)("real")

    def term(self, duel: Duel, players: Players, turn: Turn) -> Tensor:
        slope = duel.origin_slope("real") if self.at == "sample" else duel.grad_norm_sq("real")
        return slope.mean() / 2
