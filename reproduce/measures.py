"""Numbers that no metric of ganrun has, taken from a finished run: a probe, labels that came out right, noise that is ignored."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import ganrun

if TYPE_CHECKING:
    from torch import Tensor


def label_accuracy(folder: Path, *, each: int = 100) -> float:
    """Share of ``each`` samples of every class that the shipped digits classifier names as the class that was asked for."""
    import torch

    from ganrun.metrics.classifier import shipped

    trained = ganrun.load(folder, device="cpu")
    classes = int(trained.spec.classes or 0)
    labels = [label for label in range(classes) for _ in range(each)]
    images = trained.sample(len(labels), seed=0, labels=labels)
    judge = shipped()[0].network()
    if tuple(images.shape[1:]) != (1, 8, 8):
        raise ValueError(f"{folder}: makes images of {tuple(images.shape[1:])}, and the digits classifier reads (1, 8, 8)")
    with torch.no_grad():
        named = judge(images * 2 - 1)[1].argmax(1)
    return (named == torch.tensor(labels)).double().mean().item()


def noise_effect(folder: Path, *, inputs: int = 64, draws: int = 8) -> float:
    """Mean standard deviation of a pixel over noise at a fixed input, over that of a pixel over inputs at a fixed noise.

    0 where the generator ignores its noise; 1 where noise moves the output as much as the input does.
    """
    import torch

    from ganrun.engine.sources import load as sources_of

    trained = ganrun.load(folder, device="cpu")
    sources = sources_of(trained.folder, trained.spec).source[:inputs]
    pixels = sources / 2 + 0.5
    made = torch.stack([trained.sample(len(sources), seed=draw, sources=pixels) for draw in range(draws)]).double()
    return (made.std(0).mean() / made.std(1).mean()).item()


def sharpness(folder: Path) -> float:
    """Mean absolute difference of neighbouring pixels of the translations over that of the right answers; below 1: blurred."""
    from ganrun.engine.sources import load as sources_of

    trained = ganrun.load(folder, device="cpu")
    pairs = sources_of(trained.folder, trained.spec)
    if pairs.target is None:
        raise ValueError(f"{folder}: sharpness is over that of the right answers, and the data set has no pairs")
    made = trained.sample(len(pairs.source), seed=0, sources=pairs.source / 2 + 0.5) * 2 - 1
    return _variation(made) / _variation(pairs.target)


def _variation(images: Tensor) -> float:
    """Mean over all pairs of neighbours of |difference|; images (n, channels, height, width)."""
    return sum(images.double().diff(dim=axis).abs().mean().item() for axis in (2, 3)) / 2


def distance_from_negative(folder: Path) -> float:
    """Mean |G(s) + s| over the run's sources s in [-1, 1]: 0 where negatives are undone, however unlike the images are."""
    trained = ganrun.load(folder, device="cpu")
    from ganrun.engine.sources import load as sources_of

    sources = sources_of(trained.folder, trained.spec).source
    made = trained.sample(len(sources), seed=0, sources=sources / 2 + 0.5) * 2 - 1
    return (made + sources).abs().double().mean().item()


def probe(folder: Path, *, features: str, minus: str | None = None, labels: int = 300) -> float:
    """Held-out accuracy of a linear probe on ``features``, less that of the control ``minus``."""
    found = _probed(folder, labels)
    return found[features] - (found[minus] if minus else 0.0)


@cache
def _probed(folder: Path, labels: int) -> dict[str, float]:
    from ganrun.disk.runs import read_config
    from ganrun.engine.probe import probe as fit

    return {name: entry["accuracy"] for name, entry in fit(folder, dict(read_config(folder)), labels=labels).items()}


MEASURES: dict[str, Callable[..., float]] = {
    "label_accuracy": label_accuracy,
    "noise_effect": noise_effect,
    "sharpness": sharpness,
    "distance_from_negative": distance_from_negative,
    "probe": probe,
}
