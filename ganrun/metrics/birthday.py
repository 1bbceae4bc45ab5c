"""The birthday paradox test of a generator's support (Arora, Risteski and Zhang 2018).

Two samples collide if they are near-duplicates: nearer than ``threshold`` times the median distance of a real sample to the
nearest other among as many real ones, in feature space for images, in x otherwise.

- ``birthday``: the batch size s from which a batch holds a collision with probability 1/2, the median over random orders of
  the sample of how many come before the first collision.
- ``support``: the number of equally likely points that would collide so, s^2 / (2 ln 2).
- ``near_duplicates``: share of samples that collide with any other; ``near_duplicates_real``: the same among real ones.

A law that is not uniform collides earlier, so ``support`` is a lower bound of the number of its points. Where fewer than half
the orders meet a collision there is no ``birthday``: it is above the number of samples, and more samples are needed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from ganrun.ground import rng
from ganrun.ground.errors import BadInput
from ganrun.ground.registry import register
from ganrun.ground.traits import Rule
from ganrun.metrics.base import Sample
from ganrun.metrics.two_samples import CHUNK, TwoSampleScore, neighbour_radii, squared_distances, standard_error

MOST = 4000  # samples of a side
ORDERS = 200


def collisions(x: Tensor, radius: float) -> Tensor:
    """All pairs of rows of ``x`` (n, d) at most ``radius`` apart: int64 (pairs, 2), the smaller index first."""
    found = []
    for start in range(0, len(x), CHUNK):
        near = (squared_distances(x[start : start + CHUNK], x) <= radius**2).nonzero()
        near[:, 0] += start
        found.append(near[near[:, 0] < near[:, 1]])
    return torch.cat(found)


def first_collisions(pairs: Tensor, count: int, source: torch.Generator) -> Tensor:
    """In each of 200 random orders of ``count`` samples, the smallest batch with a collision: (200,), inf for none."""
    if not len(pairs):
        return torch.full((ORDERS,), math.inf, dtype=torch.float64)
    sizes = []
    for _ in range(ORDERS):
        rank = torch.randperm(count, generator=source)
        sizes.append(torch.maximum(rank[pairs[:, 0]], rank[pairs[:, 1]]).min() + 1)
    return torch.stack(sizes).double()


@register("metric", "birthday")
class Birthday(TwoSampleScore):
    """From which batch size on generated samples repeat themselves, and the support that this tells of."""

    directions: Mapping[str, bool | None] = {
        "birthday": True,
        "support": True,
        "near_duplicates": False,
        "near_duplicates_real": None,
    }
    extracts = frozenset({"x"})
    welcomes = frozenset({"features"})
    needs: ClassVar[Mapping[str, Rule]] = {}

    def __init__(self, *, threshold: float = 0.1) -> None:
        super().__init__()
        if not 0 < threshold <= 1:
            raise BadInput(f"metric.birthday.threshold={threshold}: must be above 0 and at most 1")
        self.threshold = threshold
        self.space: str | None = None
        self.used: int | None = None
        self.radius: float | None = None

    def update(self, sample: Sample, *, real: bool) -> None:
        rows = sample.x if sample.features is None else sample.features
        if rows is None:
            raise ValueError("near-duplicates are found among samples or their features")
        self.space = "x" if sample.features is None else "features"
        (self.real if real else self.generated).append(rows)

    def compute(self) -> dict[str, float]:
        """``birthday`` and ``support`` where collisions are common enough, ``near_duplicates``, ``near_duplicates_real``."""
        real, generated = (side.double() for side in self.equal("birthday", MOST))
        count, middle = len(real), real.mean(0)
        real, generated = real - middle, generated - middle
        nearest = neighbour_radii(real, 1)
        radius = self.threshold * nearest.median().sqrt().item()
        self.used, self.radius = count, radius
        pairs = collisions(generated, radius)
        degrees = pairs.flatten().bincount(minlength=count)
        shares = {"near_duplicates": degrees > 0, "near_duplicates_real": nearest <= radius**2}
        found = {name: hits.double().mean().item() for name, hits in shares.items()}
        self.spreads = {name: standard_error(hits.double()) for name, hits in shares.items()}
        middle_size = first_collisions(pairs, count, rng.generator("metric", "birthday")).quantile(0.5, interpolation="higher")
        if middle_size.isinf():
            self.remarks = (
                f"fewer than half of the orders of {count} samples meet a near-duplicate: batches collide only above; "
                "raise evaluation.num to find from how many",
            )
            return found
        self.remarks = ()
        size = middle_size.item()
        relative = 2 * standard_error(degrees.double()) / degrees.double().mean().item()  # jackknife
        support = size**2 / (2 * math.log(2))
        self.spreads = {"birthday": size * relative / 2, "support": support * relative, **self.spreads}
        return {"birthday": size, "support": support, **found}

    def card(self) -> dict[str, Any]:
        return {
            "threshold": f"{self.threshold} of the median distance of a real sample to the nearest other",
            "radius": self.radius,
            "space": self.space,
            "samples of a side": self.used,
            "std": "of the generated sample: jackknife of the share of colliding pairs; binomial for shares of samples",
        }
