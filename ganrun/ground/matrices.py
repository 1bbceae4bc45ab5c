"""Which of a network's parameters are a layer's weight matrix: the one place that says so.

Techniques on "every weight matrix" (spectral normalization and regularization, orthogonality, the metric of spectra) are about
layers: what maps a sample's numbers to the next ones. Two kinds of layers that a condition adds are told apart by their class:

- ``Modulation``: the gain or the shift of a normalization as a linear function of a code, and the embedding of that code.
  It is no weight matrix: dividing it by its norm would set the gain of every channel to one over the root of their number, and
  rows at right angles would forbid the channels to have one gain.
- ``Embedding``: the vector of a class that a discriminator multiplies its features with. The score is linear in the features
  through it, so it counts where a slope is bounded; whoever leaves it out says so.

Biases, scales and shifts of normalizations, learned constants and gains are not matrices at all.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn.utils import parametrize

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
NORMALIZATIONS = (nn.LayerNorm, nn.RMSNorm)  # those whose scale may have the shape of a matrix


class Modulation(nn.Linear):
    """Part of a normalization, not a layer of the network: its gain, its shift, or the embedding that these read."""


class Embedding(nn.Linear):
    """One vector for each class, as a layer on one-hot codes."""


def is_weighted(module: nn.Module) -> bool:
    """Whether the module is a layer with a weight matrix: a convolution, a linear layer, an embedding, or one of your own."""
    if isinstance(module, (Modulation, *NORMALIZATIONS)):
        return False
    weight = free_weight(module)
    return weight is not None and weight.ndim >= 2


def is_embedding(module: nn.Module) -> bool:
    """Whether the module's matrix holds a vector for each class or token."""
    return isinstance(module, Embedding | nn.Embedding)


def weighted_modules(player: nn.Module) -> Iterator[nn.Module]:
    """Every layer that has a weight matrix, in the order of the network."""
    return (module for module in list(player.modules()) if is_weighted(module))


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


def matrices(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """(name of the layer, weight as a float64 matrix of outputs x all else), in the order of the network."""
    for name, layer in network.named_modules():
        if is_weighted(layer):
            weight = layer.weight
            assert isinstance(weight, Tensor)
            yield name, as_matrix(weight.detach().double().cpu(), output_dimension(layer))
