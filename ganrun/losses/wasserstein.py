"""D: E_q s - E_p s;  G: -E_q s.  Arjovsky, Chintala and Bottou 2017, "Wasserstein GAN".

With a 1-Lipschitz critic, -D is at most W1(p, q) and reaches it at the best critic. Without a Lipschitz constraint the
critic's loss has no lower bound.
"""

from __future__ import annotations

from torch import Tensor

from ganrun.ground.duel import Duel
from ganrun.ground.registry import register
from ganrun.ground.traits import Rule
from ganrun.losses.base import Loss


@register("loss", "wasserstein")
class Wasserstein(Loss):
    """The critic's difference of means."""

    signless = True

    advises = {
        "lipschitz": Rule(
            "nothing bounds the critic's slope, so its loss has no lower bound",
            "regularizer=weight_clip (or gradient_penalty, spectral_norm)",
        )
    }

    def d(self, duel: Duel) -> Tensor:
        return duel.fake_weight * duel.fake_output.score.mean() - duel.real_output.score.mean()

    def g(self, duel: Duel) -> Tensor:
        return -duel.fake_weight * duel.fake_output.score.mean()
