"""A look at a run: samples, scores and gradients of a copy of its game, on draws of its own. Nothing of the run moves.

A look is a function of (weights, seed, step) and of the row before it, so a resumed run writes the rows that the
uninterrupted one would have written.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ganrun.data.base import Dataset
from ganrun.engine import sampling
from ganrun.engine.loop import Trainer
from ganrun.engine.reference import Reference
from ganrun.engine.sandbox import Sandbox
from ganrun.games.base import Game, Phase
from ganrun.ground import rng
from ganrun.ground.duel import Duel
from ganrun.ground.runtime import Runtime
from ganrun.ground.turn import Turn
from ganrun.signs.base import Played, distances, gap, mean_pair

SIDES = ("generator", "discriminator")
PLAYED = 128  # samples in the phases that are played
FEWEST = 48  # held-out samples that ranks are taken with


class Look(Sandbox):
    """One look at ``trainer`` (``ganrun.signs.base.Look``). ``before``: weights of the step before, by role."""

    def __init__(
        self,
        trainer: Trainer,
        dataset: Dataset,
        runtime: Runtime,
        held: Reference,
        *,
        samples: int,
        previous: Mapping[str, Any] | None,
        before: Mapping[str, list[Tensor]],
    ) -> None:
        super().__init__(trainer.game, dataset, runtime, rng.derive(trainer.seed, "doctor"))
        self.trainer, self.held, self.count = trainer, held, samples
        self.previous, self.before, self.kind = previous, before, held.kind
        self.real, self.sides, self.yardstick, self.partition = held.real, held.sides, held.yardstick, held.partition
        self.real_labels = held.real_labels
        self._made: dict[tuple[bool, bool], Tensor] = {}

    # samples

    def features(self, x: Tensor) -> Tensor:
        return self.held.features(x)

    def gap(self, x: Tensor) -> float:
        return gap(float(distances(x, self.real).mean()), mean_pair(x), self.yardstick.pair)

    @functools.cached_property
    def away(self) -> Tensor:
        return distances(self.features(self.generated()), self.real)

    @property
    def labels(self) -> Tensor | None:
        if not self.game.condition.uses_labels or not self.game.spec.classes:
            return None
        if self.held.source_labels is not None:
            return self.held.source_labels
        return torch.arange(self.count) % int(self.game.spec.classes)

    def generated(self, *, training: bool = False, average: bool = False) -> Tensor:
        key = (training, average)
        if key not in self._made:
            self._made[key] = self._in_training_mode() if training else self._sample(self.seed, self.labels, average)
        return self._made[key]

    def again(self, *, noise: bool = False, label: bool = False) -> Tensor | None:
        labels, seed = self.labels, self.seed
        if labels is None or self.held.source is not None:
            return None
        if label:
            labels = (labels + 1) % int(self.game.spec.classes or 1)
        if noise:
            seed = rng.derive(seed, "again")
        return self._sample(seed, labels, average=False)

    def _sample(self, seed: int, labels: Tensor | None, average: bool) -> Tensor:
        averages = self.trainer.averages if average else {}
        return sampling.generate(
            self.game, self.count, seed=seed, runtime=self.runtime, averages=averages, labels=labels, sources=self.held.source
        )

    def _in_training_mode(self) -> Tensor:
        """The latents of ``generated`` through the generator as it is trained, by batches of the size that it is trained with.

        On the copy that has been played with, whose batch normalizations take each batch by itself.
        """
        assert self.played is not None
        game = self._stage.game
        size = max(2, self.trainer.generator_batch // self.trainer.accumulate)
        for player in (game.players[role] for role in _roles(game, "generator")):
            for module in player.modules():
                if hasattr(module, "running_mean"):
                    module.forward = functools.partial(_by_batches, module.forward, size)
        turn = Turn(
            seed=self.seed,
            step=0,
            phase="sample",
            repeat=0,
            batch_size=self.count,
            latent_law=game.latent_law,
            device=self.runtime.device,
        )
        labels, source = (None if entry is None else entry.to(self.runtime.device) for entry in (self.labels, self.held.source))
        with torch.random.fork_rng(devices=[]), torch.no_grad(), self.runtime.autocast():
            torch.manual_seed(turn.generator("default").initial_seed())
            return game.sample(self.count, turn, labels, source).float().cpu()

    # play

    @functools.cached_property
    def _stage(self) -> Sandbox:
        """The one copy of this look, whose statistics move."""
        return Sandbox(self._copy(), self.dataset, self.runtime, self.seed)

    @functools.cached_property
    def played(self) -> Played:
        """The first phase of each side on a copy, with batches of its own."""
        copy = self._stage
        phases = {side: next((phase for phase in copy.game.phases() if phase.side == side), None) for side in SIDES}
        size = copy.size(PLAYED)
        found: dict[str, Any] = {}
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            if (phase := phases["discriminator"]) is not None:
                terms, duel = _play(copy, phase, size, self.trainer.step)
                if duel is not None:
                    found["real"], found["fake"] = (
                        _flat(entry.score).detach().cpu() for entry in (duel.real_output, duel.fake_output)
                    )
                    found["penalty_share"] = _penalty_share(copy.game, phase, terms)
                    split = self.dataset.held_out()
                    if split is not None and duel.kinds == ("data",) and self.game.judges_samples and len(split) >= FEWEST:
                        other = Sandbox(copy.game, split, self.runtime, self.seed)
                        _, unseen = _play(other, phase, size, self.trainer.step)
                        if unseen is not None:
                            found["held_out"] = _flat(unseen.real_output.score).detach().cpu()
            if (phase := phases["generator"]) is not None:
                terms, duel = _play(copy, phase, size, self.trainer.step)
                if duel is not None:
                    found |= _teaching(copy.game, terms, duel, self.held.deviation)
        return Played(**found)

    # players

    def players(self, side: str) -> Mapping[str, nn.Module]:
        return {role: self.game.players[role] for role in _roles(self.game, side)}

    @property
    def moves(self) -> Mapping[str, float]:
        found = {}
        for side in SIDES:
            pairs = [
                (entry.detach(), old)
                for role in _roles(self.game, side)
                for entry, old in zip(self.game.players[role].parameters(), self.before.get(role, []), strict=False)
            ]
            if pairs:
                moved = torch.stack([(entry - old).float().norm() for entry, old in pairs]).norm()
                size = torch.stack([entry.float().norm() for entry, _ in pairs]).norm()
                found[side] = float(moved / size.clamp_min(1e-12))
        return found

    @property
    def gradients(self) -> Mapping[str, float]:
        found = {}
        for side in SIDES:
            roles = _roles(self.game, side)
            numbers = sum(entry.numel() for role in roles for entry in self.game.players[role].parameters())
            eps = [group["eps"] for role in roles for group in self.trainer.optimizers[role].param_groups if "eps" in group]
            names = {
                f"{phase.name}/{'gradient_norm' if role == phase.name else f'{role}_gradient_norm'}"
                for phase in self.trainer.phases
                if phase.side == side
                for role in phase.trains
            }
            norms = [self.trainer.terms[name].float() for name in names if name in self.trainer.terms]
            if norms and eps and numbers:
                found[side] = float(torch.stack(norms).norm()) / numbers**0.5 / min(eps)
        return found

    @property
    def bound(self) -> float | None:
        bounds = [entry.bound for entry in self.game.regularizers.values() if entry.bound is not None]
        return min(bounds) if bounds else None

    @property
    def averaged(self) -> bool:
        return bool(self.trainer.averages)


def _by_batches(forward: Callable[[Tensor], Tensor], size: int, x: Tensor) -> Tensor:
    """``forward`` of parts of at least ``size`` samples, as equal as can be."""
    return torch.cat([forward(part) for part in x.tensor_split(max(1, len(x) // size))])


def _roles(game: Game, side: str) -> list[str]:
    return sorted({role for phase in game.phases() if phase.side == side for role in phase.trains})


def _play(stage: Sandbox, phase: Phase, size: int, step: int) -> tuple[dict[str, Tensor], Duel | None]:
    """The terms of a phase and its main duel."""
    stage._freeze(phase)
    terms = phase.objective(stage._turn(phase, step, step, size))
    return terms, stage.game.main_duel(phase)


def _flat(score: Tensor) -> Tensor:
    """Scores (n,); of a map of patches their mean."""
    return score.float() if score.ndim == 1 else score.float().flatten(1).mean(1)


def _penalty_share(game: Game, phase: Phase, terms: Mapping[str, Tensor]) -> float | None:
    weights = [entry for role in phase.trains for entry in game.players[role].parameters()]
    norms = []
    for ours in (True, False):
        chosen = [term for name, term in terms.items() if (name in game.regularizers) == ours and term.requires_grad]
        if not chosen:
            return None
        gradients = torch.autograd.grad(torch.stack(chosen).sum(), weights, retain_graph=True, allow_unused=True)
        held = [entry.float().norm() for entry in gradients if entry is not None]
        norms.append(float(torch.stack(held).norm()) if held else 0.0)
    return norms[0] / (norms[0] + norms[1]) if norms[0] + norms[1] > 0 else None


def _teaching(game: Game, terms: Mapping[str, Tensor], duel: Duel, deviation: float) -> dict[str, float]:
    score, fake = duel.fake_output.score, duel.fake[0]
    loss = [term for name, term in terms.items() if name not in game.regularizers and term.requires_grad]
    found: dict[str, float] = {}
    if not score.requires_grad or not loss:
        return found
    (by_score,) = torch.autograd.grad(torch.stack(loss).sum(), score, retain_graph=True, allow_unused=True)
    if by_score is not None:
        each = by_score.float() if by_score.ndim == 1 else by_score.float().flatten(1).sum(1)
        found["teaching"] = float(each.abs().mean()) * len(each)
    if fake.requires_grad:
        (by_sample,) = torch.autograd.grad(_flat(score).sum(), fake, retain_graph=True, allow_unused=True)
        if by_sample is not None:
            found["slope"] = float(by_sample.float().flatten(1).norm(dim=1).mean()) * deviation
    return found
