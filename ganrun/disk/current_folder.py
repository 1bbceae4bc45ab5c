"""The current folder, which may have been removed (a job's scratch): then only absolute paths mean something."""

from __future__ import annotations

import atexit
import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

NOWHERE = "ganrun-nowhere-"


def stand_somewhere() -> None:
    """Where the current folder is gone, say so and stand in an empty one: Hydra asks where it is."""
    try:
        os.getcwd()
    except FileNotFoundError:
        sys.stderr.write("warning: the current folder has been removed; only absolute paths have a meaning\n")
        place = tempfile.mkdtemp(prefix=NOWHERE)
        os.chdir(place)
        atexit.register(_leave, place)


def is_gone() -> bool:
    """True where the folder that the command was started in has been removed."""
    return Path.cwd().name.startswith(NOWHERE)


def _leave(place: str) -> None:
    os.chdir("/")
    with suppress(OSError):
        os.rmdir(place)
