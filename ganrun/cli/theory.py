"""``ganrun theory``: run the experiments on the theory and show claims, expected and measured numbers, verdicts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table


def show(console: Console) -> None:
    """The names and titles of all experiments."""
    from ganrun.theory.base import select

    for entry in select([]):
        console.file.write(f"{entry.name}: {entry.page[0]}{' (trains networks)' if entry.slow else ''}\n")


def run(names: Sequence[str], out: Path, page: Path | None, console: Console) -> bool:
    """Run the experiments of these names, all without any; whether every verdict is PASS."""
    from ganrun.disk import storage
    from ganrun.theory.base import Rows, select
    from ganrun.theory.page import write

    chosen = select(names)
    with storage.storage_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        found = []
        for entry in chosen:
            start = time.perf_counter()
            rows = entry.run(out)
            found.append((entry, rows))
            _show(f"{entry.name}: {entry.page[0]}", rows, time.perf_counter() - start, console)
        if page is not None:
            write(page, found, out)
    every: Rows = [row for _, rows in found for row in rows]
    failed = [(entry.name, row.claim) for entry, rows in found for row in rows if not row.passed]
    console.print(f"{len(every) - len(failed)} of {len(every)} verdicts are PASS; figures in {escape(str(out))}", soft_wrap=True)
    for name, claim in failed:
        console.print(f"[red]FAIL[/red] {escape(name)}: {escape(claim)}", soft_wrap=True)
    return not failed


def _show(title: str, rows: Sequence, seconds: float, console: Console) -> None:  # type: ignore[type-arg]
    if not console.is_terminal:
        console.file.write(f"{title} ({seconds:.1f} s)\n")
        for row in rows:
            console.file.write(f"  {row.verdict}  {row.claim}: {row.expectation}; measured {row.measured:.7g}\n")
        return
    table = Table(
        title=f"{escape(title)} ({seconds:.1f} s)", title_justify="left", title_style="bold cyan", box=None, expand=True
    )
    table.add_column("claim", ratio=1, overflow="fold")
    for heading in ("expected", "measured"):
        table.add_column(heading, no_wrap=True)
    table.add_column("verdict")
    for row in rows:
        colour = "green" if row.passed else "red"
        table.add_row(escape(row.claim), row.expectation, f"{row.measured:.7g}", f"[{colour}]{row.verdict}[/{colour}]")
    console.print(table)
    console.print()
