"""Games with players that a test makes by hand: linear maps, tables, constants, so that formulas can be worked out on paper."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ganrun.games.base import Game
from ganrun.ground import registry
from ganrun.ground.spec import Batch, DiscriminatorOutput, Latent, Spec
from ganrun.ground.turn import Stream, Turn
from ganrun.regularizers.base import Regularizer


class Linear(nn.Module):
    """x -> a * x."""

    def __init__(self, a: float) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(a))

    def forward(self, x: Tensor) -> Tensor:
        return self.a * x


class Judge(nn.Module):
    """Any inputs to ``score(inputs, parameters)``."""

    num_features = 0

    def __init__(self, score: Callable[[Tensor, Tensor], Tensor], parameters: Tensor) -> None:
        super().__init__()
        self.score, self.weights = score, nn.Parameter(parameters)

    def forward(self, *inputs: Tensor) -> DiscriminatorOutput:
        x = torch.cat([entry.flatten(1) for entry in inputs], 1)
        return DiscriminatorOutput(self.score(x, self.weights), x)


class Rows(nn.Module):
    """Whatever is asked for, the same rows."""

    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.rows = nn.Parameter(rows)

    def forward(self, z: Tensor) -> Tensor:
        return self.rows


def staged(
    name: str,
    players: Mapping[str, nn.Module],
    *,
    loss: str = "nonsaturating",
    regularizers: Mapping[str, Regularizer] | None = None,
    classes: int | None = None,
    size: int = 1,
    latent: int = 1,
    **options: Any,
) -> Any:
    """The game ``name`` with these players, ready for its objectives; samples are vectors of ``size`` numbers."""
    game: Game = registry.build("game", {"name": name, **options})
    game.spec, game.loss = Spec("points", (size,), classes), registry.build("loss", {"name": loss})
    game.regularizers, game.together, game.latent_law = dict(regularizers or {}), False, Latent(latent)
    game.players = dict(players)
    game._phases = {phase.name: phase for phase in game.phases()}
    return game


def turn_of(game: Game, phase: str, x: Tensor, y: Tensor | None = None, *, step: int = 0, **streams: Batch) -> Turn:
    """A turn whose real batch is always ``x``."""
    whole = {"data": Batch(x, y), **streams}
    supplies = {name: Stream(len(batch.x), lambda indices, batch=batch: batch) for name, batch in whole.items()}
    return Turn(0, step, phase, 0, len(x), game.latent_law, torch.device("cpu"), supplies)


def gradient(total: Tensor, *players: nn.Module) -> list[Tensor]:
    """Of ``total`` by all parameters of ``players``, zero where there is none."""
    entries = [entry for player in players for entry in player.parameters()]
    return list(torch.autograd.grad(total, entries, materialize_grads=True, retain_graph=True))
