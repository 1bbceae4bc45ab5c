"""What `ganrun eval` and `sample` do with a trained run."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ganrun.disk import checkpoint
from ganrun.disk.image_folder import SAMPLED
from ganrun.disk.rows import Rows, rows_of_scores
from ganrun.disk.run_folder import RunFolder
from ganrun.disk.storage import storage_errors
from ganrun.engine import assemble, beforehand, generator_scores, handout, pictures, sampling, sources
from ganrun.engine.choice import Wish
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
        show_panel(f"scores at step {trained.step}", cards, table, notes=generator_scores.remarks_of(scores))
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


def sample(
    target: Path,
    *,
    num: int | None,
    seed: int,
    out: Path | None,
    config: Mapping[str, Any],
    raw: bool = False,
    labels: list[int] | None = None,
    separate: bool = False,
    truncation: float | None = None,
    interpolate: str | None = None,
    class_grid: bool = False,
    traverse: str | None = None,
    arithmetic: str | None = None,
    reject: float | None = None,
    source: Path | None = None,
) -> Path:
    """Write ``num`` samples (64 unless told) of a trained run as a picture, and each for itself if asked.

    ``source``: a folder of images for the run to translate, one sample each. Returns the picture's path: each request has a
    name of its own, and nothing that is there is overwritten.
    """
    trained = sampling.Trained(target, config, raw=raw)
    given = None if source is None else own_images(source, trained, config)
    asked, num = num, (64 if given is None else len(given.source)) if num is None else num
    wish = Wish(num, seed, labels or None, truncation, interpolate, class_grid, traverse, arithmetic, reject)
    table = wish.table() is not None
    if given is not None and (asked is not None or table or reject is not None):
        raise BadInput("--input: makes one translation of each image; leave out --num, --interpolate and --class-grid")
    starts = trained.starts(num, given, interpolate=interpolate, class_grid=class_grid)
    choice = trained.choose(wish)
    x = trained.make(choice, seed=seed, starts=starts)
    if choice.note:
        sampling.print_warning(f"note: {choice.note}")
    if asked is not None and len(x) != asked:
        sampling.print_warning(f"note: --num {asked}: makes {len(x)} samples, as many as fill rows of equal length")
    group = (len(labels) if labels else int(trained.spec.classes or 1)) if trained.game.condition.uses_labels else 1
    columns = choice.columns or pictures.across(len(x), group)
    if starts is not None and not table:
        picture = pictures.beside(x, trained.spec, starts.source, starts.target)
    else:
        picture = pictures.picture_of(x, trained.spec, columns=columns, table=table)
    standing = config["evaluation"].get("standing", 0)
    request = {
        "run": trained.folder.resolve().name,
        "step": trained.step,
        "seed": seed,
        "num": num,
        "raw": raw,
        "labels": labels or None,
        "truncation": truncation,
        "interpolate": interpolate,
        "class_grid": class_grid,
        **({"traverse": traverse} if traverse else {}),
        **({"arithmetic": arithmetic} if arithmetic else {}),
        **({"standing": standing} if standing else {}),
        **({"reject": reject} if reject is not None else {}),
        "input": None if source is None else source.resolve().name,
    }
    exact = {"weights": trained.digest, "precision": trained.runtime.precision, **({} if given is None else vars(given))}
    out, stem = out or trained.folder / "samples", handout.name(spoken(request), {**request, "exact": checkpoint.digest(exact)})
    files = {".png": lambda: pictures.png(picture, json.dumps(request))}
    if trained.spec.kind == "tokens":
        files[".txt"] = lambda: pictures.text_of(x, trained.spec)
    if separate:
        names = starts.names if starts is not None else ()
        files |= {f"/{end}": make for end, make in pictures.pieces(x, trained.spec, names).items()}
    return out / f"{handout.write(out, stem, files)}.png"


def spoken(request: Mapping[str, Any]) -> list[str]:
    """The words of a file's name that tell this request from the usual one: ``step_00002000 seed_0 num_64 raw label_3``."""
    words = [f"{SAMPLED}{request['step']:08d}", f"seed_{request['seed']}", f"num_{request['num']}"]
    for key, entry in request.items():
        if key in ("raw", "class_grid") and entry:
            words.append(key)
        elif key == "labels" and entry:
            words.append("label_" + "_".join(map(str, entry)))
        elif key == "traverse":
            words.append("traverse" if entry == "auto" else f"traverse_{entry}")
        elif key == "reject":
            words.append(f"reject_{entry:g}")
        elif key == "arithmetic":
            words.append("sum_" + entry.replace(" ", "").replace("+", "_plus_").replace("-", "_minus_").replace("*", "x"))
        elif key in ("truncation", "interpolate", "standing", "input") and entry is not None:
            words.append(f"{key}_{entry}")
    return words


def own_images(source: Path, trained: sampling.Trained, config: Mapping[str, Any]) -> sources.Sources:
    """A person's own images as sources; ``BadInput`` for a run that has no use for them."""
    if not sources.translates(trained.game):
        raise BadInput(f"--input {source}: this run makes samples from noise and translates nothing. Leave --input out")
    return sources.read_folder(source, trained.spec, config["dataset"])
