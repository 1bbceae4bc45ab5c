"""Scores keyed by the question: which rows of scores.jsonl answer what is asked for, and what is left to score.

A question is a step and, for each metric, the card that its score would have, as far as that is known before there are samples:
options, number of samples, extractor and its weights, reference, seed, average. An entry of a row answers it if its own card
says at least that. The newest answer counts. Versions are on the cards, and no part of the question: a finished run is not
scored again because torch is newer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

NO_PART = ("versions",)  # fields of a card that are no part of the question


@dataclass(frozen=True)
class Question:
    """The card of each metric that is asked for, in the order typed, and whether the baselines are asked for too.

    ``baselines`` None: those that a row has are shown, and none are missing where it has none. ``lacking``: why a metric will
    have no value here.
    """

    cards: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    baselines: bool | None = False
    lacking: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Answer:
    """``scores`` and ``baselines`` as in a row; ``missing``: the metrics that no row answers."""

    scores: dict[str, Any] = field(default_factory=dict)
    baselines: dict[str, dict[str, Any]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    def with_row(self, row: Mapping[str, Any], question: Question) -> Answer:
        """The same with what ``row`` says of the missing metrics, metrics in the order of ``question``."""
        found = Answer()
        for metric in question.cards:
            fresh = metric in self.missing
            found.take(metric, row["scores"] if fresh else self.scores, row.get("baselines", {}) if fresh else self.baselines)
        return found

    def take(self, metric: str, scores: Mapping[str, Any], baselines: Mapping[str, Any]) -> None:
        """Add the entries of ``metric``."""
        self.scores |= of_metric(scores, metric)
        for kind, entries in baselines.items():
            self.baselines.setdefault(kind, {}).update(of_metric(entries, metric))


def find(rows: Sequence[Mapping[str, Any]], step: int, question: Question, *, strict: bool = False) -> Answer:
    """What ``rows`` answer of ``question`` at ``step``, of each metric the newest. ``strict``: under the same versions too."""
    found = Answer()
    for metric, card in question.cards.items():
        row = next((row for row in reversed(rows) if row["step"] == step and _answers(row, metric, card, question, strict)), None)
        if row is None:
            found.missing.append(metric)
        else:
            found.take(metric, row["scores"], row.get("baselines", {}) if question.baselines is not False else {})
    return found


def _answers(row: Mapping[str, Any], metric: str, card: Mapping[str, Any], question: Question, strict: bool) -> bool:
    entries = of_metric(row["scores"], metric).values()
    asked = plain({key: entry for key, entry in card.items() if strict or key not in NO_PART}).items()
    if not entries or any("failed" in entry or not asked <= plain(entry["card"]).items() for entry in entries):
        return False
    if not question.baselines:
        return True
    held = row.get("baselines")
    return (
        isinstance(held, Mapping)
        and bool(held)
        and all(isinstance(part, Mapping) and of_metric(part, metric) for part in held.values())
    )


def of_metric(entries: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """Those of a row's entries that are values of ``metric``."""
    return {name: entry for name, entry in entries.items() if whole(entry) and entry["card"]["metric"] == metric}


def whole(entry: Any) -> bool:
    """Whether an entry of a row of scores, which may come from anywhere, is one: a value or none, and a card."""
    if not isinstance(entry, Mapping) or not isinstance(entry.get("card"), Mapping):
        return False
    value = entry.get("value")
    return isinstance(entry["card"].get("metric"), str) and (value is None or type(value) in (int, float))


def plain(card: Mapping[str, Any]) -> dict[str, str]:
    """A card as flat text, {dotted field: JSON}."""
    found: dict[str, str] = {}
    for key, value in card.items():
        if isinstance(value, Mapping):
            found |= {f"{key}.{inner}": text for inner, text in plain(value).items()}
        else:
            found[str(key)] = json.dumps(value, sort_keys=True)
    return found


def remarks_of(scores: Mapping[str, Any]) -> list[str]:
    """What a reader of the scores must know, each sentence once: a sample that is too small, why there is no value."""
    found = (
        sentence
        for entry in scores.values()
        for sentence in [*entry.get("remarks", []), *([entry["missing"]] if "missing" in entry else [])]
    )
    return list(dict.fromkeys(found))
