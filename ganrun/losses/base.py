"""What a loss is, and the cross-entropy that several share."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ganrun.ground.duel import Duel
from ganrun.ground.traits import Rule

NO_ENERGY = {"energy": Rule("an energy is never negative, so D = sigmoid(-E) cannot exceed one half", "loss=energy")}


class Loss(nn.Module):
    """Two scalars to minimise, one for each side of a duel.

    ``reads`` names what it takes of the duel beside the scores: "targets", "features". What a loss does not read,
    regularizers that would set it refuse. ``advises`` holds what it should not be used without.
    """

    reads: frozenset[str] = frozenset()
    log_ratio: bool = False  # the best score is log p / q
    signless: bool = False  # the sign of a score says nothing of real or fake

    @property
    def traits(self) -> frozenset[str]:
        return frozenset(f"loss.reads_{word}" for word in self.reads) | ({"loss.signless"} if self.signless else set())

    def d(self, duel: Duel) -> Tensor:
        """The discriminator's side."""
        raise NotImplementedError

    def g(self, duel: Duel) -> Tensor:
        """The generator's side."""
        raise NotImplementedError

    def after_step(self, duel: Duel) -> None:
        """Act on its own buffers after a real update of the discriminator. ``duel``: the main one of the last micro-batch."""

    def readings(self) -> Mapping[str, Tensor]:
        """Scalars of its own state, by name, for the log."""
        return {}


def cross_entropy(score: Tensor, target: float | Tensor) -> Tensor:
    """-t log D - (1 - t) log(1 - D) with D = sigmoid(score), by softplus, so that no score overflows.

    ``target`` is a float or of shape (n,); maps of patches share their sample's target. Shape of the result: score's.
    """
    if isinstance(target, Tensor):
        target = target.view(-1, *[1] * (score.ndim - 1))
    return target * softplus(-score) + (1 - target) * softplus(score)


def cycled(rows: Tensor, count: int) -> Tensor:
    """``count`` rows, those of ``rows`` over and over: row i is rows[i mod len(rows)]."""
    return rows if len(rows) == count else rows[torch.arange(count, device=rows.device) % len(rows)]


def logistic(duel: Duel) -> Tensor:
    """E_p[-t log D + ...] + E_q[...]: the discriminator's cross-entropy with the duel's targets."""
    real = cross_entropy(duel.real_output.score, duel.real_target).mean()
    fake = cross_entropy(duel.fake_output.score, duel.fake_target).mean()
    return real + duel.fake_weight * fake
