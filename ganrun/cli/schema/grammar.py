"""The values that a key takes, as the comment behind it says: ``weight: 10.0  # [>= 0] Weight of the penalty.``

The default says the type: a whole number, a number, true or false, text, a list. What stands in brackets says the rest:

    [>= 1]                           bounds; several are joined by commas, as in [>= 0, < 1]
    [batch | layer | none]           one of these; with ``...`` among them, plug-ins may add others
    [int >= 1 | null]                the type is named where the default is null: int, float, bool, text, list
    [folder | null]                  text that is a name, a module, a folder, a file or a run
    [list of int >= 2]               what each entry of a list takes
    [some of flip | color]           the same of a list that may not be empty
    [2 of float >= 0, < 1]           the same of a list of so many entries; with ``| null`` behind it, the list may be null
    [list of <disease>]              each entry is an option of that group

A key without brackets takes whatever is of its default's type. A default that follows another key (``${..lr}``) takes what that
one takes. Pure functions on plain values: neither torch nor Hydra.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ganrun.disk import yaml_files
from ganrun.ground.errors import nearest

NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")
MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
BRACKETS = re.compile(r"\s*\[([^\]]+)\]\s*(.*)", re.DOTALL)
OF = re.compile(r"(list|some|\d+) of (.+)")
BOUND = re.compile(r"\s*(>=|<=|>|<)\s*(\S+?)\s*(?:,|$)")
EXAMPLES: dict[str, Any] = {"int": 0, "float": 0.0, "bool": False, "text": "", "list": []}
TEXTS: dict[str, tuple[re.Pattern[str], str]] = {
    "name": (NAME, "holds 1 to 100 of the characters A-Z a-z 0-9 . _ - and does not begin with a dot"),
    "module": (MODULE, "must be a list of module names, such as [my_losses]"),
    "folder": (re.compile(r".+", re.DOTALL), "must name a folder"),
    "file": (re.compile(r".+", re.DOTALL), "must name a file"),
    "run": (re.compile(r".+", re.DOTALL), "must name a run folder"),
}
SIGNS: dict[str, tuple[Callable[[Any, float], bool], str]] = {
    ">=": (lambda value, bound: bool(value >= bound), "at least"),
    ">": (lambda value, bound: bool(value > bound), "above"),
    "<=": (lambda value, bound: bool(value <= bound), "at most"),
    "<": (lambda value, bound: bool(value < bound), "less than"),
}
Options = Callable[[str], Sequence[str]]


@dataclass(frozen=True)
class Rule:
    """What a key takes besides what its default says; ``said`` is the text in brackets.

    ``kind``: a type of ``EXAMPLES`` or ``TEXTS``, empty for that of the default. ``entries``: the rule of each entry of a list,
    of ``count`` entries where that is said, and of ``fewest`` at least. ``group``: whose options are the choices.
    """

    said: str = ""
    kind: str = ""
    bounds: tuple[tuple[str, float], ...] = ()
    choices: tuple[Any, ...] = ()
    null: bool = False
    open: bool = False
    group: str = ""
    entries: Rule | None = None
    count: int | None = None
    fewest: int = 0

    @property
    def is_text(self) -> bool:
        """True where what is typed is text, unless it is null."""
        return self.kind == "text" or self.kind in TEXTS


@dataclass(frozen=True)
class World:
    """What a rule may refer to: the options of a group, and whether plug-ins may have added components."""

    options: Options = lambda group: ()
    has_plugins: bool = False


ALONE = World()


def split(comment: str) -> tuple[str, str]:
    """(what stands in brackets, the sentence) of a comment."""
    found = BRACKETS.fullmatch(comment)
    return (found[1].strip(), found[2].strip()) if found else ("", comment.strip())


@functools.cache
def parse(said: str) -> Rule:
    """The rule that the text in brackets stands for; ``ValueError`` for one that cannot be read."""
    listed = OF.fullmatch(said)
    if listed:
        how, rest = listed.groups()
        count, entries = int(how) if how.isdigit() else None, rest.removesuffix(" | null")
        return Rule(said, "list", (), null=rest != entries, entries=parse(entries), count=count, fewest=1 if how == "some" else 0)
    rule = Rule(said)
    for part in filter(None, (part.strip() for part in said.split(" | "))):
        rule = _with(rule, part)
    if rule.choices and (rule.bounds or rule.kind):
        raise ValueError(f"[{said}]: choices have neither a type nor bounds")
    return rule


def _with(rule: Rule, part: str) -> Rule:
    """``rule`` with one more alternative."""
    if part == "null":
        return replace(rule, null=True)
    if part == "...":
        return replace(rule, open=True)
    if re.fullmatch(r"<\w+>", part):
        return replace(rule, group=part[1:-1])
    word, _, rest = part.partition(" ")
    if word in EXAMPLES or word in TEXTS:
        if rule.kind:
            raise ValueError(f"[{rule.said}]: two types")
        return replace(rule, kind=word, bounds=_bounds(rest))
    if part[0] in "<>":
        return replace(rule, bounds=_bounds(part))
    return replace(rule, choices=(*rule.choices, yaml_files.scalar(part)))


def _bounds(text: str) -> tuple[tuple[str, float], ...]:
    found, place = [], 0
    while place < len(text.rstrip()):
        bound = BOUND.match(text, place)
        if bound is None:
            raise ValueError(f"{text!r} is no list of bounds such as '>= 0, < 1'")
        value = float(bound[2])
        found.append((bound[1], int(value) if value.is_integer() else value))
        place = bound.end()
    return tuple(found)


def misfit(rule: Rule | None, default: Any, value: Any, path: str = "", world: World = ALONE) -> str | None:
    """Why a key with this ``rule`` and ``default`` does not take ``value``: "must be at least 1"; None where it does."""
    rule = rule or Rule()
    if value is None and rule.null:
        return None
    choices = _choices(rule, world)
    if choices:
        return None if any(_alike(value, choice) for choice in choices) else _not_chosen(rule, choices, value, path, world)
    example = EXAMPLES.get("text" if rule.kind in TEXTS else rule.kind, default)
    why = of_kind(example, value, path) if rule.entries is None else _of_list(rule, default, value, world)
    if why is not None:
        return f"{why}, or null" if rule.null else why
    if value is None or isinstance(value, list):
        return None
    if rule.kind in TEXTS:
        pattern, why = TEXTS[rule.kind]
        return None if pattern.fullmatch(value) else why
    if rule.bounds and not all(SIGNS[sign][0](value, bound) for sign, bound in rule.bounds):
        return f"must be {in_words(rule)}"
    return None


def in_words(rule: Rule) -> str:
    """The bounds as a sentence has them: ``at least 0 and less than 1``."""
    words = " and ".join(f"{SIGNS[sign][1]} {bound:g}" for sign, bound in rule.bounds)
    return f"{words}, or null" if rule.null else words


def values(rule: Rule | None, default: Any) -> str:
    """What a key takes, for a person: the text in brackets, else the type of its default."""
    if rule is not None and rule.said:
        return rule.said
    kinds = ((bool, "true | false"), (int, "int"), (float, "float"), (str, "text"), (list, "list"))
    return next((word for kind, word in kinds if isinstance(default, kind)), "")


def choices(rule: Rule | None, default: Any, world: World = ALONE) -> list[str]:
    """The values that can be named, as they are typed; none where there are too many."""
    if rule is None or not rule.said:
        return ["true", "false"] if isinstance(default, bool) else []
    inner = rule.entries or rule
    found = [str(choice) for choice in _choices(inner, world)]
    return [*found, "null"] if found and rule.null else found


def _choices(rule: Rule, world: World) -> tuple[Any, ...]:
    return tuple(world.options(rule.group)) if rule.group else rule.choices


def _alike(value: Any, choice: Any) -> bool:
    return type(value) is type(choice) and bool(value == choice)


def _not_chosen(rule: Rule, choices: Iterable[Any], value: Any, path: str, world: World) -> str | None:
    valid = [*map(str, choices), *(["null"] if rule.null else [])]
    example = next(iter(choices))
    why = of_kind(example, value, path)
    if why is not None and isinstance(example, str):
        return why
    if rule.open and world.has_plugins:
        return None
    close = nearest(str(value), valid, count=1)
    meant = f". Did you mean {close[0]!r}?" if close and isinstance(value, str) else ""
    return f"must be one of {', '.join(valid)}{meant}"


def _of_list(rule: Rule, default: Any, value: Any, world: World) -> str | None:
    assert rule.entries is not None
    inner = rule.entries
    if not isinstance(value, list):
        return of_kind(default if isinstance(default, list) else [], value)
    if rule.count is not None and len(value) != rule.count:
        return f"must be a list of {rule.count} entries"
    if len(value) < rule.fewest:
        return f"must name at least one of {', '.join(map(str, _choices(inner, world)))}"
    example = EXAMPLES.get(inner.kind, default[0] if isinstance(default, list) and default else None)
    for entry in value:
        why = None if isinstance(entry, str) and "${" in entry else misfit(inner, example, entry, "", world)
        if why is not None:
            return why if inner.kind in TEXTS else f"{why}, at {entry!r}" if "Did you mean" not in why else f"{entry!r} {why}"
    return None


def of_kind(example: Any, value: Any, path: str = "") -> str | None:
    """Why ``value`` is not of the type of ``example``; None if it is. A float takes whole numbers too."""
    kind, key = type(value), path.rpartition(".")[2]
    if isinstance(example, bool):
        return None if kind is bool else "must be true or false"
    if isinstance(example, int):
        if kind is float and value.is_integer() and abs(value) < 1e15:
            return f"must be a whole number: write {key}={int(value)}"
        zeros = kind is str and re.fullmatch(r"[-+]?0+[0-9]+", value)
        return None if kind is int else "must be a whole number" + (f": write {key}={int(value)}" if zeros else "")
    if isinstance(example, float):
        if kind is float and not math.isfinite(value):
            return "must be a finite number"
        return None if kind in (int, float) else "must be a number"
    if isinstance(example, str):
        return None if kind is str else "must be text" + (f": for the word null write '{path}=\"null\"'" if value is None else "")
    if isinstance(example, list):
        return _of_plain_list(example, value)
    if isinstance(example, Mapping):
        return f"holds keys of its own: set one of {', '.join(f'{path}.{key}' for key in example)}"
    return None


def _of_plain_list(example: list[Any], value: Any) -> str | None:
    if not isinstance(value, list):
        return "must be a list, such as " + (f"[{value}]" if not example else f"[{','.join(str(entry) for entry in example)}]")
    if example and len({type(entry) for entry in example}) == 1:
        for entry in value:
            why = None if isinstance(entry, str) and "${" in entry else of_kind(example[0], entry)
            if why is not None:
                return f"{why}, at {entry!r}"
    return None
