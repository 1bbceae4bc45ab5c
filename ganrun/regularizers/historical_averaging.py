"""weight * ||theta - (1 / t) sum_{s <= t} theta[s]||^2 for each player.  Salimans et al. 2016, "Improved Techniques ...".

theta[s] are all of a player's parameters, as in the paper (biases, gains and shifts of normalizations and embeddings too),
before its s-th update: the mean includes the present ones, the first are the initial ones, and no gradient runs through it. The
paper gives no weight. Means, as much memory again as the parameters, and their counts are buffers; they take in the new
parameters right after each update of the player.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ganrun.ground.duel import Duel
from ganrun.ground.registry import register
from ganrun.ground.turn import Turn
from ganrun.regularizers.base import Players, Regularizer, check_sides, check_weight


@register("regularizer", "historical_averaging")
class HistoricalAveraging(Regularizer):
    """Pull every parameter towards the mean of its own past."""

    def __init__(self, *, weight: float = 1.0, sides: list[str] = ["discriminator", "generator"], every: int = 1) -> None:
        super().__init__()
        check_weight(weight, every)
        self.weight, self.sides, self.every = weight, check_sides(sides), every
        self._parameters_of: dict[str, list[nn.Parameter]] = {}

    def prepare(self, players: Players) -> None:
        for role, player in players.items():
            # the objects, not their names: other regularizers rename what they parametrize
            self._parameters_of[role] = list(player.parameters())
            self.register_buffer(f"{role}_count", torch.ones((), dtype=torch.int64))
            for index, entry in enumerate(self._parameters_of[role]):
                self.register_buffer(f"{role}_mean_{index}", entry.detach().clone())

    def term(self, duel: Duel, players: Players, turn: Turn) -> Tensor | None:
        squares = [(entry - mean).square().sum() for role in players for entry, mean in self._pairs(role)]
        return torch.stack(squares).sum() if squares else None

    @torch.no_grad()
    def after_step(self, players: Players, duel: Duel, turn: Turn) -> None:
        for role in players:
            count = self.get_buffer(f"{role}_count")
            count += 1
            for entry, mean in self._pairs(role):
                mean.lerp_(entry, 1 / count.to(mean.dtype))

    def _pairs(self, role: str) -> list[tuple[nn.Parameter, Tensor]]:
        """Each parameter of a player with its mean."""
        return [(entry, self.get_buffer(f"{role}_mean_{index}")) for index, entry in enumerate(self._parameters_of[role])]
