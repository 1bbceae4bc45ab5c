"""Looks at a run that is over: at its checkpoints, or at every step of a stretch that is trained once more, bit for bit.

Nothing of the run is changed. Every logged row and every checkpoint of the stretch is held against what
is made again: where a bit differs it refuses, since its looks would be at another run.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ganrun.data.base import Dataset
from ganrun.disk import checkpoint, runs
from ganrun.disk.rows import rows_of_metrics
from ganrun.disk.run_folder import RunFolder
from ganrun.disk.signals import requested
from ganrun.engine import assemble, handout
from ganrun.engine.doctor import options_of
from ganrun.engine.loop import Trainer
from ganrun.engine.observer import Observer
from ganrun.engine.progress import say
from ganrun.ground.errors import BadInput, Diverged, NoCheckpoint, Stopped
from ganrun.ground.runtime import Runtime, environment, resolve

SAME = ("torch", "device", "threads", "cpu_capability")  # what bits depend on beside the config


@dataclass
class Retraced:
    """The rows of a stretch, and what of the run was found again: logged rows and checkpoints, by their steps."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    logged: list[int] = field(default_factory=list)
    checkpoints: list[int] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def retrace(
    run: Path, config: Mapping[str, Any], *, start: int, stop: int, every: int, signs: Collection[str] | None
) -> Retraced:
    """Train the steps up to ``stop`` again from the checkpoint before ``start``, with a look at each ``every``-th from there.

    ``signs``: only these; by default all. Raises ``BadInput`` where bits cannot be equal, or are not, and names the reason.
    """
    runtime = resolve(config["device"])
    with runtime.applied():
        folder = RunFolder(run)
        _demand_same(folder, runtime)
        begin = _begin(run, start)
        dataset, trainer = _made(run, config, runtime)
        trainer.load_state_dict(checkpoint.read(run / "checkpoints" / f"step_{begin:08d}.pt"))
        observer = Observer(dataset, runtime, int(options_of(config)["samples"]), say, signs)
        held = rows_of_metrics(folder)
        logged = {row["step"]: row for row in held.read()}
        kept = {step for step in runs.committed(run) if begin < step <= stop}
        found = Retraced(remarks=held.remarks())
        while trainer.step < stop:
            looks = trainer.step + 1 >= start and (trainer.step + 1 - start) % every == 0
            if looks:
                observer.before(trainer)
            trainer.advance()
            if trainer.step in logged:
                _compare(trainer, logged[trainer.step])
                found.logged.append(trainer.step)
            if trainer.step in kept:
                _compare_state(trainer, run)
                found.checkpoints.append(trainer.step)
            if looks:
                try:
                    trainer.check()
                except Diverged as error:  # the run did: what was seen before it is what is looked for
                    found.remarks.append(f"{error}, as in the run")
                    break
                found.rows.append(observer.row(trainer, found.rows))
            if requested():
                raise Stopped(f"stopped by {requested()} at step {trainer.step}; nothing was written")
        if not found.logged and not found.checkpoints:
            found.remarks.append("the run kept no row and no checkpoint in this stretch to compare with")
        return found


def write(run: Path, found: Retraced, words: list[str], out: Path | None) -> Path:
    """Write the rows beside the run, or in the folder ``out``; where they are. Nothing that is there is overwritten."""
    folder, stem = out or run.parent, "-".join([f"{run.name}.looks", *words])
    text = "".join(json.dumps(row) + "\n" for row in found.rows)
    return folder / f"{handout.write(folder, stem, {'.jsonl': text.encode})}.jsonl"


def look_back(run: Path, config: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
    """A look one step after each checkpoint of a run, which has that step's moves; and what is to be said of it.

    The state that training begins with says nothing of it.
    """
    runtime = resolve(config["device"])
    with runtime.applied():
        dataset, trainer = _made(run, config, runtime)
        observer = Observer(dataset, runtime, int(options_of(config)["samples"]) or 256, say)
        rows: list[dict[str, Any]] = []
        remarks = []
        for step in filter(None, runs.committed(run)):
            path = run / "checkpoints" / f"step_{step:08d}.pt"
            try:
                trainer.load_state_dict(checkpoint.read(path))
                observer.before(trainer)
                trainer.advance()
                trainer.check()
            except (NoCheckpoint, Diverged) as error:
                remarks.append(f"no look at step {step}: {error}")
                continue
            rows.append(observer.row(trainer, rows))
        return rows, remarks


def _made(run: Path, config: Mapping[str, Any], runtime: Runtime) -> tuple[Dataset, Trainer]:
    """The data of a run and its players, as it trained with them; ``BadInput`` where its data are gone or others."""
    parts = assemble.build(config, with_metrics=False)
    dataset = assemble.load_data(config, parts.family)
    assemble.verify(parts, dataset)
    held = RunFolder(run).facts().get("data", {}).get("fingerprint")
    if held is not None and held != dataset.fingerprint():
        raise BadInput(f"{run}: the data set is not the one that this run was trained on")
    return dataset, assemble.trainer(parts, dataset, runtime)


def _demand_same(folder: RunFolder, runtime: Runtime) -> None:
    held, present = folder.facts().get("environment", {}), environment(runtime)
    changed = [key for key in SAME if key in held and held[key] != present[key]]
    if changed:
        words = "; ".join(f"{key} was {held[key]} and is {present[key]}" for key in changed)
        again = f". Try device.threads={held['threads']}" if "threads" in changed else ""
        raise BadInput(f"{folder.path}: cannot be trained again bit for bit: {words}{again}")


def _begin(run: Path, start: int) -> int:
    """The checkpoint to start from: one from before ``start``, so that the step itself is seen moving; else one at it."""
    steps = runs.committed(run)
    found = [step for step in steps if step < start] or [step for step in steps if step == start]
    if not found:
        raise BadInput(f"--from {start}: no checkpoint is kept from before it: {runs.steps_in_words(run)}")
    return found[-1]


def _compare(trainer: Trainer, row: Mapping[str, Any]) -> None:
    """Refuse where a loss or a gradient's norm is not what the run has logged."""
    for name, value in trainer.terms.items():
        found = float(value.float())
        if name in row and json.dumps(row[name]) != json.dumps(found):  # as text, NaN is NaN
            raise BadInput(
                f"not the run's own bits: at step {trainer.step} {name} is {found!r}, and the run logged {row[name]!r}; "
                "it was trained elsewhere, or by another ganrun. Nothing was written"
            )


def _compare_state(trainer: Trainer, run: Path) -> None:
    state = checkpoint.read(run / "checkpoints" / f"step_{trainer.step:08d}.pt")
    if checkpoint.digest(state) != checkpoint.digest(trainer.state_dict()):
        raise BadInput(
            f"not the run's own bits: at step {trainer.step} the state is not that of its checkpoint; "
            "it was trained elsewhere, or by another ganrun. Nothing was written"
        )
