"""Players that start from another run's: fine-tuning on other data, or with other settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganrun.disk import checkpoint, identity, runs
from ganrun.engine.loop import Trainer
from ganrun.engine.sampling import load_state
from ganrun.ground.errors import BadInput


def start_from(target: Path, trainer: Trainer, config: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Give the players, and their averages, the weights of the run ``target`` wherever name and shape agree.

    Optimizers start anew. Returns (what to record, sentences on what starts anew); ``BadInput`` where no entry of a player
    fits any of the other run's, and where most of a player's do not, unless ``init_from_partial`` allows it.
    """
    folder, state = load_state(target)
    left = []
    for role, player in trainer.game.players.items():
        held = state.get(f"players/{role}")
        own = player.state_dict()
        if held is None:
            left.append(f"init_from={target}: has no {role}; it starts anew")
            continue
        taken = _fitting(own, held)
        if not taken:
            raise BadInput(
                f"init_from={target}: nothing of its {role} fits this run's. Choose the same model options, or no init_from"
            )
        player.load_state_dict({**own, **taken})
        missed = [name for name in own if name not in taken]
        if 2 * len(missed) > len(own) and not config.get("init_from_partial"):
            theirs = runs.read_config(folder)
            keys = [key for key in identity.differing(theirs["model"], config["model"]) if key != "name"]
            other = theirs["model"]["name"] != config["model"]["name"]
            options = f"model={theirs['model']['name']}" if other else " ".join(f"model.{key}" for key in keys[:5])
            raise BadInput(
                f"init_from={target}: {len(missed)} of {len(own)} entries of the {role} would start anew. "
                + (f"Take that run's {options}, or add" if options else "Add")
                + " init_from_partial=true to start with what fits"
            )
        if missed:
            left.append(
                f"init_from={target}: {len(missed)} of {len(own)} entries of the {role} start anew ({', '.join(missed[:3])}, ...)"
            )
        if role in trainer.averages:
            shadow = trainer.averages[role].state_dict()
            found = _fitting(shadow, state.get(f"averages/{role}", held))
            live = {name: own_entry for name, own_entry in player.state_dict().items() if name in shadow}
            trainer.averages[role].load_state_dict({**shadow, **live, **found})
    return {"run": str(folder), "step": int(state["step"]), "digest": checkpoint.digest(state)}, left


def _fitting(own: Mapping[str, Tensor], held: Any) -> dict[str, Tensor]:
    """The entries of ``held`` that have name, shape and type of one of ``own``, and are finite."""
    if not isinstance(held, Mapping):
        return {}
    return {
        name: entry
        for name, entry in held.items()
        if isinstance(entry, Tensor)
        and name in own
        and entry.shape == own[name].shape
        and entry.dtype == own[name].dtype
        and bool(torch.isfinite(entry).all())
    }
