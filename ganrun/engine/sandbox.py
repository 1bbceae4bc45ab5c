"""The players of a run, tried out on copies: what a metric of networks works with. Nothing of the run moves.

A sandbox plays the game's own phases on a copy of the whole game (players, loss, regularizers and their state), with batches
and latents of its own, which are functions of the seed alone.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ganrun.data.base import Dataset
from ganrun.engine import assemble
from ganrun.games.base import Game, Phase
from ganrun.ground import rng
from ganrun.ground.errors import BadInput
from ganrun.ground.runtime import Runtime
from ganrun.ground.turn import Turn

CHUNK = 250  # samples that a class head reads at a time
FAR = 2**20  # slots between the batches that are trained on and those that are judged


class Sandbox:
    """A stage for copies of the players of ``game``, with ``dataset`` and draws from ``seed``."""

    def __init__(self, game: Game, dataset: Dataset, runtime: Runtime, seed: int) -> None:
        self.game, self.dataset, self.runtime, self.seed = game, dataset, runtime, seed
        self.streams = {name: assemble.supply(source, runtime) for name, source in game.streams(dataset).items()}

    @property
    def judges(self) -> Mapping[str, nn.Module]:
        """The networks whose output is a score, by role, as they stand."""
        return judges_of(self.game)

    @property
    def heads(self) -> Mapping[str, nn.Module]:
        """Those of ``judges`` that see a sample alone and name its class, by role."""
        if "discriminator.classes" not in self.game.traits:
            return {}
        roles = self.game.roles()
        return {role: judge for role, judge in self.judges.items() if [port.kind for port in roles[role][0]] == ["data"]}

    def class_logits(self, x: Tensor) -> Tensor:
        """What the first class head of ``heads`` says of ``x`` (n, *spec.shape), in evaluation mode: float32 (n, classes)."""
        judge = copy.deepcopy(next(iter(self.heads.values()))).eval()
        with torch.no_grad():
            found = [judge(part.to(self.runtime.device)).heads["classes"].float().cpu() for part in x.split(CHUNK)]
        return torch.cat(found)

    def improved(self, side: str, *, steps: int, lr: float, batch_size: int) -> Sandbox:
        """A sandbox in which the players of ``side`` have been trained against the others for ``steps`` steps of Adam."""
        other = Sandbox(self._copy(), self.dataset, self.runtime, self.seed)
        game, size = other.game, self.size(batch_size)
        phases = [phase for phase in game.phases() if phase.side == side]
        optimizers = {
            phase.name: torch.optim.Adam(
                [entry for role in phase.trains for entry in game.players[role].parameters()], lr=lr, betas=(0.5, 0.999)
            )
            for phase in phases
        }
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            for step in range(steps):
                for phase in phases:
                    other._freeze(phase)
                    turn = other._turn(phase, step, step, size)
                    optimizer = optimizers[phase.name]
                    optimizer.zero_grad(set_to_none=True)
                    torch.stack([entry.float() for entry in phase.objective(turn).values()]).sum().backward()
                    optimizer.step()
                    game.after_step(phase, turn)
        return other

    def values(self, *, batches: int, batch_size: int) -> Tensor:
        """Minus the loss of the discriminators' phases, penalties aside, on batches that are the same at each call: float64."""
        judged = Sandbox(self._copy(), self.dataset, self.runtime, self.seed)  # looking moves running statistics
        for regularizer in judged.game.regularizers.values():
            regularizer.weight, regularizer.final = 0.0, None
        size, found = self.size(batch_size), []
        phases = [phase for phase in judged.game.phases() if phase.side == "discriminator"]
        with torch.random.fork_rng(devices=[]), torch.enable_grad():  # penalties differentiate by their inputs
            for batch in range(batches):
                total = torch.zeros((), dtype=torch.float64)
                for phase in phases:
                    judged._freeze(phase)
                    terms = phase.objective(judged._turn(phase, FAR + batch, FAR + batch, size))
                    total -= torch.stack([term.detach().double().cpu() for term in terms.values()]).sum()
                found.append(total)
        return torch.stack(found)

    def _copy(self) -> Game:
        """The game with all its state, in training mode."""
        shared: dict[int, object] = {id(self.dataset): self.dataset}  # data are looked at, never changed
        game = copy.deepcopy(self.game, shared)
        for player in game.players.values():
            player.train()
        return game

    def _freeze(self, phase: Phase) -> None:
        for role, player in self.game.players.items():
            player.requires_grad_(role in phase.trains)

    def size(self, most: int) -> int:
        """The largest batch of at most ``most`` samples that the game can play with."""
        for size in range(most, 1, -1):
            try:
                self.game.check_batch(size)
            except BadInput:
                continue
            return size
        raise BadInput(f"batch_size={most}: a batch of so few samples is too small for this game")

    def _turn(self, phase: Phase, step: int, batch_index: int, size: int) -> Turn:
        turn = Turn(
            seed=rng.derive(self.seed, "rehearsal"),
            step=step,
            phase=phase.name,
            repeat=0,
            batch_size=size,
            latent_law=self.game.latent_law,
            device=self.runtime.device,
            streams=self.streams,
            batch_index=batch_index,
            update=step,
        )
        rng.seed_default(turn.generator("default").initial_seed(), self.runtime.device)
        return turn


def judges_of(game: Game) -> dict[str, nn.Module]:
    """The networks of ``game`` whose output is a score, by role."""
    return {role: game.players[role] for role, (_, outputs) in game.roles().items() if outputs[0].kind == "score"}
