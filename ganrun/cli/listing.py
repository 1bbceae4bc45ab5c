"""``ganrun list``: what there is to choose, as tables on a terminal, else as plain lines; ``list runs``: what was trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ganrun.cli import published
from ganrun.cli.schema import catalog
from ganrun.disk import results
from ganrun.ground import terminal_text


def show(group: str | None, config_dir: Path | None, console: Console) -> None:
    """Print every option of ``group``, or of all groups."""
    folders = catalog.places(config_dir)
    chosen = catalog.defaults()
    for name in [group] if group else catalog.groups(folders):
        entries = catalog.entries(name, folders)
        if console.is_terminal:
            _table(name, entries, chosen.get(name, []), console)
        else:
            _lines(name, entries, chosen.get(name, []), console)


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


def show_runs(output: Path, columns: int) -> Iterator[str]:
    """The lines of ``ganrun list runs``: of each run its folder, where it stands, its size and its last scores with their step.

    None is longer than ``columns`` but for a single longer word.
    """
    records = results.read_runs(output)
    for record in records:
        yield str(record["run"])
        step = f"step {record['step']} of {record['steps']}" if record["step"] is not None else "no step yet"
        facts = [str(record["status"] or "not begun"), step, _bytes(record["size"])]
        if record["findings"]:
            facts.append(f"found: {record['findings']}")
        yield terminal_text.wrapped("  " + (f"damaged: {record['error']}" if record["error"] else ", ".join(facts)), columns)
        scores = {key.removeprefix("scores."): value for key, value in record.items() if key.startswith("scores.")}
        if scores:
            values = ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
            yield terminal_text.wrapped(f"  scores at step {record['scores_step']}: {values}", columns)
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
    differs = published.differences(entry.name) if entry.group == "experiment" and _is_ours(entry) else ""
    return f"{entry.description} Differs from the paper in: {differs}." if differs else entry.description


def _is_ours(entry: catalog.OptionFile) -> bool:
    return entry.path.is_relative_to(catalog.conf_dir())
