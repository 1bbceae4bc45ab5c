"""Faults of code that no option of ganrun can make, put into this process: what a wrong line in a training script would do.

Each changes what training does and not what the doctor compares with. ``benchmarks/doctor.py`` trains such a run in a process of
its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ganrun.data.base import Dataset
from ganrun.engine import assemble
from ganrun.engine.ema import EMA
from ganrun.engine.loop import Trainer
from ganrun.games.base import Game
from ganrun.ground import rng
from ganrun.ground.turn import Stream


def labels() -> None:
    """The loader mixes the labels of a batch: no label belongs to its image."""

    def read(dataset: Dataset, indices: Any, device: Any) -> Any:
        batch = dataset.batch(indices, device)
        mixed = torch.randperm(len(indices), generator=rng.generator("mixed", int(indices.sum())))
        return batch if batch.y is None else replace(batch, y=batch.y[mixed.to(batch.y.device)])

    _supply(read)


def loader() -> None:
    """The loader never reads the upper half of the classes."""
    kept: dict[int, Any] = {}

    def read(dataset: Dataset, indices: Any, device: Any) -> Any:
        if id(dataset) not in kept:
            y = dataset.batch(torch.arange(len(dataset))).y
            kept[id(dataset)] = torch.arange(len(dataset)) if y is None else torch.nonzero(y < (int(y.max()) + 1) // 2)[:, 0]
        return dataset.batch(kept[id(dataset)][indices % len(kept[id(dataset)])], device)

    _supply(read)


def _supply(read: Callable[[Dataset, Any, Any], Any]) -> None:
    def supply(dataset: Dataset, runtime: Any) -> Stream:
        return Stream(len(dataset), lambda indices: read(dataset, indices, runtime.device), None, dataset.change)

    assemble.supply = supply


def average() -> None:
    """The running average has no warm-up: it remembers the first weights for 1 / (1 - decay) steps."""

    @torch.no_grad()
    def update(self: EMA, step: int) -> None:
        torch._foreach_lerp_(list(self._shadow.values()), list(self._live.values()), 1 - self.decay)

    EMA.update = update  # type: ignore[method-assign]


def statistics() -> None:
    """Batch normalization moves its running statistics a hundredth as fast as meant: 0.001 in place of 0.1."""
    made = nn.modules.batchnorm._NormBase.__init__

    def init(self: Any, *args: Any, **options: Any) -> None:
        made(self, *args, **options)
        self.momentum = 1e-3

    nn.modules.batchnorm._NormBase.__init__ = init  # type: ignore[method-assign]


def noise() -> None:
    """The generator is given zeros in place of its latents."""
    generate = Game.generate

    def deaf(self: Game, latent: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        return generate(self, torch.zeros_like(latent), labels)

    Game.generate = deaf  # type: ignore[method-assign]


def rank() -> None:
    """Each twentieth step takes a fifth off all singular values of the discriminator's layers but the largest."""
    advance = Trainer.advance

    def flattened(self: Trainer) -> None:
        advance(self)
        if self.step % 20 == 0:
            for layer in self.game.players["discriminator"].modules():
                if isinstance(layer, nn.Linear | nn.Conv2d) and min(layer.weight.flatten(1).shape) >= 4:
                    flatten(layer.weight)

    @torch.no_grad()
    def flatten(weight: torch.Tensor) -> None:
        left, sizes, right = torch.linalg.svd(weight.flatten(1), full_matrices=False)
        sizes[1:] *= 0.8
        weight.copy_((left * sizes @ right).view_as(weight))

    Trainer.advance = flattened  # type: ignore[method-assign]


FAULTS: dict[str, Callable[[], None]] = {
    "labels": labels,
    "loader": loader,
    "average": average,
    "statistics": statistics,
    "noise": noise,
    "rank": rank,
}
