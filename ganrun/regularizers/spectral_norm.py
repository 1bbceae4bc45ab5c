"""W -> W / sigma(W), sigma the largest singular value of W as an (outputs, rest) matrix.  Miyato et al. 2018.

sigma = u' W v by power iteration, one a forward pass in training, with u and v kept as buffers; the gradient runs
through sigma with u and v constant. Every convolution, linear layer and embedding of the side's players is divided
(torch.nn.utils.parametrizations.spectral_norm). What is bounded is the reshaped matrix; the convolution's own operator
norm can be up to the square root of the kernel's size larger.
"""

from __future__ import annotations

from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm

from ganrun.ground.duel import Duel
from ganrun.ground.registry import register
from ganrun.ground.turn import Turn
from ganrun.regularizers.base import Players, Regularizer, check_sides


@register("regularizer", "spectral_norm")
class SpectralNorm(Regularizer):
    """Divide every weight matrix by its largest singular value."""

    def __init__(self, *, iterations: int = 1, sides: list[str] = ["discriminator"]) -> None:
        super().__init__()
        if iterations < 1:
            raise ValueError(f"iterations={iterations} must be at least 1")
        self.iterations, self.sides = iterations, check_sides(sides)
        self._normed: list[nn.Module] = []

    @property
    def traits(self) -> frozenset[str]:  # type: ignore[override]
        return frozenset({"lipschitz"}) if "discriminator" in self.sides else frozenset()

    def prepare(self, players: Players) -> None:
        for player in players.values():
            for module in list(player.modules()):
                weight = getattr(module, "weight", None)
                if isinstance(weight, nn.Parameter) and weight.ndim >= 2 and not parametrize.is_parametrized(module):
                    spectral_norm(module, n_power_iterations=self.iterations)
                    self._normed.append(module.parametrizations["weight"][0])  # type: ignore[index,union-attr]

    def before(self, duel: Duel, turn: Turn) -> None:
        """One power iteration an update: the further micro-batches of an accumulated batch see the same weights."""
        for normed in self._normed:
            normed.training = turn.share[0] == 0
