"""The run folder's name: a short hash of everything that can change a run's result.

``science(config)`` is the resolved config without its neutral keys; the signature is the SHA-256 of its sorted JSON,
ten hexadecimal digits. So the same command finds the same folder, whoever types it and wherever the data lie.

Hydra asks for the folders through the resolvers registered here. This module is imported by the task's module, so the
worker processes of any launcher know them too.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ganrun.cli import runs
from ganrun.ground import content
from ganrun.ground.errors import BadInput

NEUTRAL = (
    "hydra",
    "name",
    "resume",
    "fresh",
    "fork",
    "every",
    "keep",
    "output",
    "evaluation",
    "metric",
    "objective",
    "n_critic",  # daily keys: what counts is the game's own, which follow them
    "condition",
    "pack",
    "init_from",  # a run counts by what made it
    "device.name",
    "device.threads",
    "dataset.root",  # a folder counts by its content
    "dataset.download",
    "dataset.memory_gib",
)
STACKS = ("regularizer", "metric")
NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")


def science(config: Mapping[str, Any]) -> dict[str, Any]:
    """What can change the result: ``config`` (resolved) without neutral keys, idle stack entries and empty plugins.

    Whole floats become integers, so that ``lr=1`` and ``lr=1.0`` are one run.
    """
    kept = {key: entry for key, entry in _without(config, "").items() if key != "plugins" or entry}
    if "plugins" in kept:
        kept["plugins"] = sorted(kept["plugins"])
    for stack in STACKS:
        if isinstance(kept.get(stack), Mapping):
            kept[stack] = {key: entry for key, entry in kept[stack].items() if isinstance(entry, Mapping) and "name" in entry}
    return _whole(kept)


def signature(config: Mapping[str, Any]) -> str:
    """Ten hexadecimal digits. A fork's holds its parent's too: it is not the run that starts from nothing."""
    held: dict[str, Any] = {"science": science(config)}
    if config.get("fork") and config.get("resume"):
        parent = runs.read_config(Path(str(config["resume"])))
        held["parent"] = {"science": science(parent), "fork": bool(parent.get("fork"))}
    if config.get("init_from"):
        try:
            origin = runs.read_config(runs.locate(Path(str(config["init_from"])))[0])
        except BadInput as error:
            raise BadInput(f"init_from={config['init_from']}: {error}") from error
        held["init_from"] = science(origin)
    text = json.dumps(held, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def differing(one: Mapping[str, Any], other: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of the entries that differ, sorted."""
    found: list[str] = []
    for key in sorted({*one, *other}):
        mine, yours = one.get(key), other.get(key)
        if isinstance(mine, Mapping) and isinstance(yours, Mapping):
            found += differing(mine, yours, f"{prefix}{key}.")
        elif (key in one) != (key in other) or not same(mine, yours):
            found.append(f"{prefix}{key}")
    return found


def titles(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """A name for each setting, by the entries in which it differs from others; of a group with another option, that alone."""
    keys = sorted({key for other in settings[1:] for key in differing(settings[0], other)})
    chosen = {key.rpartition(".")[0] for key in keys if key.endswith(".name")}
    keys = [key for key in keys if key.endswith(".name") or not any(key.startswith(f"{group}.") for group in chosen)]
    if not keys:
        return ["-".join(str(settings[0][group]["name"]) for group in ("model", "loss", "dataset")) for _ in settings]
    return [" ".join(f"{key.removesuffix('.name')}={_entry(setting, key)}" for key in keys) for setting in settings]


def _entry(config: Mapping[str, Any], key: str) -> Any:
    found: Any = config
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found.get("name", sorted(found)) if isinstance(found, Mapping) else found


def same(one: Any, other: Any) -> bool:
    """Equal values: 1 and 1.0 are, 1 and true are not."""
    return json.dumps(_whole(one), sort_keys=True) == json.dumps(_whole(other), sort_keys=True)


def segment(name: object, key: str = "name") -> str:
    """``name`` if it can be one part of a path and nothing else; ``BadInput`` otherwise."""
    text = str(name)
    if not NAME.fullmatch(text):
        raise BadInput(f"{key}={text}: a name holds 1 to 100 of the characters A-Z a-z 0-9 . _ - and does not begin with a dot")
    return text


def leaf(config: Mapping[str, Any]) -> str:
    """``<model>-<loss>-<dataset>-seed<seed>-<signature>``: the folder's own name, under ``<output>/<name>``."""
    words = [segment(config[group]["name"], f"{group}.name") for group in ("model", "loss", "dataset")]
    return "-".join([*words, f"seed{segment(config['seed'], 'seed')}", signature(config)])


def run_folder(config: Mapping[str, Any]) -> Path:
    """Where this run lives: in RUN for ``resume=RUN``, else in a folder of its own."""
    if config.get("resume") and not config.get("fork"):
        return Path(str(config["resume"]))
    return _output(config) / segment(config["name"]) / leaf(config)


def plain(root: DictConfig) -> dict[str, Any]:
    """The resolved config as plain containers, without Hydra's part."""
    return {str(key): _container(root, key) for key in root if key != "hydra"}


def _container(root: DictConfig, key: Any) -> Any:
    entry = root[key]
    return OmegaConf.to_container(entry, resolve=True, throw_on_missing=True) if OmegaConf.is_config(entry) else entry


def _output(config: Mapping[str, Any]) -> Path:
    return Path(os.path.expanduser(str(config["output"])))


def _without(config: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    kept = {}
    for key, entry in config.items():
        path = f"{prefix}{key}"
        if path not in NEUTRAL:
            kept[str(key)] = _without(entry, f"{path}.") if isinstance(entry, Mapping) else entry
    return kept


def _whole(entry: Any) -> Any:
    if isinstance(entry, Mapping):
        return {str(key): _whole(value) for key, value in entry.items()}
    if isinstance(entry, list | tuple):
        return [_whole(value) for value in entry]
    if isinstance(entry, float) and entry.is_integer():
        return int(entry)
    return entry


# Hydra's questions, answered from the config that it has composed.


def _run_dir(*, _root_: DictConfig) -> str:
    return str(run_folder(plain(_root_)))


def _sweep_dir(*, _root_: DictConfig) -> str:
    """Hydra cannot be told to keep no file of its own about a sweep: it goes to a hidden folder."""
    return str(_output(_root_) / ".sweep" / segment(_root_["name"]))


def _job_dir(*, _root_: DictConfig) -> str:
    """Absolute, so that it wins over the sweep folder; inside the sweep folder where the user has named one."""
    config = plain(_root_)
    if OmegaConf.select(_root_, "hydra.sweep.dir") == _sweep_dir(_root_=_root_):
        return str(run_folder(config).absolute())
    return leaf(config)


@functools.lru_cache(maxsize=64)
def _content(root: str | None) -> str | None:
    return content.digest(root)


def forget() -> None:
    """Look at folders afresh: each command does, once."""
    _content.cache_clear()


RESOLVERS: dict[str, Callable[..., Any]] = {
    "run_dir": _run_dir,
    "sweep_dir": _sweep_dir,
    "job_dir": _job_dir,
    "content": _content,
}


def register() -> None:
    """Tell OmegaConf the resolvers. ``${content:${.root}}`` is a digest of a folder's file names and sizes."""
    resolvers: dict[str, Callable[..., Any]] = {
        "run_dir": _run_dir,
        "sweep_dir": _sweep_dir,
        "job_dir": _job_dir,
        "content": _content,
    }
    for name, resolver in resolvers.items():
        OmegaConf.register_new_resolver(name, resolver, replace=True)


register()
