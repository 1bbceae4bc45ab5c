"""What real samples that are not the reference, and noise, read by the measure of the generated ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ganrun.data.base import Dataset, to_range
from ganrun.engine import scoring
from ganrun.ground import rng
from ganrun.metrics.base import Result, Score


def has_scale(
    metrics: Mapping[str, Score], dataset: Dataset, *, evaluation: Mapping[str, Any], device: torch.device | str, say: scoring.Say
) -> bool:
    """Whether no extractor is read, or one whose scores mean something by themselves."""
    extractor = scoring.bench_of(metrics, dataset, evaluation, torch.device(device), say).extractor
    return extractor is None or extractor.published


def real_and_noise(
    metrics: Mapping[str, Score], dataset: Dataset, *, evaluation: Mapping[str, Any], device: torch.device | str, say: scoring.Say
) -> tuple[bool, bool]:
    """Whether real samples are scored beside the generated ones, and whether noise is: by default only what gives a scale to
    scores that have none, and only where images are held out."""
    asked = evaluation["baselines"]
    if asked is not None:
        return bool(asked), bool(asked)
    if dataset.held_out() is None:
        return False, False
    return not has_scale(metrics, dataset, evaluation=evaluation, device=device, say=say), False


def baselines(
    metrics: Mapping[str, Score],
    dataset: Dataset,
    *,
    num: int,
    evaluation: Mapping[str, Any],
    noise: bool = True,
    device: torch.device | str = "cpu",
    say: scoring.Say = scoring.on_stderr,
) -> dict[str, dict[str, Result]]:
    """The scores of real samples that are not the reference, and of uniform noise, at ``num`` samples where there are as many.

    The first row is ``held_out`` (``train`` where the held-out data is the reference); it is missing, and each of its results
    says so, where the data set holds nothing out. ``noise``: uniform bytes for images, uniform in the real sample's bounding
    box for points; left out unless ``noise``.
    """
    other = "train" if evaluation["reference"] == "held_out" else "held_out"
    plain = {**evaluation, "average": False}
    rows: dict[str, dict[str, Result]] = {}
    real = dataset if other == "train" else dataset.held_out()
    if real is None:
        why = "the data set holds nothing out"
        rows[other] = {name: Result({}, {"metric": name, "scored": "held-out real data"}, missing=why) for name in metrics}
    else:
        drawn = scoring.draw(real, num, "baseline")
        options: dict[str, Any] = {"evaluation": plain, "device": device, "say": say}
        rows[other] = scoring.score(metrics, drawn.x, dataset, labels=drawn.y, scored=other, **options)
    if noise:
        x = _noise(dataset, num, evaluation["seed"])
        asked = torch.arange(num) % (dataset.spec.classes or 1)
        rows["noise"] = scoring.score(metrics, x, dataset, evaluation=plain, device=device, say=say, labels=asked, scored="noise")
    names = {"held_out": "held-out real data", "train": "real training data", "noise": "uniform noise"}
    for row, results in rows.items():
        for result in results.values():
            result.card["scored"] = names[row]
            if result.values and result.card["samples"] != num:
                result.remarks.append(f"N={result.card['samples']}, all there are, instead of {num}: FID and IS move with N")
    return rows


def _noise(dataset: Dataset, num: int, seed: int) -> Tensor:
    source = rng.generator(seed, "scoring", "noise")
    if dataset.spec.kind == "image":
        return to_range(torch.randint(0, 256, (num, *dataset.spec.shape), generator=source, dtype=torch.uint8))
    box = scoring.draw(dataset, scoring.MOST_GENERATED, "noise").x
    low, high = box.amin(0), box.amax(0)
    return low + (high - low) * torch.rand(num, *dataset.spec.shape, generator=source)
