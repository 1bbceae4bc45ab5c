"""x + sigma_t e, e ~ N(0, I), before every layer of a player while it trains.  Salimans et al. 2016; Odena et al. 2017.

A layer is a convolution or a linear layer, heads included, embeddings of classes not. Before the first, in the order of the
network, the standard deviation is ``input`` in place of ``sigma``, where that is given: Improved GAN's code has 0.3 on images in
[0, 1], which are half as wide as ganrun's, and 0.5 in hidden layers. sigma_t = sigma (1 - t / decay) down to 0, t the step;
decay = 0 keeps it. The draws are torch's default generator's, which is seeded for every update. Samples and scores have no noise.

A discriminator's noise is that of its step. A generator's decays one update later: its fakes are made before anybody is asked.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ganrun.ground.duel import Duel
from ganrun.ground.matrices import is_embedding, weighted_modules
from ganrun.ground.registry import register
from ganrun.ground.turn import Turn
from ganrun.regularizers.base import SIDES, Players, Regularizer, check_sides


class Noisy:
    """A hook before a layer: adds noise of ``sigma`` times what is left of it now to its input, in training mode."""

    def __init__(self, sigma: float, owner: LayerNoise) -> None:
        self.sigma, self.owner = sigma, owner

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if not module.training:
            return None
        noise = self.sigma * torch.randn_like(inputs[0])
        if self.owner.decay:
            noise = noise * self.owner.left.to(noise.dtype)
        return (inputs[0] + noise, *inputs[1:])


@register("regularizer", "layer_noise")
class LayerNoise(Regularizer):
    """Gaussian noise before every layer of the chosen players."""

    sides = SIDES  # the discriminator of a generator's phase is noisy too
    left: Tensor  # of the noise, with decay

    def __init__(
        self, *, sigma: float = 0.5, input: float | None = None, decay: int = 0, players: list[str] = ["discriminator"]
    ) -> None:
        super().__init__()
        for key, value in (("sigma", sigma), ("input", input)):
            if value is not None and value < 0:
                raise ValueError(f"{key}={value} must not be negative: it is a standard deviation")
        if decay < 0:
            raise ValueError(f"decay={decay} must be the number of steps to no noise, or 0 for noise that stays")
        self.sigma, self.input, self.decay = sigma, input, decay
        self.noisy = check_sides(players, "players")
        if decay:
            self.register_buffer("left", torch.ones(()))

    def prepare(self, players: Players) -> None:
        for role, player in players.items():
            kin = "discriminator" if role.endswith("discriminator") else "generator"
            if kin in self.noisy:
                self._attach(player)

    def before(self, duel: Duel, turn: Turn) -> None:
        if self.decay:
            self.left.fill_(max(0.0, 1 - turn.step / self.decay))

    def _attach(self, player: nn.Module) -> None:
        side_by_side = getattr(player, "networks", None)
        for network in side_by_side if isinstance(side_by_side, nn.ModuleList) else [player]:
            for place, module in enumerate(module for module in weighted_modules(network) if not is_embedding(module)):
                sigma = self.sigma if place or self.input is None else self.input
                if sigma:
                    module.register_forward_pre_hook(Noisy(sigma, self))
