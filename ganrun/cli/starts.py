"""From which checkpoint a command starts: ``resume=RUN``, ``resume=RUN/checkpoints/step_XXXXXXXX.pt``, ``at=STEP``.

A checkpoint's file and ``at`` are two spellings of one thing. Only a fork may start before the newest checkpoint: in place, the
steps after it would be lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ganrun.cli.overrides import Typed, value_of
from ganrun.disk import runs
from ganrun.ground import spell
from ganrun.ground.errors import BadInput


@dataclass(frozen=True)
class Start:
    """The run folder that ``resume`` names, and the overrides that say the rest of what a checkpoint's file says."""

    folder: Path
    overrides: list[str]


def find(typed: Sequence[Typed]) -> Start | None:
    """What ``typed`` goes on from, None for a run that starts anew; ``BadInput`` where it says nothing that can be done."""
    run, fork = value_of("resume", typed), value_of("fork", typed) is True
    asked = [(entry.text, value) for entry in typed if entry.key == "at" for _, value in entry.values if value is not None]
    if run is None:
        if asked:
            raise BadInput(f"{asked[0][0]}: needs resume=RUN fork=true, the run whose checkpoint to start from")
        return None
    folder, named = _parts(runs.place(str(run)))
    for text, value in asked:
        if named is not None and value != named:
            raise BadInput(f"{text}: resume={run} names step {named}; leave one of them out")
    if fork:  # whether the step is there is asked where the fork begins: one that has begun needs it no more
        return Start(folder, [f"at={named}"] if named is not None and not asked else [])
    steps, shown = runs.committed(folder), spell.value(str(spell.shown(folder)))
    if {named, *(value for _, value in asked)} - {None, *steps}:
        raise BadInput(f"{asked[0][0] if asked else f'resume={run}'}: {runs.steps_in_words(folder)}")
    last = max(steps, default=None)
    for step in {named, *(value for _, value in asked)} - {None, last}:
        raise BadInput(
            f"{asked[0][0] if asked else f'resume={run}'}: the run has gone on to step {last}, and goes on from there: "
            f"{spell.command('train', f'resume={shown}')}. To start from step {step}, in a folder of its own: "
            f"{spell.command('train', f'resume={shown}', f'at={step}', 'fork=true')}"
        )
    if asked:
        raise BadInput(
            f"{asked[0][0]}: is for forks: {spell.command('train', f'resume={shown}', f'at={last}', 'fork=true')}. "
            f"To go on in place, leave it out: {spell.command('train', f'resume={shown}')}"
        )
    return Start(folder, [])


def _parts(place: Path) -> tuple[Path, int | None]:
    """(run folder, step) of what ``resume`` names; no step for a run folder."""
    if runs.CHECKPOINT.fullmatch(place.name) and place.parent.name == "checkpoints" and not place.is_dir():
        return place.parent.parent, runs.step_of(place)
    return (runs.locate(place)[0] if place.exists() else place), None
