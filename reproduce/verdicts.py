"""From numbers to a verdict.

Each arm's values over seeds become a mean and its 95 % t-interval: mean +- t(0.975, n - 1) s / sqrt(n), s with ddof 1. One
value alone has no interval, and decides nothing. A check is one of

    at_least: v             the interval lies at or above v: PASS; below it: FAIL; across it: INCONCLUSIVE
    at_most: v              the reverse
    near: v, tolerance: t   the interval lies within v +- t: PASS; outside: FAIL; else INCONCLUSIVE
    below: ARM, above: ARM  Welch's 95 % interval of the difference of the two means (unequal variances) lies wholly on the
                            claimed side of 0: PASS; on the other: FAIL; holds 0: INCONCLUSIVE

``arm`` names one arm, or several that must all hold, or with ``any: true`` one of which must. A target passes if all of its
checks do, fails if one fails, and is otherwise inconclusive; without a single finished run it is NOT RUN.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from scipy import stats

PASS, FAIL, INCONCLUSIVE, NOT_RUN = "PASS", "FAIL", "INCONCLUSIVE", "NOT RUN"
Table = Mapping[str, Mapping[str, Sequence[float]]]  # {arm: {read: values over seeds}}


def interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Mean and t-interval of ``values``; infinitely wide for one of them, and for any that is not finite."""
    if not values:
        raise ValueError("no values, no mean")
    mean = fmean(values)
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return Interval(mean, math.inf, len(values))
    width = float(stats.t.ppf((1 + level) / 2, len(values) - 1)) * stdev(values) / math.sqrt(len(values))
    return Interval(mean, width, len(values))


def difference(first: Sequence[float], second: Sequence[float], level: float = 0.95) -> Interval:
    """mean(first) - mean(second) and its interval after Welch (1947): variances s^2/n add up, and so do, by Satterthwaite's rule,
    their degrees of freedom. Infinitely wide where an arm has one value or one that is not finite."""
    apart, count = fmean(first) - fmean(second), min(len(first), len(second))
    if count < 2 or not all(map(math.isfinite, (*first, *second))):
        return Interval(apart, math.inf, count)
    parts = [stdev(values) ** 2 / len(values) for values in (first, second)]
    if not any(parts):  # no spread at all, as where every run finds all modes
        return Interval(apart, 0.0, count)
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / (len(first) - 1) + parts[1] ** 2 / (len(second) - 1))
    return Interval(apart, float(stats.t.ppf((1 + level) / 2, freedom)) * math.sqrt(sum(parts)), count)


def side(low: float, high: float, bound: float) -> str:
    """PASS where [low, high] lies at or above ``bound``, FAIL where below it."""
    if low >= bound:
        return PASS
    return FAIL if high < bound else INCONCLUSIVE


def decide(check: Mapping[str, Any], arm: str, table: Table) -> str:
    """The verdict of one check on one arm."""
    values = table.get(arm, {}).get(check["read"], ())
    if not values:
        return NOT_RUN
    found = interval(values)
    if "at_least" in check:
        return side(found.low, found.high, float(check["at_least"]))
    if "at_most" in check:
        return side(-found.high, -found.low, -float(check["at_most"]))
    if "near" in check:
        low, high = float(check["near"]) - float(check["tolerance"]), float(check["near"]) + float(check["tolerance"])
        if low <= found.low and found.high <= high:
            return PASS
        return FAIL if found.high < low or found.low > high else INCONCLUSIVE
    key = "below" if "below" in check else "above"
    others = table.get(str(check[key]), {}).get(check["read"], ())
    if not others:
        return NOT_RUN
    apart = difference(others, values) if key == "below" else difference(values, others)
    if apart.low > 0:
        return PASS
    return FAIL if apart.high < 0 else INCONCLUSIVE


def judge(check: Mapping[str, Any], table: Table) -> str:
    """The verdict of one check on all of its arms."""
    arms = [check["arm"]] if isinstance(check["arm"], str) else list(check["arm"])
    found = [decide(check, arm, table) for arm in arms]
    if check.get("any"):
        if PASS in found:
            return PASS
        return FAIL if all(entry == FAIL for entry in found) else together(found, fail=False)
    return together(found)


def together(found: Sequence[str], *, fail: bool = True) -> str:
    """All PASS: PASS. One FAIL: FAIL, unless ``fail`` is false. All NOT RUN: NOT RUN. Otherwise INCONCLUSIVE."""
    if found and all(entry == PASS for entry in found):
        return PASS
    if fail and FAIL in found:
        return FAIL
    return NOT_RUN if all(entry == NOT_RUN for entry in found) else INCONCLUSIVE


def verdict(checks: Sequence[Mapping[str, Any]], table: Table) -> str:
    """The verdict of a target."""
    return together([judge(check, table) for check in checks])


def sentence(check: Mapping[str, Any]) -> str:
    """A check in words, such as ``modes of GAN below PacGAN2``."""
    arms = check["arm"] if isinstance(check["arm"], str) else (" or " if check.get("any") else ", ").join(check["arm"])
    text = f"{check['read']} of {arms} "
    if "at_least" in check:
        return f"{text}at least {check['at_least']:g}"
    if "at_most" in check:
        return f"{text}at most {check['at_most']:g}"
    if "near" in check:
        return f"{text}within {check['tolerance']:g} of {check['near']:g}"
    key = "below" if "below" in check else "above"
    return f"{text}{key} that of {check[key]}"


@dataclass(frozen=True)
class Interval:
    """mean +- width over ``count`` values."""

    mean: float
    width: float
    count: int

    @property
    def low(self) -> float:
        return self.mean - self.width

    @property
    def high(self) -> float:
        return self.mean + self.width

    def __str__(self) -> str:
        if math.isfinite(self.width):
            return f"{self.mean:.4g} ± {self.width:.2g}"
        return f"{self.mean:.4g} (one seed)" if self.count == 1 else f"{self.mean:.4g} (not finite)"
