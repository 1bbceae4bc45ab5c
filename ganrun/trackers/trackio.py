"""Trackio, local first: a SQLite file that ``trackio show`` reads, or a Space.

Trackio goes on with the latest run of the same name in a project; the name is kept in the run folder. It does not compare rows: a
row whose sending was cut off by a kill may stand twice, at one step.
"""

from __future__ import annotations

import os
import secrets

from ganrun.ground.registry import register
from ganrun.trackers.base import About, Entry, Tracker


@register("tracker", "trackio")
class Trackio(Tracker):
    """Every number, pictures as media, the config as the run's config."""

    needs = ("trackio",)
    extra = "trackio"

    def __init__(self, *, project: str = "ganrun", space: str | None = None, wait: float = 30.0) -> None:
        super().__init__(wait=wait)
        self.project, self.space = project, space

    def open(self, about: About) -> tuple[str, str]:
        for name, value in (("HF_HUB_DISABLE_TELEMETRY", "1"), ("GRADIO_ANALYTICS_ENABLED", "False")):
            os.environ.setdefault(name, value)
        import trackio

        self._image = trackio.Image
        name = about.held or f"{about.name}-{secrets.token_hex(4)}"
        self._run = trackio.init(
            project=self.project,
            name=name,
            group=about.group,
            space_id=self.space,
            config={"run_folder": about.name, **about.settings()},
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        return name, f"trackio show --project {self.project}" if self.space is None else f"Space {self.space}"

    def log(self, entry: Entry) -> None:
        pictures = {name: self._image(str(path)) for name, path in entry.pictures.items()}
        self._run.log({**entry.values, **pictures}, step=entry.step)

    def close(self, status: str) -> None:
        self._run.finish()
