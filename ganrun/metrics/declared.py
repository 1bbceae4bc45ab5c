"""Which values a metric has and which way they are better, read from its source: importing a metric loads torch."""

from __future__ import annotations

import ast
import functools
from pathlib import Path


@functools.cache
def directions(metric: str) -> dict[str, bool | None]:
    """{value: whether higher is better, None for one that is there to read others by} of one of ganrun's own metrics.

    All values that the metric can have, whatever its options; empty for a metric that is not ganrun's.
    """
    return _declared().get(metric, {})


@functools.cache
def _declared() -> dict[str, dict[str, bool | None]]:
    found = {}
    for file in sorted(Path(__file__).parent.glob("*.py")):
        for entry in ast.parse(file.read_text(encoding="utf-8")).body:
            name = _registered(entry) if isinstance(entry, ast.ClassDef) else None
            if name is not None and isinstance(entry, ast.ClassDef):
                found[name] = _attribute(entry)
    return found


def _registered(entry: ast.ClassDef) -> str | None:
    """The name under which ``@register("metric", NAME)`` enters a class."""
    for mark in entry.decorator_list:
        if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Name) and mark.func.id == "register":
            group, name = (word.value for word in mark.args if isinstance(word, ast.Constant))
            return str(name) if group == "metric" else None
    return None


def _attribute(entry: ast.ClassDef) -> dict[str, bool | None]:
    """The class's attribute ``directions``; empty where it has none of its own."""
    for line in entry.body:
        if (
            isinstance(line, ast.AnnAssign)
            and isinstance(line.target, ast.Name)
            and line.target.id == "directions"
            and line.value
        ):
            found: dict[str, bool | None] = ast.literal_eval(line.value)
            return found
    return {}
