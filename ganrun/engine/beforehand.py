"""What can be known of scores, and of the jobs of a sweep, before the first step, so that no night of training is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch

from ganrun.data.base import Dataset
from ganrun.engine import assemble, best, generator_scores
from ganrun.engine.sandbox import Sandbox
from ganrun.games.base import Game
from ganrun.ground.errors import BadInput
from ganrun.ground.objective import choose
from ganrun.ground.runtime import Runtime, resolve


class Check:
    """Builds the parts of one config after the other and forgets them; equal data sets in a row are read once."""

    def __init__(self) -> None:
        self._key = ""
        self._dataset: Dataset | None = None

    def verify(self, config: Mapping[str, Any]) -> None:
        """Raise ``BadInput`` for what ``run.train`` would refuse before its first step. Nothing is written but the cache."""
        parts = assemble.build(config)
        dataset = self._data(config, parts)
        assemble.verify(parts, dataset)
        runtime = resolve({**config["device"], "name": "cpu"})  # jobs may run elsewhere
        trainer = assemble.trainer(parts, dataset, runtime)
        assemble.check_consulted(parts)
        question = generator_scores.ask(
            metrics=parts.metrics,
            dataset=dataset,
            device=torch.device("cpu"),
            evaluation=config["evaluation"],
            averaged=bool(trainer.averages),
            say=lambda line: None,
        )
        dry_run(parts.metrics, parts.game, dataset, runtime, config)
        for key in best.KEYS:
            choose(config.get(key), directions(parts.metrics), question.lacking, key=key)
        best.demand_evaluations(config)

    def _data(self, config: Mapping[str, Any], parts: assemble.Parts) -> Dataset:
        key = json.dumps([config["dataset"], config["model"]], sort_keys=True, default=str)
        if self._dataset is None or key != self._key:
            self._key, self._dataset = key, assemble.load_data(config, parts.family)
        return self._dataset


def directions(metrics: Mapping[str, Any]) -> dict[str, Mapping[str, bool | None]]:
    """The values of each metric, with their directions."""
    return {name: metric.directions for name, metric in metrics.items()}


def dry_run(metrics: Mapping[str, Any], game: Game, dataset: Dataset, runtime: Runtime, config: Mapping[str, Any]) -> None:
    """Raise ``BadInput`` for metrics of networks that this game cannot be tried out with. The players are cast."""
    readers = {name: metric for name, metric in metrics.items() if "networks" in metric.extracts}
    if not readers:
        return
    sandbox = Sandbox(game, dataset, runtime, int(config["evaluation"]["seed"]))
    for name, metric in readers.items():
        try:
            metric.dry_run(sandbox)
        except BadInput as error:
            raise BadInput(f"metric={name}: {error}") from error
