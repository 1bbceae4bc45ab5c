"""Keeps the checkpoint with the best score of a run that trains, beside those that ``keep`` and ``every.keep`` keep."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ganrun.disk import checkpoint, runs
from ganrun.disk.rows import Rows
from ganrun.disk.run_folder import RunFolder
from ganrun.engine.answers import Question
from ganrun.engine.best import KeepBest
from ganrun.ground.objective import Objective


class Keeper:
    """What ``keep_best`` of ``config`` asks; it keeps nothing where ``score`` is None."""

    def __init__(
        self, score: Objective | None, question: Question, config: Mapping[str, Any], folder: RunFolder, scores: Rows
    ) -> None:
        self.folder, self.scores, self.config = folder, scores, config
        self.asked = None
        if config.get("keep_best") is not None and score is not None:
            self.asked = KeepBest(score, question.cards[score.metric], int(config["every"]["eval"]), int(config["steps"]))

    @property
    def wants(self) -> bool:
        """Whether a step that is scored must have a checkpoint."""
        return self.asked is not None

    def note(self) -> None:
        """Let run.json say by which score the best one is found."""
        self.folder.note(keep_best=None if self.asked is None else self.asked.facts())

    def steps(self, present: int | None = None) -> list[int]:
        """The step of the best checkpoint, one of the step ``present`` included that is about to be saved; none without one."""
        found = self._find({*runs.committed(self.folder.path), *([] if present is None else [present])})
        return [] if found is None else [found[0]]

    def prune(self, pins: Collection[int]) -> None:
        """Let go of a checkpoint that is the best no more, once the last step has been scored. ``pins``: others that stay."""
        if self.asked is not None:
            keep, each = int(self.config["keep"]), int(self.config["every"].get("keep", 0))
            checkpoint.prune(self.folder.checkpoints, keep, each, [*pins, *self.steps()])

    def words(self) -> dict[str, str]:
        """A line of the closing panel: which checkpoint ``--best`` takes."""
        found = self._find(set(runs.committed(self.folder.path)))
        if self.asked is None or found is None:
            return {}
        return {f"best {self.asked.objective.name}": f"{found[1]:.4g} at step {found[0]}; --best takes that checkpoint"}

    def _find(self, steps: Collection[int]) -> tuple[int, float] | None:
        return None if self.asked is None else self.asked.find(self.scores.read(), steps)
