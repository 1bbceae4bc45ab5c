"""How weights of convolutions and linear layers start.

``normal``: N(0, 0.02), scales of normalizations N(1, 0.02) (Radford et al. 2016). ``xavier``: uniform of variance
gain^2 * 2 / (inputs + outputs) (Glorot and Bengio 2010). ``orthogonal``: gain times orthonormal rows or columns (Saxe et
al. 2014; Brock et al. 2019). ``uniform``: torch's own, U(-1, 1) / sqrt(inputs), biases too. All other biases start at 0.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ganrun.ground.errors import BadInput, suggestion
from ganrun.networks.parts.virtual_norm import VirtualNorm

INITS = ("normal", "orthogonal", "xavier", "uniform")
NORMALIZATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm, nn.InstanceNorm2d, VirtualNorm)


def initialise(network: nn.Module, init: str, gain: Callable[[nn.Module], float] = lambda module: 1.0) -> None:
    """Draw the weights of ``network`` anew by ``init``; ``gain`` of a layer multiplies those of xavier and orthogonal."""
    if init == "uniform":
        return
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            _draw(module, init, gain(module))
        elif isinstance(module, NORMALIZATIONS) and init == "normal":
            nn.init.normal_(module.weight, 1, 0.02)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _draw(module: nn.Conv2d | nn.ConvTranspose2d | nn.Linear, init: str, gain: float) -> None:
    weight: Tensor = module.weight
    if init == "normal":
        nn.init.normal_(weight, 0, 0.02)
    elif init == "xavier":
        nn.init.xavier_uniform_(weight, gain)
    else:
        with torch.no_grad():  # as an (outputs, rest) matrix; a transposed convolution counts its outputs second
            by_output = weight.transpose(0, 1) if isinstance(module, nn.ConvTranspose2d) else weight
            by_output.copy_(nn.init.orthogonal_(torch.empty_like(by_output, memory_format=torch.contiguous_format), gain))


def check_init(init: str) -> None:
    """Raise ``BadInput`` unless ``init`` is one of the ways."""
    if init not in INITS:
        raise BadInput(f"init={init}: there is no such way. {suggestion(init, INITS)}")
