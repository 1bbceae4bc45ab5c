"""The swiss roll in the plane, as WGAN-GP draws it (Gulrajani et al. 2017): (t cos t, t sin t) / scale plus noise.

t is uniform on [1.5 pi, 4.5 pi] and the noise Gaussian of std noise / scale in both directions, so the density is

    p(x) = 1 / (3 pi) * integral over t of N(x; (t cos t, t sin t) / scale, (noise / scale)^2 I).

The integral is taken by Gauss-Legendre quadrature on panels no longer than the noise, 8 nodes each: to near float64.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ganrun.data.points import Points, log_mixture, points
from ganrun.ground.errors import BadInput
from ganrun.ground.registry import register

START, END = 1.5 * math.pi, 4.5 * math.pi


@register("dataset", "swiss_roll")
def swiss_roll(*, noise: float = 0.25, scale: float = 7.5, num: int = 100000) -> Points:
    """``num`` points of the roll; ``noise`` is meant before dividing by ``scale``."""
    if not scale > 0:
        raise BadInput(f"dataset.scale={scale}: must be positive")
    if not noise >= 0.01:
        raise BadInput(f"dataset.noise={noise}: must be at least 0.01, or the density could not be computed")
    std = noise / scale

    def draw(count: int, source: torch.Generator) -> tuple[Tensor, None]:
        t = START + (END - START) * torch.rand(count, generator=source, dtype=torch.float64)
        return roll(t) / scale + std * torch.randn(count, 2, generator=source, dtype=torch.float64), None

    nodes, weights = quadrature(noise)
    centres, log_weights = roll(nodes) / scale, (weights / (END - START)).log()

    def log_density(x: Tensor) -> Tensor:
        return log_mixture(x, centres, log_weights, std)

    return points("swiss_roll", num, draw, log_density, f"a swiss roll with noise {noise}, divided by {scale}")


def roll(t: Tensor) -> Tensor:
    """The spiral at the angles ``t`` (n,): (n, 2), before scaling."""
    return torch.stack((t * t.cos(), t * t.sin()), dim=1)


def quadrature(noise: float) -> tuple[Tensor, Tensor]:
    """Nodes and weights on [1.5 pi, 4.5 pi]: 8 Gauss-Legendre nodes on each panel, no panel's arc longer than ``noise``."""
    panels = math.ceil((END - START) * math.hypot(1, END) / noise)
    nodes, weights = (torch.from_numpy(array) for array in np.polynomial.legendre.leggauss(8))
    width = (END - START) / panels
    lefts = START + width * torch.arange(panels, dtype=torch.float64)
    return (lefts[:, None] + width * (nodes + 1) / 2).flatten(), (weights * width / 2).repeat(panels)
