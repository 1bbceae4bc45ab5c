"""Several runs side by side: mean and interval over seeds for each setting, and differences from one of them.

A setting is a config without its seed. What a mean, a difference and a decision are, ``decide.py`` says. Scores are compared
only under one card: where cards differ, the fields that do are named, and there is no difference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ganrun.disk.rows import rows_of_scores
from ganrun.disk.run_folder import RunFolder
from ganrun.engine import answers, assemble, beforehand, decide, generator_scores, sampling, score_run
from ganrun.engine.answers import plain
from ganrun.engine.decide import LEVEL, Difference, Estimate, estimate
from ganrun.engine.progress import console, say
from ganrun.ground import terminal_text
from ganrun.ground.errors import BadInput
from ganrun.ground.runtime import resolve
from ganrun.ground.spell import shown

NAMED = 4  # runs in a sentence
RUN_FIELDS = ("seed",)  # of a card: which run it was, not how it was measured


@dataclass
class Entry:
    """A run, or a checkpoint of one."""

    target: Path
    config: Mapping[str, Any]
    seed: int
    scores: dict[str, Any] = field(default_factory=dict)
    step: int | None = None
    directions: dict[str, bool | None] = field(default_factory=dict)  # whether higher is better


def compare(
    entries: Sequence[Entry], names: Sequence[str], groups: Sequence[int], *, reference: int = 0, out: Path | None = None
) -> dict[str, Any]:
    """Score what is not scored, show the table, return its numbers. Entry i is of the setting ``names[groups[i]]``.

    ``reference``: the place in ``names`` of the setting that the others are compared with.
    """
    for place, name in enumerate(names):
        seeds = [entry.seed for entry, group in zip(entries, groups, strict=True) if group == place]
        doubled = sorted({seed for seed in seeds if seeds.count(seed) > 1})
        if doubled:
            raise BadInput(f"{name}: two runs of this setting have seed={doubled[0]}; name each once, and one checkpoint of it")
    heard: set[str] = set()

    def tell(line: str) -> None:
        """Say what is said of several runs once."""
        if line not in heard:
            heard.add(line)
            say(line)

    for entry in entries:
        entry.scores = scores_of(entry, out, tell)
    settings = [[entry for entry, group in zip(entries, groups, strict=True) if group == place] for place in range(len(names))]
    steps = sorted({entry.step for entry in entries if entry.step is not None})
    found = summarise(settings, names, reference)
    for line in table(found, settings, names, reference, columns=console.width):
        console.print(line, markup=False)
    found["notes"][:0] = [f"all scores are of step {steps[0]}"] if len(steps) == 1 else [f"the scores are of steps {steps}"]
    found["notes"] += remarks_of(entries)
    for sentence in found["notes"]:
        say(f"note: {sentence}")
    return found


def remarks_of(entries: Sequence[Entry]) -> list[str]:
    """What must be known of the scores: each sentence once, with the scores that it is about, and the runs unless it is all."""
    places: dict[str, dict[str, dict[int, None]]] = {}
    for place, entry in enumerate(entries):
        for name in entry.scores:
            for sentence in generator_scores.remarks_of({name: entry.scores[name]}):
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


def scores_of(entry: Entry, out: Path | None, tell: Callable[[str], None]) -> dict[str, Any]:
    """The scores of this checkpoint under the cards that are asked for, from scores.jsonl; what is missing is scored now."""
    with resolve(entry.config["device"]).applied():
        trained = sampling.Trained(entry.target, entry.config, with_metrics=True)
        entry.step, folder = trained.step, RunFolder(trained.folder, tell)
        question = asked(entry, trained, folder)
        held = rows_of_scores(folder)
        for sentence in held.remarks():
            tell(f"warning: {sentence}")
        answer = answers.find(held.read(), entry.step, question, strict=True)
        if not answer.missing:
            tell(f"{shown(folder.path)}: scored already at step {entry.step}")
            return answer.scores
        missing = {name: trained.parts.metrics[name] for name in answer.missing}
        return answer.with_row({"scores": score_run.score(trained, missing, out=out, tell=tell)}, question).scores


def asked(entry: Entry, trained: sampling.Trained, folder: RunFolder) -> answers.Question:
    """What the config asks of a run, as cards, before anything is scored."""
    parts = trained.parts
    if not parts.metrics:
        raise BadInput(score_run.NOTHING)
    for found in beforehand.directions(parts.metrics).values():
        entry.directions |= found
    assemble.verify(parts, trained.dataset)
    return generator_scores.ask(
        metrics=parts.metrics,
        dataset=trained.dataset,
        device=trained.runtime.device,
        evaluation=entry.config["evaluation"],
        averaged=bool(trained.averages),
        say=folder.say,
    )


def differing(cards: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Fields in which cards differ, with the values there are, in order."""
    texts = [plain(card) for card in cards]
    names = dict.fromkeys(name for text in texts for name in text)
    found = {name: list(dict.fromkeys(text.get(name, "-") for text in texts)) for name in names if name not in RUN_FIELDS}
    return {name: values for name, values in found.items() if len(values) > 1}


def summarise(settings: Sequence[Sequence[Entry]], names: Sequence[str], reference: int = 0) -> dict[str, Any]:
    """{"means": {score: {setting: Estimate}}, "differences": {score: {setting: Difference}}, "directions": {score: whether
    higher is better}, "best": {score: setting}, "notes": [...]}.

    The differences of all scores with a direction are judged together. The best setting of a score is one that is decided from
    every other, and named only then.
    """
    scores = list(dict.fromkeys(name for entries in settings for entry in entries for name in entry.scores))
    means: dict[str, dict[str, Estimate]] = {}
    differences: dict[str, dict[str, Difference]] = {}
    notes: list[str] = []
    directions = {score: _direction(score, settings) for score in scores}
    known = {score: [_values(entries, score) for entries in settings] for score in scores}
    for score in scores:
        cards = [[entry.scores[score]["card"] for entry in entries if score in entry.scores] for entries in settings]
        means[score] = {
            name: estimate(list(held.values()))
            for name, held, own in zip(names, known[score], cards, strict=True)
            if held and not differing(own)
        }
        if fields := differing([card for own in cards for card in own]):
            listed = "; ".join(f"{name}: {' or '.join(texts)}" for name, texts in fields.items())
            notes.append(f"{score}: the cards differ, so these values do not compare ({listed})")
            continue
        for place, name in enumerate(names):
            gap = decide.difference(known[score][place], known[score][reference]) if place != reference else None
            if gap is not None:
                differences.setdefault(score, {})[name] = gap
    directed = {score: list(found.values()) for score, found in differences.items() if directions[score] is not None}
    decide.judge([gap for found in directed.values() for gap in found])
    best = {}
    for score, judged in directed.items():
        chosen = decide.best(known[score], bool(directions[score]))
        if chosen is not None and all(
            gap.decided for gap in (judged if chosen == reference else [differences[score][names[chosen]]])
        ):
            best[score] = names[chosen]
    found = {"means": means, "differences": differences, "directions": directions, "best": best}
    return {**found, "notes": list(dict.fromkeys(notes))}


def _direction(score: str, settings: Sequence[Sequence[Entry]]) -> bool | None:
    return next((entry.directions[score] for entries in settings for entry in entries if score in entry.directions), None)


def _values(entries: Sequence[Entry], score: str) -> dict[int, float]:
    """{seed: value}, without the runs that have none."""
    held = ((entry.seed, entry.scores.get(score, {}).get("value")) for entry in entries)
    return {seed: float(value) for seed, value in held if value is not None}


WORDS = {True: "higher is better", False: "lower is better", None: "to read by"}


def table(
    found: Mapping[str, Any], settings: Sequence[Sequence[Entry]], names: Sequence[str], reference: int, *, columns: int
) -> list[str]:
    """The lines of the table, of at most ``columns`` where words allow it: the settings by number with what differs, then
    settings down and scores across. Of each setting its mean, its difference from the reference, and what is decided of that."""
    lines = ["settings, by what differs"]
    for place, name in enumerate(names):
        seeds = f"{len(settings[place])} seed{'s' if len(settings[place]) != 1 else ''}"
        mark = f"  ({seeds}{', reference' if place == reference and len(names) > 1 else ''})"
        first, *further = terminal_text.wrapped(f"{name}{mark}", max(columns - 5, 1)).split("\n")
        lines += [f"{place + 1:>3}  {first}", *(f"     {line}" for line in further)]
    scores = list(found["means"])
    rows: list[list[list[str]]] = [[["setting"], *([score, WORDS[found["directions"][score]]] for score in scores)]]
    for place, name in enumerate(names):
        means = [found["means"][score].get(name) for score in scores]
        marks = ["  best" if found["best"].get(score) == name else "" for score in scores]
        rows.append([[str(place + 1)], *([f"{mean or '-'}{mark}"] for mean, mark in zip(means, marks, strict=True))])
        if place != reference:
            gaps = [found["differences"].get(score, {}).get(name) for score in scores]
            cells = [_judged(gap, found["directions"][score]) for gap, score in zip(gaps, scores, strict=True)]
            rows.append([[f"{place + 1} - {reference + 1}"], *cells])
    many = any(len(entries) > 1 for entries in settings)
    lines += [
        "",
        terminal_text.wrapped("mean ± 95 % t-interval over n seeds" if many else "one seed each, so no intervals", columns),
        "",
    ]
    lines += terminal_text.blocks(rows, columns)
    count = sum(len(gaps) for score, gaps in found["differences"].items() if found["directions"][score] is not None)
    if count and len(names) > 1:
        rule = f"decided: p ≤ {1 - LEVEL:.2g} of a two-sided t-test, Holm over the {count} differences shown"
        rule += "; best: decided from every other setting"
        lines += ["", terminal_text.wrapped(rule, columns)]
    return [part for line in lines for part in line.split("\n")]


def _judged(gap: Difference | None, higher: bool | None) -> list[str]:
    """The lines of a difference's cell."""
    if gap is None or higher is None:
        return ["-" if gap is None else str(gap)]
    if gap.adjusted is None:
        return [str(gap), f"not decided: {'one seed' if gap.half is None else 'no spread'}"]
    verdict = ("better" if (gap.mean > 0) == higher else "worse") if gap.decided else "not decided"
    return [str(gap), f"{verdict}, p={gap.adjusted:.2g}"]
