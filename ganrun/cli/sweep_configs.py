"""The configs of a sweep's jobs, composed once for each choice of options: values are put into what was composed.

Hydra composes every job of a sweep from its files, twice: when it checks the batch, and when it starts the job. Jobs that differ
in single values alone (``seed=0,1,2``) differ nowhere else, since Hydra itself puts values in last, after all files. So the first
of them is composed by Hydra, and each other one is a copy of it to which Hydra's own function applies the other values. What is
more than that (options of groups, ``+`` and ``~``, mappings and lists, keys inside other keys) is composed as ever.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, QuotedString
from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig, OmegaConf

from ganrun.cli import kinds

MOST_KEPT = 16  # compositions

Alike = tuple[Any, ...]


@dataclass
class Composed:
    """``first``: a job's config as Hydra composed it, untouched; ``scratch``: a copy on which values of others are tried."""

    first: DictConfig
    scratch: DictConfig


class Jobs:
    """Composes jobs by ``compose`` (Hydra's ``load_sweep_config``), each choice of options once."""

    def __init__(self, compose: Any) -> None:
        self.compose = compose
        self._kept: dict[Alike, Composed] = {}

    def config(self, loader: Any, master: DictConfig, texts: Sequence[str]) -> DictConfig:
        """The config of the job of ``texts``, which is the caller's to change."""
        parsed, values, alike = _read(loader, texts)
        held = self._kept.get(alike) if values else None
        if held is None:
            return self._first(loader, master, texts, alike if values else None)
        found = copy.deepcopy(held.first)
        ConfigLoaderImpl._apply_overrides_to_config(values, found)
        found.hydra.overrides.task = [entry.input_line for entry in parsed]
        form = found.hydra.job.config.override_dirname
        found.hydra.job.override_dirname = get_overrides_dirname(
            overrides=parsed, kv_sep=form.kv_sep, item_sep=form.item_sep, exclude_keys=form.exclude_keys
        )
        OmegaConf.copy_cache(from_config=master, to_config=found)
        return found

    def check(self, loader: Any, master: DictConfig, texts: Sequence[str]) -> None:
        """Raise what composing the job of ``texts`` would raise."""
        _, values, alike = _read(loader, texts)
        held = self._kept.get(alike) if values else None
        if held is None:
            self._first(loader, master, texts, alike if values else None)
        else:
            ConfigLoaderImpl._apply_overrides_to_config(values, held.scratch)

    def _first(self, loader: Any, master: DictConfig, texts: Sequence[str], alike: Alike | None) -> DictConfig:
        found: DictConfig = self.compose(loader, master, list(texts))
        if alike is not None:
            if len(self._kept) >= MOST_KEPT:
                self._kept.pop(next(iter(self._kept)))
            self._kept[alike] = Composed(copy.deepcopy(found), copy.deepcopy(found))
        return found


def _read(loader: Any, texts: Sequence[str]) -> tuple[list[Override], list[Override], Alike]:
    """(the overrides, those that are single values, what a job that differs in these alone has in common)."""
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(overrides=list(texts))
    if any(entry.is_hydra_override() for entry in parsed):
        return parsed, [], ()
    keys = [entry.key_or_group for entry in parsed if not loader.repository.group_exists(entry.key_or_group)]
    values = [
        entry for entry in parsed if _is_value(loader, entry) and not any(_overlap(entry.key_or_group, key) for key in keys)
    ]
    single = {id(entry) for entry in values}
    alike = tuple((entry.key_or_group,) if id(entry) in single else entry.input_line for entry in parsed)
    return parsed, values, alike


def _is_value(loader: Any, entry: Override) -> bool:
    """Whether ``entry`` gives a key that is there a single value, and chooses nothing."""
    plain = not (entry.is_add() or entry.is_delete() or entry.is_sweep_override()) and entry.package is None
    if not plain or loader.repository.group_exists(entry.key_or_group) or kinds.player_of(entry.key_or_group):
        return False
    return isinstance(entry._value, int | float | bool | str | QuotedString | None)


def _overlap(key: str, other: str) -> bool:
    """Whether one of two different keys is inside the other."""
    return key != other and (key.startswith(f"{other}.") or other.startswith(f"{key}."))


@contextmanager
def composed_once() -> Iterator[None]:
    """While a sweep is launched from this process: its jobs' configs by ``Jobs``."""
    compose, validate = ConfigLoaderImpl.load_sweep_config, Sweeper.validate_batch_is_legal
    jobs = Jobs(compose)

    def load(self: Any, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        return jobs.config(self, master_config, sweep_overrides)

    def legal(self: Any, batch: Sequence[Sequence[str]]) -> None:
        for texts in batch:
            jobs.check(self.hydra_context.config_loader, self.config, texts)

    ConfigLoaderImpl.load_sweep_config, Sweeper.validate_batch_is_legal = load, legal  # type: ignore[method-assign]
    try:
        yield
    finally:
        ConfigLoaderImpl.load_sweep_config, Sweeper.validate_batch_is_legal = compose, validate  # type: ignore[method-assign]
