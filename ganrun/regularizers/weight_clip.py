"""After each update of the critic: w <- min(max(w, -c), c) for every parameter.  Arjovsky, Chintala and Bottou 2017.

All of them, as in the authors' code: biases, scales and shifts of normalizations and embeddings too. Bounds the Lipschitz
constant by some K that depends on the network, so the critic's loss estimates K W1, not W1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ganrun.ground.duel import Duel
from ganrun.ground.registry import register
from ganrun.ground.traits import Rule
from ganrun.ground.turn import Turn
from ganrun.regularizers.base import Players, Regularizer


@register("regularizer", "weight_clip")
class WeightClip(Regularizer):
    """Keep every weight of the critic in [-clip, clip]."""

    traits = frozenset({"lipschitz"})
    refuses = {
        "slope_penalty": Rule(
            "weights this small cannot give the critic the slope that a gradient penalty pulls it to",
            "regularizer=gradient_penalty",
        )
    }

    def __init__(self, *, clip: float = 0.01) -> None:
        super().__init__()
        if clip <= 0:
            raise ValueError(f"clip={clip} must be positive")
        self.clip = self.bound = clip

    @torch.no_grad()
    def after_step(self, players: Players, duel: Duel, turn: Turn) -> None:
        for player in players.values():
            parameters: list[Tensor] = list(player.parameters())
            torch._foreach_clamp_min_(parameters, -self.clip)
            torch._foreach_clamp_max_(parameters, self.clip)
