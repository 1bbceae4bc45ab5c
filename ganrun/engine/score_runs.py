"""What ``ganrun eval`` does with several trained runs: scores what is not scored yet, and compares."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ganrun.disk.rows import rows_of_scores
from ganrun.disk.run_folder import RunFolder
from ganrun.engine import answers, assemble, beforehand, compare, generator_scores, sampling, score_run
from ganrun.engine.compare import Entry
from ganrun.engine.progress import console, say
from ganrun.ground.errors import BadInput
from ganrun.ground.runtime import resolve
from ganrun.ground.spell import shown


def compare_runs(
    entries: Sequence[Entry],
    names: Sequence[str],
    keys: Sequence[Mapping[str, Any]],
    groups: Sequence[int],
    *,
    reference: int = 0,
    out: Path | None = None,
) -> compare.Comparison:
    """Score what is not scored, show the table, return its numbers. Entry i is of the setting ``names[groups[i]]``.

    ``keys``: of each setting those in which they differ. ``reference``: the place in ``names`` of the setting that the others are
    compared with.
    """
    for place, name in enumerate(names):
        seeds = [entry.seed for entry, group in zip(entries, groups, strict=True) if group == place]
        doubled = sorted({seed for seed in seeds if seeds.count(seed) > 1})
        if doubled:
            raise BadInput(f"{name}: two runs of this setting have seed={doubled[0]}; name each once, and one checkpoint of it")
    heard: set[str] = set()

    def tell(line: str) -> None:
        """Say what is said of several runs once."""
        if line not in heard:
            heard.add(line)
            say(line)

    for entry in entries:
        entry.scores = scores_of(entry, out, tell)
    settings = [[entry for entry, group in zip(entries, groups, strict=True) if group == place] for place in range(len(names))]
    found = compare.summarise(settings, names, reference, keys)
    for line in compare.table(found, columns=console.width):
        console.print(line, markup=False)
    found.notes = [*compare.steps_in_words(entries), *found.notes, *compare.remarks_of(entries)]
    for sentence in found.notes:
        say(f"note: {sentence}")
    return found


def scores_of(entry: Entry, out: Path | None, tell: Callable[[str], None]) -> dict[str, Any]:
    """The scores of this checkpoint under the cards that are asked for, from scores.jsonl; what is missing is scored now."""
    with resolve(entry.config["device"]).applied():
        trained = sampling.Trained(entry.target, entry.config, with_metrics=True)
        entry.step, folder = trained.step, RunFolder(trained.folder, tell)
        question = asked(entry, trained, folder)
        held = rows_of_scores(folder)
        for sentence in held.remarks():
            tell(f"warning: {sentence}")
        answer = answers.find(held.read(), entry.step, question, strict=True)
        if not answer.missing:
            tell(f"{shown(folder.path)}: scored already at step {entry.step}")
            return answer.scores
        missing = {name: trained.parts.metrics[name] for name in answer.missing}
        return answer.with_row({"scores": score_run.score(trained, missing, out=out, tell=tell)}, question).scores


def asked(entry: Entry, trained: sampling.Trained, folder: RunFolder) -> answers.Question:
    """What the config asks of a run, as cards, before anything is scored."""
    parts = trained.parts
    if not parts.metrics:
        raise BadInput(score_run.NOTHING)
    for found in beforehand.directions(parts.metrics).values():
        entry.directions |= found
    assemble.verify(parts, trained.dataset)
    return generator_scores.ask(
        metrics=parts.metrics,
        dataset=trained.dataset,
        device=trained.runtime.device,
        evaluation=entry.config["evaluation"],
        averaged=bool(trained.averages),
        say=folder.say,
    )
