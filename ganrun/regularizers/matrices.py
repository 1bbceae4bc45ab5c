"""Weights as matrices with a row for each output: what several regularizers of weights share."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn.utils import parametrize

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def weighted_modules(player: nn.Module) -> Iterator[nn.Module]:
    """Every module that has a weight of two or more dimensions: convolutions, linear layers, embeddings."""
    for module in list(player.modules()):
        weight = free_weight(module)
        if weight is not None and weight.ndim >= 2:
            yield module


def free_weight(module: nn.Module) -> Tensor | None:
    """The parameter behind ``module.weight``, before any parametrization; None without one."""
    if parametrize.is_parametrized(module, "weight"):
        original = getattr(module.parametrizations["weight"], "original", None)  # type: ignore[index]
    else:
        original = getattr(module, "weight", None)
    return original if isinstance(original, nn.Parameter) else None


def output_dimension(module: nn.Module) -> int:
    """The dimension of the module's weight that counts its outputs."""
    return 1 if isinstance(module, TRANSPOSED) else 0


def as_matrix(weight: Tensor, dim: int) -> Tensor:
    """The weight as an (outputs, rest) matrix; ``dim`` counts outputs."""
    return weight.movedim(dim, 0).flatten(1)


def as_weight(matrix: Tensor, like: Tensor, dim: int) -> Tensor:
    """An (outputs, rest) matrix in the shape of the weight ``like``: undoes ``as_matrix``."""
    return matrix.view(like.movedim(dim, 0).shape).movedim(0, dim)
