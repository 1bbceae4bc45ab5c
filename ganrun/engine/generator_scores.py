"""Scores a generator: samples it, extracts features once, runs every metric, writes a row with its cards."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ganrun.data.base import Dataset
from ganrun.disk.rows import rows_of_scores
from ganrun.disk.run_folder import RunFolder, now
from ganrun.engine import sampling, sources
from ganrun.engine.answers import Question, remarks_of
from ganrun.engine.ema import EMA
from ganrun.engine.progress import in_words
from ganrun.engine.sandbox import Sandbox
from ganrun.games.base import Game
from ganrun.ground import rng
from ganrun.ground.errors import GanrunError
from ganrun.ground.runtime import Runtime


def evaluate(
    *,
    metrics: Mapping[str, Any],
    game: Game,
    averages: Mapping[str, EMA],
    dataset: Dataset,
    runtime: Runtime,
    evaluation: Mapping[str, Any],
    say: Callable[[str], None],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(scores, baselines): ``{name: {"value", "card", ...}}`` and the same for ``{"held_out": ..., "noise": ...}``."""
    from ganrun.engine import baselines, doubts, scoring  # imports torchmetrics, which takes a second

    count = scoring.default_num(evaluation, dataset)
    used = averages if evaluation["average"] else {}
    seed = int(evaluation["seed"])
    if sources.translates(game):
        given = sources.of_dataset(dataset, count)
        source, labels = given.source, given.labels if game.condition.uses_labels else None
    else:
        source, labels = None, labels_like(dataset, game, count, seed)
    standing = int(evaluation.get("standing", 0))
    x = sampling.generate(
        game, count, seed=seed, runtime=runtime, averages=used, labels=labels, sources=source, standing=standing
    )
    done = {**evaluation, "average": bool(used)}
    reads_networks = any("networks" in metric.extracts for metric in metrics.values())
    sandbox = Sandbox(game, dataset, runtime, seed) if reads_networks else None
    shared: dict[str, Any] = {"evaluation": done, "device": runtime.device, "say": say}
    results = scoring.score(metrics, x, dataset, sandbox=sandbox, labels=labels, **shared)
    beside: dict[str, Any] = {}
    real, noise = baselines.real_and_noise(metrics, dataset, **shared)
    if real:
        settings = {**done, "num": count, "noise": noise, "device": str(runtime.device)}
        make = functools.partial(baselines.baselines, metrics, dataset, num=count, noise=noise, **shared)
        found = scoring.once(dataset, "baselines", metrics, settings, make)
        beside = {kind: rows_of(results) for kind, results in found.items()}
    if real and not baselines.has_scale(metrics, dataset, **shared):
        for name, sentences in doubts.doubts(metrics, dataset, num=count, **shared).items():
            results[name].remarks += sentences
    return rows_of(results), beside


def ask(
    *,
    metrics: Mapping[str, Any],
    dataset: Dataset,
    device: torch.device,
    evaluation: Mapping[str, Any],
    averaged: bool,
    say: Callable[[str], None],
) -> Question:
    """What the config asks, before there is a run: the cards that its scores will have, and whether baselines go with them.

    ``averaged``: whether the run has running averages. Raises ``BadInput`` now for what ``evaluate`` would lack after hours
    of training: samples, an extractor, weights, a split.
    """
    if not metrics:
        return Question()
    from ganrun.engine import scoring

    asked = {**evaluation, "average": bool(evaluation["average"] and averaged)}
    num = scoring.default_num(evaluation, dataset)
    scoring.verify(metrics, dataset, num=num, evaluation=asked)
    cards = scoring.cards(metrics, dataset, num=num, evaluation=asked, device=device, say=say)
    lacking = scoring.lacking(metrics, dataset, evaluation=asked, device=device, say=say)
    return Question(cards, evaluation["baselines"], lacking)


def labels_like(dataset: Dataset, game: Game, count: int, seed: int) -> Tensor | None:
    """For a conditional game, labels with the data's own frequencies: drawn from the training labels."""
    if not game.condition.uses_labels:
        return None
    places = rng.order(seed, "evaluation labels", 0, count, len(dataset))
    return dataset.batch(places).y


def rows_of(results: Mapping[str, Any]) -> dict[str, Any]:
    """Results as plain values, one entry a value: ``{name: {"value", "std", "card"}}``; what is missing says why."""
    rows: dict[str, Any] = {}
    for metric, result in results.items():
        for name, value in result.values.items():
            rows[name] = {"value": value, "card": result.card}
            if name in result.spreads:
                rows[name]["std"] = result.spreads[name]
            if result.remarks:
                rows[name]["remarks"] = list(result.remarks)
        if result.missing:
            rows[metric] = {"value": None, "missing": result.missing, "card": result.card}
            if result.failed:
                rows[metric]["failed"] = True
    return rows


def write_scores(
    folder: RunFolder,
    step: int,
    scores: Mapping[str, Any],
    baselines: Mapping[str, Any],
    *,
    say: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Append an evaluation to scores.jsonl and say its values, and what must be known of them. Returns the row.

    ``say``: where the lines go, by default to the person and to train.log.
    """
    row = row_of(step, scores, baselines)
    rows_of_scores(folder).append(row)
    say_scores(row, say or folder.log)
    return row


def row_of(step: int, scores: Mapping[str, Any], baselines: Mapping[str, Any]) -> dict[str, Any]:
    """An evaluation as a row of scores.jsonl."""
    return {"step": step, "scores": scores, **({"baselines": baselines} if baselines else {}), "time": now()}


def say_scores(row: Mapping[str, Any], say: Callable[[str], None]) -> None:
    """The values of a row on one line, and what must be known of them."""
    held = row.get("baselines", {})
    values = "  ".join(in_words(name, entry, held) for name, entry in row["scores"].items() if entry["value"] is not None)
    say(f"scores at step {row['step']}: {values or 'none'}")
    for sentence in remarks_of(row["scores"]):
        say(f"  note: {sentence}")


def failed_in(scores: Mapping[str, Any]) -> GanrunError | None:
    """The error that a command ends with where a metric failed; what the others found is kept and was shown."""
    found = [str(entry.get("missing")) for entry in scores.values() if "failed" in entry]
    return GanrunError("\n".join(found) + "\nthe other scores are kept; the same command tries again") if found else None
