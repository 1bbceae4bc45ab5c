"""Translation without pairs (Zhu et al. 2017, "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks").

G ("generator") maps sources s to samples, F ("inverse") samples x to sources, each before a discriminator of its own:
G, F: adversarial * (L_G + L_F) + cycle * (E |F(G(s)) - s| + E |G(F(x)) - x|) + identity * (E |G(x) - x| + E |F(s) - s|).

The discriminators see fakes of which half, once ``pool`` are held, are earlier ones (Shrivastava et al. 2017). The paper's loss
is lsgan; ``loss=lsgan`` halves its squares, as D's are in the paper's code, so ``adversarial`` 2 gives G's weights there exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ganrun.data.base import Dataset
from ganrun.games.base import Phase, Ports, Terms, check_weights
from ganrun.games.translation import Translating, distance
from ganrun.ground.duel import Duel, Inputs
from ganrun.ground.errors import BadInput
from ganrun.ground.registry import register
from ganrun.ground.replay_pool import Pool
from ganrun.ground.spec import Batch, Port, Spec
from ganrun.ground.traits import Rule
from ganrun.ground.turn import Turn
from ganrun.losses.base import Loss
from ganrun.networks.base import Family
from ganrun.regularizers.base import Regularizer

TWO_SETS_NEEDED = Rule("it translates between two sets of samples, and this data set is one", "dataset=unpaired_digits")
ROLES = {"generator": "discriminator", "inverse": "inverse_discriminator"}


@register("game", "cyclegan")
class CycleGAN(Translating):
    """Two generators that undo each other, two discriminators."""

    averaged = tuple(ROLES)

    def __init__(
        self,
        *,
        cycle: float = 10.0,
        identity: float = 5.0,
        adversarial: float = 1.0,
        pool: int = 50,
        **base: Any,
    ) -> None:
        super().__init__(**base)
        check_weights(cycle=cycle, identity=identity, adversarial=adversarial, pool=pool)
        self.cycle, self.identity, self.adversarial, self.pool = cycle, identity, adversarial, pool
        self.pools = nn.ModuleDict()
        self._fresh: dict[str, list[tuple[Tensor, Tensor | None]]] = {}

    @property
    def needs(self) -> Mapping[str, Rule]:
        return {**super().needs, "dataset.unpaired": TWO_SETS_NEEDED}

    # casting

    def build_players(self, family: Family, spec: Spec, loss: Loss, regularizers: Mapping[str, Regularizer], seed: int) -> None:
        if self.identity and spec.source is not None and spec.source != spec.shape:
            raise BadInput(
                f"game.identity={self.identity}: sources of {spec.source} and samples of {spec.shape} cannot be compared. "
                "Try game.identity=0"
            )
        super().build_players(family, spec, loss, regularizers, seed)
        if self.pool:
            made = dict(zip(ROLES, reversed(self.sides()), strict=True))
            for role, port in made.items():
                self.pools[role] = Pool(self.pool, (port,), least=self.pool, purpose=f"pool of {role}")

    def roles(self) -> dict[str, tuple[Ports, Ports]]:
        source, data = self.sides()
        score = (Port("score", ()),)
        return {
            "generator": (self.with_noise(source), (data,)),
            "inverse": (self.with_noise(data), (source,)),
            "discriminator": ((data,), score),
            "inverse_discriminator": ((source,), score),
        }

    def streams(self, dataset: Dataset) -> dict[str, Dataset]:
        sources = dataset.sources()
        assert sources is not None
        if self.condition.uses_labels and sources.spec.classes != dataset.spec.classes:
            raise BadInput("condition: the sources have no labels, or other ones than the samples. Try condition=none")
        return {**super().streams(dataset), "source": sources, **self.condition.streams(sources, "source")}

    # playing

    def phases(self) -> list[Phase]:
        discriminators, generators = tuple(ROLES.values()), tuple(ROLES)
        return [
            Phase("discriminator", "discriminator", discriminators, self.discriminator_loss, repeat=self.n_critic),
            Phase("generator", "generator", generators, self.generator_loss, fresh=False),
        ]

    def discriminator_loss(self, turn: Turn) -> Terms:
        real, source = self.condition.real(turn), self.condition.real(turn, "source")
        if turn.micro_batch[0] == 0:
            self._fresh = {role: [] for role in self.pools}
        with torch.no_grad():
            fakes = self.fakes(real, source, turn)
        for role in self.pools:
            self._fresh[role].append(fakes[role])
        return self.fight(real, source, {role: self.pooled(role, *fake, turn) for role, fake in fakes.items()}, turn)

    def generator_loss(self, turn: Turn) -> Terms:
        real, source = self.condition.real(turn), self.condition.real(turn, "source")
        fakes = self.fakes(real, source, turn)
        (made, made_labels), (back, back_labels) = fakes["generator"], fakes["inverse"]
        terms = self.fight(real, source, fakes, turn)
        for name in ("loss", "inverse_loss"):
            terms[name] = terms[name] * self.adversarial
        there = self.translate("inverse", made, made_labels, turn, "cycle of sources")
        here = self.translate("generator", back, back_labels, turn, "cycle of samples")
        terms["cycle"] = (distance(there, source.x) + distance(here, real.x)) * self.cycle
        if self.identity:
            same = self.translate("generator", real.x, self.labels(real), turn, "identity of samples")
            same_source = self.translate("inverse", source.x, self.labels(source), turn, "identity of sources")
            terms["identity"] = (distance(same, real.x) + distance(same_source, source.x)) * self.identity
        return terms

    def fakes(self, real: Batch, source: Batch, turn: Turn) -> dict[str, tuple[Tensor, Tensor | None]]:
        """Each generator's fakes, with the labels of what they were made from."""
        latent = turn.latent(len(source.x) * turn.micro_batch[1]) if self.noisy else None
        made = self.translate("generator", source.x, self.labels(source), turn, "latent", latent)
        back = self.translate("inverse", real.x, self.labels(real), turn, "latent of inverse")
        return {"generator": (made, self.labels(source)), "inverse": (back, self.labels(real))}

    def fight(self, real: Batch, source: Batch, fakes: Mapping[str, tuple[Tensor, Tensor | None]], turn: Turn) -> Terms:
        """Both duels; the terms of the second have names of their own."""
        side = "discriminator" if turn.phase == "discriminator" else "generator"
        terms = self.compute_terms(self.duel_of("generator", real, fakes["generator"]), turn, side)
        other = self.compute_terms(self.duel_of("inverse", source, fakes["inverse"]), turn, side)
        return terms | {f"inverse_{name}": term for name, term in other.items()}

    def duel_of(self, role: str, real: Batch, fake: tuple[Tensor, Tensor | None]) -> Duel:
        """The fakes of ``role`` before its discriminator; the labels of the sides differ, as there are no pairs."""
        duel = self.against((real.x,), (fake[0],), self.labels(real), role=ROLES[role], main=role == "generator")
        duel.fake_condition = fake[1]
        return duel

    # the pools

    def pooled(self, role: str, fresh: Tensor, labels: Tensor | None, turn: Turn) -> tuple[Tensor, Tensor | None]:
        """Fresh fakes, of which some have given way to earlier ones."""
        if role not in self.pools:
            return fresh, labels
        pool = self.pools[role]
        assert isinstance(pool, Pool)
        mixed, mixed_labels = pool.exchange((fresh,), labels, turn)
        return mixed[0], mixed_labels

    def after_step(self, phase: Phase, turn: Turn) -> None:
        super().after_step(phase, turn)
        if phase.name != "discriminator":
            return
        for role, pool in self.pools.items():
            assert isinstance(pool, Pool)
            pieces = self._fresh[role]
            whole: Inputs = (torch.cat([made for made, _ in pieces]),)
            labels = [known for _, known in pieces if known is not None]
            pool.store(whole, torch.cat(labels) if labels else None, turn)
        self._fresh = {}
