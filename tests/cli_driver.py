"""For the tests of the command line: ganrun in this process with an engine that only notes, and as a real process."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

import ganrun.engine
from ganrun.cli.app import app
from ganrun.disk import signals
from ganrun.ground.objective import Objective, Outcome

REPOSITORY = Path(__file__).resolve().parent.parent
CONF = REPOSITORY / "conf"

# Put first on the path of a real process: forbids torch and stands in for the engine.
STAND_IN = r'''
import importlib.abc, importlib.util, os, sys

ENGINE = r"""
import os, sys, time
from pathlib import Path
from ganrun.disk import signals
from ganrun.ground.errors import BadInput, Stopped
from ganrun.ground.objective import Objective, Outcome

class Check:
    def verify(self, config):
        pass

def train(config, folder, *, overrides, sweep):
    sys.stderr.write("TRAINS %d\n" % config["seed"])  # one write: lines of two jobs never mix
    if config["seed"] == 13:
        raise BadInput("seed=13: unlucky")
    if config["seed"] == 17:  # as the kernel does where memory is out
        os.kill(os.getpid(), 9)
    while config["steps"] == 99:
        if signals.requested():
            raise Stopped("saved at step 7; run again to go on")
        time.sleep(0.01)
    heard = False
    while config["steps"] == 98:  # deaf to the first signal
        if signals.requested() and not heard:
            heard = True
            sys.stderr.write("HEARD\n")
        time.sleep(0.01)
    Path(folder, "config.yaml").write_text("seed: %d" % config["seed"])
    return Outcome(Objective("fid", "fid", False), float(config["seed"]), 1)
"""

class StandIn(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "torchmetrics"):
            raise ImportError("forbidden: " + name)
        if name in ("ganrun.engine.run", "ganrun.engine.score_run", "ganrun.engine.sample_run", "ganrun.engine.beforehand"):
            return importlib.util.spec_from_loader(name, self)
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        exec(ENGINE, module.__dict__)

sys.meta_path.insert(0, StandIn())
'''


@dataclass
class Answer:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.err.splitlines()


@dataclass
class Engine:
    """Stands in for ``ganrun.engine.run``, ``score_run`` and ``sample_run``: notes calls, writes a checkpoint as a run does."""

    calls: list[dict[str, Any]] = field(default_factory=list)
    act: Callable[[Mapping[str, Any], Path], float | None] = lambda config, folder: None
    objective = Objective("fid", "fid", False)

    def train(self, config: Mapping[str, Any], folder: Path, *, overrides: list[str], sweep: bool) -> Outcome | None:
        self.calls.append({"config": config, "folder": folder, "overrides": overrides, "sweep": sweep})
        score = self.act(config, folder)
        if not (folder / "config.yaml").exists():
            (folder / "config.yaml").write_text(yaml.safe_dump(dict(config), sort_keys=False))
        (folder / "checkpoints").mkdir(exist_ok=True)
        (folder / "checkpoints" / "step_00000001.pt").touch()
        return None if score is None else Outcome(self.objective, score, 1)

    def evaluate(self, target: Path, config: Mapping[str, Any], *, out: Path | None = None) -> None:
        self.calls.append({"target": target, "config": config, **({} if out is None else {"out": out})})

    def sample(self, target: Path, **said: Any) -> Path:
        self.calls.append({"target": target, **said})
        return Path("where/the/samples/are")

    @property
    def last(self) -> dict[str, Any]:
        return self.calls[-1]

    def stand_in(self, patch: pytest.MonkeyPatch) -> None:
        """Take the place of the engine."""
        for name in ("run", "score_run", "sample_run", "beforehand"):
            patch.setitem(sys.modules, f"ganrun.engine.{name}", self.module())
            patch.setattr(ganrun.engine, name, self.module(), raising=False)

    def module(self) -> types.ModuleType:
        module = types.ModuleType("ganrun.engine.run")
        module.Check = lambda: types.SimpleNamespace(verify=lambda config: None)  # type: ignore[attr-defined]
        module.train, module.evaluate, module.sample = self.train, self.evaluate, self.sample  # type: ignore[attr-defined]
        return module


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder that the test stands in; processes started there end with the test."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    while _started:
        process = _started.pop()
        if process.poll() is None:
            process.kill()
        process.communicate()


_started: list[subprocess.Popen[str]] = []


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """Commands of this process train with a stand-in; the signals are given back."""
    found = Engine()
    found.stand_in(monkeypatch)
    yield found
    signals.restore()


def run_folder(parent: Path, *words: str) -> Path:
    """The folder in ``parent`` of a run that the stand-in engine has trained there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(parent)
        found = Engine()
        found.stand_in(patch)
        assert run("train", *words).code == 0
        signals.restore()
    return Path(found.last["folder"])


def run(*arguments: str | Path) -> Answer:
    """Run a command in this process."""
    handlers = list(logging.root.handlers)
    found = CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="ganrun")
    logging.root.handlers[:] = handlers  # Hydra's --info logs to a stdout that ends with the command
    assert found.exception is None or isinstance(found.exception, SystemExit), found.exception
    return Answer(found.exit_code, found.stdout, found.stderr)


def start(folder: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Start a real process in ``folder``, without torch and with the stand-in engine."""
    stand_in = folder / ".stand_in"
    stand_in.mkdir(exist_ok=True)
    (stand_in / "sitecustomize.py").write_text(STAND_IN)
    process = subprocess.Popen(
        [sys.executable, "-m", "ganrun", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(stand_in), "COLUMNS": "120", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    _started.append(process)
    return process


def finish(process: subprocess.Popen[str], before: str = "") -> Answer:
    """Wait for the process; ``before`` is what was read of its stderr already."""
    out, err = process.communicate(timeout=120)
    return Answer(process.returncode, out, before + err)


def await_line(process: subprocess.Popen[str], beginning: str, times: int = 1) -> str:
    """Read stderr until ``times`` lines begin so; everything read."""
    assert process.stderr is not None
    said = ""
    while sum(line.startswith(beginning) for line in said.splitlines()) < times:
        line = process.stderr.readline()
        assert line, f"ended without {beginning!r}: {said}"
        said += line
    return said


def files(folder: Path) -> set[str]:
    """All files and folders below, but for the stand-in engine."""
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    return {path for path in found if not path.startswith((".stand_in", "mine"))}


def write(folder: Path, **options: str) -> Path:
    """A user's own conf folder ``mine`` in ``folder``; ``loss__mine="..."`` writes loss/mine.yaml."""
    mine = folder / "mine"
    mine.mkdir(exist_ok=True)
    for name, text in options.items():
        path = mine / f"{name.replace('__', '/')}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return mine
