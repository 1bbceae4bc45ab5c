"""First onto the manifold, then along it.  Che et al. 2017, "Mode Regularized Generative Adversarial Networks", MDGAN.

With an encoder E, R(x) = ||x - G(E(x))||^2 / d, d being the numbers of a sample, and two discriminators:

    manifold:   D1 tells real x from G(E(x));           G, E: adversarial * L_G(D1, G(E(x))) + E R(x);
    diffusion:  D2 tells G(E(x)), as real, from G(z);    G:    L_G(D2, G(z)).

What G(E(x)) reaches and G(z) does not, D2 finds at once, and both of its sides are fakes, so that it measures spread alone. In
the diffusion step G(E(x)) is a constant and E is not trained. A step: both discriminators (the roles ``discriminator``, D1, and
``diffusion_discriminator``, D2), ``n_critic`` times; then the manifold update, then the diffusion update, each an update of G's
one optimizer. A discriminator's regularizers act on both; those that keep samples or watch scores keep to D1's duel.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ganrun.games.base import Phase, Ports, Terms, check_weights
from ganrun.games.encoding import Encoding, squared_error
from ganrun.ground.duel import Duel
from ganrun.ground.registry import register
from ganrun.ground.spec import Batch
from ganrun.ground.turn import Turn

SECOND = "diffusion_discriminator"


@register("game", "mdgan")
class MDGAN(Encoding):
    """Generator and encoder against one discriminator, then the generator against another."""

    remakes = False  # the fakes of its main duel come from real samples

    def __init__(
        self,
        *,
        adversarial: float = 0.01,
        **base: Any,
    ) -> None:
        super().__init__(**base)
        check_weights(adversarial=adversarial)
        self.adversarial = adversarial

    def roles(self) -> dict[str, tuple[Ports, Ports]]:
        found = super().roles()
        return {**found, SECOND: found["discriminator"]}

    def phases(self) -> list[Phase]:
        return [
            Phase("discriminator", "discriminator", ("discriminator", SECOND), self.discriminator_loss, repeat=self.n_critic),
            Phase("generator", "generator", ("generator", self.code_role), self.generator_loss, fresh=False),
            Phase("diffusion", "generator", ("generator",), self.diffuse, fresh=False),
        ]

    def discriminator_loss(self, turn: Turn) -> Terms:
        real = self.condition.real(turn)
        with torch.no_grad():
            rebuilt = self.rebuild(real)
            made = self.generate(turn.latent(len(real.x) * turn.micro_batch[1]), self.labels(real))
        terms = self.compute_terms(self.against((real.x,), (rebuilt,), self.labels(real)), turn, "discriminator")
        second = self.compute_terms(self.of_spread(real, rebuilt, made, main=False), turn, "discriminator")
        return terms | {f"diffusion_{name}": term for name, term in second.items()}

    def generator_loss(self, turn: Turn) -> Terms:
        real = self.condition.real(turn)
        rebuilt = self.rebuild(real)
        terms = self.compute_terms(self.against((real.x,), (rebuilt,), self.labels(real)), turn, "generator")
        terms["loss"] = self.adversarial * terms["loss"]
        terms["reconstruction"] = squared_error(rebuilt, real.x).mean() / real.x[0].numel()
        return terms

    def diffuse(self, turn: Turn) -> Terms:
        """The generator's second objective: to spread over all that it can rebuild."""
        real = self.condition.real(turn)
        with torch.no_grad():
            rebuilt = self.rebuild(real)
        made = self.generate(turn.latent(len(real.x) * turn.micro_batch[1]), self.labels(real))
        return self.compute_terms(self.of_spread(real, rebuilt, made), turn, "generator")

    def rebuild(self, real: Batch) -> Tensor:
        """G(E(x)), with the labels of x."""
        return self.generate(self.encode(real.x), self.labels(real))

    def of_spread(self, real: Batch, rebuilt: Tensor, made: Tensor, *, main: bool = True) -> Duel:
        """The duel before D2: rebuilt samples on the real side, made ones on the fake side."""
        return self.against((rebuilt,), (made,), self.labels(real), role=SECOND, main=main)
