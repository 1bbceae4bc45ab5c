"""Writes docs/tips.md from benchmarks/tips.yaml, with the figures of docs/measured.yaml: ``make docs``.

Each tip stands with the option that does it and what one short run showed, beside the same base without the tip where there is
such a run. A test holds that the committed page is the one that this makes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "tips.md"
WITHOUT = {"plain": "game=adversarial", "digits": "condition=none", "images": "model=dcgan"}  # by base: the run of it alone


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")
    print(f"written: {PAGE.relative_to(ROOT)}")


def page() -> str:
    tips, measured, runs = (
        yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))
        for path in ("benchmarks/tips.yaml", "docs/measured.yaml", "benchmarks/techniques.yaml")
    )
    about = measured["about"]
    lines = [
        "# Tips and tricks",
        "",
        "What is recommended for training GANs, the option that does it, and what a short run showed. This page is written by",
        "`make docs` from benchmarks/tips.yaml and docs/measured.yaml; the whole commands stand in the latter.",
        "",
        f"The figures: {about['what']}",
        f"({about['machine']}, {about['date']}).",
        "A single seed decides nothing: `ganrun train -m KEY=... seed=0,1,2` and `ganrun eval RUN RUN ...` do, on your data.",
    ]
    for group in tips.values():
        lines += ["", f"## {group['title']}", "", "| tip | how | seen | holds still? |", "|---|---|---|---|"]
        for entry in group["tips"]:
            cells = [entry["tip"], how(entry["do"]), seen(entry.get("seen"), measured["seen"], runs), entry["holds"]]
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def how(do: str) -> str:
    return do if "=" not in do and not do.startswith("ganrun") else ", ".join(f"`{part}`" for part in parts(do))


def parts(do: str) -> list[str]:
    """The words and commands of a tip: commas part them, but within brackets."""
    found, depth = [""], 0
    for letter in do:
        depth += (letter == "[") - (letter == "]")
        if letter == "," and not depth:
            found.append("")
        else:
            found[-1] += letter
    return [part.strip() for part in found]


def seen(name: str | None, measured: dict[str, Any], runs: dict[str, Any]) -> str:
    """What the run ``name`` showed, and that of its base alone."""
    if name is None:
        return ""
    found: str = measured[name]["sentence"]
    base = WITHOUT.get({**runs["runs"], **runs["parts"]}[name]["base"])
    if base is None or base == name or measured[base]["sentence"].split(":")[0] != found.split(":", maxsplit=1)[0]:
        return found  # not of as many steps
    return f"{found}; without it: {measured[base]['sentence'].split(': ')[1]}"


if __name__ == "__main__":
    main()
