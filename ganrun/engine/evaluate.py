"""Scores a generator: samples it, extracts features once, runs every metric, writes a row with its cards."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ganrun.data.base import Dataset
from ganrun.engine import sampling
from ganrun.engine.average import Average
from ganrun.games.base import Game
from ganrun.ground import rng
from ganrun.ground.record import Rows, RunFolder, now
from ganrun.ground.runtime import Runtime


def evaluate(
    *,
    metrics: Mapping[str, Any],
    game: Game,
    averages: Mapping[str, Average],
    dataset: Dataset,
    runtime: Runtime,
    evaluation: Mapping[str, Any],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(scores, baselines): ``{name: {"value", "card", ...}}`` and the same for ``{"held_out": ..., "noise": ...}``."""
    from ganrun.engine import scoring  # imports torchmetrics, which takes a second

    count = scoring.default_num(evaluation, dataset)
    used = averages if evaluation["average"] else {}
    seed = int(evaluation["seed"])
    x = sampling.generate(game, count, seed=seed, runtime=runtime, averages=used, labels=labels_like(dataset, game, count, seed))
    card = {"average": bool(used)}
    results = scoring.score(metrics, x, dataset, evaluation=evaluation, device=runtime.device)
    scores = {name: result_row(result, card) for name, result in results.items()}
    baselines = {}
    if evaluation["baselines"]:
        found = scoring.baselines(metrics, count, dataset, evaluation=evaluation, device=runtime.device)
        baselines = {kind: {name: result_row(result, {}) for name, result in row.items()} for kind, row in found.items()}
    return scores, baselines


def labels_like(dataset: Dataset, game: Game, count: int, seed: int) -> Tensor | None:
    """For a conditional game, labels with the data's own frequencies: drawn from the training labels."""
    if not game.condition.uses_labels:
        return None
    places = rng.order(seed, "evaluation labels", 0, count, len(dataset))
    return dataset.batch(places).y


def result_row(result: Any, card: Mapping[str, Any]) -> dict[str, Any]:
    """A result as plain values."""
    row = {"value": result.value, "card": {**result.card, **card}}
    if result.missing:
        row["missing"] = result.missing
    if result.remarks:
        row["remarks"] = list(result.remarks)
    return row


def write_scores(folder: RunFolder, step: int, scores: Mapping[str, Any], baselines: Mapping[str, Any]) -> None:
    """Append an evaluation to scores.jsonl and say its values, and what must be known of them."""
    row: dict[str, Any] = {"step": step, "scores": scores}
    if baselines:
        row["baselines"] = baselines
    Rows(folder.scores).append({**row, "time": now()})
    values = "  ".join(f"{name} {entry['value']:.4g}" for name, entry in scores.items() if entry["value"] is not None)
    folder.log(f"scores at step {step}: {values or 'none'}")
    for sentence in dict.fromkeys(
        sentence
        for entry in scores.values()
        for sentence in [*entry.get("remarks", []), *([entry["missing"]] if "missing" in entry else [])]
    ):
        folder.log(f"  note: {sentence}")


def last_score(scores: Mapping[str, Any]) -> float | None:
    """What an optimizing sweeper minimises: the first score, its sign turned where higher is better."""
    for entry in scores.values():
        if entry["value"] is not None:
            return float(entry["value"]) * (-1 if entry.get("higher_is_better") else 1)
    return None


def target_folder(target: Path) -> Path:
    """The run folder of a run folder or of one checkpoint in it."""
    return target.resolve().parent.parent if target.is_file() else target
