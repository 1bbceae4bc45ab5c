"""Where a run goes on: its newest usable checkpoint, its parent's for a fork, the weights of another run, or the first step.

Rows of losses that were lost are made again: a run goes back to a checkpoint from before them and takes the same steps once
more, bit for bit. Where none is left, that is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganrun.disk import checkpoint, runs
from ganrun.disk.rows import Rows
from ganrun.disk.run_folder import RunFolder
from ganrun.engine import inherit, sampling
from ganrun.engine.loop import Trainer
from ganrun.ground.errors import BadInput, NoCheckpoint

LENIENT = ("optimizers", "averages", "regularizers", "loss", "game")  # what a fork may start anew


@dataclass(frozen=True)
class Beginning:
    """What the first state of a run was taken from: entries for run.json, and sentences."""

    facts: dict[str, Any]
    sentences: list[str]


def beginning(path: Path, trainer: Trainer, config: Mapping[str, Any]) -> Beginning | None:
    """Give ``trainer`` the state that the run of ``config`` begins with, from another run; None where it takes nothing.

    It is called before there is a folder ``path``, so that a run that cannot begin leaves none. A run that has a state of its own
    takes nothing either.
    """
    if runs.committed(path) and not config["fresh"]:
        return None
    if config["fork"] and config["resume"]:
        return take_from_parent(trainer, runs.place(config["resume"]), config.get("at"), int(config["steps"]))
    if config["init_from"]:
        origin, left = inherit.start_from(runs.place(config["init_from"]), trainer, config)
        said = f"starts with the weights of {origin['run']} at step {origin['step']}"
        return Beginning({"init_from": origin}, [said, *(f"warning: {sentence}" for sentence in left)])
    return None


def take_up(folder: RunFolder, trainer: Trainer, config: Mapping[str, Any], metrics: Rows, first: Beginning | None) -> None:
    """Bring ``trainer`` to the state from which the run of ``config`` goes on; a new one has taken ``first`` already."""
    steps, facts, log = int(config["steps"]), folder.facts(), int(config["every"]["log"])

    def usable(state: dict[str, Any]) -> None:
        trainer.demand_fits(state)
        checkpoint.demand_kept(state, facts)

    def newest(until: int | None = None) -> dict[str, Any] | None:
        return checkpoint.newest(folder.checkpoints, folder.log, run=facts.get("identity"), accept=usable, until=until)

    state = newest()
    if state is None:
        begin(folder, facts, metrics, first)
        return
    retired = checkpoint.retire(folder.checkpoints, state["step"])
    for path in retired:
        folder.log(f"warning: {path.name} and its data are kept as {path.name}.unusable")
    if facts.get("step", 0) > state["step"] and not retired:
        folder.log(f"warning: run.json tells of step {facts['step']}, but the newest checkpoint is of step {state['step']}")
    ended = (
        state["step"] == facts.get("budget", {}).get("steps") and log > 0 and state["step"] % log == 0
    )  # before it was prolonged
    lost = lost_after(metrics, state["step"], last=ended or state["step"] == steps, log=log, forked="parent" in facts)
    if lost is not None:
        earlier = newest(lost)
        if earlier is None:
            folder.log(
                f"warning: rows of {metrics.path.name} after step {lost} are lost, and no checkpoint from before them is left "
                "to make them again"
            )
        else:
            folder.log(
                f"warning: rows of {metrics.path.name} after step {lost} are lost; "
                f"they are made again by training anew from the checkpoint of step {earlier['step']}"
            )
            state = earlier
            checkpoint.retire(folder.checkpoints, state["step"], "superseded")
    for sentence in trainer.load_state_dict(state):
        folder.log(f"warning: {sentence}")
    if trainer.step:
        folder.log(f"going on from step {trainer.step}")
    if trainer.step > steps:
        raise BadInput(f"steps={steps}: this run is already at step {trainer.step}")


def begin(folder: RunFolder, facts: Mapping[str, Any], metrics: Rows, first: Beginning | None) -> None:
    """Record what the first state of a run was taken from."""
    reached = max(facts.get("step", 0), metrics.last())
    if reached:
        raise NoCheckpoint(
            f"{folder.path}: its checkpoints are gone, though it had reached step {reached}. "
            "fresh=true sets the folder aside and starts again"
        )
    if first is not None:
        folder.note(**first.facts)
        for sentence in first.sentences:
            folder.log(sentence)


def take_from_parent(trainer: Trainer, parent: Path, at: int | None, steps: int) -> Beginning:
    """A fork: the parent's checkpoint, with whatever no longer fits started anew, said and to be recorded."""
    target = parent if at is None else parent / "checkpoints" / f"step_{int(at):08d}.pt"
    try:
        state = sampling.load_state(target)[1]
    except NoCheckpoint as error:
        raise NoCheckpoint(f"resume={parent}: has no checkpoint to go on from: {error}") from error
    try:
        left = trainer.load_state_dict(state, lenient=LENIENT)
    except NoCheckpoint as error:
        raise BadInput(f"resume={parent} fork=true: {error}") from error
    if trainer.step >= steps:
        raise BadInput(f"resume={parent} fork=true: starts at step {trainer.step}, so steps={steps} leaves nothing to train")
    facts = {"run": str(parent), "step": trainer.step, "digest": checkpoint.digest(state), "left": left}
    said = f"forked from {parent} at step {trainer.step}"
    return Beginning({"parent": facts}, [said, *(f"warning: {sentence}" for sentence in left)])


def lost_after(metrics: Rows, step: int, *, last: bool, log: int, forked: bool) -> int | None:
    """The step after which rows that a run at ``step`` must have are not there, or damaged; None where all are there.

    A run logs its first step and its ``last`` whatever ``every.log`` is; in between only damage shows, since the interval may
    have changed. The first row of a run that was ``forked`` is not known.
    """
    (first, held), damaged = metrics.ends(step), metrics.sound()
    if step and not forked and first != 1:
        return 0
    if damaged is not None and damaged < step:
        return damaged
    if last and step and held != step:
        before = held or 0
        return before if log and step // log > before // log and before // log * log + log < step else step - 1
    return None
