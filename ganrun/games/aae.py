"""An autoencoder whose codes a discriminator holds to the prior.  Makhzani et al. 2015, "Adversarial Autoencoders".

With an encoder E and the generator G as decoder,

    D: L_D of codes, real z of the prior against E(x);
    E and G: L_G(E(x)) + reconstruction * E ||x - G(E(x))||^2 / d,        d being the numbers of a sample.

The first term reaches E alone. D sees no sample, so what a sample is good for is the distance of the reconstruction: the error
of an autoencoder, which blurs, against codes that can be drawn. Where D cannot tell, the codes of the data have the law of the
prior, and G of the prior has that of the reconstructions. The two terms are one update here; the paper takes them one after the
other. With a condition D and G are told the label, so that codes hold what the label does not say (the paper's section 5).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ganrun.games.base import Phase, Ports, Terms, check_weights
from ganrun.games.encoding import Encoding, squared_error
from ganrun.games.heads import NO_ENERGY
from ganrun.ground.duel import Duel
from ganrun.ground.registry import register
from ganrun.ground.spec import Port
from ganrun.ground.traits import Rule
from ganrun.ground.turn import Turn

CLASSLESS = Rule("its discriminator sees codes of the prior, which are of no class", "condition=concat")


@register("game", "aae")
class AdversarialAutoencoder(Encoding):
    """An autoencoder, and a discriminator that tells its codes from those of the prior."""

    remakes = False  # its fakes are codes of real samples
    judges_samples = False

    def __init__(self, *, reconstruction: float = 10.0, **base: Any) -> None:
        super().__init__(**base)
        check_weights(reconstruction=reconstruction)
        if not reconstruction:
            raise ValueError("reconstruction=0 leaves the generator nothing to learn. It must be positive")
        self.reconstruction = reconstruction

    @property
    def refuses(self) -> Mapping[str, Rule]:
        classless = {"discriminator.classes": CLASSLESS, "condition.mismatched": CLASSLESS}
        return {**super().refuses, **classless, "energy": NO_ENERGY}

    def roles(self) -> dict[str, tuple[Ports, Ports]]:
        found = super().roles()
        seen = Port("data", (self.latent_law.size,))  # codes are what it judges: noised and packed as samples are elsewhere
        return {**found, "discriminator": ((seen,), found["discriminator"][1])}

    def phases(self) -> list[Phase]:
        return [
            Phase("discriminator", "discriminator", ("discriminator",), self.discriminator_loss, repeat=self.n_critic),
            Phase("generator", "generator", ("generator", self.code_role), self.generator_loss, fresh=False),
        ]

    def duel(self, turn: Turn) -> Duel:
        real = self.condition.real(turn)
        return self.against((turn.latent(len(real.x) * turn.micro_batch[1]),), (self.encode(real.x),), self.labels(real))

    def generator_loss(self, turn: Turn) -> Terms:
        real = self.condition.real(turn)
        code = self.encode(real.x)
        prior = turn.latent(len(real.x) * turn.micro_batch[1])
        terms = self.compute_terms(self.against((prior,), (code,), self.labels(real)), turn, "generator")
        rebuilt = self.generate(code, self.labels(real))
        terms["reconstruction"] = self.reconstruction * squared_error(rebuilt, real.x).mean() / real.x[0].numel()
        return terms
