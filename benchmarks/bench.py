"""ganrun's training loop against a plain textbook loop on the same networks: steps a second, peak memory, agreement.

Run it with `make bench`, or `python benchmarks/bench.py --quick` for a first look. Both sides live in one process and
take turns in short blocks, so that what other processes do hits both; each round gives one ratio, and the median of
the ratios counts. ganrun's side is its own Trainer, assembled from conf/, with the running average, and with the NaN
check and the losses read after every block. Before that, one step of both sides from equal weights on equal batches is
compared number by number, and each side's memory is measured in a process of its own.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import textbook
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from ganrun.cli import signature  # noqa: F401  (tells OmegaConf the resolvers of conf/config.yaml)
from ganrun.data.base import Images
from ganrun.data.ring8 import ring8
from ganrun.engine import assemble
from ganrun.engine.loop import Trainer
from ganrun.ground import rng
from ganrun.ground.runtime import resolve
from ganrun.ground.spec import Batch

CONF = Path(__file__).resolve().parent.parent / "conf"
ROWS = 10_000
LEAST_ROUNDS = 2


@dataclass(frozen=True)
class Case:
    """What is run: overrides of ganrun's config, the textbook's parts, steps in a block and seconds to spend."""

    name: str
    overrides: tuple[str, ...]
    networks: Callable[[], tuple[nn.Module, nn.Module]]
    losses: tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Tensor], Tensor]]
    batch_size: int
    latent: int
    block: int
    seconds: float
    betas: tuple[float, float] = (0.5, 0.999)

    def config(self, *overrides: str) -> dict[str, Any]:
        common = ["n_critic=1", "ema=0.999", "metric=none", "device=cpu", "optimizer.schedule.name=constant"]
        common += [f"batch_size={self.batch_size}", f"model.latent={self.latent}"]
        with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
            composed = compose("config", overrides=[*self.overrides, *common, *overrides])
        return OmegaConf.to_container(composed, resolve=True)  # type: ignore[return-value]

    def ganrun(self, *overrides: str) -> Trainer:
        config = self.config(*overrides)
        parts = assemble.build(config)
        points = config["dataset"]["name"] == "ring8"
        return assemble.trainer(parts, ring8(num=ROWS) if points else Images(random_pixels()), resolve(config["device"]))

    def textbook(self) -> textbook.Textbook:
        torch.use_deterministic_algorithms(False)
        data = ring8(num=ROWS).x if "dataset=ring8" in self.overrides else random_pixels()
        return textbook.Textbook(*self.networks(), *self.losses, data, self.batch_size, self.latent, self.betas)


LOGISTIC = (textbook.nonsaturating_d, textbook.nonsaturating_g)
HINGE = (textbook.hinge_d, textbook.hinge_g)
PLAIN = ("loss=nonsaturating", "regularizer=none", "optimizer=adam")
SMALL = tuple(
    f"model.{role}.{entry}" for role in ("generator", "discriminator") for entry in ("width=128", "depth=2", "norm=none")
)
CASES = (
    Case("DCGAN 32x32, batch 64", ("model=dcgan", *PLAIN), textbook.dcgan, LOGISTIC, 64, 100, 3, 80),
    Case("SNGAN 32x32, batch 64", ("model=sngan",), textbook.sngan, HINGE, 64, 128, 1, 130, (0.0, 0.9)),
    Case("MLP, 2-D, batch 512", ("dataset=ring8", *PLAIN, *SMALL), textbook.mlp, LOGISTIC, 512, 256, 25, 60),
)


def random_pixels() -> Tensor:
    return torch.randint(256, (ROWS, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


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


def speed(case: Case, seconds: float) -> tuple[dict[str, list[float]], list[float]]:
    """Seconds a step of every block, by side, and how many cores other processes took meanwhile."""
    plain, lean, half = case.textbook(), case.ganrun(), case.ganrun("device.precision=bf16")
    sides: dict[str, Callable[[int], None]] = {
        "textbook": lambda steps: textbook_block(plain, steps),
        "ganrun": lambda steps: ganrun_block(lean, steps),
        "ganrun bf16": lambda steps: ganrun_block(half, steps),
    }
    times: dict[str, list[float]] = {side: [] for side in sides}
    others = []
    start = time.perf_counter()
    for count in itertools.count(-1):
        if count >= LEAST_ROUNDS and time.perf_counter() - start > seconds:
            break
        order = list(sides) if count % 2 else list(sides)[::-1]
        for side in order:
            torch.use_deterministic_algorithms(side != "textbook")  # each side as it runs by itself
            before, busy = time.perf_counter(), foreign_seconds()
            sides[side](case.block)
            spent = time.perf_counter() - before
            if count >= 0:  # the first round warms up
                times[side].append(spent / case.block)
                others.append((foreign_seconds() - busy) / spent)
    return times, others


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


# agreement


def agreement(case: Case, dtype: torch.dtype) -> dict[str, float]:
    """One step of both sides from equal weights on equal batches: the largest relative differences.

    Losses: |a - b| / |b|. Gradients and updates: the norm of the difference over the norm, the worse of both players.
    """
    small = replace(case, batch_size=min(case.batch_size, 16))
    held = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        lean, plain = small.ganrun(), small.textbook()
        stop_iterations(lean, plain)
        for role in ("generator", "discriminator"):
            copy_weights(lean.game.players[role], getattr(plain, role))
        before = {role: weights(lean.game.players[role]) for role in lean.game.players}
        stream = lean.streams["data"]
        lean.streams = {"data": replace(stream, read=lambda rows: in_dtype(stream.read(rows), dtype))}
        lean.advance()
        rows = rng.order(lean.seed, "data", 0, small.batch_size, ROWS)
        z = [
            lean.game.latent_law.draw(small.batch_size, rng.generator(lean.seed, 0, phase, 0, "latent"))
            for phase in ("discriminator", "generator")
        ]
        real = plain.take(rows)
        if not torch.allclose(real, stream.read(rows).x, atol=1e-6):
            raise ValueError("the two sides convert the data differently")
        losses = plain.play(stream.read(rows).x.to(dtype).contiguous(), *z)
    finally:
        torch.set_default_dtype(held)
    found = {"loss": 0.0, "gradient": 0.0, "update": 0.0}
    for role, loss, optimizer in zip(("discriminator", "generator"), losses, (plain.adam_d, plain.adam_g), strict=True):
        found["loss"] = max(found["loss"], abs(float(lean.terms[f"{role}/loss"]) / loss - 1))
        # after one step Adam's first moment is the gradient but for a constant
        own, other = (
            torch.cat([entry["exp_avg"].flatten() for entry in moments.state.values()])
            for moments in (lean.optimizers[role], optimizer)
        )
        found["gradient"] = max(found["gradient"], distance(own, other))
        own, other = weights(lean.game.players[role]) - before[role], weights(getattr(plain, role)) - before[role]
        found["update"] = max(found["update"], distance(own, other))
    return found


def distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


def weights(network: nn.Module) -> Tensor:
    return torch.cat([entry.detach().flatten().clone() for entry in network.parameters()])


def copy_weights(source: nn.Module, target: nn.Module) -> None:
    """All parameters and buffers, in order: both sides have the same layers in the same order."""
    pairs = zip(source.state_dict().values(), target.state_dict().values(), strict=True)
    with torch.no_grad():
        for own, other in pairs:
            if own.shape != other.shape:
                raise ValueError(f"the textbook's networks differ: {tuple(other.shape)} for {tuple(own.shape)}")
            other.copy_(own)


def stop_iterations(lean: Trainer, plain: textbook.Textbook) -> None:
    """Spectral normalization with the same singular vectors on both sides: each moves them on at moments of its own."""
    if "spectral_norm" in lean.game.regularizers:
        lean.game.regularizers["spectral_norm"].iterations = 0  # type: ignore[assignment]
        plain.discriminator.eval()


def in_dtype(batch: Batch, dtype: torch.dtype) -> Batch:
    return Batch(batch.x.to(dtype), batch.y)


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
        "blocks",
        title="speed: the median of all blocks, and of each round's ratio",
    )
    taken = []
    for case in cases:
        times, others = speed(case, case.seconds / 6 if options.quick else case.seconds)
        taken.append(f"{statistics.median(others):.2f}")
        for side, own in times.items():
            low, middle, high = quartiles([plain / mine for plain, mine in zip(times["textbook"], own, strict=True)])
            spread = "" if side == "textbook" else f"{low:.2f} to {high:.2f}"
            median, name = statistics.median(own), case.name if side == "textbook" else ""
            blocks = f"{len(own)} x {case.block}"
            table.add_row(name, side, f"{median * 1000:.1f}", f"{1 / median:.3g}", f"{middle:.2f}", spread, blocks)
        table.add_section()
    table.caption = f"cores that other processes took meanwhile, median of blocks: {', '.join(taken)}"
    say(table)

    table = Table("case", "side", "peak MiB", "beyond the imports", title="memory, each side in a process of its own")
    for (name, side), (total, beyond) in measured.items():
        table.add_row(name, side, f"{total:.0f}", f"{beyond:.0f}")
    say(table)


if __name__ == "__main__":
    main()
