"""D: E_p E(x) - k E_q E(G(z));  G: E_q E(G(z)), E = -s >= 0 an autoencoder's error.  Berthelot, Schumm and Metz 2017, "BEGAN".

"Boundary Equilibrium Generative Adversarial Networks". k keeps the errors of fakes near gamma times those of real samples:

    k <- k + lambda_k (gamma E_p E(x) - E_q E(G(z))), within [0, 1],        from 0, right after each update of D,

with D's own batches, the last micro-batch's. Less ``gamma`` means less variety. How far training has come is
M = E_p E(x) + |gamma E_p E(x) - E_q E(G(z))|, which the log shows beside k as ``began/convergence``. The paper's error is the
mean of absolute differences to the first or second power; here it is the family's. ``lambda_k`` multiplies errors, so that a
mean over pixels moves k slowly.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ganrun.ground.duel import Duel
from ganrun.ground.registry import register
from ganrun.ground.traits import Rule
from ganrun.losses.base import Loss


@register("loss", "began")
class BEGAN(Loss):
    """Two reconstruction errors in a balance that a controller keeps."""

    k: Tensor
    convergence: Tensor

    needs = {
        "energy": Rule(
            "its balance is between two errors of reconstruction, and this discriminator has none", "model=autoencoder"
        )
    }

    def __init__(self, *, gamma: float = 0.5, lambda_k: float = 0.001) -> None:
        super().__init__()
        if gamma <= 0:
            raise ValueError(f"gamma={gamma} must be positive: it is the ratio of the fakes' error to the real samples'")
        if lambda_k <= 0:
            raise ValueError(f"lambda_k={lambda_k} must be positive: with k at zero D would ignore the fakes for ever")
        self.gamma, self.lambda_k = gamma, lambda_k
        self.register_buffer("k", torch.zeros(()))
        self.register_buffer("convergence", torch.zeros(()), persistent=False)  # of the last update: nothing depends on it

    def d(self, duel: Duel) -> Tensor:
        return -duel.real_output.score.mean() + self.k * duel.fake_weight * duel.fake_output.score.mean()

    def g(self, duel: Duel) -> Tensor:
        return -duel.fake_weight * duel.fake_output.score.mean()

    @torch.no_grad()
    def after_step(self, duel: Duel) -> None:
        real, fake = -duel.real_output.score.mean(), -duel.fake_output.score.mean()
        gap = self.gamma * real - fake
        self.k += self.lambda_k * gap
        self.k.clamp_(0, 1)
        self.convergence.copy_(real + gap.abs())

    def readings(self) -> Mapping[str, Tensor]:
        return {"k": self.k, "convergence": self.convergence}
