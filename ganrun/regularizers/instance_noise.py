"""D judges x + e and G(z) + e', e and e' ~ N(0, sigma_t^2 I) drawn apart.  Sonderby et al. 2017; Arjovsky and Bottou 2017.

The players then compare p * N and q * N, which overlap whatever p and q are, so JS has a slope: at two point masses d apart it
is JS(N(0, sigma^2), N(d, sigma^2)) and not log 2. Both phases see the noise, and the generator's gradient passes it. Inputs of
kind data alone are noised, never codes; nothing is clamped. sigma_t = sigma * (1 - t / decay) down to 0, t the step; decay = 0
keeps it. Samples and scores come from the generator alone, without noise.
"""

from __future__ import annotations

from ganrun.ground.duel import Duel, Inputs
from ganrun.ground.registry import register
from ganrun.ground.turn import Turn
from ganrun.regularizers.base import Regularizer


@register("regularizer", "instance_noise")
class InstanceNoise(Regularizer):
    """Gaussian noise on whatever the discriminator sees."""

    sides = ("discriminator", "generator")

    def __init__(self, *, sigma: float = 0.1, decay: int = 0) -> None:
        super().__init__()
        if sigma < 0:
            raise ValueError(f"sigma={sigma} must not be negative: it is a standard deviation")
        if decay < 0:
            raise ValueError(f"decay={decay} must be the number of steps to no noise, or 0 for noise that stays")
        self.sigma, self.decay = sigma, decay

    def before(self, duel: Duel, turn: Turn) -> None:
        sigma = self.sigma_at(turn.step)
        if sigma > 0:
            duel.real = self._noised(duel.real, duel.kinds, sigma, turn, "real")
            duel.fake = self._noised(duel.fake, duel.kinds, sigma, turn, "fake")

    def sigma_at(self, step: int) -> float:
        """The noise's standard deviation in a step."""
        return self.sigma * max(0.0, 1 - step / self.decay) if self.decay else self.sigma

    def _noised(self, inputs: Inputs, kinds: tuple[str, ...], sigma: float, turn: Turn, side: str) -> Inputs:
        return tuple(
            entry + sigma * turn.noise(f"instance_noise/{side}/{place}", entry) if kind == "data" else entry
            for place, (entry, kind) in enumerate(zip(inputs, kinds, strict=True))
        )
