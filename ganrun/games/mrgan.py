"""An encoder leads the generator to every real sample.  Che et al. 2017, "Mode Regularized Generative Adversarial Networks".

Reg-GAN, with an encoder E and R(x) = ||x - G(E(x))||^2 / d, d being the numbers of a sample, so that one weight fits all sizes:

    D: as usual, real x against G(z);
    G: L_G(G(z)) + E [reconstruction * R(x) + encoded * L_G(G(E(x)))];      E: the bracket alone.

L_G is any loss's generator side, with the non-saturating one -log D. The paper prints the last term with a plus sign, which
would keep G(E(x)) away from where D finds real samples; it is minus log D here. D never sees G(E(x)).
"""

from __future__ import annotations

from typing import Any

from ganrun.games.base import Phase, Terms, check_weights
from ganrun.games.encoding import Encoding, squared_error
from ganrun.ground.registry import register
from ganrun.ground.turn import Turn


@register("game", "mrgan")
class MRGAN(Encoding):
    """The adversarial game, with an encoder whose reconstructions must be near, and real."""

    def __init__(
        self,
        *,
        reconstruction: float = 0.2,
        encoded: float = 0.4,
        **base: Any,
    ) -> None:
        super().__init__(**base)
        check_weights(reconstruction=reconstruction, encoded=encoded)
        if not reconstruction and not encoded:
            raise ValueError("reconstruction=0 and encoded=0 leave the encoder nothing to learn. One must be positive")
        self.reconstruction, self.encoded = reconstruction, encoded

    def phases(self) -> list[Phase]:
        return [
            Phase("discriminator", "discriminator", ("discriminator",), self.discriminator_loss, repeat=self.n_critic),
            Phase("generator", "generator", ("generator", self.code_role), self.generator_loss, fresh=False),
        ]

    def generator_loss(self, turn: Turn) -> Terms:
        terms = self.compute_terms(self.duel(turn), turn, "generator")
        real = self.condition.real(turn)
        labels = self.labels(real)
        rebuilt = self.generate(self.encode(real.x), labels)
        terms["reconstruction"] = self.reconstruction * squared_error(rebuilt, real.x).mean() / real.x[0].numel()
        if self.encoded:
            again = self.compute_terms(self.against((real.x,), (rebuilt,), labels, main=False), turn, "generator")
            terms |= {f"encoded_{name}": self.encoded * term for name, term in again.items()}
        return terms
