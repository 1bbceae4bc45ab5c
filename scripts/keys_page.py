"""Writes docs/keys.md from conf/: ``make docs``. Every key with its default, values and meaning, and every logged name."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ganrun.cli import describe, logged  # noqa: E402
from ganrun.cli.schema import catalog, grammar  # noqa: E402
from ganrun.cli.schema.keys import Key, keys_of_root  # noqa: E402

PAGE = ROOT / "docs" / "keys.md"
INTRO = """# Keys

Every key that can be typed, written from the yaml files in conf/ by `make docs`. `ganrun list GROUP=OPTION` shows the same of one
option, `ganrun list KEY` of a key of the run. Values: bounds, or one of several words; without any, whatever is of the default's
type. Where a default follows another key, that key is named."""
LOGGED = """## Names in metrics.jsonl

A row is written every `every.log` steps. `*` stands for any word, `<regularizer>` for one of that group; the first row that fits
is meant. `ganrun list discriminator/r1` says it of one name."""


def page() -> str:
    """The whole page."""
    folders = [catalog.conf_dir()]
    lines = [INTRO, "", "## Of the run", "", *table(keys_of_root())]
    for group in catalog.groups(folders):
        entries = [option for option in catalog.entries(group, folders) if option.values.get("name") == option.name]
        lines += ["", f"## {group}", ""] if entries else []
        for option in entries:
            keys = list(catalog.keys(option))
            held = table(keys) if keys else ["No keys of its own."]
            lines += [f"### {group}={option.name}", "", option.description, "", *held, ""]
    names = [f"| `{name}` | {cell(said)} |" for name, said in logged.table().items()]
    lines += [LOGGED, "", "| name | meaning |", "|---|---|", *names]
    return "\n".join(lines).replace("\n\n\n", "\n\n").rstrip() + "\n"


def table(keys: Iterable[Key]) -> list[str]:
    lines = ["| key | default | values | meaning |", "|---|---|---|---|"]
    for key in keys:
        values = grammar.values(key.rule, None if "${" in str(key.default) else key.default)
        lines.append(f"| `{key.path}` | {cell(describe.shown(key))} | {cell(values)} | {cell(key.help)} |")
    return lines


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"written: {PAGE.relative_to(ROOT)}")
