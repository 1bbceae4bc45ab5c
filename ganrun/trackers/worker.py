"""A tracker's process: ``python -m ganrun.trackers.worker``, started by ``companions.py``.

Its input is one line of JSON that says what to do, and then nothing until the end of the run, which closes it: so a run that is
killed ends it too. Its output are lines of JSON for the run to say. What a tracker prints goes to RUN/trackers/NAME.log.

A call that takes longer than the tracker's ``patience`` ends the process, with all that it has started.
"""

from __future__ import annotations

import fcntl
import importlib
import json
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from ganrun.disk import runs
from ganrun.disk.run_folder import RunFolder
from ganrun.ground import registry
from ganrun.ground.errors import GanrunError
from ganrun.trackers.base import About, Tracker
from ganrun.trackers.follow import Follower, State, state_file

EVERY = 1.0  # seconds between two looks at the files


def main() -> None:
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)  # they are for the run, whose end is this one's
    with suppress(OSError):
        os.nice(5)
    told = json.loads(sys.stdin.buffer.readline())
    folder, options = Path(told["folder"]), told["options"]
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    journal = os.open(folder / "trackers" / f"{options['name']}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(journal, 1)
    os.dup2(journal, 2)
    fcntl.flock(journal, fcntl.LOCK_EX)  # the process of a run that was killed may still be at it
    try:
        follow(build(told), folder, options, answers)
    except Exception as error:
        traceback.print_exc()
        said = str(error) if isinstance(error, GanrunError) else f"{type(error).__name__}: {error}"
        tell(answers, off=" ".join(said.split())[:300])
        leave()


def build(told: Mapping[str, Any]) -> Tracker:
    """The tracker; a person's own from its module, where the run found it."""
    if told["module"] is not None:
        sys.path += [entry for entry in told["path"] if entry not in sys.path]
        registry.load_plugins(told["plugins"])
        importlib.import_module(told["module"])
    found: Tracker = registry.build("tracker", told["options"])
    return found


def follow(tracker: Tracker, folder: Path, options: Mapping[str, Any], answers: IO[str]) -> None:
    """Pass on what the run writes, until it ends."""
    path = state_file(folder, options["name"], options)
    state, record = State.read(path), RunFolder(folder)
    config = runs.read_config(folder)
    about = About(folder, folder.name, str(config["name"]), config, state.id, state.last)
    watch = Watch(tracker.patience, answers)
    with watch("open"):
        state.id, state.place = tracker.open(about)
    state.write(path)
    tell(answers, place=state.place)
    follower, over = Follower(record, state), False
    while True:
        over = over or has_ended(0)
        entries = follower.entries()
        for entry in entries:
            with watch("log"):
                tracker.log(entry)
        if entries:
            with watch("flush"):
                tracker.flush()
            state.write(path)
        elif over:
            break
        else:
            over = has_ended(EVERY)
    follower.close()
    with watch("close"):
        tracker.close(str(record.facts().get("status", "running")))
    tell(answers, done=True)


def has_ended(patience: float) -> bool:
    """Whether the run has closed our input, waiting for that at most so many seconds."""
    return bool(select.select([sys.stdin.buffer], [], [], patience)[0])


def tell(answers: IO[str], **what: Any) -> None:
    with suppress(OSError):
        answers.write(json.dumps(what) + "\n")


def leave() -> None:
    """End this process at once, with all that it has started."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


class Watch:
    """Ends the process in a call that takes more than ``patience`` seconds."""

    def __init__(self, patience: float, answers: IO[str]) -> None:
        self.patience, self.answers = patience, answers
        self._since: tuple[float, str] | None = None
        threading.Thread(target=self._look, daemon=True).start()

    @contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        self._since = (time.monotonic(), what)
        try:
            yield
        finally:
            self._since = None

    def _look(self) -> None:
        while True:
            time.sleep(min(1.0, self.patience / 4))
            since = self._since
            if since is not None and time.monotonic() - since[0] > self.patience:
                tell(self.answers, off=f"its {since[1]} has given no answer for {self.patience:g} s")
                leave()


if __name__ == "__main__":
    main()
