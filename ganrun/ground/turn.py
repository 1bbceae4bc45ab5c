"""A turn: all that a phase may draw on. It has no history; everything follows from where in the run it stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ganrun.ground import rng
from ganrun.ground.spec import Batch, Latent

Reader = Callable[[Tensor], Batch]


@dataclass(frozen=True)
class Stream:
    """An endless supply of real samples: ``read`` turns indices into a batch on the training device.

    ``expect``, where the supply reads from disk, is told which indices come next. ``change``, where samples are varied, makes
    another batch of one by draws in [0, 1) of shape (n, 3).
    """

    length: int
    read: Reader
    expect: Callable[[Tensor], None] | None = None
    change: Callable[[Batch, Tensor], Batch] | None = None


@dataclass
class Turn:
    """Where the run stands, and draws that depend on nothing else.

    ``batch_index`` counts the batches of real data drawn before this turn; ``update`` counts this phase's updates;
    ``micro_batch`` is ``(index, count)`` of the equal part of the batch that this call works on (a micro-batch, a rank).
    ``batch_cache`` keeps the batches of the present step, so that a phase that sees one again costs no second conversion.
    """

    seed: int
    step: int
    phase: str
    repeat: int
    batch_size: int
    latent_law: Latent
    device: torch.device
    streams: Mapping[str, Stream] = field(default_factory=dict)
    batch_index: int = 0
    update: int = 0
    micro_batch: tuple[int, int] = (0, 1)
    batch_cache: dict[object, Batch] = field(default_factory=dict)

    def real(self, count: int | None = None, stream: str = "data") -> Batch:
        """The real batch of this turn: this share of ``count`` samples (the batch size unless told)."""
        count = self.batch_size if count is None else count
        key = (stream, self.batch_index, count, self.micro_batch)
        if key not in self.batch_cache:
            source = self.streams[stream]
            indices = rng.order(self.seed, stream, self.batch_index * count, count, source.length)
            batch = source.read(self._mine(indices))
            if source.change is not None:
                drawn = torch.rand(count, 3, generator=rng.generator(self.seed, "change", stream, self.batch_index, count))
                batch = source.change(batch, self._mine(drawn))
            self.batch_cache[key] = batch
        return self.batch_cache[key]

    def latent(self, count: int | None = None) -> Tensor:
        """Fresh latents on the training device: this share of ``count`` rows, shape (share, latent size)."""
        count = self.batch_size if count is None else count
        return self._mine(self.latent_law.draw(count, self.generator("latent"))).to(self.device)

    def uniform(self, purpose: str, like: Tensor | None = None) -> Tensor:
        """U(0, 1), one number a row of ``like`` (a sample of the batch unless told), on the training device: shape (rows,)."""
        count = self.batch_size if like is None else len(like) * self.micro_batch[1]
        return self._mine(torch.rand(count, generator=self.generator(purpose))).to(self.device)

    def noise(self, purpose: str, like: Tensor, law: str = "normal") -> Tensor:
        """One number for every entry of ``like``, as its shape, device and dtype: N(0, 1), or U(0, 1) with ``law="uniform"``."""
        draw = {"normal": torch.randn, "uniform": torch.rand}[law]
        whole = draw(len(like) * self.micro_batch[1], *like.shape[1:], generator=self.generator(purpose), dtype=like.dtype)
        return self._mine(whole).to(like.device)

    def generator(self, purpose: str) -> torch.Generator:
        """A CPU generator of this turn's own for ``purpose``: the same whenever it is asked for."""
        return rng.generator(self.seed, self.step, self.phase, self.repeat, purpose)

    def _mine(self, rows: Tensor) -> Tensor:
        index, count = self.micro_batch
        size = len(rows) // count
        return rows[index * size : (index + 1) * size]
