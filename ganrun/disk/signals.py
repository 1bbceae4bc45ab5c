"""SIGTERM, SIGINT and SIGHUP only set a flag; the loop reads it between steps. A second SIGINT ends at once.

Imports nothing heavy: the command line installs it before torch, so that an early signal is not a plain kill.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

_received: list[int] = []


def install() -> None:
    """Take over the signals, but for those that whoever started us ignores (``nohup``, a shell's ``&``).

    Does nothing outside the main thread (where Python does not allow it).
    """
    for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1"):
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) is not signal.SIG_IGN:
            try:
                signal.signal(getattr(signal, name), _note)
            except ValueError:
                return


def restore() -> None:
    """Give the signals back to Python's own handlers and forget what was received."""
    _received.clear()
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for name in ("SIGTERM", "SIGHUP", "SIGUSR1"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.SIG_DFL)
    except ValueError:
        return


def requested() -> str | None:
    """The name of the first signal received, or None."""
    return signal.Signals(_received[0]).name if _received else None


def _note(number: int, frame: FrameType | None) -> None:
    if number == signal.SIGINT and signal.SIGINT in _received:
        os._exit(130)
    _received.append(number)
