"""Writes docs/reference/metrics.md from the metrics' yaml files and docstrings: ``make docs``. A test holds it up to date."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ganrun.cli.schema import catalog  # noqa: E402
from ganrun.ground import registry  # noqa: E402

PAGE = ROOT / "docs" / "reference" / "metrics.md"
INTRO = """# Metrics

What `metric=` takes, and what the numbers mean: written by `make docs` from the metrics' own modules.
`metric=[fid,precision_recall]` takes a list; `ganrun list metric=fid` shows the options of one. [Scores](scores.md) says which
extractor the features come from, and what stands beside a score.

Better: whether a higher or a lower value is better. A sweep compares runs by the first value of the first metric, or by
`objective=NAME`. A value without a direction is there to be read beside the others."""


def page() -> str:
    """The whole page."""
    lines = [INTRO]
    for option in catalog.entries("metric", [catalog.conf_dir()]):
        if option.values.get("name") != option.name:
            continue
        made = registry.build("metric", option.values)
        module = inspect.getmodule(type(made))
        reads = ", ".join(sorted(made.extracts)) or "nothing of the samples"
        lines += ["", f"## {option.name}", "", option.description, "", *table(made), ""]
        lines += [
            f"Reads: {reads}. Source: [ganrun/metrics/{option.name}.py]({source(module)}).",
            "",
            markdown(inspect.getdoc(module)),
        ]
    return "\n".join(lines).rstrip() + "\n"


def table(made: Any) -> list[str]:
    words = {True: "higher", False: "lower", None: "neither"}
    return ["| value | better |", "|---|---|", *(f"| `{name}` | {words[way]} |" for name, way in made.directions.items())]


def source(module: Any) -> str:
    return f"../../{Path(module.__file__).relative_to(ROOT)}"


def markdown(docstring: str | None) -> str:
    """A module's docstring as Markdown: its formulas are indented, which is a block of code there too."""
    lines = (docstring or "").replace("``", "`").splitlines()
    return "\n".join(line if line.startswith("    ") else line.replace("<", "&lt;") for line in lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"written: {PAGE.relative_to(ROOT)}")
