"""Where Hydra lets runs lie: ganrun's own folders, unless a person names others.

A root config of a person's own (``--config-name``) that says nothing of folders gets Hydra's, which are named by the time: no
command would find its run again. Such are replaced; what a person has written stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from ganrun.cli.overrides import Typed
from ganrun.ground.errors import BadInput
from ganrun.ground.spell import quoted

CLOCK = "${now:%Y-%m-%d}/${now:%H-%M-%S}"
HYDRAS = {"hydra.run.dir": f"outputs/{CLOCK}", "hydra.sweep.dir": f"multirun/{CLOCK}", "hydra.sweep.subdir": "${hydra.job.num}"}
OURS = {"hydra.run.dir": "${run_dir:}", "hydra.sweep.dir": "${sweep_dir:}", "hydra.sweep.subdir": "${job_dir:}"}


def ours(composed: DictConfig) -> list[str]:
    """The overrides that put runs where ganrun looks for them, in place of Hydra's own defaults."""
    raw = OmegaConf.to_container(composed.hydra, resolve=False)
    assert isinstance(raw, dict)
    held = {"hydra.run.dir": raw["run"]["dir"], **{f"hydra.sweep.{key}": raw["sweep"][key] for key in ("dir", "subdir")}}
    replaced = [key for key, value in held.items() if value == HYDRAS[key]]
    if held["hydra.sweep.dir"] != HYDRAS["hydra.sweep.dir"]:  # a numbered folder inside one of a person's own is their choice
        replaced = [key for key in replaced if key != "hydra.sweep.subdir"]
    found = [f"{key}={OURS[key]}" for key in replaced]
    return [*found, "hydra.output_subdir=null"] if found else []


def in_place(folder: Path, typed: Sequence[Typed]) -> list[str]:
    """The override that lets ``resume=RUN`` go on in RUN, whatever folder a config of a person's own names."""
    named = [entry.text for entry in typed if entry.key == "hydra.run.dir"]
    if named:
        raise BadInput(f"{named[0]}: resume={folder} goes on in that folder; leave hydra.run.dir out, or add fork=true")
    return [f"hydra.run.dir={quoted(str(folder))}"]
