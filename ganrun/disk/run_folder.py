"""The run folder: config, run.json, metrics.jsonl, scores.jsonl, train.log, and the lock that lets one process in.

Everything inside is named relative to the folder, so a run can be moved. Times are UTC and stand under keys of their
own (``time``), so that what remains is the same in a repeated run.
"""

from __future__ import annotations

import datetime
import fcntl
import json
import math
import os
import re
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ganrun.disk import storage
from ganrun.ground.errors import BadInput, RunBusy, StorageFailed


def now() -> str:
    """UTC, ISO 8601, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


# what is read back from run.json, with a value of its kind
FORMS: dict[str, Any] = {
    **{
        "data": {},
        "environment": {},
        "environments_later": [],
        "seconds": 0.0,
        "step": 0,
        "status": "",
        "digest": "",
    },
    **{
        "identity": "",
        "family": "",
        "config_sha256": "",
        "config_sha256_next": "",
        "earlier_steps": [0],
        "budget": {"steps": 0},
        "parent": {},
        "findings": [{"disease": ""}],
        "keep_best": {"score": "", "metric": "", "higher": True, "card": {}, "every": 0, "last": 0},
    },
}
# what a process that was killed may leave behind: each file as it is written before it gets its name
TEMPORARY = re.compile(
    r"((config\.yaml|metrics\.jsonl|scores\.jsonl|signs\.jsonl)(\.damaged-\d+)?|overrides\.txt|run\.json|sources\.pt"
    r"|checkpoints/step_\d+\.(pt|json)|samples/step_\d+\.(png|txt))\.tmp\.\d+"
)


class RunFolder:
    """The files of one run. ``say`` shows a line to the person; every line also goes to train.log."""

    def __init__(self, path: Path, say: Callable[[str], None] | None = None) -> None:
        self.path = path
        self.say = say or (lambda line: None)
        self.checkpoints, self.samples = path / "checkpoints", path / "samples"
        self.config, self.overrides, self.run = path / "config.yaml", path / "overrides.txt", path / "run.json"
        self.metrics, self.scores, self.journal = path / "metrics.jsonl", path / "scores.jsonl", path / "train.log"
        self.signs = path / "signs.jsonl"
        self._lock: int | None = None

    def verify(self) -> None:
        """Raise ``BadInput`` if one of the files is a link, a pipe or a device: a run folder may come from anywhere."""
        for path in (
            self.config,
            self.overrides,
            self.run,
            self.metrics,
            self.scores,
            self.signs,
            self.journal,
            self.path / ".lock",
        ):
            if path.is_symlink() or (path.exists() and not path.is_file()):
                raise BadInput(f"{path}: not a regular file, so it is neither read nor written")

    def open(self) -> None:
        """Make the folders and take the lock; ``RunBusy`` names the process that holds it."""
        with storage.storage_errors(self.path):
            self.verify()
        for folder in (self.checkpoints, self.samples):
            with storage.storage_errors(folder):
                folder.mkdir(parents=True, exist_ok=True)
        with storage.storage_errors(self.path / ".lock"):
            handle = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(handle, 200).decode(errors="replace").strip() or "another process"
            os.close(handle)
            raise RunBusy(f"{self.path}: in use by {holder}") from error
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()} since {now()}\n".encode(), 0)
        self._lock = handle
        for folder in (self.path, self.checkpoints, self.samples):
            for left in folder.glob("*.tmp.*"):  # the lock is ours: whoever wrote these is gone
                if TEMPORARY.fullmatch(left.relative_to(self.path).as_posix()):
                    left.unlink(missing_ok=True)

    def is_free(self) -> bool:
        """Whether no process holds the lock."""
        try:
            handle = os.open(self.path / ".lock", os.O_RDONLY)
        except OSError:
            return True
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(handle)
        return True

    def close(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def log(self, line: str) -> None:
        """Show ``line`` and append it to train.log."""
        self.say(line)
        self.write(line)

    def write(self, line: str) -> None:
        """Append ``line``, with the time, to train.log."""
        with storage.storage_errors(self.journal), open(self.journal, "a", encoding="utf-8", errors="backslashreplace") as file:
            file.write("".join(f"{now()} {part}\n" for part in line.splitlines()))

    def facts(self) -> dict[str, Any]:
        """run.json as it stands; empty where there is none, ``BadInput`` where it is damaged."""
        try:
            self.verify()
            found = json.loads(self.run.read_text(encoding="utf-8"))
            wrong = [key for key, empty in FORMS.items() if not _is_like(found.get(key, empty), empty)]
            if wrong:
                raise TypeError(f"{wrong[0]} is not what it should be")
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise BadInput(
                f"{self.run}: is damaged ({error}). It says what the run was trained on and with: put it back, "
                "or train with fresh=true, which sets the folder aside and starts again"
            ) from error
        return dict(found)

    def note(self, **facts: Any) -> None:
        """Change entries of run.json; None takes one away."""
        storage.write_json(self.run, {key: fact for key, fact in {**self.facts(), **facts}.items() if fact is not None})


def _is_like(entry: Any, example: Any) -> bool:
    """Whether ``entry`` is of the kind of ``example``: a mapping has its keys, a list has entries like its first one."""
    if isinstance(example, Mapping):
        known = isinstance(entry, Mapping)
        return known and all(key in entry and _is_like(entry[key], value) for key, value in example.items())
    if isinstance(example, list):
        return isinstance(entry, list) and all(_is_like(inner, example[0]) for inner in entry if example)
    if isinstance(example, float):
        return type(entry) in (int, float) and math.isfinite(entry)
    return type(entry) is type(example)


def keep_damaged(path: Path) -> Path:
    """Copy ``path`` to the first free ``NAME.damaged-N``, before it is written anew."""
    kept = _free(path, "damaged")
    storage.write(kept, path.read_bytes())
    return kept


def _free(path: Path, word: str) -> Path:
    """The first ``NAME.word-N`` that is not taken."""
    number = 1
    while (free := path.with_name(f"{path.name}.{word}-{number}")).exists():
        number += 1
    return free


def set_aside(path: Path) -> Path:
    """Rename a run folder to the first free ``NAME.aside-N``; nothing is erased. ``RunBusy`` if a process works in it."""
    held = RunFolder(path)
    held.open()
    try:
        return path.rename(_free(path, "aside"))
    except OSError as error:
        raise StorageFailed(f"{path}: cannot be renamed ({error.strerror})") from error
    finally:
        held.close()
