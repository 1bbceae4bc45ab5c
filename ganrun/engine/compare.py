"""Several runs side by side: mean and interval over seeds for each setting, and differences between settings on shared seeds.

A setting is a config without its seed. A mean over n seeds has the t-interval mean ± t * s / sqrt(n) at 95 %, s with ddof 1 and
t with n - 1 degrees of freedom; the difference of two settings is that of the runs that share a seed, paired, with the same
interval of its own. Scores are compared only under one card: where cards differ, the fields that do are named, and there is
no difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from rich.table import Table

from ganrun.engine import answers, assemble, commands, sampling
from ganrun.engine import evaluate as evaluating
from ganrun.engine.answers import plain
from ganrun.engine.progress import console
from ganrun.ground.errors import BadInput
from ganrun.ground.record import Rows, RunFolder
from ganrun.ground.runtime import resolve

LEVEL = 0.95
RUN_FIELDS = ("seed",)  # of a card: which run it was, not how it was measured


@dataclass
class Entry:
    """A run, or a checkpoint of one."""

    target: Path
    config: Mapping[str, Any]
    seed: int
    scores: dict[str, Any] = field(default_factory=dict)
    step: int | None = None


@dataclass
class Estimate:
    """A mean over ``count`` seeds; ``half`` is half the width of its interval, None for a single seed."""

    mean: float
    half: float | None
    count: int

    def __str__(self) -> str:
        return f"{self.mean:.4g}" + (f" ±{self.half:.2g}" if self.half is not None else "") + f" (n={self.count})"


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and 95 % t-interval of independent values."""
    from scipy.stats import t  # takes a second to import

    count = len(values)
    half = float(t.ppf((1 + LEVEL) / 2, count - 1)) * stdev(values) / count**0.5 if count > 1 else None
    return Estimate(mean(values), half, count)


def compare(entries: Sequence[Entry], names: Sequence[str], groups: Sequence[int], *, out: Path | None = None) -> dict[str, Any]:
    """Score what is not scored, show the table, return its numbers. Entry i is of the setting ``names[groups[i]]``."""
    for place, name in enumerate(names):
        seeds = [entry.seed for entry, group in zip(entries, groups, strict=True) if group == place]
        doubled = sorted({seed for seed in seeds if seeds.count(seed) > 1})
        if doubled:
            raise BadInput(f"{name}: two runs of this setting have seed={doubled[0]}; name each once, and one checkpoint of it")
    for entry in entries:
        entry.scores = scores_of(entry, out)
    settings = [[entry for entry, group in zip(entries, groups, strict=True) if group == place] for place in range(len(names))]
    table, found = summarise(settings, names)
    console.print(table)
    steps = sorted({entry.step for entry in entries if entry.step is not None})
    found["notes"][:0] = [f"all scores are of step {steps[0]}"] if len(steps) == 1 else [f"the scores are of steps {steps}"]
    found["notes"] += remarks_of(entries)
    for sentence in found["notes"]:
        console.print(f"note: {sentence}", markup=False)
    return found


def remarks_of(entries: Sequence[Entry]) -> list[str]:
    """What must be known of the scores, with the score that it is about: each sentence once, whoever has it."""
    found = (
        (name, sentence)
        for entry in entries
        for name in entry.scores
        for sentence in evaluating.remarks_of({name: entry.scores[name]})
    )
    return list(dict.fromkeys(f"{name}: {sentence}" for name, sentence in found))


def scores_of(entry: Entry, out: Path | None = None) -> dict[str, Any]:
    """The scores of this checkpoint under the cards that are asked for, from scores.jsonl; what is missing is scored now."""
    path = evaluating.target_folder(entry.target)
    entry.step = int(sampling.load_state(entry.target)[1]["step"])
    folder = RunFolder(path, lambda line: console.print(line, markup=False))
    question = asked(entry, folder)
    answer = answers.find(Rows(folder.scores, holds="scores").read(), entry.step, question, strict=True)
    if not answer.missing:
        folder.say(f"{path}: scored already at step {entry.step}")
        return answer.scores
    chosen = {name: entry.config["metric"][name] for name in answer.missing}
    scores = commands.evaluate(entry.target, {**entry.config, "metric": chosen}, out=out)
    return answer.with_row({"scores": scores}, question).scores


def asked(entry: Entry, folder: RunFolder) -> answers.Question:
    """What the config asks of a run, as cards, before anything is scored."""
    parts = assemble.build(entry.config)
    if not parts.metrics:
        raise BadInput("metric=none: there is nothing to score. Try 'metric=[is,fid]'")
    dataset = assemble.load_data(entry.config, parts.family)
    assemble.verify(parts, dataset)
    return evaluating.ask(
        metrics=parts.metrics,
        dataset=dataset,
        device=resolve(entry.config["device"]).device,
        evaluation=entry.config["evaluation"],
        averaged=bool(float(entry.config["ema"]) and parts.game.averaged),
        say=folder.say,
    )


def differing(cards: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Fields in which cards differ, with the values there are, in order."""
    texts = [plain(card) for card in cards]
    names = dict.fromkeys(name for text in texts for name in text)
    found = {name: list(dict.fromkeys(text.get(name, "-") for text in texts)) for name in names if name not in RUN_FIELDS}
    return {name: values for name, values in found.items() if len(values) > 1}


def summarise(settings: Sequence[Sequence[Entry]], names: Sequence[str]) -> tuple[Table, dict[str, Any]]:
    """(the table, {"means": {score: {setting: Estimate}}, "differences": {score: {setting: Estimate}}, "notes": [...]})."""
    scores = list(dict.fromkeys(name for entries in settings for entry in entries for name in entry.scores))
    means: dict[str, dict[str, Estimate]] = {}
    differences: dict[str, dict[str, Estimate]] = {}
    notes: list[str] = []
    for score in scores:
        values = [{entry.seed: value_of(entry, score) for entry in entries} for entries in settings]
        known = [{seed: value for seed, value in held.items() if value is not None} for held in values]
        cards = [entry.scores[score]["card"] for entries in settings for entry in entries if score in entry.scores]
        fields = differing(cards)
        unlike = [differing([entry.scores[score]["card"] for entry in entries if score in entry.scores]) for entries in settings]
        means[score] = {
            name: estimate(list(held.values()))
            for name, held, mixed in zip(names, known, unlike, strict=True)
            if held and not mixed
        }
        if fields:
            listed = "; ".join(f"{name}: {' or '.join(texts)}" for name, texts in fields.items())
            notes.append(f"{score}: the cards differ, so these values do not compare ({listed})")
            continue
        for name, held in list(zip(names, known, strict=True))[1:]:
            shared = [held[seed] - known[0][seed] for seed in held if seed in known[0]]
            if shared:
                differences.setdefault(score, {})[name] = estimate(shared)
    return drawn(scores, names, means, differences), {
        "means": means,
        "differences": differences,
        "notes": list(dict.fromkeys(notes)),
    }


def value_of(entry: Entry, score: str) -> float | None:
    """The value of a score, None where the run has none."""
    held = entry.scores.get(score, {}).get("value")
    return None if held is None else float(held)


def drawn(
    scores: Sequence[str],
    names: Sequence[str],
    means: Mapping[str, Mapping[str, Estimate]],
    differences: Mapping[str, Mapping[str, Estimate]],
) -> Table:
    """A row a score, a column a setting, then each further setting's difference from the first on shared seeds."""
    further = list(names[1:])
    table = Table(
        "score", *names, *(f"{name} - {names[0]}" for name in further), title=f"mean ± {LEVEL:.0%} t-interval over seeds"
    )
    for score in scores:
        cells = [str(means[score].get(name, "-")) for name in names]
        table.add_row(score, *cells, *(str(differences.get(score, {}).get(name, "-")) for name in further))
    return table
