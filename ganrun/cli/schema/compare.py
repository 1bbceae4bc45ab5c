"""Values against their keys: of the type of the default, within what the comment allows (``grammar``), under a known name.

Pure functions on plain containers. A default of null without a type in its comment takes anything: the component says the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ganrun.cli.schema import grammar
from ganrun.cli.schema.grammar import ALONE, Rule, World
from ganrun.ground.errors import nearest

Rules = Callable[[str], Rule | None]


class Anything:
    """A default that could not be resolved by itself: any value fits."""


@dataclass(frozen=True)
class Mistake:
    """``path``: the dotted key; ``value``: what stands there; ``unknown``: no such key; ``why``: the sentence."""

    path: str
    value: Any
    why: str
    unknown: bool = False


def compare(
    default: Any, value: Any, path: str, rules: Rules, world: World = ALONE, *, resolved: bool = False
) -> Iterator[Mistake]:
    """What is wrong with ``value`` where the schema has ``default``, at the dotted key ``path``.

    ``rules``: what the key at a dotted path takes. An interpolation fits anywhere, unless the value is ``resolved``: then ``${``
    is text.
    """
    if default is Anything or default == "???" or value is Anything:
        default = None
    if value is Anything or (isinstance(value, str) and "${" in value and not resolved):
        return
    if isinstance(default, Mapping) and isinstance(value, Mapping):
        for key, inner in value.items():
            place = f"{path}.{key}" if path else str(key)
            if key in default:
                yield from compare(default[key], inner, place, rules, world, resolved=resolved)
            else:
                yield Mistake(place, inner, "", unknown=True)
        return
    rule = rules(path)
    if default is None and value is None:
        return
    why = grammar.misfit(rule, default, value, path, world)
    if why is not None:
        yield Mistake(path, value, why)


def locate(known: Any, path: list[str]) -> tuple[Any, int]:
    """(what the schema has at ``path``, how many of its parts exist)."""
    for depth, part in enumerate(path):
        if isinstance(known, Mapping) and part in known:
            known = known[part]
        elif isinstance(known, list) and part.isdigit() and int(part) < len(known):
            known = known[int(part)]
        else:
            return known, depth
    return known, len(path)


def advice(known: Mapping[str, Any], path: list[str]) -> str:
    """Where an unknown key may have meant to point: the nearest sibling, else the same name elsewhere."""
    held, depth = locate(known, path)
    siblings = [str(key) for key in held] if isinstance(held, Mapping) else []
    before = ".".join(path[:depth])
    close = nearest(path[depth], siblings)
    elsewhere = [leaf for leaf in _leaves(known, "") if leaf.split(".")[-1] == path[-1]]
    found = [f"{before}.{name}" if before else name for name in close] or elsewhere[:3]
    if not found and depth == 0:
        close_leaves = nearest(path[-1], {leaf.split(".")[-1] for leaf in _leaves(known, "")}, count=1)
        found = [leaf for leaf in _leaves(known, "") if leaf.split(".")[-1] in close_leaves][:3]
    if found:
        return f"Did you mean {' or '.join(repr(name) for name in found)}?"
    if not siblings:
        return f"{before!r} has no keys." if before else ""
    return f"Valid here: {', '.join(sorted(siblings))}."


def _leaves(known: Any, prefix: str) -> Iterator[str]:
    if not isinstance(known, Mapping):
        yield prefix
        return
    for key, entry in known.items():
        yield from _leaves(entry, f"{prefix}.{key}" if prefix else str(key))
