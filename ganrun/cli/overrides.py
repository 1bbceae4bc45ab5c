"""Overrides as typed: Hydra's grammar, read one by one, so that a mistake in one does not hide the others'."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import yaml
from hydra.core.override_parser.types import Override, QuotedString
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from ganrun.cli.compose import Composer, one_line
from ganrun.ground.errors import BadInput

COMPOSING_FAILS = (HydraException, OmegaConfBaseException, ValueError, OSError, AssertionError, yaml.YAMLError)


@dataclass
class Typed:
    """One override: ``values`` holds its value with its spelling, or all of a sweep's."""

    text: str
    override: Override
    key: str
    values: list[tuple[str, Any]]

    @property
    def path(self) -> list[str]:
        return re.sub(r"\[(\w+)\]", r".\1", self.key).split(".")

    @property
    def adds(self) -> bool:
        return self.override.is_add() or self.override.is_force_add()


def parse(text: str, composer: Composer) -> Typed:
    """One override; ``BadInput`` where it is none, or one that ganrun refuses wherever it stands."""
    if text.startswith("-"):
        raise BadInput(f"{text}: flags go before '--', overrides are KEY=VALUE")
    try:
        override = composer.parse(text)
        values = _values(override)
    except COMPOSING_FAILS as error:
        raise BadInput(f"{text}: {_not_an_override(text, composer, error)}") from error
    key = override.key_or_group
    if override.package is not None:
        raise BadInput(f"{text}: every group has its place; write {key}=...")
    if not override.is_hydra_override() and _mentions_target(key, [value for _, value in values]):
        raise BadInput(f"{text}: _target_ is refused; ganrun names components, it never runs a class path")
    return Typed(text, override, key, values)


def readable(overrides: Sequence[str], composer: Composer) -> list[Typed]:
    """Those of ``overrides`` that can be parsed; the check says what is wrong with the others."""
    found = []
    for text in overrides:
        with suppress(BadInput):
            found.append(parse(text, composer))
    return found


def value_of(key: str, typed: Sequence[Typed]) -> Any:
    """The value typed for ``key``, the last one if there are several; None for none."""
    value = None
    for entry in typed:
        if entry.key == key:
            if entry.override.is_sweep_override():
                raise BadInput(f"{entry.text}: takes one value")
            value = entry.override.value()
    return value


def _values(override: Override) -> list[tuple[str, Any]]:
    if override.is_delete() or not override.is_sweep_override():
        spelling = "" if override.is_delete() else override.get_value_element_as_str()
        return [(spelling, override.value())]
    if override.is_interval_sweep():
        interval: Any = override.value()
        return [(str(end), end) for end in (interval.start, interval.end)]
    values = (_unquoted(value) for value in override.sweep_iterator())
    return list(zip(override.sweep_string_iterator(), values, strict=True))


def _unquoted(value: Any) -> Any:
    if isinstance(value, QuotedString):
        return value.text
    if isinstance(value, list):
        return [_unquoted(entry) for entry in value]
    if isinstance(value, dict):
        return {_unquoted(key): _unquoted(entry) for key, entry in value.items()}
    return value


def _not_an_override(text: str, composer: Composer, error: Exception) -> str:
    if "=" not in text and not text.startswith("~"):
        options = [f"{group}={text}" for group in composer.groups if text in composer.options(group)]
        return "not an override KEY=VALUE" + (f". Did you mean {' or '.join(options)}?" if options else "")
    return f"cannot be read ({one_line(error)}). Quote the whole override where it holds blanks or brackets"


def _mentions_target(key: str, values: list[Any]) -> bool:
    def inside(value: Any) -> bool:
        if isinstance(value, Mapping):
            return "_target_" in value or any(inside(entry) for entry in value.values())
        return isinstance(value, list) and any(inside(entry) for entry in value)

    return "_target_" in key.split(".") or any(inside(value) for value in values)
