"""What a person sees of a running job: a live line on a terminal, plain lines elsewhere, nothing inside a sweep."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

console = Console(stderr=True, highlight=False, soft_wrap=True)
if not console.is_terminal:
    console = Console(stderr=True, highlight=False, soft_wrap=True, width=160)  # logs need no narrow page


class Display:
    """Shows steps, images, rate, time left and losses. On stderr, so that stdout can be piped."""

    def __init__(self, steps: int, *, quiet: bool = False) -> None:
        self.steps, self.quiet = steps, quiet
        self.live = console.is_terminal and not quiet
        self._started, self._first, self._spoken = time.monotonic(), 0, 0.0
        self._bar = Progress(
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[rate]} step/s"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[losses]}"),
            console=console,
            disable=not self.live,
            refresh_per_second=4,
        )
        self._task = self._bar.add_task("train", total=steps, rate="-", losses="")

    def start(self, step: int) -> None:
        self._first, self._started = step, time.monotonic()
        self._bar.start()
        self._bar.update(self._task, completed=step)

    def advance(self, step: int) -> None:
        """A step is done. Costs a few microseconds: the bar redraws itself four times a second."""
        if self.live:
            self._bar.update(self._task, completed=step)

    def log(self, row: Mapping[str, Any]) -> None:
        """Show the losses of a log row; a plain line every ten seconds at most where there is no terminal."""
        rate = (row["step"] - self._first) / max(time.monotonic() - self._started, 1e-9)
        losses = "  ".join(f"{name} {value:.3f}" for name, value in row.items() if "/" in name and "gradient_norm" not in name)
        self._bar.update(self._task, completed=row["step"], rate=f"{rate:.1f}", losses=losses)
        due = time.monotonic() - self._spoken > 10 or row["step"] == self.steps
        if not self.live and not self.quiet and due:
            self._spoken = time.monotonic()
            left = (self.steps - row["step"]) / rate if rate > 0 else 0.0
            console.print(
                f"step {row['step']}/{self.steps}  images {row['images']}  {rate:.1f} step/s  {left:.0f} s left  {losses}",
                markup=False,
            )

    def say(self, line: str) -> None:
        """A line above the bar."""
        if not self.quiet:
            console.print(line, markup=False)

    def stop(self) -> None:
        self._bar.stop()


def with_spread(entry: Mapping[str, Any]) -> str:
    """A value, and its standard deviation with two digits where it has one; "-" where there is no value."""
    if entry.get("value") is None:
        return "-"
    return f"{entry['value']:.4g}" + (f" ±{entry['std']:.2g}" if "std" in entry else "")


def scores_table(scores: Mapping[str, Mapping[str, Any]], baselines: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Table:
    """Scores, with their standard deviations, beside those of held-out real data and of noise, where these were asked for."""
    table = Table("score", "generated", *baselines, box=None, pad_edge=False)
    for name, entry in scores.items():
        cells = [entry, *(baseline.get(name, {}) for baseline in baselines.values())]
        table.add_row(name, *(with_spread(cell) for cell in cells))
    return table


def show_panel(
    title: str,
    facts: Mapping[str, object],
    table: Table | None = None,
    command: str | None = None,
    notes: Sequence[str] = (),
) -> None:
    """The closing panel: labelled lines, then a table, then what must be known to read it. The ``command`` to type next is a line
    of its own below where the panel is too narrow for it: what is cut into two lines cannot be pasted."""
    fits = command is None or len(command) + max(map(len, facts)) + 6 <= console.width
    facts = {**facts, "next": command} if command and fits else facts
    lines = Table.grid(padding=(0, 2))
    lines.add_column(no_wrap=True)
    lines.add_column(overflow="fold")
    for label, fact in facts.items():
        lines.add_row(label, Text(str(fact)))  # a path may hold what looks like markup
    parts: list[RenderableType] = [lines, *(("", table) if table else ())]
    if notes:
        words = Table.grid()
        words.add_column(overflow="fold")  # the console itself wraps nothing
        for sentence in notes:
            words.add_row(Text(f"note: {sentence}"))
        parts += ["", words]
    body = Group(*parts)
    console.print(Panel(body, title=title, expand=False))
    if not fits:
        console.print(f"next: {command}", markup=False)
