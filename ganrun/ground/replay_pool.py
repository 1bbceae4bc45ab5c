"""A pool of earlier fakes, some of which stand in for fresh ones.  Shrivastava et al. 2017, "Learning from Simulated ...".

Each fresh sample gives way to a pooled one with probability ``chance`` and then takes its place in the pool, so that a pooled
sample is shown once, as with the 50 images of Zhu et al. 2017 (CycleGAN: chance 1/2). Until the pool is full, every fresh
sample is stored as well. In a full pool an entry lives capacity / (chance * batch) updates in the mean.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ganrun.ground.duel import Inputs
from ganrun.ground.spec import Port
from ganrun.ground.turn import Turn


class Pool(nn.Module):
    """``capacity`` samples with one tensor for each of ``ports`` and a label each (0 where there are none).

    ``exchange`` is a pure choice; only ``store`` changes the buffers, and with the same turn it finds the same choice. Nothing
    is exchanged before ``least`` samples are held (CycleGAN's code waits until the pool is full). ``purpose`` tells the draws
    of one pool from those of another. No call waits for the device.
    """

    labels: Tensor
    filled: Tensor

    def __init__(
        self, capacity: int, ports: tuple[Port, ...], *, chance: float = 0.5, least: int = 1, purpose: str = "pool"
    ) -> None:
        super().__init__()
        if capacity < 1:
            raise ValueError(f"capacity={capacity} must be at least 1")
        if not 1 <= least <= capacity:
            raise ValueError(f"least={least} must be from 1 to the capacity, {capacity}")
        self.capacity, self.chance, self.least, self.purpose, self.count = capacity, chance, least, purpose, len(ports)
        for place, port in enumerate(ports):
            self.register_buffer(f"kept_{place}", torch.zeros(capacity, *port.shape))
        self.register_buffer("labels", torch.zeros(capacity, dtype=torch.int64))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))

    def exchange(self, fresh: Inputs, labels: Tensor | None, turn: Turn) -> tuple[Inputs, Tensor | None]:
        """``fresh`` samples (n, ...) and their labels (n,), some replaced by pooled ones with theirs: the same shapes."""
        index, count = turn.micro_batch
        rows = len(fresh[0])
        swap, places = (entry[index * rows : (index + 1) * rows] for entry in self._choice(rows * count, turn))
        mixed = tuple(
            torch.where(_beside(swap, entry), kept[places].to(entry.dtype), entry)
            for kept, entry in zip(self._kept(), fresh, strict=True)
        )
        return mixed, None if labels is None else torch.where(swap, self.labels[places], labels)

    @torch.no_grad()
    def store(self, fresh: Inputs, labels: Tensor | None, turn: Turn) -> None:
        """Take in the fresh samples of the whole batch: those that fit, and those that gave way in ``exchange``."""
        total = len(fresh[0])
        swap, places = self._choice(total, turn)
        rows = torch.arange(total, device=places.device)
        outside = torch.full_like(places, self.capacity)
        free = self.filled + rows
        slots = torch.where(free < self.capacity, free, torch.where(swap, places, outside))
        # which row each slot takes; where a batch larger than the pool names a slot twice, the last
        taker = torch.full((self.capacity + 1,), -1, device=places.device).scatter_reduce_(0, slots, rows, "amax")[:-1]
        taken, row = taker >= 0, taker.clamp_min(0)
        for kept, entry in zip(self._kept(), fresh, strict=True):
            kept.copy_(torch.where(_beside(taken, kept), entry[row].to(kept.dtype), kept))
        if labels is not None:
            self.labels.copy_(torch.where(taken, labels[row], self.labels))
        self.filled.add_(total).clamp_(max=self.capacity)

    def _choice(self, total: int, turn: Turn) -> tuple[Tensor, Tensor]:
        """For each of ``total`` samples whether it gives way, and to which slot: bool and int64 of shape (total,).

        The slots of a batch differ from each other as long as the pool holds that many.
        """
        source, device = turn.generator(self.purpose), self.filled.device
        swap = (torch.rand(total, generator=source) < self.chance).to(device)
        keys = torch.rand(self.capacity, generator=source).to(device)
        slots = torch.arange(self.capacity, device=device)
        order = keys.masked_fill(slots >= self.filled, 2.0).argsort()  # slots in use come first, in random order
        places = order[torch.arange(total, device=device) % self.filled.clamp_min(1)]
        return swap & (self.filled >= self.least), places

    def _kept(self) -> list[Tensor]:
        return [self.get_buffer(f"kept_{place}") for place in range(self.count)]


def _beside(choice: Tensor, rows: Tensor) -> Tensor:
    return choice.view(-1, *[1] * (rows.ndim - 1))
