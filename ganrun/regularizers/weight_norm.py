"""W = g V / ||V||, row by row of W as an (outputs, rest) matrix.  Salimans and Kingma 2016, "Weight Normalization".

The direction V and the length g of each output's weights are parameters of their own: steps in V are at right angles to it, and g
alone says how strong an output is. Weights begin as they were drawn: V = W, g = ||W||. Every convolution, linear layer and
embedding of the side's players has it; gains and shifts of conditional normalizations, which are no layers, have not.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ganrun.ground.matrices import as_matrix, as_weight, output_dimension, weighted_modules
from ganrun.ground.registry import register
from ganrun.ground.traits import Rule
from ganrun.regularizers.base import Players, Regularizer, check_sides

DIVIDED = Rule(
    "spectral_norm divides the same weight matrices, and one of the two lengths would undo the other", "regularizer=weight_norm"
)


class Normalized(nn.Module):
    """The parametrization V -> g V / ||V||. ``dim`` is the dimension of V that counts outputs."""

    def __init__(self, weight: Tensor, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.length = nn.Parameter(as_matrix(weight.detach(), dim).norm(dim=1))

    def forward(self, direction: Tensor) -> Tensor:
        with torch.autocast(direction.device.type, enabled=False):
            matrix = as_matrix(direction, self.dim)
            scaled = matrix * (self.length / matrix.norm(dim=1).clamp_min(1e-12))[:, None]
            return as_weight(scaled, direction, self.dim)


@register("regularizer", "weight_norm")
class WeightNorm(Regularizer):
    """Learn the length and the direction of each output's weights apart."""

    def __init__(self, *, sides: list[str] = ["discriminator"]) -> None:
        super().__init__()
        self.sides = check_sides(sides)

    @property
    def refuses(self) -> Mapping[str, Rule]:
        return {f"{side}.spectral_norm": DIVIDED for side in self.sides}

    def prepare(self, players: Players) -> None:
        for player in players.values():
            for module in list(weighted_modules(player)):
                weight = module.weight
                if isinstance(weight, nn.Parameter):
                    parametrize.register_parametrization(module, "weight", Normalized(weight, output_dimension(module)))
