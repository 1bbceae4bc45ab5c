"""Frechet distance of the features of two samples, seen as Gaussians (Heusel et al. 2017; Dowson and Landau 1982):

    |mu1 - mu2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)),   S with ddof 1, all in float64.

The last trace is the sum of the square roots of the eigenvalues of S1 S2. With any factor S1 = F^T F these are the
eigenvalues of F S2 F^T, which is symmetric: one ``eigvalsh``, and no iterative square root. F is the Cholesky factor
(upper), the symmetric root if S1 is singular, and the centred sample itself over sqrt(n - 1) if n is not above the
dimension d: then F S2 F^T is a Gram matrix of size n, exact, where the d x d route would only see rounding noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from ganrun.ground.errors import BadInput
from ganrun.ground.registry import register
from ganrun.ground.traits import Rule
from ganrun.metrics.base import Sample, Score

CHUNK = 4096  # rows that are in float64 at a time


@dataclass
class Moments:
    """Mean (d,) and covariance (d, d, ddof 1) of ``count`` features; ``rows`` = centred / sqrt(count - 1) if count <= d."""

    count: int
    mean: Tensor
    covariance: Tensor
    rows: Tensor | None = None


def moments(features: Tensor) -> Moments:
    """Moments of ``features`` (n, d), n >= 2, in float64."""
    count, dimension = features.shape
    mean = torch.stack([chunk.double().sum(0) for chunk in features.split(CHUNK)]).sum(0) / count
    if count <= dimension:
        rows = (features.double() - mean) / (count - 1) ** 0.5
        return Moments(count, mean, rows.T @ rows, rows)
    covariance = torch.zeros(dimension, dimension, dtype=torch.float64)
    for chunk in features.split(CHUNK):
        centred = chunk.double() - mean
        covariance.addmm_(centred.T, centred)
    return Moments(count, mean, covariance / (count - 1))


def frechet_distance(first: Moments, second: Moments) -> float:
    """The squared Frechet distance of two Gaussians; never below zero."""
    if second.count < first.count:  # the smaller sample gives the smaller Gram matrix
        first, second = second, first
    factor = _factor(first)
    eigenvalues = torch.linalg.eigvalsh(factor @ second.covariance @ factor.T)
    roots = eigenvalues.clamp(min=0).sqrt().sum()
    shift = (first.mean - second.mean).square().sum()
    distance = shift + first.covariance.trace() + second.covariance.trace() - 2 * roots
    return max(distance.item(), 0.0)


def _factor(side: Moments) -> Tensor:
    """F with F^T F = covariance: the sample's own rows, else Cholesky's factor, else the symmetric root."""
    if side.rows is not None:
        return side.rows
    upper, failed = torch.linalg.cholesky_ex(side.covariance, upper=True)
    if not failed:
        return upper
    values, vectors = torch.linalg.eigh(side.covariance)
    return values.clamp(min=0).sqrt()[:, None] * vectors.T


@register("metric", "fid")
class FrechetDistance(Score):
    """Frechet distance between real and generated features: lower is better, zero for equal means and covariances."""

    higher_is_better = False
    extracts = frozenset({"features"})
    needs: ClassVar[Mapping[str, Rule]] = {
        "dataset.image": Rule("the Frechet distance compares features of images", "metric=log_density")
    }
    real: list[Tensor]
    generated: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("real", [], dist_reduce_fx="cat")
        self.add_state("generated", [], dist_reduce_fx="cat")

    def update(self, sample: Sample, *, real: bool) -> None:
        if sample.features is None:
            raise ValueError("the Frechet distance needs features")
        (self.real if real else self.generated).append(sample.features)

    def compute(self) -> dict[str, float]:
        """``fid``; ``BadInput`` for fewer than two samples on a side."""
        sides = {"generated": self.generated, "real": self.real}
        found, remarks = [], []
        for side, parts in sides.items():
            features = dim_zero_cat(parts) if parts else torch.empty(0, 0)
            if len(features) < 2:
                raise BadInput(f"metric=fid: needs at least 2 samples, there is {len(features)} {side}; raise evaluation.num")
            found.append(moments(features))
            count, dimension = features.shape
            if count <= dimension:
                remarks.append(
                    f"N={count} <= {dimension} feature dimensions on the {side} side: its covariance is rank-deficient and "
                    "FID biased up; compare only with scores of the same N"
                )
        self.remarks = tuple(remarks)
        return {"fid": frechet_distance(*found)}

    def card(self) -> dict[str, Any]:
        return {"covariance": "ddof 1, float64", "square root": "eigenvalues"}
