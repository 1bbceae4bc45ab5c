"""What a regularizer is: terms, hooks on inputs and on players, all optional."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor, nn

from ganrun.ground.duel import Duel
from ganrun.ground.errors import BadInput, suggestion
from ganrun.ground.spec import Port
from ganrun.ground.traits import Rule
from ganrun.ground.turn import Turn

SIDES = ("discriminator", "generator")
Players = Mapping[str, nn.Module]

SINGLE_SAMPLE = Rule(
    "the penalty needs each sample's own gradient, and batch normalization makes every score depend on the whole batch",
    "model.discriminator.norm=layer",
)
PER_SAMPLE = {
    "discriminator.batch_coupled": SINGLE_SAMPLE,
    "discriminator.minibatch.batch_coupled": Rule(
        "the penalty needs each sample's own gradient, and this discriminator compares the samples of a batch",
        "model.discriminator.minibatch=none",
    ),
}
"""What a penalty on each sample's own gradient refuses."""


class Regularizer(nn.Module):
    """A technique beside the loss. It sees duels, turns and the players of a phase, never a game or a role.

    ``sides``: the phases it joins, "discriminator" and/or "generator". ``weight`` multiplies its term; ``every`` counts
    updates of the phase: the term appears at each ``every``-th and is multiplied by it (lazy regularization,
    Karras et al. 2020). State is kept in buffers and changes in ``after_step`` only.
    """

    sides: tuple[str, ...] = ("discriminator",)
    weight: float = 1.0
    final: float | None = None  # its weight after ``fall_steps`` steps, to which it goes along half a cosine
    fall_steps: int = 0
    every: int = 1
    rank: int = 0  # hooks run in the order of (rank, name)
    traits: frozenset[str] = frozenset()
    bound: float | None = None  # what it keeps the absolute value of every weight within, if it does

    def allocate(self, ports: tuple[Port, ...]) -> None:
        """Make buffers that depend on the shapes of a sample; ``ports``: the main duel's inputs, before packing."""

    def prepare(self, players: Players) -> None:
        """Rewrite players before optimizers, averages and loading exist. ``players``: those trained on its sides."""

    def before(self, duel: Duel, turn: Turn) -> None:
        """Change inputs or targets of a duel before it is judged."""

    def judged(self, duel: Duel, turn: Turn) -> None:
        """Choose, of what was judged, what the loss is to see."""

    def term(self, duel: Duel, players: Players, turn: Turn) -> Tensor | None:
        """A scalar to add to the loss, without its weight; None for none.

        ``players`` is empty for the further duels of a phase, so that a term of weights alone counts once.
        """
        return None

    def after_step(self, players: Players, duel: Duel, turn: Turn) -> None:
        """Act on the players, or on its own buffers, after a real update. ``duel``: the main one of the last micro-batch."""

    def readings(self) -> Mapping[str, Tensor]:
        """Scalars of its own state that tell how it fares, by name, for the log."""
        return {}

    def weight_at(self, step: int) -> float:
        """The weight of its term in a step: f + (w - f) (1 + cos(pi t)) / 2, t = min(1, step / fall_steps); else w throughout."""
        if self.final is None:
            return self.weight
        progress = min(1.0, step / self.fall_steps)
        return self.final + (self.weight - self.final) * (1 + math.cos(math.pi * progress)) / 2

    def due(self, turn: Turn) -> bool:
        """Whether its term appears in this update."""
        return turn.update % self.every == 0


def check_weight(weight: float, every: int) -> None:
    """Raise ``ValueError`` unless weight >= 0 and every >= 1."""
    if weight < 0:
        raise ValueError(f"weight={weight} must not be negative: it would reward what it should cost")
    if every < 1:
        raise ValueError(f"every={every} must be at least 1")


def check_decay(final: float | None, decay: int) -> None:
    """Raise ``ValueError`` unless a final weight and the steps to it are both given, or neither."""
    if final is not None and final < 0:
        raise ValueError(f"final={final} must not be negative: it would reward what it should cost")
    if decay < 0:
        raise ValueError(f"decay={decay} must be the number of steps to the final weight, or 0 for one weight throughout")
    if (final is None) != (decay == 0):
        raise ValueError(
            f"final={final}, decay={decay}: the final weight and the steps to it belong together; give both or neither"
        )


def check_sides(sides: list[str] | tuple[str, ...], key: str = "sides") -> tuple[str, ...]:
    """The sides as a tuple; ``BadInput`` for an unknown or a missing one. ``key``: the option that names them."""
    for side in sides:
        if side not in SIDES:
            raise BadInput(f"{key}={list(sides)}: {suggestion(side, SIDES)}")
    if not sides:
        raise BadInput(f"{key}=[]: name at least one of {', '.join(SIDES)}")
    return tuple(sides)
