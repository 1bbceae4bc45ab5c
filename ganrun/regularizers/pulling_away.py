"""weight * 1 / (N (N - 1)) sum_i sum_{j != i} (S_i' S_j / (||S_i|| ||S_j||))^2.  Zhao, Mathieu and LeCun 2017, section 2.4.

S_i is the feature vector that the discriminator has of fake i (an autoencoder's code); the term is the generator's. The square
of the cosine, so that opposite vectors cost as much as equal ones and orthogonal ones nothing. With micro-batches the
pairs are those within each; a single fake has no pair and costs nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ganrun.ground.duel import Duel
from ganrun.ground.registry import register
from ganrun.ground.traits import FEATURES_NEEDED
from ganrun.ground.turn import Turn
from ganrun.regularizers.base import Players, Regularizer, check_weight


@register("regularizer", "pulling_away")
class PullingAway(Regularizer):
    """Push the discriminator's features of different fakes towards right angles."""

    sides = ("generator",)
    needs = FEATURES_NEEDED

    def __init__(self, *, weight: float = 0.1, every: int = 1) -> None:
        super().__init__()
        check_weight(weight, every)
        self.weight, self.every = weight, every

    def term(self, duel: Duel, players: Players, turn: Turn) -> Tensor:
        features = duel.fake_output.features
        assert features is not None
        count = len(features)
        with torch.autocast(features.device.type, enabled=False):
            unit = normalize((features if features.element_size() >= 4 else features.float()).flatten(1), dim=1)
            pairs = (unit @ unit.T).square().triu(1)  # each once
        return pairs.sum() * (2 / max(count * (count - 1), 1))
