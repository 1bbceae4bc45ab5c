"""Modes of a mixture of Gaussians that a generator covers (Srivastava et al. 2017, VEEGAN; Lin et al. 2018, PacGAN).

Each sample belongs to its nearest centre and is of high quality if it lies within ``radius`` standard deviations of it.

- ``modes``: centres with at least one high-quality sample; ``modes_20``: with at least twenty, so that noise does not count.
- ``high_quality``: share of high-quality samples. A perfect generator in two dimensions reaches 1 - exp(-radius^2 / 2),
  0.98889 for radius 3; more means that its modes have shrunk.
- ``reverse_kl``: sum over modes of q log(q / p), q from ALL samples by nearest centre, p uniform. A perfect sampler of
  n points reads about (modes - 1) / 2n.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from ganrun.ground.errors import BadInput
from ganrun.ground.registry import register
from ganrun.ground.traits import Rule
from ganrun.metrics.base import Sample, Score

SOLID = 20  # samples that no stray point brings together


@register("metric", "modes")
class Modes(Score):
    """Modes covered, high-quality share and reverse KL over modes, for data with ``centres`` (k, d) and ``std``."""

    higher_is_better = True  # of its first value
    extracts = frozenset({"x"})
    needs: ClassVar[Mapping[str, Rule]] = {"dataset.modes": Rule("the data set has no known mode centres", "dataset=ring8")}
    generated: list[Tensor]

    def __init__(self, *, radius: float = 3.0) -> None:
        super().__init__()
        if not radius > 0:
            raise BadInput(f"metric.modes.radius={radius}: must be above 0 (in standard deviations of a mode)")
        self.radius = radius
        self.centres = torch.empty(0, 0)
        self.std = 0.0
        self.add_state("generated", [], dist_reduce_fx="cat")

    def bind(self, dataset: Any) -> None:
        self.centres, self.std = torch.as_tensor(dataset.centres), float(dataset.std)

    def update(self, sample: Sample, *, real: bool) -> None:
        if real:
            return
        if sample.x is None:
            raise ValueError("modes are counted on the samples themselves")
        self.generated.append(sample.x)

    def compute(self) -> dict[str, float]:
        """``modes``, ``modes_20``, ``high_quality``, ``reverse_kl``."""
        distances = torch.cdist(dim_zero_cat(self.generated).double(), self.centres.double())
        distance, nearest = distances.min(1)
        good = distance <= self.radius * self.std
        kinds = len(self.centres)
        solid = nearest[good].bincount(minlength=kinds)
        share = nearest.bincount(minlength=kinds).double() / len(nearest)
        return {
            "modes": float((solid >= 1).sum()),
            f"modes_{SOLID}": float((solid >= SOLID).sum()),
            "high_quality": good.double().mean().item(),
            "reverse_kl": torch.special.xlogy(share, share * kinds).sum().item(),
        }

    def card(self) -> dict[str, Any]:
        return {
            "radius": self.radius,
            "modes of the data": len(self.centres),
            "std of a mode": self.std,
            "reverse_kl": "all samples, by nearest centre, against equal shares",
        }
