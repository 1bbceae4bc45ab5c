"""A game casts the players and says what they play for, in which order. It knows no optimizer, device or file.

The base game is the adversarial one of Goodfellow et al. 2014: a discriminator phase, repeated ``n_critic`` times on
fresh real batches, then a generator phase that sees the last of these batches. Other games override ``phases`` and
what they need of the objectives; the loop never changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ganrun.games.conditions import Condition
from ganrun.ground import registry, rng
from ganrun.ground.duel import Duel
from ganrun.ground.spec import Port, Spec
from ganrun.ground.turn import Turn
from ganrun.losses.base import Loss
from ganrun.networks.base import Family
from ganrun.regularizers.base import Regularizer

Terms = dict[str, Tensor]


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

    roles: tuple[str, ...] = ("generator", "discriminator")
    averaged: tuple[str, ...] = ("generator",)

    def __init__(self, *, n_critic: int = 1, condition: str = "none") -> None:
        super().__init__()
        if n_critic < 1:
            raise ValueError(f"n_critic={n_critic} must be at least 1")
        self.n_critic = n_critic
        self.condition: Condition = registry.lookup("condition", condition)()
        self.players: Mapping[str, nn.Module] = {}
        self.consulted: set[str] = set()  # regularizers that some phase asks
        self._last: dict[str, Duel] = {}
        self._phases: dict[str, Phase] = {}

    @property
    def needs(self) -> Mapping[str, object]:
        return self.condition.needs

    # casting

    def cast(self, family: Family, spec: Spec, loss: Loss, regularizers: Mapping[str, Regularizer], seed: int) -> None:
        """Make the players, each from a random stream of its own, and let regularizers rewrite those they act on."""
        self.spec, self.loss, self.regularizers = spec, loss, regularizers
        self.together = not any(trait.endswith("batch_coupled") for trait in family.traits)
        self.latent_law = family.latent
        players = {}
        for role in self.roles:
            torch.manual_seed(rng.derive(seed, "weights", role))
            players[role] = self.make(role, family)
        self.players = players
        self._phases = {phase.name: phase for phase in self.phases()}
        for name, regularizer in sorted(regularizers.items()):
            joined = [phase for phase in self._phases.values() if phase.side in regularizer.sides]
            torch.manual_seed(rng.derive(seed, "prepare", name))
            regularizer.prepare({role: players[role] for phase in joined for role in phase.trains})
            if joined:
                self.consulted.add(name)

    def make(self, role: str, family: Family) -> nn.Module:
        """The player of ``role``, made by the family through the condition."""
        data, code = Port("data", self.spec.shape), Port("code", (self.latent_law.size,))
        ports = {"generator": ((code,), (data,)), "discriminator": ((data,), (Port("score", ()),))}
        inputs, outputs = ports[role]
        return self.condition.make(family, role, self.spec, inputs=inputs, outputs=outputs)

    # playing

    def phases(self) -> list[Phase]:
        """In the order of a step."""
        return [
            Phase("discriminator", "discriminator", ("discriminator",), self.judge_fakes, repeat=self.n_critic),
            Phase("generator", "generator", ("generator",), self.make_fakes, fresh=False),
        ]

    def judge_fakes(self, turn: Turn) -> Terms:
        """The discriminator's objective. No graph is built through the generator."""
        with torch.no_grad():
            duel = self.duel(turn)
        return self.play(duel, turn, "discriminator")

    def make_fakes(self, turn: Turn) -> Terms:
        """The generator's objective."""
        return self.play(self.duel(turn), turn, "generator")

    def duel(self, turn: Turn) -> Duel:
        """This turn's real batch against fakes with the same labels."""
        real = turn.real()
        labels = real.y if self.condition.uses_labels else None
        fake = self.generate(turn.latent(), labels)
        return Duel(
            self.players["discriminator"],
            (real.x,),
            (fake,),
            real_condition=labels,
            fake_condition=labels,
            together=self.together,
        )

    def generate(self, latent: Tensor, labels: Tensor | None) -> Tensor:
        """G(z) or G(z, y), in the latent's precision."""
        generator = self.players["generator"]
        fake: Tensor = generator(latent) if labels is None else generator(latent, condition=labels)
        return fake.to(latent.dtype)

    def play(self, duel: Duel, turn: Turn, side: str) -> Terms:
        """Let a duel be fought: ``before`` hooks, verdicts, loss, then the regularizers' terms, each by its name."""
        joined = {name: entry for name, entry in sorted(self.regularizers.items()) if side in entry.sides}
        self._last[turn.phase] = duel
        for regularizer in joined.values():
            regularizer.before(duel, turn)
        if side == "discriminator":
            duel.look()
            terms = {"loss": self.loss.d(duel)}
        else:
            terms = {"loss": self.loss.g(duel)}
        for name, regularizer in joined.items():
            if regularizer.due(turn):
                term = regularizer.term(duel, self._trained(turn.phase), turn)
                if term is not None:
                    terms[name] = term * (regularizer.weight * regularizer.every)
        return terms

    def after_step(self, phase: Phase, turn: Turn) -> None:
        """After a real update of ``phase``: clipping, controllers."""
        duel = self._last.pop(phase.name, None)
        if duel is None:
            return
        for _, regularizer in sorted(self.regularizers.items()):
            if phase.side in regularizer.sides:
                regularizer.after_step(self._trained(phase.name), duel, turn)

    def _trained(self, phase_name: str) -> dict[str, nn.Module]:
        return {role: self.players[role] for role in self._phases[phase_name].trains}

    # sampling

    def sample(self, count: int, turn: Turn, condition: Tensor | None = None) -> Tensor:
        """``count`` generated samples: float32 of shape (count, *spec.shape). ``condition``: labels (count,)."""
        return self.generate(turn.latent(count), condition)
