"""``ganrun doctor RUN ...``: what the looks at a run say, in words. Reads signs.jsonl and the config alone, and never torch."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from ganrun.cli import complete, remedies
from ganrun.diseases import examination
from ganrun.diseases.base import Disease
from ganrun.disk import runs
from ganrun.disk.rows import rows_of_signs
from ganrun.disk.run_folder import RunFolder
from ganrun.ground import spell
from ganrun.ground.errors import BadInput, NoCheckpoint
from ganrun.ground.finding import Finding, Remedy

if TYPE_CHECKING:
    from ganrun.cli.trial import Trial

STANDS = 7  # the exit code where a finding stands
DEEP = ("class_modes", "modes", "precision_recall", "birthday", "memorisation", "duality_gap", "spectra")
SAMPLES = 10_000  # of --deep
LABEL = 12  # width of the labels


@dataclass(frozen=True)
class Case:
    """One run as the doctor sees it. ``remarks``: what could not be read, and what that means."""

    run: Path
    step: int
    status: str
    rows: list[dict[str, Any]]
    findings: list[Finding]
    diseases: Mapping[str, Disease]
    config: Mapping[str, Any]
    remarks: list[str]
    trials: list[Trial] = field(default_factory=list)
    deep: Mapping[str, Any] = field(default_factory=dict)

    @property
    def stands(self) -> bool:
        return bool(examination.headlines(self.findings)) or self.status == "diverged"


@dataclass(frozen=True)
class Asked:
    """What to do beside reading the looks.

    ``attempt``: fork with remedies, for ``steps`` steps, in ``out``. ``looks``: look at the checkpoints of runs without looks.
    ``deep``: score the last checkpoint.
    """

    as_json: bool = False
    attempt: bool = False
    steps: int | None = None
    out: Path | None = None
    looks: bool = False
    deep: bool = False

    @property
    def anew(self) -> bool:
        """Whether anything is trained, looked at or scored anew."""
        return self.attempt or self.looks or self.deep


def diagnose(words: Sequence[str], asked: Asked, console: Console) -> int:
    """Show what was found in each run; 7 if something stands, else 0. ``words``: runs, and overrides for what trains."""
    targets = [runs.place(word) for word in words if runs.is_meant(word)]
    overrides = [word for word in words if not runs.is_meant(word)]
    if overrides and not asked.anew:
        raise BadInput(
            f"{overrides[0]}: overrides are for --try, --looks and --deep, which work anew; and there is no such run folder"
        )
    _demand(overrides)
    if not targets:
        raise BadInput("RUN: name a run folder")
    cases = [read(target) for target in targets]
    if asked.looks:
        cases = [case if case.rows else _looked(case, overrides) for case in cases]
    if asked.deep:
        cases = [_scored(case, target, overrides) for case, target in zip(cases, targets, strict=True)]
    if asked.attempt:
        from ganrun.cli import trial

        cases = [replace(case, trials=trial.attempt(case, asked.steps, overrides, asked.out)) for case in cases]
    if asked.as_json:
        print(json.dumps([plain(case) for case in cases], indent=2, ensure_ascii=False))
    else:
        for case in cases:
            console.print(words_of(case, console.width), markup=False, highlight=False, soft_wrap=True)
        if len(cases) > 1:
            console.print(table(cases))
    return STANDS if any(case.stands for case in cases) else 0


def _demand(overrides: Sequence[str]) -> None:
    """``BadInput`` for keys that must stay the run's own."""
    allowed = complete.ALLOWED["doctor"]
    refused = [
        f"{text}: ganrun doctor takes {', '.join(allowed)}" for text in overrides if not complete.is_allowed(text, allowed)
    ]
    if refused:
        raise BadInput("\n".join(refused))


def _looked(case: Case, overrides: Sequence[str]) -> Case:
    """The same run with a look at each of its checkpoints. They lie far apart, so the first ones count as well."""
    from ganrun.cli import targets

    try:
        run, config = targets.prepare(case.run, overrides, None, complete.ALLOWED["doctor"], "doctor")
        from ganrun.engine import retrace

        rows, remarks = retrace.look_back(run, config)
    except (BadInput, NoCheckpoint) as error:
        return replace(case, remarks=[*case.remarks, f"--looks: {error}"])
    few = f"{len(rows)} looks, each one step after a checkpoint that is kept: watches, and seldom a finding"
    remarks.insert(0, f"--looks: {few if rows else 'no checkpoint is kept to look at'}")
    for disease in case.diseases.values():
        disease.grace = 0
    return replace(case, rows=rows, findings=examination.examine(rows, case.diseases), remarks=remarks)


def _scored(case: Case, target: Path, overrides: Sequence[str]) -> Case:
    """The same run with scores of its last checkpoint, as ``ganrun eval`` gives and keeps them, that tell diseases apart."""
    from ganrun.cli import targets

    chosen = [f"metric=[{','.join(DEEP)}]", f"evaluation.num={SAMPLES}", "evaluation.baselines=true"]
    allowed = (*complete.ALLOWED["doctor"], "metric", "evaluation")
    try:
        place, config = targets.prepare(target, [*overrides, *chosen], None, allowed, "doctor")
        from ganrun.engine import score_run

        return replace(case, deep=score_run.evaluate(place, config, fitting=True))
    except (BadInput, NoCheckpoint) as error:
        return replace(case, remarks=[*case.remarks, f"--deep: {error}"])


def read(target: Path) -> Case:
    """What the folder of a run, or one up to a checkpoint of it, says."""
    run, target = runs.locate(target)
    folder = RunFolder(run)
    remarks: list[str] = []
    config, facts = _papers(folder, remarks)
    step = int(facts.get("step", 0))
    held = rows_of_signs(folder)
    rows = held.read()
    remarks += (left_out := held.remarks())
    if target != run:
        step = int(target.stem.removeprefix("step_"))
        rows = [row for row in rows if row["step"] <= step]
    diseases = examination.chosen(config, remarks.append)
    if not diseases:
        remarks.append("disease=none: this run was trained with nothing to look for")
    elif not rows and not left_out:
        remarks.append(
            "no look was taken: the run is younger than its first look, was trained with doctor.every=0, or by a ganrun "
            "without a doctor; --looks looks at its checkpoints"
        )
    findings = examination.examine(rows, diseases)
    return Case(run, step, str(facts.get("status", "unknown")), rows, findings, diseases, config, remarks)


def _papers(folder: RunFolder, remarks: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The config and run.json; where one is missing or damaged, the looks alone are judged, and a remark says so."""
    config: dict[str, Any] = {}
    facts: dict[str, Any] = {}
    try:
        config = runs.read_config(folder.path)
    except BadInput as error:
        if not folder.signs.exists():
            raise
        remarks.append(f"{error}. The looks alone are judged, by the default thresholds; no command can be given")
    try:
        facts = folder.facts()
    except BadInput as error:
        if str(error) not in " ".join(remarks):
            remarks.append(str(error))
    return config, facts


def commands(case: Case, finding: Finding) -> list[tuple[Remedy, str]]:
    """Each remedy with the command that tries it."""
    found = remedies.fitting(finding, case.diseases[finding.disease], case.config)
    return [(remedy, remedies.command(case.run, finding, remedy, case.config)) for remedy in found]


# words


def words_of(case: Case, width: int) -> str:
    """The whole answer for one run."""
    head = f"{spell.shown(case.run)}: {case.status} at step {case.step}, {len(case.rows)} looks"
    lines = [head, *(f"  note: {remark}" for remark in case.remarks)]
    if case.status == "diverged":
        lines.append("doctor: the run ended with NaN or Inf; train.log names the term and the step")
    standing = examination.headlines(case.findings)
    for finding in standing:
        lines += _finding(case, finding, width)
    for finding in case.findings:
        if not finding.standing:
            lines.append(f"doctor: over since step {finding.ended}: {finding.title} (from step {finding.since})")
    for name, evidence in examination.watches(case.rows, case.diseases).items():
        lines.append(f"doctor: to watch, not yet persistent: {case.diseases[name].title}: {evidence.words}")
    if not standing and case.rows and case.status != "diverged":
        lines.append("doctor: nothing found that stands")
    if case.deep:
        said = [f"{name} {entry['value']:.4g}" for name, entry in case.deep.items() if _is_spoken(name, entry)]
        lines += _labelled("deep", f"{', '.join(said)}; beside real data in the panel, and in scores.jsonl", width)
    for entry in case.trials:
        lines += _trial(entry, width)
    lines += _labelled("not looked for", _silent(case), width)
    if case.rows:
        lines += _labelled(
            "not known",
            "whether the samples look right: distances, spread, modes and ranks were compared, images in thumbnails of 8x8",
            width,
        )
    return "\n".join(lines)


def _finding(case: Case, finding: Finding, width: int) -> list[str]:
    held, looks = finding.looks
    since = f"since step {finding.since}" + (f" (after {finding.before})" if finding.before else "")
    lines = [f"doctor: {finding.title}, {since}, named at {finding.named}"]
    lines += _labelled("evidence", f"{finding.evidence.words}; held in {held} of {looks} looks since", width)
    below = [entry.title for entry in examination.consequences(finding, case.findings)]
    if below:
        lines += _labelled("with it", "; ".join(dict.fromkeys(below)), width)
    for remedy, command in commands(case, finding)[:3]:
        lines += [f"  {'try':{LABEL}}{command}", *_labelled("", f"{remedy.why}; {remedy.record}", width)]
    return lines


def _is_spoken(name: str, entry: Mapping[str, Any]) -> bool:
    """Whether a score is one of the whole run: those of single layers stand in the panel alone."""
    return entry.get("value") is not None and "." not in name


def _trial(trial: Trial, width: int) -> list[str]:
    """What the forks of a finding came to, one below the other."""
    lines = [f"doctor: tried against {trial.disease}: forks of {trial.steps} steps from step {trial.start}"] if trial.arms else []
    for arm in trial.arms:
        found = "-" if arm.value is None else f"{arm.value:.3g}"
        stands = ", ".join(arm.standing) or "nothing found that stands"
        head = "unchanged" if arm.remedy is None else trial.verdict(arm)
        said = f"{trial.outcome} {found}; {arm.status}; {stands}"
        lines += _labelled(head, said if arm.remedy is None else f"{' '.join(arm.remedy.overrides)}: {said}", width)
    if trial.arms:
        lines += _labelled("", "one pair, on one seed: whether it helps on others is not known", width)
    return lines + [line for remark in trial.remarks for line in _labelled("note", f"{trial.disease}: {remark}", width)]


def _labelled(label: str, text: str, width: int) -> list[str]:
    if not text:
        return []
    indent = " " * (LABEL + 2)
    wrapped = textwrap.wrap(text, max(40, width - len(indent)), break_long_words=False, break_on_hyphens=False)
    return [
        f"  {label:{LABEL}}{wrapped[0]}" if len(label) < LABEL else f"  {label}  {wrapped[0]}",
        *(indent + line for line in wrapped[1:]),
    ]


def _silent(case: Case) -> str:
    by_reason: dict[str, list[str]] = {}
    for name, why in examination.silent(case.rows, case.diseases).items() if case.rows else ():
        by_reason.setdefault(why, []).append(name)
    return "; ".join(f"{', '.join(names)} ({why})" for why, names in by_reason.items())


def table(cases: Sequence[Case]) -> Table:
    """Diseases by run, the onset in the cells."""
    found = Table("run", "step", "standing, and since when", "over")
    for case in cases:
        standing = [f"{finding.disease} since {finding.since}" for finding in examination.headlines(case.findings)]
        standing += ["diverged"] if case.status == "diverged" else []
        over = [f"{finding.disease} {finding.since}-{finding.ended}" for finding in case.findings if not finding.standing]
        found.add_row(str(spell.shown(case.run)), str(case.step), "\n".join(standing) or "nothing", "\n".join(over))
    found.columns[0].overflow = "fold"
    return found


def plain(case: Case) -> dict[str, Any]:
    """As JSON has it."""
    found = []
    for finding in case.findings:
        entry = finding.plain()
        tried = commands(case, finding) if finding.standing else []
        entry["remedies"] = [{**asdict(remedy), "command": command} for remedy, command in tried]
        found.append(entry)
    return {
        "run": str(case.run),
        "step": case.step,
        "status": case.status,
        "looks": len(case.rows),
        "findings": found,
        "watches": {name: asdict(evidence) for name, evidence in examination.watches(case.rows, case.diseases).items()},
        "silent": examination.silent(case.rows, case.diseases),
        "deep": {name: entry.get("value") for name, entry in case.deep.items()},
        "trials": [trial.plain() for trial in case.trials],
        "remarks": case.remarks,
    }
