"""A look at a large file of rows that reads every byte and parses few: whether all lines are plainly rows of one run, in order.

A run of a million logged steps holds hundreds of megabytes of rows, and a start must not parse them all. What is looked at on
every line, by whole blocks: that it begins with its step, that steps rise, that it ends with the identity of the run, and that
no other line break, control character, quote or brace is missing or too many. Whatever does not fit makes the answer no, and
then the file is read row by row.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

BLOCK = 4 * 2**20  # bytes that are looked at together
PARSED = 256 * 2**10  # bytes at the end whose rows are parsed
HEAD = b'{"step": '
DIGITS = 15


def steps_of(file: BinaryIO, tail: bytes) -> tuple[int, bytes] | None:
    """(the last step of whole lines, what stands after the last line break) of a file of rows that end with ``tail``.

    None where any line is not plainly such a row, or their steps do not rise.
    """
    last, rest = -1, b""
    while block := file.read(BLOCK):
        block = rest + block
        cut = block.rfind(b"\n") + 1
        rest = block[cut:]
        if len(rest) > BLOCK:
            return None
        if cut:
            lines = block.count(b"\n")
            if block.count(HEAD, 0, cut) != lines or block.count(tail, 0, cut) != lines:
                return None
            found = _last_step(np.frombuffer(block, np.uint8, cut), tail, last)
            if found is None:
                return None
            last = found
    return last, rest


def _last_step(block: np.ndarray, tail: bytes, before: int) -> int | None:
    """The last step of the lines in ``block``, which ends with a line break; None where one is not plainly a row."""
    ends = np.flatnonzero(block == ord("\n"))
    starts = np.concatenate(([0], ends[:-1] + 1))
    if (ends - starts).min() < len(HEAD) + DIGITS + 1 + len(tail) or np.count_nonzero(block < 32) != len(ends):
        return None
    if np.count_nonzero(block == ord('"')) % 2 or np.count_nonzero(block == ord("{")) != np.count_nonzero(block == ord("}")):
        return None
    if not (_window(block, starts, len(HEAD)) == np.frombuffer(HEAD, np.uint8)).all():
        return None
    if not (_window(block, ends - len(tail), len(tail)) == np.frombuffer(tail, np.uint8)).all():
        return None
    digits = _window(block, starts + len(HEAD), DIGITS + 1).astype(np.int64) - ord("0")
    other = (digits < 0) | (digits > 9)
    length = other.argmax(1)  # 0 where the first is no digit, and where all are digits
    if (length == 0).any() or (block[starts + len(HEAD) + length] != ord(",")).any():
        return None
    places = length[:, None] - 1 - np.arange(DIGITS + 1)
    steps = np.where(places >= 0, digits, 0) * 10 ** places.clip(0)
    found = steps.sum(1)
    return int(found[-1]) if found[0] > before and (np.diff(found) > 0).all() else None


def _window(block: np.ndarray, starts: np.ndarray, length: int) -> np.ndarray:
    return block[starts[:, None] + np.arange(length)]


def lines_backwards(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """(offset, line) of the whole lines of a file, the last one first; what stands after the last line break is none."""
    start, held, whole = file.seek(0, os.SEEK_END), b"", False
    while start:
        end, start = start, max(0, start - PARSED)
        file.seek(start)
        first, *lines = (file.read(end - start) + held).split(b"\n")
        if lines and not whole:
            lines.pop()
            whole = True
        held = first
        place = start + len(first) + 1
        found = []
        for line in lines:
            found.append((place, line))
            place += len(line) + 1
        yield from reversed(found)
    if whole:
        yield 0, held
