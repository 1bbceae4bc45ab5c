"""``ganrun doctor RUN --try``: forks from before an onset, unchanged and with each remedy, and what became of them.

All forks of a finding start from one checkpoint with the run's own seed, so they draw the same data and the same noise: what
differs is the remedy alone. They are runs like any other, in a folder beside the run; the same command again finds them done.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from ganrun.cli import launch, remedies, signature
from ganrun.cli.compose import composer, errors_for_people
from ganrun.cli.diagnosis import Case
from ganrun.diseases import examination
from ganrun.diseases.base import Disease
from ganrun.disk import identity, runs
from ganrun.disk.rows import rows_of_signs
from ganrun.disk.run_folder import RunFolder
from ganrun.ground import spell
from ganrun.ground.errors import BadInput, Diverged
from ganrun.ground.finding import Finding, Remedy

MOST = 2  # remedies of a finding
STEPS = 1000  # at most, unless told
LOOKS = 20  # in a fork
LAST = 3  # looks whose median is compared
SAME = 0.05  # part by which two outcomes differ at least before one is called better
QUIET = (
    "metric=none",
    "tracker=none",
    "objective=null",
    "keep_best=null",
    "doctor.stop=[]",
    "every.sample=0",
    "every.eval=0",
    "every.checkpoint=0",
    "keep=1",
)


@dataclass(frozen=True)
class Arm:
    """One fork: ``value`` of the disease's outcome at its end, None where it diverged or has none, and what stood then."""

    remedy: Remedy | None
    folder: Path
    status: str
    value: float | None
    standing: tuple[str, ...]


@dataclass(frozen=True)
class Trial:
    """The forks of one finding, the unchanged one first. ``remarks``: what was not tried, and why."""

    disease: str
    start: int
    steps: int
    outcome: str
    rises: bool
    arms: list[Arm] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def verdict(self, arm: Arm) -> str:
        """``helps`` where the outcome is better and the disease is gone; else ``better``, ``worse`` or ``no better``."""
        base = self.arms[0]
        if arm.value is None or base.value is None:
            gain = float(arm.value is not None) - float(base.value is not None)
        else:
            gain = (arm.value - base.value) * (1 if self.rises else -1)
            gain = 0.0 if abs(gain) <= SAME * max(abs(arm.value), abs(base.value)) else gain
        if gain == 0:
            return "no better"
        return "worse" if gain < 0 else "better" if self.disease in arm.standing else "helps"

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        arms = [
            {
                "overrides": list(arm.remedy.overrides) if arm.remedy else [],
                "run": str(arm.folder),
                "status": arm.status,
                "value": arm.value,
                "standing": list(arm.standing),
                "verdict": self.verdict(arm) if arm.remedy else None,
            }
            for arm in self.arms
        ]
        return {**{key: getattr(self, key) for key in ("disease", "start", "steps", "outcome", "remarks")}, "arms": arms}


def attempt(case: Case, steps: int | None, words: Sequence[str], out: Path | None) -> list[Trial]:
    """Try the first remedies of each standing finding. ``words``: overrides for every fork, such as ``device.threads=1``.

    Everything is checked before the first fork trains. Raises the errors of a training; a fork that diverges is an outcome.
    """
    above = out or case.run.with_name(f"{case.run.name}-try")
    plans = [_plan(case, finding, steps, words, above) for finding in examination.headlines(case.findings)]
    for trial, lines in plans:
        if not lines:
            continue
        forks = f"the run unchanged and {len(lines) - 1} remed{'y' if len(lines) == 2 else 'ies'}"
        sys.stderr.write(f"doctor: trying {forks} against {trial.disease}, {trial.steps} steps each from step {trial.start}\n")
        for number, (remedy, line, folder) in enumerate(lines, start=1):
            what = " ".join(remedy.overrides) if remedy else "unchanged"
            known = ", already done" if RunFolder(folder).facts().get("status") == "done" else ""
            sys.stderr.write(f"doctor: fork {number} of {len(lines)}: {what}{known}\n")
            trial.arms.append(_train(trial, remedy, line, folder, case.diseases))
    return [trial for trial, _ in plans]


Line = tuple[Remedy | None, list[str], Path]


def _plan(case: Case, finding: Finding, steps: int | None, words: Sequence[str], above: Path) -> tuple[Trial, list[Line]]:
    """What will be forked, each as the overrides of ``ganrun train`` and its folder; ``BadInput`` for what cannot be."""
    run, config, disease = case.run, case.config, case.diseases[finding.disease]
    place = remedies.start(run, finding)
    outcome, rises = disease.outcome
    known = remedies.fitting(finding, disease, config)
    remarks = [f"not tried, since it needs a new run: {' '.join(entry.overrides)}" for entry in known if not entry.fork]
    chosen = [remedy for remedy in known if remedy.fork][:MOST]
    if place is None or not chosen:
        remarks.append("no checkpoint is kept to fork from" if place is None else "no remedy is known that a fork can try")
        return Trial(finding.disease, 0, 0, outcome, rises, remarks=remarks), []
    begin = runs.step_of(place)
    if begin > finding.before:
        remarks.append(f"no checkpoint from before the onset is kept: the forks start at step {begin}, after it")
    end = _end(config, begin, finding, steps)
    looks = max(1, (end - begin) // LOOKS)
    name = f"{finding.disease}-{begin}-{end}"
    shared = [f"resume={spell.quoted(str(place))}", "fork=true", f"output={spell.quoted(str(above))}", f"name={name}"]
    shared += [f"steps={end}", f"doctor.every={looks}", f"every.log={looks}", *QUIET, *words]
    plugins = config.get("plugins") or []
    if plugins and not any(word.startswith("plugins=") for word in words):
        again = spell.command("doctor", run, "--try", plugins=plugins)
        raise BadInput(f"{run}: a run folder imports nothing by itself, so type its plug-ins again: {again}")
    lines = []
    for remedy in (None, *chosen):
        line = [*shared, *(remedy.overrides if remedy else ())]
        lines.append((remedy, line, _folder(line)))
    return Trial(finding.disease, begin, end - begin, outcome, rises, remarks=remarks), lines


def _end(config: Mapping[str, Any], begin: int, finding: Finding, steps: int | None) -> int:
    """The step at which the forks end: as far as the run itself had gone when it was named, and as far again."""
    whole = int(config["steps"])
    if identity.depends_on_steps(config):
        if begin >= whole:
            raise BadInput(f"--try: the learning rate falls over the run's {whole} steps, and nothing is left of them at {begin}")
        if steps is not None and begin + steps != whole:
            raise BadInput(
                f"--steps {steps}: the learning rate falls over the run's {whole} steps, so forks from step {begin} take "
                f"{whole - begin}; leave --steps out"
            )
        return whole
    return begin + (steps or min(STEPS, 2 * max(finding.named - begin, 50)))


def _folder(line: Sequence[str]) -> Path:
    """Where the fork of these overrides will be; every mistake as ``BadInput``."""
    signature.forget()
    with errors_for_people(), composer(None) as found:
        return signature.run_folder(
            signature.plain(found.compose(launch.prepare(launch.Command(list(line)), list(line), found)))
        ).absolute()


def _train(trial: Trial, remedy: Remedy | None, line: Sequence[str], folder: Path, diseases: Mapping[str, Disease]) -> Arm:
    """Train one fork, without a panel of its own, and read what became of it from its folder, where its log is."""
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            launch.train(launch.Command(list(line)))
    except Diverged as error:
        sys.stderr.write(f"{error}\n")
    looks = rows_of_signs(RunFolder(folder)).read()
    status = str(RunFolder(folder).facts().get("status", "unknown"))
    values = [float(row[trial.outcome]) for row in looks if trial.outcome in row][-LAST:]
    standing = tuple(entry.disease for entry in examination.headlines(examination.examine(looks, diseases)))
    value = median(values) if values and status != "diverged" else None
    return Arm(remedy, folder, status, value, standing)
