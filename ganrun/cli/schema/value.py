"""One typed value against the keys of the options that are chosen: what is wrong with it, and what was meant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ganrun.cli import kinds
from ganrun.cli.compose import Composer
from ganrun.cli.overrides import Typed
from ganrun.cli.schema import catalog, compare, layers
from ganrun.cli.schema.line import Line
from ganrun.disk.identity import STACKS
from ganrun.ground import spell
from ganrun.ground.errors import nearest

OWNERS = 3  # options that are named where they have a key which the chosen one lacks


def of_value(entry: Typed, found: layers.Layers, line: Line) -> list[str]:
    """What is wrong with one typed value."""
    path, text, stack = entry.path, entry.text, entry.path[0] in STACKS
    held, depth = compare.locate(found.base, path)
    known = depth == len(path)
    if entry.override.is_delete():
        if known and not (stack and len(path) == 2):
            return [f"{text}: every option keeps its keys; write {entry.key}=VALUE"]
        _, depth = compare.locate(found.config, path)
        return [] if depth == len(path) else unknown_here(text, found, line, path)
    leader = _group_that_leads(path, found, line)
    if leader:
        typed = spell.pasted(f"{leader}={text.partition('=')[2]}")
        return [f"{text}: follows the group {leader.split('.')[0]}; write {typed}"]
    if not known and stack and depth == 1 and path[1] in line.composer.options(path[0]):
        wanted = ",".join([*found.base[path[0]], path[1]])
        return [f"{text}: {path[1]} is not chosen; add {path[0]}=[{wanted}]"]
    if not known:
        return unknown_here(text, found, line, path)
    if entry.adds:
        return [f"{text}: the key exists; write {entry.key}=VALUE, without '+'"]
    if path[-1] == "name" and path[0] in line.composer.groups and len(path) == (3 if stack else 2):
        return [f"{text}: an option keeps its name; choose another one with {path[0]}=..."]
    if entry.override.is_sweep_override() and not line.multirun:
        listed = f"; a list is '{entry.key}=[{','.join(value for value, _ in entry.values)}]'" if isinstance(held, list) else ""
        return [f"{text}: several values need -m, one run each{listed}"]
    sentences = []
    for _, value in entry.values:
        for mistake in compare.compare(held, value, ".".join(path), found.rules, found.world):
            if mistake.unknown:
                sentences += unknown(text, found.base, mistake.path.split("."))
            else:
                sentences.append(f"{text}: {mistake.why}")
    return sentences


def _group_that_leads(path: list[str], found: layers.Layers, line: Line) -> str | None:
    """Of ``game.condition.weight``, where ``game.condition`` follows the group: ``condition.weight``."""
    option = found.chosen.get(path[0], "")
    if path[0] in STACKS or option not in catalog.files(path[0], line.folders):
        return None
    values = catalog.entry(path[0], option, line.folders).values
    for depth in range(2, len(path) + 1):
        held, known = compare.locate(values, path[1:depth])
        if known == depth - 1 and isinstance(held, str) and held[2:-1] in line.composer.groups:
            return ".".join([held[2:-1], *path[depth:]])
    return None


def unknown(text: str, base: Mapping[str, Any], path: list[str], composer: Composer | None = None) -> list[str]:
    _, depth = compare.locate(base, path)
    if depth == len(path):
        return []
    if composer is not None and len(path) == 1:
        groups = [group for group in nearest(path[0], [*base, *composer.groups], count=1) if group not in base]
        options = [f"{group}={path[0]}" for group in composer.groups if path[0] in composer.options(group)]
        if groups or options:
            meant = " or ".join(repr(entry) for entry in options or groups)
            return [f"{text}: there is no key {path[0]!r}. Did you mean {meant}?"]
    return [f"{text}: there is no key {'.'.join(path)!r}. {compare.advice(base, path)}".rstrip()]


def unknown_here(text: str, found: layers.Layers, line: Line, path: list[str]) -> list[str]:
    """The same for a key of the option that is chosen: where other options of its group have it, they are named."""
    group, sentences = path[0], unknown(text, found.base, path, line.composer)
    others = kinds.others(found.config.get(kinds.GROUP)) if group == kinds.GROUP else {}
    if sentences and len(path) > 2 and path[1] in others:
        return [_of_another_kind(text, found.base[group][path[1]], path, others[path[1]], line)]
    owners = catalog.owners(path, line.folders) if sentences and group not in STACKS and group in found.chosen else []
    if not owners:
        return sentences
    key, more = ".".join(path), f" and {len(owners) - OWNERS} more" if len(owners) > OWNERS else ""
    advice = compare.advice(found.base, path)
    close = f" {advice}" if advice.startswith(f"Did you mean '{group}.") else ""
    example = f": {group}={owners[0]} {spell.pasted(text.lstrip('+'))}" if "=" in text and not more else ""
    listed = ", ".join(f"{group}={name}" for name in owners[:OWNERS])
    if kinds.player_of(f"{'.'.join(path[:2])}.{kinds.NAME}") and len(path) == 3:
        example += f". For the {path[1]} alone: {group}.{path[1]}.{kinds.NAME}={owners[0]}"
    return [f"{text}: there is no key {key!r} in {group}={found.chosen[group]}.{close} It belongs to {listed}{more}{example}"]


def _of_another_kind(text: str, known: Mapping[str, Any], path: list[str], kind: str, line: Line) -> str:
    """What is wrong with a key that a player's optimizer, of this kind, has not: the nearest that it has, and who has it."""
    valid = catalog.components(kinds.GROUP, line.folders)
    having = [name for name in valid if ".".join(path[2:]) in kinds.keys_of(name, line.folders)] if kind in valid else []
    place, close = ".".join(path[:2]), nearest(path[2], list(known))
    meant = f"Did you mean {' or '.join(repr(f'{place}.{name}') for name in close)}?"
    advice = meant if close else f"Valid here: {', '.join(sorted(known))}."
    if having:
        advice += f" It belongs to {', '.join(f'{place}.{kinds.NAME}={name}' for name in having)}"
    return f"{text}: there is no key {'.'.join(path)!r} with {place}.{kinds.NAME}={kind}. {advice}"
