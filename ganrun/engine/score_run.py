"""What ``ganrun eval`` does with one trained run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ganrun.disk.rows import Rows, rows_of_scores
from ganrun.disk.run_folder import RunFolder
from ganrun.disk.storage import storage_errors
from ganrun.engine import answers, assemble, beforehand, generator_scores, sampling
from ganrun.engine.progress import console, scores_table, show_panel
from ganrun.ground.errors import BadInput, StorageFailed
from ganrun.ground.runtime import resolve
from ganrun.ground.spell import shown

NOTHING = "metric=none: there is nothing to score. Try 'metric=[is,fid]'"


def evaluate(
    target: Path,
    config: Mapping[str, Any],
    *,
    out: Path | None = None,
    fitting: bool = False,
    tell: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Score a run folder, or one checkpoint of it, and append a row to its scores.jsonl, or to ``out``. Returns the scores.

    ``out``: a file, or a folder, whose scores.jsonl it is. A run folder that may only be read is scored and shown all the same.
    ``fitting``: metrics that cannot be had of this run are left out, and that is said; else they are refused.
    ``tell``: takes what is said on the way, where this is one of several runs: scores and remarks are then the asker's to show.
    """
    with resolve(config["device"]).applied():
        trained = sampling.Trained(target, config, with_metrics=True)
        if not trained.parts.metrics:
            raise BadInput(NOTHING)
        if fitting:
            for sentence in assemble.leave_out_misfits(trained.parts, trained.dataset):
                console.print(f"note: {sentence}", markup=False)
        assemble.verify(trained.parts, trained.dataset)
        return score(trained, trained.parts.metrics, out=out, tell=tell)


def score(
    trained: sampling.Trained, metrics: Mapping[str, Any], *, out: Path | None, tell: Callable[[str], None] | None
) -> dict[str, Any]:
    """What ``evaluate`` does with a run that is loaded; ``metrics`` are those of its parts that are asked for now."""
    dataset, config, path = trained.dataset, trained.config, trained.folder
    folder = RunFolder(path, tell or (lambda line: console.print(line, markup=False)))
    whose = "" if tell is None else f"{shown(path)}: "
    place, why = place_of(folder, out)
    say, write = (folder.log, folder.write) if place == folder.scores else (folder.say, lambda line: None)
    if why:
        say(f"warning: {whose}{why}: the scores are shown, not kept; --out FILE keeps them elsewhere")
    held = rows_of_scores(folder)
    for sentence in held.remarks():
        say(f"warning: {sentence}")
    generator_scores.ask(
        metrics=metrics,
        dataset=dataset,
        device=trained.runtime.device,
        evaluation=config["evaluation"],
        averaged=bool(trained.averages),
        say=say,
    )
    beforehand.dry_run(metrics, trained.game, dataset, trained.runtime, config)
    if folder.facts().get("data", {}).get("fingerprint") != dataset.fingerprint():
        say(f"warning: {whose}the data set is not the one that this run was trained on")
    scores, baselines = generator_scores.evaluate(
        metrics=metrics,
        game=trained.game,
        averages=trained.averages,
        dataset=dataset,
        runtime=trained.runtime,
        evaluation=config["evaluation"],
        say=say,
    )
    row = generator_scores.row_of(trained.step, scores, baselines)
    if place is not None:
        Rows(place, held.holds, held.run).append(row if out is None else {"run": str(path), **row})
    generator_scores.say_scores(row, write)
    if tell is None:
        table, cards = scores_table(scores, baselines), {} if place is None else {"cards": shown(place)}
        show_panel(f"scores at step {trained.step}", cards, table, notes=answers.remarks_of(scores))
    else:
        tell(f"{whose}scored at step {trained.step}" + ("" if place is None else f", in {shown(place)}"))
    if failed := generator_scores.failed_in(scores):
        raise failed
    return scores


def place_of(folder: RunFolder, out: Path | None) -> tuple[Path | None, str]:
    """(where scores go, None where they cannot, and why). ``StorageFailed`` for an ``out`` that cannot be written, at once."""
    if out is not None:
        chosen = out.expanduser()
        chosen = chosen / "scores.jsonl" if chosen.is_dir() or not chosen.suffix else chosen
        with storage_errors(chosen):
            chosen.parent.mkdir(parents=True, exist_ok=True)
        Rows(chosen).verify()
        return chosen, ""
    try:
        Rows(folder.scores).verify()
        with storage_errors(folder.journal), open(folder.journal, "a"):
            pass
    except StorageFailed as error:
        return None, str(error).partition(". ")[0]
    return folder.scores, ""
