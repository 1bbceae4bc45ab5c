"""A game casts the players and says what they play for, in which order. It knows no optimizer, device or file.

The base game is the adversarial one of Goodfellow et al. 2014: a discriminator phase, repeated ``n_critic`` times on
fresh real batches, then a generator phase that sees the last of these batches. Other games override ``phases`` and
what they need of the objectives; the loop never changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ganrun.data.base import Dataset
from ganrun.games.conditions.base import GAINS, Condition
from ganrun.ground import registry, rng
from ganrun.ground.duel import Duel, Inputs
from ganrun.ground.errors import BadInput, suggestion
from ganrun.ground.spec import Batch, Latent, Port, Spec
from ganrun.ground.traits import Rule
from ganrun.ground.turn import Turn
from ganrun.losses.base import Loss
from ganrun.networks.base import Family
from ganrun.regularizers.base import Regularizer

Choice = str | Mapping[str, Any]  # a component by its name, or with its options
Terms = dict[str, Tensor]
Ports = tuple[Port, ...]


@dataclass(frozen=True)
class Phase:
    """One kind of update: ``trains`` names players, ``objective`` maps a turn to terms that are summed and minimised.

    It runs ``repeat`` times in every ``every``-th step. ``side`` selects the regularizers that join it. ``fresh``:
    it draws new real batches; otherwise it sees the last one drawn before it.
    """

    name: str
    side: str
    trains: tuple[str, ...]
    objective: Callable[[Turn], Terms]
    repeat: int = 1
    every: int = 1
    fresh: bool = True


class Game(nn.Module):
    """Generator against discriminator. ``players`` maps roles to networks; they are not submodules of the game."""

    averaged: tuple[str, ...] = ("generator",)
    judges_samples = True  # the first input of its main duel is a sample
    single = True  # a latent, with a label, is one sample
    remakes = True  # its main duel can make the fakes again, from other latents

    def __init__(self, *, n_critic: int = 1, condition: Choice = "none", pack: int = 1, gain: str = "offset") -> None:
        super().__init__()
        if n_critic < 1:
            raise ValueError(f"n_critic={n_critic} must be at least 1")
        if pack < 1:
            raise ValueError(f"pack={pack} must be at least 1: so many samples are judged as one")
        self.n_critic, self.pack = n_critic, pack
        if gain not in GAINS:
            raise BadInput(f"gain={gain}: there is no such gain of conditional normalizations. {suggestion(gain, GAINS)}")
        chosen = condition if isinstance(condition, Mapping) else {"name": condition}
        self.condition: Condition = registry.build("condition", chosen)
        self.condition.gain = gain
        self.players: Mapping[str, nn.Module] = {}
        self.consulted: set[str] = set()  # regularizers that some phase asks
        self._last: dict[str, Duel] = {}
        self._phases: dict[str, Phase] = {}

    @property
    def traits(self) -> frozenset[str]:
        own = {
            "game.packed": self.pack > 1,
            "game.remakes": self.remakes,
            "condition.labels": self.condition.uses_labels,
        }
        return self.condition.traits | {trait for trait, there in own.items() if there}

    @property
    def needs(self) -> Mapping[str, Rule]:
        return self.condition.needs

    @property
    def refuses(self) -> Mapping[str, Rule]:
        return self.condition.refuses

    @property
    def drawn(self) -> Mapping[str, int]:
        """What a sample draws beside its latent: by the generator's keyword, the number of values, all equally likely."""
        return {}

    # casting

    def build_players(self, family: Family, spec: Spec, loss: Loss, regularizers: Mapping[str, Regularizer], seed: int) -> None:
        """Make the players, each from a random stream of its own, and let regularizers rewrite those they act on."""
        self.spec, self.loss, self.regularizers = spec, loss, regularizers
        self.together = not any(trait.endswith("batch_coupled") for trait in family.traits)
        self.latent_law = self.law(family.latent)
        players = {}
        for role, (inputs, outputs) in self.roles().items():
            rng.seed_default(rng.derive(seed, "weights", role))
            players[role] = self.make(family, role, inputs, outputs)
        self.players = players
        self._phases = {phase.name: phase for phase in self.phases()}
        for name, regularizer in sorted(regularizers.items(), key=lambda item: (item[1].rank, item[0])):
            joined = [phase for phase in self._phases.values() if phase.side in regularizer.sides]
            rng.seed_default(rng.derive(seed, "prepare", name))
            regularizer.allocate(self.roles()["discriminator"][0])
            regularizer.prepare({role: players[role] for phase in joined for role in phase.trains})
            if joined:
                self.consulted.add(name)

    def law(self, latent: Latent) -> Latent:
        """The law of the generator's input, given the family's."""
        return latent

    def roles(self) -> dict[str, tuple[Ports, Ports]]:
        """The players: ``{role: (inputs, outputs)}``. The inputs of "discriminator" are those of the main duel."""
        data, code, score = Port("data", self.spec.shape), Port("code", (self.latent_law.size,)), Port("score", ())
        return {"generator": ((code,), (data,)), "discriminator": ((data,), (score,))}

    def make(self, family: Family, role: str, inputs: Ports, outputs: Ports) -> nn.Module:
        """The player of ``role``, made by the family through the condition; discriminators see packs."""
        pack = self.pack if outputs[0].kind == "score" else 1
        inputs = tuple(replace(port, shape=(pack * port.shape[0], *port.shape[1:])) for port in inputs)
        return self.condition.make(family, role, self.spec, inputs=inputs, outputs=outputs, pack=pack)

    def streams(self, dataset: Dataset) -> dict[str, Dataset]:
        """The supplies of real samples, by the name that ``turn.real`` knows them by."""
        return {"data": dataset, **self.condition.streams(dataset)}

    def check_batch(self, size: int) -> None:
        """Raise ``BadInput`` if (micro-)batches of ``size`` samples cannot be played with."""
        if size % self.pack:
            raise BadInput(f"pack={self.pack}: must divide the batch of {size} samples")
        self.condition.check_batch(size, self.spec)

    # playing

    def phases(self) -> list[Phase]:
        """In the order of a step."""
        return [
            Phase("discriminator", "discriminator", ("discriminator",), self.discriminator_loss, repeat=self.n_critic),
            Phase("generator", "generator", ("generator",), self.generator_loss, fresh=False),
        ]

    def discriminator_loss(self, turn: Turn) -> Terms:
        """The discriminator's objective. No graph is built through the generator."""
        with torch.no_grad():
            duel = self.duel(turn)
        return self.compute_terms(duel, turn, "discriminator")

    def generator_loss(self, turn: Turn) -> Terms:
        """The generator's objective."""
        return self.compute_terms(self.duel(turn), turn, "generator")

    def duel(self, turn: Turn) -> Duel:
        """This turn's real batch against fakes with the same labels."""
        real = self.condition.real(turn)
        labels = self.labels(real)
        latent = turn.latent(len(real.x) * turn.micro_batch[1])
        duel = self.against((real.x,), (self.generate(latent, labels),), labels)
        duel.remake = lambda move: (self.generate(move(latent), labels),)
        return duel

    def labels(self, real: Batch) -> Tensor | None:
        """The batch's labels, if the players are to know them."""
        return real.y if self.condition.uses_labels else None

    def against(
        self,
        real: Inputs,
        fake: Inputs,
        labels: Tensor | None,
        *,
        role: str = "discriminator",
        kinds: tuple[str, ...] = ("data",),
        main: bool = True,
    ) -> Duel:
        """A duel before the discriminator ``role``, under the rules of this game; fakes have the labels of the real side."""
        return Duel(
            self.players[role],
            real,
            fake,
            kinds=kinds,
            real_condition=labels,
            fake_condition=labels,
            together=self.together,
            pack=self.pack,
            main=main,
        )

    def generate(self, latent: Tensor, labels: Tensor | None) -> Tensor:
        """G(z) or G(z, y), in the latent's precision."""
        generator = self.players["generator"]
        fake: Tensor = generator(latent) if labels is None else generator(latent, condition=labels)
        return fake.to(latent.dtype)

    def compute_terms(self, duel: Duel, turn: Turn, side: str, *, virtual: bool = False) -> Terms:
        """Let a duel be fought: ``before`` hooks, packs, outputs, choices among them, loss, then regularizers' terms by name.

        ``virtual``: an update that is only imagined; no ``after_step`` will hear of the duel.
        """
        order = sorted(self.regularizers.items(), key=lambda item: (item[1].rank, item[0]))
        joined = {name: entry for name, entry in order if side in entry.sides}
        if duel.main and not virtual:
            self._last[turn.phase] = duel
        for regularizer in joined.values():
            regularizer.before(duel, turn)
        duel.finalize_inputs()
        if side == "discriminator":
            duel.forward_both()
        for regularizer in joined.values():
            regularizer.judged(duel, turn)
        terms = self.condition.objective(self.loss, duel, turn, side)
        players = self._trained(turn.phase) if duel.main else {}
        for name, regularizer in sorted(joined.items()):
            if regularizer.due(turn):
                term = regularizer.term(duel, players, turn)
                if term is not None:
                    terms[name] = term * (regularizer.weight_at(turn.step) * regularizer.every)
        return terms

    def main_duel(self, phase: Phase) -> Duel | None:
        """The main duel of the phase's last objective, until ``after_step`` has heard of it; None where there was none."""
        return self._last.get(phase.name)

    def after_step(self, phase: Phase, turn: Turn) -> None:
        """After a real update of ``phase``: the loss's state, clipping, controllers, pools."""
        duel = self._last.pop(phase.name, None)
        if duel is None:
            return
        if phase.side == "discriminator":
            self.loss.after_step(duel)
        for _, regularizer in sorted(self.regularizers.items()):
            if phase.side in regularizer.sides:
                regularizer.after_step(self._trained(phase.name), duel, turn)

    def _trained(self, phase_name: str) -> dict[str, nn.Module]:
        return {role: self.players[role] for role in self._phases[phase_name].trains}

    # sampling

    def sample(self, count: int, turn: Turn, condition: Tensor | None = None, source: Tensor | None = None) -> Tensor:
        """``count`` generated samples: float32 of shape (count, *spec.shape).

        ``condition``: labels (count,); ``source``: images to translate, (count, *spec.source), for a game that does.
        """
        return self.generate(turn.latent(count), condition)


def check_weights(**weights: float) -> None:
    """Raise ``ValueError`` for a negative weight of a term: it would reward what it should cost."""
    for key, weight in weights.items():
        if weight < 0:
            raise ValueError(f"{key}={weight} must not be negative: it would reward what it should cost")
