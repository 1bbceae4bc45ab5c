"""From numbers to a verdict that holds at every look.

A check asks one thing of one arm, or of several that must all hold, or with ``any: true`` one of which must:

    at_least: v               the mean of the read is at or above v
    at_most: v                at or below v
    near: v, tolerance: t     within v +- t
    below: ARM, above: ARM    the mean of the differences to that arm, paired by seed, is on this side of 0
    share: s                  beside any of the above: in at least a share s of the runs (or pairs) the value itself is so

The interval of a mean is Student's, or where the read has ``bounds`` the one by betting; of a share it is the binomial one:
see sequential.py. A run that diverged has no value: it counts as a miss of a share, as the worse bound of a read with bounds,
and a mean without bounds has no interval then.

PASS: the interval lies wholly on the claimed side. FAIL: wholly on the other. The first look that decides a check decides it
for good; after the last look it is INCONCLUSIVE. A target passes if all of its checks do and fails if one fails. A claim that
is false passes with a probability of 5 % at most, as one of its checks is false and passes no more often than that. One that
is true fails with 5 % at most, because with m checks each must fail at the level 1 - 5 %/m to count.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from reproduce import sequential
from reproduce.sequential import ALPHA, Interval
from reproduce.target import Target

PASS, FAIL, INCONCLUSIVE, NOT_RUN = "PASS", "FAIL", "INCONCLUSIVE", "NOT RUN"
Table = Mapping[str, Mapping[str, Mapping[int, float]]]  # {arm: {read: {seed: value}}}; nan: the run diverged
Check = Mapping[str, Any]
MOST = 500  # seeds; beyond them no number is named


def arms(check: Check) -> list[str]:
    """The arms that the check is asked of."""
    return [check["arm"]] if isinstance(check["arm"], str) else list(check["arm"])


def partner(check: Check) -> str | None:
    """The arm that it compares them with, if it does."""
    return check.get("below") or check.get("above")


def asked(target: Target) -> int:
    """How many single questions could make the target fail; the arms of an ``any`` fail together, so they are one."""
    return sum(1 if check.get("any") else len(arms(check)) for check in target.checks)


def _holds(check: Check, value: float, other: float) -> bool:
    """Whether one run, or one pair, is as the check says. A run that diverged is not; a pair whose other run did is."""
    if math.isnan(value):
        return False
    if "at_least" in check:
        return value >= float(check["at_least"])
    if "at_most" in check:
        return value <= float(check["at_most"])
    if "near" in check:
        return abs(value - float(check["near"])) <= float(check["tolerance"])
    return math.isnan(other) or (value < other if "below" in check else value > other)


def measured(target: Target, check: Check, arm: str, table: Table, count: int, alpha: float) -> Interval | None:
    """The interval of what the check asks, from the first ``count`` seeds; nothing where one of them is missing.

    Of a mean for ``at_least``, ``at_most``, ``near``; of a mean difference for ``below`` and ``above``, positive where the claim
    is right; of the share of runs or pairs for which the claim is right with ``share``.
    """
    read, seeds = check["read"], target.seeds[:count]
    values, others = table.get(arm, {}).get(read, {}), table.get(partner(check) or "", {}).get(read, {})
    if any(seed not in values or (partner(check) and seed not in others) for seed in seeds):
        return None
    first, second = [values[seed] for seed in seeds], [others.get(seed, math.nan) for seed in seeds]
    if "share" in check:
        hits = sum(_holds(check, value, other) for value, other in zip(first, second, strict=True))
        return sequential.binomial(hits, count, alpha)
    bounds = target.reads[read].get("bounds")
    if bounds:
        low, high = map(float, bounds)
        worse, better = (low, high) if "at_least" in check or "above" in check else (high, low)
        first = [worse if math.isnan(value) else value for value in first]
        second = [better if math.isnan(value) else value for value in second]
    if not partner(check):
        return sequential.betting(first, (low, high), alpha) if bounds else sequential.student(first, alpha)
    sign = -1.0 if "below" in check else 1.0
    apart = [sign * (value - other) for value, other in zip(first, second, strict=True)]
    return sequential.betting(apart, (low - high, high - low), alpha) if bounds else sequential.student(apart, alpha)


def _side(check: Check, strict: Interval, wide: Interval) -> str:
    """PASS by ``strict``, FAIL by ``wide``, the interval of the level that a failure needs."""
    if "share" in check:
        low, high = float(check["share"]), math.inf
    elif "at_most" in check:
        low, high = -math.inf, float(check["at_most"])
    elif "near" in check:
        low, high = float(check["near"]) - float(check["tolerance"]), float(check["near"]) + float(check["tolerance"])
    else:
        low, high = float(check.get("at_least", 0.0)), math.inf
    inside = strict.low >= low and strict.high <= high
    if partner(check) and "share" not in check:
        inside = strict.low > 0  # no difference at all is no claim
    if inside:
        return PASS
    return FAIL if wide.high < low or wide.low > high else INCONCLUSIVE


def decide(target: Target, check: Check, arm: str, table: Table) -> tuple[str, int]:
    """(verdict of one check on one arm, seeds of the look that gave it, or of the last whole look)."""
    reached = 0
    for count in target.looks:
        # a betting interval is valid at all looks at once; the others spend
        spent = ALPHA if bets(target, check) else sequential.spend(target.looks, count)
        options = len(arms(check)) if check.get("any") else 1  # the best of several is found by chance more often
        strict = measured(target, check, arm, table, count, spent / options)
        wide = measured(target, check, arm, table, count, spent / asked(target))
        if strict is None or wide is None:
            break
        reached = count
        word = _side(check, strict, wide)
        if word != INCONCLUSIVE:
            return word, count
    return (INCONCLUSIVE if reached else NOT_RUN), reached


def bets(target: Target, check: Check) -> bool:
    """Whether the interval is that by betting, which spends nothing at a look."""
    return "share" not in check and bool(target.reads[check["read"]].get("bounds"))


def judge(target: Target, check: Check, table: Table) -> str:
    """The verdict of one check on all of its arms."""
    words = [decide(target, check, arm, table)[0] for arm in arms(check)]
    if check.get("any"):
        if PASS in words:
            return PASS
        return FAIL if all(word == FAIL for word in words) else together(words, fail=False)
    return together(words)


def together(words: Sequence[str], *, fail: bool = True) -> str:
    """All PASS: PASS. One FAIL: FAIL, unless ``fail`` is false. All NOT RUN: NOT RUN. Otherwise INCONCLUSIVE."""
    if words and all(word == PASS for word in words):
        return PASS
    if fail and FAIL in words:
        return FAIL
    return NOT_RUN if all(word == NOT_RUN for word in words) else INCONCLUSIVE


def verdict(target: Target, table: Table) -> str:
    """The verdict of a target."""
    return together([judge(target, check, table) for check in target.checks])


def due(target: Target, table: Table) -> list[tuple[str, int]]:
    """(arm, seed) of the runs that the next look still needs; empty where the target is decided or all looks are over.

    Arms that no open check asks about need no more seeds. Every arm is run for the first look, so that the page shows them all.
    """
    have = {arm: set().union(*table.get(arm, {}).values()) if table.get(arm) else set() for arm in target.arms}
    first = [(arm, seed) for seed in target.seeds[: target.looks[0]] for arm in target.arms if seed not in have[arm]]
    if first or verdict(target, table) in (PASS, FAIL):
        return first
    needed: dict[tuple[str, int], None] = {}
    for check in target.checks:
        if judge(target, check, table) in (PASS, FAIL):
            continue
        for arm in arms(check):
            word, reached = decide(target, check, arm, table)
            later = [look for look in target.looks if look > reached]
            if word in (INCONCLUSIVE, NOT_RUN) and later:
                for seed in target.seeds[: later[0]]:
                    needed.update(dict.fromkeys((each, seed) for each in (arm, partner(check)) if each))
    return sorted((run for run in needed if run[1] not in have[run[0]]), key=lambda run: run[1])


def enough(target: Target, check: Check, arm: str, table: Table) -> int | None:
    """About how many seeds would decide the check, if more of them were as those that are there; nothing beyond ``MOST``.

    The seeds that are there are repeated, and the intervals of the last look's level taken of them.
    """
    count = decide(target, check, arm, table)[1]
    if not count:
        return None
    times = MOST // count + 1
    names = [name for name in (arm, partner(check)) if name]
    read = check["read"]
    wide = {
        name: {read: {seed: table[name][read][target.seeds[seed % count]] for seed in range(times * count)}} for name in names
    }
    levels = ALPHA if bets(target, check) else sequential.spend(target.looks, target.looks[-1])
    for total in [*range(count + 1, 50), *range(50, 100, 10), *range(100, MOST + 1, 50)]:
        longer = Target(**{**vars(target), "looks": [total]})
        found = measured(longer, check, arm, wide, total, levels)
        if found is not None and _side(check, found, found) != INCONCLUSIVE:
            return total
    return None


def sentence(check: Check) -> str:
    """A check in words, such as ``modes of GAN below those of PacGAN2``."""
    text = f"{check['read']} of {(' or ' if check.get('any') else ', ').join(arms(check))} "
    if "at_least" in check:
        text += f"at least {check['at_least']:g}"
    elif "at_most" in check:
        text += f"at most {check['at_most']:g}"
    elif "near" in check:
        text += f"within {check['tolerance']:g} of {check['near']:g}"
    else:
        text += f"{'below' if 'below' in check else 'above'} that of {partner(check)}"
    return text + (f", in at least {100 * check['share']:g} % of runs" if "share" in check else "")


def values(table: Table, arm: str, read: str, seeds: Iterable[int]) -> list[float]:
    """The values that an arm has, in the order of its seeds, those of runs that diverged left out."""
    found = table.get(arm, {}).get(read, {})
    return [found[seed] for seed in seeds if seed in found and not math.isnan(found[seed])]
