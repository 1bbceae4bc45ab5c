"""What is read from a finished run folder: one number.

score: NAME              the last evaluation's value; ``at: first | lowest | highest`` takes another's
share: NAME, of: first   the last evaluation's value over the first's, or over the ``lowest`` or ``highest``
curve: NAME, last: n     mean of the last n rows of metrics.jsonl
rank: NAME, with: SCORE  Spearman's correlation of a curve with a score, over the evaluations (``skip: n`` first ones left
                         out); the curve is averaged over the log rows since the evaluation before
measure: NAME            a function of measures.py, with the other entries as its options
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from scipy import stats


def rows(folder: Path, name: str) -> list[dict[str, Any]]:
    """The rows of a .jsonl file of ``folder``."""
    return [json.loads(line) for line in (folder / name).read_text().splitlines() if line.strip()]


def series(folder: Path, score: str) -> list[tuple[int, float]]:
    """(step, value) of a score over the evaluations, a repeated step once and by its last row."""
    found = {row["step"]: row["scores"][score]["value"] for row in rows(folder, "scores.jsonl") if score in row["scores"]}
    if not found or any(value is None for value in found.values()):
        raise ValueError(f"{folder}: scores.jsonl has no value of {score} for every evaluation")
    return sorted(found.items())


def read(folder: Path, how: Mapping[str, Any]) -> float:
    """The number that ``how`` says; ``ValueError`` where the folder does not have it."""
    if "score" in how:
        values = [value for _, value in series(folder, how["score"])]
        at = how.get("at", "last")
        return {"last": values[-1], "first": values[0], "lowest": min(values), "highest": max(values)}[at]
    if "share" in how:
        values = [value for _, value in series(folder, how["share"])]
        return values[-1] / {"first": values[0], "lowest": min(values), "highest": max(values)}[how["of"]]
    if "curve" in how:
        found = [row[how["curve"]] for row in rows(folder, "metrics.jsonl") if how["curve"] in row]
        if not found:
            raise ValueError(f"{folder}: metrics.jsonl has no {how['curve']}")
        return fmean(found[-int(how.get("last", 1)) :])
    if "rank" in how:
        return rank(folder, how["rank"], how["with"], int(how.get("skip", 0)))
    if "measure" in how:
        from reproduce import measures

        options = {key: value for key, value in how.items() if key != "measure"}
        return float(measures.MEASURES[how["measure"]](folder, **options))
    raise ValueError(f"no such way to read a run: {dict(how)}")


def rank(folder: Path, curve: str, score: str, skip: int) -> float:
    """Spearman's correlation of ``curve`` with ``score`` over the evaluations after the first ``skip``."""
    logged = [(row["step"], row[curve]) for row in rows(folder, "metrics.jsonl") if curve in row]
    pairs, before = [], -1
    for step, value in series(folder, score):
        within = [entry for at, entry in logged if before < at <= step]
        before = step
        if within:
            pairs.append((fmean(within), value))
    if len(pairs) - skip < 3:
        raise ValueError(f"{folder}: {len(pairs)} evaluations are too few for a rank correlation")
    return float(stats.spearmanr([pair[0] for pair in pairs[skip:]], [pair[1] for pair in pairs[skip:]]).statistic)
