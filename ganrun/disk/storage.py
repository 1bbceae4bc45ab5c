"""Files that are whole or absent: temporary file, fsync, rename, fsync of the folder."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


def write_temporary(path: Path, data: bytes) -> Path:
    """Write ``data`` beside ``path`` under a temporary name and force it to the disk. Nothing is left on failure."""
    temporary = path.with_name(f"{path.name}.tmp.{os.getpid()}")
    with storage_errors(path, len(data)):
        try:
            with open(temporary, "wb") as file:
                file.write(data[: len(data) // 2])
                file.flush()
                fault_injection.point("mid_write")
                file.write(data[len(data) // 2 :])
                file.flush()
                fault_injection.point("before_sync")
                os.fsync(file.fileno())
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
    return temporary


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
    temporary = write_temporary(path, encoded(data) if isinstance(data, str) else data)
    try:
        with storage_errors(path):
            os.replace(temporary, path)
            sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Replace ``path`` by ``value`` as indented JSON."""
    write(path, json.dumps(value, indent=2, sort_keys=False, ensure_ascii=False) + "\n")
