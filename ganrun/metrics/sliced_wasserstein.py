"""Sliced Wasserstein distance between real and generated samples, of any dimension (Rabin et al. 2011; Bonneel et al. 2015).

    SW_p = (mean over directions u of W_p(u.x, u.y)^p)^(1/p)

with ``projections`` directions drawn uniformly from the sphere. On the line W_p^p is the mean of |difference|^p of the sorted
samples, so both sides are cut to equally many. Samples are flattened: images in [-1, 1], points as they are.
``sliced_wasserstein_real`` is the same between two disjoint parts of the real sample: about what a perfect generator reads.
It falls like n^(-1/2), and is scaled so where the parts are smaller than the samples compared.

The standard deviation is that of the generated sample, to first order: a point adds 1/n of the mean over directions of its
Kantorovich potential, so W^p has the deviation of these over sqrt(n), and the root that times W^(1-p) / p. It fails near zero,
where the distance has no first order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from ganrun.ground import rng
from ganrun.ground.errors import BadInput
from ganrun.ground.registry import register
from ganrun.ground.traits import Rule
from ganrun.metrics.transport import line_cost, line_potential
from ganrun.metrics.two_samples import TwoSampleScore, standard_error, subset

MOST = 10_000  # samples of a side
FEW = 1000  # samples of a side
BLOCK = 50  # directions at a time


def directions(dimension: int, count: int) -> Tensor:
    """Unit vectors as columns, uniform on the sphere and always the same: float64 (dimension, count)."""
    source = rng.generator("metric", "sliced_wasserstein", dimension)
    return torch.nn.functional.normalize(torch.randn(dimension, count, generator=source, dtype=torch.float64), dim=0)


def sliced(x: Tensor, y: Tensor, axes: Tensor, order: int) -> tuple[float, Tensor]:
    """(SW_order of equally many rows, what each row of ``x`` adds to SW_order^order but for a constant)."""
    cost, potential = 0.0, torch.zeros(len(x), dtype=torch.float64)
    for part in axes.split(BLOCK, dim=1):
        one, other = x @ part, y @ part
        cost += line_cost(one, other, order).sum().item()
        potential += line_potential(one, other, order).sum(1)
    return (cost / axes.shape[1]) ** (1 / order), potential / axes.shape[1]


@register("metric", "sliced_wasserstein")
class SlicedWasserstein(TwoSampleScore):
    """Mean transport cost between real and generated samples over random directions."""

    directions: Mapping[str, bool | None] = {"sliced_wasserstein": False, "sliced_wasserstein_real": None}
    field = "x"
    extracts = frozenset({"x"})
    needs: ClassVar[Mapping[str, Rule]] = {}
    least = 4

    def __init__(self, *, projections: int = 200, order: int = 2) -> None:
        super().__init__()
        if projections < 1:
            raise BadInput(f"metric.sliced_wasserstein.projections={projections}: must be at least 1")
        if order not in (1, 2):
            raise BadInput(f"metric.sliced_wasserstein.order={order}: must be 1 or 2")
        self.projections, self.order = projections, order
        self.used: int | None = None

    def compute(self) -> dict[str, float]:
        """``sliced_wasserstein``, ``sliced_wasserstein_real``; ``BadInput`` for fewer than four samples on a side."""
        real, generated = self.both("sliced_wasserstein")
        self.used = count = min(len(real), len(generated), MOST)
        self.remarks = ()
        if count < FEW:
            self.remarks = (
                f"sliced_wasserstein falls as samples grow, and there are {count} of a side: compare at the same number, beside "
                f"sliced_wasserstein_real, or raise evaluation.num to {FEW}",
            )
        axes = directions(real.shape[1], self.projections)
        mixed = real[torch.randperm(len(real), generator=rng.generator("metric", "sliced_wasserstein", "real"))]
        half = min(count, len(real) // 2)
        made = subset(generated, count, "sliced_wasserstein", "generated")
        value, influence = sliced(made, mixed[:count], axes, self.order)
        floor, _ = sliced(mixed[:half], mixed[half : 2 * half], axes, self.order)
        if value > 0:
            self.spreads = {"sliced_wasserstein": standard_error(influence) * value ** (1 - self.order) / self.order}
        return {"sliced_wasserstein": value, "sliced_wasserstein_real": floor * (half / count) ** 0.5}

    def card(self) -> dict[str, Any]:
        return {
            "projections": self.projections,
            "order": self.order,
            "samples of a side": self.used,
            "std": "of the generated sample, by the influence function",
        }
