"""The page of several runs: a table with the keys that differ, settings over seeds, last pictures, curves one above the other."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ganrun.cli import differences
from ganrun.cli.report import page
from ganrun.cli.report.curves import Line, Panel, by_stem, series, thinned
from ganrun.cli.report.held import Held
from ganrun.cli.report.images import Shown, embedded, opened, spaced
from ganrun.cli.report.page import Command
from ganrun.engine import decide
from ganrun.ground import spell
from ganrun.ground.errors import BadInput

PICTURES, ROOM = 60, 1_800_000  # runs whose last picture is shown, and bytes for all of them
LINES = 12  # settings in one panel
PARTS = {"settings": "Settings over seeds", "pictures": "Last samples", "curves": "Curves"}
Group = tuple[str, list[Held]]  # a setting's name, and its runs


def written(words: Sequence[str], held: Sequence[Held], reference: str | None) -> str:
    """The page of these runs, which ``words`` named."""
    notes = [f"{entry.path.name}: {note}" for entry in held for note in entry.notes]
    keys = _keys(held)
    groups = _groups(held, keys)
    pictures = _pictures(held, groups, notes)
    panels = page.drawn(_panels(groups))
    above = Path(os.path.commonpath([entry.path for entry in held]))
    filled = {"settings": False, "pictures": pictures, "curves": panels}
    named = groups[:LINES]
    said = "Of each setting the mean over its seeds, with its 95 % t-interval where there are two or more."
    if len(groups) > LINES:
        said += f" The first {LINES} of {len(groups)} settings are drawn."
    return page.rendered(
        "several.html",
        title=f"{len(held)} runs in {above.name or above}",
        path=str(above),
        what=_what(held, groups),
        notes=notes,
        contents=[("runs", "Runs"), *page.contents(PARTS, filled), ("next", "What to type next")],
        same="",
        table=_table(held, keys, above),
        settings=None,
        pictures=pictures,
        panels=panels,
        panels_said=said,
        legend=[f"{place + 1}: {name}" for place, (name, _) in enumerate(named)],
        next=_next(words, held),
    )


def _what(held: Sequence[Held], groups: Sequence[Group]) -> str:
    standing = by_stem(held, lambda entry: entry.status)
    counts = ", ".join(f"{len(entries)} {status}" for status, entries in standing.items())
    return f"{len(held)} runs of {len(groups)} setting{'s' if len(groups) != 1 else ''}: {counts}."


def _keys(held: Sequence[Held]) -> dict[str, list[str]]:
    """{key: its value in each run, as text} of the keys that count and differ."""
    known = [entry for entry in held if entry.config]
    if not known:
        return {}
    first = known[0].config
    changed = [{key: (one, other) for key, one, other in differences.rows(first, entry.config)[0]} for entry in known]
    names = dict.fromkeys(name for found in changed for name in found)
    own = {name: next(found[name][0] for found in changed if name in found) for name in names}
    by_run = {id(entry): found for entry, found in zip(known, changed, strict=True)}
    return {
        name: [by_run[id(entry)].get(name, ("", own[name]))[1] if id(entry) in by_run else "?" for entry in held]
        for name in names
    }


def _groups(held: Sequence[Held], keys: Mapping[str, Sequence[str]]) -> list[Group]:
    """The runs by setting: by what differs, seeds aside."""
    found: dict[str, list[Held]] = {}
    for place, entry in enumerate(held):
        said = " ".join(f"{key}={texts[place]}" for key, texts in keys.items() if key != "seed")
        found.setdefault(said or "all", []).append(entry)
    return list(found.items())


def _table(held: Sequence[Held], keys: Mapping[str, Sequence[str]], above: Path) -> dict[str, Any]:
    heads = [{"name": name, "number": False} for name in ("run", *keys, "status")]
    heads += [{"name": "step", "number": True}, {"name": "findings", "number": False}]
    rows = []
    for place, entry in enumerate(held):
        cells = [_cell(_name(entry.path, above), any_break=True)]
        cells += [_cell(texts[place], value=_number(texts[place])) for texts in keys.values()]
        findings = ", ".join(found.disease for found in (entry.case.findings if entry.case else []) if found.standing)
        cells += [_cell(entry.status), _cell(str(entry.step), entry.step), _cell(findings or "none that stands", any_break=True)]
        rows.append(cells)
    said = "Of their keys those that differ and count. A button in the head sorts by its column; the order says nothing else."
    return {"heads": heads, "rows": rows, "said": said, "below": []}


def _cell(text: str, value: float | None = None, *, any_break: bool = False) -> dict[str, Any]:
    return {"text": text, "value": value, "number": value is not None, "any": any_break}


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _name(path: Path, above: Path) -> str:
    return str(path.relative_to(above)) if path != above else path.name


def _pictures(held: Sequence[Held], groups: Sequence[Group], notes: list[str]) -> list[Shown]:
    """The last picture of each run, setting by setting."""
    every = [(name, entry) for name, entries in groups for entry in entries if entry.pictures]
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


def _panels(groups: Sequence[Group]) -> list[Panel]:
    """A panel for each quantity that is logged or looked at, with a line for each setting."""
    found = []
    for attribute in ("losses", "looks"):
        rows = [row for _, entries in groups for entry in entries for row in getattr(entry, attribute)]
        names = [name for name in dict.fromkeys(key for row in rows for key in row) if name not in ("step", "images", "time")]
        for name in names:
            lines = [_mean(str(place + 1), entries, attribute, name) for place, (_, entries) in enumerate(groups[:LINES])]
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
    means = [decide.estimate([held[step] for held in by_step]) for step in thinned(Line("", steps, steps)).xs]
    kept = thinned(Line("", steps, steps)).xs
    low = [mean.mean - (mean.half or 0) for mean in means]
    high = [mean.mean + (mean.half or 0) for mean in means]
    return Line(label, kept, [mean.mean for mean in means], low, high)


def _next(words: Sequence[str], held: Sequence[Held]) -> list[Command]:
    """What fits where the runs stand."""
    places = [spell.shown(entry.path) for entry in held]
    found = [Command("What stands in each of them:", spell.command("doctor", *places))]
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
