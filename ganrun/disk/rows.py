"""The rows of a run folder: metrics.jsonl, scores.jsonl and signs.jsonl, one JSON object a line, each with a ``step``.

Each row says of which run it is: ``run_id`` holds the first ten digits of the run's identity, with which the name of its folder
ends. A row of scores also has a ``checksum`` of all that it says but for the time, since scores are answers. Rows of another run,
and rows that were changed, are left out, and ``remarks`` says so. Rows of earlier versions have neither key and are taken as
they are.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from ganrun.disk import storage
from ganrun.disk.run_folder import RunFolder, keep_damaged
from ganrun.ground.errors import BadInput
from ganrun.ground.spell import shown

RUN_ID, CHECKSUM = "run_id", "checksum"
DIGITS = 10
Row = dict[str, Any]

# why a row is left out
DAMAGED = "are damaged"
FOREIGN = "are of another run, as their run_id says,"
CHANGED = "were changed after they were written (their checksum is another one)"


class Rows:
    """A file of rows; with a mapping under the key ``holds``, and then with a checksum, if given.

    ``run``: the identity of the run that the rows must be of, and that new ones get; None where it is not known.
    """

    def __init__(self, path: Path, holds: str | None = None, run: str | None = None) -> None:
        self.path, self.holds, self.run = path, holds, run

    def read(self) -> list[Row]:
        """All whole rows of this run, without the keys that bind them to it."""
        return [{key: entry for key, entry in row.items() if key not in (RUN_ID, CHECKSUM)} for row in self._own()]

    def remarks(self) -> list[str]:
        """A sentence for each reason why rows are left out; none for a torn last line, which a killed process leaves."""
        judged = [self._judge(line) for line in self._lines() if line.strip()]
        if self._is_torn():
            judged.pop()
        found = Counter(row for row in judged if isinstance(row, str))
        return [f"{count} of {len(judged)} rows of {shown(self.path)} {why} and left out" for why, count in found.items()]

    def cut(self, step: int, warn: Callable[[str], None]) -> None:
        """Drop what stands after ``step`` and a torn last row: a resumed run writes these rows again.

        What else is left out is said through ``warn``, and the file kept as it was under another name.
        """
        if not self.path.exists():
            return
        if remarks := self.remarks():
            kept = keep_damaged(self.path)
            warn(f"warning: {'; '.join(remarks)}; {kept.name} keeps the file as it was")
        rows: list[Row] = []
        for row in self._own():
            in_order = self.holds is not None or not rows or row["step"] > rows[-1]["step"]  # scores may come in any order
            if row["step"] <= step and in_order:
                rows.append(row)
        self._write(rows)

    def drop(self, steps: Collection[int]) -> None:
        """Take out the rows of these steps."""
        rows = list(self._own())
        if any(row["step"] in steps for row in rows):
            self._write([row for row in rows if row["step"] not in steps])

    def sound(self) -> int | None:
        """The step of the last row before the first that is left out or out of order, 0 where none is; None where all are sound.

        A torn last line is no damage: a process was killed while it wrote.
        """
        lines, last = self._lines(), 0
        for place, line in enumerate(lines):
            row = self._judge(line)
            if row == DAMAGED and place == len(lines) - 1 and self._is_torn():
                return None
            if isinstance(row, str) or row["step"] <= last:
                return last
            last = row["step"]
        return None

    def _own(self) -> Iterator[Row]:
        """The rows that count, as they stand."""
        return (row for row in map(self._judge, self._lines()) if not isinstance(row, str))

    def _judge(self, line: bytes) -> Row | str:
        """The row on a line, or why it is left out."""
        try:
            row: Row = json.loads(line)
            if not isinstance(row["step"], int) or (self.holds is not None and not isinstance(row[self.holds], dict)):
                return DAMAGED
            if self.run is not None and row.get(RUN_ID, self.run[:DIGITS]) != self.run[:DIGITS]:
                return FOREIGN
            if self.holds is not None and (RUN_ID in row or CHECKSUM in row) and row.get(CHECKSUM) != checksum(row):
                return CHANGED
        except (ValueError, KeyError, TypeError, RecursionError):
            return DAMAGED
        return row

    def _is_torn(self) -> bool:
        """Whether the last line has no end and holds no row."""
        last = self._lines()[-1:]
        damaged = bool(last) and bool(last[0].strip()) and self._judge(last[0]) == DAMAGED
        return damaged and not self.path.read_bytes().endswith(b"\n")

    def _lines(self) -> list[bytes]:
        """The lines of the file; none where there is no file."""
        try:
            return self.path.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise BadInput(f"{self.path}: cannot be read ({error.strerror})") from error

    def _write(self, rows: list[Row]) -> None:
        storage.write(self.path, "".join(json.dumps(row) + "\n" for row in rows))

    def verify(self) -> None:
        """Raise ``StorageFailed`` now where no row could be added."""
        with storage.storage_errors(self.path):
            if self.path.exists():
                open(self.path, "ab").close()
            elif not os.access(self.path.parent, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row, bound to the run, on a line of its own even where the last one is torn."""
        if self.run is not None:
            row = {**row, RUN_ID: self.run[:DIGITS]}
            row |= {CHECKSUM: checksum(row)} if self.holds is not None else {}
        with storage.storage_errors(self.path), open(self.path, "a+b") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                torn = file.read() != b"\n"
            else:
                torn = False
            file.write(b"\n" * torn + json.dumps(row).encode() + b"\n")

    def sync(self) -> None:
        """Force the rows, and the file's own entry, to the disk before a checkpoint that counts on them is committed."""
        if self.path.exists():
            with storage.storage_errors(self.path), open(self.path, "rb") as file:
                os.fsync(file.fileno())
                storage.sync_folder(self.path.parent)


def checksum(row: Mapping[str, Any]) -> str:
    """Ten digits of the SHA-256 of the row's JSON as reading gives it back, without its own checksum.

    The clock is no part of it: a repeated run has the same.
    """
    plain = json.loads(json.dumps({key: entry for key, entry in row.items() if key not in (CHECKSUM, "time")}))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:DIGITS]


def rows_of_metrics(folder: RunFolder) -> Rows:
    """The losses of a run."""
    return Rows(folder.metrics, run=run_of(folder))


def rows_of_scores(folder: RunFolder) -> Rows:
    """The scores of a run."""
    return Rows(folder.scores, holds="scores", run=run_of(folder))


def rows_of_signs(folder: RunFolder) -> Rows:
    """What the doctor saw of a run."""
    return Rows(folder.signs, run=run_of(folder))


def run_of(folder: RunFolder) -> str | None:
    """The identity of the run, as run.json has it; None where it cannot say, and its rows are read all the same."""
    try:
        return folder.facts().get("identity")
    except BadInput:
        return None
