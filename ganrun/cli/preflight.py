"""The jobs of a sweep, tried before the first one starts: what excludes itself in the last job is said before the first trains.

Jobs that differ in their seed, or in what cannot matter for this, are one. The rest is composed and built, not trained, one
after the other, for as long as it may take; what is left then is found when its turn comes, and that is said.

Jobs whose settings mean the same, or differ in what a run does not depend on, share a run folder: they are named, and each
waits for the one before it.
"""

from __future__ import annotations

import copy
import itertools
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from ganrun.cli import kinds, signature
from ganrun.cli.compose import Composer
from ganrun.cli.overrides import Typed
from ganrun.disk import identity
from ganrun.ground.errors import BadInput

PATIENCE = 30.0  # seconds
HASTE = 10.0  # seconds for which jobs are compared
MOST_KEPT = 64  # compositions of options
MOST_NAMED = 4
EQUAL = ("seed", "name", "output", "keep", "every", "evaluation.seed")  # jobs that differ in these alone are built alike


def verify(overrides: Sequence[str], typed: Sequence[Typed], composer: Composer) -> tuple[list[str], list[str]]:
    """(mistakes, notes) of the jobs that ``overrides`` stand for, a product of sweeps; ``typed`` is the same, read."""
    swept = {entry.spelt: entry for entry in typed if entry.override.is_sweep_override()}
    single = [text for text in overrides if text not in swept]
    axes = [entry.values[:1] if _is_equal(entry.key) else entry.values for entry in swept.values()]
    keys = [entry.key for entry in swept.values()]
    from ganrun.engine import beforehand  # imports torch, which the jobs need anyway

    check, seen, found = beforehand.Check(), set(), dict[str, list[str]]()
    started, count, tried = time.monotonic(), _product(axes), 0
    for config, words in _jobs(single, keys, axes, composer):
        if time.monotonic() - started > PATIENCE:
            return _sentences(found, tried), [
                f"note: only the first {tried} of {count} combinations are checked before they start"
            ]
        tried += 1
        key = json.dumps(_matters(config, ""), sort_keys=True, default=str)
        if key in seen:
            continue
        seen.add(key)
        try:
            check.verify(config)
        except BadInput as error:
            for sentence in str(error).splitlines():
                found.setdefault(sentence, []).append(words)
    return _sentences(found, tried), []


@dataclass(frozen=True)
class Twins:
    """``groups``: the numbers of jobs that are one run, ascending; ``words``: what each job has of the sweep."""

    groups: list[list[int]] = field(default_factory=list)
    words: dict[int, str] = field(default_factory=dict)

    @property
    def before(self) -> dict[int, int]:
        """The job that each one waits for."""
        return {later: earlier for group in self.groups for earlier, later in itertools.pairwise(group)}

    def notes(self) -> Iterator[str]:
        """A sentence on each group, or on how many there are."""
        for group in self.groups[:MOST_NAMED]:
            listed = ", ".join(f"{number} ({self.words[number]})" for number in group[:MOST_NAMED])
            more = f" and {len(group) - MOST_NAMED} more" if len(group) > MOST_NAMED else ""
            yield f"note: jobs {listed}{more} are one run, in one folder; it is trained once"
        if len(self.groups) > MOST_NAMED:
            yield f"note: so are {len(self.groups) - MOST_NAMED} other groups of jobs"


def twins(overrides: Sequence[str], typed: Sequence[Typed], composer: Composer) -> Twins:
    """Which jobs of a sweep are one run: of one identity, in one place. None are found of more jobs than can be compared in time.

    Jobs of two seeds never are, so one seed stands for all.
    """
    swept = {entry.spelt: entry for entry in typed if entry.override.is_sweep_override()}
    single = [text for text in overrides if text not in swept]
    keys, axes = [entry.key for entry in swept.values()], [entry.values for entry in swept.values()]
    compared = [axis[:1] if key == "seed" else axis for key, axis in zip(keys, axes, strict=True)]
    places = itertools.product(*(range(len(axis)) for axis in compared))
    runs: dict[tuple[int, ...], str] = {}
    started = time.monotonic()
    for place, (config, _) in zip(places, _jobs(single, keys, compared, composer), strict=False):
        if time.monotonic() - started > HASTE:
            return Twins()
        try:
            runs[place] = json.dumps([identity.identity(config), config["output"], config["name"]])
        except BadInput:  # said when its turn comes
            runs[place] = str(place)
    groups: dict[tuple[str, int], list[int]] = {}
    words = {}
    for number, place in enumerate(itertools.product(*(range(len(axis)) for axis in axes))):
        seed = place[keys.index("seed")] if "seed" in keys else 0
        known = runs[tuple(0 if key == "seed" else index for key, index in zip(keys, place, strict=True))]
        groups.setdefault((known, seed), []).append(number)
        words[number] = " ".join(
            f"{key}={axis[index][0]}" for key, axis, index in zip(keys, axes, place, strict=True) if len(axis) > 1
        )
    return Twins([group for group in groups.values() if len(group) > 1], words)


def _jobs(
    single: Sequence[str], keys: Sequence[str], axes: Sequence[Sequence[tuple[str, Any]]], composer: Composer
) -> Iterator[tuple[dict[str, Any], str]]:
    """(config, what of it is swept) of every job. Options are composed; values are put into what was composed."""
    composed: dict[tuple[str, ...], DictConfig] = {}
    for combination in itertools.product(*axes):
        swept = list(zip(keys, combination, strict=True))
        choices = tuple(f"{key}={text}" for key, (text, _) in swept if key in composer.groups or kinds.player_of(key))
        if choices not in composed:
            if len(composed) >= MOST_KEPT:
                composed.clear()
            composed[choices] = composer.compose([*single, *choices])
        config = copy.deepcopy(composed[choices])
        with open_dict(config):
            for key, (_, value) in swept:
                if key not in composer.groups and not kinds.player_of(key):
                    OmegaConf.update(config, key, value)
        yield signature.plain(config), " ".join(f"{key}={text}" for key, (text, _) in swept)


def _product(axes: Sequence[Sequence[Any]]) -> int:
    count = 1
    for axis in axes:
        count *= len(axis)
    return count


def _is_equal(key: str) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in EQUAL)


def _matters(entry: Any, path: str) -> Any:
    if not isinstance(entry, dict):
        return entry
    inner = {key: f"{path}.{key}" if path else key for key in entry}
    return {key: _matters(entry[key], place) for key, place in inner.items() if not _is_equal(place)}


def _sentences(found: dict[str, list[str]], tried: int) -> list[str]:
    """Each mistake once, with a job that has it where not all do."""
    return [text if len(where) == tried else f"{text} (in the job {where[0]})" for text, where in found.items()]
