"""The discriminator also meets fakes of earlier steps (Shrivastava et al. 2017, "Learning from Simulated ..."; section 2.3).

In the discriminator phase each fake gives way, with probability ``share``, to one from a pool of ``capacity`` earlier fakes,
which comes with its own label; the fresh one takes its place in the pool. So D sees the mixture (1 - share) q_t + share q_old,
and D* = p / (p + that). The phase's main duel alone is changed; the generator never sees an old fake. The pool belongs to the
checkpoint: capacity * the size of a sample.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ganrun.ground.duel import Duel, Inputs
from ganrun.ground.registry import register
from ganrun.ground.replay_pool import Pool
from ganrun.ground.spec import Port
from ganrun.ground.turn import Turn
from ganrun.regularizers.base import Players, Regularizer
from ganrun.regularizers.places import BEFORE_CHANGES


@register("regularizer", "replay")
class Replay(Regularizer):
    """Mix fakes of earlier steps into the discriminator's batches."""

    rank = BEFORE_CHANGES - 1  # the pool holds fakes as the generator made them, and slopes are taken at what comes from it

    def __init__(self, *, share: float = 0.5, capacity: int = 512) -> None:
        super().__init__()
        if not 0 <= share <= 1:
            raise ValueError(f"share={share} must be in [0, 1]: it is the part of the fakes that are old")
        if capacity < 1:
            raise ValueError(f"capacity={capacity} must be at least 1")
        self.share, self.capacity = share, capacity
        self._fresh: dict[int, tuple[Inputs, Tensor | None]] = {}  # of the present update, by micro-batch

    def allocate(self, ports: tuple[Port, ...]) -> None:
        self.pool = Pool(self.capacity, ports, chance=self.share, purpose="replay")

    def before(self, duel: Duel, turn: Turn) -> None:
        if not duel.main:
            return
        # what an update that was only imagined leaves here, the next real one replaces
        self._fresh[turn.micro_batch[0]] = tuple(entry.detach() for entry in duel.fake), duel.fake_condition
        duel.fake, duel.fake_condition = self.pool.exchange(duel.fake, duel.fake_condition, turn)

    def after_step(self, players: Players, duel: Duel, turn: Turn) -> None:
        """Store the fresh fakes of all micro-batches."""
        parts = [self._fresh[index] for index in sorted(self._fresh)]
        if not parts:
            return
        fresh = tuple(torch.cat(entries) for entries in zip(*(inputs for inputs, _ in parts), strict=True))
        labels = [found for _, found in parts if found is not None]
        self.pool.store(fresh, torch.cat(labels) if labels else None, turn)
        self._fresh = {}
