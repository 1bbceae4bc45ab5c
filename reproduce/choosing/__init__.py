"""Which setting to use: losses x regularizers x families at equal time, ranked only where a difference is decided.

``python -m reproduce.choosing [NAME ...]`` trains what is missing and writes docs/choosing.md. A table is a yaml file here:

title    what it is about      base    overrides of every run       small         overrides of a run that fits a test
models   {label: overrides}    losses  names                        regularizers  {label: overrides}
read     the score that ranks  seeds   how many                     steps         of the first cell
cost     {cell: time of its step over that of the first cell's}, as ``--cost`` measured it

*Equal time*: a cell gets ``steps`` / cost steps, so that all take the time of the first. Time is that of the processor, measured
in one interleaved run; it stands in the file, so that the runs are the same on every machine. Seeds are 0, 1, ...; no cell is
tuned: each has the defaults of its parts and the rates of ``models``.
"""

from __future__ import annotations

import argparse
import math
import resource
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ganrun.engine import decide
from reproduce import page, runner
from reproduce.target import Target, merge

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results.jsonl"
PAGE = runner.ROOT / "docs" / "choosing.md"
PROBE = 150  # steps of a probe of the cost
HEAD = """# Which setting should I use?

Losses, regularizers and families at equal time. `make choosing` writes this page. Each cell has as many steps as take the time
of the first cell's, and the defaults of its parts: nothing was tuned for a cell, so one that ranks low may do better with
settings of its own. Lower is better in all tables.

The means have Student's 95 % interval over the seeds. *The best?* is "no" where another cell is better by a paired t-test
over the seeds at the level 5 % / (number of other cells). So the cells without a "no" hold the best one with 95 %; between
them nothing is decided, whatever their order.
"""


@dataclass(frozen=True)
class Table:
    """One comparison; its fields are the keys of the yaml file."""

    name: str
    title: str
    base: str
    models: Mapping[str, str]
    losses: Sequence[str]
    regularizers: Mapping[str, str]
    read: str
    steps: int
    seeds: int
    small: str
    cost: Mapping[str, float] = field(default_factory=dict)

    def cells(self) -> dict[str, str]:
        """{label: overrides without steps} of all cells."""
        return {
            f"{model}, {loss}, {regularizer}": f"{self.models[model]} loss={loss} {self.regularizers[regularizer]}"
            for model in self.models
            for loss in self.losses
            for regularizer in self.regularizers
        }

    def target(self) -> Target:
        """The same as a target without checks, which the runner trains."""
        arms = {
            cell: f"{words} steps={max(round(self.steps / self.cost.get(cell, 1.0)), 1)}" for cell, words in self.cells().items()
        }
        return Target(
            name=f"choosing-{self.name}",
            claim=self.title,
            paper="none",
            mark="derived",
            base=self.base,
            arms=arms,
            reads={self.read: {"score": self.read}},
            checks=[],
            looks=[self.seeds],
            budget=8 * 3600,
            budgets="equal time",
            small=self.small,
        )


def load() -> dict[str, Table]:
    """All tables by name."""
    return {path.stem: Table(name=path.stem, **yaml.safe_load(path.read_text())) for path in sorted(FOLDER.glob("*.yaml"))}


def cost(table: Table, *, rounds: int = 3, steps: int = PROBE) -> dict[str, float]:
    """{cell: processor seconds of a step over those of the first cell}: the least of ``rounds`` interleaved probes.

    A probe of a few steps is taken off one of ``steps``, so that what a start takes does not count.
    """
    target = table.target()
    least: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as place:
        run = runner.Runner(Path(place), say=lambda line: None)
        for round_ in range(rounds):
            for cell in target.arms:
                spent = []
                for length in (steps // 10, steps):
                    typed = merge(
                        run.overrides(target, cell, 1000),
                        f"steps={length} metric=none doctor.every=0 name=probe-{round_}-{length}",
                    )
                    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
                    _, code, words = run.train(typed, 1000)
                    if code:
                        raise RuntimeError(f"{cell}: {words}")
                    spent.append(resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before)
                least[cell] = min(least.get(cell, float("inf")), spent[1] - spent[0])
    first = next(iter(least.values()))
    return {cell: round(seconds / first, 2) for cell, seconds in least.items()}


def beaten(values: Mapping[str, Mapping[int, float]], alpha: float = 0.05) -> dict[str, str]:
    """{cell: another that is better}, where lower is better: those that are decided not to be the best of k cells.

    A cell is out where another beats it by a one-sided paired t-test at the level alpha / (k - 1). The true best is out only if
    one of its k - 1 tests errs, which has a probability of alpha at most. So the cells that stay hold the best with 1 - alpha
    (a subset selection after Gupta 1965, "On some multiple decision rules", Technometrics 7, by Bonferroni's bound).
    """
    out: dict[str, str] = {}
    for cell in values:
        found = {other: decide.difference(values[cell], values[other]) for other in values if other != cell}
        sure = {other: gap.p / 2 for other, gap in found.items() if gap is not None and gap.p is not None and gap.mean > 0}
        if sure and min(sure.values()) <= alpha / len(found):
            out[cell] = f"{min(sure, key=sure.__getitem__)} is better"
    return out


def section(table: Table, results: Sequence[Mapping[str, Any]]) -> list[str]:
    """The table's part of the page."""
    target = table.target()
    values = {cell: reads.get(table.read, {}) for cell, reads in runner.table(target, results).items()}
    whole = {cell: held for cell, held in values.items() if len(held) == table.seeds and all(map(math.isfinite, held.values()))}
    diverged = [cell for cell, held in values.items() if any(map(math.isnan, held.values()))]
    waiting = len(values) - len(whole) - len(diverged)
    lines = [f"## {table.title}", "", f"`make choosing-{table.name}`: {table.read}, {table.seeds} seeds.", ""]
    if waiting or not whole:
        lines += [f"{waiting} of {len(values)} cells have not been run to the end yet.", ""]
    if not whole:
        return lines
    order = sorted(whole, key=lambda cell: sum(whole[cell].values()))
    losers = beaten(whole)
    rows = runner.valid(target, results)
    lines += [f"| model, loss, regularizer | {table.read} | the best? | steps | seconds a run |", "|---|---|---|---|---|"]
    for cell in order:
        mean, held = decide.estimate(list(whole[cell].values())), [row for (arm, _), row in rows.items() if arm == cell]
        word = f"no: {losers[cell]}" if cell in losers else "may be"
        seconds = sum(row["seconds"] for row in held) / len(held)
        lines += [f"| {cell} | {mean.mean:.3g} ± {mean.half:.2g} | {word} | {held[0]['steps']:,} | {seconds:.0f} |"]
    if diverged:
        lines += ["", f"Diverged with a seed: {'; '.join(diverged)}."]
    return [*lines, "", page.where(list(rows.values())), ""]


def write(tables: Mapping[str, Table], results: Sequence[Mapping[str, Any]]) -> str:
    """The whole page."""
    lines = [HEAD]
    for table in tables.values():
        lines += section(table, results)
    return "\n".join(lines).rstrip() + "\n"


def main(words: list[str] | None = None) -> int:
    """0 where all went well, 2 for a name that does not exist."""
    parser = argparse.ArgumentParser(prog="python -m reproduce.choosing", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--cost", action="store_true", help="measure what a step of each cell costs; write it into the file")
    parser.add_argument("--page", action="store_true", help="write the page, run nothing")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--budget", type=float, help="seconds for each table")
    parser.add_argument("--output", type=Path, default=runner.ROOT / "outputs" / "reproduce")
    said = parser.parse_args(words)
    tables = load()
    if strange := [name for name in said.names if name not in tables]:
        print(f"no table {', '.join(strange)}. Valid: {', '.join(tables)}", file=sys.stderr)
        return 2
    chosen = [tables[name] for name in said.names] or list(tables.values())
    run = runner.Runner(said.output.absolute(), results=RESULTS, parallel=max(said.jobs, 1))
    for table in chosen:
        if said.cost:
            path = FOLDER / f"{table.name}.yaml"
            kept = {key: value for key, value in yaml.safe_load(path.read_text()).items() if key != "cost"}
            text = path.read_text().split("\ncost:")[0].rstrip() + "\n"
            assert yaml.safe_load(text) == kept
            path.write_text(text + yaml.safe_dump({"cost": cost(table)}, sort_keys=False, width=200))
        elif not said.page:
            run.run(table.target(), budget=said.budget)
    if not said.cost:
        PAGE.write_text(write(tables, runner.load(RESULTS)))
    return 0
