"""weight * sum over weight matrices of ||W W' o (1 - I)||_F^2, o entry by entry.  Brock, Donahue and Simonyan 2019 (BigGAN).

W is a layer's weight as an (outputs, rest) matrix: different outputs shall have orthogonal rows of any length, unlike with
||W W' - I||^2 (Brock et al. 2017). Every convolution and linear layer of the sides' players counts; embeddings of labels do not,
as the shared one does not in the authors' code, nor do the gains and shifts of conditional normalizations, which that
code leaves in: they are no map from one layer to the next, and one gain for all channels is what they start from. A weight
that is divided by its norm counts as it was before. On the generator by default, as BigGAN's truncated samples need it.
The gradient, 4 (W W' o (1 - I)) W, is the formula's own: the code's is half of it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ganrun.ground.duel import Duel
from ganrun.ground.matrices import as_matrix, free_weight, is_embedding, output_dimension, weighted_modules
from ganrun.ground.registry import register
from ganrun.ground.turn import Turn
from ganrun.regularizers.base import Players, Regularizer, check_sides, check_weight


@register("regularizer", "orthogonal")
class Orthogonal(Regularizer):
    """Pull the rows of every weight matrix towards right angles."""

    def __init__(self, *, weight: float = 1e-4, sides: list[str] = ["generator"], every: int = 1) -> None:
        super().__init__()
        check_weight(weight, every)
        self.weight, self.sides, self.every = weight, check_sides(sides), every

    def term(self, duel: Duel, players: Players, turn: Turn) -> Tensor | None:
        found: dict[int, Tensor] = {}  # by identity: a weight that two layers share counts once
        for player in players.values():
            for module in weighted_modules(player):
                weight = free_weight(module)
                if weight is not None and not is_embedding(module) and id(weight) not in found:
                    found[id(weight)] = off_diagonal(as_matrix(weight, output_dimension(module)))
        return torch.stack(list(found.values())).sum() if found else None


def off_diagonal(matrix: Tensor) -> Tensor:
    """The squares of all entries of W W' off its diagonal, added up."""
    with torch.autocast(matrix.device.type, enabled=False):
        products = matrix @ matrix.T
        return (products - torch.diag(products.diagonal())).square().sum()
