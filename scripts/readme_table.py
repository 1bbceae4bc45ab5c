"""Writes the table of options in README.md from the files of conf/: ``make docs``. A test holds that it is up to date."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
BEGIN, END = "<!-- options: written by make docs -->\n", "<!-- end of options -->\n"
GROUPS = {  # what is said beside the names
    "model": "",
    "game": "",
    "condition": "",
    "loss": "",
    "regularizer": "any list of them",
    "dataset": "points, images, pairs for translation, tokens: `ganrun list dataset` says which",
    "optimizer": "per player, e.g. `optimizer.discriminator.lr=4e-4`; schedules",
    "metric": "any list of them",
    "device": "`device.precision=fp32\\|bf16`",
}


def table() -> str:
    """The Markdown table: a row for each group, with the names of its files."""
    lines = ["| group | options |", "|---|---|"]
    for group, beside in GROUPS.items():
        names = " ".join(f"`{path.stem}`" for path in sorted((ROOT / "conf" / group).glob("*.yaml")))
        lines.append(f"| `{group}` | {names}{f'; {beside}' if beside else ''} |")
    return "\n".join(lines) + "\n"


def page() -> str:
    """README.md as it should be."""
    text = README.read_text(encoding="utf-8")
    return re.sub(re.escape(BEGIN) + ".*?" + re.escape(END), lambda _: BEGIN + "\n" + table() + "\n" + END, text, flags=re.DOTALL)


if __name__ == "__main__":
    README.write_text(page(), encoding="utf-8")
    print(f"written: {README.relative_to(ROOT)}")
