"""How the presets differ from what their papers published: conf/published.yaml, which a test holds to the presets.

Imports neither torch nor Hydra, as ``catalog`` does.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import yaml

from ganrun.cli.schema import catalog


@functools.cache
def table() -> dict[str, Any]:
    """{preset: {"sources": {name: {where, read}}, "values": [{key, paper, source} or with ours and why, or {key, lacks}]}}.

    PyYAML reads 1e-4 as text, where Hydra reads a number; so do we.
    """
    found = yaml.safe_load((catalog.conf_dir() / "published.yaml").read_text(encoding="utf-8"))
    return {
        preset: {**entry, "values": [{key: _number(value) for key, value in line.items()} for line in entry["values"]]}
        for preset, entry in found.items()
    }


def differences(preset: str) -> str:
    """One line: what ``preset`` has otherwise than its paper; empty where nothing is known to differ."""
    lines = table().get(preset, {}).get("values", [])
    changed = [
        f"{_typed(line['key'])}={_text(line['ours'])} (paper: {_text(line['paper'])}; {line['why']})"
        for line in lines
        if "ours" in line
    ]
    lacking = [f"without {line['lacks']}" for line in lines if "lacks" in line]
    return ", ".join(changed + lacking)


def sources(preset: str) -> str:
    """Where the published values are from, and which of these sources were only remembered."""
    named: Mapping[str, Any] = table().get(preset, {}).get("sources", {})
    return "; ".join(f"{source['where']}{'' if source['read'] is True else ' (from memory)'}" for source in named.values())


def _typed(key: str) -> str:
    """A key as it is typed: an option of a group is chosen by the group."""
    return key.removesuffix(".name")


def _text(value: Any) -> str:
    return "not given" if value is None else catalog.text(value)


def _number(value: Any) -> Any:
    if isinstance(value, str) and value[:1].isdigit():
        try:
            return float(value)
        except ValueError:
            return value
    return value
