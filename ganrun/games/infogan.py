"""Some of the latents shall be readable from the sample.  Chen et al. 2016, "InfoGAN".

z is followed by codes c: a one-hot category for each of ``categories`` and ``continuous`` numbers from U(-1, 1). A head on D's
features is Q(c | x): a softmax for a category, N(mean, deviation^2) for a number. With H the entropy of c, log K for a category
of K values and log 2 for a number,

    L_I = E log Q(c | G(z, c)) + H(c) <= I(c; G(z, c)),

a lower bound in nats that is tight where Q is the posterior. Both players minimise their loss - weight * L_I of the categories
- continuous_weight * L_I of the numbers: D, whose body Q shares, and G, as in the authors' code. The terms are logged as
``categories`` and ``numbers``, minus the weighted bounds; a bound above the category's entropy cannot be, while that of a number
has no end as ``deviation`` falls (1, the authors' for MNIST, leaves log 2 - log(2 pi) / 2 = -0.23 at best). Q reads fakes as G
made them, before noise, augmentations and old fakes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from ganrun.games.base import Game, Ports, Terms, check_weights
from ganrun.games.heads import NOT_PACKED, Headed
from ganrun.ground.duel import Duel
from ganrun.ground.registry import register
from ganrun.ground.spec import Latent
from ganrun.ground.traits import FEATURES_NEEDED, Rule
from ganrun.ground.turn import Turn
from ganrun.networks.base import Family


@dataclass(frozen=True)
class Coded(Latent):
    """``noise``, then a one-hot code for each of ``categories``, then ``continuous`` numbers from U(-1, 1)."""

    noise: Latent = field(default_factory=lambda: Latent(1))
    categories: tuple[int, ...] = ()
    continuous: int = 0

    def __post_init__(self) -> None:
        """Nothing to check: the game did."""

    @property
    def noise_law(self) -> str:
        return self.noise.noise_law

    @property
    def noise_size(self) -> int:
        return self.noise.size

    @property
    def codes(self) -> tuple[int, ...]:
        return (*self.categories, *[1] * self.continuous)

    def draw(self, count: int, source: torch.Generator) -> Tensor:
        parts = [self.noise.draw(count, source)]
        for size in self.categories:
            parts.append(one_hot(torch.randint(size, (count,), generator=source), size).to(parts[0].dtype))
        parts.append(torch.rand(count, self.continuous, generator=source) * 2 - 1)
        return torch.cat(parts, 1)


@register("game", "infogan")
class InfoGAN(Game):
    """The adversarial game, whose discriminator also reads part of the latents."""

    def __init__(
        self,
        *,
        categories: list[int] = [10],
        continuous: int = 2,
        weight: float = 1.0,
        continuous_weight: float = 0.1,
        deviation: float = 1.0,
        **base: Any,
    ) -> None:
        super().__init__(**base)
        check_weights(weight=weight, continuous_weight=continuous_weight)
        if any(size < 2 for size in categories):
            raise ValueError(f"categories={list(categories)}: each must be at least 2, a number of values to tell apart")
        if continuous < 0:
            raise ValueError(f"continuous={continuous} must not be negative: so many numbers are to be read")
        if not categories and not continuous:
            raise ValueError("categories=[] and continuous=0 leave nothing to be read. Try categories=[10]")
        if deviation <= 0:
            raise ValueError(f"deviation={deviation} must be positive: it is that of a number's reading")
        self.categories, self.continuous = tuple(categories), continuous
        self.weight, self.continuous_weight, self.deviation = weight, continuous_weight, deviation

    @property
    def needs(self) -> Mapping[str, Rule]:
        return {**super().needs, **FEATURES_NEEDED}

    @property
    def refuses(self) -> Mapping[str, Rule]:
        return {**super().refuses, "game.packed": NOT_PACKED}

    def law(self, latent: Latent) -> Latent:
        size = latent.size + sum(self.categories) + self.continuous
        return Coded(size, f"{latent.prior} with codes", latent, self.categories, self.continuous)

    def make(self, family: Family, role: str, inputs: Ports, outputs: Ports) -> nn.Module:
        player = super().make(family, role, inputs, outputs)
        return Headed(player, {"codes": sum(self.categories) + self.continuous}) if role == "discriminator" else player

    def discriminator_loss(self, turn: Turn) -> Terms:
        with torch.no_grad():
            duel = self.duel(turn)
        return self.read(duel, turn, "discriminator")

    def generator_loss(self, turn: Turn) -> Terms:
        return self.read(self.duel(turn), turn, "generator")

    def read(self, duel: Duel, turn: Turn, side: str) -> Terms:
        """The terms of a side, with what its player gains by readable codes."""
        made, labels = duel.fake, duel.fake_condition
        terms = self.compute_terms(duel, turn, side)
        latent = turn.latent(len(made[0]) * turn.micro_batch[1])
        reading = duel.output_on(made, labels).heads["codes"]
        categories, numbers = self.information(reading.float() if reading.element_size() < 4 else reading, latent)
        if self.categories:
            terms["categories"] = -self.weight * categories
        if self.continuous:
            terms["numbers"] = -self.continuous_weight * numbers
        return terms

    def information(self, reading: Tensor, latent: Tensor) -> tuple[Tensor, Tensor]:
        """L_I of the categories and of the numbers, of ``reading`` (n, codes) for ``latent`` (n, size): two scalars, in nats."""
        codes = latent[:, latent.shape[1] - reading.shape[1] :]
        sizes = [*self.categories, self.continuous]
        *logits, means = reading.split(sizes, 1)
        *chosen, numbers = codes.split(sizes, 1)
        bounds = [
            math.log(size) - cross_entropy(logit, code.argmax(1))
            for size, logit, code in zip(self.categories, logits, chosen, strict=True)
        ]
        squares = ((numbers - means) / self.deviation).square().sum(1).mean() / 2
        constant = self.continuous * (math.log(2) - math.log(2 * math.pi) / 2 - math.log(self.deviation))
        return sum(bounds, reading.new_zeros(())), constant - squares
