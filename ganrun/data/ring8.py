"""Eight Gaussians on a circle, at the angles 2 pi i / 8: the classic test of mode collapse (Metz et al. 2017).

The default is radius 1 and std 0.01, as in PacGAN (Lin et al. 2018); others scale both alike. Each axis has mean 0 and
variance radius^2 / 2 + std^2.
"""

from __future__ import annotations

import math

import torch

from ganrun.data.points import Points, mixture
from ganrun.ground.errors import BadInput
from ganrun.ground.registry import register


@register("dataset", "ring8")
def ring8(
    *, radius: float = 1.0, std: float = 0.01, num: int = 100000, classes: list[int | str] | None = None, fraction: float = 1.0
) -> Points:
    """``num`` points of the ring; label i is the Gaussian at the angle 2 pi i / 8."""
    if not radius > 0:
        raise BadInput(f"dataset.radius={radius}: must be positive")
    angles = torch.arange(8, dtype=torch.float64) * (2 * math.pi / 8)
    centres = radius * torch.stack((angles.cos(), angles.sin()), dim=1)
    note = f"8 Gaussians of std {std} on a circle of radius {radius}"
    return mixture("ring8", num, centres, std, note, classes, fraction)
