"""A key: its default, what it takes and what it means; and the keys of config.yaml, which belong to no group."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganrun.cli.schema import grammar
from ganrun.cli.schema.comments import comments
from ganrun.cli.schema.compare import Anything
from ganrun.cli.schema.grammar import Rule, World
from ganrun.disk import yaml_files
from ganrun.disk.identity import leaves
from ganrun.ground.errors import BadInput

FOLLOWS = re.compile(r"\$\{(\.*)([\w.]+)\}")


@dataclass(frozen=True)
class Key:
    """One key: its dotted ``path`` in a config, its ``default``, the ``rule`` of its values, and what it means in ``help``.

    ``example``: what the default is in the end where it follows other keys; ``Anything`` where only a config can say.
    """

    path: str
    default: Any
    rule: Rule | None
    help: str
    example: Any = None


@functools.cache
def conf_dir() -> Path:
    """ganrun's own conf/: inside the package where it is installed, beside it in a checkout."""
    package = Path(__file__).resolve().parents[2]
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "config.yaml").is_file():
            return folder
    raise BadInput(f"ganrun's conf folder is missing: neither {package / 'conf'} nor {package.parent / 'conf'} has a config.yaml")


def root_keys() -> dict[str, Any]:
    """The keys of config.yaml that belong to no group, with their defaults."""
    content = root()
    groups_of_root = {key for item in content["defaults"] if isinstance(item, dict) for key in item}
    return {key: value for key, value in content.items() if key not in {"defaults", "hydra"} | groups_of_root}


def root() -> dict[str, Any]:
    return _root_of(conf_dir() / "config.yaml")


@functools.cache
def _root_of(path: Path) -> dict[str, Any]:
    return yaml_files.load(path, lambda path: False)


def keys_of_root() -> tuple[Key, ...]:
    """The keys of config.yaml that belong to no group."""
    return _keys_of_root(conf_dir() / "config.yaml")


@functools.cache
def _keys_of_root(path: Path) -> tuple[Key, ...]:
    said = comments(yaml_files.read(path))
    return tuple(described(root_keys(), said, "", lambda path: None))


def is_root_text(path: Sequence[str]) -> bool:
    """The same of a key that belongs to no group."""
    dotted, parent = ".".join(path), ".".join(path[:-1])
    for key in keys_of_root():
        if key.path == dotted:
            return takes_text(key.default, key.rule)
        if key.path == parent and path[-1].isdigit() and key.rule is not None and key.rule.entries is not None:
            return key.rule.entries.is_text
    return False


def takes_text(default: Any, rule: Rule | None) -> bool:
    if default is None:
        return rule is not None and rule.is_text
    return isinstance(default, str) and "${" not in default


def described(
    values: Mapping[str, Any], said: Mapping[str, str], prefix: str, elsewhere: Callable[[str], Key | None]
) -> Iterator[Key]:
    """The keys of ``values``; one that follows another takes what that one takes."""
    flat = dict(leaves(values))
    for path, default in flat.items():
        words, sentence = grammar.split(said.get(path, ""))
        rule, seen = _rule(words, default), {path}
        while rule is None and isinstance(default, str) and (link := FOLLOWS.fullmatch(default)):
            target = _target(path, link[1], link[2])
            if target in seen or target not in flat:
                held = elsewhere(link[2]) if not link[1] else None
                default, rule = (held.default, held.rule) if held is not None else (default, None)
                break
            seen.add(target)
            path_words, default = grammar.split(said.get(target, ""))[0], flat[target]
            rule = _rule(path_words, default)
        example = Anything if isinstance(default, str) and "${" in default else default
        yield Key(f"{prefix}{path}", flat[path], rule, sentence, example)


def _target(path: str, dots: str, name: str) -> str:
    """The key that ``${..name}`` at ``path`` points to, within its option."""
    above = path.split(".")[: -len(dots)] if dots else []
    return ".".join([*above, name])


def _rule(words: str, default: Any) -> Rule | None:
    """The rule in brackets; None where there is none, or brackets that mean something else: a rule takes its own default."""
    if not words:
        return None
    try:
        rule = grammar.parse(words)
    except ValueError:
        return None
    known = World(has_plugins=True)
    if isinstance(default, str) and "${" in default:
        return rule
    return rule if rule.group or default is None or grammar.misfit(rule, default, default, world=known) is None else None
