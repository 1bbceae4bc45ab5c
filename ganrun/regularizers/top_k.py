"""G learns from the k best of its fakes alone.  Sinha et al. 2020, "Top-k Training of GANs".

The generator's loss is over the k fakes of the batch with the highest scores: those that D finds least real lead G away from
the data. k = n max(gamma^e, share), rounded up, for n fakes and e epochs, whole passes through the real data: all at first,
``share`` of them in the end. D learns from all. Whatever else of the generator's phase reads outputs, a class term for
instance, sees the k fakes too, and a loss that needs real samples those that met them. The score of a map of patches is its
mean; packs are chosen whole; with micro-batches the k best are those of each.
"""

from __future__ import annotations

import math

from ganrun.ground.duel import Duel, of_sample
from ganrun.ground.registry import register
from ganrun.ground.turn import Turn
from ganrun.regularizers.base import Regularizer


@register("regularizer", "top_k")
class TopK(Regularizer):
    """Leave out the worst fakes of each of the generator's batches."""

    sides = ("generator",)

    def __init__(self, *, share: float = 0.5, gamma: float = 0.99) -> None:
        super().__init__()
        if not 0 < share <= 1:
            raise ValueError(f"share={share} must be above 0 and at most 1: it is the part of the fakes that is kept in the end")
        if not 0 <= gamma <= 1:
            raise ValueError(f"gamma={gamma} must be in [0, 1]: the kept part is multiplied by it every epoch")
        self.share, self.gamma = share, gamma

    def kept(self, turn: Turn) -> float:
        """The part of the fakes that is kept at a turn."""
        epochs = turn.batch_index * turn.batch_size // turn.streams["data"].length
        return float(max(self.gamma**epochs, self.share))

    def judged(self, duel: Duel, turn: Turn) -> None:
        score = duel.fake_output.score.detach()
        count = math.ceil(len(score) * self.kept(turn) - 1e-9)  # a part that comes out whole stays so
        if count < len(score):
            duel.choose(of_sample(score).topk(count).indices.sort().values)
