"""The loop: runs phases. It knows optimizers, precision, devices, averages and the clock, and no technique.

What it guarantees:

- a phase changes its own players only: others are frozen, and their buffers are put back after it;
- nothing depends on history: every draw follows from (seed, step, phase, repeat, purpose);
- no step waits for the device: losses stay there until they are logged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ganrun.disk.checkpoint import demand_sound
from ganrun.engine.ema import EMA
from ganrun.engine.nan_guard import NaNGuard, demand_finite
from ganrun.games.base import Game, Phase
from ganrun.ground import rng
from ganrun.ground.errors import Diverged, NoCheckpoint
from ganrun.ground.runtime import Runtime
from ganrun.ground.spec import Batch
from ganrun.ground.turn import Stream, Turn


class Trainer:
    """The training state of a run and the step that advances it.

    ``step`` counts completed steps. ``terms`` holds the last step's losses and gradient norms by name, on the device.
    """

    def __init__(
        self,
        *,
        game: Game,
        optimizers: Mapping[str, Optimizer],
        factor: Callable[[int], float],
        averages: Mapping[str, EMA],
        streams: Mapping[str, Stream],
        runtime: Runtime,
        seed: int,
        batch_size: int,
        accumulate: int,
        generator_batch: int | None = None,
        move: Callable[[Optimizer, int], None] = lambda optimizer, step: None,
    ) -> None:
        self.game, self.optimizers, self.averages, self.streams = game, optimizers, averages, streams
        self.factor, self.runtime, self.seed = factor, runtime, seed
        self.batch_size, self.accumulate = batch_size, accumulate
        self.generator_batch = batch_size if generator_batch is None else generator_batch
        self.step, self.move = 0, move
        self.terms: dict[str, Tensor] = {}
        self.nan_guard = NaNGuard()
        self.phases = game.phases()
        self.batches_per_step = sum(phase.repeat for phase in self.phases if phase.fresh)
        self.updates_per_step = sum(phase.repeat for phase in self.phases)
        self._rates = {role: [group["lr"] for group in optimizer.param_groups] for role, optimizer in optimizers.items()}
        self._training: tuple[str, ...] | None = None
        # walking through modules costs more than a small layer does, so it is done once
        self._parameters = {role: list(player.parameters()) for role, player in game.players.items()}
        self._holders = {
            role: [module for module in player.modules() if next(module.buffers(recurse=False), None) is not None]
            for role, player in game.players.items()
        }

    @property
    def images(self) -> int:
        """Real samples drawn so far."""
        return self.step * self.batches_per_step * self.batch_size

    def advance(self) -> None:
        """One step: every phase that is due, then the averages."""
        self.terms = {}
        factor = self.factor(self.step)
        for role, optimizer in self.optimizers.items():
            for group, rate in zip(optimizer.param_groups, self._rates[role], strict=True):
                group["lr"] = rate * factor
            self.move(optimizer, self.step)
        batch_cache: dict[object, Batch] = {}
        batch_index, update_index = self.step * self.batches_per_step, self.step * self.updates_per_step
        for phase in self.phases:
            due = self.step % phase.every == 0
            for repeat in range(phase.repeat):
                if due:
                    self._update(phase, repeat, batch_index if phase.fresh else batch_index - 1, update_index, batch_cache)
                batch_index += phase.fresh
                update_index += 1
        self.step += 1
        for average in self.averages.values():
            average.update(self.step)

    def _update(self, phase: Phase, repeat: int, batch_index: int, update_index: int, batch_cache: dict[object, Batch]) -> None:
        """One update of one phase, over all micro-batches."""
        self._open(phase.trains)
        holders = [module for role, found in self._holders.items() if role not in phase.trains for module in found]
        frozen = [buffer for module in holders for buffer in module.buffers(recurse=False)]
        kept = [buffer.clone() for buffer in frozen]
        rng.seed_default(rng.derive(self.seed, self.step, phase.name, repeat, "default"), self.runtime.device)
        totals: dict[str, Tensor] = {}
        for index in range(self.accumulate):
            turn = Turn(
                seed=self.seed,
                step=self.step,
                phase=phase.name,
                repeat=repeat,
                batch_size=self.generator_batch if phase.side == "generator" else self.batch_size,
                latent_law=self.game.latent_law,
                device=self.runtime.device,
                streams=self.streams,
                batch_index=batch_index,
                update=self.step // phase.every * phase.repeat + repeat,
                micro_batch=(index, self.accumulate),
                batch_cache=batch_cache,
            )
            if phase.fresh and index == 0:
                self._expect(batch_index + 1)
            with self.runtime.autocast():
                terms = phase.objective(turn)
            shares = [term / self.accumulate if self.accumulate > 1 else term for term in terms.values()]
            (torch.stack(shares).sum() if len(shares) > 1 else shares[0]).backward()
            for name, share in zip(terms, shares, strict=True):
                held = totals.get(f"{phase.name}/{name}")
                totals[f"{phase.name}/{name}"] = share.detach() if held is None else held + share.detach()
        for role in phase.trains:
            name = "gradient_norm" if role == phase.name else f"{role}_gradient_norm"
            gradients = []
            for entry in self._parameters[role]:
                if entry.grad is None:  # its moments must exist all the same, or no checkpoint would fit
                    entry.grad = torch.zeros_like(entry)
                gradients.append(entry.grad)
            if gradients:
                norms = torch.stack(torch._foreach_norm(gradients))
                totals[f"{phase.name}/{name}"] = torch.linalg.vector_norm(norms)
        self.nan_guard.watch(update_index, totals)
        self.terms.update(totals)
        for role in phase.trains:
            self.optimizers[role].step()
            for entry in self._parameters[role]:
                entry.grad = None
        self.game.after_step(phase, turn)
        if frozen:
            torch._foreach_copy_(frozen, kept)

    def _open(self, trains: tuple[str, ...]) -> None:
        """Let gradients reach the players of this phase and no other."""
        if trains != self._training:
            for role, parameters in self._parameters.items():
                for entry in parameters:
                    entry.requires_grad_(role in trains)
            self._training = trains

    def _expect(self, batch_index: int) -> None:
        for name, stream in self.streams.items():
            if stream.expect is not None:
                stream.expect(rng.order(self.seed, name, batch_index * self.batch_size, self.batch_size, stream.length))

    def check(self) -> None:
        """Raise ``Diverged`` naming what was first not finite, and when. Waits for the device."""
        found = self.nan_guard.first()
        if found is not None:
            update_index, name = found
            phase, _, term = name.partition("/")
            what = f"gradient of the {phase} phase" if term.endswith("gradient_norm") else f"{phase} phase's term '{term}'"
            raise Diverged(f"the {what} was not finite at step {update_index // self.updates_per_step + 1}")

    def check_weights(self) -> None:
        """Raise ``Diverged`` if a player or an average is not finite: such a state is never saved."""
        players = {role: [*player.parameters(), *player.buffers()] for role, player in self.game.players.items()}
        averages = {f"averaged {role}": list(average.state_dict().values()) for role, average in self.averages.items()}
        demand_finite({**players, **averages}, self.step)

    # the training state

    def _sections(self) -> dict[str, tuple[dict[str, Any], Callable[[dict[str, Any]], Any]]]:
        """Every part of the training state: its path, its present value and how to load it."""
        found: dict[str, tuple[dict[str, Any], Callable[[dict[str, Any]], Any]]] = {}
        for role, player in self.game.players.items():
            found[f"players/{role}"] = (_tensors(player), player.load_state_dict)
        for role, average in self.averages.items():
            found[f"averages/{role}"] = (average.state_dict(), average.load_state_dict)
        for role, optimizer in self.optimizers.items():
            moments = OptimizerState(optimizer, self.game.players[role])
            found[f"optimizers/{role}"] = (moments.state_dict(), moments.load_state_dict)
        modules = {"game": self.game, "loss": self.game.loss}
        modules |= {f"regularizers/{name}": entry for name, entry in self.game.regularizers.items()}
        for path, module in modules.items():
            found[path] = (_tensors(module), module.load_state_dict)
        return found

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next steps depend on, as plain tensors and values. No clock, no score, no name."""
        return {"step": self.step, **{path: value for path, (value, _) in self._sections().items()}}

    def load_state_dict(self, state: Mapping[str, Any], *, lenient: tuple[str, ...] = ()) -> list[str]:
        """Take over a saved state. Everything must be there and fit, else ``NoCheckpoint`` lists what does not.

        ``lenient`` names kinds of sections ("optimizers", ...) that stay at their initial values where they do not fit;
        the returned sentences say which. Nothing is changed unless all can be.
        """
        state, begun = self.with_averages(state)
        sections, misfits = self._sections(), self.demand_fits(state, lenient=lenient)
        for path, (_, load) in sections.items():
            if path not in misfits:
                load(state[path])
        self.step = state["step"]
        return [f"not taken over, starts anew: {path} ({lines[0]})" for path, lines in sorted(misfits.items())] + [
            f"averages/{role}: the checkpoint has none of this player; it starts from the present weights" for role in begun
        ]

    def demand_fits(self, state: Mapping[str, Any], *, lenient: tuple[str, ...] = ()) -> dict[str, list[str]]:
        """What of a saved state does not fit, by section; nothing is loaded. ``NoCheckpoint`` unless all of it is ``lenient``,
        and for weights that are not finite: such a state is never saved."""
        sections, state = self._sections(), self.with_averages(state)[0]
        misfits: dict[str, list[str]] = {path: ["unexpected"] for path in state.keys() - sections.keys() - {"step"}}
        for path, (own, _) in sections.items():
            if path.startswith("optimizers/"):
                role = path.split("/")[1]
                own = OptimizerState(self.optimizers[role], self.game.players[role]).template(state["step"])
            differences = structure_differences(own, state[path]) if path in state else ["missing"]
            if differences:
                misfits[path] = differences
        serious = [f"  {path}: {line}" for path, lines in misfits.items() if path.split("/")[0] not in lenient for line in lines]
        if serious:
            more = [f"  and {len(serious) - 20} more"] if len(serious) > 20 else []
            raise NoCheckpoint("\n".join(["the checkpoint does not fit this run:", *serious[:20], *more]))
        demand_sound(state)
        return misfits

    def with_averages(self, state: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[str]]:
        """A checkpoint from before all generators of a game were averaged lacks some: those begin at the player's weights."""
        lacking = [role for role in self.averages if f"averages/{role}" not in state and f"players/{role}" in state]
        if len(lacking) == len(self.averages):
            return state, []
        begun = {
            f"averages/{role}": {name: state[f"players/{role}"][name] for name in self.averages[role].state_dict()}
            for role in lacking
            if self.averages[role].state_dict().keys() <= state[f"players/{role}"].keys()
        }
        return {**state, **begun}, [path.split("/")[1] for path in begun]


class OptimizerState:
    """An optimizer's state by parameter name. Rates and the like follow from the config and the step, and are not in it."""

    def __init__(self, optimizer: Optimizer, player: nn.Module) -> None:
        self.optimizer, self.named = optimizer, dict(player.named_parameters())

    def state_dict(self) -> dict[str, dict[str, Any]]:
        return {name: dict(held) for name, entry in self.named.items() if (held := self.optimizer.state.get(entry))}

    def load_state_dict(self, state: Mapping[str, dict[str, Any]]) -> None:
        places = {name: place for place, name in enumerate(self.named)}
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": {places[name]: state[name] for name in state}, "param_groups": groups})

    def template(self, step: int) -> dict[str, dict[str, Any]]:
        """What the state looks like after ``step`` steps, found by one step of a twin on zero gradients."""
        if step == 0:
            return {}
        found = {}
        for name, entry in self.named.items():
            twin = nn.Parameter(torch.zeros_like(entry))
            twin.grad = torch.zeros_like(twin)
            optimizer = type(self.optimizer)([twin], **self.optimizer.defaults)
            optimizer.step()
            if held := optimizer.state.get(twin):  # plain SGD has none
                found[name] = dict(held)
        return found


def structure_differences(own: Mapping[str, Any], other: Any, where: str = "") -> list[str]:
    """How ``other`` differs in structure from ``own``: missing and unexpected keys, other types, shapes and dtypes."""
    if not isinstance(other, dict):
        return [f"{where or 'it'} is not a mapping"]
    found = [f"{where}{key} is missing" for key in own if key not in other]
    found += [f"{where}{key} is unexpected" for key in other if key not in own]
    for key, mine in own.items():
        if key not in other:
            continue
        theirs, here = other[key], f"{where}{key}"
        if isinstance(mine, dict):
            found += structure_differences(mine, theirs, f"{here}/")
        elif isinstance(mine, Tensor) and isinstance(theirs, Tensor):
            if mine.shape != theirs.shape or mine.dtype != theirs.dtype or theirs.layout != torch.strided or theirs.is_meta:
                found.append(f"{here} is {_form(theirs)} where {_form(mine)} is needed")
        elif type(mine) is not type(theirs):
            found.append(f"{here} is a {type(theirs).__name__} where a {type(mine).__name__} is needed")
    return found


def _form(tensor: Tensor) -> str:
    kind = "" if tensor.layout == torch.strided and not tensor.is_meta else "not plain, "
    return f"{kind}{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {name: entry.detach() for name, entry in module.state_dict().items()}
