"""Runs of ganrun in real processes that tests can kill, forked from one parent that has imported torch already.

``train(config, folder)`` and its like start a child, wait for it and return its ``Outcome``; ``start`` returns the
running ``Child``. A child is what a command is: it gets the environment given, its exit code is that of the command
line (minus the signal's number if one ended it), its stderr is kept. ``setup`` names functions of this module, with
their arguments, that are called in the child before ganrun is: a full disk, an fsync that fails, a signal at a chosen
moment, a regularizer that turns to NaN.
"""

from __future__ import annotations

import atexit
import contextlib
import copy
import faulthandler
import functools
import gc
import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 120  # seconds after which a child that hangs says where and ends

Setup = list[list[Any]]

# ---------------------------------------------------------------------------------------------------------------------
# the test's side

TINY = (
    "metric=none",
    "device=cpu",
    "device.threads=1",
    "steps=12",
    "batch_size=8",
    "model.latent=3",
    "model.generator.width=2",
    "model.discriminator.width=2",
    "every={log: 1, sample: 0, eval: 0, checkpoint: 3}",
)
CONFIGS = {
    # batch normalization, spectral normalization, average, several critic updates, micro-batches
    "normed": ("dataset=digits", "model=dcgan", "regularizer=spectral_norm", "n_critic=2", "accumulate=2", "ema=0.9"),
    # second derivatives, a schedule
    "penalised": (
        "dataset=digits",
        "model=dcgan",
        "model.discriminator.norm=layer",
        "loss=wasserstein",
        "regularizer=gradient_penalty",
        "optimizer.betas=[0.0,0.9]",
        "optimizer.schedule.name=linear",
    ),
    # points, another optimizer with other moments, no average
    "points": ("dataset=ring8", "loss=hinge", "regularizer=r1", "optimizer=rmsprop", "optimizer.momentum=0.5", "ema=0"),
    # labels, clipping, an optimizer without any state
    "labelled": ("dataset=digits", "condition=concat", "loss=lsgan", "regularizer=weight_clip", "optimizer=sgd"),
}


@functools.cache
def _composed(overrides: tuple[str, ...]) -> dict[str, Any]:
    from ganrun.cli import signature
    from ganrun.cli.compose import composer

    with composer() as found:
        return signature.plain(found.compose(list(overrides)))


def config(name: str, *overrides: str) -> dict[str, Any]:
    """The config of ``CONFIGS[name]`` at its smallest, with ``overrides``."""
    return copy.deepcopy(_composed((*CONFIGS[name], *TINY, *overrides)))


@dataclass
class Outcome:
    """How a child ended: its exit code (minus the signal's number), what it said on stderr, what it returned."""

    code: int
    said: str
    value: Any = None


class Child:
    """A running child."""

    def __init__(self, pid: int, errors: Path) -> None:
        self.pid, self.errors = pid, errors

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self) -> Outcome:
        code = _server().ask({"wait": self.pid})["code"]
        found = self.errors.with_suffix(".value")
        value = json.loads(found.read_text()) if found.exists() else None
        return Outcome(code, self.errors.read_text(encoding="utf-8", errors="replace"), value)


class _Server:
    """The parent of all children, as seen from the test."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ganrun-tests-"))
        self.count = 0
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
            text=True,
        )
        atexit.register(self.close)

    def ask(self, request: Mapping[str, Any]) -> Any:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, "the parent of the test processes is gone"
        return json.loads(answer)

    def close(self) -> None:
        self.process.stdin.close()  # type: ignore[union-attr]
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


@functools.cache
def _server() -> _Server:
    return _Server()


def start(
    call: str,
    *arguments: Any,
    environment: Mapping[str, str] | None = None,
    setup: Iterable[Any] = (),
    cwd: Path | None = None,
    **options: Any,
) -> Child:
    """Start ``COMMANDS[call](*arguments, **options)`` in a child."""
    server = _server()
    server.count += 1
    errors = server.folder / f"{server.count}.err"
    request = {
        "call": call,
        "arguments": [str(entry) if isinstance(entry, Path) else entry for entry in arguments],
        "options": options,
        "environment": dict(environment or {}),
        "setup": list(setup),
        "cwd": str(cwd or ROOT),
        "errors": str(errors),
    }
    return Child(server.ask(request)["pid"], errors)


def ready() -> None:
    """Wait until children start at once."""
    _server().ask({"ready": True})


def train(given: Mapping[str, Any], folder: Path, **options: Any) -> Outcome:
    """What ``ganrun train`` does, to its end."""
    return start("train", given, folder, **options).wait()


def evaluate(target: Path, given: Mapping[str, Any], **options: Any) -> Outcome:
    """What ``ganrun eval`` does."""
    return start("evaluate", target, given, **options).wait()


def sample(target: Path, given: Mapping[str, Any], **options: Any) -> Outcome:
    """What ``ganrun sample`` does."""
    return start("sample", target, given, **options).wait()


def finished(given: Mapping[str, Any], folder: Path, **options: Any) -> str:
    """Train to the end, which must succeed, and return the digest of the final state."""
    outcome = train(given, folder, **options)
    assert outcome.code == 0, outcome.said
    return final_digest(folder)


def facts(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run.json").read_text(encoding="utf-8"))


def final_digest(folder: Path) -> str:
    """The digest of the newest checkpoint, which must be the one that run.json tells of."""
    from ganrun.disk import checkpoint

    held = facts(folder)
    digest = checkpoint.digest(checkpoint.read(folder / "checkpoints" / f"step_{held['step']:08d}.pt"))
    assert held["digest"] == digest
    return digest


def rows(folder: Path) -> list[dict[str, Any]]:
    """The numbers of metrics.jsonl, without the clock and the run's id. Every line must be whole."""
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{key: value for key, value in row.items() if key not in ("time", "run_id")} for row in found]


def leftovers(folder: Path) -> list[str]:
    """Temporary files that nobody took away."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.tmp.*"))


def steps_kept(folder: Path) -> list[int]:
    """The steps of the committed checkpoints, each with its data."""
    found = sorted((folder / "checkpoints").iterdir())
    data = [path.stem for path in found if path.suffix == ".pt"]
    assert data == [path.stem for path in found if path.suffix == ".json"]
    return [int(stem.removeprefix("step_")) for stem in data]


def assert_identical(folder: Path, reference: Path) -> None:
    """The same final state and the same rows as an uninterrupted run, and nothing left lying about."""
    assert final_digest(folder) == final_digest(reference)
    assert rows(folder) == rows(reference)
    assert leftovers(folder) == []
    assert facts(folder)["status"] == "done"


def contents(folder: Path, *but: str) -> dict[str, bytes]:
    """Every file below ``folder`` with its bytes, those named in ``but`` left out."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in but
    }


# ---------------------------------------------------------------------------------------------------------------------
# setups: what is done in the child before ganrun is called


def wrap(place: str, around: Callable[..., Any]) -> None:
    """Replace the function at ``module:name`` or ``module:Class.name`` by ``around(original, *arguments)``."""
    import importlib

    module, _, path = place.partition(":")
    owner: Any = importlib.import_module(module)
    *parents, leaf = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    original = getattr(owner, leaf)

    @functools.wraps(original)
    def wrapped(*arguments: Any, **options: Any) -> Any:
        return around(original, *arguments, **options)

    setattr(owner, leaf, wrapped)


def signal_at(place: str, nth: int, number: int, times: int = 1) -> None:
    """The process gets a signal at the start of the nth call of ``place``, and of the ``times - 1`` that follow."""
    count = 0

    def around(original: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if nth <= count < nth + times:
            os.kill(os.getpid(), number)
        return original(*arguments, **options)

    wrap(place, around)


def signal_now(number: int) -> None:
    """The process gets a signal before anything has begun."""
    os.kill(os.getpid(), number)


def ignore(number: int) -> None:
    """What ``nohup`` and a shell's ``&`` do before the command starts. Must come first."""
    signal.signal(number, signal.SIG_IGN)
    from ganrun.disk import signals

    signals.install()


def fails(place: str, nth: int, code: int) -> None:
    """The nth call of ``place`` raises the ``OSError`` of number ``code``."""
    count = 0

    def around(original: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if count >= nth:
            raise OSError(code, os.strerror(code))
        return original(*arguments, **options)

    wrap(place, around)


def fails_inside(outer: str, place: str, code: int) -> None:
    """While ``outer`` runs, each call of ``place`` raises the ``OSError`` of number ``code``."""
    inside = False

    def around_outer(original: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        nonlocal inside
        inside = True
        try:
            return original(*arguments, **options)
        finally:
            inside = False

    def around_place(original: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        if inside:
            raise OSError(code, os.strerror(code))
        return original(*arguments, **options)

    wrap(outer, around_outer)
    wrap(place, around_place)


def small_disk(size: int) -> None:
    """No file can grow beyond ``size`` bytes: writing fails as on a full disk, in the middle of the data."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def pause(step: int, ready: str, go: str) -> None:
    """Before step ``step + 1``: open the pipe ``ready``, then wait for someone at the pipe ``go``."""

    def around(original: Callable[..., Any], trainer: Any) -> Any:
        if trainer.step == step:
            Path(ready).write_text("here")
            Path(go).read_text()
        return original(trainer)

    wrap("ganrun.engine.loop:Trainer.advance", around)


def broken_regularizer(step: int, where: str = "toy") -> None:
    """Registers the regularizer ``toy``, whose term is NaN in ``step`` (1, 2, ...) and a small cost otherwise."""
    from ganrun.ground.registry import register
    from ganrun.regularizers.base import Regularizer

    @register("regularizer", where)
    class Toy(Regularizer):
        def term(self, duel: Any, players: Any, turn: Any) -> Any:
            cost = duel.fake_output.score.square().mean() * 1e-3
            return cost * float("nan") if turn.step + 1 == step else cost


def break_weights(step: int) -> None:
    """After ``step``, weights of the generator are NaN."""

    def around(original: Callable[..., Any], trainer: Any) -> None:
        original(trainer)
        if trainer.step == step:
            next(trainer.game.players["generator"].parameters()).data.fill_(float("nan"))

    wrap("ganrun.engine.loop:Trainer.advance", around)


def wild_clock() -> None:
    """The clock of the wall goes backwards."""
    import time

    now = 2e9

    def around(original: Callable[..., Any]) -> float:
        nonlocal now
        now -= 1000
        return now

    wrap("time:time", around)
    assert time.time() > time.time()


def record(path: str) -> None:
    """Note, in order, every fsync and every rename with the file's name and its size then, one JSON list a line."""
    book = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(*words: Any) -> None:
        os.write(book, (json.dumps(words) + "\n").encode())

    def sync(original: Callable[..., Any], handle: int) -> Any:
        name = os.readlink(f"/proc/self/fd/{handle}")
        note("fsync", name, os.fstat(handle).st_size)
        return original(handle)

    def replace(original: Callable[..., Any], source: Any, target: Any) -> Any:
        note("rename", str(source), str(target))
        return original(source, target)

    wrap("os:fsync", sync)
    wrap("os:replace", replace)


# ---------------------------------------------------------------------------------------------------------------------
# the parent's side


def _train(given: dict[str, Any], folder: str, overrides: Iterable[str] = (), sweep: bool = False) -> Any:
    from ganrun.engine import run

    return run.train(given, Path(folder), overrides=list(overrides), sweep=sweep)


def _evaluate(target: str, given: dict[str, Any]) -> Any:
    from ganrun.engine import score_run

    return {name: entry["value"] for name, entry in score_run.evaluate(Path(target), given).items()}


def _sample(target: str, given: dict[str, Any], num: int = 4, seed: int = 0, out: str | None = None) -> Any:
    from ganrun.engine import sample_run

    return str(sample_run.sample(Path(target), num=num, seed=seed, out=None if out is None else Path(out), config=given))


def _command(*arguments: str) -> Any:
    """``python -m ganrun ARGUMENTS``, without the time that importing torch takes."""
    import runpy

    sys.argv = ["ganrun", *arguments]
    runpy.run_module("ganrun", run_name="__main__", alter_sys=True)


COMMANDS = {"train": _train, "evaluate": _evaluate, "sample": _sample, "command": _command}


def _child(request: dict[str, Any]) -> int:
    """All of a child's life. Returns its exit code."""
    from ganrun.disk import signals
    from ganrun.ground.errors import GanrunError

    errors = os.open(request["errors"], os.O_WRONLY | os.O_CREAT)
    os.dup2(errors, 1)
    os.dup2(errors, 2)
    faulthandler.dump_traceback_later(PATIENCE, exit=True)
    os.environ.update(request["environment"])
    os.chdir(request["cwd"])
    if request["call"] != "command":
        signals.install()
    for name, *arguments in request["setup"]:
        globals()[name](*arguments)
    try:
        value = COMMANDS[request["call"]](*request["arguments"], **request["options"])
    except GanrunError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except SystemExit as ending:
        return ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    Path(request["errors"]).with_suffix(".value").write_text(json.dumps(value, default=vars))
    return 0


def _serve() -> None:
    """Fork a child for each request; one line of JSON in, one line out."""
    requests, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    for name in ("SIGTERM", "SIGHUP", "SIGUSR1"):  # whoever started the tests may ignore some
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    quiet = os.open(os.devnull, os.O_RDWR)
    for handle in (0, 1):
        os.dup2(quiet, handle)
    _warm()
    gc.collect()
    gc.freeze()  # so that collecting garbage in a child does not copy the parent's pages
    for line in requests:
        request = json.loads(line)
        if "ready" in request:
            answer: dict[str, Any] = {}
        elif "wait" in request:
            answer = {"code": os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])}
        else:
            pid = os.fork()
            if pid == 0:
                code = 1
                with contextlib.suppress(BaseException):
                    requests.close()
                    code = _child(request)
                with contextlib.suppress(BaseException):
                    sys.stdout.flush()
                    sys.stderr.flush()
                os._exit(code)
            answer = {"pid": pid}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _warm() -> None:
    """Import whatever a command imports and read what it reads, by one tiny run and the commands that take it."""
    import torch

    torch.set_num_threads(1)
    from typer.testing import CliRunner

    import ganrun.cli.app
    import ganrun.engine.scoring
    from ganrun.disk import signals
    from ganrun.engine import progress, run
    from ganrun.ground import registry

    for group in registry.PACKAGES:
        registry.discover(group)

    sys.stderr, before = io.StringIO(), sys.stderr
    progress.console.quiet = True
    with tempfile.TemporaryDirectory() as folder:
        run.train(config("normed", "steps=1"), Path(folder) / "run", overrides=[])
        place = f"{folder}/points"
        train = ["train", *CONFIGS["points"], *TINY, "steps=1", f"hydra.run.dir={place}"]
        for line in (train, ["train", f"resume={place}"], ["sample", place], ["eval", place]):
            CliRunner().invoke(ganrun.cli.app.app, line)
            signals.restore()
    progress.console.quiet = False
    sys.stderr = before


if __name__ == "__main__":
    _serve()
