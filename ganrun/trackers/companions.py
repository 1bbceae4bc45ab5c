"""The run's side of its trackers: it starts a process for each, hears what they say, and waits for them at the end.

Nothing here waits while the run trains, and nothing fails: a tracker that cannot go on is off, which is said in one line.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import ganrun
from ganrun.disk.run_folder import RunFolder
from ganrun.ground import registry
from ganrun.ground.errors import BadInput, GanrunError
from ganrun.trackers.base import lacking

HURRY = 5.0  # seconds of waiting where the run was asked to stop
QUIET = 1.0  # seconds of waiting without a word


def chosen(config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The trackers of ``config`` with their options."""
    held = config.get("tracker") or {}
    return {str(name): options for name, options in held.items() if isinstance(options, Mapping) and "name" in options}


def why_not(name: str) -> str | None:
    """Why the tracker ``name`` cannot work in this Python; None where it can."""
    component: Any = registry.lookup("tracker", name)
    missing = lacking(component)
    if not missing:
        return None
    remedy = f'pip install "ganrun[{component.extra}]"' if component.extra else f"pip install {' '.join(missing)}"
    return f"tracker={name}: needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed: {remedy}"


def without_libraries(names: Iterable[str]) -> list[str]:
    """A sentence for each of ganrun's own trackers among ``names`` that lacks its library. A person's own are not imported."""
    ours = [path.stem for path in Path(__file__).parent.glob("*.py")]
    return [sentence for name in names if name in ours and (sentence := why_not(name)) is not None]


def refuse(config: Mapping[str, Any]) -> None:
    """``BadInput`` for trackers that are not there, with options that they do not take, or without their libraries."""
    for name, options in chosen(config).items():
        sentence = why_not(name)
        if sentence:
            raise BadInput(sentence)
        if registry.lookup("tracker", name).__module__ == "__main__":
            raise BadInput(f"tracker={name}: works in a process of its own, so it must stand in a module, named by plugins=[...]")
        registry.build("tracker", options)


class Companions:
    """The trackers of one run. Its log has one line of each that begins, and of each that goes off."""

    def __init__(self, config: Mapping[str, Any], folder: RunFolder) -> None:
        self.config, self.folder = config, folder
        self.all: list[Companion] = []

    def start(self) -> None:
        """Start a process for each. Called when the rows of steps that are to come have been cut."""
        for name, options in chosen(self.config).items():
            self.all.append(Companion(name, options, self.folder.path, self.config.get("plugins") or [], self.say))

    def hear(self) -> None:
        """Pass on what they have said since. Never waits."""
        for companion in self.all:
            companion.hear()

    def places(self) -> dict[str, str]:
        """Where a person finds the run, by tracker, of those that have begun and are not off."""
        self.hear()
        return {companion.name: companion.place for companion in self.all if companion.place and not companion.over}

    def end(self, *, hurry: bool = False) -> None:
        """Let them take in the last rows, and wait for that; one that is not done in time is ended."""
        for companion in self.all:
            companion.finish()
        begun, told = time.monotonic(), False
        for companion in self.all:
            until = begun + (min(HURRY, companion.wait) if hurry else companion.wait)
            while not companion.over and (left := until - time.monotonic()) > 0:
                companion.hear(min(left, QUIET))
                if not companion.over and not told and time.monotonic() - begun >= QUIET:
                    self.say(f"waiting for the last rows to arrive: {self._waited_for()}")
                    told = True
        for companion in self.all:
            companion.stop()
        self.all = []

    def say(self, line: str) -> None:
        with suppress(GanrunError):  # a full disk is the run's to speak of
            self.folder.log(line)

    def _waited_for(self) -> str:
        return ", ".join(companion.name for companion in self.all if not companion.over)


class Companion:
    """One tracker's process."""

    def __init__(
        self, name: str, options: Mapping[str, Any], folder: Path, plugins: Sequence[str], say: Callable[[str], None]
    ) -> None:
        self.name, self.say, self.wait = name, say, float(options.get("wait", 30.0))
        self.place, self.over = "", False
        self._heard = b""
        self._process: subprocess.Popen[bytes] | None = None
        module = registry.lookup("tracker", name).__module__
        own = module if module.partition(".")[0] != ganrun.__name__ else None
        told = {"folder": str(folder.absolute()), "options": dict(options), "plugins": list(plugins), "module": own}
        try:
            (folder / "trackers").mkdir(exist_ok=True)
            self._process = self._begin({**told, "path": sys.path})
        except OSError as error:
            self._off(f"cannot be started ({error.strerror or error})")

    def _begin(self, told: Mapping[str, Any]) -> subprocess.Popen[bytes]:
        above = str(Path(ganrun.__file__).resolve().parent.parent)
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        environment["PYTHONPATH"] = os.pathsep.join([above, *filter(None, [os.environ.get("PYTHONPATH")])])
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "ganrun.trackers.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,  # a signal to the terminal's processes is for the run
        )
        assert process.stdin
        assert process.stdout
        os.set_blocking(process.stdout.fileno(), False)
        with suppress(BrokenPipeError):
            process.stdin.write(json.dumps(told).encode() + b"\n")
            process.stdin.flush()
        return process

    def hear(self, patience: float = 0.0) -> None:
        """Take in what the process has said, waiting at most so many seconds for a word."""
        if self.over or self._process is None or self._process.stdout is None:
            return
        with selectors.DefaultSelector() as chosen:
            chosen.register(self._process.stdout, selectors.EVENT_READ)
            if not chosen.select(patience):
                return
        data = self._process.stdout.read()
        if not data:
            self._off("its process has ended")
            return
        *lines, self._heard = (self._heard + data).split(b"\n")
        for line in lines:
            self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            told = json.loads(line)
        except ValueError:
            return
        if "place" in told:
            self.place = str(told["place"])
            self.say(f"tracker {self.name}: {self.place}")
        if "off" in told:
            self._off(str(told["off"]))
        self.over = self.over or "done" in told

    def _off(self, why: str) -> None:
        if not self.over:
            self.over = True
            self.say(f"warning: tracker {self.name} is off for this process: {why}. The run goes on; its files hold everything")

    def finish(self) -> None:
        """Say that no rows will follow."""
        if self._process is not None and self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()

    def stop(self) -> None:
        """End the process, and whatever it has started."""
        if self._process is None:
            return
        if not self.over:
            self._off("the last rows have not arrived in time; they are sent when the same command runs again")
            with suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(HURRY)
        if self._process.poll() is None:
            with suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
