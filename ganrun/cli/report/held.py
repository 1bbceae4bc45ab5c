"""What a run folder still says, piece by piece: one that is lost or damaged is noted, and the others are shown all the same."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ganrun.cli import diagnosis
from ganrun.disk import gather, runs
from ganrun.disk.rows import Rows, rows_of_metrics, rows_of_scores, rows_of_signs
from ganrun.disk.run_folder import RunFolder
from ganrun.engine import answers
from ganrun.ground.errors import BadInput
from ganrun.ground.spell import shown

PICTURE = re.compile(r"step_(\d+)\.png")
OF_A_RUN = ("config.yaml", "run.json", "metrics.jsonl", "scores.jsonl", "signs.jsonl", "samples", "checkpoints")
TAIL = 100_000  # bytes of train.log that are read
STAMP = re.compile(r"^\d{4}-\d\d-\d\dT\S+ ", re.MULTILINE)
Found = TypeVar("Found")
Row = Mapping[str, Any]


@dataclass
class Held:
    """One run as its folder has it. ``notes``: what is lost or left out. ``case``: what the doctor reads, if it can."""

    path: Path
    config: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    losses: list[Row] = field(default_factory=list)
    looks: list[Row] = field(default_factory=list)
    scored: list[Row] = field(default_factory=list)
    pictures: dict[int, Path] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)
    case: diagnosis.Case | None = None
    notes: list[str] = field(default_factory=list)
    free: bool = True

    @property
    def step(self) -> int:
        """The last step that anything here tells of."""
        told = [int(self.facts.get("step", 0)), *(int(row["step"]) for row in (*self.losses[-1:], *self.looks[-1:]))]
        return max(told)

    @property
    def status(self) -> str:
        """as run.json has it; "interrupted" where it says "running" and no process holds the folder."""
        said = str(self.facts.get("status", "unknown"))
        return "interrupted" if said == "running" and self.free else said

    @property
    def ended(self) -> str:
        """The last words of a run that stopped before its end, from train.log; "" without any."""
        return _last_words(self.path / "train.log")

    def scores(self) -> list[tuple[int, dict[str, Row]]]:
        """[(step, {score: its newest entry})], by step; what is no entry of a score is left out."""
        found: dict[int, dict[str, Row]] = {}
        for row in self.scored:
            found.setdefault(row["step"], {}).update(
                {name: entry for name, entry in row["scores"].items() if answers.whole(entry)}
            )
        return sorted(found.items())

    def baselines(self, step: int) -> dict[str, dict[str, Row]]:
        """{"held_out": {score: entry}, ...} beside the scores of ``step``."""
        found: dict[str, dict[str, Row]] = {}
        for row in self.scored:
            held = row.get("baselines")
            for kind, entries in held.items() if row["step"] == step and isinstance(held, Mapping) else ():
                if isinstance(entries, Mapping):
                    whole = {name: entry for name, entry in entries.items() if answers.whole(entry)}
                    found.setdefault(str(kind), {}).update(whole)
        return found


def read(run: Path) -> Held:
    """All that can be read of the folder ``run``; ``BadInput`` where there is nothing at all."""
    held, folder = Held(run), RunFolder(run)
    held.config = held_or(held, dict, lambda: runs.read_config(run))
    held.facts = held_or(held, dict, folder.facts)
    held.losses = _rows(held, lambda: rows_of_metrics(folder))
    held.scored = _rows(held, lambda: rows_of_scores(folder))
    held.looks = _rows(held, lambda: rows_of_signs(folder))
    held.pictures = pictures(folder.samples)
    held.words = _overrides(folder.overrides)
    held.free = folder.is_free()
    held.case = held_or(held, lambda: None, lambda: diagnosis.read(run))
    if held.case is not None:
        held.notes += held.case.remarks
    held.notes = list(dict.fromkeys(held.notes))
    if not (held.config or held.facts or held.losses or held.looks or held.scored or held.pictures):
        raise BadInput(f"{shown(run)}: nothing in this folder can be shown: {'; '.join(held.notes) or 'it is empty'}")
    return held


def held_or(held: Held, empty: Callable[[], Found], make: Callable[[], Found]) -> Found:
    """What ``make`` reads; where it cannot, a note and what ``empty`` makes."""
    try:
        return make()
    except BadInput as error:
        held.notes.append(str(error))
        return empty()


def _rows(held: Held, open_rows: Callable[[], Rows]) -> list[Row]:
    def take() -> list[Row]:
        rows = open_rows()
        held.notes.extend(rows.remarks())
        return list(rows.read())

    return sorted(held_or(held, list, take), key=lambda row: row["step"])


def pictures(folder: Path) -> dict[int, Path]:
    """{step: file} of the pictures that were drawn while the run trained."""
    if folder.is_symlink() or not folder.is_dir():
        return {}
    found = {int(match[1]): path for path in folder.iterdir() if (match := PICTURE.fullmatch(path.name)) and path.is_file()}
    return {step: path for step, path in sorted(found.items()) if not path.is_symlink()}


def _overrides(path: Path) -> list[str]:
    try:
        return (
            [line for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line] if path.is_file() else []
        )
    except OSError:
        return []


def _last_words(journal: Path) -> str:
    """What the journal says from its last "stopped" on, without the clock."""
    try:
        if journal.is_symlink() or not journal.is_file():
            return ""
        with open(journal, "rb") as file:
            file.seek(max(0, journal.stat().st_size - TAIL))
            lines = STAMP.sub("", file.read().decode("utf-8", "replace")).splitlines()
    except OSError:
        return ""
    places = [place for place, line in enumerate(lines) if line.startswith("stopped")]
    return "\n".join(lines[places[-1] :][:12]).removeprefix("stopped: ") if places else ""


def under(words: Sequence[str]) -> list[Path]:
    """The run folders that ``words`` name or hold, each once, in their order; also one of which little is left.

    ``BadInput`` names all at once what is no run and holds none.
    """
    found: list[Path] = []
    wrong: list[str] = []
    for word in words:
        place = runs.place(word)
        try:
            if place.is_file() and runs.CHECKPOINT.fullmatch(place.name):
                run = shown(place.absolute().parent.parent)
                raise BadInput(f"{word}: is a checkpoint; a report is of its run: {run}")
            if place.is_dir() and any((place / name).exists() for name in OF_A_RUN):
                found.append(place.absolute())
            else:
                found += gather.gather([word]).targets
        except BadInput as error:
            wrong.append(str(error))
    if wrong:
        raise BadInput("\n".join(wrong))
    return list(dict.fromkeys(found))


def text_of(value: Any) -> str:
    """A value as JSON has it, text as it is."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
