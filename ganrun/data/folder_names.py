"""What the names in a folder say, before any file is opened: which are images, of which class, and which are held out."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from ganrun.ground.content import Listing
from ganrun.ground.errors import BadInput

SUFFIXES = ("png", "jpg", "jpeg", "jpe", "jfif", "webp", "bmp")
REFUSED = ("gif", "tif", "tiff", "avif", "heic", "heif", "jp2", "ppm", "pgm", "pbm", "pnm", "tga", "psd", "svg", "ico")
SHOWN = 20
LEAST = 250  # images of a folder from which some are held out unasked


@dataclass
class Part:
    """The images that train, or those that are held out; ``labels`` has one class number a name, or is None."""

    names: list[str]
    labels: list[int] | None
    pixels: Tensor | None = None
    fingerprint: str = ""


def images_of(found: Listing, place: str) -> tuple[list[str], list[str]]:
    """The names of the files that are images by their suffix, and a note on the others."""
    names = [name for name, _ in found.files if _suffix(name) in SUFFIXES]
    others = Counter(_suffix(name) or "no suffix" for name, _ in found.files if _suffix(name) not in SUFFIXES + REFUSED)
    if not names and not troubles_of(found):
        what = f"{len(found.files)} files of other kinds" if found.files else "no files at all"
        raise BadInput(f"dataset.root={place}: no images, {what}. Images end in {', '.join(SUFFIXES)}")
    kinds = ", ".join(f"{suffix} {count}" for suffix, count in sorted(others.items()))
    return names, [f"{others.total()} files are not images by their suffix: {kinds}"] if others else []


def troubles_of(found: Listing) -> dict[str, str]:
    """What cannot be read as the listing alone shows."""
    refused = {name: f"{_suffix(name)} files are not accepted" for name, _ in found.files if _suffix(name) in REFUSED}
    return {**found.others, **refused}


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1][1:].lower()


def classes_of(found: Listing, names: list[str], labels: str, place: str) -> tuple[tuple[str, ...] | None, list[int] | None, str]:
    """Class names and each image's class, from the first-level sub-folders, or None; and a note on why there are none."""
    if labels == "none":
        return None, None, ""
    loose = sum("/" not in name for name in names)
    if loose or len(found.folders) < 2:
        if labels == "folders":
            raise BadInput(
                f"dataset.labels=folders: all images must lie in at least two sub-folders of {place}, but {counted(loose)} "
                f"of {len(names)} lie outside, and there are {len(found.folders)} sub-folders"
            )
        return None, None, "no labels: the images do not all lie in at least two sub-folders"
    numbers = {name: number for number, name in enumerate(found.folders)}
    return tuple(found.folders), [numbers[name.split("/", 1)[0]] for name in names], ""


def usual_share(count: int) -> float:
    """The share of ``count`` images that is held out where none is asked for: a fifth up to 2500, then 500, at least a tenth.

    0 below ``LEAST`` images: there a score of so few says little, and each image is needed to train on.
    """
    return 0.0 if count < LEAST else min(0.2, max(0.1, 500 / count))


def split(names: list[str], numbers: list[int] | None, held_out: float | None) -> list[Part]:
    """The part that trains, and the part that is held out where that share is positive; None: the usual share.

    The usual share leaves each class an image to train on, and is nothing where it would be less than two images.
    """
    share = usual_share(len(names)) if held_out is None else held_out
    draws = [_draw(name) for name in names]
    away = [draw < share for draw in draws]
    if held_out is None and numbers is not None:
        last = {number: index for draw, number, index in sorted(zip(draws, numbers, range(len(names)), strict=True))}
        for index in last.values():
            away[index] = False
    if held_out is None and sum(away) < 2:
        away = [False] * len(away)
    parts = []
    for side in (False, True)[: 2 if any(away) or held_out else 1]:
        chosen = [index for index, out in enumerate(away) if out == side]
        parts.append(Part([names[index] for index in chosen], None if numbers is None else [numbers[index] for index in chosen]))
    return parts


def _draw(name: str) -> float:
    """A number in [0, 1) that follows from the name alone."""
    return int.from_bytes(hashlib.sha256(os.fsencode(name)).digest()[:8], "big") / 2**64


def said_of(parts: list[Part], held_out: float | None, what: str = "images") -> list[str]:
    """For the log: how many ``what`` are held out for scoring, and why none where the person has not said so."""
    counts = [len(part.names) for part in parts]
    if len(counts) > 1:
        return [f"held out for scoring: {counts[1]} of {sum(counts)} {what}, by a hash of their names; dataset.held_out=0 for none"]
    if held_out is None:
        usual = f"by default only of {LEAST} {what} or more, and never the last of a class"
        return [f"nothing is held out ({usual}), so scores have no baseline; dataset.held_out=0.2 holds some out"]
    return []


def first_words(words: Iterable[str]) -> str:
    """The first 20 of ``words``, and how many more there are."""
    words = list(words)
    more = f" and {len(words) - SHOWN} more" if len(words) > SHOWN else ""
    return ", ".join(words[:SHOWN]) + more


def counted(count: int) -> str:
    """So many images, in words."""
    return f"{count} image" if count == 1 else f"{count} images"
