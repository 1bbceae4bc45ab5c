"""A vertical segment in the plane, (theta, U) with U uniform on (0, 1): example 1 of Arjovsky, Chintala and Bottou 2017.

Between the segments at 0 and at theta != 0 the Jensen-Shannon divergence is log 2 and KL is infinite, however near they are;
W1 = |theta|. So no law of this family has a density in the plane, and distances by transport alone say how far a sample is.
Each coordinate's moments: the first is theta without variance, the second has mean 1/2 and variance 1/12.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ganrun.data.points import Points, points
from ganrun.ground.errors import BadInput
from ganrun.ground.registry import register


@register("dataset", "parallel_lines")
def parallel_lines(*, theta: float = 0.0, num: int = 100000) -> Points:
    """``num`` points of the segment at ``theta``; the heights are the same for every ``theta``."""
    if not math.isfinite(theta):
        raise BadInput(f"dataset.theta={theta}: must be a finite number")

    def draw(count: int, source: torch.Generator) -> tuple[Tensor, None]:
        heights = torch.rand(count, generator=source, dtype=torch.float64)
        return torch.stack((torch.full_like(heights, theta), heights), dim=1), None

    return points("parallel_lines", num, draw, None, f"a vertical segment of length 1 at {theta}")
