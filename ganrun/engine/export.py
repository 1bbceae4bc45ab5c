"""The generator alone, in a file of its own.

As safetensors: weights without pickle, with what is needed to build the network beside them, for ``ganrun.load_generator``.
In the formats of ``exporters.py``: the whole computation, for programs that know nothing of ganrun.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

import ganrun
from ganrun.disk import earlier, storage
from ganrun.engine import assemble, handout, script
from ganrun.engine.export_example import example
from ganrun.engine.exporters import EXPORTERS, KEY, written
from ganrun.engine.forms import DEFAULT, FORMS, ROLE, SCRIPT
from ganrun.engine.loop import structure_differences
from ganrun.engine.portable import performer, portable
from ganrun.engine.sampling import Trained
from ganrun.ground.errors import BadInput, suggestion
from ganrun.ground.runtime import Runtime
from ganrun.ground.spec import Spec

KEPT = ("model", "game", "loss", "regularizer", "seed", "plugins")  # what decides the generator's form


def export(
    target: Path,
    out: Path | None,
    config: Mapping[str, Any],
    *,
    raw: bool = False,
    role: str = ROLE,
    form: str = DEFAULT,
) -> Path:
    """Write the generator of a run (its average unless ``raw``) to the file ``out``, or under a free name to the folder ``out``.

    ``role``: which of the game's generators, where it has several. ``form``: one of ``FORMS``. Without ``out``:
    RUN/ROLE.safetensors, with ``raw`` ROLE_raw.safetensors, or the suffix of the form; another export there stays.

    The file's metadata ``ganrun`` is JSON: version, run, config, spec of the data, step, role, whether it is the average, what it
    takes (``inputs``, the law of latents among it) and what it makes (``output``).
    """
    return exported(target, out, config, raw=raw, role=role, form=form)[0]


def exported(target: Path, out: Path | None, config: Mapping[str, Any], *, raw: bool, role: str, form: str) -> tuple[Path, str]:
    """As ``export``: the file, and a few lines of Python that use it, or the command that runs a script."""
    if form == SCRIPT:
        path = script.write(target, out, config)
        return path, f"python {shlex.quote(str(path))}"
    trained = Trained(target, config, raw=raw)
    if role not in trained.game.averaged:
        raise BadInput(f"--role {role}: this game has no such generator. {suggestion(role, trained.game.averaged)}")
    averaged = role in trained.averages
    network = performer(trained, role)
    about = {
        "version": ganrun.__version__,
        "run": trained.folder.resolve().name,
        "config": {key: config[key] for key in KEPT if key in config},
        "spec": asdict(trained.spec),
        "step": trained.step,
        "role": role,
        "average": averaged,
    }
    with trained.runtime.applied():
        made = portable(trained, network, role, about)
        if form in EXPORTERS:
            data = written(form, made)
        else:
            tensors = {name: entry.detach().cpu().contiguous().clone() for name, entry in network.state_dict().items()}
            data = save(tensors, metadata={KEY: json.dumps(made.about)})
    suffix = FORMS[form].suffix
    if out is None or out.is_dir():
        folder, stem = out or trained.folder, role if averaged or not raw else f"{role}_raw"
        path = folder / f"{handout.write(folder, stem, {suffix: lambda: data})}{suffix}"
    else:
        path = out
        with storage.storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        storage.write(path, data)
    return path, example(form, str(path), made)


def load(path: Path, *, device: str = "cpu") -> nn.Module:
    """The exported generator as a module in evaluation mode: z (n, latent) to samples in the training range.

    A conditional one takes ``condition=``, labels int64 (n,). ``BadInput`` for a file that is not an export.
    """
    try:
        with safe_open(str(path), framework="pt") as file:  # type: ignore[no-untyped-call]
            about = json.loads((file.metadata() or {})[KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
        spec: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in about["spec"].items()}
        config = {**earlier.completed(about["config"]), "metric": {}}
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise BadInput(f"{path}: not a generator exported by ganrun ({error})") from error
    with Runtime(torch.device("cpu")).applied():
        parts = assemble.build(config, with_metrics=False)
        parts.game.build_players(parts.family, Spec(**spec), parts.loss, parts.regularizers, int(config["seed"]))
    network = parts.game.players[about.get("role", "generator")]
    misfits = structure_differences(network.state_dict(), tensors)
    if misfits:
        raise BadInput(f"{path}: its weights do not fit the network that it names: {misfits[0]}")
    network.load_state_dict(tensors)
    return network.to(device).eval().requires_grad_(False)
