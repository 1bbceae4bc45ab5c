"""Which of several runs are one setting over seeds, and in which keys settings differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ganrun.disk import identity, runs
from ganrun.ground.errors import BadInput

ABSENT = "-"
Keys = dict[str, Any]


def grouped(configs: Sequence[Mapping[str, Any]]) -> tuple[list[Keys], list[int]]:
    """(the settings in the order in which they first come, the place of each config's among them).

    A setting is what counts of a config but for its seed, and what the run started from, as flat keys.
    """
    settings: list[Keys] = []
    groups = []
    for config in configs:
        counting = {key: entry for key, entry in identity.result_keys(config).items() if key != "seed"}
        setting = dict(identity.flat(counting)) | _origin(config)
        known = [place for place, other in enumerate(settings) if not identity.differing(setting, other)]
        groups.append(known[0] if known else len(settings))
        settings += [] if known else [setting]
    return settings, groups


def _origin(config: Mapping[str, Any]) -> Keys:
    """What a fork, or a run with another one's weights, started from: ten digits of its setting, the same for all seeds."""
    found: Keys = {}
    for key in ("init_from", *(["resume"] if config.get("fork") else [])):
        if config.get(key):
            try:
                parent = runs.read_config(runs.locate(runs.place(config[key]))[0])
                found[key] = identity.identity({**parent, "seed": 0, "resume": None, "init_from": None})[:10]
            except BadInput:
                found[key] = str(config[key])
    return found | ({"at": config["at"]} if found and config.get("at") is not None else {})


def differing(settings: Sequence[Keys]) -> list[Keys]:
    """Of each setting the keys in which settings differ, all of them for each; ``ABSENT`` where it has none.

    Left out are keys that only follow a shorter one of their name, as a player's learning rate follows the optimizer's, and
    keys that differ because another option of their group was chosen.
    """
    keys = list(dict.fromkeys(key for setting in settings for key in setting))
    found = {key: [text(setting.get(key, ABSENT)) for setting in settings] for key in keys}
    found = {key: texts for key, texts in found.items() if len(set(texts)) > 1}
    kept = {
        key: texts
        for key, texts in found.items()
        if not any(found.get(led) == texts for led in identity.leaders(key)) and _differs(key, settings, found)
    }
    return [{key: setting.get(key, ABSENT) for key in kept} for setting in settings]


def _differs(key: str, settings: Sequence[Keys], found: Mapping[str, Sequence[str]]) -> bool:
    """Whether ``key`` differs between settings that chose the same options above it; a lack of it counts only where nothing
    above it says why."""
    above = [".".join(key.split(".")[:length]) for length in range(1, key.count(".") + 1)]
    chosen = [entry for entry in above if entry in found]
    if not chosen:
        return True
    alike: dict[tuple[str, ...], set[str]] = {}
    for place, setting in enumerate(settings):
        if key in setting:
            alike.setdefault(tuple(found[entry][place] for entry in chosen), set()).add(found[key][place])
    return any(len(texts) > 1 for texts in alike.values())


def titles(settings: Sequence[Keys]) -> list[str]:
    """A name for each setting, by the keys in which it differs from others; no two are the same."""
    found = [" ".join(f"{key}={text(value)}" for key, value in keys.items()) for keys in differing(settings)]
    plain = ["-".join(str(setting.get(group, ABSENT)) for group in ("model", "loss", "dataset")) for setting in settings]
    names = [name or other for name, other in zip(found, plain, strict=True)]
    return [f"{name} ({names[:place].count(name) + 1})" if names.count(name) > 1 else name for place, name in enumerate(names)]


def text(value: Any) -> str:
    """A value as a person types it."""
    if isinstance(value, list):
        return f"[{','.join(map(text, value))}]" if len(value) > 1 else (text(value[0]) if value else "none")
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def reference_of(text: str | None, targets: Sequence[Path], groups: Sequence[int], count: int) -> int:
    """The place of the setting that ``text`` means."""
    if text is None:
        return 0
    if text.isdecimal():
        if not 1 <= int(text) <= count:
            raise BadInput(f"--reference {text}: these runs are of {count} settings, numbered from 1")
        return int(text) - 1
    found = runs.place(text).absolute()
    for target, group in zip(targets, groups, strict=True):
        if found.resolve() in (target.resolve(), runs.locate(target)[0].resolve()):
            return group
    raise BadInput(f"--reference {text}: is none of the runs that are compared; give one of them, or a setting's number from 1")
