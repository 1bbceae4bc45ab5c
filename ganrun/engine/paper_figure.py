"""A comparison of runs as a figure: for each score the settings down, a point for each seed, the mean with its interval."""

from __future__ import annotations

import io
import textwrap
from pathlib import Path

from ganrun.disk import storage
from ganrun.engine.compare import Comparison
from ganrun.ground import figures
from ganrun.ground.errors import BadInput, suggestion

KINDS = ("pdf", "png", "svg")
ACROSS = 3  # panels side by side
LONGEST = 34  # characters of a line of a setting's name
EXACT = {"svg.hashsalt": "ganrun", "pdf.fonttype": 42, "text.parse_math": False}  # the same bytes; names with $ in them are text
GREY, BLACK = "0.55", "black"


def verify(file: Path) -> None:
    """``BadInput`` for a file whose kind is not one of ``KINDS``."""
    kind = file.suffix.removeprefix(".").lower()
    if kind not in KINDS:
        raise BadInput(
            f"--figure {file}: its ending must be .pdf, .png or .svg. {suggestion(kind, KINDS) if kind else ''}".rstrip()
        )


def draw(found: Comparison, file: Path) -> None:
    """Write the figure to ``file``, whose ending says what it is. The same comparison gives the same bytes."""
    verify(file)
    columns = [column for column in found.columns.values() if column.values]
    across = min(ACROSS, len(columns)) or 1
    down = -(-len(columns) // across)
    names = ["\n".join(textwrap.wrap(name, LONGEST, break_on_hyphens=False)) for name in found.names]
    height = sum(0.22 + 0.17 * (name.count("\n") + 1) for name in names)
    label = max(len(line) for name in names for line in name.split("\n"))
    with figures.style(**EXACT):
        figure = figures.figure(0.7 + 0.07 * label + 2.7 * across, 0.9 + (height + 0.9) * down)
        grid = figure.subplots(down, across, squeeze=False, sharey=True)
        for axes, column in zip(grid.flat, columns, strict=False):
            for place, name in enumerate(found.names):
                values = [value for _, value in sorted(column.values.get(name, {}).items())]
                rows = [place + 0.18] * len(values)
                axes.plot(values, rows, "o", ms=4, mfc="none", color=GREY)
                mean = found.means[column.name].get(name)
                if mean is not None:
                    best = found.best.get(column.name) == name
                    axes.errorbar(
                        mean.mean, place, xerr=mean.half, fmt="*" if best else "D", ms=9 if best else 5, color=BLACK, capsize=3
                    )
            axes.set(title=column.name, xlabel=f"{column.name} ({column.words})", ylim=(len(names) - 0.5, -0.5))
            axes.set_yticks(range(len(names)), names)
            axes.tick_params(labelleft=axes in grid[:, 0])
            axes.margins(x=0.1)
            axes.locator_params(axis="x", nbins=5)
            axes.grid(visible=False, axis="y")
        for axes in grid.flat[len(columns) :]:
            axes.set_visible(False)
        for axes in grid[:, 0]:
            axes.set_ylabel("setting")
        figure.suptitle(title(found))
        _legend(figure, found)
        picture = io.BytesIO()
        kind = file.suffix.removeprefix(".").lower()
        figure.savefig(picture, format=kind, dpi=200, metadata={"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(kind))
    with storage.storage_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
    storage.write(file, picture.getvalue())


def title(found: Comparison) -> str:
    """What is compared: how many settings, at which step."""
    steps = sorted({entry.step for entries in found.settings for entry in entries if entry.step is not None})
    at = f"step {steps[0]}" if len(steps) == 1 else f"steps {', '.join(map(str, steps))}"
    return f"{len(found.names)} setting{'s' if len(found.names) != 1 else ''} at {at}"


def _legend(figure: object, found: Comparison) -> None:
    """Below the panels, off the data."""
    from matplotlib.lines import Line2D

    marks = [
        Line2D([], [], marker="o", mfc="none", color=GREY, ls="", ms=4, label="a seed"),
        Line2D([], [], marker="D", color=BLACK, ls="-", ms=5, label="mean, 95 % t-interval"),
    ]
    if found.best:
        marks.append(Line2D([], [], marker="*", color=BLACK, ls="-", ms=9, label="best: decided from every other"))
    figure.legend(handles=marks, loc="outside lower center", ncols=len(marks), frameon=False)  # type: ignore[attr-defined]
