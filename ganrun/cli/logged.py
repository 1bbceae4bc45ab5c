"""What each name in metrics.jsonl means: conf/logged.yaml, which a test holds to the names that runs log. Imports no torch."""

from __future__ import annotations

import functools
import re

from ganrun.cli.schema import catalog
from ganrun.disk import yaml_files


@functools.cache
def table() -> dict[str, str]:
    """{name or pattern: its meaning}, in the order in which they are tried."""
    found: dict[str, str] = yaml_files.load(catalog.conf_dir() / "logged.yaml", lambda path: True)
    return found


def meaning(name: str) -> str | None:
    """What ``discriminator/r1`` means; None where nothing is known of it."""
    return next((said for pattern, said in table().items() if _pattern(pattern).fullmatch(name)), None)


@functools.cache
def _pattern(text: str) -> re.Pattern[str]:
    parts = re.split(r"(\*|<\w+>)", text)
    return re.compile("".join(_part(part) for part in parts))


def _part(text: str) -> str:
    if text == "*":
        return r"\w+"
    if text.startswith("<") and text.endswith(">"):
        return f"(?:{'|'.join(map(re.escape, catalog.components(text[1:-1], [catalog.conf_dir()])))})"
    return re.escape(text)
