"""A choice among networks, row by row, without looking at the rows: exporters write down one fixed list of operations."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class EachForAll(nn.Module):
    """Every network makes every row; row i keeps what network number ``choice``[i] made.

    The same function as passing each row through its own network alone, wherever rows do not depend on each other, as in
    evaluation mode. It costs as many passes as there are networks. ``name``: the keyword by which the choice comes in, int64
    of shape (n,); other keywords go on to the networks.
    """

    def __init__(self, networks: Sequence[nn.Module], name: str) -> None:
        super().__init__()
        self.networks, self.name = nn.ModuleList(networks), name

    def forward(self, *inputs: Tensor, **further: Tensor) -> Tensor:
        choice = further.pop(self.name)
        first, *others = (network(*inputs, **further) for network in self.networks)
        made: Tensor = first
        spread = (..., *[None] * (made.ndim - 1))
        for number, other in enumerate(others, 1):
            made = torch.where((choice == number)[spread], other, made)
        return made
