"""D: E_p E(x) + E_q max(0, m - E(G(z)));  G: E_q E(G(z)), E = -s >= 0.  Zhao, Mathieu and LeCun 2017, "Energy-based GAN".

The discriminator is an energy, as an autoencoder's reconstruction error is, and its score is minus that. At the equilibrium
q = p and V = E_p E + E_q max(0, m - E) = m. Fakes above the margin m are left alone. ``margin`` is in the energy's own
units: an error summed over pixels needs a far larger one (the paper's are 10 to 80) than one averaged over them.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import relu

from ganrun.ground.duel import Duel
from ganrun.ground.registry import register
from ganrun.ground.traits import Rule
from ganrun.losses.base import Loss


@register("loss", "energy")
class Energy(Loss):
    """Low energy for real samples, at least ``margin`` for fakes."""

    needs = {"energy": Rule("its margin is for energies, and this discriminator's score is none", "model=autoencoder")}

    def __init__(self, *, margin: float = 1.0) -> None:
        super().__init__()
        if margin <= 0:
            raise ValueError(f"margin={margin} must be positive: no energy lies below zero")
        self.margin = margin

    def d(self, duel: Duel) -> Tensor:
        real = -duel.real_output.score.mean()
        return real + duel.fake_weight * relu(self.margin + duel.fake_output.score).mean()

    def g(self, duel: Duel) -> Tensor:
        return -duel.fake_weight * duel.fake_output.score.mean()
