"""Twenty-five Gaussians on a 5 x 5 grid around the origin: mode coverage with many modes (Lin et al. 2018, PacGAN).

Each axis has mean 0 and variance 2 spacing^2 + std^2.
"""

from __future__ import annotations

import torch

from ganrun.data.points import Points, mixture
from ganrun.ground.errors import BadInput
from ganrun.ground.registry import register


@register("dataset", "grid25")
def grid25(
    *, spacing: float = 2.0, std: float = 0.05, num: int = 100000, classes: list[int | str] | None = None, fraction: float = 1.0
) -> Points:
    """``num`` points of the grid; label 5 i + j is the Gaussian in column i from the left, row j from below."""
    if not spacing > 0:
        raise BadInput(f"dataset.spacing={spacing}: must be positive")
    ticks = spacing * torch.arange(-2, 3, dtype=torch.float64)
    centres = torch.cartesian_prod(ticks, ticks)
    note = f"25 Gaussians of std {std} on a grid of spacing {spacing}"
    return mixture("grid25", num, centres, std, note, classes, fraction)
