"""What a person sees of a running job: a live line on a terminal, plain lines elsewhere, nothing inside a sweep."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ganrun.ground import terminal_text

console = Console(stderr=True, highlight=False, soft_wrap=True)
if not console.is_terminal:
    console = Console(stderr=True, highlight=False, soft_wrap=True, width=160)  # logs need no narrow page


REAL = {"held_out": "held-out real", "train": "training"}  # baselines of real data, in words
PROBE, LEAST = 5.0, 60.0  # seconds of steps before an estimate; seconds left that are worth one


def say(line: str) -> None:
    """Show a line; on a terminal it breaks between words."""
    console.print(terminal_text.wrapped(line, console.width) if console.is_terminal else line, markup=False)


class Display:
    """Shows the step, the time left and the losses. On stderr, so that stdout can be piped.

    ``heading`` goes before the live line: which job of a sweep this is. ``quiet``: no plain lines.
    """

    def __init__(self, steps: int, *, quiet: bool = False, heading: str = "") -> None:
        self.steps, self.quiet, self.heading = steps, quiet, heading
        self.live = console.is_terminal and (not quiet or bool(heading))
        self.step = self._first = 0
        self.losses: list[str] = []
        self.finding = ""
        self._probe: tuple[int, float] | None = None  # the step, and the moment, from which the time of the run is estimated
        self._started, self._spoken = time.monotonic(), 0.0
        self._estimated = False
        self._live = Live(self, console=console, refresh_per_second=4, transient=bool(heading)) if self.live else None

    def start(self, step: int) -> None:
        self.step, self._first, self._started = step, step, time.monotonic()
        if self._live:
            self._live.start()

    def advance(self, step: int, finding: str = "") -> None:
        """A step is done; ``finding``: what stands. Costs nothing: the line redraws itself four times a second.

        Once, after ``PROBE`` seconds, it says how long the rest will take, where that is a minute or more.
        """
        self.step, self.finding = step, finding
        if not self._estimated:
            self._estimate()

    def _estimate(self) -> None:
        """The first step is not counted: it takes longer."""
        moment = time.monotonic()
        if self._probe is None:
            self._probe = (self.step, moment)
            return
        steps, seconds = self.step - self._probe[0], moment - self._probe[1]
        if seconds < PROBE or not steps:
            return
        self._estimated = True
        left = (self.steps - self.step) * seconds / steps
        if left >= LEAST:
            said = (
                f"the {self.steps - self.step} steps that are left take about {duration(left)}, at {steps / seconds:.3g} a second"
            )
            self.say(f"{said}; scoring and pictures come on top")

    def log(self, row: Mapping[str, Any]) -> None:
        """Show the losses of a log row; a plain line every ten seconds at most where there is no terminal."""
        self.step = row["step"]
        values = {name: value for name, value in row.items() if "/" in name and "gradient_norm" not in name}
        short = beginnings([name.partition("/")[0] for name in values])
        self.losses = [
            f"{short.get(phase, phase)}/{term} {value:.3g}"
            for (phase, _, term), value in ((name.partition("/"), value) for name, value in values.items())
        ]
        due = time.monotonic() - self._spoken > 10 or self.step == self.steps
        if not self.live and not self.quiet and due:
            self._spoken = time.monotonic()
            console.print("  ".join([*self._facts(), *self.losses]), markup=False)

    def say(self, line: str) -> None:
        """A line above the bar."""
        if not self.quiet:
            say(line)

    def stop(self) -> None:
        if self._live:
            self._live.stop()

    def line(self, width: int) -> str:
        """The live line, of at most ``width`` columns: step, bar and time left first, losses as far as there is room."""
        share = self.step / self.steps if self.steps else 1.0
        step, left, rate = self._facts()
        room = width - len(f"{step}  {left}") - 2
        if self.heading:
            heading = self.heading if len(self.heading) <= room // 2 else self.heading[: max(0, room // 2 - 1)] + "…"
            step, room = f"{heading}  {step}", room - len(heading) - 2
        bar = min(24, room)
        text = f"{step}  {'━' * round(share * bar):<{bar}}  {left}" if bar >= 4 else f"{step}  {left}"
        marks = [f"! {self.finding}"] if self.finding else []
        for word in [*marks, rate, *self.losses]:
            if len(text) + 2 + len(word) <= width:
                text += f"  {word}"
        return text[:width]

    def __rich__(self) -> Text:
        return Text(self.line(console.width - 1), no_wrap=True, overflow="crop")

    def _facts(self) -> tuple[str, str, str]:
        rate = (self.step - self._first) / max(time.monotonic() - self._started, 1e-9)
        left = f"{duration((self.steps - self.step) / rate)} left" if rate > 0 else "time left: -"
        return f"step {self.step}/{self.steps}", left, f"{rate:.3g}/s"


def duration(seconds: float) -> str:
    """``42 s``, ``3 min 20 s``, ``5 h 10 min``, ``2 d 3 h``."""
    total = round(seconds)
    for unit, size, part, below in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if total >= size:
            return f"{total // size} {unit} {total % size // below} {part}"
    return f"{total} s"


def beginnings(names: Sequence[str]) -> dict[str, str]:
    """The shortest beginning of each name that no other one has: {"discriminator": "d", "generator": "g"}."""
    found = {}
    for name in dict.fromkeys(names):
        others = [other for other in names if other != name]
        sizes = range(1, len(name) + 1)
        found[name] = next((name[:size] for size in sizes if not any(other.startswith(name[:size]) for other in others)), name)
    return found


def with_spread(entry: Mapping[str, Any]) -> str:
    """A value, and its standard deviation with two digits where it has one; "-" where there is no value."""
    if entry.get("value") is None:
        return "-"
    return f"{entry['value']:.4g}" + (f" ±{entry['std']:.2g}" if "std" in entry else "")


def scores_table(scores: Mapping[str, Mapping[str, Any]], baselines: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Table:
    """Scores, with their standard deviations, beside those of held-out real data and of noise where there are any; what each was
    measured with is below."""
    table = Table("score", "generated", *baselines, box=None, pad_edge=False)
    for name, entry in scores.items():
        cells = [entry, *(baseline.get(name, {}) for baseline in baselines.values())]
        table.add_row(name, *(with_spread(cell) for cell in cells))
    ways: dict[str, list[str]] = {}
    for name, entry in scores.items():
        if entry.get("value") is not None:
            ways.setdefault(measured_with(entry), []).append(name)
    said = [f"{', '.join(names)}: {way}" if len(ways) > 1 else way for way, names in ways.items() if way]
    table.caption, table.caption_justify = Text("; ".join(said)) if said else None, "left"
    return table


def measured_with(entry: Mapping[str, Any]) -> str:
    """The extractor and the number of samples, as the card has them: "band_energies, N=500"."""
    card = entry.get("card", {})
    extractor, samples = card.get("extractor"), card.get("samples")
    words = [str(extractor["name"])] if isinstance(extractor, Mapping) and "name" in extractor else []
    return ", ".join([*words, *([f"N={samples}"] if samples else [])])


def in_words(name: str, entry: Mapping[str, Any], baselines: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """A score in a line: "fid 12.3 ±0.4 (band_energies, N=500; held-out real 3.1 ±0.2)"."""
    real = [(words, baselines.get(kind, {}).get(name, {})) for kind, words in REAL.items()]
    said = [f"{words} {with_spread(held)}" for words, held in real if held.get("value") is not None]
    notes = "; ".join([*([measured_with(entry)] if measured_with(entry) else []), *said])
    return f"{name} {with_spread(entry)}" + (f" ({notes})" if notes else "")


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
