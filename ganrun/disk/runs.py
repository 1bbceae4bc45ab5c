"""Reads what a run folder says of itself. It is data from anywhere: nothing in it is trusted, run or imported."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from ganrun.disk import earlier, image_folder, yaml_files
from ganrun.disk.run_folder import RunFolder
from ganrun.ground import registry
from ganrun.ground.errors import BadInput
from ganrun.ground.spell import override

LARGEST = 1_000_000  # bytes
MOST = 20_000  # entries
DEEPEST = 20  # levels
KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
NAMES_OF_FILES = (*yaml_files.PATHS, "dataset.classes")  # may hold anything, ``${`` too
SCALARS = (str, bool, int, float, type(None))
CHECKPOINT = re.compile(r"step_(\d+)\.pt")


def place(text: str | Path) -> Path:
    """A path as people write it: relative to the current folder, or from ``~``, their home."""
    return Path(image_folder.expand(text))


def is_meant(word: str) -> bool:
    """True for a path, which may hold ``=``; ``KEY=VALUE`` and what Hydra deletes or adds are overrides."""
    override = "=" in word or word.startswith("+") or (word.startswith("~") and "/" not in word)
    return not override or ("/" in word and place(word).exists()) or (place(word) / "config.yaml").exists()


def locate(target: Path) -> tuple[Path, Path]:
    """(run folder, target) for a run folder or one checkpoint file of it, both absolute."""
    target = place(target)
    if not target.exists():
        inside = target.parent.name == "checkpoints" and target.parent.is_dir()
        kept = f"; {steps_in_words(target.parent.parent)}" if inside else ""
        raise BadInput(f"{target}: there is no such run folder or checkpoint{kept}")
    target = target.absolute()
    if target.is_dir():
        return target, target
    if not CHECKPOINT.fullmatch(target.name) or target.parent.name != "checkpoints":
        raise BadInput(f"{target}: neither a run folder nor a checkpoint RUN/checkpoints/step_XXXXXXXX.pt")
    return target.parent.parent, target


def step_of(file: Path) -> int:
    """The step that a checkpoint file, or its manifest, is named by."""
    return int(file.stem.removeprefix("step_"))


def committed(run: Path) -> list[int]:
    """The steps of the checkpoints in the run folder ``run`` that have a manifest, ascending; none is opened."""
    found = (path.with_suffix(".pt") for path in (run / "checkpoints").glob("step_*.json"))
    return sorted(step_of(path) for path in found if CHECKPOINT.fullmatch(path.name))


def at_or_before(steps: Iterable[int], step: int) -> int:
    """The newest of ``steps`` (at least one) that is no later than ``step``, else the oldest."""
    found = sorted(steps)
    return max((other for other in found if other <= step), default=found[0])


def steps_in_words(run: Path) -> str:
    """Which checkpoints the run folder ``run`` has, for a message on one that it has not."""
    steps = committed(run)
    return f"{run} has checkpoints of the steps {', '.join(map(str, steps))}" if steps else f"{run} has no checkpoint"


def has_begun(run: Path) -> bool:
    """Whether the folder holds a training state: a committed checkpoint, or rows of losses."""
    rows = run / "metrics.jsonl"
    return bool(committed(run)) or (rows.is_file() and rows.stat().st_size > 0)


def digest(data: bytes) -> str:
    """What run.json says of config.yaml: the SHA-256 (hex) of its bytes."""
    return hashlib.sha256(data).hexdigest()


def read_config(run: Path) -> dict[str, Any]:
    """The config of the run folder ``run``: plain values under plain names, already resolved.

    Where it is from before an option existed, it says what was done then: see ``ganrun/disk/earlier.py``.

    ``BadInput`` for a folder without one, and for a file that is damaged, huge, deep, or holds anything else: aliases
    (a few lines of which can unfold to gigabytes), tags, ``_target_``, interpolations. So too for one that is not what run.json
    vouches for, and for a run that has begun without a run.json. Folders of earlier versions vouch for nothing.
    """
    path = run / "config.yaml"
    text = _read(run, path)
    try:
        _scan(text, path)
        config = yaml_files.parse(text, path, lambda key: ".".join(key) in yaml_files.ROOT_TEXT, links=False)
    except BadInput:
        raise
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise BadInput(f"{path}: damaged, it cannot be read ({_first_line(error)})") from error
    if not config:
        raise BadInput(f"{path}: damaged, it is not a mapping of keys to values")
    _verify(config, path, "")
    facts = RunFolder(run).facts()
    if not facts and has_begun(run):
        raise BadInput(
            f"{run / 'run.json'}: is missing. It says what the run was trained on and with: put it back, "
            "or train with fresh=true, which sets the folder aside and starts again"
        )
    promised = [facts[key] for key in ("config_sha256", "config_sha256_next") if key in facts]
    if promised and digest(text.encode()) not in promised:
        raise BadInput(
            f"{path}: was changed after the run began: it does not have the SHA-256 that run.json says, so it is not what the "
            f"run was trained with. Put it back as it was (the command that began the run writes it again); "
            f"a key is changed by typing it: {override('resume', run)} KEY=VALUE"
        )
    return earlier.completed({str(key): value for key, value in config.items()})


def lacking_plugins(run: Path) -> list[str]:
    """What to say of plug-ins joined by the entry point that the run had and this Python has not."""
    try:
        held = json.loads((run / "run.json").read_text(encoding="utf-8")).get("installed_plugins")
    except (OSError, ValueError, AttributeError):
        return []
    here = registry.installed_plugins()
    pairs = held.items() if isinstance(held, dict) else ()
    return [
        f"note: {run}: was made with the installed plug-in {name} {version}, which this Python does not have; if the run needs "
        f"it: pip install {shlex.quote(f'{name}=={version}')}"
        for name, version in pairs
        if name not in here and all(re.fullmatch(r"[\w.+!-]{1,100}", str(word)) for word in (name, version))
    ]


def _read(run: Path, path: Path) -> str:
    if not run.is_dir():
        raise BadInput(f"{run}: there is no such run folder")
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # opening a named pipe must not wait for its writer
    except FileNotFoundError as error:
        lost = (
            " although it has a run.json: the command that began the run writes it again" if (run / "run.json").exists() else ""
        )
        raise BadInput(f"{run}: not a run folder, it has no config.yaml{lost}") from error
    except OSError as error:
        raise BadInput(f"{path}: cannot be opened ({error.strerror})") from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise BadInput(f"{path}: not a regular file")
    with open(handle, "rb") as file:
        held = file.read(LARGEST + 1)
    if len(held) > LARGEST:
        raise BadInput(f"{path}: larger than {LARGEST} bytes, which no config is")
    try:
        return held.decode()
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: damaged, it is not text") from error


def _scan(text: str, path: Path) -> None:
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))):
        if count > MOST:
            raise BadInput(f"{path}: more than {MOST} entries, which no config holds")
        if isinstance(event, yaml.AliasEvent):
            raise BadInput(f"{path}: holds an alias (*{event.anchor}), which no run writes")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise BadInput(f"{path}: more than {DEEPEST} levels deep, which no config is")


def _verify(entry: Any, path: Path, where: str) -> None:
    if isinstance(entry, Mapping):
        for key, value in entry.items():
            place = f"{where}.{key}" if where else str(key)
            if key == "_target_":
                raise BadInput(f"{path}: holds {place}={value}; ganrun names components, it never runs a class path")
            if not isinstance(key, str) or not KEY.fullmatch(key):
                raise BadInput(f"{path}: {place!r} cannot be the name of a key")
            _verify(value, path, place)
    elif isinstance(entry, list):
        for value in entry:
            _verify(value, path, where)
    elif not isinstance(entry, SCALARS):
        raise BadInput(f"{path}: {where} is neither text nor number, true, false or null")
    elif isinstance(entry, str) and "${" in entry and where not in NAMES_OF_FILES:
        raise BadInput(f"{path}: {where}={entry} is not resolved; a run's config holds plain values")
    elif isinstance(entry, str) and any(ord(character) < 32 for character in entry):
        raise BadInput(f"{path}: {where} holds a control character")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
