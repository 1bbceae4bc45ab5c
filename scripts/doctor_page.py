"""Writes the part of docs/doctor.md that the diseases make: ``make docs``."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ganrun.cli.schema import catalog  # noqa: E402
from ganrun.ground import registry  # noqa: E402

PAGE = ROOT / "docs" / "doctor.md"
START, END = "<!-- diseases: written by make docs -->\n", "<!-- end of diseases -->\n"


def diseases() -> str:
    """A section for each disease: its condition, its thresholds with their meaning, what it explains."""
    lines = []
    for name in registry.names("disease"):
        component = registry.lookup("disease", name)
        built = registry.build("disease", {"name": name})
        module = inspect.getmodule(component)
        assert module is not None
        text = inspect.getdoc(module) or ""
        lines += [f"### {name}", "", text, ""]
        lines += ["| threshold | default | |", "|---|---|---|"]
        for key in catalog.keys(catalog.entry("disease", name, [catalog.conf_dir()])):
            lines.append(f"| `{key.path}` | {catalog.text(key.default)} | {key.help} |")
        patience = f"{built.patience[0]} of the last {built.patience[1]} looks"
        explains = ", ".join(sorted(built.explains)) or "nothing"
        reads = ", ".join(f"`{word}`" for word in built.watches)
        sign, rises = built.outcome
        judged = f"A remedy is judged by `{sign}`, {'more' if rises else 'less'} being better."
        lines += ["", f"Reads {reads}. Named after {patience}. Explains: {explains}. {judged}", ""]
    return "\n".join(lines)


def page() -> str:
    """The page as it stands, with the diseases written anew."""
    text = PAGE.read_text(encoding="utf-8")
    before, after = text.split(START)[0], text.split(END)[1]
    return before + START + "\n" + diseases() + "\n" + END + after


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
