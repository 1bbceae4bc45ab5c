"""Several generators that are kept apart.  Ghosh et al. 2018, "Multi-Agent Diverse Generative Adversarial Networks" (MAD-GAN).

The ``makers`` variant, the paper's: D also says which of the k generators made a fake. With logits l_real and l_1 .. l_k,

    s = l_real - log sum_i exp l_i,        so that sigmoid(s) is the softmax's D_real and any loss fits;
    D: loss, each generator counting once (``fake_weight`` = k), + k * CE(maker);      G: the loss's generator side.

With the logistic loss that is -E_p log D_real - sum_i E log D_i(G_i(z)), with the saturating one sum_i E log(1 - D_real(G_i(z))),
least at p = mean of q_i, where it is -(k + 1) log(k + 1) + k log k. D_real* = p / (p + sum q_i), D_i* = q_i / (p + sum q_j).

The ``similarity`` variant, of the paper's appendix in kind: a plain D, all fakes together counting once, and

    G: loss + weight * 2 / (k (k - 1)) * sum_{i<j} E cos(phi(G_i(z)), phi(G_j(z))),    phi: D's features.

All generators see the same z; each has weights of its own (the paper's share all but the last layer). They are one player,
"generator". A sample comes from one of them, drawn uniformly. Replayed fakes count as made by the one whose place they take.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from ganrun.games.base import Game, Ports, Terms
from ganrun.games.choosing import EachForAll
from ganrun.games.heads import NO_ENERGY, Headed, beside_score
from ganrun.ground.duel import Duel
from ganrun.ground.errors import BadInput, suggestion
from ganrun.ground.registry import register
from ganrun.ground.spec import DiscriminatorOutput
from ganrun.ground.traits import FEATURES_NEEDED, Rule
from ganrun.ground.turn import Turn
from ganrun.networks.base import Family

VARIANTS = ("makers", "similarity")


class GeneratorMixture(nn.Module):
    """Generators side by side."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, *inputs: Tensor, maker: Tensor | None = None, **condition: Tensor) -> Tensor:
        """What all make of n inputs, one after the other, (k * n, ...); or row i by the network ``maker``[i] alone, (n, ...)."""
        if maker is None:
            return torch.cat([network(*inputs, **condition) for network in self.networks])
        places = [torch.nonzero(maker == index).flatten() for index in range(len(self.networks))]
        made = [
            network(*(entry[rows] for entry in inputs), **{name: entry[rows] for name, entry in condition.items()})
            for network, rows in zip(self.networks, places, strict=True)
            if len(rows)
        ]
        return torch.cat(made)[torch.cat(places).argsort()]

    def traceable(self) -> nn.Module:
        """The same function of inputs with makers, for exporters."""
        return EachForAll(list(self.networks), "maker")


class GeneratorClassifier(Headed):
    """A discriminator whose score is its own minus the log-sum-exp of the makers' logits."""

    def forward(self, *inputs: Tensor, **condition: Tensor) -> DiscriminatorOutput:
        output = super().forward(*inputs, **condition)
        anyone = output.heads["makers"].float() if output.score.element_size() < 4 else output.heads["makers"]
        output.score = output.score - beside_score(anyone.logsumexp(1), output.score)
        return output


@register("game", "madgan")
class MADGAN(Game):
    """``generators`` generators against one discriminator that tells them apart."""

    single = False  # which generator makes the sample is drawn

    def __init__(
        self,
        *,
        generators: int = 3,
        variant: str = "makers",
        weight: float = 1.0,
        **base: Any,
    ) -> None:
        super().__init__(**base)
        if variant not in VARIANTS:
            raise BadInput(f"variant={variant}: {suggestion(variant, VARIANTS)}")
        least = 1 if variant == "makers" else 2
        if generators < least:
            raise ValueError(f"generators={generators} must be at least {least} with variant={variant}")
        if weight < 0:
            raise ValueError(f"weight={weight} must not be negative: it would reward what it should cost")
        self.generators, self.weight, self.makers = generators, weight, variant == "makers"

    @property
    def drawn(self) -> Mapping[str, int]:
        return {"maker": self.generators}

    @property
    def needs(self) -> Mapping[str, Rule]:
        return {**super().needs, **FEATURES_NEEDED}

    @property
    def refuses(self) -> Mapping[str, Rule]:
        return {**super().refuses, "energy": NO_ENERGY} if self.makers else super().refuses

    def make(self, family: Family, role: str, inputs: Ports, outputs: Ports) -> nn.Module:
        if role == "generator":
            return GeneratorMixture([super(MADGAN, self).make(family, role, inputs, outputs) for _ in range(self.generators)])
        player = super().make(family, role, inputs, outputs)
        return GeneratorClassifier(player, {"makers": self.generators}) if self.makers else player

    def duel(self, turn: Turn) -> Duel:
        duel = super().duel(turn)
        if duel.fake_condition is not None:
            duel.fake_condition = duel.fake_condition.repeat(self.generators)
        if self.makers:
            duel.fake_weight = float(self.generators)
        return duel

    def discriminator_loss(self, turn: Turn) -> Terms:
        with torch.no_grad():
            duel = self.duel(turn)
        terms = self.compute_terms(duel, turn, "discriminator")
        if self.makers:
            logits = duel.fake_output.heads["makers"]
            logits = logits.float() if logits.element_size() < 4 else logits
            maker = torch.arange(self.generators, device=logits.device).repeat_interleave(len(logits) // self.generators)
            terms["makers"] = self.weight * self.generators * cross_entropy(logits, maker)
        return terms

    def generator_loss(self, turn: Turn) -> Terms:
        duel = self.duel(turn)
        terms = self.compute_terms(duel, turn, "generator")
        if not self.makers:
            features = duel.whole_fake_output.features
            assert features is not None
            terms["similarity"] = self.weight * mean_cosine(features.unflatten(0, (self.generators, -1)))
        return terms

    def sample(self, count: int, turn: Turn, condition: Tensor | None = None, source: Tensor | None = None) -> Tensor:
        latent = turn.latent(count)
        maker = torch.randint(self.generators, (count,), generator=turn.generator("maker")).to(latent.device)
        given = {} if condition is None else {"condition": condition}
        made: Tensor = self.players["generator"](latent, maker=maker, **given)
        return made.to(latent.dtype)


def mean_cosine(features: Tensor) -> Tensor:
    """The mean over pairs of makers, and over samples, of the cosine between their ``features`` (makers, n, d).

    Of unit vectors u_i, |sum u_i|^2 - sum |u_i|^2 is twice the sum of the cosines of all pairs.
    """
    count = len(features)
    unit = normalize(features.flatten(2), dim=2, eps=1e-8)
    twice = unit.sum(0).square().sum(1) - unit.square().sum((0, 2))
    return twice.mean() / (count * (count - 1))
