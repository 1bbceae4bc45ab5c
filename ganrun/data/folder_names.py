"""What the names in a folder say, before any file is opened: which are images, of which class, and which are held out."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torch import Tensor

from ganrun.disk.file_names import distinct, printable
from ganrun.disk.image_folder import SUFFIXES, Listing, suffix, why_not_regular
from ganrun.ground.errors import BadInput
from ganrun.ground.spell import value

EXAMPLES = 3
PART_OF_A_SPLIT = re.compile(
    r"(train|training|val|valid|validation|test|testing|dev|eval)([ _.-]?(set|data|images?|imgs?|split|a|b|\d+))?", re.IGNORECASE
)
SHOWN = 20
LEAST = 250  # images of a folder from which some are held out unasked
SNIFFED = 200  # files without an image's suffix that are opened to see whether they hold an image
BEGINNINGS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*")


@dataclass
class Part:
    """The images that train, or those that are held out; ``labels`` has one class number a name, or is None."""

    names: list[str]
    labels: list[int] | None
    pixels: Tensor | None = None
    fingerprint: str = ""


def images_of(found: Listing, place: str) -> tuple[list[str], list[str]]:
    """The names of the images, and remarks on everything else that lies there. ``BadInput`` where there are no images."""
    names = [name for name, _ in found.files]
    remarks = list(remarks_of(found, place))
    if not names and not found.troubles:
        what = "no files at all" if not remarks else "; ".join(remarks)
        raise BadInput(f"dataset.root={place}: no images, {what}. Images end in {', '.join(SUFFIXES)}")
    return names, remarks


def remarks_of(found: Listing, place: str) -> Iterator[str]:
    """What was left out, one sentence a kind."""
    if found.others:
        kinds = Counter(suffix(name) or "no suffix" for name in found.others)
        listed = first_words(f"{printable(kind)} {count}" for kind, count in sorted(kinds.items()))
        yield f"left out: {_files(found.others)}, by their suffix no images ({listed}), {_such(found.others)}"
        shown = [name for name in found.others[:SNIFFED] if _holds_an_image(os.path.join(place, name))]
        if shown:
            yield f"warning: {_files(shown)} of these hold an image all the same, {_such(shown)}; rename them to have them read"
    if found.hidden:
        yield f"left out: {len(found.hidden)} hidden files and folders, {_such(found.hidden)}"
    if found.system:
        yield f"left out: folders of an operating system or a storage device, {_such(found.system)}"
    if found.own:
        yield f"left out: {len(found.own)} files and folders that ganrun wrote, {_such(found.own)}"


def _files(names: list[str]) -> str:
    return f"{len(names)} file" if len(names) == 1 else f"{len(names)} files"


def _such(names: list[str]) -> str:
    return f"such as {', '.join(map(printable, names[:EXAMPLES]))}"


def _holds_an_image(path: str) -> bool:
    """True for a regular file that begins as pictures do."""
    try:
        if why_not_regular(os.stat(path).st_mode) is not None:
            return False
        with open(path, "rb") as file:
            head = file.read(12)
    except OSError:
        return False
    return head.startswith(BEGINNINGS) or (head[:4] == b"RIFF" and head[8:] == b"WEBP")


def classes_of(
    found: Listing, names: list[str], labels: str, place: str
) -> tuple[tuple[str, ...] | None, list[int] | None, list[str]]:
    """Class names and each image's class, from the first-level sub-folders, or None; and remarks on them.

    Class names are as ``distinct`` shows those of the folders. A folder that holds no images and yet is not empty is no class.
    """
    if labels == "none":
        return None, None, []
    folders = sorted({*found.folders, *found.empty})
    loose = sum("/" not in name for name in names)
    remarks = list(_doubts(folders, names, place)) if labels == "auto" else []
    if loose or len(folders) < 2:
        if labels == "folders":
            raise BadInput(
                f"dataset.labels=folders: all images must lie in at least two sub-folders of {place}, but {counted(loose)} "
                f"of {len(names)} lie outside, and there are {len(folders)} sub-folders"
            )
        return None, None, ["no labels: the images do not all lie in at least two sub-folders", *remarks]
    numbers = {name: number for number, name in enumerate(folders)}
    shown = distinct(folders)
    alike = [name for name, folder in zip(shown, folders, strict=True) if name != printable(folder)]
    if alike:
        remarks.append(f"warning: class folders with names that look the same, told apart by a number: {first_words(alike)}")
    return shown, [numbers[name.split("/", 1)[0]] for name in names], remarks


def _doubts(folders: list[str], names: list[str], place: str) -> Iterator[str]:
    """What a person is asked about first-level folders that hardly are classes."""
    if len(folders) > 1 and all(PART_OF_A_SPLIT.fullmatch(name) for name in folders):
        one = next((name for name in folders if name.lower().startswith("train")), folders[0])
        yield (
            f"warning: {first_words(map(printable, folders))} look like the parts of a split, not like classes: "
            f"{_rooted(place, one)} takes one of them with the classes inside, "
            "dataset.labels=folders takes them as classes all the same, dataset.labels=none takes all without classes"
        )
    elif len(folders) == 1 and all(name.count("/") > 1 for name in names):
        inside = _rooted(place, folders[0])
        yield f"note: all images lie in folders within {printable(folders[0])}: {inside} takes these as classes"


def _rooted(place: str, folder: str) -> str:
    """The override that takes ``folder`` below ``place`` as the root, as it is typed."""
    return printable(shlex.quote(f"dataset.root={value(os.path.join(place, folder))}"))


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
    draws = [draw(name) for name in names]
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


def draw(name: str) -> float:
    """A number in [0, 1) that follows from the name alone."""
    return int.from_bytes(hashlib.sha256(os.fsencode(name)).digest()[:8], "big") / 2**64


def said_of(parts: list[Part], held_out: float | None, what: str = "images") -> list[str]:
    """For the log: how many ``what`` are held out for scoring, and why none where the person has not said so."""
    counts = [len(part.names) for part in parts]
    if len(counts) > 1:
        return [
            f"held out for scoring: {counts[1]} of {sum(counts)} {what}, by a hash of their names; dataset.held_out=0 for none"
        ]
    if held_out is None:
        usual = f"by default only of {LEAST} {what} or more, and never the last of a class"
        return [f"nothing is held out ({usual}), so scores have no baseline; dataset.held_out=0.2 holds some out"]
    return []


def first_words(words: Iterable[str]) -> str:
    """The first 20 of ``words``, as they can be shown, and how many more there are."""
    words = [printable(word) for word in words]
    more = f" and {len(words) - SHOWN} more" if len(words) > SHOWN else ""
    return ", ".join(words[:SHOWN]) + more


def counted(count: int) -> str:
    """So many images, in words."""
    return f"{count} image" if count == 1 else f"{count} images"
