"""Standing statistics: batch normalizations with the mean and variance of many batches.  Brock et al. 2019, "BigGAN".

Running statistics lag behind the weights, and those of an averaged generator are of other weights than its own. Here the
generator's statistics are collected anew, from batches of its own samples: the mean over all batches of their means and of their
unbiased variances. Nothing of the run changes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ganrun.games.base import Game
from ganrun.ground.errors import BadInput


@torch.no_grad()
def stand(game: Game, batches: int, make: Callable[[int], object]) -> None:
    """Put copies in the place of the players, whose normalizations have the statistics of ``batches`` calls of ``make``.

    Those that ``make`` does not use keep theirs. ``BadInput`` where it uses none.
    """
    game.players = copy.deepcopy(dict(game.players))
    norms = [module for player in game.players.values() for module in player.modules() if isinstance(module, _BatchNorm)]
    before = [copy.deepcopy(module.state_dict()) for module in norms]
    for module in norms:
        module.reset_running_stats()
        module.momentum = None  # the mean over all batches
        module.train()
    for batch in range(batches):
        make(batch)
    if not any(map(seen, norms)):
        raise BadInput(f"evaluation.standing={batches}: this run's generator has no batch normalization. Leave it at 0")
    for module, held in zip(norms, before, strict=True):
        module.eval()
        if not seen(module):
            module.load_state_dict(held)


def seen(module: nn.Module) -> bool:
    """Whether a normalization has met a batch."""
    count = getattr(module, "num_batches_tracked", None)
    return count is not None and int(count) > 0
