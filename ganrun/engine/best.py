"""Which checkpoint has the best score: what ``keep_best`` keeps, and what ``--best`` takes. Without torch.

It is a function of the rows of scores: of the steps that ``every.eval`` names, and the last one, that have a checkpoint, the
one with the best value under the card that the run's config asks for; of equal values the earliest. run.json holds the
question, under ``keep_best``, and no answer, so a run that was killed and goes on finds the same one.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganrun.disk import runs
from ganrun.disk.rows import rows_of_scores
from ganrun.disk.run_folder import RunFolder
from ganrun.engine import answers
from ganrun.ground.errors import BadInput
from ganrun.ground.objective import Objective, choose
from ganrun.metrics import declared

KEYS = ("objective", "keep_best")


@dataclass(frozen=True)
class KeepBest:
    """The score by which checkpoints are compared: ``objective`` under ``card``, at multiples of ``every`` and at ``last``."""

    objective: Objective
    card: Mapping[str, Any]
    every: int
    last: int

    def find(self, rows: Iterable[Mapping[str, Any]], steps: Collection[int]) -> tuple[int, float] | None:
        """(step, value) of the best of ``steps``; None where none of them has a score."""
        by_step: dict[int, list[Mapping[str, Any]]] = {}
        for row in rows:
            if row["step"] in steps and (row["step"] == self.last or (self.every and row["step"] % self.every == 0)):
                by_step.setdefault(row["step"], []).append(row)
        values = {step: self._value(held, step) for step, held in sorted(by_step.items())}
        known = [(step, value) for step, value in values.items() if value is not None]
        return min(known, key=lambda pair: -pair[1] if self.objective.higher else pair[1], default=None)

    def _value(self, rows: Sequence[Mapping[str, Any]], step: int) -> float | None:
        """The newest value at ``step`` under the card."""
        found = answers.find(rows, step, answers.Question({self.objective.metric: self.card}))
        value = found.scores.get(self.objective.name, {}).get("value")
        return float(value) if value is not None and math.isfinite(value) else None

    def facts(self) -> dict[str, Any]:
        """What run.json says of it."""
        chosen = self.objective
        named = {"score": chosen.name, "metric": chosen.metric, "higher": chosen.higher}
        return {**named, "card": dict(self.card), "every": self.every, "last": self.last}


def verify(config: Mapping[str, Any]) -> None:
    """Raise ``BadInput`` for an ``objective`` or a ``keep_best`` that cannot be, as far as ganrun's own metrics tell."""
    metrics = {name: declared.directions(name) for name, entry in config["metric"].items() if _is_chosen(entry)}
    for key in KEYS:
        if config.get(key) is not None and all(metrics.values()):
            choose(config[key], metrics, key=key)
    demand_evaluations(config)


def demand_evaluations(config: Mapping[str, Any]) -> None:
    """Raise ``BadInput`` for a ``keep_best`` of a run that is scored at its end alone."""
    if config.get("keep_best") is not None and not config["every"]["eval"]:
        every = max(1, int(config["steps"]) // 10)
        raise BadInput(
            f"keep_best={config['keep_best']}: with every.eval=0 the last step alone is scored, so nothing is to be chosen. "
            f"Add every.eval={every}, or another number of steps"
        )


def _is_chosen(entry: Any) -> bool:
    return isinstance(entry, Mapping) and "name" in entry


def checkpoint(target: str | Path) -> Path:
    """The checkpoint with the best score of the run folder ``target``. ``BadInput`` where it keeps none, or has none yet."""
    folder, place = runs.locate(runs.place(target))
    if place != folder:
        raise BadInput(f"{target}: --best chooses among the checkpoints of a run; give its folder")
    record = RunFolder(folder)
    said = record.facts().get("keep_best")
    if said is None:
        raise BadInput(
            f"{target}: --best: this run was trained without keep_best, so no checkpoint was kept for its score. "
            f"keep_best=fid every.eval=500, say, keeps it from now on; {runs.steps_in_words(folder)}"
        )
    chosen = Objective(said["score"], said["metric"], said["higher"])
    kept = KeepBest(chosen, said["card"], said["every"], said["last"])
    found = kept.find(rows_of_scores(record).read(), set(runs.committed(folder)))
    if found is None:
        raise BadInput(
            f"{target}: --best: no checkpoint of this run has a score {chosen.name} yet; {runs.steps_in_words(folder)}"
        )
    return folder / "checkpoints" / f"step_{found[0]:08d}.pt"
