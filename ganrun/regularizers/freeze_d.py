"""The first layers of D keep their weights.  Mo, Cho and Shin 2020, "Freeze the Discriminator: a Simple Baseline ..." (FreezeD).

For fine-tuning with init_from=RUN: the first ``layers`` layers with a weight matrix, in the order of the network, and every
parameter that stands before the next one (biases, scales of normalizations) become constants. They have no gradient and no
place in the optimizer, are not clipped or penalised, and keep their names in checkpoints, so that init_from finds them.
Statistics that a normalization collects by itself go on. Where a player is several networks side by side, as with one GAN a
class, the layers are counted in each.
"""

from __future__ import annotations

from torch import nn
from torch.nn.utils import parametrize

from ganrun.ground.errors import BadInput
from ganrun.ground.matrices import weighted_modules
from ganrun.ground.registry import register
from ganrun.ground.traits import Rule
from ganrun.regularizers.base import Players, Regularizer


@register("regularizer", "freeze_d")
class FreezeD(Regularizer):
    """Hold the discriminator's first layers as they are."""

    rank = 1  # after what rewrites weights
    advises = {
        "players.inherited": Rule("without init_from the frozen layers stay at their random initial weights", "init_from=RUN")
    }

    def __init__(self, *, layers: int = 2) -> None:
        super().__init__()
        if layers < 1:
            raise ValueError(f"layers={layers} must be at least 1")
        self.layers = layers

    def prepare(self, players: Players) -> None:
        for role, player in players.items():
            side_by_side = getattr(player, "networks", None)
            for network in side_by_side if isinstance(side_by_side, nn.ModuleList) else [player]:
                self._freeze(network, role)

    def _freeze(self, network: nn.Module, role: str) -> None:
        """Make constants of the parameters of all layers before the one that has the matrix after the ``layers``-th."""
        total = len(list(weighted_modules(network)))
        if self.layers >= total:
            raise BadInput(f"regularizer.freeze_d.layers={self.layers}: the {role} has {total}, and the last must learn")
        matrices = {id(module) for module in weighted_modules(network)}
        count = 0
        for module in list(network.modules()):
            count += id(module) in matrices
            if count > self.layers:
                return
            holders = [module]
            if parametrize.is_parametrized(module):
                holders += module.parametrizations.modules()  # type: ignore[union-attr, operator]
            for holder in holders:
                for name, entry in list(holder._parameters.items()):
                    if entry is not None:
                        del holder._parameters[name]
                        holder.register_buffer(name, entry.detach())
