"""Named points at which a test may kill the process: ``GANRUN_FAULT=point:n`` ends it at the n-th passing of ``point``.

A crash cannot be shown by raising an exception: this ends the process as ``kill -9`` does.
"""

from __future__ import annotations

import os
import signal
from collections import Counter

_passed: Counter[str] = Counter()

SAVE_POINTS = (
    "before_write",
    "mid_write",
    "before_sync",
    "before_manifest",
    "before_commit",
    "between_renames",
    "after_commit",
    "before_prune",
    "mid_prune",
    "after_save",
)


def point(name: str) -> None:
    """End the process here if the environment says so."""
    fault = os.environ.get("GANRUN_FAULT")
    if not fault:
        return
    _passed[name] += 1
    if fault == f"{name}:{_passed[name]}":
        os.kill(os.getpid(), signal.SIGKILL)
