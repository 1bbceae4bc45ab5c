"""D: E_p sp(-(s(x) - m_q)) + E_q sp(s(G(z)) - m_p);  G: E_q sp(-(s(G(z)) - m_p)) + E_p sp(s(x) - m_q), sp(t) = log(1 + e^t).

Jolicoeur-Martineau 2019, "The relativistic discriminator": each side is measured against the other's mean score, m_p = E_p s or
m_q = E_q s, of the present batch, and the means are differentiated too. The sum of both terms, not their average. Maps of
patches: a patch is a sample, so means run over samples and places. Both sides may have any number of rows. With targets t,
D's terms are cross-entropies with t; G always wants the sides exchanged. ``fake_weight`` multiplies D's term on fakes and
all of G's loss.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import softplus

from ganrun.ground.duel import Duel
from ganrun.ground.registry import register
from ganrun.losses.base import Loss, cross_entropy


@register("loss", "ragan")
class RelativisticAverage(Loss):
    """Real samples should be more real than fakes on average, and the other way round for G."""

    signless = True

    reads = frozenset({"targets"})

    def d(self, duel: Duel) -> Tensor:
        real, fake = _centred(duel)
        return cross_entropy(real, duel.real_target).mean() + duel.fake_weight * cross_entropy(fake, duel.fake_target).mean()

    def g(self, duel: Duel) -> Tensor:
        real, fake = _centred(duel)
        return duel.fake_weight * (softplus(-fake).mean() + softplus(real).mean())


def _centred(duel: Duel) -> tuple[Tensor, Tensor]:
    """(s(x) - m_q, s(G(z)) - m_p), each of its score's shape."""
    real, fake = duel.real_output.score, duel.fake_output.score
    return real - fake.mean(), fake - real.mean()
