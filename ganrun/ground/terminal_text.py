"""Text for a terminal of any width: sentences that break between words, tables that break between columns. Nothing is cut."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Iterator, Sequence

# a command stays on one line, so that it can be pasted: `ganrun sample outputs/... --num 4`
COMMAND = re.compile(
    r"(?:\S*/)?ganrun (?:train|eval|sample|export|probe|compare|diff|theory|list)\b(?: (?:-\S+|\S*[=/]\S*|\d+|runs))*"
)
KEPT = "\x00"  # stands for a blank at which no line ends


def width() -> int:
    """The columns of the terminal."""
    return shutil.get_terminal_size().columns


def wrapped(text: str, columns: int) -> str:
    """``text`` in lines of at most ``columns``, broken between words; a longer word, or a command, has a line of its own."""
    return "\n".join(line for paragraph in text.split("\n") for line in _lines(paragraph, columns))


def _lines(paragraph: str, columns: int) -> list[str]:
    if len(paragraph) <= columns:
        return [paragraph]
    indent = " " * (len(paragraph) - len(paragraph.lstrip()))
    kept = COMMAND.sub(lambda found: found[0].replace(" ", KEPT), paragraph)
    lines = textwrap.wrap(
        kept.lstrip(),
        max(columns, len(indent) + 1),
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace(KEPT, " ") for line in lines] or [paragraph]


Cell = Sequence[str]  # its lines


def blocks(rows: Sequence[Sequence[Cell]], columns: int, *, gap: int = 2) -> list[str]:
    """A table as lines of at most ``columns``: further columns go into further blocks, each with the first column again.

    The first of ``rows`` is the head. A column that is by itself too wide makes its block wider: nothing is cut.
    """
    widths = [max(len(line) for row in rows for line in row[place]) for place in range(len(rows[0]))]
    found: list[str] = []
    for places in _groups(widths, columns, gap):
        if found:
            found.append("")
        for row in rows:
            cells = [row[place] for place in (0, *places)]
            for number in range(max(len(cell) for cell in cells)):
                parts = [
                    (cell[number] if number < len(cell) else "").ljust(widths[place])
                    for cell, place in zip(cells, (0, *places), strict=True)
                ]
                found.append((" " * gap).join(parts).rstrip())
    return found


def _groups(widths: Sequence[int], columns: int, gap: int) -> Iterator[list[int]]:
    """Which columns stand side by side, block by block."""
    group: list[int] = []
    used = widths[0]
    for place in range(1, len(widths)):
        if group and used + gap + widths[place] > columns:
            yield group
            group, used = [], widths[0]
        group.append(place)
        used += gap + widths[place]
    yield group
