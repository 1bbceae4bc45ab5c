"""MLflow, by its client: metrics, pictures as artifacts under ``samples``, the config as parameters and as ``config.yaml``.

A run that goes on has the same id. MLflow's databases keep one row of equal name, step, time and value, and rows carry the time
at which the run wrote them: one whose sending was cut off by a kill and is sent again stands once.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress

from ganrun.ground.registry import register
from ganrun.trackers.base import About, Entry, Tracker, as_text, cut

MOST = 100  # parameters in a request
LONGEST = 500  # characters of a parameter, which the oldest servers take
ENDINGS = {"done": "FINISHED", "stopped by doctor": "FINISHED", "stopped": "KILLED", "running": "KILLED"}


@register("tracker", "mlflow")
class MLflow(Tracker):
    """A run of an experiment on a tracking server, or in a local database."""

    needs = ("mlflow",)
    extra = "mlflow"

    def __init__(self, *, uri: str | None = None, experiment: str = "ganrun", wait: float = 30.0) -> None:
        super().__init__(wait=wait)
        self.uri, self.experiment = uri, experiment

    def open(self, about: About) -> tuple[str, str]:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        if self.uri is not None and not re.match(r"\w+:", self.uri.replace("file:", "")):
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # a folder is what was asked for
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param

        self._metric, self._client = Metric, MlflowClient(tracking_uri=self.uri)
        if about.held is not None:
            self._id = about.held
            self._client.update_run(self._id, "RUNNING")
        else:
            self._id = self._client.create_run(self._experiment(), run_name=about.name).info.run_id
            params = [Param(_legal(key), cut(value, LONGEST)) for key, value in as_text(about.settings())]
            for begin in range(0, len(params), MOST):
                self._client.log_batch(self._id, params=params[begin : begin + MOST])
            self._client.set_tag(self._id, "group", about.group)
            self._client.log_artifact(self._id, str(about.folder / "config.yaml"))
        return self._id, f"{self._client.tracking_uri}, experiment {self.experiment}, run {self._id}"

    def log(self, entry: Entry) -> None:
        time = round(1000 * entry.time)
        found = [self._metric(_legal(name), value, time, entry.step) for name, value in entry.values.items()]
        if found:
            self._client.log_batch(self._id, metrics=found)
        for name, path in entry.pictures.items():
            self._client.log_artifact(self._id, str(path), name)

    def close(self, status: str) -> None:
        self._client.set_tag(self._id, "status", status)
        self._client.set_terminated(self._id, ENDINGS.get(status, "FAILED"))

    def _experiment(self) -> str:
        found = self._client.get_experiment_by_name(self.experiment)
        if found is None:
            with suppress(Exception):  # another run may be the first by a moment
                return str(self._client.create_experiment(self.experiment))
            found = self._client.get_experiment_by_name(self.experiment)
        if found is None:
            raise ValueError(f"there is no experiment {self.experiment!r}, and none can be made")
        return str(found.experiment_id)


def _legal(name: str) -> str:
    """``name`` of the characters that MLflow takes."""
    return re.sub(r"[^\w\-. /]", "_", name)
