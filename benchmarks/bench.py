"""ganrun's training loop against a plain textbook loop on the same networks: steps a second, peak memory, agreement.

Run it with `make bench`, or `python benchmarks/bench.py --quick` for a first look. Both sides live in one process and
take turns in short blocks, so that what other processes do hits both; each round gives one ratio, and the median of
the ratios counts. ganrun's side is its own Trainer, assembled from conf/, with the running average, and with the NaN
check and the losses read after every block. Before that, one step of both sides from equal weights on equal batches is
compared number by number, and each side's memory is measured in a process of its own.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import scores
import textbook
import torch
from agreement import agreement
from cases import CASES, Case
from rich.console import Console
from rich.table import Table

from ganrun.engine.doctor import is_due
from ganrun.engine.loop import Trainer
from ganrun.engine.observer import Observer

SIDES = ("textbook", "ganrun", "ganrun bf16")
LEAST_ROUNDS = 2
BUSY = 0.25  # cores; with several threads a loop waits for whichever of them another process holds up


# speed


def textbook_block(plain: textbook.Textbook, steps: int) -> None:
    for _ in range(steps):
        plain.advance()


def ganrun_block(trainer: Trainer, steps: int) -> None:
    """Steps, then what a log row does: the check for NaN and the losses brought to Python."""
    for _ in range(steps):
        trainer.advance()
    trainer.check()
    torch.stack(list(trainer.terms.values())).tolist()


@dataclass
class Round:
    """Seconds a step by side, and how many cores other processes took meanwhile, the worst block's."""

    times: dict[str, float] = field(default_factory=dict)
    foreign: float = 0.0


def speed(case: Case, seconds: float) -> list[Round]:
    """Rounds of one block of each side, for ``seconds``."""
    plain, lean, half = case.textbook(), case.ganrun(), case.ganrun("device.precision=bf16")
    blocks: list[Callable[[int], None]] = [
        lambda steps: textbook_block(plain, steps),
        lambda steps: ganrun_block(lean, steps),
        lambda steps: ganrun_block(half, steps),
    ]
    run = dict(zip(SIDES, blocks, strict=True))
    rounds: list[Round] = []
    start = time.perf_counter()
    while len(rounds) <= LEAST_ROUNDS or time.perf_counter() - start < seconds:
        rounds.append(Round())
        for side in SIDES if len(rounds) % 2 else SIDES[::-1]:
            torch.use_deterministic_algorithms(side != "textbook")  # each side as it runs by itself
            before, busy = time.perf_counter(), foreign_seconds()
            run[side](case.block)
            spent = time.perf_counter() - before
            rounds[-1].times[side] = spent / case.block
            rounds[-1].foreign = max(rounds[-1].foreign, (foreign_seconds() - busy) / spent)
    return rounds[1:]  # the first one warms up


def looks(case: Case, rounds: int) -> list[tuple[float, float]]:
    """(seconds of a look of the doctor with what it keeps before the step, seconds of a step), taken in turns."""
    trainer = case.ganrun()
    observer = Observer(case.dataset(), trainer.runtime, 256, print)
    found: list[tuple[float, float]] = []
    seen: list[dict[str, Any]] = []
    torch.use_deterministic_algorithms(True)
    for _ in range(rounds + 1):
        start = time.perf_counter()
        ganrun_block(trainer, case.block)
        step = (time.perf_counter() - start) / case.block
        start = time.perf_counter()
        observer.before(trainer)
        kept = time.perf_counter() - start
        trainer.advance()
        start = time.perf_counter()
        seen.append(observer.row(trainer, seen))
        found.append((kept + time.perf_counter() - start, step))
    return found[1:]  # the first one makes what all compare with


def foreign_seconds() -> float:
    """CPU seconds that other processes have taken since boot; 0 where the system does not say."""
    try:
        fields = [int(entry) for entry in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    except OSError:
        return 0.0
    idle = fields[3] + fields[4]
    own = os.times()
    return (sum(fields) - idle) / os.sysconf("SC_CLK_TCK") - own.user - own.system


def quartiles(values: list[float]) -> tuple[float, float, float]:
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


# memory


def memory(case: Case, side: str, threads: int) -> tuple[float, float]:
    """Peak resident MiB of a fresh process that takes three steps, and how much of it came after the imports."""
    ours, theirs = get_context("fork").Pipe(duplex=False)

    def work() -> None:
        torch.set_num_threads(threads)
        start = peak()
        runner: Any = case.ganrun() if side == "ganrun" else case.textbook()
        for _ in range(3):
            runner.advance()
        theirs.send((peak(), peak() - start))

    child = get_context("fork").Process(target=work)
    child.start()
    theirs.close()
    result: tuple[float, float] = ours.recv()
    child.join()
    return result


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


# the report


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds: about a minute")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of torch")
    parser.add_argument("--only", default="", help="only cases whose name contains this, e.g. DCGAN")
    options = parser.parse_args()
    cases = [case for case in CASES if options.only.lower() in case.name.lower()]
    if not cases:
        parser.error(f"--only {options.only}: there is no such case; there are {', '.join(case.name for case in CASES)}")
    console = Console(width=118)
    say = console.print
    say(f"python benchmarks/bench.py {' '.join(sys.argv[1:])}".rstrip())
    machine = f"{processor()}, {os.cpu_count()} cores"
    say(f"{machine}; torch {torch.__version__}, {options.threads} threads; {time.strftime('%Y-%m-%d')}")

    # children are forked before this process has used a thread pool of torch's, which would not survive the fork
    measured = {}
    for case in cases[:1] if options.quick else cases[:2]:
        for side in ("textbook", "ganrun"):
            measured[case.name, side] = memory(case, side, options.threads)
    torch.set_num_threads(options.threads)

    table = Table("one step of both sides", "precision", "losses", "gradients", "updates", title="largest relative difference")
    for case in cases:
        for dtype in (torch.float32, torch.float64):
            found = agreement(case, dtype)
            table.add_row(case.name, str(dtype).removeprefix("torch."), *(f"{value:.1e}" for value in found.values()))
    say(table)

    table = Table(
        "case",
        "side",
        "ms a step",
        "steps/s",
        "ratio",
        "its quartiles",
        "rounds",
        title="speed: medians over rounds of one block a side",
    )
    busy = []
    for case in cases:
        rounds = speed(case, case.seconds / 6 if options.quick else case.seconds)
        calm = [entry for entry in rounds if entry.foreign < BUSY]
        if len(calm) < LEAST_ROUNDS:
            busy.append(case.name)
        counted = rounds if len(calm) < LEAST_ROUNDS else calm
        for side in SIDES:
            low, ratio, high = quartiles([entry.times["textbook"] / entry.times[side] for entry in counted])
            median = statistics.median(entry.times[side] for entry in counted)
            first = side == "textbook"
            table.add_row(
                case.name if first else "",
                side,
                f"{median * 1000:.1f}",
                f"{1 / median:.3g}",
                f"{ratio:.2f}",
                "" if first else f"{low:.2f} to {high:.2f}",
                f"{len(counted)} of {len(rounds)}, {case.block} steps each" if first else "",
            )
        table.add_section()
    table.caption = f"Counted are the rounds in which other processes took less than {BUSY} cores."
    if busy:
        table.caption += f" Busy all the time, so all count: {', '.join(busy)}; try --threads 1."
    say(table)

    table = Table("case", "ms a look", "in steps", "of 2000 steps", "of 20000 steps", title="a look of the doctor, by default")
    for case in cases:
        taken = looks(case, 3 if options.quick or case.block == 1 else 9)
        ratio = statistics.median(look / step for look, step in taken)
        shares = [sum(is_due(step, None) for step in range(1, steps + 1)) * ratio / steps for steps in (2000, 20_000)]
        look = statistics.median(look for look, _ in taken)
        table.add_row(case.name, f"{look * 1000:.0f}", f"{ratio:.1f}", *(f"{100 * share:.1f} %" for share in shares))
    say(table)

    table = Table("case", "side", "peak MiB", "beyond the imports", title="memory, each side in a process of its own")
    for (name, side), (total, beyond) in measured.items():
        table.add_row(name, side, f"{total:.0f}", f"{beyond:.0f}")
    say(table)
    scores.show(say, *((2500, 1, 10) if options.quick else (10_000, 3, 100)))


if __name__ == "__main__":
    main()
