"""Curves over steps as SVG that stands in a page: sharp at any width, its words in the page's own colours, light or dark.

Every line has a style and markers of its own beside its colour, and every panel a sentence that says what it shows.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, TypeVar

from ganrun.ground import figures

INK = "#010203"  # stands for the page's colour of text until the SVG is written
SIZE = (4.0, 2.4)  # inches
LEFT, BOTTOM, WIDTH, HEIGHT, LEGEND = 0.14, 0.17, 0.83, 0.78, 0.085  # of the axes, and of a line of the legend above them
LONG = 4.4  # inches of the timeline
COLUMNS = 3  # of the legend
MOST = 240  # points of a line; more are thinned out, and keep their extremes
MARKED = 30  # up to so many points each has a mark
MARKERS = "osD^vPX*"
HATCH = "///"
_serial = count()
Item = TypeVar("Item")


@dataclass(frozen=True)
class Line:
    """One curve: its name, and its points. ``low`` and ``high``: the ends of an interval at each point, if there is one."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


@dataclass(frozen=True)
class Span:
    """A stretch of steps that is marked; ``end`` None: up to the last step."""

    name: str
    start: float
    end: float | None = None


@dataclass(frozen=True)
class Panel:
    """One drawing. ``note``: what its numbers mean; ``levels``: horizontal lines by name."""

    title: str
    lines: Sequence[Line]
    note: str = ""
    x: str = "step"
    y: str = ""
    spans: Sequence[Span] = ()
    levels: Mapping[str, float] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """What stands for the drawing where it cannot be seen."""
        return f"{self.title}. " + " ".join(_in_words(line, self.x) for line in self.lines if finite(line.ys))


def by_stem(names: Iterable[Item], stem: Callable[[Item], str]) -> dict[str, list[Item]]:
    """``names`` by what ``stem`` makes of them, in their order."""
    found: dict[str, list[Item]] = {}
    for name in names:
        found.setdefault(stem(name), []).append(name)
    return found


def series(rows: Sequence[Mapping[str, Any]], name: str) -> Line:
    """The numbers of ``name`` in ``rows``, by step."""
    held = [(row["step"], row[name]) for row in rows if type(row.get(name)) in (int, float)]
    return Line(name, [step for step, _ in held], [float(value) for _, value in held])


def finite(values: Iterable[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]


def _in_words(line: Line, x: str) -> str:
    held = [(step, value) for step, value in zip(line.xs, line.ys, strict=True) if math.isfinite(value)]
    (first, start), (last, end) = held[0], held[-1]
    values = [value for _, value in held]
    if len(held) == 1:
        return f"{line.name}: {start:.3g} at {x} {first:g}."
    return (
        f"{line.name}: from {start:.3g} at {x} {first:g} to {end:.3g} at {x} {last:g}, "
        f"between {min(values):.3g} and {max(values):.3g}."
    )


def thinned(line: Line) -> Line:
    """A line of at most about ``MOST`` points: of each stretch the lowest and the highest, so that no peak is lost."""
    if len(line.xs) <= MOST:
        return line
    width = math.ceil(2 * len(line.xs) / MOST)
    kept = {0, len(line.xs) - 1}
    for start in range(0, len(line.xs), width):
        places = [place for place in range(start, min(start + width, len(line.xs))) if math.isfinite(line.ys[place])]
        if places:
            kept |= {min(places, key=line.ys.__getitem__), max(places, key=line.ys.__getitem__)}
    order = sorted(kept)
    return Line(line.name, *([side[place] for place in order] if side else () for side in _sides(line)))


def _sides(line: Line) -> tuple[Sequence[float], ...]:
    return line.xs, line.ys, line.low, line.high


def svg(panel: Panel) -> str:
    """The panel as an ``<svg>`` element. Ids in it are like no other panel's."""
    named = len(panel.lines) + len(panel.levels)
    above = LEGEND * math.ceil(named / COLUMNS) if named > 1 else 0.0
    with _in_ink():
        figure = figures.figure(*SIZE)
        axes = figure.add_axes((LEFT, BOTTOM, WIDTH, HEIGHT - above))
        _draw(axes, panel)
        if above:
            handles = [entry for entry in axes.get_lines() if not str(entry.get_label()).startswith("_child")]
            names = [str(entry.get_label()) for entry in handles]
            where: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (-0.1, 1.0), "borderaxespad": 0.1}
            axes.legend(handles, names, ncols=COLUMNS, columnspacing=1.2, handlelength=2.4, **where)
        return _embedded(_text_of(figure), panel.words)


def _draw(axes: Any, panel: Panel) -> None:
    values = []
    for place, whole in enumerate(panel.lines):
        line = thinned(whole)
        marker = MARKERS[place % len(MARKERS)] if len(line.xs) <= MARKED else ""
        axes.plot(line.xs, line.ys, marker=marker, label=line.name)
        if line.low:
            axes.fill_between(line.xs, line.low, line.high, color=f"C{place % 8}", alpha=0.18, linewidth=0)
        values += finite(line.ys)
    for name, level in panel.levels.items():
        axes.axhline(level, color=INK, linewidth=0.9, linestyle=(0, (1, 2)), label=name)
    for span in panel.spans:
        end = max((max(line.xs) for line in panel.lines if line.xs), default=span.start) if span.end is None else span.end
        axes.axvspan(span.start, end, facecolor="none", edgecolor=figures.REAL, alpha=0.35, hatch=HATCH, linewidth=0.6)
    if values and min(values) > 0 and max(values) > 300 * min(values):
        axes.set_yscale("log")
    axes.set_xlabel(panel.x, labelpad=1)
    axes.set_ylabel(panel.y)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.4g}")  # without an offset or a factor that stands elsewhere
    axes.yaxis.set_minor_formatter(lambda value, _: "")
    axes.locator_params(axis="x", nbins=5)


def timeline(spans: Sequence[Span], last: float) -> str:
    """A bar for each span over the steps up to ``last``, its name above it, as an ``<svg>`` element."""
    ends = ["the end" if span.end is None else f"step {span.end:g}" for span in spans]
    words = "; ".join(f"{span.name}: step {span.start:g} to {end}" for span, end in zip(spans, ends, strict=True))
    with _in_ink():
        height = 0.5 + 0.36 * len(spans)
        figure = figures.figure(LONG, height)
        axes = figure.add_axes((0.03, 0.42 / height, 0.92, 1 - 0.45 / height))
        look: dict[str, Any] = {"height": 0.36, "alpha": 0.5, "hatch": HATCH, "edgecolor": INK, "linewidth": 0.6}
        for place, span in enumerate(reversed(spans)):
            end = last if span.end is None else span.end
            axes.barh(place, max(end - span.start, last / 200), left=span.start, color=f"C{place % 8}", **look)
            axes.text(0, place + 0.26, span.name, va="bottom", fontsize=8)
        axes.set(xlim=(0, last), ylim=(-0.4, len(spans) - 0.2), xlabel="step", yticks=[])
        axes.spines["left"].set_visible(False)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.locator_params(axis="x", nbins=6)
        return _embedded(_text_of(figure), f"Findings on the time axis. {words}.")


def _in_ink() -> Any:
    """The style of the figures with words in the page's colour, and nothing of a name read as a formula."""
    coloured = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
    changed = {"figure.constrained_layout.use": False, "font.size": 10, "text.parse_math": False}
    return figures.style(**{**dict.fromkeys(coloured, INK), **changed})


def _text_of(figure: Any) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True)
    return buffer.getvalue()


def _embedded(text: str, words: str) -> str:
    """The drawing without what a page has no use for, with ids of its own and words in the page's colour."""
    mark = f"f{next(_serial)}-"
    body = text[text.index("<svg") :]
    body = re.sub(r"<(metadata|style)\b.*?</\1>", "", body, flags=re.DOTALL)
    body = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", body)
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', body))
    body = re.sub(r'\sid="([^"]*)"', lambda found: f' id="{mark}{found[1]}"' if found[1] in used else "", body)
    body = re.sub(r'(url\(#|href="#)', rf"\g<1>{mark}", body).replace("xlink:href", "href")
    body = body.replace(INK, "currentColor").replace("<defs>\n  \n </defs>", "")
    body = re.sub(r"\n\s*", " ", body)
    head = f'<svg role="img" aria-label="{_quoted(words)}"'
    return re.sub(r'<svg width="[^"]*" height="[^"]*"', lambda found: head, body, count=1)


def _quoted(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")
