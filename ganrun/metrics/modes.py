"""Modes of a mixture of Gaussians that a generator covers (Srivastava et al. 2017, VEEGAN; Lin et al. 2018, PacGAN).

Each sample belongs to its nearest centre and is of high quality if it lies within ``radius`` standard deviations of it.

- ``modes``: centres with at least one high-quality sample; ``modes_20``: with at least twenty, so that noise does not count.
- ``high_quality``: share of high-quality samples. A perfect generator in two dimensions reaches 1 - exp(-radius^2 / 2),
  0.98889 for radius 3; more means that its modes have shrunk.
- ``reverse_kl``: sum over modes of q log(q / p), q from ALL samples by nearest centre, p uniform. A perfect sampler of
  n points reads about (modes - 1) / 2n.
- ``forward_kl``: sum over modes of p log(p / q), with q = (count + 1/2) / (n + modes/2), since a mode that no sample hits
  would make it infinite (Krichevsky and Trofimov 1981). It weighs lost modes, where reverse_kl weighs surplus ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from ganrun.ground import rng
from ganrun.ground.errors import BadInput
from ganrun.ground.registry import register
from ganrun.ground.traits import Rule
from ganrun.metrics.base import Sample, Score

SOLID = 20  # samples that no stray point brings together
RESAMPLES = 200


def read(counts: Tensor) -> dict[str, Tensor]:
    """All values, float64 (r,), from ``counts`` (r, 2 k): samples by nearest centre, stray ones before good ones."""
    stray, good = counts.chunk(2, dim=1)
    total, kinds = counts.sum(1, keepdim=True).double(), stray.shape[1]
    share, smooth = (stray + good) / total, (stray + good + 0.5) / (total + kinds / 2)
    return {
        "modes": (good >= 1).sum(1).double(),
        "modes_20": (good >= SOLID).sum(1).double(),
        "high_quality": (good.sum(1, keepdim=True) / total)[:, 0],
        "reverse_kl": torch.special.xlogy(share, share * kinds).sum(1),
        "forward_kl": -(smooth * kinds).log().mean(1),
    }


@register("metric", "modes")
class Modes(Score):
    """Modes covered, high-quality share and reverse KL over modes, for data with ``centres`` (k, d) and ``std``."""

    directions: Mapping[str, bool | None] = {
        "high_quality": True,  # first, since a few good samples among thousands hit every mode
        "modes": True,
        "modes_20": True,
        "reverse_kl": False,
        "forward_kl": False,
    }
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
        """``modes``, ``modes_20``, ``high_quality``, ``reverse_kl``, ``forward_kl``."""
        distances = torch.cdist(dim_zero_cat(self.generated).double(), self.centres.double())
        distance, nearest = distances.min(1)
        good = distance <= self.radius * self.std
        kinds = len(self.centres)
        codes = nearest + kinds * good
        self.remarks = ()
        if len(codes) < 2 * SOLID * kinds:
            self.remarks = (
                f"{len(codes)} samples of {kinds} modes are too few for modes_{SOLID}; "
                f"evaluation.num={2 * SOLID * kinds} is enough",
            )
        source = rng.generator("metric", "modes")
        again = torch.randint(len(codes), (RESAMPLES, len(codes)), generator=source)
        drawn = torch.stack([codes[rows].bincount(minlength=2 * kinds) for rows in again])
        self.spreads = {name: entry.std(correction=0).item() for name, entry in read(drawn).items()}
        return {name: entry.item() for name, entry in read(codes.bincount(minlength=2 * kinds)[None]).items()}

    def card(self) -> dict[str, Any]:
        return {
            "radius": self.radius,
            "modes of the data": len(self.centres),
            "std of a mode": self.std,
            "reverse_kl": "all samples, by nearest centre, against equal shares",
            "forward_kl": "equal shares against the same, half a sample added to each mode",
            "std": f"{RESAMPLES} bootstrap resamples of the generated sample",
        }
