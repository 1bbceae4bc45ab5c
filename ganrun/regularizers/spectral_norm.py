"""W -> W / sigma(W), sigma the largest singular value of W as an (outputs, rest) matrix.  Miyato et al. 2018.

sigma = u' W v by power iteration, with u and v kept as buffers. As in the paper's algorithm 1 they advance once an update
of the player, here right after it, so that all forward passes of an update see the same weights: further looks,
micro-batches and the phases of other players. The gradient runs through sigma with u and v constant. Every convolution,
linear layer and embedding of the side's players is divided, a class's vector in a projection discriminator too (Miyato and
Koyama 2018). Gains and shifts of conditional normalizations are not, nor the embedding that they read: the paper
divides no generator, SAGAN's authors (Zhang et al. 2019) divide one, but not these; BigGAN's code divides the
gains' layers as well. What is bounded is the reshaped matrix; the convolution's own operator norm can be up to the square root
of the kernel's size larger.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.utils import parametrize

from ganrun.ground.duel import Duel
from ganrun.ground.matrices import as_matrix, output_dimension, weighted_modules
from ganrun.ground.registry import register
from ganrun.ground.turn import Turn
from ganrun.regularizers.base import Players, Regularizer, check_sides

FIRST_ITERATIONS = 15


class SpectralNormWeight(nn.Module):
    """The parametrization W -> W / (u' W v). ``dim`` is the dimension of W that counts outputs."""

    u: Tensor
    v: Tensor

    def __init__(self, weight: Tensor, dim: int) -> None:
        super().__init__()
        self.dim = dim
        rows, columns = as_matrix(weight, self.dim).shape
        self.register_buffer("u", normalize(weight.new_empty(rows).normal_(), dim=0))
        self.register_buffer("v", normalize(weight.new_empty(columns).normal_(), dim=0))
        self.iterate(weight, FIRST_ITERATIONS)

    def forward(self, weight: Tensor) -> Tensor:
        with torch.autocast(weight.device.type, enabled=False):
            matrix, u, v = as_matrix(weight, self.dim), self.u, self.v
            if not self.training:  # a running average of u and v is shorter than one: look along its direction
                u, v = normalize(u, dim=0), normalize(v, dim=0)
            return weight / torch.dot(u, torch.mv(matrix, v))

    @torch.no_grad()
    def iterate(self, weight: Tensor, count: int) -> None:
        """``count`` power iterations for ``weight``; u and v change in place."""
        matrix = as_matrix(weight, self.dim)
        for _ in range(count):
            normalize(torch.mv(matrix.T, self.u), dim=0, out=self.v)
            normalize(torch.mv(matrix, self.v), dim=0, out=self.u)


@register("regularizer", "spectral_norm")
class SpectralNorm(Regularizer):
    """Divide every weight matrix by its largest singular value."""

    def __init__(self, *, iterations: int = 1, sides: list[str] = ["discriminator"]) -> None:
        super().__init__()
        if iterations < 1:
            raise ValueError(f"iterations={iterations} must be at least 1")
        self.iterations, self.sides = iterations, check_sides(sides)

    @property
    def traits(self) -> frozenset[str]:  # type: ignore[override]
        divided = frozenset(f"{side}.spectral_norm" for side in self.sides)
        return divided | {"lipschitz"} if "discriminator" in self.sides else divided

    def prepare(self, players: Players) -> None:
        for player in players.values():
            for module in list(weighted_modules(player)):
                weight = module.weight
                if isinstance(weight, nn.Parameter):  # not divided already
                    parametrize.register_parametrization(module, "weight", SpectralNormWeight(weight, output_dimension(module)))

    def after_step(self, players: Players, duel: Duel, turn: Turn) -> None:
        for player in players.values():
            for module in player.modules():
                if isinstance(module, parametrize.ParametrizationList):
                    for entry in module:
                        if isinstance(entry, SpectralNormWeight):
                            entry.iterate(module.original, self.iterations)
