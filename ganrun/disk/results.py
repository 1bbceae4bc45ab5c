"""What runs have reached, read from their folders: one flat record a run. Needs neither torch nor the components.

A record holds plain values alone, so that a list of them is a table: ``pandas.DataFrame(ganrun.runs("outputs"))``.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganrun.disk import gather, identity, runs
from ganrun.disk.rows import Rows, rows_of_metrics, rows_of_scores, rows_of_signs
from ganrun.disk.run_folder import RunFolder
from ganrun.ground.errors import BadInput

Record = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """A run that was trained: its folder, where it stands, and its last scores with the ``scores_step`` that they are of.

    ``record`` is the flat record of ``read_runs``.
    """

    path: Path
    status: str
    step: int
    scores: dict[str, float]
    scores_step: int | None
    record: Record


def read_runs(output: str | Path = "outputs") -> list[Record]:
    """A record of each run folder at or below ``output``, by path. ``BadInput`` where there is no such folder.

    Keys: ``run`` (its path), ``name``, ``status`` (done, running, "interrupted" where no process works in it any more, stopped,
    failed ...; "damaged" with the reason under
    ``error`` where the folder cannot be read), ``step`` and ``steps``, ``seed``, ``model``, ``loss``, ``dataset``,
    ``signature``, ``findings`` (names of what the doctor found, joined by a comma), ``size`` (bytes on disk), ``created`` (UTC,
    ISO 8601), ``scores_step`` and each score's newest value at that step under ``scores.NAME``, ``remarks`` (what is to be said
    of rows of scores that are left out, "" for nothing); and each key of its config as it is typed, ``optimizer.lr`` or
    ``regularizer``, lists joined by a comma, where it is none of the former. What is not known is None.
    """
    above = runs.place(output)
    if not above.is_dir():
        raise BadInput(f"{output}: there is no such folder")
    return [read_run(folder) for folder in gather.below(above)]


def read_run(run: str | Path) -> Record:
    """The record of one run folder; see ``read_runs``. A damaged one is no error: its ``status`` says so."""
    path = runs.place(run)
    record: Record = {"run": str(path), "name": path.parent.name, "status": None, "step": None, "steps": None, "seed": None}
    record |= dict.fromkeys(("model", "loss", "dataset"))
    record |= {"signature": path.name.rpartition("-")[2], "findings": "", "size": _size(path), "created": None}
    record |= {"error": None, "remarks": "", "scores_step": None}
    try:
        folder = _folder(path)
        facts, config, held = folder.facts(), runs.read_config(path), rows_of_scores(folder)
        record["remarks"] = "; ".join(held.remarks())
        scored = held.read()
    except BadInput as error:
        return {**record, "status": "damaged", "error": " ".join(str(error).split())}
    record |= {"name": config.get("name"), "steps": config.get("steps"), "seed": config.get("seed")}
    record |= {group: _named(config.get(group)) for group in ("model", "loss", "dataset")}
    record |= {"status": facts.get("status"), "step": facts.get("step"), "created": facts.get("created")}
    if record["status"] == "running" and folder.is_free():
        record["status"] = "interrupted"
    found = [entry for entry in facts.get("findings", []) if isinstance(entry, Mapping)]
    record["findings"] = ",".join(str(entry.get("disease")) for entry in found)
    settings = {key: _plain(value) for key, value in identity.flat(config)}
    return {**settings, **record, **newest(scored)}


def run_of(path: Path) -> Run:
    """The run in the folder ``path``."""
    record = read_run(path)
    scores = {key.removeprefix("scores."): float(value) for key, value in record.items() if key.startswith("scores.")}
    return Run(path, str(record["status"]), int(record["step"] or 0), scores, record["scores_step"], record)


def newest(scored: list[Record]) -> Record:
    """``scores_step``, the last step that was scored, and the values of that step, of each score the newest."""
    if not scored:
        return {}
    step = max(row["step"] for row in scored)
    values: Record = {}
    for row in scored:
        for name, entry in row["scores"].items():
            if row["step"] == step and isinstance(entry, Mapping) and type(entry.get("value")) in (int, float):
                values[f"scores.{name}"] = entry["value"]
    return {"scores_step": step, **values}


def read_metrics(run: str | Path) -> list[Record]:
    """The rows of RUN/metrics.jsonl: ``step``, ``images``, each loss by name, ``time``.

    What ``read_scores`` says of rows that are left out holds here too.
    """
    return _read(rows_of_metrics(_folder(run)))


def read_scores(run: str | Path) -> list[Record]:
    """The rows of RUN/scores.jsonl: ``step`` and ``scores``, {name: {"value", "std", "card"}}.

    Rows that are damaged, of another run, or changed by hand are left out, with a warning; a torn last row without one.
    """
    return _read(rows_of_scores(_folder(run)))


def read_signs(run: str | Path) -> list[Record]:
    """The rows of RUN/signs.jsonl, what the doctor saw at each look: ``step`` and numbers by name.

    What ``read_scores`` says of rows that are left out holds here too.
    """
    return _read(rows_of_signs(_folder(run)))


def _read(held: Rows) -> list[Record]:
    """The rows that count; a warning for those that are left out."""
    for sentence in held.remarks():
        warnings.warn(sentence, stacklevel=3)
    return held.read()


def _folder(run: str | Path) -> RunFolder:
    path = runs.place(run)
    if not path.is_dir():
        raise BadInput(f"{run}: there is no such run folder")
    folder = RunFolder(path)
    folder.verify()
    return folder


def _named(entry: Any) -> Any:
    return entry.get("name") if isinstance(entry, Mapping) else entry


def _plain(value: Any) -> Any:
    """A value for a cell of a table."""
    return ",".join(map(str, value)) if isinstance(value, list) else value


def _size(path: Path) -> int:
    """Bytes of the files below ``path``; what vanishes meanwhile counts as nothing."""
    total = 0
    for folder, _, files in os.walk(path):
        for name in files:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size
            except OSError:
                continue
    return total
