"""All mistakes of a command line at once, one line each, before anything is written and before torch is imported.

Each override is parsed by itself; misspelt options are held against the option files; then each combination of choices
is composed once (a sweep over a hundred seeds costs one), and every typed value is compared with the schema: the same
options as their own files have them. So each job of a sweep is checked before the first one starts.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from ganrun.cli import kinds
from ganrun.cli.compose import Composer, one_line
from ganrun.cli.overrides import COMPOSING_FAILS, Typed, parse
from ganrun.cli.schema import catalog, compare, layers
from ganrun.cli.schema.line import Line, Report, sort
from ganrun.cli.schema.value import of_value, unknown
from ganrun.disk.identity import STACKS
from ganrun.ground import spell
from ganrun.ground.errors import BadInput

MOST_COMBINATIONS = 500
PARAMS = "hydra.sweeper.params"


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
        sort(entry, line, report)
    spellings = [[f"{key}={text}" for text, _ in entry.values] for key, entry in line.choices.items() if key not in line.wrong]
    spellings += list(_kinds(line))
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


def _kinds(line: Line) -> Iterator[list[str]]:
    """The overrides that choose a player's kind of optimizer, whose keys are then that kind's; one a value of a sweep."""
    for entry in line.values:
        found = None if entry.adds or entry.override.is_delete() else kinds.chosen_by(entry.key, [v for _, v in entry.values])
        if found is not None:
            yield [f"{kinds.GROUP}.{found[0]}.{kinds.NAME}={spell.value(kind)}" for kind in found[1]]


def _place(sentence: str, overrides: Sequence[str]) -> int:
    return next((place for place, text in enumerate(overrides) if sentence.startswith(f"{text}:")), -1)


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
    known_typed = {".".join(entry.path) for entry in values if whole or entry.override.is_delete() or kinds.player_of(entry.key)}
    sentences = list(layers.mistakes(found, known_typed))
    for entry in values:
        if entry.path[0] not in line.wrong:
            sentences += of_value(entry, found, line)
    sentences += _together(values, found.config)
    if not sentences:
        sentences += _linked([*fixed, *combination], found, line, whole)
    known = {"hydra": OmegaConf.to_container(composed.hydra, resolve=False)} if line.hydra_values else {}
    of_hydra = [text for entry in line.hydra_values if not entry.adds for text in unknown(entry.text, known, entry.path)]
    hydras = _hydras(composed)
    if line.hydra_values and not of_hydra and whole is None:
        try:
            with_hydras = composer.compose([*fixed, *combination, *(entry.spelt for entry in line.hydra_values)])
            hydras = _hydras(with_hydras)
        except COMPOSING_FAILS as error:
            of_hydra = [_composing_failed(error)]
    return sentences + of_hydra, list(layers.left_out(found, line.folders)), hydras


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
