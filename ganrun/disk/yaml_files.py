"""Yaml files that people write, read as a command line is: ``010``, ``12:30:45``, ``yes`` and ``2024-06-01`` are text.

YAML 1.1 makes 8, 45045 and true of the first three. Here a number is what Hydra's grammar calls one, true and false are
the only words that are not text, and where a key takes text, ``2024_06_01``, ``1.10`` and ``true`` stay what they are, too.
Whatever is wrong with a file is said with its name and its line.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from ganrun.ground.errors import BadInput

WHOLE = r"(?:0|[1-9](?:_?[0-9])*)"
POINT = rf"(?:{WHOLE}\.(?:[0-9](?:_?[0-9])*)?|\.[0-9](?:_?[0-9])*)"
TAG = "tag:yaml.org,2002:"
TEXT = f"{TAG}str"
KINDS = {
    "bool": (r"(?:true|True|TRUE|false|False|FALSE)", "tTfF"),
    "int": (rf"[-+]?{WHOLE}", "-+0123456789"),
    "float": (rf"[-+]?(?:{POINT}|(?:{POINT}|{WHOLE})[eE][-+]?[0-9]+|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN)", "-+.0123456789"),
}
# root keys and a data set's place that take text, unless they are null; and those that always do
OR_NULL = ("resume", "init_from", "objective", "keep_best", "evaluation.weights", "evaluation.weights_sha256", "dataset.root")
ROOT_TEXT = (*OR_NULL, "name", "output")
# keys that name a place on the disk
PATHS = ("output", "resume", "init_from", "evaluation.weights", "dataset.root", "dataset.source", "dataset.target")
PARAMS = ["hydra", "sweeper", "params"]  # {key: values of a sweep}
IsText = Callable[[list[str]], bool]
FROM_ELSEWHERE = re.compile(r"(?<!\\)(?:\\\\)*\$\{\s*oc\.env\s*:")  # behind an odd number of backslashes, ``${`` is text


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Plain values, with the scalars above."""


KEPT = (f"{TAG}null", f"{TAG}merge")
Loader.yaml_implicit_resolvers = {
    first: [entry for entry in entries if entry[0] in KEPT] for first, entries in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for kind, (pattern, first) in KINDS.items():
    Loader.add_implicit_resolver(f"{TAG}{kind}", re.compile(f"(?:{pattern})$"), list(first))


def read(path: Path) -> str:
    """The text of a file in UTF-8, with or without a byte order mark."""
    try:
        held = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror})") from error
    if held.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise BadInput(f"{path}: is UTF-16; save it as UTF-8")
    try:
        return held.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = held.count(b"\n", 0, error.start) + 1
        raise BadInput(f"{path}: line {line}: byte {held[error.start]:#04x} is not UTF-8; save the file as UTF-8") from error


def load(path: Path, is_text: IsText, prefix: tuple[str, ...] = ()) -> dict[str, Any]:
    """The mapping in the yaml file ``path``; ``is_text`` says of a dotted key, cut at the dots, whether it takes text.

    ``prefix``: where the file's keys stand in the config. What comes from the environment is read as if it stood there.
    """
    return parse(read(path), path, is_text, prefix)


def parse(text: str, path: Path, is_text: IsText, prefix: tuple[str, ...] = (), *, links: bool = True) -> dict[str, Any]:
    """The same of a file whose ``text`` is known. Without ``links``, interpolations are left as they stand."""
    try:
        loader = Loader(text)
        try:
            root = loader.get_single_node()
            if root is None:
                return {}
            if not isinstance(root, yaml.MappingNode):
                raise BadInput(f"{path}: damaged, it is not a mapping of keys to values")
            _settle(root, list(prefix), path, is_text, links, set())
            found: dict[str, Any] = loader.construct_document(root)
            return found
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}: " if mark else ""
        raise BadInput(f"{path}: damaged, it cannot be read ({where}{error.problem or error.context})") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadInput(f"{path}: damaged, it cannot be read ({' '.join(str(error).split())})") from error


def scalar(text: str) -> Any:
    """``text`` read as the value of a key in a file: a number, true, false, null, a list, a mapping, or text."""
    try:
        found = yaml.load(text, Loader=Loader)
    except (yaml.YAMLError, ValueError):
        return text
    return found if isinstance(found, bool | int | float | list | dict | None) and "\n" not in text else text


def from_environment(text: str) -> str:
    """A value with ``${oc.env:...}``, wrapped so that what comes of it is read as if it stood there."""
    if not FROM_ELSEWHERE.search(text) or text.startswith("${as_typed:"):
        return text
    if is_one_link(text):
        return f"${{as_typed:{text}}}"
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'${{as_typed:"{escaped}"}}'


def is_one_link(text: str) -> bool:
    """True for an interpolation with nothing before and nothing behind it."""
    depth = 0
    for place, character in enumerate(text):
        depth += (character == "{") - (character == "}")
        if depth == 0 and place and place < len(text) - 1:
            return False
    return text.startswith("${") and depth == 0


def _settle(node: yaml.Node, where: list[str], path: Path, is_text: IsText, links: bool, seen: set[int]) -> None:
    """Refuse keys that stand twice, keep as text what a key takes as text, and read what the environment gives."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        known: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != f"{TAG}merge":
                if key.value in known:
                    raise BadInput(f"{path}: line {key.start_mark.line + 1}: {key.value!r} stands twice")
                known.add(key.value)
                if where == PARAMS and isinstance(value, yaml.ScalarNode) and not value.style and value.tag != f"{TAG}null":
                    value.tag = TEXT  # a sweeper reads it as if it had been typed
                _settle(value, [*where, *key.value.split(".")], path, is_text, links, seen)
            else:
                _settle(value, where, path, is_text, links, seen)
    elif isinstance(node, yaml.SequenceNode):
        for place, value in enumerate(node.value):
            _settle(value, [*where, str(place)], path, is_text, links, seen)
    elif isinstance(node, yaml.ScalarNode) and where[:1] != ["hydra"]:
        plain = not node.style and node.tag in {f"{TAG}{kind}" for kind in KINDS}
        if plain and ("defaults" in where[:3] or is_text(where)):
            node.tag = TEXT
        elif links and "${" in node.value and not is_text(where):
            node.value = from_environment(node.value)
