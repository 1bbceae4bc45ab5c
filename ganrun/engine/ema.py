"""The running average of a player: shadow <- decay * shadow + (1 - decay) * player after each step.

Yazici et al. 2019; Karras et al. 2018. The decay is warmed up, min(decay, (1 + t) / (10 + t)) at step t, so that a short
run does not remember its first weights. Floating-point buffers (running statistics) are averaged as parameters are;
integer ones are copied and, following from the player, not saved.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class EMA:
    """The average of one player. ``network`` is the averaged copy, in evaluation mode."""

    def __init__(self, player: nn.Module, decay: float) -> None:
        self.decay = decay
        self.network = copy.deepcopy(player).eval().requires_grad_(False)
        self._shadow, self._live = _entries(self.network), _entries(player)
        self._copied, self._sources = _entries(self.network, floating=False), _entries(player, floating=False)

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the player as it is after ``step`` (1, 2, ...)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self._shadow.values()), list(self._live.values()), 1 - decay)
        for name, entry in self._copied.items():
            entry.copy_(self._sources[name])

    def state_dict(self) -> dict[str, Tensor]:
        return dict(self._shadow)

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Load by name; ``KeyError`` or ``RuntimeError`` where names or shapes differ."""
        if state.keys() != self._shadow.keys():
            raise KeyError(f"entries differ: {sorted(state.keys() ^ self._shadow.keys())}")
        with torch.no_grad():
            for name, entry in self._shadow.items():
                entry.copy_(state[name])
            for name, entry in self._copied.items():
                entry.copy_(self._sources[name])


def _entries(network: nn.Module, *, floating: bool = True) -> dict[str, Tensor]:
    named = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    return {name: entry.detach() for name, entry in named.items() if entry.is_floating_point() == floating}
