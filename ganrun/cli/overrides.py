"""Overrides as typed: Hydra's grammar, read one by one, so that a mistake in one does not hide the others'.

What is typed is what runs. Where a key takes text, it gets what was typed, character by character, as the shell handed it
over: ``name=1.10``, ``dataset.root=my images (1)``. The exceptions: text wholly in quotes is what stands in them, ``${...}``
is an interpolation, ``null`` is null, and with ``-m`` commas part the values of a sweep. What the environment gives
(``seed=${oc.env:SEED}``) is read as if it had been typed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import yaml
from hydra.core.override_parser.types import Override, QuotedString
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ganrun.cli.compose import Composer, one_line
from ganrun.cli.config_files import source
from ganrun.cli.schema import catalog
from ganrun.disk import yaml_files
from ganrun.ground import spell
from ganrun.ground.errors import BadInput

COMPOSING_FAILS = (HydraException, OmegaConfBaseException, ValueError, OSError, AssertionError, yaml.YAMLError)

ASSIGNED = re.compile(r"(?P<before>\+{0,2}(?P<key>[^\W\d][\w.]*)=)(?P<value>.*)", re.DOTALL)
FUNCTION = re.compile(r"\s*[a-z]+\s*\(")
LISTED = re.compile(r"choice\((?P<list>.*)\)", re.DOTALL)
QUOTED = re.compile(r"'.*'|\".*\"", re.DOTALL)


@dataclass
class Typed:
    """One override: ``text`` as typed, ``spelt`` as Hydra gets it; ``values``: its value with its spelling, or a sweep's."""

    text: str
    spelt: str
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
        spelt = _spelt(text, composer)
        override = composer.parse(spelt)
        values = _values(override)
    except COMPOSING_FAILS as error:
        raise BadInput(f"{text}: {_not_an_override(text, composer, error)}") from error
    key = override.key_or_group
    if override.package is not None:
        raise BadInput(f"{text}: every group has its place; write {key}=...")
    if not override.is_hydra_override() and _mentions_target(key, [value for _, value in values]):
        raise BadInput(f"{text}: _target_ is refused; ganrun names components, it never runs a class path")
    return Typed(text, spelt, override, key, values)


def search(overrides: Sequence[str], composer: Composer) -> None:
    """Let ``composer`` look into the folders of ``hydra.searchpath=[...]``, where that is typed."""
    for text in overrides:
        if text.lstrip("+").startswith("hydra.searchpath="):
            value = parse(text, composer).override.value()
            if not isinstance(value, list):
                raise BadInput(f"{text}: must be a list of folders, such as hydra.searchpath=[my_conf]")
            places = [source(str(entry), text) for entry in value]
            given = spell.quoted([place for place, _ in places])
            composer.look_into(f"hydra.searchpath={given}", [folder for _, folder in places if folder is not None])


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
            value = _settled(entry)
    return value


def _settled(entry: Typed) -> Any:
    """The value with what comes from the environment in its place; it cannot follow another key here."""
    value = entry.override.value()
    try:
        found = OmegaConf.create({"value": value})
        return OmegaConf.to_container(found, resolve=True)["value"]  # type: ignore[index, call-overload]
    except OmegaConfBaseException as error:
        itself = f". For the text itself: {spell.pasted(f'{entry.key}={spell.value(value)}')}" if isinstance(value, str) else ""
        raise BadInput(f"{entry.text}: {one_line(error)}{itself}") from error


def _spelt(text: str, composer: Composer) -> str:
    """``text`` as Hydra's grammar must get it, so that what is typed is what runs."""
    found = ASSIGNED.fullmatch(text)
    if found is None or text.startswith("~") or found["key"].startswith("hydra"):
        return composer.search[0] if found and found["key"] == "hydra.searchpath" and composer.search else text
    key, given = found["key"], found["value"]
    if not catalog.is_text(key.split("."), composer.folders):
        return f"{found['before']}{_from_environment(text, composer)}" if "${" in given else text
    kind = _kind(text, composer)
    if composer.multirun and (kind is Override or "," in given):
        inner = LISTED.fullmatch(given)
        if inner or kind is not Override or not FUNCTION.match(given):
            elements = [_literal(part, kind) for part in _parts(inner["list"] if inner else given)]
        else:
            override = composer.parse(text)
            elements = [_text(str(part)) for part in override.sweep_string_iterator()]
        return f"{found['before']}{','.join(elements)}"
    if key not in yaml_files.PATHS and kind in (Override, list, dict):
        return text  # several values, or a list: the check says what is wrong with that
    return f"{found['before']}{_literal(given, kind)}"


def _kind(text: str, composer: Composer) -> type | None:
    """What Hydra reads: the type of the value, ``Override`` for a sweep, None where it cannot read it."""
    try:
        override = composer.parse(text)
    except COMPOSING_FAILS:
        return None
    return Override if override.is_sweep_override() else type(override.value())


def _literal(given: str, kind: type | None) -> str:
    """Text in Hydra's spelling: ``given`` itself, unless it is null or in quotes, or holds escapes that Hydra reads."""
    whole = QUOTED.fullmatch(given.strip())
    if given.strip().lower() == "null" or (whole and _closed(given.strip())) or ("\\" in given and kind is str):
        return given
    return _text(given)


def _text(given: str) -> str:
    """Text in Hydra's spelling, in which ``${...}`` is an interpolation, and anything that is none, such as ``${``, is text."""
    try:
        OmegaConf.create({"value": given})
    except OmegaConfBaseException:
        return spell.value(given)
    return spell.quoted(given, links=True) if "${" in given else spell.value(given)


def _closed(given: str) -> bool:
    """True where the last character closes the quote that the first one opens."""
    inner = given[1:-1].replace("\\\\", "").replace(f"\\{given[0]}", "")
    return given[0] not in inner and not inner.endswith("\\")


def _parts(given: str) -> list[str]:
    """``given`` cut at the commas that stand in no quotes and no brackets."""
    parts, depth, quote = [""], 0, ""
    for character in given:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"" and not parts[-1].strip():
            quote = character
        depth += 0 if quote else (character in "([{") - (character in ")]}")
        if character == "," and not quote and depth <= 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def _from_environment(text: str, composer: Composer) -> str:
    """The override without what stands before its value, each ``${oc.env:...}`` read as if its content had been typed."""
    given = text.partition("=")[2]
    if yaml_files.is_one_link(given) and given.count("${") > 1:  # Hydra's grammar reads none within another without quotes
        return spell.quoted(yaml_files.from_environment(given), links=True)
    override = composer.parse(text)
    values = [value for _, value in _values(override)]
    if override.is_interval_sweep() or all(_wrapped(value) == value for value in values):
        return given
    return ",".join(spell.quoted(_wrapped(value), links=True) for value in values)


def _wrapped(value: Any) -> Any:
    if isinstance(value, str):
        return yaml_files.from_environment(value)
    if isinstance(value, list):
        return [_wrapped(entry) for entry in value]
    return {key: _wrapped(entry) for key, entry in value.items()} if isinstance(value, dict) else value


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
        meant = f"Did you mean {' or '.join(options)}?" if options else "A value with blanks stands in quotes: 'KEY=my value'"
        return f"not an override KEY=VALUE. {meant}"
    return f"cannot be read ({one_line(error)}). Quote the whole override where it holds blanks or brackets"


def _mentions_target(key: str, values: list[Any]) -> bool:
    def inside(value: Any) -> bool:
        if isinstance(value, Mapping):
            return "_target_" in value or any(inside(entry) for entry in value.values())
        return isinstance(value, list) and any(inside(entry) for entry in value)

    return "_target_" in key.split(".") or any(inside(value) for value in values)
