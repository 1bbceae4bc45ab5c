"""docs/reproductions.md, from the targets and the rows of results.jsonl alone."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reproduce import runner, verdicts
from reproduce.target import Target

PAGE = runner.ROOT / "docs" / "reproductions.md"
PICTURES = runner.ROOT / "docs" / "reproductions"
TITLES = {
    "cpu": "On two cores",
    "mnist": "With MNIST",
    "long": "Of a paper's length",
    "gpu": "With a GPU",
}
COMMANDS = {
    "cpu": "make reproduce",
    "mnist": "make reproduce-mnist ROOT=FOLDER",
    "long": "make reproduce-long",
    "gpu": "make reproduce-gpu",
}
HEAD = """# Reproductions

What papers claim, tried with presets of ganrun. This page is written by `python -m reproduce`; do not edit it.
Each target states a claim and the runs and checks that decide it, in `reproduce/targets/NAME.yaml`.

- **PASS**: every check holds for a whole 95 % interval: Student's of the mean over seeds where a bound is asked for, Welch's of
  the difference of two means where an order is. **FAIL**: one is contradicted by a whole interval. **INCONCLUSIVE**: an interval
  crosses its bound, or runs are missing. **NOT RUN**: no run is there.
- These are small networks and short runs: orders and bounds are tried, not the papers' figures, unless the check names one.
- Scores are those of the generator's running average where `ema` is above 0. Seconds a run depend on what else the machine did.
- Paper's figures are marked (V) where they were read in a paper's repository or a table of it, or "from memory".

`make reproduce` runs everything that two cores manage, each target in at most {minutes} minutes;
`make reproduce-NAME` one target; `make reproduce-mnist ROOT=FOLDER`, `make reproduce-long` and `make reproduce-gpu` the rest.
A target that was stopped goes on where it was. `python -m reproduce --twice NAME` runs one twice and compares the digests of
the final states.
"""


def write(targets: Mapping[str, Target], results: Sequence[Mapping[str, Any]]) -> str:
    """The whole page."""
    longest = max(entry.budget for entry in targets.values() if entry.set == "cpu")
    lines = [HEAD.format(minutes=round(longest / 60))]
    found = {name: verdicts.verdict(entry.checks, runner.table(entry, results)) for name, entry in targets.items()}
    counts = [
        f"{list(found.values()).count(word)} {word}"
        for word in (verdicts.PASS, verdicts.FAIL, verdicts.INCONCLUSIVE, verdicts.NOT_RUN)
    ]
    lines += [f"{len(found)} targets: {', '.join(counts)}.", ""]
    for group, title in TITLES.items():
        names = [name for name, entry in targets.items() if entry.set == group]
        if not names:
            continue
        lines += [f"## {title}", "", f"`{COMMANDS[group]}`", "", "| target | claim | verdict |", "|---|---|---|"]
        lines += [f"| [{name}](#{name}) | {targets[name].claim} | {found[name]} |" for name in names]
        lines += [""]
        for name in names:
            lines += section(targets[name], results, found[name])
    return "\n".join(lines).rstrip() + "\n"


def section(target: Target, results: Sequence[Mapping[str, Any]], verdict: str, pictures: Path = PICTURES) -> list[str]:
    """One target: claim, paper, checks, figures, sentence, command."""
    values, rows = runner.table(target, results), runner.valid(target, results)
    lines = [f"### {target.name}", "", f"**{verdict}.** {target.claim}", "", f"Paper: {target.paper} ({target.mark})", ""]
    lines += ["| check | verdict |", "|---|---|"]
    lines += [f"| {verdicts.sentence(check)} | {verdicts.judge(check, values)} |" for check in target.checks]
    lines += [""]
    if rows:
        lines += [f"| | {' | '.join(target.reads)} | seeds | seconds a run |", "|---" * (len(target.reads) + 3) + "|"]
        for arm in target.arms:
            lines += [_row(target, arm, values[arm], {seed: row for (label, seed), row in rows.items() if label == arm})]
        lines += [""]
    if target.shows:
        lines += [target.shows.strip(), ""]
    if target.tried:
        lines += [f"Tried: {target.tried.strip()}", ""]
    picture = pictures / f"{target.name}.png"
    if target.draw and rows and picture.exists():
        lines += [f"![{target.name}]({picture.parent.name}/{picture.name})", ""]
    lines += ["```", f"make reproduce-{target.name}"]
    for arm in target.arms:
        words = " ".join(map(_quoted, target.overrides(arm)))
        lines += [f"ganrun train -m {words} seed={','.join(map(str, target.seeds))}    # {arm}"]
    lines += ["```", ""]
    twice = [row for row in results if row["target"] == target.name and "twice" in row]
    if twice:
        word = "the same digest" if twice[-1]["twice"] else "DIFFERENT digests"
        lines += [
            f"Run twice ({twice[-1]['arm']}, seed {twice[-1]['seed']}): {word} of the final state, `{twice[-1]['digest'][:12]}`.",
            "",
        ]
    if rows:
        lines += [_where(list(rows.values())), ""]
    else:
        lines += [f"Not run yet{_wants(target)}.", ""]
    return lines


def _row(target: Target, arm: str, values: Mapping[str, Sequence[float]], rows: Mapping[int, Mapping[str, Any]]) -> str:
    cells = [str(verdicts.interval(values[name])) if values.get(name) else "" for name in target.reads]
    failed = [f"seed {seed}: {row['status']}" for seed, row in sorted(rows.items()) if row["status"] != "done"]
    seeds = ", ".join(str(seed) for seed in sorted(rows)) or "not run"
    seconds = f"{sum(row['seconds'] for row in rows.values()) / len(rows):.0f}" if rows else ""
    return f"| {arm} | {' | '.join(cells)} | {'; '.join([seeds, *failed])} | {seconds} |"


def _where(rows: Sequence[Mapping[str, Any]]) -> str:
    commits = sorted({str(row["commit"]) for row in rows})
    machines = sorted({f"{row['machine']}, torch {row['torch']}" for row in rows})
    days = sorted({row["at"][:10] for row in rows})
    return f"Measured {' and '.join(dict.fromkeys([days[0], days[-1]]))} at commit {', '.join(commits)} on {'; '.join(machines)}."


def _wants(target: Target) -> str:
    return f"; it needs {', '.join(target.needs)}" if target.needs else ""


def _quoted(word: str) -> str:
    return shlex.quote(word) if any(letter in word for letter in "[]{} ") else word


def save(targets: Mapping[str, Target], results: Sequence[Mapping[str, Any]], path: Path = PAGE) -> None:
    """Write the page where it belongs."""
    path.write_text(write(targets, results))
