"""What a run says of itself, and checks before it begins."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ganrun
from ganrun.ground.errors import BadInput, GanrunError, Stopped
from ganrun.ground.record import RunFolder, now


def check_numbers(config: Mapping[str, Any]) -> None:
    """Raise ``BadInput`` for numbers of steps and checkpoints that cannot be."""
    if int(config["steps"]) < 0:
        raise BadInput(f"steps={config['steps']}: must not be negative")
    if int(config["keep"]) < 1:
        raise BadInput(f"keep={config['keep']}: at least the newest checkpoint is kept")
    for name, interval in config["every"].items():
        if int(interval) < 0:
            raise BadInput(f"every.{name}={interval}: must not be negative; 0 means only at the end")


def note_failure(folder: RunFolder, error: GanrunError) -> None:
    """Leave word in the run folder; the command line shows the error itself."""
    with contextlib.suppress(GanrunError):  # a full disk takes no note of itself
        folder.write(str(error) if isinstance(error, Stopped) else f"stopped: {error}")
        folder.note(status=type(error).__name__.lower(), ended=now())


def commit() -> str | None:
    """The commit of the checkout that this code runs from, with ``-dirty`` where ganrun/ or conf/ differ from it: other files
    (results, pages) cannot change a run. None for an installed package."""
    here = Path(ganrun.__file__).resolve().parent.parent
    if not (here / ".git").exists():
        return None
    try:
        name, changed = (
            subprocess.run(["git", "-C", str(here), *words], capture_output=True, text=True, timeout=5, check=True).stdout.strip()
            for words in (("rev-parse", "--short=12", "HEAD"), ("status", "--porcelain", "--", "ganrun", "conf"))
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{name}-dirty" if changed else name
