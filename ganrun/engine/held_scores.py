"""Runs to compare by the scores that they have: their scores.jsonl alone, without torch and without scoring anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ganrun.disk import runs
from ganrun.disk.rows import rows_of_scores
from ganrun.disk.run_folder import RunFolder
from ganrun.engine.answers import whole
from ganrun.engine.compare import NAMED, Entry, key_of
from ganrun.ground.errors import BadInput, suggestion
from ganrun.ground.spell import shown
from ganrun.metrics import declared


def read(target: Path) -> tuple[Entry, list[str]]:
    """(the run with its last scores, or those of the checkpoint ``target``, and what must be said of rows that are left out).

    Of each score the newest under each card counts. ``BadInput`` for a folder that cannot be read.
    """
    path, target = runs.locate(target)
    folder = RunFolder(path)
    folder.verify()
    config, held = runs.read_config(path), rows_of_scores(folder)
    rows = held.read()
    step = runs.step_of(target) if target != path else max((row["step"] for row in rows), default=None)
    found: dict[tuple[str, str], Any] = {}
    for row in rows:
        for name, entry in row["scores"].items():
            if row["step"] == step and whole(entry):
                found[str(name), key_of(entry["card"])] = entry
    made = Entry(target, config, int(config["seed"]), step=step)
    for (name, _), entry in found.items():
        if name not in made.scores:
            made.scores[name] = entry
        else:
            made.also.append((name, entry))
        made.directions[name] = direction(name, entry)
    return made, held.remarks()


def direction(score: str, entry: Mapping[str, Any]) -> bool | None:
    """Whether more of a score is better: as its row says, else as the metric's source does; None where neither does."""
    said = entry.get("higher")
    return said if isinstance(said, bool) else declared.directions(entry["card"]["metric"]).get(score)


def choose(entries: Sequence[Entry], scores: Sequence[str]) -> None:
    """Leave the runs only the scores named; all where none is. ``BadInput`` for one that no run has."""
    known = dict.fromkeys(name for entry in entries for name, _ in entry.all_scores())
    unknown = [name for name in scores if name not in known]
    if unknown:
        raise BadInput("\n".join(f"--score {name}: no run has it. {suggestion(name, known)}" for name in unknown))
    for entry in entries if scores else []:
        entry.scores = {name: entry.scores[name] for name in scores if name in entry.scores}
        entry.also = [(name, held) for name, held in entry.also if name in scores]


def one_step(groups: Sequence[Sequence[Entry]]) -> tuple[list[list[Entry]], list[str]]:
    """(the runs of each setting that were scored at its last step, and what is said of those that were not).

    A mean over seeds is one of runs that have come as far. Runs without scores are left out too, and of two runs with the same
    seed whose scores are the same the second; ``BadInput`` where two differ.
    """
    kept, said, mistakes = [], [], []
    for entries in groups:
        scored = [entry for entry in entries if entry.scores]
        said += _left_out([entry for entry in entries if not entry.scores], "no scores yet: ganrun eval RUN makes them")
        last = max((entry.step or 0 for entry in scored), default=0)
        behind = [entry for entry in scored if (entry.step or 0) < last]
        said += _left_out(behind, f"scored last at an earlier step than step {last}, where the others of this setting stand")
        own: dict[int, Entry] = {}
        for entry in [entry for entry in scored if entry.step == last]:
            first = own.setdefault(entry.seed, entry)
            if first is not entry and _values(first) != _values(entry):
                pair = f"{shown(first.target)} and {shown(entry.target)}"
                mistakes.append(f"{pair}: are of one setting and seed={entry.seed}, with other scores. Name one of them")
            elif first is not entry:
                said += _left_out([entry], f"the same run as {shown(first.target)}")
        kept.append(list(own.values()))
    if mistakes:
        raise BadInput("\n".join(mistakes))
    return kept, said


def _values(entry: Entry) -> dict[str, Any]:
    return {name: held["value"] for name, held in entry.scores.items()}


def _left_out(entries: Sequence[Entry], why: str) -> list[str]:
    if not entries:
        return []
    listed = ", ".join(str(shown(entry.target)) for entry in entries[:NAMED])
    more = f" and {len(entries) - NAMED} more runs" if len(entries) > NAMED else ""
    return [f"left out: {listed}{more}: {why}"]
