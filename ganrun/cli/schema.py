"""The yaml files as a schema: a key's default says which type its values have. Pure functions on plain containers.

int takes whole numbers; float takes whole numbers too; bool, str and list take their own kind; null takes anything (the
component's constructor checks it), except at the few root keys whose type is said here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ganrun.cli.signature import NAME
from ganrun.ground.errors import nearest
from ganrun.ground.files import OR_NULL

MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


class Anything:
    """A default that could not be resolved by itself: any value fits."""


@dataclass(frozen=True)
class Mistake:
    """``path``: the dotted key; ``value``: what stands there; ``unknown``: no such key; ``why``: the sentence."""

    path: str
    value: Any
    why: str
    unknown: bool = False


def _at_least(least: int) -> tuple[Callable[[Any], bool], str]:
    return (lambda value: value >= least), f"must be at least {least}"


def _one_of(*words: str) -> tuple[Callable[[Any], bool], str]:
    return (lambda value: value in words), f"must be one of {', '.join(words)}"


BOUNDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "steps": _at_least(1),
    "batch_size": _at_least(1),
    "accumulate": _at_least(1),
    "n_critic": _at_least(1),
    "pack": _at_least(1),
    "seed": _at_least(0),
    "keep": _at_least(1),
    "every.log": _at_least(0),
    "every.sample": _at_least(0),
    "every.eval": _at_least(0),
    "every.checkpoint": _at_least(0),
    "every.keep": _at_least(0),
    "at": _at_least(0),
    "evaluation.num": _at_least(2),
    "evaluation.batch_size": _at_least(1),
    "evaluation.seed": _at_least(0),
    "evaluation.reference": _one_of("train", "held_out"),
    "ema": ((lambda value: 0 <= value < 1), "must be at least 0 and less than 1"),
    "output": ((lambda value: str(value) != ""), "must name a folder"),
    "name": (
        (lambda value: NAME.fullmatch(str(value)) is not None),
        "holds 1 to 100 of the characters A-Z a-z 0-9 . _ - and does not begin with a dot",
    ),
    "plugins": (
        (lambda value: all(isinstance(entry, str) and MODULE.fullmatch(entry) for entry in value)),
        "must be a list of module names, such as [my_losses]",
    ),
}
# Root keys that may be null, with a value that shows the type they have otherwise.
OPTIONAL: dict[str, Any] = {"at": 0, "evaluation.num": 0, "evaluation.baselines": False} | dict.fromkeys(OR_NULL, "")


def compare(default: Any, value: Any, path: str, *, resolved: bool = False) -> Iterator[Mistake]:
    """What is wrong with ``value`` where the schema has ``default``, at the dotted key ``path``.

    An interpolation fits anywhere, unless the value is ``resolved``: then ``${`` is text.
    """
    if default is None and path in OPTIONAL and value is not None:
        default = OPTIONAL[path]
    if default is None or default is Anything or default == "???" or value is Anything:
        return
    if isinstance(value, str) and "${" in value and not resolved:
        return
    if isinstance(default, Mapping) and isinstance(value, Mapping):
        for key, inner in value.items():
            place = f"{path}.{key}" if path else str(key)
            if key in default:
                yield from compare(default[key], inner, place, resolved=resolved)
            else:
                yield Mistake(place, inner, "", unknown=True)
        return
    why = misfit(default, value, path)
    if why is None and path in BOUNDS and value is not None and not BOUNDS[path][0](value):
        why = BOUNDS[path][1]
    if why is not None:
        yield Mistake(path, value, why)


def misfit(default: Any, value: Any, path: str = "") -> str | None:
    """Why ``value`` is not of the type of ``default``; None if it is."""
    kind = type(value)
    if isinstance(default, bool):
        return None if kind is bool else "must be true or false"
    if isinstance(default, int):
        if kind is float and value.is_integer() and abs(value) < 1e15:
            return f"must be a whole number: write {path.rpartition('.')[2]}={int(value)}"
        zeros = kind is str and re.fullmatch(r"[-+]?0+[0-9]+", value)
        return (
            None
            if kind is int
            else "must be a whole number" + (f": write {path.rpartition('.')[2]}={int(value)}" if zeros else "")
        )
    if isinstance(default, float):
        return None if kind in (int, float) else "must be a number"
    if isinstance(default, str):
        return None if kind is str else "must be text" + (f": for the word null write '{path}=\"null\"'" if value is None else "")
    if isinstance(default, list):
        return _misfit_of_list(default, value)
    if isinstance(default, Mapping):
        return f"holds keys of its own: set one of {', '.join(f'{path}.{key}' for key in default)}"
    return None


def _misfit_of_list(default: list[Any], value: Any) -> str | None:
    if not isinstance(value, list):
        return "must be a list, such as " + (f"[{value}]" if not default else f"[{','.join(str(entry) for entry in default)}]")
    if default and len({type(entry) for entry in default}) == 1:
        for entry in value:
            why = None if isinstance(entry, str) and "${" in entry else misfit(default[0], entry)
            if why is not None:
                return f"{why}, at {entry!r}"
    return None


def locate(schema: Any, path: list[str]) -> tuple[Any, int]:
    """(what the schema has at ``path``, how many of its parts exist)."""
    for depth, part in enumerate(path):
        if isinstance(schema, Mapping) and part in schema:
            schema = schema[part]
        elif isinstance(schema, list) and part.isdigit() and int(part) < len(schema):
            schema = schema[int(part)]
        else:
            return schema, depth
    return schema, len(path)


def advice(schema: Mapping[str, Any], path: list[str]) -> str:
    """Where an unknown key may have meant to point: the nearest sibling, else the same name elsewhere."""
    held, depth = locate(schema, path)
    siblings = [str(key) for key in held] if isinstance(held, Mapping) else []
    before = ".".join(path[:depth])
    close = nearest(path[depth], siblings)
    elsewhere = [leaf for leaf in _leaves(schema, "") if leaf.split(".")[-1] == path[-1]]
    found = [f"{before}.{name}" if before else name for name in close] or elsewhere[:3]
    if not found and depth == 0:
        close_leaves = nearest(path[-1], {leaf.split(".")[-1] for leaf in _leaves(schema, "")}, count=1)
        found = [leaf for leaf in _leaves(schema, "") if leaf.split(".")[-1] in close_leaves][:3]
    if found:
        return f"Did you mean {' or '.join(repr(name) for name in found)}?"
    if not siblings:
        return f"{before!r} has no keys." if before else ""
    return f"Valid here: {', '.join(sorted(siblings))}."


def _leaves(schema: Any, prefix: str) -> Iterator[str]:
    if not isinstance(schema, Mapping):
        yield prefix
        return
    for key, entry in schema.items():
        yield from _leaves(entry, f"{prefix}.{key}" if prefix else str(key))
