"""Weights & Biases.

The step is a value of its own by which everything is plotted (``define_metric``), so that scores that are made later find their
place. A run that goes on has the same id; offline each process leaves a folder of its own with that id, and ``wandb sync``
puts them together. wandb itself does not compare rows: a row whose sending was cut off by a kill may stand twice, at one step.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from typing import Any

from ganrun.ground.registry import register
from ganrun.ground.spell import shown
from ganrun.trackers.base import About, Entry, Tracker, cut


@register("tracker", "wandb")
class Wandb(Tracker):
    """Every number in the run's history, pictures as its media, the config as its config."""

    needs = ("wandb",)
    extra = "wandb"

    def __init__(
        self,
        *,
        mode: str = "online",
        project: str = "ganrun",
        entity: str | None = None,
        tags: Sequence[str] = (),
        wait: float = 30.0,
    ) -> None:
        super().__init__(wait=wait)
        if mode not in ("online", "offline"):
            raise ValueError(f"mode={mode}: must be online or offline")
        self.mode, self.project, self.entity, self.tags = mode, project, entity, list(tags)

    def open(self, about: About) -> tuple[str, str]:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        folder = about.folder / "trackers"
        options: dict[str, Any] = {"console": "off", "disable_git": True, "disable_code": True, "silent": True}
        self._image = wandb.Image
        self._run = wandb.init(
            dir=str(folder),
            id=about.held or f"{about.name[-10:]}-{secrets.token_hex(4)}",
            resume="allow" if self.mode == "online" else None,
            mode=self.mode,  # type: ignore[arg-type]
            project=self.project,
            entity=self.entity,
            tags=[cut(tag, 64) for tag in self.tags] or None,
            name=cut(about.name, 128),
            group=about.group,
            config={"run_folder": about.name, **about.settings()},
            settings=wandb.Settings(**options),
        )
        self._run.define_metric("step", hidden=True)
        self._run.define_metric("*", step_metric="step")
        place = self._run.url if self.mode == "online" else f"wandb sync {shown(folder / 'wandb')}/offline-run-*-{self._run.id}"
        return str(self._run.id), str(place)

    def log(self, entry: Entry) -> None:
        pictures = {name: self._image(str(path)) for name, path in entry.pictures.items()}
        self._run.log({**entry.values, **pictures, "step": entry.step})

    def close(self, status: str) -> None:
        self._run.summary["status"] = status
        self._run.finish(exit_code=1 if status in ("diverged", "running") else 0)
