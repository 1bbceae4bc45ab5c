"""Where a planted fault goes: a symbol and an expression in it, found in the syntax tree and not in the text.

An entry of tests/mutations.yaml names a ``symbol`` (``ganrun/losses/hinge.py::Hinge.d``), a piece ``old`` of it, an expression
or a statement, and ``new``, which takes its place. Layout and comments do not count. Names that were changed since do not
count either: where ``old`` does not stand there to the letter, the one piece of the same shape with other names, each
old name for one present name, is taken, and ``new`` is planted with the present names. A symbol that was renamed or moved
is looked for by the shape of ``old`` in its file, then in the whole package.
"""

from __future__ import annotations

import ast
import copy
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("id", "attr", "arg", "name")  # fields of syntax nodes that hold an identifier


class NotPlanted(Exception):
    """Why a fault cannot be planted."""


@dataclass(frozen=True)
class Place:
    """A run of nodes: ``count`` of the entries of ``owner.field`` from ``start`` on, or the single node there (start None)."""

    owner: ast.AST
    field: str
    start: int | None
    count: int = 1

    def nodes(self) -> list[ast.AST]:
        held = getattr(self.owner, self.field)
        return [held] if self.start is None else held[self.start : self.start + self.count]


def plant(fault: dict[str, Any], root: Path = ROOT) -> tuple[Path, str]:
    """(the file relative to ``root``, its text with the fault). Raises ``NotPlanted``."""
    name, _, symbol = fault["symbol"].partition("::")
    old, new = parse(fault["old"]), parse(fault["new"])
    path = root / name
    files = [path] if path.exists() else []
    files += [other for other in sorted((root / "ganrun").rglob("*.py")) if other != path]
    for exact in (True, False):
        for file in files:
            tree = ast.parse(file.read_text(encoding="utf-8"))
            scopes: list[ast.AST] = [tree]
            if file == path and (inner := find_symbol(tree, symbol)) is not None:
                scopes = [inner, tree]
            for scope in scopes:
                found = [
                    (place, names) for place in places(scope, old) if (names := match(old, place.nodes(), exact)) is not None
                ]
                if len(found) > 1:
                    raise NotPlanted(f"{len(found)} places in {file.relative_to(root)} look like it")
                if found:
                    place, names = found[0]
                    put(place, [renamed(node, names) for node in new])
                    return file.relative_to(root), ast.unparse(ast.fix_missing_locations(tree)) + "\n"
            if exact and file == path:
                break  # elsewhere only if nothing in its own file has the shape
    raise NotPlanted("nothing looks like it any more")


def parse(text: str) -> list[ast.AST]:
    """The expression that ``text`` is, as one node, or its statements."""
    text = textwrap.dedent(text).strip("\n")
    try:
        return [ast.parse(text.strip(), mode="eval").body]
    except SyntaxError:
        body = ast.parse("async def _():\n" + textwrap.indent(text, "    ")).body[0]
        assert isinstance(body, ast.AsyncFunctionDef)
        return list(body.body)


def find_symbol(tree: ast.AST, dotted: str) -> ast.AST | None:
    """The class or function of that qualified name; the module itself for no name."""
    for part in filter(None, dotted.split(".")):
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        inner = [node for node in ast.iter_child_nodes(tree) if isinstance(node, kinds) and node.name == part]
        if not inner:
            return None
        tree = inner[0]
    return tree


def places(scope: ast.AST, old: list[ast.AST]) -> Iterator[Place]:
    """Where nodes of the kind of ``old`` stand in ``scope``."""
    for owner in ast.walk(scope):
        for field, held in ast.iter_fields(owner):
            if isinstance(held, list):
                for start in range(len(held) - len(old) + 1):
                    if isinstance(held[start], ast.AST):
                        yield Place(owner, field, start, len(old))
            elif isinstance(held, ast.AST) and len(old) == 1:
                yield Place(owner, field, None)


def match(old: list[ast.AST], present: list[ast.AST], exact: bool) -> dict[str, str] | None:
    """{old name: present name} where both have the same shape, else None; ``exact`` demands the same names."""
    names: dict[str, str] = {}
    if not all(_same(one, other, names) for one, other in zip(old, present, strict=True)):
        return None
    if len(set(names.values())) < len(names) or (exact and any(one != other for one, other in names.items())):
        return None
    return names


def _same(one: Any, other: Any, names: dict[str, str]) -> bool:
    if isinstance(one, ast.AST):
        if type(one) is not type(other):
            return False
        for field, held in ast.iter_fields(one):
            value = getattr(other, field)
            if field in NAMES and isinstance(held, str) and isinstance(value, str):
                if names.setdefault(held, value) != value:
                    return False
            elif field not in ("ctx", "type_comment", "kind") and not _same(held, value, names):
                return False
        return True
    if isinstance(one, list):
        equal = isinstance(other, list) and len(one) == len(other)
        return equal and all(_same(mine, yours, names) for mine, yours in zip(one, other, strict=True))
    return bool(one == other)


def renamed(node: ast.AST, names: dict[str, str]) -> ast.AST:
    """A copy of ``node`` with the present names."""
    node = copy.deepcopy(node)
    for inner in ast.walk(node):
        for field in NAMES:
            held = getattr(inner, field, None)
            if isinstance(held, str) and held in names:
                setattr(inner, field, names[held])
    return node


def put(place: Place, new: list[ast.AST]) -> None:
    """Let ``new`` take the place."""
    if isinstance(place.nodes()[0], ast.stmt):
        new = [node if isinstance(node, ast.stmt) else ast.Expr(node) for node in new]  # type: ignore[arg-type]
    if place.start is None:
        setattr(place.owner, place.field, new[0])
    else:
        getattr(place.owner, place.field)[place.start : place.start + place.count] = new


def pin(fault: dict[str, Any], root: Path = ROOT) -> dict[str, Any]:
    """An entry with ``file`` and pieces of its text as one with ``symbol`` and the smallest piece that tells the place."""
    text = (root / fault["file"]).read_text(encoding="utf-8")
    if text.count(fault["old"]) != 1:
        raise NotPlanted(f"{fault['name']}: the old text occurs {text.count(fault['old'])} times")
    before, after = ast.parse(text), ast.parse(text.replace(fault["old"], fault["new"]))
    wanted, second = ast.unparse(after), None
    for symbol, old, new in reversed(list(_differences(before, after, ""))):
        entry = {
            "name": fault["name"],
            "symbol": f"{fault['file']}::{symbol}".removesuffix("::"),
            "old": "\n".join(map(ast.unparse, old)),
            "new": "\n".join(map(ast.unparse, new)),
            "tests": fault["tests"],
        }
        try:
            if plant(entry, root)[1].strip() != wanted.strip():
                continue
        except (NotPlanted, SyntaxError):
            continue
        scope, piece = find_symbol(before, symbol) or before, parse(entry["old"])
        if sum(match(piece, place.nodes(), exact=False) is not None for place in places(scope, piece)) == 1:
            return entry  # a rename cannot make another piece look like it
        second = second or entry
    if second:
        return second
    raise NotPlanted(f"{fault['name']}: no piece of {fault['file']} tells the place")


def _differences(before: ast.AST, after: ast.AST, symbol: str) -> Iterator[tuple[str, list[ast.AST], list[ast.AST]]]:
    """The nodes around the difference, from the outermost in, with the symbol that holds them."""
    if isinstance(before, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and before.name == getattr(after, "name", None):
        symbol = f"{symbol}.{before.name}".lstrip(".")
    for field, held in ast.iter_fields(before):
        value = getattr(after, field, None)
        if isinstance(held, list) and isinstance(value, list) and _dump(held) != _dump(value):
            shorter = min(len(held), len(value))
            first = next((place for place in range(shorter) if _dump(held[place]) != _dump(value[place])), shorter)
            last = 0
            while last < shorter - first and _dump(held[-1 - last]) == _dump(value[-1 - last]):
                last += 1
            old, new = held[first : len(held) - last], value[first : len(value) - last]
            if old and all(isinstance(node, ast.AST) for node in [*old, *new]) and (new or isinstance(old[0], ast.stmt)):
                yield symbol, old, new or [ast.Pass()]
            if len(old) == len(new) == 1 and isinstance(old[0], ast.AST) and type(old[0]) is type(new[0]):
                yield from _differences(old[0], new[0], symbol)
        elif isinstance(held, ast.AST) and isinstance(value, ast.AST) and _dump(held) != _dump(value):
            if isinstance(held, ast.expr):
                yield symbol, [held], [value]
            if type(held) is type(value):
                yield from _differences(held, value, symbol)


def _dump(held: Any) -> str:
    if isinstance(held, list):
        return str([_dump(entry) for entry in held])
    return ast.dump(held) if isinstance(held, ast.AST) else repr(held)
