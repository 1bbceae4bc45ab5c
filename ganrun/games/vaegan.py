"""A variational autoencoder whose error is measured by D's features.  Larsen et al. 2016, "Autoencoding beyond Pixels ...".

E(x) gives the mean m and the deviation d of q(z | x) = N(m, d^2), and x~ = G(z), z drawn from q. With D's features f:

    prior       KL(q(z | x) || N(0, I)) = sum (m^2 + d^2 - 1) / 2 - log d, over a code's numbers;
    likelihood  ||f(x) - f(x~)||^2 / 2, over the features;
    D:  L_D, real samples x against two kinds of fakes, G(z) with z of the prior and x~, each counting once (``fake_weight`` 2);
    E:  prior * prior + likelihood;      G:  L_G on both kinds of fakes + reconstruction * likelihood.

Nothing of the duel reaches E, and f is no part of what D learns by, as in the paper's algorithm. E has a phase of its own, before
G's, that no regularizer joins. ``ganrun sample`` draws from the prior.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ganrun.games.base import Phase, Ports, Terms, check_weights
from ganrun.games.encoding import Encoding, squared_error
from ganrun.ground.duel import Duel
from ganrun.ground.errors import BadInput
from ganrun.ground.registry import register
from ganrun.ground.spec import Batch, Latent
from ganrun.ground.traits import FEATURES_NEEDED, Rule
from ganrun.ground.turn import Turn


@register("game", "vaegan")
class VAEGAN(Encoding):
    """A variational autoencoder whose decoder is the generator, with the discriminator's features as measure."""

    remakes = False  # half of its fakes come from real samples

    def __init__(
        self,
        *,
        prior: float = 1.0,
        reconstruction: float = 0.01,
        **base: Any,
    ) -> None:
        super().__init__(**base)
        check_weights(prior=prior, reconstruction=reconstruction)
        self.prior, self.reconstruction = prior, reconstruction

    @property
    def needs(self) -> Mapping[str, Rule]:
        return {**super().needs, **FEATURES_NEEDED}

    def law(self, latent: Latent) -> Latent:
        if latent.prior != "normal":
            raise BadInput(f"model.prior={latent.prior}: game=vaegan holds codes to the normal law. Try model.prior=normal")
        return latent

    def roles(self) -> dict[str, tuple[Ports, Ports]]:
        found = super().roles()
        data, (code,) = found[self.code_role]
        return {**found, self.code_role: (data, (replace(code, shape=(2 * code.shape[0],)),))}

    def phases(self) -> list[Phase]:
        return [
            Phase("discriminator", "discriminator", ("discriminator",), self.discriminator_loss, repeat=self.n_critic),
            Phase("encoder", "encoder", (self.code_role,), self.encode_well, fresh=False),
            Phase("generator", "generator", ("generator",), self.generator_loss, fresh=False),
        ]

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the deviation of each sample's code: both (n, latent size)."""
        mean, logarithm = self.encode(x).chunk(2, 1)
        return mean, logarithm

    def rebuild(self, real: Batch, turn: Turn) -> tuple[Tensor, Tensor]:
        """x~ of each sample, and KL(q(z | x) || N(0, I)), (n,)."""
        mean, logarithm = self.posterior(real.x)
        code = mean + logarithm.exp() * turn.noise(self.code_role, mean)
        divergence = ((mean.square() + (2 * logarithm).exp() - 1) / 2 - logarithm).sum(1)
        return self.generate(code, self.labels(real)), divergence

    def likelihood(self, real: Batch, rebuilt: Tensor, duel: Duel) -> Tensor:
        """||f(x) - f(x~)||^2 / 2, the mean over samples or packs."""
        labels = self.labels(real)
        with torch.no_grad():
            wanted = duel.discriminate_single((real.x,), labels).features
        found = duel.discriminate_single((rebuilt,), labels).features
        assert wanted is not None
        assert found is not None
        return squared_error(found, wanted).mean() / 2

    def both(self, real: Batch, rebuilt: Tensor, turn: Turn) -> Duel:
        """Real samples against as many made from the prior and as many rebuilt ones."""
        labels = self.labels(real)
        made = self.generate(turn.latent(len(real.x) * turn.micro_batch[1]), labels)
        duel = self.against((real.x,), (torch.cat((made, rebuilt)),), labels)
        duel.fake_weight = 2.0
        if labels is not None:
            duel.fake_condition = labels.repeat(2)
        return duel

    def discriminator_loss(self, turn: Turn) -> Terms:
        real = self.condition.real(turn)
        with torch.no_grad():
            duel = self.both(real, self.rebuild(real, turn)[0], turn)
        return self.compute_terms(duel, turn, "discriminator")

    def encode_well(self, turn: Turn) -> Terms:
        """The encoder's objective."""
        real = self.condition.real(turn)
        rebuilt, divergence = self.rebuild(real, turn)
        plain = self.against((real.x,), (rebuilt,), self.labels(real), main=False)
        return {"prior": self.prior * divergence.mean(), "likelihood": self.likelihood(real, rebuilt, plain)}

    def generator_loss(self, turn: Turn) -> Terms:
        real = self.condition.real(turn)
        rebuilt = self.rebuild(real, turn)[0]  # E is not trained in this phase
        duel = self.both(real, rebuilt, turn)
        terms = self.compute_terms(duel, turn, "generator")
        if self.reconstruction:
            terms["likelihood"] = self.reconstruction * self.likelihood(real, rebuilt, duel)
        return terms
