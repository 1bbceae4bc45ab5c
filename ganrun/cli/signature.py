"""The run folder's name, with a short hash of everything that can change a run's result.

So the same command finds the same folder, whoever types it and wherever the data lie.

Hydra asks for the folders through the resolvers registered here. This module is imported by the task's module, so the
worker processes of any launcher know them too.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ganrun.cli import naming
from ganrun.cli.schema.grammar import NAME
from ganrun.disk import identity, image_folder, runs, yaml_files
from ganrun.disk.run_folder import RunFolder
from ganrun.ground.errors import BadInput


def signature(config: Mapping[str, Any]) -> str:
    """Ten hexadecimal digits of the run's identity."""
    return identity.identity(config)[:10]


def segment(name: object, key: str = "name") -> str:
    """``name`` if it can be one part of a path and nothing else; ``BadInput`` otherwise."""
    text = str(name)
    if not NAME.fullmatch(text):
        raise BadInput(f"{key}={text}: a name holds 1 to 100 of the characters A-Z a-z 0-9 . _ - and does not begin with a dot")
    return text


def leaf(config: Mapping[str, Any]) -> str:
    """``<model>-<loss>-<dataset>-<what differs>-seed<seed>-<signature>``: the folder's own name, under ``<output>/<name>``."""
    for group in naming.ALWAYS:
        segment(config[group]["name"], f"{group}.name")
    words = naming.words(config, identity.result_keys(config))
    return "-".join([*words, f"seed{segment(config['seed'], 'seed')}", signature(config)])


def place(above: Path, config: Mapping[str, Any]) -> Path:
    """The run's folder in ``above``: of today's name, else the one that an earlier version made for this config, else a new one.

    Names of earlier versions have fewer words, and their number counts the steps too; where that has changed since, the run is
    found by the identity that its run.json has been given.
    """
    found = above / leaf(config)
    if found.exists():
        return found
    seed = found.name.rsplit("-", 2)[1]
    for digits in (signature(config), identity.of_earlier_versions(config)[:10]):
        for other in sorted(above.glob(f"*-{seed}-{digits}/config.yaml")):
            return other.parent
    return next(relatives(found, "identity", identity.identity(config)), found)


def run_folder(config: Mapping[str, Any]) -> Path:
    """Where this run lives: in RUN for ``resume=RUN``, else in a folder of its own."""
    if config.get("resume") and not config.get("fork"):
        return runs.place(config["resume"])
    return place(_output(config) / segment(config["name"]), config)


def relatives(folder: Path, key: str, value: str) -> Iterator[Path]:
    """The run folders beside ``folder``, with its seed, whose run.json has ``value`` under ``key``."""
    seed = folder.name.rsplit("-", 2)[1]
    for path in sorted(folder.parent.glob(f"*-{seed}-*/run.json")):
        if re.fullmatch(rf".*-{seed}-[0-9a-f]{{10}}", path.parent.name):
            with suppress(BadInput):
                if RunFolder(path.parent).facts().get(key) == value:
                    yield path.parent


def refuse_another_length(config: Mapping[str, Any], folder: Path) -> None:
    """``BadInput`` for a run whose learning rate falls over its steps and that has been trained with fewer of them.

    It would start from its first step, which is not what a person means who types the same command with more steps.
    """
    if not identity.depends_on_steps(config) or config.get("resume") or config.get("fresh") or (folder / "config.yaml").exists():
        return
    for other in relatives(folder, "family", identity.family(config)):
        held = runs.read_config(other)
        if held["steps"] < config["steps"] and runs.has_begun(other):
            raise BadInput(f"{identity.scheduled(other, config, held)}; or start from the first step: add fresh=true")


def refuse_a_step_that_is_gone(config: Mapping[str, Any], folder: Path) -> None:
    """``BadInput`` for a fork that is to begin at a checkpoint which its parent has not."""
    at = config.get("at")
    if at is None or not (config.get("fork") and config.get("resume")) or (runs.committed(folder) and not config.get("fresh")):
        return
    parent = runs.place(config["resume"])
    if at not in runs.committed(parent):
        raise BadInput(f"resume={config['resume']} at={at}: {runs.steps_in_words(parent)}")


def plain(root: DictConfig) -> dict[str, Any]:
    """The resolved config as plain containers, without Hydra's part."""
    return {str(key): _container(root, key) for key in root if key != "hydra"}


def _container(root: DictConfig, key: Any) -> Any:
    entry = root[key]
    return OmegaConf.to_container(entry, resolve=True, throw_on_missing=True) if OmegaConf.is_config(entry) else entry


def _output(config: Mapping[str, Any]) -> Path:
    return runs.place(config["output"])


# Hydra's questions, answered from the config that it has composed.


def _run_dir(*, _root_: DictConfig) -> str:
    return str(run_folder(plain(_root_)))


def _sweep_dir(*, _root_: DictConfig) -> str:
    """Hydra cannot be told to keep no file of its own about a sweep: it goes to a hidden folder."""
    return str(_output(_root_) / ".sweep" / segment(_root_["name"]))


def _job_dir(*, _root_: DictConfig) -> str:
    """Absolute, so that it wins over the sweep folder; inside the sweep folder where the user has named one."""
    config = plain(_root_)
    folder = OmegaConf.select(_root_, "hydra.sweep.dir")
    if folder == _sweep_dir(_root_=_root_):
        return str(run_folder(config).absolute())
    return place(Path(str(folder)), config).name


@functools.lru_cache(maxsize=64)
def _content(root: str | None) -> str | None:
    return image_folder.digest(root)


def _as_typed(value: Any) -> Any:
    """Text out of the environment, read as if it stood in a file."""
    return yaml_files.scalar(value) if isinstance(value, str) else value


def forget() -> None:
    """Look at folders afresh: each command does, once."""
    _content.cache_clear()


RESOLVERS: dict[str, Callable[..., Any]] = {
    "run_dir": _run_dir,
    "sweep_dir": _sweep_dir,
    "job_dir": _job_dir,
    "content": _content,
    "as_typed": _as_typed,
}


def register() -> None:
    """Tell OmegaConf the resolvers. ``${content:${.root}}`` is a digest of a folder's file names and sizes."""
    for name, resolver in RESOLVERS.items():
        OmegaConf.register_new_resolver(name, resolver, replace=True)


register()
