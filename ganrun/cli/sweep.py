"""A sweep from outside its jobs: the ledger in which they report, those that were lost, and the table at the end."""

from __future__ import annotations

import itertools
import json
import os
import secrets
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from omegaconf import DictConfig

from ganrun.cli import job
from ganrun.cli.overrides import Typed
from ganrun.disk import signals
from ganrun.ground import terminal_text
from ganrun.ground.errors import StorageFailed

AGAIN = "the same command goes on with what is missing"
LOST = "its process ended without a word"
EVERY = 0.5  # seconds between two looks at jobs that others wait for


def swept(typed: Sequence[Typed]) -> list[Typed]:
    """The overrides that make the jobs."""
    return [entry for entry in typed if entry.override.is_sweep_override()]


def settings(typed: Sequence[Typed]) -> dict[int, str]:
    """What each job of a product of sweeps has of it, by number."""
    axes = [[f"{entry.key}={text}" for text, _ in entry.values] for entry in swept(typed)]
    return {number: " ".join(words) for number, words in enumerate(itertools.product(*axes))}


def open_ledger(composed: DictConfig) -> Path:
    """Where this sweep's jobs report, in Hydra's hidden folder of the sweep."""
    folder = Path(str(composed.hydra.sweep.dir)).absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageFailed(f"{folder}: cannot be written ({error.strerror})") from error
    return folder / f"jobs-{os.getpid()}-{secrets.token_hex(4)}.jsonl"


def wait_for_others(ledger: Path) -> None:
    """Where a launcher has given up: wait for those of its jobs that still work on this machine."""
    told = False
    while alive := [row for row in missing(ledger) if row["host"] == socket.gethostname() and _is_alive(row["process"])]:
        if not told:
            numbers = ", ".join(str(row["job"]) for row in alive)
            sys.stderr.write(f"note: a job was lost; waiting for those that still work: {numbers}\n")
            told = True
        if signals.requested():
            Path(f"{ledger}{job.STOP}").touch()
        time.sleep(EVERY)


def missing(ledger: Path) -> list[job.Begun]:
    """The jobs that have begun and not reported."""
    reported = {row["job"] for row in job.read_ledger(ledger)}
    return [row for row in job.begun(ledger) if row["job"] not in reported]


def _is_alive(process: int) -> bool:
    """Whether there is such a process, and not merely its exit code that nobody has asked for."""
    try:
        os.kill(process, 0)
    except PermissionError:
        return True
    except ProcessLookupError:
        return False
    with suppress(OSError, IndexError):
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    return True


def close(ledger: Path, jobs: Mapping[int, str]) -> list[job.Row]:
    """What became of the jobs: what they have reported; of ``jobs``, where all are known, those that have not.

    The ledger is taken away, and folders that failed jobs left empty.
    """
    rows, lost = job.read_ledger(ledger), missing(ledger)
    for path in (ledger, Path(f"{ledger}{job.STOP}")):
        path.unlink(missing_ok=True)
    for above in {Path(row["folder"]).parent for row in rows}:
        with suppress(OSError):
            above.rmdir()
    known = {row["job"] for row in (*rows, *lost)}
    rows += [_silent(row["job"], "lost", row["varied"], LOST) for row in lost]
    return rows + [_silent(number, "not begun", words, "") for number, words in jobs.items() if number not in known]


def _silent(number: int, status: str, varied: str, outcome: str) -> job.Row:
    return job.Row(job=number, folder="", status=status, code=1, varied=varied, outcome=outcome)


def summary(rows: Sequence[job.Row]) -> int:
    """Say how the sweep went; its exit code."""
    if len(rows) > 1:
        head = (("job",), ("status",), ("settings",), ("outcome",))
        body = [((str(row["job"]),), (row["status"],), (row["varied"] or "-",), (row["outcome"] or "-",)) for row in rows]
        sys.stderr.write(
            "\n".join(terminal_text.blocks([head, *sorted(body, key=lambda cells: int(cells[0][0]))], terminal_text.width()))
            + "\n"
        )
    words = ("done", "failed", "stopped", "lost", "not begun")
    counts = {word: sum(row["status"] == word for row in rows) for word in words}
    said = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    again = f"; {AGAIN}" if len(rows) > counts["done"] else ""
    sys.stderr.write(f"sweep: {said or 'no job'}{again}\n")
    if counts["stopped"]:
        return 75
    return 1 if len(rows) > counts["done"] else 0


def environment(ledger: Path, typed: Sequence[Typed], count: int, twins: Mapping[int, int]) -> dict[str, str]:
    """What each job is told of the sweep, as environment variables. ``count``: of jobs, 0 where nobody knows."""
    keys = " ".join([str(count), *(entry.key for entry in swept(typed))])
    return {job.LEDGER: str(ledger), job.JOBS: keys, **({job.TWINS: json.dumps(twins)} if count else {})}
