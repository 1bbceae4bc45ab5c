"""The cache folder of a user: what can be made again, kept for the next time, never trusted without a look."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


def cache_folder() -> Path | None:
    """$GANRUN_CACHE, else ganrun's folder in the user's cache; not created. None for a user without a home (a container)."""
    chosen = os.environ.get("GANRUN_CACHE")
    try:
        return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "ganrun"
    except RuntimeError:
        return None


NO_CACHE = "there is no home folder to keep it in; GANRUN_CACHE=DIR names another place"


@contextlib.contextmanager
def alone(path: Path | None) -> Iterator[None]:
    """One process at a time, by a lock on ``path``; where there is none or the file system cannot lock, all at once."""
    handle = None
    with contextlib.suppress(OSError):
        if path is None:
            raise FileNotFoundError
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


def make_room(newest: Path, pattern: str, most: float) -> None:
    """Delete the files of ``pattern`` that were not used for longest, never ``newest``, until all take at most ``most`` bytes."""
    facts = {}
    for path in newest.parent.glob(pattern):
        with contextlib.suppress(FileNotFoundError):  # another process makes room too
            facts[path] = path.stat()
    total = sum(entry.st_size for entry in facts.values())
    for path in sorted(facts.keys() - {newest}, key=lambda path: facts[path].st_mtime_ns):
        if total <= most:
            return
        path.unlink(missing_ok=True)
        total -= facts[path].st_size
