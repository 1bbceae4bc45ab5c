"""The run folder: config, run.json, metrics.jsonl, scores.jsonl, train.log, and the lock that lets one process in.

Everything inside is named relative to the folder, so a run can be moved. Times are UTC and stand under keys of their
own (``time``), so that what remains is the same in a repeated run.
"""

from __future__ import annotations

import datetime
import fcntl
import json
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ganrun.ground import storage
from ganrun.ground.errors import RunBusy, StorageFailed


def now() -> str:
    """UTC, ISO 8601, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


class RunFolder:
    """The files of one run. ``say`` shows a line to the person; every line also goes to train.log."""

    def __init__(self, path: Path, say: Callable[[str], None] | None = None) -> None:
        self.path = path
        self.say = say or (lambda line: None)
        self.checkpoints, self.samples = path / "checkpoints", path / "samples"
        self.config, self.overrides, self.run = path / "config.yaml", path / "overrides.txt", path / "run.json"
        self.metrics, self.scores, self.journal = path / "metrics.jsonl", path / "scores.jsonl", path / "train.log"
        self._lock: int | None = None

    def open(self) -> None:
        """Make the folders and take the lock; ``RunBusy`` names the process that holds it."""
        with storage.storage_errors(self.path / "checkpoints"):
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            self.samples.mkdir(exist_ok=True)
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
        for left in self.path.rglob("*.tmp.*"):  # the lock is ours: whoever wrote these is gone
            left.unlink(missing_ok=True)

    def close(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def log(self, line: str) -> None:
        """Show ``line`` and append it, with the time, to train.log."""
        self.say(line)
        with storage.storage_errors(self.journal), open(self.journal, "a", encoding="utf-8") as file:
            file.write("".join(f"{now()} {part}\n" for part in line.splitlines()))

    def facts(self) -> dict[str, Any]:
        """run.json as it stands; empty where there is none."""
        try:
            found = json.loads(self.run.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def note(self, **facts: Any) -> None:
        """Change entries of run.json."""
        storage.write_json(self.run, {**self.facts(), **facts})


class Rows:
    """A file of one JSON object a line, each with a ``step``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[dict[str, Any]]:
        """All whole rows; reading ends at the first torn one."""
        rows: list[dict[str, Any]] = []
        if not self.path.exists():
            return rows
        for line in self.path.read_bytes().split(b"\n"):
            try:
                row = json.loads(line)
                int(row["step"])
            except (ValueError, KeyError, TypeError):
                break
            rows.append(row)
        return rows

    def cut(self, step: int) -> None:
        """Drop what stands after ``step`` and a torn last row: a resumed run writes these rows again."""
        if self.path.exists():
            kept = [row for row in self.read() if row["step"] <= step]
            storage.write(self.path, "".join(json.dumps(row) + "\n" for row in kept))

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row."""
        with storage.storage_errors(self.path), open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def sync(self) -> None:
        """Force the rows to the disk, before a checkpoint that counts on them is committed."""
        if self.path.exists():
            with storage.storage_errors(self.path), open(self.path, "rb") as file:
                os.fsync(file.fileno())


def set_aside(path: Path) -> Path:
    """Rename a folder to the first free ``NAME.aside-N``; nothing is erased."""
    number = 1
    while (kept := path.with_name(f"{path.name}.aside-{number}")).exists():
        number += 1
    try:
        path.rename(kept)
    except OSError as error:
        raise StorageFailed(f"{path}: cannot be renamed ({error.strerror})") from error
    return kept
