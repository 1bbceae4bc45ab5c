"""What `ganrun eval` and `sample` do with a trained run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ganrun.engine import assemble, latents, pictures, sampling, sources
from ganrun.engine import evaluate as scoring
from ganrun.engine.progress import console, scores_table, show_panel
from ganrun.ground.content import SAMPLED
from ganrun.ground.errors import BadInput
from ganrun.ground.record import RunFolder
from ganrun.ground.spell import shown


def evaluate(target: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Score a run folder, or one checkpoint of it, and append a row to its scores.jsonl. Returns the scores."""
    path = scoring.target_folder(target)
    parts = assemble.build(config)
    if not parts.metrics:
        raise BadInput("metric=none: there is nothing to score. Try 'metric=[is,fid]'")
    dataset = assemble.load_data(config, parts.family)
    assemble.verify(parts, dataset)
    trained = sampling.Trained(target, config)
    folder = RunFolder(path, lambda line: console.print(line, markup=False))
    if folder.facts().get("data", {}).get("fingerprint") != dataset.fingerprint():
        folder.log("warning: the data set is not the one that this run was trained on")
    scores, baselines = scoring.evaluate(
        metrics=parts.metrics,
        game=trained.game,
        averages=trained.averages,
        dataset=dataset,
        runtime=trained.runtime,
        evaluation=config["evaluation"],
        say=folder.log,
    )
    scoring.write_scores(folder, trained.step, scores, baselines, say=folder.write)
    table = scores_table(scores, baselines)
    show_panel(f"scores at step {trained.step}", {"cards": shown(folder.scores)}, table, notes=scoring.remarks_of(scores))
    return scores


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
    source: Path | None = None,
) -> Path:
    """Write ``num`` samples (64 unless told) of a trained run as a picture, and each for itself if asked.

    ``source``: a folder of images for the run to translate, one sample each. Returns the picture's path.
    """
    trained = sampling.Trained(target, config, raw=raw)
    given = None if source is None else own_images(source, trained, config)
    if given is not None and (num is not None or interpolate is not None or class_grid):
        raise BadInput("--input: makes one translation of each image; leave out --num, --interpolate and --class-grid")
    num = (64 if given is None else len(given.source)) if num is None else num
    starts = trained.starts(num, given, interpolate=interpolate, class_grid=class_grid)
    x = trained.generate(
        num,
        seed=seed,
        labels=labels or None,
        truncation=truncation,
        interpolate=interpolate,
        class_grid=class_grid,
        starts=starts,
    )
    out = out or trained.folder / "samples"
    chosen = {"truncation": truncation, "interpolate": interpolate, "class_grid": class_grid or None}
    words = [f"{key}_{value}" for key, value in chosen.items() if value is not None]
    if source is not None:
        words.append(f"input_{source.resolve().name}")
    name = "_".join([f"{SAMPLED}{trained.step:08d}_seed_{seed}_num_{num}", *words])
    path = out / f"{name}.png"
    group = (len(labels) if labels else int(trained.spec.classes or 1)) if trained.game.condition.uses_labels else 1
    columns = pictures.across(len(x), group)
    if class_grid:
        columns = len(x) // int(trained.spec.classes or 1)
    elif interpolate is not None:
        columns = latents.COLUMNS
    if starts is not None and not class_grid and interpolate is None:
        picture = pictures.beside(x, trained.spec, starts.source, starts.target)
    else:
        picture = pictures.picture_of(x, trained.spec, columns=columns, table=class_grid or interpolate is not None)
    pictures.save_picture(picture, path, x, trained.spec)
    if separate:
        pictures.save_each(x, trained.spec, out / name, starts.names if starts is not None else ())
    return path


def own_images(source: Path, trained: sampling.Trained, config: Mapping[str, Any]) -> sources.Sources:
    """A person's own images as sources; ``BadInput`` for a run that has no use for them."""
    if not sources.translates(trained.game):
        raise BadInput(f"--input {source}: this run makes samples from noise and translates nothing. Leave --input out")
    return sources.read_folder(source, trained.spec, config["dataset"])
