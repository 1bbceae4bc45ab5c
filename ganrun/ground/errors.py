"""Errors that are written for people: one clear message each, and the exit code that the command ends with.

======  =====================================================
code    meaning
======  =====================================================
0       done
1       a job failed (a defect, a metric that gave no score,
        or a failed job of a sweep)
2       bad input: option, config, data or checkpoint
3       training diverged (NaN or Inf)
4       storage: disk full, folder not writable
5       no usable checkpoint
6       run folder in use by another process
75      stopped by a signal after saving; run again to continue
130     second Ctrl-C
======  =====================================================
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class GanrunError(Exception):
    """Base of every error whose message is meant for the person at the keyboard."""

    exit_code = 1


class BadInput(GanrunError):
    """An option, a config, a data set or a checkpoint that cannot be used."""

    exit_code = 2


class Diverged(GanrunError):
    """NaN or Inf in a loss, a penalty or a gradient."""

    exit_code = 3


class StorageFailed(GanrunError):
    """The disk is full or the folder cannot be written."""

    exit_code = 4


class NoCheckpoint(GanrunError):
    """A run folder has no checkpoint that passes its checks."""

    exit_code = 5


class RunBusy(GanrunError):
    """Another process holds the lock of the run folder."""

    exit_code = 6


class Stopped(GanrunError):
    """A signal asked the run to stop; its state is saved."""

    exit_code = 75


# words that people type for a name that looks otherwise
MEANT = {"gpu": "cuda", "nvidia": "cuda", "metal": "mps", "apple": "mps"}


def nearest(name: str, valid: Iterable[str], count: int = 3) -> list[str]:
    """The valid names that look most like ``name``, or the one that it is another word for, best first (empty: none is close)."""
    names, typed = [str(option) for option in valid], str(name).lower()
    alike = [option for option in names if option.lower() in (typed, MEANT.get(typed))]
    return alike or difflib.get_close_matches(str(name), names, n=count, cutoff=0.5)


def suggestion(name: str, valid: Iterable[str]) -> str:
    """A sentence that names the nearest valid names, or all of them when none is close."""
    names = sorted({str(option) for option in valid})
    close = nearest(name, names)
    if close:
        return f"Did you mean {' or '.join(repr(option) for option in close)}?"
    if not names:
        return "There are none."
    return f"Valid: {', '.join(names)}."
