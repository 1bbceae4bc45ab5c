"""What an experiment is: a function that draws one figure and returns rows, each a claim beside what was measured.

An experiment registers itself under a name. Its docstring is its page: a title, what is exactly true in plain words, and,
after ``Formula:``, the formula. Everything is seeded and runs on one thread, so a second run reads the same numbers.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from matplotlib.transforms import offset_copy

from ganrun.disk.image_folder import MARK
from ganrun.ground import figures
from ganrun.ground.errors import BadInput, suggestion

SIGNS = {"equal": "=", "below": "<", "above": ">"}
SEED = 0
SIZE = (7.6, 3.9)  # inches
COLOURS = 128
LETTERS = 84  # of a line of the title
BELOW = 32  # points from an axes to the legend below it


@dataclass(frozen=True)
class Row:
    """One claim. ``relation``: "equal" within ``tolerance``, or "below" / "above" the expected number."""

    claim: str
    expected: float
    measured: float
    tolerance: float = 0.0
    relation: str = "equal"

    @property
    def passed(self) -> bool:
        if self.relation == "equal":  # infinity equals itself; not-a-number equals nothing
            return self.measured == self.expected or abs(self.measured - self.expected) <= self.tolerance
        return self.measured < self.expected if self.relation == "below" else self.measured > self.expected

    @property
    def verdict(self) -> str:
        return "PASS" if self.passed else "FAIL"

    @property
    def expectation(self) -> str:
        """What the measured number must be, in words of one cell."""
        spread = f" ± {self.tolerance:g}" if self.relation == "equal" and self.tolerance else ""
        return f"{SIGNS[self.relation]} {self.expected:.7g}{spread}"


Rows = list[Row]
Body = Callable[[Figure], Rows]


@dataclass(frozen=True)
class Experiment:
    """A registered experiment. ``slow``: it trains networks and takes seconds."""

    name: str
    body: Body
    slow: bool = False

    @property
    def page(self) -> tuple[str, str, str]:
        """Title, statement and formula."""
        title, _, rest = (inspect.getdoc(self.body) or self.name).partition("\n")
        statement, _, formula = rest.partition("Formula:")
        return title.strip().rstrip("."), statement.strip(), inspect.cleandoc(formula)

    def run(self, folder: Path | None = None) -> Rows:
        """The rows; with ``folder`` the figure is written there as NAME.png. Torch's threads and generator are put back."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        with figures.style():
            figure = figures.figure(*SIZE)
            try:
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(SEED)
                    rows = self.body(figure)
            finally:
                torch.set_num_threads(threads)
            complete(figure, self.page[0])
            drawn = b"" if folder is None else figures.png(figure, COLOURS)
        if folder is not None:
            is_new = not folder.exists()
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{self.name}.png").write_bytes(drawn)
            if is_new:
                (folder / MARK).touch()  # so that no data set takes the figures for images
        return rows


_experiments: dict[str, Experiment] = {}


def experiment(name: str, *, slow: bool = False) -> Callable[[Body], Body]:
    """Register the decorated function under ``name``."""

    def enter(body: Body) -> Body:
        if name in _experiments:
            raise ValueError(f"there are two experiments {name!r}")
        _experiments[name] = Experiment(name, body, slow)
        return body

    return enter


def experiments() -> list[Experiment]:
    """All experiments of the package, in the order of its modules' names and of their text."""
    package = importlib.import_module(__name__.rpartition(".")[0])
    modules = [module.name for module in pkgutil.iter_modules(package.__path__)]
    for module in modules:
        importlib.import_module(f"{package.__name__}.{module}")
    return sorted(_experiments.values(), key=lambda entry: entry.body.__module__)


def select(names: Iterable[str]) -> list[Experiment]:
    """The experiments of these names, all without any; ``BadInput`` with the nearest names for one that does not exist."""
    known = {entry.name: entry for entry in experiments()}
    wanted = list(dict.fromkeys(names))
    for name in wanted:
        if name not in known:
            raise BadInput(f"{name}: there is no such experiment. {suggestion(name, known)}")
    return [known[name] for name in wanted] if wanted else list(known.values())


def complete(figure: Figure, title: str) -> None:
    """Let the figure stand alone: its ``title`` above, each legend below its axes. ``ValueError`` for axes without labels."""
    figure.suptitle("\n".join(textwrap.wrap(title, LETTERS)), x=0.01, ha="left", fontsize=11, fontweight="bold")
    for axes in figure.axes:
        lacking = [name for name in ("x", "y") if not getattr(axes, f"get_{name}label")()]
        if lacking:
            raise ValueError(f"{title}: axes {axes.get_title()!r} have no label of {' and '.join(lacking)}")
        legend = axes.get_legend()
        if legend is not None:
            handles, labels = axes.get_legend_handles_labels()
            place = offset_copy(axes.transAxes, figure, y=-BELOW, units="points")
            where: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (0, 0), "bbox_transform": place, "borderaxespad": 0}
            axes.legend(handles, labels, ncols=2, markerscale=legend.markerscale, **where)
