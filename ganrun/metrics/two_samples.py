"""What metrics over two sets of rows share: keeping them, cutting them to equal sizes, distances between them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from ganrun.ground import rng
from ganrun.ground.errors import BadInput
from ganrun.metrics.base import Sample, Score

CHUNK = 1024  # rows whose distances to all others are held at a time


def standard_error(influence: Tensor) -> float:
    """Of a mean, or of a value to first order from its influence function (n,): standard deviation / sqrt(n)."""
    return (influence.double().std(correction=0) / len(influence) ** 0.5).item() if len(influence) > 1 else 0.0


def subset(rows: Tensor, most: int, *purpose: object) -> Tensor:
    """``rows``, or ``most`` of them chosen without replacement by numbers that follow from ``purpose`` alone."""
    if len(rows) <= most:
        return rows
    return rows[torch.randperm(len(rows), generator=rng.generator("metric", *purpose))[:most].sort().values]


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """|x_i - y_j|^2 in float64: (n, m). Rounding stays near 1e-16 of the squared norms, so centre the rows first."""
    products = x @ y.T
    return (x.square().sum(1)[:, None] + y.square().sum(1) - 2 * products).clamp(min=0)


def neighbour_radii(x: Tensor, k: int) -> Tensor:
    """Squared distance of each row of ``x`` to its k-th nearest other row: (n,)."""
    parts = []
    for start in range(0, len(x), CHUNK):
        distances = squared_distances(x[start : start + CHUNK], x)
        rows = torch.arange(len(distances))
        distances[rows, start + rows] = float("inf")  # a row is not its own neighbour
        parts.append(distances.kthvalue(k, dim=1).values)
    return torch.cat(parts)


def demand(name: str, least: int, **counts: int) -> None:
    """``BadInput`` naming the metric for fewer than ``least`` samples on a side, "real" or "generated"."""
    for side, count in counts.items():
        if count < least:
            cure = "raise evaluation.num" if side == "generated" else "the reference split is too small for it"
            raise BadInput(f"metric={name}: needs at least {least} samples, there are {count} {side}; {cure}")


def symmetric_blocks(count: int, size: int) -> Iterator[tuple[slice, slice]]:
    """(rows, columns) of blocks that hold each pair i <= j of ``count``: of a symmetric matrix little more than half."""
    for start in range(0, count, size):
        yield slice(start, start + size), slice(start, count)


class TwoSampleScore(Score):
    """Keeps ``field`` of every real and generated sample."""

    field: ClassVar[str] = "features"
    least: ClassVar[int] = 2
    real: list[Tensor]
    generated: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("real", [], dist_reduce_fx="cat")
        self.add_state("generated", [], dist_reduce_fx="cat")

    def fewest(self) -> tuple[int, int]:
        return self.least, self.least

    def update(self, sample: Sample, *, real: bool) -> None:
        rows = getattr(sample, self.field)
        if rows is None:
            raise ValueError(f"{type(self).__name__} needs {self.field}")
        (self.real if real else self.generated).append(rows)

    def given(self, name: str, least: int | None = None) -> tuple[Tensor, Tensor]:
        """(real, generated) as rows (n, d) as they came; ``BadInput`` naming the metric for fewer than ``least`` on a side."""
        least = self.least if least is None else least
        demand(name, least, **{side: sum(map(len, getattr(self, side))) for side in ("real", "generated")})
        real, generated = (parts[0] if len(parts) == 1 else torch.cat(parts) for parts in (self.real, self.generated))
        return real.flatten(1), generated.flatten(1)

    def both(self, name: str, least: int | None = None) -> tuple[Tensor, Tensor]:
        """As ``given``, in float64."""
        real, generated = self.given(name, least)
        return real.double(), generated.double()

    def equal(self, name: str, most: int, least: int | None = None) -> tuple[Tensor, Tensor]:
        """As ``given``, cut to equally many rows on both sides, at most ``most``, chosen by numbers that follow from ``name``."""
        real, generated = self.given(name, least)
        count = min(len(real), len(generated), most)
        return subset(real, count, name, "real"), subset(generated, count, name, "generated")
