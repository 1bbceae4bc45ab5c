"""All mistakes of a command line at once, one line each, before anything is written and before torch is imported.

Each override is parsed by itself; misspelt options are held against the option files; then each combination of choices
is composed once (a sweep over a hundred seeds costs one), and every typed value is compared with the schema: the same
options as their own files have them. So each job of a sweep is checked before the first one starts.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from ganrun.cli.compose import Composer, one_line
from ganrun.cli.overrides import COMPOSING_FAILS, Typed, parse
from ganrun.cli.schema import catalog, compare, layers
from ganrun.disk.identity import STACKS
from ganrun.ground import spell
from ganrun.ground.errors import BadInput, nearest, suggestion

MOST_COMBINATIONS = 500
PARAMS = "hydra.sweeper.params"
OWNERS = 3  # options that are named where they have a key which the chosen one lacks
# launchers and sweepers of Hydra's own family, by the package that brings them
PLUGINS = {
    "joblib": "ganrun[sweep]",
    "submitit_": "hydra-submitit-launcher",
    "ray": "hydra-ray-launcher",
    "rq": "hydra-rq-launcher",
    "optuna": "hydra-optuna-sweeper",
    "ax": "hydra-ax-sweeper",
    "nevergrad": "hydra-nevergrad-sweeper",
}


@dataclass
class Report:
    """``mistakes``: one sentence each, in the order typed; ``notes``: what a person should know all the same.

    ``sweep``: the overrides of a sweep that stands in a file. ``multirun``: whether this is a sweep; a file may say so, too.
    """

    mistakes: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sweep: list[str] = field(default_factory=list)
    multirun: bool = False

    def add(self, *sentences: str) -> None:
        self.mistakes += [sentence for sentence in dict.fromkeys(sentences) if sentence not in self.mistakes]


@dataclass
class Line:
    """A command line, sorted: choices of options, values, Hydra's own; and ganrun's ``given`` overrides before them."""

    typed: list[Typed]
    given: Sequence[str]
    multirun: bool
    composer: Composer
    folders: Sequence[Path]
    origin: str
    choices: dict[str, Typed] = field(default_factory=dict)
    values: list[Typed] = field(default_factory=list)
    hydra_choices: list[Typed] = field(default_factory=list)
    hydra_values: list[Typed] = field(default_factory=list)
    wrong: set[str] = field(default_factory=set)


def verify(
    overrides: Sequence[str],
    composer: Composer,
    folders: Sequence[Path],
    *,
    multirun: bool,
    given: Sequence[str] = (),
    origin: str = "conf",
) -> Report:
    """Check ``overrides``; ``given`` are ganrun's own, which come before them (the keys of the run ``origin``)."""
    report = Report(multirun=multirun)
    typed, composer.multirun = [], multirun
    for text in overrides:
        try:
            typed.append(parse(text, composer))
        except BadInput as error:
            report.add(str(error))
    line = Line(typed, given, multirun, composer, folders, origin)
    for entry in typed:
        _sort(entry, line, report)
    spellings = [[f"{key}={text}" for text, _ in entry.values] for key, entry in line.choices.items() if key not in line.wrong]
    combinations = list(itertools.islice(itertools.product(*spellings), MOST_COMBINATIONS))
    if len(combinations) == MOST_COMBINATIONS:
        report.notes.append(f"note: only the first {MOST_COMBINATIONS} combinations of options are checked")
    found: dict[str, list[str]] = {}
    for combination in combinations:
        sentences, notes, hydras = _combination(combination, line)
        known = {entry.key for entry in typed}
        params = [f"{key}={value}" for key, value in hydras.params.items() if key not in known]
        if hydras.is_sweep and not multirun:
            return verify(overrides, composer, folders, multirun=True, given=given, origin=origin)
        if multirun and params:  # a sweep that stands in a file
            report = verify([*params, *overrides], composer, folders, multirun=True, given=given, origin=origin)
            inside = tuple(f"{text}:" for text in params)
            report.mistakes = [f"{said} (in {PARAMS})" if said.startswith(inside) else said for said in report.mistakes]
            report.sweep = [*params, *report.sweep]
            return report
        if params and f"{PARAMS}: " not in "".join(report.notes):
            report.notes.append(f"note: {PARAMS}: {' '.join(params)} in a file is a sweep, which needs -m")
        for sentence in dict.fromkeys(sentences):
            found.setdefault(sentence, []).append(" ".join(combination))
        report.notes += [note for note in notes if note not in report.notes]
    for sentence, where in found.items():
        report.add(sentence if len(where) == len(combinations) else f"{sentence} (with {where[0]})")
    report.mistakes.sort(key=lambda sentence: _place(sentence, overrides))
    return report


def _place(sentence: str, overrides: Sequence[str]) -> int:
    return next((place for place, text in enumerate(overrides) if sentence.startswith(f"{text}:")), -1)


def _sort(entry: Typed, line: Line, report: Report) -> None:
    """Put ``entry`` into the line's lists; what is wrong with an option's name is said here."""
    key, text = entry.key, entry.text
    if entry.override.is_hydra_override() and "/" not in key:
        line.hydra_values.append(entry)
    elif entry.override.is_hydra_override():
        groups = [f"hydra/{group}" for group in line.composer.loader.list_groups("hydra")]
        if key not in groups:
            report.add(f"{text}: there is no group {key!r}. {suggestion(key, groups)}")
        elif _options_exist(entry, line.composer, report):
            line.hydra_choices.append(entry)
    elif key not in line.composer.groups:
        line.values.append(entry)
    elif entry.adds:
        report.add(f"{text}: write {f'{key}=[...] with all that it shall hold' if key in STACKS else f'{key}=...'}")
    elif entry.override.is_delete():
        if key not in STACKS:
            report.add(f"{text}: a run needs a {key}; choose another one with {key}=...")
    elif key in line.choices:
        report.add(f"{text}: {key} is chosen twice, by {line.choices[key].text} too")
    else:
        line.choices[key] = entry
        if entry.override.is_sweep_override() and not line.multirun:
            listed = f"; both in one run: '{key}=[{','.join(value for value, _ in entry.values)}]'" if key in STACKS else ""
            report.add(f"{text}: several values need -m, one run each{listed}")
        if not _options_exist(entry, line.composer, report):
            line.wrong.add(key)


def _options_exist(entry: Typed, composer: Composer, report: Report) -> bool:
    key, valid, before = entry.key, composer.options(entry.key), len(report.mistakes)
    if not entry.values:
        report.add(f"{entry.text}: no {key} matches. {suggestion('', valid)}")
    for _, value in entry.values:
        if isinstance(value, Mapping) or (isinstance(value, list) and key not in STACKS):
            report.add(f"{entry.text}: takes the name of one {key}; its options are set by {key}.KEY=VALUE")
        elif value is None and not key.startswith("hydra/"):
            report.add(f"{entry.text}: {f'write {key}=none' if 'none' in valid else f'a run needs a {key}'}")
        elif value is not None:
            for name in value if isinstance(value, list) else [value]:
                if str(name) not in valid:
                    package = next((found for word, found in PLUGINS.items() if str(name).startswith(word)), None)
                    needs = suggestion(str(name), valid)
                    if key != "experiment" and str(name) in composer.options("experiment"):
                        needs = f"The settings of a paper are an experiment: experiment={name}"
                    if package and key.startswith("hydra/"):
                        needs = f'It needs a plug-in: pip install "{package}"'
                    report.add(f"{entry.text}: there is no {key} {str(name)!r}. {needs}")
    return len(report.mistakes) == before


@dataclass(frozen=True)
class Hydras:
    """What the files say to Hydra: ``params``, the values of a sweep as they would be typed, and whether to sweep."""

    params: Mapping[str, str] = field(default_factory=dict)
    is_sweep: bool = False


def _hydras(config: DictConfig) -> Hydras:
    held: Any = OmegaConf.to_container(config.hydra.sweeper, resolve=False)
    params = held.get("params") or {}
    plain = {key: value for key, value in params.items() if isinstance(value, str | bool | int | float | list)}
    texts = {str(key): value if isinstance(value, str) else spell.value(value) for key, value in plain.items()}
    return Hydras(texts, config.hydra.mode == RunMode.MULTIRUN)


def _combination(combination: Sequence[str], line: Line) -> tuple[list[str], list[str], Hydras]:
    """(mistakes, notes, what the files say to Hydra) of the jobs that choose ``combination``."""
    composer, values = line.composer, line.values
    fixed = [*line.given, *(entry.spelt for entry in line.hydra_choices)]
    fixed += [entry.spelt for entry in line.hydra_values if entry.key == "hydra.searchpath"]
    fixed += [entry.spelt for entry in line.typed if entry.override.is_delete() and entry.key in STACKS]
    whole = _whole(line)
    try:
        composed = whole or composer.compose([*fixed, *combination])
        groups, typed = frozenset(line.choices), whole is not None
        found = layers.analyse(composed, composer, line.folders, groups, line.origin, values_are_typed=typed)
    except COMPOSING_FAILS as error:
        return [_composing_failed(error)], [], Hydras()
    plugins = [value for entry in values if entry.key == "plugins" for _, value in entry.values]
    found.world = catalog.world(line.folders, [module for modules in plugins if isinstance(modules, list) for module in modules])
    known_typed = {".".join(entry.path) for entry in values if whole or entry.override.is_delete()}
    sentences = list(layers.mistakes(found, known_typed))
    for entry in values:
        if entry.path[0] not in line.wrong:
            sentences += _value(entry, found, line)
    sentences += _together(values, found.config)
    if not sentences:
        sentences += _linked([*fixed, *combination], found, line, whole)
    known = {"hydra": OmegaConf.to_container(composed.hydra, resolve=False)} if line.hydra_values else {}
    unknown = [text for entry in line.hydra_values if not entry.adds for text in _unknown(entry.text, known, entry.path)]
    hydras = _hydras(composed)
    if line.hydra_values and not unknown and whole is None:
        try:
            with_hydras = composer.compose([*fixed, *combination, *(entry.spelt for entry in line.hydra_values)])
            hydras = _hydras(with_hydras)
        except COMPOSING_FAILS as error:
            unknown = [_composing_failed(error)]
    return sentences + unknown, list(layers.left_out(found, line.folders)), hydras


def _whole(line: Line) -> DictConfig | None:
    """The config of all that is typed, which one run then starts from. None where it cannot be composed, and where the keys of an
    option are not to be read from ganrun's own files alone: then options are composed first and values are held against them.
    """
    if line.multirun or line.given or line.wrong or any(entry.override.is_sweep_override() for entry in line.typed):
        return None
    try:
        composed = line.composer.compose([entry.spelt for entry in line.typed])
    except COMPOSING_FAILS:
        return None
    chosen = {str(group): str(name) for group, name in composed.hydra.runtime.choices.items() if group in line.composer.groups}
    return composed if layers.ours_alone(chosen, line.folders) else None


def _value(entry: Typed, found: layers.Layers, line: Line) -> list[str]:
    """What is wrong with one typed value."""
    path, text, stack = entry.path, entry.text, entry.path[0] in STACKS
    held, depth = compare.locate(found.base, path)
    known = depth == len(path)
    if entry.override.is_delete():
        if known and not (stack and len(path) == 2):
            return [f"{text}: every option keeps its keys; write {entry.key}=VALUE"]
        _, depth = compare.locate(found.config, path)
        return [] if depth == len(path) else _unknown_here(text, found, line, path)
    leader = _group_that_leads(path, found, line)
    if leader:
        typed = spell.pasted(f"{leader}={text.partition('=')[2]}")
        return [f"{text}: follows the group {leader.split('.')[0]}; write {typed}"]
    if not known and stack and depth == 1 and path[1] in line.composer.options(path[0]):
        wanted = ",".join([*found.base[path[0]], path[1]])
        return [f"{text}: {path[1]} is not chosen; add {path[0]}=[{wanted}]"]
    if not known:
        return _unknown_here(text, found, line, path)
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
                sentences += _unknown(text, found.base, mistake.path.split("."))
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


def _linked(before: Sequence[str], found: layers.Layers, line: Line, whole: DictConfig | None) -> list[str]:
    """What is wrong with what the typed interpolations give."""
    sentences = []
    for entry in line.values:
        for spelling, value in entry.values:
            if not layers.holds_link(value):
                continue
            others = [_one_value(other) for other in line.values if other is not entry]
            try:
                composed = whole or line.composer.compose([*before, *others, f"{entry.key}={spelling}"])
                gives = OmegaConf.select(composed, entry.key, throw_on_missing=True)
                gives = OmegaConf.to_container(gives, resolve=True) if OmegaConf.is_config(gives) else gives
            except COMPOSING_FAILS as error:
                if "hydra:" not in spelling:  # what Hydra says of a job is known in the job
                    sentences.append(f"{entry.text}: {one_line(error)}{_as_text(entry, value, line)}")
                continue
            held, _ = compare.locate(found.base, entry.path)
            for mistake in compare.compare(held, gives, entry.key, found.rules, found.world, resolved=True):
                sentences.append(f"{entry.text}: gives {spell.value(mistake.value)}: {mistake.why}")
    return sentences


def _as_text(entry: Typed, value: Any, line: Line) -> str:
    """How to type a value that was read as an interpolation and may have been meant as text."""
    if not (isinstance(value, list) or catalog.is_text(entry.path, line.folders)):
        return ""
    return f". For the text itself: {spell.pasted(f'{entry.key}={spell.value(value)}')}"


def _one_value(entry: Typed) -> str:
    """The override, of a sweep the first job's."""
    if entry.override.is_delete() or not entry.override.is_sweep_override():
        return entry.spelt
    return f"{entry.key}={entry.values[0][0]}"


def _unknown(text: str, base: Mapping[str, Any], path: list[str], composer: Composer | None = None) -> list[str]:
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


def _unknown_here(text: str, found: layers.Layers, line: Line, path: list[str]) -> list[str]:
    """The same for a key of the option that is chosen: where other options of its group have it, they are named."""
    group, sentences = path[0], _unknown(text, found.base, path, line.composer)
    owners = catalog.owners(path, line.folders) if sentences and group not in STACKS and group in found.chosen else []
    if not owners:
        return sentences
    key, more = ".".join(path), f" and {len(owners) - OWNERS} more" if len(owners) > OWNERS else ""
    advice = compare.advice(found.base, path)
    close = f" {advice}" if advice.startswith(f"Did you mean '{group}.") else ""
    example = f": {group}={owners[0]} {spell.pasted(text.lstrip('+'))}" if "=" in text and not more else ""
    listed = ", ".join(f"{group}={name}" for name in owners[:OWNERS])
    return [f"{text}: there is no key {key!r} in {group}={found.chosen[group]}.{close} It belongs to {listed}{more}{example}"]


def _together(values: Sequence[Typed], config: Mapping[str, Any]) -> list[str]:
    """Bounds that tie two keys."""
    whole = {}
    for key in ("batch_size", "generator_batch", "accumulate"):
        typed = [value for entry in values if entry.key == key for _, value in entry.values]
        whole[key] = [value for value in typed or [config.get(key)] if type(value) is int and value > 0]
    return [
        f"accumulate={parts}: {key}={size} cannot be cut into {parts} equal parts"
        for key in ("batch_size", "generator_batch")
        for size, parts in itertools.product(whole[key], whole["accumulate"])
        if size % parts
    ]


def _composing_failed(error: Exception) -> str:
    text = one_line(error)
    if "Could not override" in text and "@" in text:
        text += " (a file that chooses in other groups begins with '# @package _global_')"
    return text
