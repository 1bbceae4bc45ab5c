"""The task that Hydra runs, once for a single run, once a job in a sweep, in any launcher's process.

It is a module-level function because launchers pickle it by name, and this module's import tells the worker processes
the resolvers. A single run's failure is kept for the command line to report. A sweep's jobs each leave one line, on
stderr and in a ledger that the launching process reads at the end: a failed job does not stop the others, a stopped one
lets no further job start.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypedDict

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from ganrun.cli import kinds, signature
from ganrun.cli.config_files import ConfFolder
from ganrun.cli.schema import catalog, layers
from ganrun.cli.schema.compare import compare
from ganrun.disk import identity, signals
from ganrun.disk.run_folder import RunFolder
from ganrun.engine import best
from ganrun.ground import terminal
from ganrun.ground.errors import BadInput, GanrunError, Stopped
from ganrun.ground.objective import Outcome

LEDGER = "GANRUN_SWEEP_LEDGER"  # environment variable with the path of the sweep's ledger, set by Hydra in each job
JOBS = "GANRUN_SWEEP_JOBS"  # environment variable: how many jobs the sweep has, 0 for not known, then the keys that it varies
TWINS = "GANRUN_SWEEP_TWINS"  # environment variable: JSON, {job: an earlier job that is the same run}
START = 60.0  # seconds that a job has to begin before one that waits for it goes ahead
STOP = ".stop"  # appended to the ledger's path: the file that asks all jobs to stop
BASIC_SWEEPER = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"


class Row(TypedDict):
    """What a finished job reports: ``status`` is done, failed or stopped; in the table at the end also lost or not begun."""

    job: int
    folder: str
    status: str
    code: int
    varied: str  # the swept overrides
    outcome: str  # the objective's value, or the error


class Begun(TypedDict):
    """What a job leaves when it begins: by its process it is known to work still, or to be lost."""

    job: int
    process: int
    host: str
    varied: str


class State:
    """What this process knows: a single run's failure, whether a job was stopped, whether it launches the sweep."""

    failure: BaseException | None = None
    started = time.monotonic()
    stopped = False
    launching = False


def train_job(config: DictConfig) -> float | None:
    """Train what ``config`` says, in the folder that Hydra made; what its objective reached, for sweepers, which minimise."""
    if not State.launching:
        terminal.install()  # a launcher's worker process has not come in by the door
    hydra = HydraConfig.get()
    runtime = OmegaConf.to_container(hydra.runtime, resolve=False)  # Hydra has filled it in: ``${`` in a path is text
    assert isinstance(runtime, dict)
    folder = Path(str(runtime["output_dir"]))
    sweep = hydra.mode == RunMode.MULTIRUN
    try:
        with _stopping(sweep):
            words = [str(text) for text in hydra.overrides.task]
            if sweep:
                number = int(hydra.job.num)
                _enter(Begun(job=number, process=os.getpid(), host=socket.gethostname(), varied=_varied(words)))
            outcome = _train(config, folder, words, sweep, _heading(hydra.job.num, words) if sweep else "")
    except Exception as error:
        empty = _leave_no_empty_folder(folder, Path(str(config.output)), sweep)
        if not sweep:
            State.failure = error
            return None
        State.stopped = State.stopped or isinstance(error, Stopped)
        _keep_traceback(error, folder, empty)
        _report(hydra.job.num, folder, "stopped" if isinstance(error, Stopped) else "failed", error)
        if hydra.sweeper._target_ != BASIC_SWEEPER:
            raise  # an optimising sweeper must hear of it; the basic one would give up the batches to come
        return None
    if sweep:
        _report(hydra.job.num, folder, "done", outcome)
    return None if outcome is None else outcome.to_minimise


def read_ledger(path: Path) -> list[Row]:
    """One object a finished job; none where no job finished."""
    return [row for row in _lines(path) if "status" in row]


def begun(path: Path) -> list[Begun]:
    """One object a job that has begun."""
    return [row for row in _lines(path) if "process" in row]


def _lines(path: Path) -> list[Any]:
    with suppress(FileNotFoundError):
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return []


def _enter(row: Row | Begun) -> None:
    """Append to the ledger in a single write, so that jobs never mix."""
    if LEDGER not in os.environ:
        return
    handle = os.open(os.environ[LEDGER], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(handle, (json.dumps(row) + "\n").encode())
    finally:
        os.close(handle)


@contextmanager
def passing_on(ledger: Path | None) -> Iterator[None]:
    """While a sweep runs: a signal to this process reaches the jobs in other processes, by the stop file."""
    if ledger is None:
        yield
        return
    with _every_half_second(lambda: signals.requested() is not None, lambda: Path(f"{ledger}{STOP}").touch()):
        yield


def _varied(overrides: Sequence[str]) -> str:
    """The overrides of the keys that the sweep varies."""
    keys = os.environ.get(JOBS, "").split()[1:]
    return " ".join(text for text in overrides if text.lstrip("+~").partition("=")[0] in keys)


def _count() -> int:
    """How many jobs the sweep has; 0 where nobody knows."""
    return int(os.environ.get(JOBS, "0").split()[0])


def _heading(number: int, overrides: Sequence[str]) -> str:
    """Which job of the sweep this is, before the live line of a terminal; none where jobs run side by side."""
    if not State.launching or _count() == 0 or not sys.stderr.isatty():
        return ""
    return f"job {number + 1} of {_count()}  {_varied(overrides)}".rstrip()


def _progress() -> str:
    """How many jobs of the sweep are done, and the time that the others will take at this rate."""
    if not _count() or LEDGER not in os.environ:
        return ""
    count, done = _count(), len(read_ledger(Path(os.environ[LEDGER]))) + 1
    from ganrun.engine.progress import duration

    seconds = (time.monotonic() - State.started) / done * (count - done)
    left = f", {duration(seconds)} left" if State.launching and done < count else ""
    return f" ({done} of {count} jobs{left})"


def _train(config: DictConfig, folder: Path, overrides: list[str], sweep: bool, heading: str) -> Outcome | None:
    if State.stopped or signals.requested() or _stop_file_exists():
        raise Stopped("not started: a signal asked to stop; the same command goes on")
    plain = signature.plain(config)
    if sweep:
        _refuse_values(plain)
        _wait_for_twin(HydraConfig.get().job.num, folder)
    best.verify(plain)
    identity.verify(plain, folder)
    signature.refuse_a_step_that_is_gone(plain, folder)
    if not sweep:
        signature.refuse_another_length(plain, folder)
    from ganrun.engine import run  # imports torch, which takes seconds

    outcome: Outcome | None = run.train(
        plain, folder, overrides=overrides, sweep=sweep, **({"heading": heading} if heading else {})
    )
    return outcome


def _wait_for_twin(number: int, folder: Path) -> None:
    """Wait until the job before this one that is the same run has reported, or works in ``folder`` no more.

    A launcher that runs jobs side by side would have two processes in one folder. One that never begins is not waited for.
    """
    earlier = json.loads(os.environ.get(TWINS, "{}")).get(str(number))
    patience = time.monotonic() + START
    while earlier is not None and LEDGER in os.environ:
        if signals.requested() or _stop_file_exists():
            raise Stopped("not started: a signal asked to stop; the same command goes on")
        if any(row["job"] == earlier for row in read_ledger(Path(os.environ[LEDGER]))):
            return
        if RunFolder(folder).is_free() and time.monotonic() > patience:
            return
        time.sleep(0.2)


def _refuse_values(config: Mapping[str, Any]) -> None:
    """``BadInput`` for values that their keys do not take: those that a sweeper has chosen are seen here for the first time."""
    runtime = HydraConfig.get().runtime
    folders = [Path(source.path) for source in runtime.config_sources if source.schema == ConfFolder.scheme()]
    chosen = {str(group): str(option) for group, option in runtime.choices.items()}
    rules = layers.rules(chosen, kinds.others(config.get(kinds.GROUP)), folders)
    world = catalog.world(folders, config.get("plugins"))
    wrong = [f"{found.path}={found.value}: {found.why}" for found in compare(config, config, "", rules, world, resolved=True)]
    if wrong:
        raise BadInput("\n".join(wrong))


@contextmanager
def _stopping(sweep: bool) -> Iterator[None]:
    """In a sweep's worker process: signals only set a flag, and the stop file counts as one."""
    if not sweep or State.launching:
        yield
        return
    signals.install()
    with _every_half_second(_stop_file_exists, lambda: os.kill(os.getpid(), signals.signal.SIGTERM)):
        yield


@contextmanager
def _every_half_second(asked: Any, act: Any) -> Iterator[None]:
    """Call ``act`` once, as soon as ``asked()`` is true, while the block runs."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.5):
            if asked():
                act()
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _stop_file_exists() -> bool:
    return LEDGER in os.environ and os.path.exists(os.environ[LEDGER] + STOP)


def _leave_no_empty_folder(folder: Path, output: Path, sweep: bool) -> bool:
    """Hydra makes the run folder before the task: take it away if nothing came of it. True if it was empty."""
    try:
        folder.rmdir()
    except OSError:
        return False
    output = output.expanduser().absolute()
    above = folder.absolute().parent
    while not sweep and (above == output or output in above.parents):  # another job may be about to use them
        try:
            above.rmdir()
        except OSError:
            break
        above = above.parent
    return True


def _keep_traceback(error: Exception, folder: Path, empty: bool) -> None:
    """A defect's traceback goes to the run's own log, or to stderr where there is none."""
    if isinstance(error, GanrunError):
        return
    text = "".join(traceback.format_exception(error))
    if empty:
        sys.stderr.write(text)
        return
    with suppress(OSError), open(folder / "train.log", "a", encoding="utf-8") as log:
        log.write(text)


def _findings(folder: Path) -> str:
    """What the doctor says stands, as run.json has it."""
    try:
        facts = RunFolder(folder).facts()
    except GanrunError:
        return ""
    found = facts.get("findings", [])
    standing = [entry["disease"] for entry in found if entry.get("ended") is None and entry.get("explained_by") is None]
    return f"; doctor: {', '.join(standing)}" if standing else ""


def _report(number: int, folder: Path, status: str, outcome: Exception | Outcome | None) -> None:
    """One line for the person, one for the ledger."""
    code, words = 0, ""
    if isinstance(outcome, Outcome):
        words = f": {outcome}"
    if isinstance(outcome, Exception):
        code = getattr(outcome, "exit_code", 1)
        said = str(outcome) if isinstance(outcome, GanrunError) else f"{type(outcome).__name__}: {outcome}"
        words = f" (exit {code}): {' '.join(said.split())}"
    words += _findings(folder)
    sys.stderr.write(f"[{number}] {os.path.relpath(folder)}: {status}{words}{_progress()}\n")
    sys.stderr.flush()
    varied = _varied([str(text) for text in HydraConfig.get().overrides.task])
    _enter(Row(job=number, folder=str(folder), status=status, code=code, varied=varied, outcome=words.lstrip(": ")))
