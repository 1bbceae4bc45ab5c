"""What a tracker is: it takes the rows and pictures of a run folder, never the trainer.

It lives in a process of its own (``worker.py``), which reads the files that the run writes anyway. So a tracker that fails,
hangs or is slow costs the training nothing, and what was written while it was away arrives later.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from ganrun.disk.identity import leaves


@dataclass(frozen=True)
class About:
    """The run whose entries come: its folder, the name of that, the config's ``name``, and the config.

    ``held``: the id that this tracker gave to the run before; None for a run that it does not have. ``sent``: the step up to
    which entries have arrived, -1 for none.
    """

    folder: Path
    name: str
    group: str
    config: Mapping[str, Any]
    held: str | None = None
    sent: int = -1

    def settings(self) -> dict[str, Any]:
        """The config as dotted keys, without the trackers' own."""
        return dict(leaves({key: value for key, value in self.config.items() if key != "tracker"}))


@dataclass(frozen=True)
class Entry:
    """What a run has at a step: numbers by name, and pictures (PNG files) by name. ``time``: seconds since 1970."""

    step: int
    time: float
    values: Mapping[str, float] = field(default_factory=dict)
    pictures: Mapping[str, Path] = field(default_factory=dict)


class Tracker:
    """One tracker. Its methods may fail, and may take as long as they like: up to ``patience`` seconds a call.

    ``needs``: the modules that it imports, when it opens; ``extra``: the extra of ganrun that installs them.
    ``wait``: seconds that the end of a run waits for it.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    extra: ClassVar[str] = ""
    patience: float = 60.0

    def __init__(self, *, wait: float = 30.0) -> None:
        if not wait >= 0:
            raise ValueError(f"wait={wait}: must be at least 0")
        self.wait = wait

    def open(self, about: About) -> tuple[str, str]:
        """Begin the run, or go on with the one that has the id ``about.held``: (its id, where a person finds it)."""
        raise NotImplementedError

    def log(self, entry: Entry) -> None:
        """Take in an entry. Steps rise, but for scores of earlier checkpoints that are made later."""
        raise NotImplementedError

    def flush(self) -> None:
        """Put what was logged where it lasts: it is not sent again after this."""

    def close(self, status: str) -> None:
        """The last call. ``status``: of run.json, such as done, stopped or diverged; "running" where the run was killed."""


def lacking(tracker: type[Tracker]) -> list[str]:
    """The modules that ``tracker`` needs and this Python lacks. Nothing is imported."""
    return [name for name in tracker.needs if not _is_there(name)]


def _is_there(module: str) -> bool:
    """Whether there is a module, and not merely a folder of that name in the current one, as some trackers leave behind."""
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return False
    return found is not None and found.origin is not None


def cut(text: str, longest: int) -> str:
    """``text`` of at most ``longest`` characters."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def as_text(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Settings with their values as text: text as it is, anything else as JSON."""
    for key, value in settings.items():
        yield key, value if isinstance(value, str) else json.dumps(value)
