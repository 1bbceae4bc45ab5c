"""A run from its first step to its scores: what `ganrun train` does.

A run folder is made once and continued by whoever comes with the same config. Order within a step's end: log row,
picture, evaluation, checkpoint; rows are forced to the disk before the checkpoint that counts on them is committed, and
a resumed run drops the rows after its checkpoint and writes them again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ganrun.data.base import Dataset
from ganrun.disk import checkpoint, identity, runs, signals
from ganrun.disk.rows import Rows
from ganrun.disk.run_folder import RunFolder, now, set_aside
from ganrun.engine import answers, assemble, beforehand, best, generator_scores, papers, pictures, snapshots, sources
from ganrun.engine.doctor import Doctor
from ganrun.engine.keeper import Keeper
from ganrun.engine.loop import Trainer
from ganrun.engine.papers import note_failure
from ganrun.engine.progress import Display, scores_table, show_panel
from ganrun.engine.takeup import Beginning, beginning, take_up
from ganrun.ground.errors import BadInput, GanrunError, Stopped
from ganrun.ground.objective import Objective, Outcome, choose
from ganrun.ground.runtime import Runtime, peak_memory_mib, resolve
from ganrun.ground.spell import command, shown
from ganrun.trackers import companions


def train(
    config: Mapping[str, Any], path: Path, *, overrides: list[str], sweep: bool = False, heading: str = ""
) -> Outcome | None:
    """Train the run of ``config`` in the folder ``path`` to its end, or go on with it, or say that it is done.

    Returns what its objective reached, None where nothing is scored. Raises the errors of ``ganrun.ground.errors``. Torch's own
    state is afterwards as it was before.
    """
    identity.verify(config, path)
    with resolve(config["device"]).applied():
        return _train(config, path, overrides, sweep, heading)


def _train(config: Mapping[str, Any], path: Path, overrides: list[str], sweep: bool, heading: str) -> Outcome | None:
    display = Display(int(config["steps"]), quiet=sweep, heading=heading)
    folder = RunFolder(path, display.say)
    parts = assemble.build(config)
    for key in best.KEYS:
        choose(config.get(key), beforehand.directions(parts.metrics), key=key)  # before the data are read
    best.demand_evaluations(config)
    runtime = resolve(config["device"])
    dataset = assemble.load_data(config, parts.family)
    assemble.verify(parts, dataset)
    companions.refuse(config)
    trainer = assemble.trainer(parts, dataset, runtime)  # before the folder: what cannot be built leaves none
    assemble.check_consulted(parts)
    question = generator_scores.ask(
        metrics=parts.metrics,
        dataset=dataset,
        device=runtime.device,
        evaluation=config["evaluation"],
        averaged=bool(trainer.averages),
        say=display.say,
    )
    for why in question.lacking.values():
        display.say(f"note: {why}")
    beforehand.dry_run(parts.metrics, parts.game, dataset, runtime, config)
    objective, kept = (
        choose(config.get(key), beforehand.directions(parts.metrics), question.lacking, key=key) for key in best.KEYS
    )
    first = beginning(path, trainer, config)
    if config["fresh"] and path.is_dir() and any(not entry.name.startswith(".") for entry in path.iterdir()):
        display.say(f"fresh=true: the folder that was there is now {set_aside(path)}")
    folder.open()
    try:
        identity.verify({**config, "fresh": False}, path)  # again, now that no other process can write here
    except GanrunError:
        folder.close()
        raise
    trackers = companions.Companions(config, folder)
    try:
        run = Run(config, folder, display, parts, runtime, dataset, trainer, question, objective, kept, trackers, sweep=sweep)
        outcome = run.go(overrides, first)
    except GanrunError as error:
        note_failure(folder, error)
        raise
    except (MemoryError, torch.OutOfMemoryError) as error:
        peak = round(peak_memory_mib(runtime))
        lack = GanrunError(
            f"out of memory at a peak of {peak} MiB with batch_size={config['batch_size']}; what was saved before is untouched. "
            "Try accumulate=2: it cuts a batch into parts without changing what it means"
        )
        note_failure(folder, lack)
        raise lack from error
    finally:
        display.stop()
        trackers.end(hurry=signals.requested() is not None)
        folder.close()
    if run.failed is not None:  # the run is done all the same
        raise run.failed
    return outcome


class Run:
    """One process's work on one run folder, whose lock it holds."""

    def __init__(
        self,
        config: Mapping[str, Any],
        folder: RunFolder,
        display: Display,
        parts: assemble.Parts,
        runtime: Runtime,
        dataset: Dataset,
        trainer: Trainer,
        question: answers.Question,
        objective: Objective | None,
        kept: Objective | None,
        trackers: companions.Companions,
        *,
        sweep: bool,
    ) -> None:
        self.config, self.folder, self.display, self.sweep = config, folder, display, sweep
        self.parts, self.runtime, self.dataset, self.trainer = parts, runtime, dataset, trainer
        self.question, self.objective, self.trackers = question, objective, trackers
        self.steps, self.every = int(config["steps"]), {key: int(value) for key, value in config["every"].items()}
        self.metrics, self.scores = Rows(folder.metrics), Rows(folder.scores, holds="scores")
        self.keeper = Keeper(kept, question, config, folder, self.scores)
        self.doctor = Doctor(folder.signs, config, dataset, runtime, folder.log)
        self.draws = dataset.spec.kind == "points"  # with a title
        self.started = time.monotonic()
        self.spent = 0.0
        self.failed: GanrunError | None = None

    def go(self, overrides: list[str], first: Beginning | None) -> Outcome | None:
        reached = self.reached()
        papers.introduce(self.folder, {**self.config, "steps": max(self.steps, reached)}, overrides)
        for rows in (self.metrics, self.scores, self.doctor.rows):
            rows.run = self.folder.facts()["identity"]
        self.scores.verify()
        self.spent = papers.describe(self.folder, self.config, self.dataset, self.parts.plugins, self.runtime)
        for sentence in [*self.dataset.notes, *self.dataset.remarks, *(f"warning: {entry}" for entry in self.parts.warnings)]:
            self.folder.log(sentence)
        self.describe()
        self.sources = sources.keep(self.folder.path, self.parts.game, self.dataset)
        if reached > self.steps:
            return self.contained(reached)
        take_up(self.folder, self.trainer, self.config, self.metrics, first)
        self.cut_rows()
        self.keeper.note()
        self.trackers.start()
        if self.folder.facts().get("status") == "done" and self.trainer.step == self.steps:
            return self.already_done()
        self.folder.note(status="running")
        self.display.start(self.trainer.step)
        self.play()
        return self.finish()

    # the start

    def describe(self) -> None:
        """Say what the players' networks have to say of themselves."""
        for role, player in self.parts.game.players.items():
            for note in [note for module in player.modules() for note in getattr(module, "notes", ())]:
                self.folder.log(f"{role}: {note}")

    def reached(self) -> int:
        """The step that the run is at already, by run.json and by its checkpoints, which both must say so."""
        return min(int(self.folder.facts().get("step", 0)), max(runs.committed(self.folder.path), default=0))

    def cut_rows(self) -> None:
        """Drop rows of steps that are still to come, or that only ended a run which was shorter then."""
        folder, step = self.folder, self.trainer.step
        papers.set_steps(folder, self.steps)
        self.metrics.cut(step, folder.log)
        self.scores.cut(step, folder.log)
        self.doctor.take_up(step, folder.log)
        ended = [entry for entry in folder.facts().get("earlier_steps", []) if entry < self.steps]
        self.metrics.drop([entry for entry in ended if entry != 1 and not _due(entry, self.every["log"])])
        if not runs.committed(folder.path):
            self.save()

    # the middle

    def play(self) -> None:
        trainer, every = self.trainer, self.every
        if trainer.step == 0 and self.steps:
            self.picture()
        while trainer.step < self.steps and self.doctor.ending is None:
            looks = self.doctor.is_due(trainer.step + 1)
            if looks:
                self.doctor.before(trainer)
            trainer.advance()
            step = trainer.step
            last = step == self.steps
            if step == 1 or last or _due(step, every["log"]):
                self.log()
            if looks:
                trainer.check()
                self.doctor.look(trainer)
                last = last or self.doctor.ending is not None
            self.display.advance(step, self.doctor.words)
            if last or _due(step, every["sample"]):
                self.picture()
            scored = not last and _due(step, every["eval"])
            if scored:
                row = self.evaluate()
                if self.draws and _due(step, every["sample"]):
                    self.picture(row["scores"])  # once more, with a score in its title
            if last or _due(step, every["checkpoint"]) or _due(step, every.get("keep", 0)) or (scored and self.keeper.wants):
                self.save()
            stop = signals.requested()
            if stop and not last:
                self.save()
                again = " without fresh=true" if self.config["fresh"] else ""
                raise Stopped(f"stopped by {stop} after step {step}, and saved: the same command{again} goes on from there")

    def log(self) -> None:
        """A row of losses; the moment at which NaN and Inf are noticed."""
        trainer = self.trainer
        trainer.check()
        found = dict(trainer.terms)
        told = {self.config["loss"]["name"]: self.parts.loss.readings()}
        told |= {name: regularizer.readings() for name, regularizer in sorted(self.parts.regularizers.items())}
        for name, readings in told.items():
            found |= {f"{name}/{reading}": value for reading, value in readings.items()}
        values = torch.stack([value.float() for value in found.values()]).tolist()
        row = {"step": trainer.step, "images": trainer.images, **dict(zip(found, values, strict=True))}
        self.metrics.append({**row, "time": {"at": now(), "seconds": round(self.seconds(), 3)}})
        self.display.log(row)
        self.trackers.hear()

    def picture(self, scores: Mapping[str, Any] | None = None) -> None:
        """What fixed noise, or the kept sources, have become; ``scores`` of this step, for the title of a drawing."""
        step, first = self.trainer.step, None if self.objective is None else self.objective.name
        title = snapshots.title_of(self.config["dataset"]["name"], step, scores or {}, first)
        game, averages = self.parts.game, self.trainer.averages
        seed = int(self.config["seed"])
        made, x = snapshots.take(game, self.dataset, self.sources, self.runtime, averages, seed=seed, title=title)
        self.last_picture = self.folder.samples / f"step_{step:08d}.png"
        pictures.save_picture(made, self.last_picture, x, self.dataset.spec)

    def evaluate(self, names: Sequence[str] | None = None) -> dict[str, Any]:
        """Score the present generator by the metrics ``names``, by default all; returns the row that is written."""
        chosen = self.parts.metrics if names is None else {name: self.parts.metrics[name] for name in names}
        scores, baselines = generator_scores.evaluate(
            metrics=chosen,
            game=self.parts.game,
            averages=self.trainer.averages,
            dataset=self.dataset,
            runtime=self.runtime,
            evaluation=self.config["evaluation"],
            say=self.folder.log,
        )
        say = self.folder.log if names is None else self.folder.write  # the closing panel shows what is scored last
        return generator_scores.write_scores(self.folder, self.trainer.step, scores, baselines, say=say)

    def save(self) -> None:
        """Commit a checkpoint, unless the state is not finite."""
        self.trainer.check()
        self.trainer.check_weights()
        self.metrics.sync()
        self.scores.sync()
        self.doctor.rows.sync()
        checkpoint.save(
            self.folder.checkpoints,
            self.trainer.step,
            self.trainer.state_dict(),
            int(self.config["keep"]),
            run=self.folder.facts().get("identity"),
            each=self.every.get("keep", 0),
            pins=[*self.doctor.pins, *self.keeper.steps(self.trainer.step)],
        )
        self.folder.note(
            findings=self.doctor.facts(),
            step=self.trainer.step,
            seconds=round(self.seconds(), 3),
            peak_memory_mib=round(peak_memory_mib(self.runtime)),
        )

    def seconds(self) -> float:
        """Wall-clock spent on this run by all processes so far."""
        return self.spent + time.monotonic() - self.started

    # the end

    def finish(self) -> Outcome | None:
        """The last scores and the closing words. Safe to repeat: it changes nothing of the training state."""
        trainer = self.trainer
        self.display.stop()
        answer = self.answer()
        self.keeper.prune(self.doctor.pins)  # the last step is scored now, so it may be the best one
        if self.draws and answer.scores:
            self.picture(answer.scores)
        ending = self.doctor.ending if trainer.step < self.steps else None
        if ending is not None:
            self.folder.log(
                f"stopped by doctor at step {trainer.step}, as doctor.stop asks, and saved: {ending.title}. "
                "doctor.stop=[] goes on from here"
            )
        self.folder.note(
            status="done" if ending is None else "stopped by doctor",
            findings=self.doctor.facts(),
            ended=now(),
            step=trainer.step,
            digest=checkpoint.digest(trainer.state_dict()),
            seconds=round(self.seconds(), 3),
            peak_memory_mib=round(peak_memory_mib(self.runtime)),
        )
        return self.conclude(answer)

    def already_done(self) -> Outcome | None:
        self.display.say(f"already done: {self.folder.path}")
        return self.conclude(self.answer())

    def contained(self, reached: int) -> Outcome | None:
        """Answer for a run of fewer steps than this one has been trained with, whose first steps are that run, bit for bit.

        Nothing is trained or cut. Scores that no row holds are made from the checkpoint of that step.
        """
        file = self.folder.checkpoints / f"step_{self.steps:08d}.pt"
        for sentence in self.scores.remarks():
            self.folder.log(f"warning: {sentence}")
        answer, kept = answers.find(self.scores.read(), self.steps, self.question), self.steps in runs.committed(self.folder.path)
        if not kept and (answer.missing or not answer.scores):
            self.failed = BadInput(
                f"steps={self.steps}: this run is already at step {reached}, and its checkpoint of step {self.steps} is not kept"
                + (f", so {', '.join(answer.missing)} cannot be scored there" if answer.missing else "")
                + f". Type steps={reached}, or fresh=true, which sets the folder aside and starts again"
            )
            return None
        if answer.missing:
            state = checkpoint.read(file, self.folder.facts().get("identity"))
            self.trainer.demand_fits(state)
            self.trainer.load_state_dict(state)
            answer = answer.with_row(self.evaluate(answer.missing), self.question)
        self.trainer.step = self.steps
        self.display.say(f"already done: {self.folder.path}, which has gone on to step {reached}")
        return self.conclude(answer)

    def answer(self) -> answers.Answer:
        """The scores that are asked for, of this step: from scores.jsonl, and what it does not hold is scored now."""
        answer = answers.find(self.scores.read(), self.trainer.step, self.question)
        if answer.missing:
            answer = answer.with_row(self.evaluate(answer.missing), self.question)
        return answer

    def conclude(self, answer: answers.Answer) -> Outcome | None:
        """Show the closing panel, and say what became of the objective."""
        self.failed = generator_scores.failed_in(answer.scores)
        if not self.sweep:
            self.close(answer)
        if self.objective is None:
            return None
        held = answer.scores.get(self.objective.name, {})
        why = str(answer.scores.get(self.objective.metric, {}).get("missing", ""))
        return Outcome(self.objective, held.get("value"), self.trainer.step, why)

    def close(self, answer: answers.Answer) -> None:
        path = shown(self.folder.path)
        step = f"step_{self.trainer.step:08d}"
        last = path / "checkpoints" / f"{step}.pt"
        done = "done" if self.trainer.step == self.steps else "stopped by doctor"
        whole = self.folder.facts().get("step", 0) <= self.trainer.step
        show_panel(
            done,
            {
                "run folder": path,
                "samples": path / "samples" / f"{step}.png",
                **({"checkpoint": last} if last.exists() else {}),
                **self.keeper.words(),
                **(self.doctor.panel() if whole else {}),
                **self.trackers.places(),
                **({f"scores at step {self.trainer.step}": path / "scores.jsonl"} if answer.scores else {}),
            },
            scores_table(answer.scores, answer.baselines) if answer.scores else None,
            command("sample", path if whole else last, plugins=self.config.get("plugins") or []),
            answers.remarks_of(answer.scores),
        )


def _due(step: int, interval: int) -> bool:
    return interval > 0 and step % interval == 0
