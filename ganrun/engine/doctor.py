"""From looks to findings: when to look, what a row holds, and which conditions persisted. It names no sign and no disease.

Findings follow from the rows alone, so they are the same while a run trains, after it was resumed, and from its folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ganrun.data.base import Dataset
from ganrun.diseases.examination import chosen, examine, headlines, onsets
from ganrun.disk.rows import Rows
from ganrun.engine.loop import Trainer
from ganrun.engine.observer import Observer
from ganrun.ground.errors import BadInput, suggestion
from ganrun.ground.finding import Finding
from ganrun.ground.runtime import Runtime


def is_due(step: int, every: int | None) -> bool:
    """Whether a look is due after ``step``: a function of the step alone, so that a longer run has the same rows.

    None: at 25, 50 and 100, then every 250 steps to 1500, every 500 to 10,000, every 2500 from there on. 0: never.
    """
    if every is not None:
        return every > 0 and step > 0 and step % int(every) == 0
    if step in (25, 50, 100):
        return True
    return step > 0 and step % (250 if step <= 1500 else 500 if step <= 10_000 else 2500) == 0


def options_of(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The doctor's options; those of a run of before there were any."""
    return config.get("doctor") or {"every": 0, "samples": 256, "stop": []}


class Doctor:
    """Looks at one run while it trains. ``say`` hears of every finding that starts or ends, and of a sign that fails.

    ``words``: what stands, in a few words, for a bar or a table. ``ending``: the standing finding that ``doctor.stop`` names, if
    there is one. ``pins``: looks from before what stands, so that a checkpoint from before them is kept.
    """

    def __init__(
        self,
        path: Path,
        config: Mapping[str, Any],
        dataset: Dataset,
        runtime: Runtime,
        say: Callable[[str], None],
    ) -> None:
        self.rows, self.say = Rows(path), say
        options = options_of(config)
        self.every = options["every"]
        self.diseases = chosen({"disease": {}, **config}, lambda sentence: say(f"note: {sentence}"))
        self.stop = list(options.get("stop") or [])
        for name in self.stop:
            if name not in self.diseases:
                raise BadInput(
                    f"doctor.stop=[{','.join(self.stop)}]: {name!r} is not looked for. {suggestion(name, self.diseases)}"
                )
        self.observer = Observer(dataset, runtime, int(options["samples"]), say)
        self.findings: list[Finding] = []
        self.words = ""
        self.ending: Finding | None = None
        self.pins: list[int] = []
        self._seen: list[dict[str, Any]] | None = None

    def is_due(self, step: int) -> bool:
        return bool(self.diseases) and is_due(step, self.every)

    def take_up(self, step: int, warn: Callable[[str], None]) -> None:
        """Drop the rows after ``step``: a resumed run writes them again."""
        self.rows.cut(step, warn)
        self._seen = self.rows.read()
        self._take(examine(self._seen, self.diseases))

    def before(self, trainer: Trainer) -> None:
        """Keep the weights as they are before the step that will be looked at."""
        self.observer.before(trainer)

    def look(self, trainer: Trainer) -> None:
        """Write a row for the step that is done, and say what started or ended with it."""
        seen = self.rows.read() if self._seen is None else self._seen
        row = self.observer.row(trainer, seen)
        self.rows.append(row)
        self._seen = [*seen, row]
        self._announce(examine(self._seen, self.diseases), trainer.step)

    def _announce(self, now: Sequence[Finding], step: int) -> None:
        standing = {finding.disease for finding in headlines(self.findings)}
        present = {finding.disease: finding for finding in headlines(now)}
        for name, finding in present.items():
            if name not in standing:
                self.say(f"doctor: {finding.title}, since step {finding.since}: {finding.evidence.words}")
        for finding in headlines(self.findings):
            if finding.disease not in present:
                self.say(f"doctor: over at step {step}: {finding.title}")
        self._take(now)

    def _take(self, now: Sequence[Finding]) -> None:
        """Hold what is found until the next look: the loop asks at every step."""
        self.findings, standing = list(now), headlines(now)
        self.words = ", ".join(finding.disease for finding in standing)
        self.ending = next((finding for finding in standing if finding.disease in self.stop), None)
        self.pins = onsets(self._seen or [], self.diseases)

    def facts(self) -> list[dict[str, Any]]:
        """What run.json keeps: every finding, standing or over."""
        return [finding.plain() for finding in self.findings]

    def panel(self) -> dict[str, str]:
        """The row of the closing panel; none where nothing was looked for."""
        if not self.diseases or not self._seen:
            return {}
        standing = [f"{finding.disease} since step {finding.since}" for finding in headlines(self.findings)]
        return {"doctor": ", ".join(standing) + ": ganrun doctor says more" if standing else "nothing found that stands"}
