"""Several runs side by side: mean and interval over seeds for each setting, and differences from one of them. Without torch.

A setting is a config without its seed. What a mean, a difference and a decision are, ``decide.py`` says. Scores are compared
only under one card: where cards differ, each has a column of its own, and the fields that differ are named.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ganrun.engine import answers, decide
from ganrun.engine.answers import plain
from ganrun.engine.decide import LEVEL, Difference, Estimate, estimate
from ganrun.ground import terminal_text
from ganrun.ground.spell import shown

NAMED = 4  # runs in a sentence
RUN_FIELDS = ("seed",)  # of a card: which run it was, not how it was measured


@dataclass
class Entry:
    """A run, or a checkpoint of one. ``also``: scores that it has under further cards, (name, score)."""

    target: Path
    config: Mapping[str, Any]
    seed: int
    scores: dict[str, Any] = field(default_factory=dict)
    step: int | None = None
    directions: dict[str, bool | None] = field(default_factory=dict)  # whether higher is better, where it is known
    also: list[tuple[str, Any]] = field(default_factory=list)

    def all_scores(self) -> list[tuple[str, Any]]:
        return [*self.scores.items(), *self.also]


@dataclass
class Column:
    """The values of one score under one card. ``values``: {setting: {seed: value}}."""

    name: str
    score: str
    card: Mapping[str, Any]
    higher: bool | None
    values: dict[str, dict[int, float]]

    @property
    def words(self) -> str:
        """Which way it is better."""
        return {True: "higher is better", False: "lower is better", None: "to read by"}[self.higher]


@dataclass
class Comparison:
    """Settings by ``names``, each with the ``keys`` in which it differs and its runs; ``reference``: the place of one of them.

    ``columns``, ``means`` and ``differences`` are by the names of columns, the latter two {column: {setting: ...}}. ``best``:
    {column: the setting that is decided from every other}, where there is one.
    """

    names: list[str]
    keys: list[Mapping[str, Any]]
    settings: list[list[Entry]]
    reference: int
    columns: dict[str, Column]
    means: dict[str, dict[str, Estimate]] = field(default_factory=dict)
    differences: dict[str, dict[str, Difference]] = field(default_factory=dict)
    best: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def judged(self) -> int:
        """How many differences Holm's procedure is over."""
        return sum(len(gaps) for name, gaps in self.differences.items() if self.columns[name].higher is not None)


def remarks_of(entries: Sequence[Entry]) -> list[str]:
    """What must be known of the scores: each sentence once, with the scores that it is about, and the runs unless it is all."""
    places: dict[str, dict[str, dict[int, None]]] = {}
    for place, entry in enumerate(entries):
        for name in entry.scores:
            for sentence in answers.remarks_of({name: entry.scores[name]}):
                places.setdefault(sentence, {}).setdefault(name, {})[place] = None
    found: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for sentence, names in places.items():
        for name, held in names.items():
            found.setdefault((sentence, tuple(held)), []).append(name)
    return [f"{', '.join(names)}: {sentence}{_runs(held, entries)}" for (sentence, held), names in found.items()]


def _runs(places: Sequence[int], entries: Sequence[Entry]) -> str:
    """Which runs these are, in brackets; nothing for all of them."""
    if len(places) == len(entries):
        return ""
    listed = ", ".join(str(shown(entries[place].target)) for place in places[:NAMED])
    return f" ({listed}{f' and {len(places) - NAMED} more runs' if len(places) > NAMED else ''})"


def steps_in_words(entries: Sequence[Entry]) -> list[str]:
    """A sentence on the steps that scores are of."""
    steps = sorted({entry.step for entry in entries if entry.step is not None})
    if len(steps) < 2:
        return [f"all scores are of step {step}" for step in steps]
    return [f"the scores are of steps {', '.join(map(str, steps))}"]


def key_of(card: Mapping[str, Any]) -> str:
    """The same text for cards under which scores compare: which samples were drawn is no part of it."""
    return repr(sorted(plain({key: value for key, value in card.items() if key not in RUN_FIELDS}).items()))


def differing(cards: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Fields in which cards differ, with the values there are, in order."""
    texts = [plain(card) for card in cards]
    names = dict.fromkeys(name for text in texts for name in text)
    found = {name: list(dict.fromkeys(text.get(name, "-") for text in texts)) for name in names if name not in RUN_FIELDS}
    return {name: values for name, values in found.items() if len(values) > 1}


def columns_of(settings: Sequence[Sequence[Entry]], names: Sequence[str]) -> tuple[dict[str, Column], list[str]]:
    """(columns, one for each card of each score, by name; what differs between the cards of a score, a sentence for each)."""
    found: dict[str, dict[str, Column]] = {}
    for name, entries in zip(names, settings, strict=True):
        for entry in entries:
            for score, held in entry.all_scores():
                own = Column(score, score, held["card"], entry.directions.get(score), {})
                column = found.setdefault(score, {}).setdefault(key_of(held["card"]), own)
                value = held.get("value")
                if value is not None and math.isfinite(value):
                    column.values.setdefault(name, {}).setdefault(entry.seed, float(value))
    columns, notes = {}, []
    for score, by_card in found.items():
        kept = list(by_card.values())
        for place, column in enumerate(kept):
            column.name = f"{score} (card {place + 1})" if len(kept) > 1 else score
            columns[column.name] = column
        if fields := differing([column.card for column in kept]):
            texts = [plain(column.card) for column in kept]
            said = [", ".join(f"{key}={text.get(key, '-')}" for key in fields) for text in texts]
            listed = "; ".join(f"card {place + 1}: {text}" for place, text in enumerate(said))
            notes.append(
                f"{score}: the cards differ, so these values do not compare and stand in columns of their own ({listed})"
            )
    return columns, notes


def summarise(
    settings: Sequence[Sequence[Entry]],
    names: Sequence[str],
    reference: int = 0,
    keys: Sequence[Mapping[str, Any]] | None = None,
) -> Comparison:
    """Means, differences from the setting at the place ``reference``, and the best of each column.

    The differences of all columns with a direction are judged together. The best setting of a column is one that is decided from
    every other, and named only then.
    """
    columns, notes = columns_of(settings, names)
    entries = [list(held) for held in settings]
    found = Comparison(list(names), list(keys or [{} for _ in names]), entries, reference, columns, notes=notes)
    for column in columns.values():
        found.means[column.name] = {name: estimate(list(held.values())) for name, held in column.values.items()}
        base = column.values.get(names[reference], {})
        if not base and len(column.values) > 1:
            notes.append(f"{column.name}: the reference has no value, so there are no differences; --reference names another one")
        for name, held in column.values.items():
            gap = decide.difference(held, base) if name != names[reference] and base else None
            if gap is not None:
                found.differences.setdefault(column.name, {})[name] = gap
    directed = {name: list(gaps.values()) for name, gaps in found.differences.items() if columns[name].higher is not None}
    decide.judge([gap for gaps in directed.values() for gap in gaps])
    for name, judged in directed.items():
        values = columns[name].values
        chosen = decide.best(list(values.values()), bool(columns[name].higher))
        best = None if chosen is None else list(values)[chosen]
        if best is not None and all(
            gap.decided for gap in (judged if best == names[reference] else [found.differences[name][best]])
        ):
            found.best[name] = best
    return found


def verdict(gap: Difference | None, higher: bool | None) -> str:
    """What is decided of a difference: "better", "worse", or why not, and how many seeds would do; "" where nothing can be."""
    if gap is None or higher is None:
        return ""
    if gap.adjusted is None:
        return f"not decided: {'one seed' if gap.half is None else 'no spread'}"
    if gap.mean == 0 and not gap.spread:
        return "not decided: no difference at all"
    if gap.decided:
        return "better" if (gap.mean > 0) == higher else "worse"
    further = gap.further
    many = f"more than {decide.MOST}" if further is None else f"about {further}"
    each = " each" if gap.other is not None else ""
    return f"not decided; {many} more seed{'' if further == 1 else 's'}{each} would"


def rule(found: Comparison) -> str:
    """How the table is to be read, in a sentence or two."""
    many = any(mean.count > 1 for means in found.means.values() for mean in means.values())
    said = "Mean ± 95 % t-interval over n seeds" if many else "One seed each, so no intervals"
    if not found.judged:
        return said
    over = f"Holm over the {found.judged} differences shown" if found.judged > 1 else "of the one difference shown"
    said += f". Decided: p ≤ {1 - LEVEL:.2g} of a two-sided t-test, {over}"
    said += "; best: decided from every other setting"
    if any(gap.further for gaps in found.differences.values() for gap in gaps.values()):
        said += f". So many more would in {100 * decide.POWER:.0f} % of cases, if mean and spread are what they seem"
    return said


def table(found: Comparison, *, columns: int) -> list[str]:
    """The lines of the table, of at most ``columns`` where words allow it: the settings by number with what differs, then
    settings down and scores across. Of each setting its mean, its difference from the reference, and what is decided of that."""
    lines = ["settings, by what differs"]
    for place, name in enumerate(found.names):
        count = len(found.settings[place])
        seeds = f"{count} seed{'s' if count != 1 else ''}"
        mark = f"  ({seeds}{', reference' if place == found.reference and len(found.names) > 1 else ''})"
        first, *further = terminal_text.wrapped(f"{name}{mark}", max(columns - 5, 1)).split("\n")
        lines += [f"{place + 1:>3}  {first}", *(f"     {line}" for line in further)]
    kept = found.columns.values()
    rows: list[list[list[str]]] = [[["setting"], *([column.name, column.words] for column in kept)]]
    for place, name in enumerate(found.names):
        means = [(found.means[column.name].get(name), found.best.get(column.name) == name) for column in kept]
        rows.append([[str(place + 1)], *([f"{mean or '-'}{'  best' if best else ''}"] for mean, best in means)])
        if place != found.reference:
            gaps = [(found.differences.get(column.name, {}).get(name), column.higher) for column in kept]
            rows.append([[f"{place + 1} - {found.reference + 1}"], *(_judged(gap, higher) for gap, higher in gaps)])
    lines += ["", *terminal_text.blocks(rows, columns), "", terminal_text.wrapped(rule(found), columns)]
    return [part for line in lines for part in line.split("\n")]


def _judged(gap: Difference | None, higher: bool | None) -> list[str]:
    """The lines of a difference's cell."""
    if gap is None:
        return ["-"]
    first, _, second = verdict(gap, higher).partition("; ")
    p = f", p={gap.adjusted:.2g}" if gap.adjusted is not None and higher is not None else ""
    return [line for line in (str(gap), f"{first}{p}", second) if line]
