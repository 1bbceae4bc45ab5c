"""``ganrun list``: what there is to choose, as tables on a terminal, as plain lines otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ganrun.cli import catalog


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


def _table(group: str, entries: Sequence[catalog.Entry], default: Sequence[str], console: Console) -> None:
    table = Table(title=f"{group}=", title_justify="left", title_style="bold cyan", box=None, padding=(0, 1), expand=True)
    table.add_column("name", style="bold", no_wrap=True)
    table.add_column("what it is", ratio=1, overflow="fold")
    table.add_column("options and their defaults", ratio=1, style="dim", overflow="fold")
    for entry in entries:
        mark = " *" if entry.name in default else ""
        table.add_row(f"{entry.name}{mark}", escape(entry.description), escape(catalog.details(entry)))
    console.print(table)
    console.print()


def _lines(group: str, entries: Sequence[catalog.Entry], default: Sequence[str], console: Console) -> None:
    for entry in entries:
        mark = " (default)" if entry.name in default else ""
        details = catalog.details(entry)
        console.file.write(f"{group}={entry.name}{mark}: {entry.description}\n")
        if details:
            console.file.write(f"    {details}\n")
