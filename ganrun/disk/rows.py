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
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ganrun.disk import storage
from ganrun.disk.run_folder import RunFolder, keep_damaged
from ganrun.ground.errors import BadInput
from ganrun.ground.spell import shown

RUN_ID, CHECKSUM = "run_id", "checksum"
DIGITS = 10
LARGE = 4 * 2**20  # bytes of a file that a start does not parse as a whole
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
        self._plain: tuple[tuple[int, int, str], int | None] | None = None

    def read(self) -> list[Row]:
        """All whole rows of this run, without the keys that bind them to it."""
        return [{key: entry for key, entry in row.items() if key not in (RUN_ID, CHECKSUM)} for row in self._own()]

    def remarks(self) -> list[str]:
        """A sentence for each reason why rows are left out; none for a torn last line, which a killed process leaves."""
        if self._last_of_plain() is not None:
            return []
        found, count, last = Counter[str](), 0, None
        for line in self._lines():
            if not line.strip():
                continue
            row = self._judge(line)
            count, last = count + 1, row if isinstance(row, str) else None
            found.update([last] if last else [])
        if last == DAMAGED and self._is_torn():
            count, found[DAMAGED] = count - 1, found[DAMAGED] - 1
        return [f"{number} of {count} rows of {shown(self.path)} {why} and left out" for why, number in found.items() if number]

    def cut(self, step: int, warn: Callable[[str], None]) -> None:
        """Drop what stands after ``step`` and a torn last row: a resumed run writes these rows again.

        What else is left out is said through ``warn``, and the file kept as it was under another name.
        """
        if not self.path.exists():
            return
        if self._last_of_plain() is not None:
            self._cut_plain(step)
            return
        if remarks := self.remarks():
            kept = keep_damaged(self.path)
            warn(f"warning: {'; '.join(remarks)}; {kept.name} keeps the file as it was")
        self._write(self._until(step))

    def _until(self, step: int) -> Iterator[Row]:
        last = None
        for row in self._own():
            in_order = self.holds is not None or last is None or row["step"] > last  # scores may come in any order
            if row["step"] <= step and in_order:
                last = row["step"]
                yield row

    def drop(self, steps: Collection[int]) -> None:
        """Take out the rows of these steps."""
        if steps and any(row["step"] in steps for row in self._own()):
            self._write(row for row in self._own() if row["step"] not in steps)

    def sound(self) -> int | None:
        """The step of the last row before the first that is left out or out of order, 0 where none is; None where all are sound.

        A torn last line is no damage: a process was killed while it wrote.
        """
        if self._last_of_plain() is not None:
            return None
        last, damaged = 0, False
        for line in self._lines():
            if damaged:  # and not the last line
                return last
            row = self._judge(line)
            damaged = row == DAMAGED
            if not damaged and (isinstance(row, str) or row["step"] <= last):
                return last
            last = last if isinstance(row, str) else row["step"]
        return last if damaged and not self._is_torn() else None

    def ends(self, step: int) -> tuple[int | None, int | None]:
        """The steps of the first row and of the last one, of those that are no later than ``step``; None where there is none."""
        plain = self._last_of_plain()
        if plain is None:
            steps = [row["step"] for row in self._own() if row["step"] <= step]
            return (steps[0], steps[-1]) if steps else (None, None)
        with open(self.path, "rb") as file:
            first = json.loads(file.readline())["step"]
        return (first if first <= step else None), self._place_after(step)[1]

    def last(self) -> int:
        """The highest step of all rows; 0 where there are none."""
        plain = self._last_of_plain()
        return max((row["step"] for row in self._own()), default=0) if plain is None else plain

    # a file that is large

    def _last_of_plain(self) -> int | None:
        """The last step of a large file all of whose lines are plainly rows of this run in order; None for any other file."""
        try:
            facts = self.path.stat()
        except OSError:
            return None
        if self.holds is not None or self.run is None or facts.st_size < LARGE:
            return None
        key = (facts.st_size, facts.st_mtime_ns, self.run)
        if self._plain is None or self._plain[0] != key:
            self._plain = key, self._look()
        return self._plain[1]

    def _look(self) -> int | None:
        from ganrun.disk import row_scan  # imports numpy

        tail = f', "{RUN_ID}": "{str(self.run)[:DIGITS]}"}}'.encode()
        with open(self.path, "rb") as file:
            found = row_scan.steps_of(file, tail)
            if found is None or (found[1].strip() and self._judge(found[1]) != DAMAGED):  # a row without its line break is one
                return None
            file.seek(0)
            first, parsed = file.readline(), 0
            if isinstance(self._judge(first), str):
                return None
            for _, line in row_scan.lines_backwards(file):
                if isinstance(self._judge(line), str):
                    return None
                parsed += len(line)
                if parsed > row_scan.PARSED:
                    break
        return found[0]

    def _place_after(self, step: int) -> tuple[int, int | None]:
        """Where the first row after ``step`` begins in a plain file, and the step of the row before it."""
        from ganrun.disk import row_scan

        with open(self.path, "rb") as file:
            for place, line in row_scan.lines_backwards(file):
                found: int = json.loads(line)["step"]
                if found <= step:
                    return place + len(line) + 1, found
        return 0, None

    def _cut_plain(self, step: int) -> None:
        place = self._place_after(step)[0]
        if place < self.path.stat().st_size:
            storage.truncate(self.path, place)

    # any file

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
        last = b""
        for line in self._lines():
            last = line
        return bool(last.strip()) and not last.endswith(b"\n") and self._judge(last) == DAMAGED

    def _lines(self) -> Iterator[bytes]:
        """The lines of the file with their line breaks; none where there is no file."""
        try:
            with open(self.path, "rb") as file:
                yield from file
        except FileNotFoundError:
            return
        except OSError as error:
            raise BadInput(f"{self.path}: cannot be read ({error.strerror})") from error

    def _write(self, rows: Iterable[Row]) -> None:
        def fill(file: storage.Hashed) -> None:
            for row in rows:
                file.write(json.dumps(row).encode() + b"\n")

        storage.write_stream(self.path, fill, self.path.stat().st_size if self.path.exists() else 0)

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
