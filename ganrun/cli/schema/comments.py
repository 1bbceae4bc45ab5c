"""The comment of every key of a yaml file: what stands behind it on its line, after the comment lines right above it.

Read by the places that the yaml library gives its nodes, so that a ``#`` in a text is none. The comment lines that begin a file
describe the file and belong to no key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import yaml

from ganrun.disk.yaml_files import Loader

COMMENT = re.compile(r"\s*#\s?(.*)")


def comments(text: str) -> dict[str, str]:
    """{dotted key: its comment} of the keys that have one; nothing for a file that cannot be read."""
    try:
        root = yaml.compose(text, Loader=Loader)
    except yaml.YAMLError:
        return {}
    lines = text.splitlines()
    head = next((place for place, line in enumerate(lines) if not line.lstrip().startswith("#")), len(lines))
    return {key: words for key, words in _of(root, "", lines, head) if words}


def _of(node: yaml.Node | None, prefix: str, lines: list[str], head: int) -> Iterator[tuple[str, str]]:
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        inner = isinstance(value, yaml.MappingNode) and not value.flow_style
        behind = key.end_mark if inner or (isinstance(value, yaml.SequenceNode) and not value.flow_style) else value.end_mark
        rest = lines[behind.line][behind.column :] if behind.line < len(lines) else ""
        found = COMMENT.match(rest.lstrip().removeprefix(":") if behind is key.end_mark else rest)
        yield f"{prefix}{key.value}", " ".join([*_above(key.start_mark, lines, head), *([found[1].strip()] if found else [])])
        yield from _of(value, f"{prefix}{key.value}.", lines, head)


def _above(mark: yaml.Mark, lines: list[str], head: int) -> list[str]:
    """The comment lines right above a key that begins its line, as far in as the key."""
    if lines[mark.line][: mark.column].strip():
        return []
    place = mark.line
    while place > head and lines[place - 1].startswith(f"{' ' * mark.column}#"):
        place -= 1
    return [lines[above].strip("# ") for above in range(place, mark.line)]
