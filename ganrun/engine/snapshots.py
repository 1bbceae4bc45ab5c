"""The picture that a run draws now and then: what fixed noise, or the kept sources, have become."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ganrun.data.base import Dataset
from ganrun.engine import pictures, sampling
from ganrun.engine.ema import EMA
from ganrun.engine.progress import with_spread
from ganrun.engine.sources import Sources
from ganrun.games.base import Game
from ganrun.ground.runtime import Runtime

POINTS = 1000


def real_points(dataset: Dataset) -> Tensor | None:
    """The real points that a drawing is over: (n, d), n at most ``POINTS``; None for other data."""
    return dataset.batch(torch.arange(min(len(dataset), POINTS))).x if dataset.spec.kind == "points" else None


def take(
    game: Game, dataset: Dataset, kept: Sources | None, runtime: Runtime, averages: Mapping[str, EMA], *, seed: int, title: str
) -> tuple[Image.Image, Tensor]:
    """(the picture, the samples on it) of the present players. ``kept``: the sources of a run that translates."""
    spec, labelled = dataset.spec, game.condition.uses_labels
    columns = 8
    if labelled and spec.classes:
        columns = spec.classes if 8 < spec.classes <= 16 else pictures.across(64, spec.classes)
    count = POINTS if spec.kind == "points" else columns * 8
    x = sampling.generate(
        game,
        count if kept is None else len(kept.source),
        seed=seed,
        runtime=runtime,
        averages=averages,
        labels=None if kept is None or not labelled else kept.labels,
        sources=None if kept is None else kept.source,
    )
    real = real_points(dataset)
    if kept is None:
        return pictures.picture_of(x, spec, real, columns, title=title), x
    return pictures.beside(x, spec, kept.source, kept.target if real is None else real, title), x


def title_of(name: str, step: int, scores: Mapping[str, Any], first: str | None) -> str:
    """``ring8 at step 500, modes 7 ±0.5``: the score ``first`` where it is among ``scores``, else the first of them."""
    known = {score: entry for score, entry in scores.items() if entry["value"] is not None}
    shown = first if first in known else next(iter(known), None)
    return f"{name} at step {step}" + ("" if shown is None else f", {shown} {with_spread(known[shown])}")
