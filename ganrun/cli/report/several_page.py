"""The page of several runs: a table with the keys that differ, settings over seeds, last pictures, curves one above the other.

What a setting is, which scores compare, and what is decided, says ``ganrun compare``; this page shows it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ganrun.cli import comparing, settings
from ganrun.cli.report import page
from ganrun.cli.report.curves import Line, Panel, by_stem, series, thinned
from ganrun.cli.report.held import Held
from ganrun.cli.report.images import Shown, embedded, opened, spaced
from ganrun.cli.report.page import Command
from ganrun.engine import compare, decide, held_scores
from ganrun.ground import spell
from ganrun.ground.errors import BadInput

PICTURES, ROOM = 60, 1_800_000  # runs whose last picture is shown, and bytes for all of them
LINES = 8  # settings in one panel: so many lines can be told apart without colour
PARTS = {"settings": "Settings over seeds", "pictures": "Last samples", "curves": "Curves"}
LOST = "?"  # what a run says of a key whose config is lost


@dataclass
class Setting:
    """A name, what it has otherwise than others, and its runs."""

    name: str
    keys: Mapping[str, Any]
    runs: list[Held] = field(default_factory=list)


def written(words: Sequence[str], held: Sequence[Held], reference: str | None) -> str:
    """The page of these runs, which ``words`` named."""
    notes = [f"{entry.path.name}: {note}" for entry in held for note in entry.notes]
    groups = _settings(held)
    table = _table(held, groups, notes)
    compared = _compared(words, reference, notes)
    pictures = _pictures(groups, notes)
    panels = page.drawn(_panels(groups))
    above = Path(os.path.commonpath([entry.path for entry in held]))
    said = "Of each setting the mean over its seeds, with its 95 % t-interval in the same colour where there are two or more."
    if len(groups) > LINES:
        said += f" The first {LINES} of {len(groups)} settings are drawn."
    return page.rendered(
        "several.html",
        title=f"{len(held)} runs in {above.name or above}",
        path=str(above),
        what=_what(held, groups),
        notes=notes,
        contents=[
            ("runs", "Runs"),
            *page.contents(PARTS, {"settings": compared, "pictures": pictures, "curves": panels}),
            ("next", "What to type next"),
        ],
        table=table,
        settings=compared,
        pictures=pictures,
        panels=panels,
        panels_said=said,
        legend=[f"{place + 1}: {group.name}" for place, group in enumerate(groups[:LINES])],
        next=_next(words, held),
    )


def _what(held: Sequence[Held], groups: Sequence[Setting]) -> str:
    standing = by_stem(held, lambda entry: entry.status)
    counts = ", ".join(f"{len(entries)} {status}" for status, entries in standing.items())
    return f"{len(held)} runs of {len(groups)} setting{'s' if len(groups) != 1 else ''}: {counts}."


def _settings(held: Sequence[Held]) -> list[Setting]:
    """The runs by setting; those whose config is lost by themselves."""
    known = [entry for entry in held if entry.config]
    found, places = settings.grouped([entry.config for entry in known])
    pairs = zip(settings.titles(found), settings.differing(found), strict=True) if found else ()
    groups = [Setting(name, keys) for name, keys in pairs]
    for entry, place in zip(known, places, strict=True):
        groups[place].runs.append(entry)
    lost = [entry for entry in held if not entry.config]
    return groups + ([Setting("config lost", {}, lost)] if lost else [])


# the table of runs


def _table(held: Sequence[Held], groups: Sequence[Setting], notes: list[str]) -> dict[str, Any]:
    above = Path(os.path.commonpath([entry.path for entry in held]))
    keys = list(groups[0].keys)
    seeds = ["seed"] if len({entry.config.get("seed") for entry in held}) > 1 else []
    own = {id(entry): group.keys for group in groups for entry in group.runs}
    columns, steps, below = _columns(held, notes)
    heads = [{"name": name, "number": False} for name in ("run", *keys)]
    heads += [{"name": name, "number": True} for name in (*seeds, "step")]
    heads += [{"name": "status", "number": False}]
    heads += [{"name": name, "number": True} for name in (*columns, *(["scores of step"] if steps else []))]
    heads += [{"name": "findings that stand", "number": False}]
    rows = []
    for entry in held:
        texts = [settings.text(own[id(entry)][key]) if key in own[id(entry)] else LOST for key in keys]
        findings = [found.disease for found in (entry.case.findings if entry.case else []) if found.standing]
        cells = [_cell(str(entry.path.relative_to(above)) if entry.path != above else entry.path.name, any_break=True)]
        cells += [_cell(text, _number(text)) for text in texts]
        cells += [_cell(str(seed), _number(str(seed))) for seed in [entry.config.get("seed", LOST)][: len(seeds)]]
        cells += [_cell(str(entry.step), entry.step), _cell(entry.status)]
        values = [column.values.get(str(entry.path), {}) for column in columns.values()]
        cells += [_score(next(iter(value.values()), None)) for value in values]
        cells += [_score(steps.get(str(entry.path)))] if steps else []
        rows.append([*cells, _cell(", ".join(findings) or "none", any_break=True)])
    said = "Of their keys those that differ and count. Click a head, or press Enter on it, to sort by it: an order, no verdict."
    return {"heads": heads, "rows": rows, "said": said, "below": below}


def _columns(held: Sequence[Held], notes: list[str]) -> tuple[dict[str, compare.Column], dict[str, int], list[str]]:
    """(a column for each score under each card, the step at which each run was scored last, what must be said of them)."""
    entries: dict[str, compare.Entry] = {}
    for entry in held:
        try:
            entries[str(entry.path)] = held_scores.read(entry.path)[0]
        except BadInput as error:
            notes.append(f"{entry.path.name}: its scores cannot be read: {error}")
    columns, differing = compare.columns_of([[entry] for entry in entries.values()], list(entries))
    steps = {path: entry.step for path, entry in entries.items() if entry.step is not None}
    said = [f"{column.name}: {column.words}." for column in columns.values() if column.higher is not None]
    return columns, steps, [" ".join(said), *differing]


def _cell(text: str, value: float | None = None, *, any_break: bool = False) -> dict[str, Any]:
    return {"text": text, "value": value, "number": value is not None, "any": any_break}


def _score(value: float | None) -> dict[str, Any]:
    return {"text": "none" if value is None else f"{value:.6g}", "value": value, "number": True, "any": False}


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


# settings over seeds


def _compared(words: Sequence[str], reference: str | None, notes: list[str]) -> dict[str, Any] | None:
    """Means, differences and verdicts, as ``ganrun compare`` has them; None, and a note, where there is nothing to compare."""
    try:
        found = comparing.compared(words, reference)
    except BadInput as error:
        if reference is not None:
            raise
        notes.append(f"the scores are not compared: {' '.join(str(error).split())}")
        return None
    columns = list(found.columns.values())
    rows = []
    for place, name in enumerate(found.names):
        count = len(found.settings[place])
        mark = f"{count} seed{'s' if count != 1 else ''}" + (", reference" if place == found.reference else "")
        rows.append({"name": f"{name} ({mark})", "cells": [_judged(found, column, place) for column in columns]})
    return {
        "said": f"{compare.rule(found)}.",
        "heads": [f"{column.name} ({column.words})" for column in columns],
        "rows": rows,
        "verdicts": [{"score": column.name, "words": _verdict(found, column)} for column in columns if _is_ranked(found, column)],
        "below": found.notes,
    }


def _judged(found: compare.Comparison, column: compare.Column, place: int) -> list[str]:
    """The lines of a cell: the mean, the difference from the reference, and what is decided of it."""
    name = found.names[place]
    mean, gap = found.means[column.name].get(name), found.differences.get(column.name, {}).get(name)
    lines = [f"{mean}{', best' if found.best.get(column.name) == name else ''}" if mean else "none"]
    if gap is not None:
        lines += [f"difference {gap}", *filter(None, [compare.verdict(gap, column.higher)])]
    return lines


def _is_ranked(found: compare.Comparison, column: compare.Column) -> bool:
    return column.higher is not None and len(found.means[column.name]) > 1


def _verdict(found: compare.Comparison, column: compare.Column) -> str:
    """Which setting is best, where that is decided."""
    best = found.best.get(column.name)
    if best is not None:
        return f"best is {best}, decided from every other setting."
    return "which setting is best is not decided, so they are not ranked."


# pictures and curves


def _pictures(groups: Sequence[Setting], notes: list[str]) -> list[Shown]:
    """The last picture of each run, setting by setting."""
    every = [(group.name, entry) for group in groups for entry in group.runs if entry.pictures]
    chosen, found = spaced(every, PICTURES), []
    if len(chosen) < len(every):
        notes.append(f"the last pictures of {len(chosen)} of {len(every)} runs are shown")
    for name, entry in chosen:
        step, path = list(entry.pictures.items())[-1]
        words = f"{name}, seed {entry.config.get('seed', '?')}, step {step}"
        try:
            found.append(embedded(opened(path), f"last samples of {words}", words, ROOM // len(chosen)))
        except BadInput as error:
            notes.append(str(error))
    return found


def _panels(groups: Sequence[Setting]) -> list[Panel]:
    """A panel for each quantity that is logged or looked at, with a line for each setting."""
    found = []
    for attribute in ("losses", "looks"):
        rows = [row for group in groups for entry in group.runs for row in getattr(entry, attribute)]
        names = [name for name in dict.fromkeys(key for row in rows for key in row) if name not in ("step", "images", "time")]
        for name in names:
            lines = [_mean(str(place + 1), group.runs, attribute, name) for place, group in enumerate(groups[:LINES])]
            if any(line.xs for line in lines):
                found.append(Panel(name, [line for line in lines if line.xs]))
    return found


def _mean(label: str, runs: Sequence[Held], attribute: str, name: str) -> Line:
    """The mean of ``name`` over the runs, at the steps that all of them have, with its interval."""
    own = [line for line in (series(getattr(entry, attribute), name) for entry in runs) if line.xs]
    if len(own) < 2:
        return Line(label, own[0].xs, own[0].ys) if own else Line(label, (), ())
    by_step = [dict(zip(line.xs, line.ys, strict=True)) for line in own]
    steps = [step for step in own[0].xs if all(step in held for held in by_step)]
    kept = thinned(Line("", steps, steps)).xs
    means = [decide.estimate([held[step] for held in by_step]) for step in kept]
    low = [mean.mean - (mean.half or 0) for mean in means]
    high = [mean.mean + (mean.half or 0) for mean in means]
    return Line(label, kept, [mean.mean for mean in means], low, high)


def _next(words: Sequence[str], held: Sequence[Held]) -> list[Command]:
    """What fits where the runs stand."""
    places = [spell.shown(entry.path) for entry in held]
    named = [spell.path(word) for word in words]
    found = [
        Command("The same comparison as a table for a paper, and a figure:", spell.command("compare", *named, "--latex")),
        Command("What stands in each of them:", spell.command("doctor", *places[:20])),
    ]
    unfinished = [entry for entry in held if entry.status not in ("done", "running", "stopped by doctor")]
    if unfinished:
        one = unfinished[0]
        again = spell.command(
            "train", f"resume={spell.value(str(spell.shown(one.path)))}", plugins=one.config.get("plugins") or []
        )
        said = (
            f"{len(unfinished)} of them did not come to their end; the command that began the sweep finishes what is missing, or"
        )
        found.insert(0, Command(f"{said} one by one:", again))
    return found
