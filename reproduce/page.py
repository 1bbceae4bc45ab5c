"""docs/reproductions.md and a page for each target, from the targets and the rows of results.jsonl alone."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from reproduce import runner, sequential, verdicts
from reproduce.target import Target

PAGE = runner.ROOT / "docs" / "reproductions.md"
PICTURES = runner.ROOT / "docs" / "reproductions"
NOTES = PICTURES / "notes"
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

What papers claim, tried with ganrun. `python -m reproduce` writes this page and those behind it.

A target is a claim, the runs that try it, and the checks that decide it: `reproduce/targets/NAME.yaml`. It is **frozen** by a
hash of that file, which every result carries. A result of another hash is *stale*: it is counted on the target's page and
decides nothing. So neither an arm nor a check can be changed once results are known. Settings are found on seeds from 1000 on
(`python -m reproduce --tune NAME KEY=VALUE`), and seeds 0, 1, 2, ... judge. The first settings were found before this rule,
on seeds that judge now; a target's notes say so.

A target is judged after 5 seeds, then 10, then 20 (`looks`), until it is decided:

- **PASS**: the interval of each check lies on the claimed side. **FAIL**: that of one lies wholly on the other.
  **INCONCLUSIVE**: neither, or runs are missing. **NOT RUN**: no look is whole.
- Intervals hold at all looks together with 95 %: Student's of a mean, or of the differences of pairs of one seed, and the
  exact binomial one of a share of runs, with an error that is spent over the looks; one by betting for values with bounds.
  `reproduce/sequential.py` has the sources, `tests/test_reproduce.py` simulates how often they miss. A target that is false
  passes, and one that is true fails, with 5 % at most.
- A run that diverged misses every share and has no mean.

These are small networks and short runs: orders and bounds are tried, and the papers' figures only where a check names one.
Paper's figures are marked (V) where they were read in a paper's repository or a table of it, else "from memory".

`make reproduce` takes {hours:.1f} hours on two cores at most and goes on where it was stopped; `make reproduce-quick` runs
the targets marked *quick*; `make reproduce-NAME` one; `make reproduce-check` repeats one run of five targets and compares
their final states to the last bit.
"""


def write(targets: Mapping[str, Target], results: Sequence[Mapping[str, Any]]) -> str:
    """The summary."""
    hours = sum(entry.budget for entry in targets.values() if entry.set == "cpu") / 3600
    lines = [HEAD.format(hours=hours)]
    tables = {name: runner.table(entry, results) for name, entry in targets.items()}
    words = {name: verdicts.verdict(entry, tables[name]) for name, entry in targets.items()}
    order = (verdicts.PASS, verdicts.FAIL, verdicts.INCONCLUSIVE, verdicts.NOT_RUN)
    lines += [f"{len(words)} targets: {', '.join(f'{list(words.values()).count(word)} {word}' for word in order)}.", ""]
    for group, title in TITLES.items():
        names = [name for name, entry in targets.items() if entry.set == group]
        if not names:
            continue
        lines += [f"## {title}", "", f"`{COMMANDS[group]}`", ""]
        lines += ["| target | claim | paper | ours | verdict | seconds a run |", "|---|---|---|---|---|---|"]
        for name in names:
            entry, rows = targets[name], list(runner.valid(targets[name], results).values())
            seconds = f"{fmean(row['seconds'] for row in rows):.0f}" if rows else ""
            quick = ", quick" if entry.quick else ""
            ours = _figure(entry, entry.checks[0], tables[name])
            cells = [f"[{name}](reproductions/{name}.md){quick}", entry.claim, f"{entry.paper} ({entry.mark})", ours, words[name]]
            lines += [f"| {' | '.join(cells)} | {seconds} |"]
        lines += [""]
    return "\n".join(lines).rstrip() + "\n"


def _claim(target: Target) -> str:
    """The claim, with what arms are allowed to differ in."""
    return target.claim + (f" Budgets differ: {target.budgets.strip()}." if target.budgets else "")


def _figure(target: Target, check: Mapping[str, Any], table: verdicts.Table) -> str:
    """What was measured for the first arm of a check."""
    arm = verdicts.arms(check)[0]
    count = verdicts.decide(target, check, arm, table)[1]
    if not count:
        return ""
    found = _interval(target, check, arm, table, count)
    what = f"{check['read']} of {arm}"
    if "share" in check:
        plain = {key: value for key, value in check.items() if key != "share"}
        return f"{verdicts.sentence({**plain, 'arm': arm})} in {found.mean * count:.0f} of {count} runs"
    other = verdicts.partner(check)
    return f"{what}{f' against {other}, by seed' if other else ''}: {_sign(check, found)}, {count} seeds"


def _interval(target: Target, check: Mapping[str, Any], arm: str, table: verdicts.Table, count: int) -> sequential.Interval:
    spent = sequential.ALPHA if verdicts.bets(target, check) else sequential.spend(target.looks, count)
    found = verdicts.measured(target, check, arm, table, count, spent)
    assert found is not None  # the look is whole
    return found


def _sign(check: Mapping[str, Any], found: sequential.Interval) -> str:
    """The interval as arm minus other; ``measured`` turns it so that what is claimed is positive."""
    if "below" in check and "share" not in check:
        found = sequential.Interval(-found.mean, -found.high, -found.low, found.count)
    return str(found)


def target_page(target: Target, results: Sequence[Mapping[str, Any]], pictures: Path = PICTURES) -> str:
    """The page of one target."""
    table, rows = runner.table(target, results), runner.valid(target, results)
    word = verdicts.verdict(target, table)
    lines = [f"# {target.name}", "", f"**{word}.** {_claim(target)}", "", f"Paper: {target.paper} ({target.mark})", ""]
    lines += ["| check | measured, interval over all looks | seeds | verdict |", "|---|---|---|---|"]
    for check in target.checks:
        for arm in verdicts.arms(check):
            verdict, count = verdicts.decide(target, check, arm, table)
            measured = _sign(check, _interval(target, check, arm, table, count)) if count else ""
            more = _more(target, check, arm, table) if verdict == verdicts.INCONCLUSIVE and count == target.looks[-1] else ""
            either = " (or another arm)" if check.get("any") else ""
            lines += [f"| {verdicts.sentence({**check, 'arm': arm})}{either} | {measured} | {count or ''} | {verdict}{more} |"]
    lines += [""]
    if rows:
        lines += [f"| | {' | '.join(target.reads)} | seeds | steps | images | seconds a run |"]
        lines += ["|---" * (len(target.reads) + 5) + "|"]
        for arm in target.arms:
            lines += [_row(target, arm, table, {seed: row for (label, seed), row in rows.items() if label == arm})]
        lines += ["", "Mean and standard deviation over the seeds. Images are those shown to the discriminator.", ""]
    picture = pictures / target.picture
    if target.draw and rows and picture.exists():
        lines += [f"![Samples or curves of the arms of {target.name}, seed 0]({picture.name})", ""]
    lines += ["<details>", f"<summary>make reproduce-{target.name}</summary>", "", "```"]
    for arm in target.arms:
        words = " ".join(map(_quoted, target.overrides(arm)))
        lines += [f"ganrun train -m {words} seed={','.join(map(str, target.seeds[: target.looks[0]]))}    # {arm}"]
    lines += ["```", "", "</details>", ""]
    lines += _history(target, rows, results)
    note = NOTES / f"{target.name}.md"
    if note.exists():
        lines += [f"[What was tried](notes/{note.name})", ""]
    lines += ["[All targets](../reproductions.md)", ""]
    return "\n".join(lines)


def _more(target: Target, check: Mapping[str, Any], arm: str, table: verdicts.Table) -> str:
    count = verdicts.enough(target, check, arm, table)
    return f"; about {count} seeds would decide" if count else f"; {verdicts.MOST} seeds like these would not decide"


def _history(
    target: Target, rows: Mapping[tuple[str, int], Mapping[str, Any]], results: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Repeated runs, stale rows, where and when it was measured."""
    lines = []
    again = [row for row in results if row["target"] == target.name and row.get("frozen") == target.frozen and "again" in row]
    if again:
        word = "the same digest" if again[-1]["again"] else "ANOTHER digest"
        lines += [f"Repeated ({again[-1]['arm']}, seed {again[-1]['seed']}): {word} of the final state.", ""]
    old = runner.stale(target, results)
    if old:
        why = "of other settings or checks, or from before targets were frozen"
        lines += [f"{len(old)} rows are STALE: {why}. They count for nothing.", ""]
    if rows:
        lines += [where(list(rows.values())), ""]
    else:
        lines += [f"Not run yet{_wants(target)}. Frozen as `{target.frozen}`.", ""]
    return lines


def _row(target: Target, arm: str, table: verdicts.Table, rows: Mapping[int, Mapping[str, Any]]) -> str:
    cells = []
    for name in target.reads:
        found = verdicts.values(table, arm, name, target.seeds)
        spread = f" ± {stdev(found):.2g}" if len(found) > 1 else ""
        cells.append(f"{fmean(found):.4g}{spread}" if found else "")
    failed = [f"seed {seed}: {row['status']}" for seed, row in sorted(rows.items()) if row["status"] != "done"]
    seeds = f"{len(rows)}" if rows else "not run"
    first = next(iter(rows.values()), {})
    seconds = f"{fmean(row['seconds'] for row in rows.values()):.0f}" if rows else ""
    size = [f"{first[key]:,}" if first.get(key) else "" for key in ("steps", "images")]
    return f"| {arm} | {' | '.join(cells)} | {'; '.join([seeds, *failed])} | {' | '.join(size)} | {seconds} |"


def where(rows: Sequence[Mapping[str, Any]]) -> str:
    """Commit, machine and days of rows."""
    commits = sorted({str(row["commit"]) for row in rows})
    machines = sorted({f"{row['machine']}, torch {row['torch']}" for row in rows})
    days = sorted({row["at"][:10] for row in rows})
    when = " to ".join(dict.fromkeys([days[0], days[-1]]))
    return f"Frozen as `{rows[0]['frozen']}`; measured {when} at commit {', '.join(commits)} on {'; '.join(machines)}."


def _wants(target: Target) -> str:
    return f"; it needs {', '.join(target.needs)}" if target.needs else ""


def _quoted(word: str) -> str:
    return shlex.quote(word) if any(letter in word for letter in "[]{} ") else word


def save(targets: Mapping[str, Target], results: Sequence[Mapping[str, Any]], path: Path = PAGE) -> None:
    """Write the pages where they belong."""
    path.write_text(write(targets, results))
    inner = path.with_suffix("")
    inner.mkdir(exist_ok=True)
    for target in targets.values():
        (inner / f"{target.name}.md").write_text(target_page(target, results, inner))
