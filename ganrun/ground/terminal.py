"""A command outlives whoever reads it: a closed pipe, a full disk under the log, a terminal that is gone, a closed descriptor.

``install()`` puts writers that never fail under ``sys.stdout`` and ``sys.stderr``, once, at the door. So no line of progress,
warning or error needs a guard of its own, and neither does Python's last flush, which would turn the exit code into 120.
Imports nothing heavy.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from contextlib import suppress
from typing import Any

PASSING = (errno.ENOSPC, errno.EDQUOT)  # room may be made: later lines are tried again
PATIENCE = 5.0  # seconds that a line waits for a reader who is behind, where the descriptor itself does not wait


class Lasting(io.FileIO):
    """An open descriptor whose writes never fail.

    What finds no room on a disk is dropped. A reader who is gone does not come back: the descriptor then leads nowhere, also
    for libraries and child processes that write to it.
    """

    def write(self, data: Any, /) -> int:
        size = memoryview(data).nbytes
        try:
            written = super().write(data)
            if written is None and select.select([], [self.fileno()], [], PATIENCE)[1]:
                written = super().write(data)
        except (OSError, ValueError) as error:
            if getattr(error, "errno", None) not in PASSING:
                _lead_nowhere(self.fileno())
            return size
        return size if written is None else written


def install() -> None:
    """Make the standard streams of this process last. A descriptor that was closed at the start leads nowhere from now on.

    Else the next file to be opened, a checkpoint say, would take its number and hold what libraries write to it.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            _lead_nowhere(descriptor)
    sys.stdout = sys.__stdout__ = _lasting(sys.stdout, 1, "<stdout>")  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _lasting(sys.stderr, 2, "<stderr>")  # type: ignore[misc]


def _lasting(stream: Any, descriptor: int, name: str) -> Any:
    """``stream`` on a descriptor that lasts; itself where it is not the process's own, as in a notebook."""
    unbuffered = False
    if stream is not None:
        try:
            below = getattr(stream.buffer, "raw", stream.buffer)
            unbuffered = below is stream.buffer
            if stream.fileno() != descriptor or isinstance(below, Lasting):
                return stream
        except (OSError, ValueError, AttributeError):
            return stream
        with suppress(OSError, ValueError):
            stream.flush()
    raw = Lasting(descriptor, "wb", closefd=False)
    raw.name = name  # type: ignore[assignment]
    encoding = getattr(stream, "encoding", None) or "utf-8"
    whole = encoding.lower().replace("_", "-") in ("utf-8", "utf8")
    return io.TextIOWrapper(
        raw if unbuffered else io.BufferedWriter(raw),  # type: ignore[arg-type]
        encoding=encoding,
        errors="surrogateescape" if whole else "backslashreplace",  # any name of a file can be shown, in any locale
        line_buffering=descriptor == 2 or raw.isatty(),
        write_through=unbuffered,
    )


def _lead_nowhere(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere != descriptor:
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
