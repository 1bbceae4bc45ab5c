"""Means over seeds, and which differences between settings are decided.

A mean of n seeds has the t-interval mean ± t * s / sqrt(n) at 95 %, s with ddof 1 and t with n - 1 degrees of freedom. The
difference of two settings is that of the runs that share a seed, paired, where two or more seeds are shared; else that of the
means, with Welch's interval: variance s1^2 / n1 + s2^2 / n2 and Welch and Satterthwaite's degrees of freedom. Its p-value is that
of the two-sided t-test with the same spread. Many differences are judged together by Holm's step-down procedure.

How many seeds would decide a difference that is not: the least number n at which that t-test, with the factor that Holm's
procedure gives it now, comes out decided with probability ``POWER``, if the difference and the spread are what they seem. Its
statistic then has the noncentral t-distribution with noncentrality gap * sqrt(n) / s.
Sources: Welch, Biometrika 34 (1947); Holm, Scandinavian Journal of Statistics 6 (1979); Cohen, Statistical Power Analysis (1988).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, variance

LEVEL = 0.95
POWER = 0.8
MOST = 1000  # seeds that a person may be told to run


@dataclass
class Estimate:
    """A mean over ``count`` seeds; ``half`` is half the width of its interval, None for a single seed."""

    mean: float
    half: float | None
    count: int

    def __str__(self) -> str:
        return f"{self.mean:.4g}" + (f" ±{self.half:.2g}" if self.half is not None else "") + f" (n={self.count})"


@dataclass
class Difference(Estimate):
    """A setting's mean minus the reference's. ``p``: of the two-sided t-test, None where there is none, ``adjusted``: Holm's.

    ``how``: "paired" or "Welch"; ``other``: Welch's number of seeds of the reference. ``spread``: standard deviation that the
    difference has with one seed a side; ``share``: degrees of freedom for each further seed (1 where paired). ``factor``: what
    Holm's procedure multiplies ``p`` by.
    """

    how: str = "paired"
    p: float | None = None
    adjusted: float | None = None
    other: int | None = None
    spread: float | None = None
    share: float = 1.0
    factor: int = 1

    @property
    def decided(self) -> bool:
        return self.adjusted is not None and self.adjusted <= 1 - LEVEL

    @property
    def further(self) -> int | None:
        """Seeds more (of each side, for Welch's test) that would decide it; None where it is decided, or ``MOST`` do not."""
        if self.decided or self.adjusted is None or not self.spread:
            return None
        held = self.count if self.other is None else min(self.count, self.other)
        wanted = seeds(self.mean, self.spread, level=(1 - LEVEL) / self.factor, share=self.share)
        return None if wanted is None else max(1, wanted - held)

    def __str__(self) -> str:
        count = f"n={self.count}" if self.other is None else f"n={self.count} and {self.other}"
        half = f" ±{self.half:.2g}" if self.half is not None else ""
        return f"{self.mean:+.4g}{half} ({count}, {self.how})"


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and 95 % t-interval of independent values."""
    from scipy.stats import t  # takes a second to import

    count = len(values)
    half = float(t.ppf((1 + LEVEL) / 2, count - 1)) * math.sqrt(variance(values) / count) if count > 1 else None
    return Estimate(mean(values), half, count)


def difference(values: Mapping[int, float], reference: Mapping[int, float]) -> Difference | None:
    """``values`` minus ``reference``, both {seed: value}; None where no seed is shared and a side has a single one.

    Values without any spread are no test: ``p`` is then None, as it is for a single shared seed.
    """
    shared = [values[seed] - reference[seed] for seed in values if seed in reference]
    if len(shared) >= 2:
        found = estimate(shared)
        scale = math.sqrt(variance(shared) / len(shared))
        spread = math.sqrt(variance(shared))
        return Difference(found.mean, found.half, found.count, p=_p(found.mean, scale, len(shared) - 1), spread=spread)
    if len(values) < 2 or len(reference) < 2:
        return Difference(shared[0], None, 1) if shared else None
    return _welch(list(values.values()), list(reference.values()))


def _welch(values: Sequence[float], reference: Sequence[float]) -> Difference:
    from scipy.stats import t

    gap = mean(values) - mean(reference)
    parts = [variance(side) / len(side) for side in (values, reference)]
    scale, half, p, share = math.sqrt(sum(parts)), 0.0, None, 1.0
    alike = [variance(side) for side in (values, reference)]
    if scale > 0:
        degrees = sum(parts) ** 2 / sum(part**2 / (len(side) - 1) for part, side in zip(parts, (values, reference), strict=True))
        half, p = float(t.ppf((1 + LEVEL) / 2, degrees)) * scale, _p(gap, scale, degrees)
        share = sum(alike) ** 2 / sum(entry**2 for entry in alike)
    spread = math.sqrt(sum(alike))
    return Difference(gap, half, len(values), how="Welch", p=p, other=len(reference), spread=spread, share=share)


def _p(gap: float, scale: float, degrees: float) -> float | None:
    """Of the two-sided t-test; None where the spread is none but for rounding."""
    from scipy.stats import t

    if scale <= 1e-12 * abs(gap) or scale == 0:
        return 1.0 if gap == 0 else None
    return float(2 * t.sf(abs(gap) / scale, degrees))


def power(gap: float, spread: float, count: int, *, level: float, share: float = 1.0) -> float:
    """The probability that a two-sided t-test at ``level`` decides a true difference ``gap`` with ``count`` seeds a side.

    ``spread`` and ``share`` are those of ``Difference``.
    """
    from scipy.stats import chi2, nct, t

    degrees, shift = (count - 1) * share, abs(gap) * math.sqrt(count) / spread
    bound = float(t.isf(level / 2, degrees))
    found = float(nct.sf(bound, degrees, shift) + nct.cdf(-bound, degrees, shift))
    if math.isnan(found):  # scipy's for a large noncentrality, beside which the normal part of the statistic is nothing
        return float(chi2.cdf(degrees * (shift / bound) ** 2, degrees))
    return found


def seeds(gap: float, spread: float, *, level: float, share: float = 1.0) -> int | None:
    """The least number of seeds a side at which ``power`` is ``POWER``; None where ``MOST`` are too few."""
    low, high = 1, 2  # too few; enough, once the loop has ended
    while power(gap, spread, high, level=level, share=share) < POWER:
        if high >= MOST:
            return None
        low, high = high, min(2 * high, MOST)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(gap, spread, middle, level=level, share=share) >= POWER else (middle, high)
    return high


def holm(values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given: the k-th smallest of m (k from 0) times m - k, never below the one before."""
    order = sorted(range(len(values)), key=values.__getitem__)
    adjusted, least = [0.0] * len(values), 0.0
    for rank, place in enumerate(order):
        least = max(least, min(1.0, (len(values) - rank) * values[place]))
        adjusted[place] = least
    return adjusted


def judge(differences: Sequence[Difference]) -> None:
    """Give each difference its ``adjusted`` p-value; one that could not be tested counts in their number all the same."""
    values = [1.0 if one.p is None else one.p for one in differences]
    for found, adjusted in zip(differences, holm(values), strict=True):
        found.adjusted = None if found.p is None else adjusted
    for rank, place in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        differences[place].factor = len(values) - rank


def best(settings: Sequence[Mapping[int, float]], higher: bool) -> int | None:
    """The place of the setting whose mean is best, where all its differences from the others are decided, Holm over all pairs."""
    means = [mean(held.values()) if held else None for held in settings]
    known = [place for place, held in enumerate(means) if held is not None]
    if len(known) < 2:
        return None
    pairs = {(one, other): difference(settings[one], settings[other]) for one in known for other in known if one < other}
    if any(found is None for found in pairs.values()):
        return None
    judge([found for found in pairs.values() if found is not None])
    chosen = max(known, key=lambda place: (means[place] or 0.0) * (1 if higher else -1))
    return chosen if all(found is not None and found.decided for pair, found in pairs.items() if chosen in pair) else None
