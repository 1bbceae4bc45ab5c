"""``ganrun train``: from a typed line to Hydra, which composes and launches.

The line is checked whole, and rewritten where ganrun offers more than Hydra (``+experiment=``, ``resume=RUN``). One run is
started from the config that was composed for the check, by what Hydra's launchers call; a sweep, and Hydra's pages, are
handed to the public ``hydra.main`` as its command line. Hydra's errors come back as ganrun's, with exit codes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import run_job
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig

from ganrun.cli import job, places, preflight, resume, signature, starts, study, sweep, sweep_configs
from ganrun.cli.compose import (
    Composer,
    composer,
    culprit,
    errors_for_people,
    hydra_base,
    in_words,
    known_cause,
    refuse_half_a_link,
    searching,
)
from ganrun.cli.overrides import Typed, parse, readable, search, value_of
from ganrun.cli.schema import catalog, check
from ganrun.disk import current_folder, runs
from ganrun.disk.identity import STACKS, same
from ganrun.engine import best
from ganrun.ground.errors import BadInput, GanrunError, StorageFailed
from ganrun.ground.spell import quoted as quote
from ganrun.ground.spell import value
from ganrun.trackers import companions


@dataclass
class Command:
    """What was typed: overrides and Hydra's flags."""

    overrides: list[str]
    multirun: bool = False
    cfg: str | None = None
    resolve: bool = False
    package: str | None = None
    info: str | None = None
    config_dir: Path | None = None
    config_name: str = "config"
    hydra_help: bool = False
    ledger: Path | None = field(default=None, init=False)
    jobs: dict[int, str] = field(default_factory=dict, init=False)  # what each has of the sweep, where all are known
    is_done: bool = field(default=False, init=False)  # nothing is left to do of a search

    @property
    def is_one_run(self) -> bool:
        """True where one run is to be trained: no sweep, and no page of Hydra's."""
        return not (self.multirun or self.cfg or self.info or self.hydra_help)

    def flags(self) -> list[str]:
        """Hydra's own spelling of the flags."""
        said = {"--cfg": self.cfg, "--package": self.package, "--info": self.info, "--config-name": self.config_name}
        words = [word for flag, value in said.items() if value is not None for word in (flag, value)]
        on = {"--multirun": self.multirun, "--resolve": self.resolve, "--hydra-help": self.hydra_help}
        return [*words, *(flag for flag, is_on in on.items() if is_on)]


def train(command: Command) -> int:
    """Check, compose, run; the exit code. Raises ``GanrunError`` for what a person can put right."""
    signature.forget()
    fits(command)
    overrides = [text.removeprefix("+") if text.startswith("+experiment=") else text for text in command.overrides]
    job.State.failure, job.State.stopped, job.State.launching = None, False, True
    try:
        if not command.hydra_help:
            with errors_for_people(), composer(command.config_dir, command.config_name) as found:
                overrides = prepare(command, overrides, found)
                if command.is_one_run:
                    with _hydra_answers(command):
                        _run(found.compose(overrides), command)
        if not command.is_one_run and not command.is_done:
            with _hydra_answers(command), searching(command.config_dir), sweep_configs.composed_once():
                _call_hydra([*command.flags(), *overrides])
    except SystemExit as end:  # Hydra has shown a page, or said what is wrong with a flag's value
        return 2 if end.code else 0
    except GaveUp:
        sweep.summary(sweep.close(command.ledger, command.jobs) if command.ledger is not None else [])
        raise
    finally:
        job.State.launching = False
        rows = sweep.close(command.ledger, command.jobs) if command.ledger is not None else []
    if job.State.failure is not None:
        raise job.State.failure
    return sweep.summary(rows) if command.ledger is not None and not command.is_done else 0


class GaveUp(GanrunError):
    """A launcher or a sweeper ended before its jobs."""


def prepare(command: Command, overrides: Sequence[str], found: Composer) -> list[str]:
    """The overrides that Hydra gets: checked, those of ``resume=RUN`` first, a sweep's ledger last."""
    search(overrides, found)
    found.multirun = command.multirun = command.multirun or "hydra.mode=MULTIRUN" in overrides
    typed = readable(overrides, found)
    begun, fork = starts.find(typed), value_of("fork", typed) is True
    start, given, origin = None, [], "conf"
    if begun is not None:
        start = _start(begun.folder, typed, command, found)
        given, origin = start.overrides, f"resume={start.folder}"
    else:
        given = resume.architecture(typed, found)
        if given:
            sys.stderr.write(f"note: the model is that of init_from, {given[0]} with its options; model=NAME chooses another\n")
    report = check.verify(overrides, found, found.folders, multirun=command.multirun, given=given, origin=origin)
    if start is None and fork:
        report.add("fork=true: needs resume=RUN, the run to go on from")
    report.add(*companions.without_libraries(_named("tracker", typed)))
    if report.mistakes:
        raise BadInput("\n".join(report.mistakes))
    for note in report.notes:
        sys.stderr.write(f"{note}\n")
    command.multirun = report.multirun
    if command.multirun:  # values of the same keys in a file stand where they do, as Hydra's sweeper has it
        typed = [_rising(_once(entry, found), found) for entry in readable([*report.sweep, *overrides], found)]
    resumed = f"resume={quote(str(start.folder))}" if start is not None else ""
    final = [*given, *(resumed if start is not None and entry.key == "resume" else entry.spelt for entry in typed)]
    final += begun.overrides if begun is not None else []
    output = _output(found.compose(_first_jobs(final, found)), swept=command.multirun)
    if current_folder.is_gone() and not runs.place(output).is_absolute():
        raise BadInput("the current folder has been removed: cd to another one, or give output=/an/absolute/path")
    is_product = command.multirun and _is_product(final, found)
    searched = [entry.text for entry in typed if entry.override.is_interval_sweep()] if is_product else []
    if searched:
        raise BadInput(f"{searched[0]}: a search over an interval needs hydra/sweeper=optuna; the usual sweeper takes a list")
    if is_product:
        _try_jobs(final, typed, found)
    if start is not None and not fork:
        _goes_on_in_place(start, final, command, found)
        final += places.in_place(start.folder, typed)
    final += places.ours(found.compose([text for text in final if not found.parse(text).is_sweep_override()]))
    if command.multirun:
        final += _sweeping(command, final, typed, found, is_product)
    return final


def _sweeping(command: Command, final: Sequence[str], typed: Sequence[Typed], found: Composer, is_product: bool) -> list[str]:
    """The overrides that tell the jobs of their sweep."""
    composed, twins = found.compose(_first_jobs(final, found)), preflight.Twins()
    more = [] if is_product else study.overrides(composed)
    command.is_done = more is None
    command.ledger = sweep.open_ledger(composed)
    if is_product:
        command.jobs = sweep.settings(typed)
        twins = preflight.twins(final, typed, found)
        for note in twins.notes():
            sys.stderr.write(f"{note}\n")
    told = sweep.environment(command.ledger, typed, len(command.jobs), twins.before)
    return [*(more or []), *(f"+hydra.job.env_set.{name}={quote(text)}" for name, text in told.items())]


def _output(composed: DictConfig, *, swept: bool) -> str:
    """Where run folders go. ``BadInput`` for a place that Hydra cannot write down, for trackers that a file or RUN has chosen
    and that lack their libraries, and for a score that the run cannot be judged by; ``swept`` jobs at their turn."""
    if lacking := companions.without_libraries(map(str, composed.tracker)):
        raise BadInput("\n".join(lacking))
    if not swept:
        best.verify(signature.plain(composed))
    output = str(composed.output)
    refuse_half_a_link(runs.place(output), f"output={output}: choose another folder")
    return output


def _named(group: str, typed: Sequence[Typed]) -> list[str]:
    """The options of a stack that are typed, in any job."""
    values = [value for entry in typed if entry.key == group for _, value in entry.values]
    return [str(name) for value in values for name in (value if isinstance(value, list) else [value])]


def _is_product(final: Sequence[str], found: Composer) -> bool:
    """Whether the jobs are all combinations of what is typed; another sweeper decides for itself which there are."""
    target: str = found.compose(_first_jobs(final, found)).hydra.sweeper._target_
    return target == job.BASIC_SWEEPER


def _try_jobs(final: Sequence[str], typed: Sequence[Typed], found: Composer) -> None:
    """Raise ``BadInput`` for jobs that cannot be."""
    mistakes, notes = preflight.verify(final, typed, found)
    if mistakes:
        raise BadInput("\n".join(mistakes))
    for note in notes:
        sys.stderr.write(f"{note}\n")


def _once(entry: Typed, found: Composer) -> Typed:
    """A sweep whose values name a run twice (``seed=0,0``, ``lr=2e-4,0.0002``) without the second: two jobs are not one run."""
    if not entry.override.is_choice_sweep():
        return entry
    kept: list[tuple[str, Any]] = []
    for spelling, chosen in entry.values:
        alike = sorted(chosen, key=str) if isinstance(chosen, list) and entry.key in STACKS else chosen
        if any(same(alike, other) for _, other in kept):
            sys.stderr.write(f"note: {entry.text}: {spelling} stands twice, as one run; it is done once\n")
        else:
            kept.append((spelling, alike))
    if len(kept) == len(entry.values):
        return entry
    return parse(f"{entry.key}={','.join(spelling for spelling, _ in kept)}", found)


def _rising(entry: Typed, found: Composer) -> Typed:
    """A sweep over the number of steps from the fewest up: a run that is longer goes on from the shorter one."""
    values = sorted(entry.values, key=lambda pair: pair[1]) if entry.key == "steps" else entry.values
    if values == entry.values:
        return entry
    sys.stderr.write(f"note: {entry.text}: done from the fewest steps up, since a longer run goes on from the shorter one\n")
    return parse(f"{entry.key}={','.join(spelling for spelling, _ in values)}", found)


def fits(command: Command) -> None:
    """Raise ``BadInput`` for flags among the overrides, and for flags that exclude each other."""
    for text in command.overrides:
        if text.startswith("-"):
            raise BadInput(f"{text}: flags go before '--', overrides are KEY=VALUE")
    if sum((command.multirun, command.cfg is not None, command.info is not None)) > 1:
        raise BadInput("--multirun, --cfg and --info exclude each other")
    if command.cfg is None and (command.resolve or command.package is not None):
        raise BadInput("--resolve and --package go with --cfg job")


def _start(run: Path, typed: Sequence[Typed], command: Command, found: Composer) -> resume.Origin:
    if any(entry.key == "experiment" for entry in typed):
        raise BadInput("experiment: resume=RUN takes its keys from RUN; type the keys that shall differ instead")
    return resume.origin(run, typed, found, ("train", f"resume={value(str(run))}"), exact=not command.multirun)


def _goes_on_in_place(start: resume.Origin, final: list[str], command: Command, found: Composer) -> None:
    if command.multirun:
        raise BadInput(f"resume={start.folder}: -m makes many runs of one; add fork=true")
    config = signature.plain(found.compose(final))
    if config.get("fresh"):
        raise BadInput(f"fresh=true: sets a folder aside and starts again, resume={start.folder} goes on in it; choose one")
    refused = resume.refused_in_place(start, config)
    if refused:
        raise BadInput(refused)


def _first_jobs(final: Sequence[str], found: Composer) -> list[str]:
    """The overrides that all jobs of a sweep share."""
    return [text for text in final if not found.parse(text).is_sweep_override()]


@contextmanager
def _hydra_answers(command: Command) -> Iterator[None]:
    """Hydra's errors as ganrun's; a failed job that its sweeper heard of is in the ledger already."""
    try:
        with errors_for_people(), job.passing_on(command.ledger):
            yield
    except OSError as error:
        raise StorageFailed(f"{error.filename or 'output'}: cannot be written ({error.strerror or error})") from error
    except Exception as error:
        if command.ledger is None:
            raise
        sweep.wait_for_others(command.ledger)
        if isinstance(error, GanrunError) and not job.begun(command.ledger):
            raise
        if any(row["code"] for row in job.read_ledger(command.ledger)) and not sweep.missing(command.ledger):
            return
        raise GaveUp(
            f"{culprit(error) or 'the launcher'} gave up ({in_words(error)}){known_cause(error)}; {sweep.AGAIN}"
        ) from error


def _run(config: DictConfig, command: Command) -> None:
    """Run the job of ``config``, which was composed for the check already, as Hydra runs a single one."""
    loader, callbacks = GlobalHydra.instance().config_loader(), Callbacks(config)
    config.hydra.mode = RunMode.RUN
    callbacks.on_run_start(config=config, config_name=command.config_name)
    done = run_job(
        hydra_context=HydraContext(config_loader=loader, callbacks=callbacks),
        task_function=job.train_job,
        config=config,
        job_dir_key="hydra.run.dir",
        job_subdir_key=None,
    )
    callbacks.on_run_end(config=config, config_name=command.config_name, job_return=done)
    _ = done.return_value  # raises what the job raised


def _call_hydra(arguments: list[str]) -> None:
    """Call ``hydra.main`` as if ``arguments`` had been typed; it raises instead of printing and exiting."""
    main = hydra.main(config_path=str(catalog.conf_dir()), config_name="config", **hydra_base())
    argv, full_error = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv, os.environ["HYDRA_FULL_ERROR"] = ["ganrun train", *arguments], "1"
    try:
        main(job.train_job)()
    finally:
        sys.argv = argv
        if full_error is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = full_error
