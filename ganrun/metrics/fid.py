"""Frechet distance of the features of two samples, seen as Gaussians (Heusel et al. 2017; Dowson and Landau 1982):

    |mu1 - mu2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)),   S with ddof 1, all in float64.

The last trace is the sum of the square roots of the eigenvalues of S1 S2. With any factor S1 = F^T F these are the
eigenvalues of M = F S2 F^T, which is symmetric: no iterative square root. F is the Cholesky factor (upper), the symmetric
root if S1 is singular, and the centred sample itself over sqrt(n - 1) if n is not above the dimension d: then M is a Gram
matrix of size n, exact, where the d x d route would only see rounding noise. The smaller of two such samples gives it.

The standard deviation is that of the generated sample, to first order. A generated c, centred, adds 1/n of

    2 (mu2 - mu1).c + |c|^2 - c^T T c,   T = F^T M^(-1/2) F, the optimal transport map from S2 to S1,

less its mean, so the deviation is that of these n numbers over sqrt(n). It says nothing of the bias, which is positive and
falls like 1/n. The decomposition that gives the distance gives T. Where the generated sample itself is the factor X, with
S2 = X^T X, T obeys (X T X^T)^2 = X T S2 T X^T = X S1 X^T = M, so c^T T c is (n - 1) times an entry of the diagonal of M^(1/2).

I - T is made in float64; the rows that it is applied to are in float32 where the features are, and then the deviation is that
of float64 rows to 1e-6 of itself. Nothing of the distance is in float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.linalg import blas
from torch import Tensor

from ganrun.ground.registry import register
from ganrun.ground.traits import Rule
from ganrun.metrics.base import IMAGES, Sample, Score
from ganrun.metrics.blas_threads import blas_threads
from ganrun.metrics.two_samples import demand, standard_error

CHUNK = 4096  # rows that are in float64 at a time
SINGULAR = 1e-12  # eigenvalues below this share of the largest are none


@dataclass
class Moments:
    """Mean (d,) and covariance (d, d, ddof 1) of ``count`` features; ``rows`` = centred / sqrt(count - 1) if count <= d."""

    count: int
    mean: Tensor
    covariance: Tensor
    rows: Tensor | None = None


def moments(*parts: Tensor) -> Moments:
    """Moments of the features (n, d) that ``parts`` hold together, n >= 2, in float64; ``CHUNK`` rows at a time are copied."""
    count, dimension = sum(len(part) for part in parts), parts[0].shape[1]
    chunks = [chunk for part in parts for chunk in part.split(CHUNK)]
    mean = torch.stack([chunk.double().sum(0) for chunk in chunks]).sum(0) / count
    if count <= dimension:
        rows = (torch.cat([chunk.double() for chunk in chunks]) - mean) / (count - 1) ** 0.5
        return Moments(count, mean, rows.T @ rows, rows)
    covariance = np.zeros((dimension, dimension))
    with blas_threads():
        for chunk in chunks:
            centred = (chunk.double() - mean).numpy()
            covariance += centred.T @ centred  # numpy sees that it is symmetric and computes half of it
    return Moments(count, mean, torch.from_numpy(covariance / (count - 1)))


def frechet_distance(first: Moments, second: Moments) -> float:
    """The squared Frechet distance of two Gaussians; never below zero."""
    product = _product(first, second)[0]
    return _distance(first, second, torch.linalg.eigvalsh(torch.from_numpy(product)))


@dataclass
class Comparison:
    """The distance of ``moving`` from ``fixed``, and what each feature of ``moving`` adds to it, from one decomposition."""

    distance: float
    fixed: Moments
    moving: Moments
    quadratic: np.ndarray[Any, Any]  # I - T (d, d), or of each moving feature c^T T c (n,) where they are few

    def influence(self, *parts: Tensor) -> Tensor:
        """n times what each of the features that ``moving`` comes from adds to the distance, but for the mean: (n,)."""
        mean, shift = self.moving.mean, 2 * (self.moving.mean - self.fixed.mean)
        chunks = [chunk for part in parts for chunk in part.split(CHUNK)]
        if self.quadratic.ndim == 1:
            centred = torch.cat([chunk.double() for chunk in chunks]) - mean
            return centred @ shift + centred.square().sum(1) - torch.from_numpy(self.quadratic)
        # c^T A c of a symmetric A is c^T U c of a triangular U, which costs half
        upper = 2 * np.triu(self.quadratic, 1) + np.diag(np.diag(self.quadratic))
        held = {torch.float64: upper, torch.float32: upper.astype(np.float32)}
        found = []
        with blas_threads():
            for chunk in chunks:
                exact = chunk.double() - mean
                rows = exact if chunk.dtype == torch.float64 else exact.float()
                multiply = blas.dtrmm if rows.dtype == torch.float64 else blas.strmm
                turned = multiply(1.0, np.asfortranarray(held[rows.dtype]), rows.numpy().T, trans_a=1).T
                found.append(exact @ shift + (torch.from_numpy(turned) * rows).sum(1, dtype=torch.float64))
        return torch.cat(found)

    def spread(self, *parts: Tensor) -> float:
        """Standard deviation of the distance over samples as large as that of ``moving``, to first order; ``fixed`` is."""
        return standard_error(self.influence(*parts))


def compare(fixed: Moments, moving: Moments) -> Comparison:
    """The Frechet distance of two Gaussians with what its standard deviation follows from."""
    product, factor, by_moving = _product(fixed, moving)
    with blas_threads():
        values, vectors = np.linalg.eigh(product)
        distance = _distance(fixed, moving, torch.from_numpy(values))
        if by_moving:
            diagonal = (vectors**2) @ np.sqrt(values.clip(min=0))
            return Comparison(distance, fixed, moving, (moving.count - 1) * diagonal)
        kept = values > values.max() * SINGULAR
        scaled = vectors[:, kept] * values[kept] ** -0.25
        turned = _times(scaled.T, factor)
        return Comparison(distance, fixed, moving, np.eye(turned.shape[1]) - turned.T @ turned)


def _distance(first: Moments, second: Moments, eigenvalues: Tensor) -> float:
    roots = eigenvalues.clamp(min=0).sqrt().sum()
    shift = (first.mean - second.mean).square().sum()
    return max((shift + first.covariance.trace() + second.covariance.trace() - 2 * roots).item(), 0.0)


def _product(fixed: Moments, moving: Moments) -> tuple[Any, Any, bool]:
    """(F S F^T, F, whether F is the factor of ``moving``, S the covariance of the other): numpy arrays.

    The smaller sample gives the smaller matrix; of two large ones ``fixed`` gives the factor.
    """
    by_moving = moving.rows is not None and moving.count < fixed.count
    one, other = (moving, fixed) if by_moving else (fixed, moving)
    factor = _factor(one)
    with blas_threads():
        if one.rows is not None and other.rows is not None:
            half = factor @ other.rows.numpy().T
            return half @ half.T, factor, by_moving
        if one.rows is not None:
            return factor @ other.covariance.numpy() @ factor.T, factor, by_moving
        return _times(_times(other.covariance.numpy(), factor, transposed=True).T, factor, transposed=True), factor, by_moving


def _times(matrix: Any, factor: Any, *, transposed: bool = False) -> Any:
    """``matrix @ factor`` or ``matrix @ factor.T``; half the work where the factor is upper triangular, as Cholesky's is."""
    if factor.shape[0] != factor.shape[1] or np.tril(factor, -1).any():
        return matrix @ (factor.T if transposed else factor)
    # by columns as BLAS has it: (matrix @ factor)^T = factor^T matrix^T
    return blas.dtrmm(1.0, factor.T, matrix.T, lower=1, trans_a=0 if not transposed else 1).T


def _factor(side: Moments) -> Any:
    """F with F^T F = covariance: the sample's own rows, else Cholesky's factor, else the symmetric root."""
    if side.rows is not None:
        return side.rows.numpy()
    upper, failed = torch.linalg.cholesky_ex(side.covariance, upper=True)
    if not failed:
        return np.ascontiguousarray(upper.numpy())
    values, vectors = torch.linalg.eigh(side.covariance)
    return (values.clamp(min=0).sqrt()[:, None] * vectors.T).numpy()


def moments_of(samples: Sequence[Sample]) -> Moments:
    """Moments of the features of ``samples`` together; those of a single one are found once for it."""
    if len(samples) == 1:
        return Moments(**samples[0].once("moments", lambda: vars(moments(*features_of(samples)))))
    return moments(*features_of(samples))


def features_of(samples: Sequence[Sample]) -> list[Tensor]:
    """The features of each sample, as rows."""
    return [sample.features.flatten(1) for sample in samples if sample.features is not None]


@register("metric", "fid")
class FrechetDistance(Score):
    """Frechet distance between real and generated features: lower is better, zero for equal means and covariances."""

    directions: Mapping[str, bool | None] = {"fid": False}
    tells: ClassVar[Mapping[str, tuple[str, ...]]] = {"fid": ("fidelity", "diversity")}
    extracts = frozenset({"features"})
    needs: ClassVar[Mapping[str, Rule]] = IMAGES
    least: ClassVar[int] = 2

    def __init__(self) -> None:
        super().__init__()
        self.real: list[Sample] = []  # samples and not their features: those of real data may be on disk, with their moments
        self.generated: list[Sample] = []

    def fewest(self) -> tuple[int, int]:
        return self.least, self.least

    def reset(self) -> None:
        super().reset()
        self.real, self.generated = [], []

    def update(self, sample: Sample, *, real: bool) -> None:
        (self.real if real else self.generated).append(sample)

    def compute(self) -> dict[str, float]:
        """``fid``; ``BadInput`` for fewer than two samples on a side."""
        made = features_of(self.generated)
        demand("fid", self.least, generated=sum(map(len, made)))
        first = moments_of(self.real)
        demand("fid", self.least, real=first.count)
        second = moments(*made)
        dimension, remarks = len(first.mean), []
        for side, count in (("generated", second.count), ("real", first.count)):
            if count <= dimension:
                remarks.append(
                    f"N={count} <= {dimension} feature dimensions on the {side} side: its covariance is rank-deficient and "
                    "FID biased up; compare only with scores of the same N, or read metric=kid, which is unbiased at any N"
                )
        self.remarks = tuple(remarks)
        found = compare(first, second)
        self.spreads = {"fid": found.spread(*made)}
        return {"fid": found.distance}

    def card(self) -> dict[str, Any]:
        return {
            "covariance": "ddof 1, float64",
            "square root": "eigenvalues",
            "std": "of the generated sample, by the influence function; the bias of order 1/N is not in it",
        }
