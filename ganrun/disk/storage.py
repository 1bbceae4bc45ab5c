"""Files that are whole or absent: temporary file, fsync, rename, fsync of the folder."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ganrun.disk import fault_injection
from ganrun.ground.errors import StorageFailed


@contextlib.contextmanager
def storage_errors(path: Path, size: int = 0) -> Iterator[None]:
    """Turn what the file system says into ``StorageFailed``, with the room that is needed and left."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            with contextlib.suppress(OSError):
                reason = f"disk full: {shutil.disk_usage(path.parent).free / 2**20:.1f} MiB left, {size / 2**20:.1f} MiB needed"
        raise StorageFailed(f"{path}: cannot be written ({reason}). What was saved before is untouched") from error


class Hashed:
    """A file that is written from its beginning to its end, with the SHA-256 of what was written and its number of bytes.

    ``middle``: a number of bytes about half of what is to come, where a test may end the process.
    """

    def __init__(self, file: BinaryIO, middle: int) -> None:
        self._file, self._middle, self._total = file, middle, hashlib.sha256()
        self.size = 0
        self.failure: OSError | None = None  # torch.save says "unexpected pos" of a full disk

    def write(self, data: bytes | memoryview) -> int:
        self._total.update(data)
        before, self.size = self.size, self.size + len(data)
        try:
            written = self._file.write(data)
        except OSError as error:
            self.failure = self.failure or error
            raise
        if before <= self._middle < self.size:
            self._file.flush()
            fault_injection.point("mid_write")
        return written

    def flush(self) -> None:
        self._file.flush()

    @property
    def sha256(self) -> str:
        return self._total.hexdigest()


def stream_temporary(path: Path, fill: Callable[[Hashed], None], size: int) -> tuple[Path, Hashed]:
    """What ``fill`` writes, about ``size`` bytes, beside ``path`` under a temporary name and forced to the disk, and what it was.

    No more of it is held in memory than ``fill`` hands over at a time. Nothing is left on failure.
    """
    temporary = path.with_name(f"{path.name}.tmp.{os.getpid()}")
    with storage_errors(path, size):
        try:
            with open(temporary, "wb") as file:
                hashed = Hashed(file, size // 2)
                try:
                    fill(hashed)
                except Exception as error:
                    raise hashed.failure or error from error
                file.flush()
                fault_injection.point("before_sync")
                os.fsync(file.fileno())
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    return temporary, hashed


def write_temporary(path: Path, data: bytes) -> Path:
    """Write ``data`` beside ``path`` under a temporary name and force it to the disk. Nothing is left on failure."""
    middle = len(data) // 2

    def both_halves(file: Hashed) -> None:
        file.write(data[: middle + 1])
        file.write(data[middle + 1 :])

    return stream_temporary(path, both_halves, len(data))[0]


def sync_folder(folder: Path) -> None:
    """Force the folder's entries (renames, removals) to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def encoded(text: str) -> bytes:
    """UTF-8, whatever bytes of file names ``text`` holds: those that are not UTF-8 are escaped."""
    return text.encode("utf-8", "backslashreplace")


def write(path: Path, data: bytes | str) -> None:
    """Replace ``path`` by ``data`` in one step."""
    _replace(path, write_temporary(path, encoded(data) if isinstance(data, str) else data))


def write_stream(path: Path, fill: Callable[[Hashed], None], size: int) -> None:
    """Replace ``path`` in one step by what ``fill`` writes, about ``size`` bytes."""
    _replace(path, stream_temporary(path, fill, size)[0])


def truncate(path: Path, size: int) -> None:
    """Leave the first ``size`` bytes of ``path``, and force that to the disk."""
    with storage_errors(path), open(path, "r+b") as file:
        file.truncate(size)
        os.fsync(file.fileno())


def _replace(path: Path, temporary: Path) -> None:
    try:
        with storage_errors(path):
            os.replace(temporary, path)
            sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Replace ``path`` by ``value`` as indented JSON."""
    write(path, json.dumps(value, indent=2, sort_keys=False, ensure_ascii=False) + "\n")
