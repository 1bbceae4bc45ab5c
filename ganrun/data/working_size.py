"""The size that a person's own images are worked on at: the one that was asked for, or the one that follows from the images.

A family of networks may make some sizes only, such as powers of two. Images are resized to such a size straight from their
files; with ``fit=pad`` they keep the size asked for, and a black frame makes up the rest later on.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ganrun.data.base import check_size
from ganrun.data.decode import Unreadable, dimensions
from ganrun.data.folder_names import draw
from ganrun.data.folder_reading import check_choice

MEASURED = 1000  # files whose headers are read, the same ones whatever the machine
LARGEST = 64  # pixels that are chosen unasked: larger images take hours without an accelerator

Legal = Callable[[int], int]


@dataclass(frozen=True)
class Files:
    """Some ``names`` below ``place``, of whose pictures ``half`` counts: whole | left | right."""

    place: str
    names: Iterable[str]
    half: str = "whole"


def any_size(size: int) -> int:
    """The legal sizes of a family that makes all."""
    return size


def working_size(size: int | None, fit: str, legal: Legal, files: Iterable[Files]) -> tuple[int, tuple[str, ...]]:
    """(pixels, what to say of them). ``legal(n)``: the smallest size from n on that the family makes.

    With ``size`` None: the next legal size where it enlarges the images, by their median short side, by a quarter at most (28
    pixels become 32 and not 16); else the largest legal size that is not above it. Never above 64; where there is none of these,
    the smallest legal size. A function of the files' names and headers alone, so a run finds it again.
    Raises ``BadInput`` for a size that is no whole number from 1 and for an unknown ``fit``.
    """
    check_choice("fit", fit, ("resize", "pad"))
    if fit == "pad":
        legal = any_size
    if size is not None:
        found = legal(check_size(size))
        said = (
            f"dataset.size={size} is no size of this model, so images are resized to {found}x{found}; dataset.fit=pad pads them"
        )
        return found, (said,) if found != size else ()
    sides = measured(files)
    if not sides:  # nothing can be read: the reader says so of each file
        return legal(LARGEST), ()
    short, long = (sorted(pick(pair) for pair in sides)[(len(sides) - 1) // 2] for pick in (min, max))
    near = legal(short)
    smaller = (n for n in range(min(short, LARGEST), 0, -1) if legal(n) == n)
    found = near if near <= min(short * 5 // 4, LARGEST) else next(smaller, legal(1))
    other = f"dataset.size={2 * found} for another size"
    return found, (f"images of {long}x{short} pixels on median are worked on at {found}x{found}; {other}",)


def measured(files: Iterable[Files]) -> list[tuple[int, int]]:
    """(width, height) of the images by their headers; of more than 1000, of those that a hash of the names chooses."""
    every = [(draw(name), os.path.join(part.place, name), part.half) for part in files for name in part.names]
    sides = []
    for _, path, half in heapq.nsmallest(MEASURED, every):
        try:
            sides.append(dimensions(path, half))
        except Unreadable:
            continue
    return sides
