"""Ten Gaussians of 700 dimensions embedded in 1200: mode coverage far from the plane (Srivastava et al. 2017, VEEGAN).

The paper says no more of the set, nor what its ten standard deviations of quality are of; so, here:

- In the 700 dimensions the centres are drawn once from N(0, I) and each Gaussian is N(c_j, std^2 I). Centres are about
  sqrt(1400) = 37.4 apart.
- The embedding is linear, keeps all distances and spreads each of the 700 over most of the 1200 coordinates: after zeros are
  added, 12 rounds of a fixed permutation and turns by 45 degrees of neighbouring pairs. No matrix product, whose rounding
  depends on the machine.
- The standard deviation of a mode, ``std`` of ``Points``, is over all its axes together: the root mean square distance from
  the centre, std * sqrt(700). So a perfect sampler is of high quality at any radius above 1.1, and at the published 10 the
  balls around the centres are still disjoint while std < 0.07.

The law lies in a subspace, so it has no density in 1200 dimensions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ganrun.data.points import Points, part, points
from ganrun.ground import rng
from ganrun.ground.errors import BadInput
from ganrun.ground.registry import register

MODES, INNER, OUTER, ROUNDS = 10, 700, 1200, 12
ROWS = 200  # points that are made at a time, for the cache's sake


@register("dataset", "gauss1200")
def gauss1200(*, std: float = 0.05, num: int = 20000, classes: list[int | str] | None = None, fraction: float = 1.0) -> Points:
    """``num`` points of shape (1200,), 4800 bytes each; ``std`` is that of a Gaussian along each of its 700 axes."""
    if not 0 < std < math.inf:
        raise BadInput(f"dataset.std={std}: must be positive")
    centres = torch.randn(MODES, INNER, generator=rng.generator("dataset", "gauss1200", "centres"), dtype=torch.float64)

    places = embed(centres)

    def draw(count: int, source: torch.Generator) -> tuple[Tensor, Tensor]:
        labels = torch.randint(MODES, (count,), generator=source)
        x = places.float()[labels]
        for rows in x.split(ROWS):
            rows += std * embed(torch.randn(len(rows), INNER, generator=source))
        return x, labels

    note = f"{MODES} Gaussians of {INNER} dimensions and std {std} along each, embedded in {OUTER}"
    whole = points("gauss1200", num, draw, None, note, centres=places, std=std * math.sqrt(INNER))
    return part(whole, classes, fraction, lambda kept: None)


def embed(x: Tensor) -> Tensor:
    """Rows (n, 700) to (n, 1200), distances kept."""
    source = rng.generator("dataset", "gauss1200", "embedding")
    columns = torch.nn.functional.pad(x, (0, OUTER - INNER)).T.contiguous()
    for _ in range(ROUNDS):
        columns = columns[torch.randperm(OUTER, generator=source)]
        first, second = columns[::2], columns[1::2]
        columns = torch.cat((first + second, first - second)).mul_(math.sqrt(0.5))
    return columns.T
