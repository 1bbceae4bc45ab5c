"""Frechet distance of the features of two samples, seen as Gaussians (Heusel et al. 2017; Dowson and Landau 1982):

    |mu1 - mu2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)),   S with ddof 1, all in float64.

The last trace is the sum of the square roots of the eigenvalues of S1 S2. With any factor S1 = F^T F these are the
eigenvalues of F S2 F^T, which is symmetric: one ``eigvalsh``, and no iterative square root. F is the Cholesky factor
(upper), the symmetric root if S1 is singular, and the centred sample itself over sqrt(n - 1) if n is not above the
dimension d: then F S2 F^T is a Gram matrix of size n, exact, where the d x d route would only see rounding noise.

The standard deviation is that of the generated sample, to first order. A generated c, centred, adds 1/n of

    2 (mu2 - mu1).c + |c|^2 - c^T T c,   T = F^T (F S2 F^T)^(-1/2) F, the optimal transport map from S2 to S1,

less its mean, so the deviation is that of these n numbers over sqrt(n). It says nothing of the bias, which is positive and
falls like 1/n.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ganrun.ground.registry import register
from ganrun.ground.traits import Rule
from ganrun.metrics.base import IMAGES
from ganrun.metrics.two_samples import TwoSampleScore, standard_error

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


def spread(real: Moments, generated: Moments, features: Tensor) -> float:
    """Standard deviation of the distance over samples as large as ``features`` (n, d), to first order; real ones held fixed."""
    return standard_error(influence(real, generated, features))


def influence(fixed: Moments, moving: Moments, features: Tensor) -> Tensor:
    """n times what each of the ``features`` (n, d) that ``moving`` comes from adds to the distance, but for the mean: (n,)."""
    factor = _factor(fixed)
    values, vectors = torch.linalg.eigh(factor @ moving.covariance @ factor.T)
    kept = values > values.max() * 1e-12
    turned = (vectors[:, kept] * values[kept] ** -0.25).T @ factor
    parts = []
    for chunk in features.split(CHUNK):
        centred = chunk.double() - moving.mean
        shift = 2 * centred @ (moving.mean - fixed.mean)
        parts.append(shift + centred.square().sum(1) - (centred @ turned.T).square().sum(1))
    return torch.cat(parts)


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
class FrechetDistance(TwoSampleScore):
    """Frechet distance between real and generated features: lower is better, zero for equal means and covariances."""

    directions: Mapping[str, bool | None] = {"fid": False}
    tells: ClassVar[Mapping[str, tuple[str, ...]]] = {"fid": ("fidelity", "diversity")}
    extracts = frozenset({"features"})
    needs: ClassVar[Mapping[str, Rule]] = IMAGES

    def compute(self) -> dict[str, float]:
        """``fid``; ``BadInput`` for fewer than two samples on a side."""
        real, generated = self.both("fid")
        remarks = []
        for side, features in (("generated", generated), ("real", real)):
            count, dimension = features.shape
            if count <= dimension:
                remarks.append(
                    f"N={count} <= {dimension} feature dimensions on the {side} side: its covariance is rank-deficient and "
                    "FID biased up; compare only with scores of the same N, or read metric=kid, which is unbiased at any N"
                )
        self.remarks = tuple(remarks)
        first, second = moments(real), moments(generated)
        self.spreads = {"fid": spread(first, second, generated)}
        return {"fid": frechet_distance(second, first)}

    def card(self) -> dict[str, Any]:
        return {
            "covariance": "ddof 1, float64",
            "square root": "eigenvalues",
            "std": "of the generated sample, by the influence function; the bias of order 1/N is not in it",
        }
