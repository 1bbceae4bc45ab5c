"""What a run folder has that a tracker has not yet: new rows of its files, new pictures, each as an ``Entry``.

The files are read as they grow; nothing in them is changed. ``State`` is what has arrived; it is kept in RUN/trackers, and a
process that comes later goes on from it. The steps that a killed run takes again have the same rows, bit for bit, so those that
have arrived are passed over.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from ganrun.disk import storage
from ganrun.disk.rows import CHECKSUM, DIGITS, RUN_ID, Row, checksum
from ganrun.disk.run_folder import RunFolder
from ganrun.trackers.base import Entry

PICTURE = re.compile(r"step_(\d{8})\.png")
MOST = 500  # lines of a file at once


@dataclass
class State:
    """What has arrived: the last step of each kind, and the checksums of rows of scores, which may come in any order."""

    id: str | None = None
    place: str = ""
    metrics: int = -1
    signs: int = -1
    pictures: int = -1
    scores: list[str] = field(default_factory=list)

    @property
    def last(self) -> int:
        return max(self.metrics, self.signs, self.pictures)

    @classmethod
    def read(cls, path: Path) -> State:
        """As it was kept; a new one where there is none, or none that can be read."""
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
            return cls(**{key: held[key] for key in cls.__dataclass_fields__ if key in held})
        except (OSError, ValueError, TypeError):
            return cls()

    def write(self, path: Path) -> None:
        storage.write_json(path, asdict(self))


def state_file(folder: Path, name: str, options: Mapping[str, Any]) -> Path:
    """Where the state of the tracker ``name`` is kept: another one for each place that the ``options`` send rows to."""
    place = {key: value for key, value in options.items() if key not in ("name", "wait")}
    digits = hashlib.sha256(json.dumps(place, sort_keys=True).encode()).hexdigest()[:8]
    return folder / "trackers" / f"{name}-{digits}.json"


class Tail:
    """Reads the whole lines of a file that grows."""

    def __init__(self, path: Path, run: str | None) -> None:
        self.path, self.run = path, run
        self._file: BinaryIO | None = None
        self._rest = b""

    def rows(self, new: Callable[[Row], bool]) -> list[Row]:
        """The next rows of this run that are ``new``, at most ``MOST`` of them; damaged lines are passed over."""
        if self._file is None:
            try:
                self._file = open(self.path, "rb")  # noqa: SIM115
            except OSError:
                return []
        found: list[Row] = []
        while len(found) < MOST:
            line = self._rest + self._file.readline()
            if not line.endswith(b"\n"):
                self._rest = line  # still being written
                break
            self._rest = b""
            found += filter(new, self._row(line))
        return found

    def _row(self, line: bytes) -> Iterator[Row]:
        try:
            row = json.loads(line)
        except ValueError:
            return
        if not isinstance(row, dict) or not isinstance(row.get("step"), int):
            return
        if self.run is None or row.get(RUN_ID, self.run[:DIGITS]) == self.run[:DIGITS]:
            yield row

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


class Follower:
    """Reads a run folder on from ``state``, which counts what was read and is the caller's to write."""

    def __init__(self, folder: RunFolder, state: State) -> None:
        self.folder, self.state = folder, state
        run = folder.facts().get("identity")
        self.metrics, self.signs, self.scores = (Tail(path, run) for path in (folder.metrics, folder.signs, folder.scores))
        self._now = time.time()

    def entries(self) -> list[Entry]:
        """What is new, by steps; [] where nothing is. A long file comes in parts."""
        found = [*self._metrics(), *self._signs(), *self._pictures(), *self._scores()]
        return sorted(found, key=lambda entry: entry.step)

    def close(self) -> None:
        for tail in (self.metrics, self.signs, self.scores):
            tail.close()

    def _metrics(self) -> Iterator[Entry]:
        for row in self.metrics.rows(lambda row: row["step"] > self.state.metrics):
            clock = row.get("time")
            if isinstance(clock, dict):
                self._now = seconds(clock.get("at"), self._now)
                row = {**row, "time/seconds": clock.get("seconds")}
            self.state.metrics = max(self.state.metrics, row["step"])
            yield Entry(row["step"], self._now, numbers(row))

    def _signs(self) -> Iterator[Entry]:
        for row in self.signs.rows(lambda row: row["step"] > self.state.signs):
            self.state.signs = max(self.state.signs, row["step"])
            yield Entry(row["step"], self._now, numbers(row, "signs/"))

    def _scores(self) -> Iterator[Entry]:
        for row in self.scores.rows(lambda row: mark(row) not in self.state.scores):
            if mark(row) in self.state.scores:
                continue
            self.state.scores.append(mark(row))
            yield Entry(row["step"], seconds(row.get("time"), self._now), of_scores(row))

    def _pictures(self) -> Iterator[Entry]:
        for path in sorted(self.folder.samples.glob("step_*.png")):
            match = PICTURE.fullmatch(path.name)
            if match and int(match[1]) > self.state.pictures:
                self.state.pictures = int(match[1])
                yield Entry(int(match[1]), path.stat().st_mtime, pictures={"samples": path})


def mark(row: Row) -> str:
    """What tells a row of scores from others: a repeated evaluation has the same."""
    return str(row.get(CHECKSUM) or checksum(row))


def numbers(row: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The numbers of a row but for its step, those that are finite."""
    return {
        f"{prefix}{name}": float(value)
        for name, value in row.items()
        if name != "step" and type(value) in (int, float) and math.isfinite(value)
    }


def of_scores(row: Mapping[str, Any]) -> dict[str, float]:
    """Values and standard deviations: ``scores/fid``, ``scores/fid_std``, of real data ``baselines/held_out/fid``."""
    tables = {"scores": row.get("scores"), **{f"baselines/{kind}": held for kind, held in (row.get("baselines") or {}).items()}}
    found: dict[str, Any] = {}
    for place, table in tables.items():
        for name, entry in (table or {}).items():
            if isinstance(entry, Mapping):
                found |= {f"{place}/{name}": entry.get("value"), f"{place}/{name}_std": entry.get("std")}
    return numbers(found)


def seconds(text: Any, otherwise: float) -> float:
    """The time that ISO 8601 names, in seconds since 1970."""
    try:
        return datetime.datetime.fromisoformat(text).timestamp()
    except (TypeError, ValueError):
        return otherwise
