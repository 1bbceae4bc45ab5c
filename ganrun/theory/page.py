"""The page of the theory: for each experiment its statement, formula, rows and figure, as Markdown."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ganrun.theory.base import Experiment, Row, Rows

HEAD = """# Theory, computed

Each section is a claim about adversarial training: what is exactly true of it, the formula, and what an experiment measured.
The experiments play with the losses, regularizers and networks that `ganrun train` uses. KL(p, q), JS and W are the
Kullback-Leibler and Jensen-Shannon divergences and the Wasserstein-1 distance, logarithms are natural, p is the data's law
and q the generator's, D = sigmoid(s).

`ganrun theory` runs them all and ends with 1 if a verdict is FAIL; `make theory` writes this page anew.
"""


def write(path: Path, found: Iterable[tuple[Experiment, Rows]], figures: Path) -> None:
    """Write the page to ``path``; ``figures`` is the folder of the pictures."""
    found = list(found)
    total = [row for _, rows in found for row in rows]
    folder = Path(os.path.relpath(figures, path.parent)).as_posix()
    parts = [HEAD, f"{len(found)} experiments, {len(total)} rows, {sum(row.passed for row in total)} of them PASS.\n"]
    parts += [section(experiment, rows, f"{folder}/{experiment.name}.png") for experiment, rows in found]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(parts), encoding="utf-8")


def section(experiment: Experiment, rows: Rows, figure: str) -> str:
    title, statement, formula = experiment.page
    lines = [f"## {title}", "", f"`ganrun theory {experiment.name}`", "", escape(statement), "", "```", formula, "```", ""]
    lines += ["| claim | expected | measured | verdict |", "|---|---|---|---|", *(line(row) for row in rows)]
    return "\n".join([*lines, "", f"![{title}]({figure})", ""])


def line(row: Row) -> str:
    claim = row.claim.replace("|", "\\|").replace("*", "\\*")
    expectation = row.expectation.replace("<", "&lt;").replace(">", "&gt;")
    return f"| {claim} | {expectation} | {row.measured:.6g} | {row.verdict} |"


def escape(text: str) -> str:
    """Stars are factors here, not emphasis."""
    return text.replace("*", "\\*").replace("<", "&lt;")
