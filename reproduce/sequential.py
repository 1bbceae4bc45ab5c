"""Intervals that hold at every look of a sequential design.

A target is looked at after 5, then 10, then 20 seeds, and stops as soon as it is decided. An ordinary 95 % interval that is
looked at three times misses the truth more often than 5 times in 100. Two kinds hold at all looks together:

- *Spending.* The look at n_k seeds uses an interval of level 1 - alpha_k, where alpha_k = alpha n_k / (n_1 + ... + n_K). The
  levels add up to alpha, so by the union bound all looks together miss with a probability of alpha at most, whatever depends on
  what. These are repeated confidence intervals (Jennison and Turnbull 1989, "Interim analyses: the repeated confidence interval
  approach", JRSS B 51) with the error spent in proportion to the seeds (Lan and DeMets 1983). ``student`` needs values that are
  near to normal; ``binomial`` is exact for shares of runs (Clopper and Pearson 1934).
- *Betting.* For values with bounds that are known, ``betting`` is valid at every number of seeds, for every law within the
  bounds (the hedged capital process of Waudby-Smith and Ramdas 2024, "Estimating means of bounded random variables by
  betting", JRSS B 86, section 4.4). It needs no spread: eight eights have an interval, where Student's has none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np
from scipy import stats

ALPHA = 0.05


@dataclass(frozen=True)
class Interval:
    """A mean, or a share, and the interval [low, high] that holds it; ``count`` is the number of seeds."""

    mean: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            return f"{self.mean:.4g} (no interval)"
        return f"{self.mean:.4g} [{self.low:.3g}, {self.high:.3g}]"


def spend(looks: Sequence[int], look: int, alpha: float = ALPHA) -> float:
    """The error that the look at ``look`` seeds may spend: alpha look / sum(looks).

    >>> [round(spend((5, 10, 20), look), 4) for look in (5, 10, 20)]
    [0.0071, 0.0143, 0.0286]
    """
    return alpha * look / sum(looks)


def student(values: Sequence[float], alpha: float) -> Interval:
    """Mean and its t-interval: mean +- t(1 - alpha / 2, n - 1) s / sqrt(n), s with ddof 1.

    The whole line where no spread can be estimated: one value, values that are all the same, or one that is not finite.
    """
    count, mean = len(values), fmean(values)
    spread = stdev(values) if count > 1 and all(map(math.isfinite, values)) else 0.0
    if not spread > 1e-9 * abs(mean):
        return Interval(mean, -math.inf, math.inf, count)
    width = float(stats.t.ppf(1 - alpha / 2, count - 1)) * spread / math.sqrt(count)
    return Interval(mean, mean - width, mean + width, count)


def binomial(hits: int, count: int, alpha: float) -> Interval:
    """The share of runs that hit, with Clopper and Pearson's exact interval."""
    low = float(stats.beta.ppf(alpha / 2, hits, count - hits + 1)) if hits else 0.0
    high = float(stats.beta.ppf(1 - alpha / 2, hits + 1, count - hits)) if hits < count else 1.0
    return Interval(hits / count, low, high, count)


def betting(values: Sequence[float], bounds: tuple[float, float], alpha: float, *, points: int = 2001) -> Interval:
    """Mean of values within ``bounds``, with an interval that is valid at every number of values.

    x = (value - low) / (high - low). For each candidate m two gamblers bet that the mean is larger, and smaller: K+ = prod(1
    + l+ (x_t - m)), K- = prod(1 - l- (x_t - m)), where l_t = sqrt(2 log(2 / alpha) / (v_{t-1} t log(1 + t))) rests on the
    values before alone, v on their variance about their mean, and l+ <= 3 / (4 m), l- <= 3 / (4 (1 - m)), so that no one is
    ruined. If m is the mean, max(K+, K-) / 2 reaches 1 / alpha with a probability of alpha at most, at any time. The interval
    holds the candidates for which it never did.

    Raises:
        ValueError: a value lies beyond the bounds.
    """
    low, high = bounds
    x = (np.asarray(values, dtype=float) - low) / (high - low)
    if not np.all((x >= -1e-12) & (x <= 1 + 1e-12)):
        raise ValueError(f"a value of {list(values)} lies beyond its bounds {list(bounds)}")
    m = np.linspace(0, 1, points)
    up, down = np.zeros(points), np.zeros(points)
    stays = np.ones(points, dtype=bool)
    total, squares = 0.5, 0.25  # t times the mean and the variance of what was seen, begun with those of a fair coin
    with np.errstate(divide="ignore"):
        most_up, most_down = 0.75 / m, 0.75 / (1 - m)
    for time, entry in enumerate(x, start=1):
        bet = math.sqrt(2 * math.log(2 / alpha) / (squares * math.log(1 + time)))
        up += np.log1p(np.minimum(bet, most_up) * (entry - m))
        down += np.log1p(-np.minimum(bet, most_down) * (entry - m))
        stays &= np.maximum(up, down) - math.log(2) < -math.log(alpha)
        total += entry
        squares += (entry - total / (time + 1)) ** 2
    kept = np.flatnonzero(stays)
    mean = fmean(values)
    if not len(kept):  # the values contradict every candidate, as where they drift: nothing is said
        return Interval(mean, low, high, len(values))
    below, above = max(kept[0] - 1, 0), min(kept[-1] + 1, points - 1)  # outwards by one step of the grid
    return Interval(mean, low + m[below] * (high - low), low + m[above] * (high - low), len(values))
