"""What a sign is, what it sees of a run, and the measures that signs share.

Features of a sample are its numbers as they are for points and tokens, and an image averaged to at most 8x8 for images,
standardised by the mean of the real sample and one overall deviation of it. ``pair`` is the mean distance between different
real samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Partition:
    """The data's modes: ``centres`` (k, d) in features, ``shares`` (k,) of the real data nearest each; ``labelled``: they are
    the means of the classes, in the order of the labels."""

    centres: Tensor
    shares: Tensor
    labelled: bool

    def assign(self, features: Tensor) -> Tensor:
        """The nearest centre of each row of ``features``: int64 (n,)."""
        return torch.cdist(features, self.centres).argmin(1)


@dataclass(frozen=True)
class Yardstick:
    """What numbers of samples are held against, measured once on real data and in features.

    ``pair``: mean distance between different real samples. ``floor``: energy distance between two real samples. ``nearest``:
    median distance from other real samples to the nearest real one; ``blank``: the same from draws of a Gaussian of the data's
    mean and covariance, which knows no mode. ``radius``: median distance from the data's mean. ``extreme``: share of numbers
    beyond 0.99.
    """

    pair: float
    floor: float
    nearest: float
    blank: float
    radius: float
    extreme: float


@dataclass(frozen=True)
class Played:
    """What one phase of each side, played on a copy, says. Scores are float32 (n,), a map of patches averaged.

    ``teaching``: n * mean |d L_G / d score of a fake|. ``push``: that gradient's norm at a fake. ``slope``: mean norm of
    d score / d fake, over one deviation of the data. ``penalty_share``: penalties' part of the norm of D's gradient.
    None where the game does not have it.
    """

    real: Tensor | None = None
    fake: Tensor | None = None
    held_out: Tensor | None = None
    teaching: float | None = None
    slope: float | None = None
    penalty_share: float | None = None


class Look(Protocol):
    """What a sign sees of a run at one step. Everything is computed once, when it is first asked for."""

    previous: Mapping[str, object] | None  # the row of the look before
    kind: str  # image | points | tokens

    @property
    def real(self) -> Tensor:
        """Features of a fixed sample of real data: (n, d)."""

    @property
    def sides(self) -> tuple[Tensor, Tensor] | None:
        """Features of as many training as held-out samples, all different; None where nothing is held out."""

    @property
    def yardstick(self) -> Yardstick: ...

    @property
    def partition(self) -> Partition: ...

    def generated(self, *, training: bool = False, average: bool = False) -> Tensor:
        """Samples of fixed latents as they are: in evaluation mode of the present weights unless told."""

    def features(self, x: Tensor) -> Tensor: ...

    def gap(self, x: Tensor) -> float:
        """Energy distance of samples, as features, to the real sample."""

    @property
    def away(self) -> Tensor:
        """Distances of the present samples to the real ones: (n, m)."""

    @property
    def real_labels(self) -> Tensor | None:
        """The classes of the real sample, where the data set has any."""

    @property
    def labels(self) -> Tensor | None:
        """The classes asked for of ``generated``; None for a run that is not told labels."""

    def again(self, *, noise: bool = False, label: bool = False) -> Tensor | None:
        """``generated`` with other latents, or other labels; None where the run has none of these."""

    @property
    def played(self) -> Played: ...

    def players(self, side: str) -> Mapping[str, nn.Module]:
        """The networks that the phases of ``side`` train."""

    @property
    def moves(self) -> Mapping[str, float]:
        """How far the step before this look moved the weights of each side, relative to their norm."""

    @property
    def bound(self) -> float | None:
        """The bound within which a regularizer keeps the discriminator's weights; None without one."""

    @property
    def gradients(self) -> Mapping[str, float]:
        """RMS gradient of each side's weights over the optimizer's eps, where it has one."""

    @property
    def averaged(self) -> bool:
        """Whether there is a running average."""


class Sign:
    """One quantity. ``every``: it is taken at every ``every``-th look."""

    every = 1

    def __call__(self, look: Look) -> dict[str, float | str]:
        """Numbers by the names of the row; none where it does not apply. What is not finite is left out by the caller."""
        raise NotImplementedError


FEW = 8  # numbers of a feature up to which differences are taken one by one


def distances(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean distances (n, m), exact to 1e-6 for small differences too: products of many numbers are of float64."""
    if a.shape[1] <= FEW:
        return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
    return torch.cdist(a.double(), b.double(), compute_mode="use_mm_for_euclid_dist")


def mean_pair(x: Tensor) -> float:
    """Mean distance between different rows."""
    count = len(x)
    return float(distances(x, x).fill_diagonal_(0).sum() / max(count * (count - 1), 1))


def energy_distance(a: Tensor, b: Tensor) -> float:
    """(2 E|a - b| - E|a - a'| - E|b - b'|) / 2 E|a - b|, in [0, 1]: 0 for equal laws (Szekely and Rizzo 2013).

    Means within a sample are over different rows, so the estimate is unbiased up to the division and may fall a little below 0.
    """
    return gap(float(distances(a, b).mean()), mean_pair(a), mean_pair(b))


def gap(between: float, one: float, other: float) -> float:
    """The energy distance of two samples from the mean distances between them and within each."""
    return (2 * between - one - other) / (2 * between) if between > 0 else 0.0


def radius(features: Tensor) -> float:
    """Median distance from the origin, which is the data's mean."""
    return float(features.norm(dim=1).median())


def extreme(x: Tensor) -> float:
    """Share of numbers that stand at a bound of the training range."""
    return float((x.abs() > 0.99).float().mean())


def auc(higher: Tensor, lower: Tensor) -> float:
    """P(h > l) + P(h = l) / 2 for independent draws: the area under the ROC curve."""
    difference = higher[:, None] - lower[None, :]
    return float((difference > 0).float().mean() + (difference == 0).float().mean() / 2)
