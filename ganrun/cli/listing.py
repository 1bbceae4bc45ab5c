"""``ganrun list``: what there is to choose, as tables on a terminal, else as plain lines; ``list runs``: what was trained."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ganrun.cli import describe, logged, published
from ganrun.cli.schema import catalog
from ganrun.disk import gather, results, runs
from ganrun.ground import terminal_text
from ganrun.ground.errors import BadInput

MOST_NAMED = 5  # folders without a run


def show(word: str | None, option: str | None, config_dir: Path | None, console: Console, columns: int) -> None:
    """Print every option of a group, or of all groups; all keys of one option, or of a root key.

    ``word``: ``loss``, ``loss=hinge`` or ``every``; with ``option``, ``loss`` and ``hinge``.
    """
    folders = catalog.places(config_dir)
    group, equals, named = (word or "").partition("=")
    if option is not None and equals:
        raise BadInput(f"{word} {option}: one option at a time: ganrun list {word}")
    if option is not None and "=" in option:
        raise BadInput(f"{word} {option}: one option at a time: ganrun list {option}")
    groups = catalog.groups(folders)
    if option is not None or equals:
        lines = list(describe.option(group, named if equals else str(option), config_dir, columns))
    else:
        said = logged.meaning(group) if "/" in group else None
        lines = [f"{group}: {said}"] if said else describe.root(group, columns) if group and group not in groups else []
    for line in lines:
        console.file.write(f"{line}\n")
    for name in [] if lines else [group] if group else groups:
        entries, chosen = catalog.entries(name, folders), catalog.defaults().get(name, [])
        if console.is_terminal:
            _table(name, entries, chosen, console)
        else:
            _lines(name, entries, chosen, console)


def _table(group: str, entries: Sequence[catalog.OptionFile], default: Sequence[str], console: Console) -> None:
    table = Table(title=f"{group}=", title_justify="left", title_style="bold cyan", box=None, padding=(0, 1), expand=True)
    table.add_column("name", style="bold", no_wrap=True)
    table.add_column("what it is", ratio=1, overflow="fold")
    table.add_column("options and their defaults", ratio=1, style="dim", overflow="fold")
    for entry in entries:
        mark = " *" if entry.name in default else ""
        table.add_row(f"{entry.name}{mark}", escape(_description(entry)), escape(catalog.details(entry)))
    console.print(table)
    console.print()


def _lines(group: str, entries: Sequence[catalog.OptionFile], default: Sequence[str], console: Console) -> None:
    for entry in entries:
        mark = " (default)" if entry.name in default else ""
        details = catalog.details(entry)
        console.file.write(f"{group}={entry.name}{mark}: {_description(entry)}\n")
        if details:
            console.file.write(f"    {details}\n")


def runs_as_json(output: Path) -> str:
    """The records of ``ganrun.runs``, as JSON, which has no NaN."""
    records = [
        {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in record.items()}
        for record in results.read_runs(output)
    ]
    return json.dumps(records, indent=2, ensure_ascii=False, allow_nan=False)


def show_runs(output: Path, columns: int) -> Iterator[str]:
    """The lines of ``ganrun list runs``: of each run its folder, where it stands, its size and its last scores with their step.

    None is longer than ``columns`` but for a single longer word. Folders that hold no run are named at the end.
    """
    records = results.read_runs(output)
    for record in records:
        yield str(record["run"])
        step = f"step {record['step']} of {record['steps']}" if record["step"] is not None else "no step yet"
        facts = [str(record["status"] or "not begun"), step, _bytes(record["size"])]
        if record["findings"]:
            facts.append(f"found: {record['findings']}")
        yield terminal_text.wrapped("  " + (f"damaged: {record['error']}" if record["error"] else ", ".join(facts)), columns)
        if record["remarks"]:
            yield terminal_text.wrapped(f"  warning: {record['remarks']}", columns)
        scores = {key.removeprefix("scores."): value for key, value in record.items() if key.startswith("scores.")}
        if scores:
            values = ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
            yield terminal_text.wrapped(f"  scores at step {record['scores_step']}: {values}", columns)
    others = gather.survey(runs.place(output))[1]
    for sentence in others[:MOST_NAMED]:
        yield terminal_text.wrapped(f"note: {sentence}", columns)
    if len(others) > MOST_NAMED:
        yield f"note: {len(others) - MOST_NAMED} more folders without a run"
    total = _bytes(sum(record["size"] for record in records))
    yield f"{len(records)} run{'s' if len(records) != 1 else ''} in {output}" + (f", {total}" if records else "")


def _bytes(count: int) -> str:
    """``734 B``, ``12.3 MB``, in powers of 1000."""
    size, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{size:.3g} {units[0]}"


def _description(entry: catalog.OptionFile) -> str:
    """What an option is; of a preset of ours also how it differs from its paper."""
    differs = published.differences(entry.name) if entry.group == "experiment" and describe.is_ours(entry.path) else ""
    return f"{entry.description} Differs from the paper in: {differs}." if differs else entry.description
