"""Folders of image pairs, in either of the usual forms (Isola et al. 2017): side by side in one file, or in two folders.

``source`` and ``target`` are ``left`` and ``right``, the halves of every file, or the names of two folders below ``root`` whose
files have the same names, whatever their suffixes. An unreadable file takes its pair with it; a pair is held out by a
hash of its name.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass

from ganrun.data.base import Images
from ganrun.data.decode import ResizeRule
from ganrun.data.folder_names import Part, counted, first_words, images_of, said_of, split
from ganrun.data.folder_reading import (
    Pass,
    assemble,
    check_choice,
    check_content,
    check_options,
    check_root,
    check_troubles,
    named,
    read,
)
from ganrun.data.jitter import jittering
from ganrun.data.streamed import StreamedImages
from ganrun.data.translation import Paired
from ganrun.data.unpaired_folder import below
from ganrun.data.working_size import Files, Legal, any_size, working_size
from ganrun.disk.image_folder import listing
from ganrun.ground.errors import BadInput
from ganrun.ground.registry import register

HALVES = ("left", "right")
UNSIZED = ResizeRule(1, "crop", 3)  # of a side before the size is known, which is found in the files of both


@dataclass
class Side:
    """One side of the pairs: where its files lie, how they are read, and {name of the pair: file}."""

    place: str
    half: str
    files: dict[str, str]
    rule: ResizeRule = UNSIZED


@register("dataset", "paired_folder")
def paired_folder(
    legal_size: Legal = any_size,
    *,
    root: str | None = None,
    source: str = "left",
    target: str = "right",
    size: int | None = None,
    fit: str = "resize",
    resize: str = "crop",
    channels: int = 3,
    source_channels: int | None = None,
    jitter: float = 0.0,
    mirror: bool = False,
    held_out: float | None = None,
    on_error: str = "fail",
    memory_gib: float = 4.0,
    content: str | None = None,
) -> Paired:
    """The pairs below ``root``, kept in memory or, where they take more than ``memory_gib``, streamed.

    Raises ``BadInput`` for what ``dataset=folder`` refuses, and for files without a partner.
    """
    place = check_root(root, "paired_folder")
    check_content(root, place, content)
    check_choice("resize", resize, ("crop", "pad", "stretch"))
    check_choice("on_error", on_error, ("fail", "skip"))
    check_options(channels, held_out, memory_gib)
    from_channels = channels if source_channels is None else source_channels
    check_options(from_channels, held_out, memory_gib)
    if source == target or (source in HALVES) != (target in HALVES):
        raise BadInput(
            f"dataset.source={source}, dataset.target={target}: must be left and right, the halves of each file, "
            "or two folders below dataset.root"
        )
    first, remarks = Pass(), list[str]()
    sides = [_side(place, key, name, first, remarks) for key, name in (("source", source), ("target", target))]
    names = _partners(sides, root)
    size, sized = working_size(size, fit, legal_size, [Files(side.place, side.files.values(), side.half) for side in sides])
    for side, number in zip(sides, (from_channels, channels), strict=True):
        side.rule = ResizeRule(size, resize, number, side.half)
    notes = [*sized, f"{resize} to {size}x{size}, Lanczos"]
    streams = len(names) * size**2 * (channels + from_channels) > memory_gib * 2**30
    parts = [part.names for part in split(names, None, held_out)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        read_parts = [_read(part, sides, first, keep=not streams) for part in parts]
    check_troubles(root, first.troubles, on_error)
    for both, use in zip(read_parts, ("to train on", "held out; dataset.held_out=0 holds none out"), strict=False):
        if len(both[0].names) < 2:
            raise BadInput(f"dataset.root={root}: at least 2 pairs are needed, and there are {len(both[0].names)} {use}")
    notes += said_of([both[0] for both in read_parts], held_out, "pairs")
    notes += [f"{counted(count)} {done}" for done, count in sorted(first.remarks.items())]
    notes += [f"left out: {named(first.troubles)}"] if first.troubles else []
    notes += ["streamed from disk"] if streams else []
    made: list[Images | StreamedImages | None] = [None, None]
    for both in reversed(read_parts):
        said = (f"{len(both[0].names)} pairs", *notes)
        made = [
            assemble(part, side.place, side.rule, None, held, words)
            for part, side, held, words in zip(both, sides, made, ((), said), strict=True)
        ]
    sources, targets = made
    assert sources is not None
    assert targets is not None
    targets.remarks = (*remarks, *dict.fromkeys(first.said))
    pairs = Paired(targets, sources)
    pairs.change = jittering(jitter, mirror)
    return pairs


def _side(place: str, key: str, name: str, first: Pass, remarks: list[str]) -> Side:
    half = name in HALVES
    where = place if half else below(place, key, name)
    found = listing(where)
    files, left_out = images_of(found, where)
    prefix = "" if half else f"{name}/"
    first.troubles |= {prefix + file: why for file, why in found.troubles.items()}
    remarks += [remark for remark in left_out if remark not in remarks]
    if half:
        return Side(where, name, {file: file for file in files})
    pairs: dict[str, str] = {}
    for file in files:
        stem = os.path.splitext(file)[0]
        if stem in pairs:
            raise BadInput(f"dataset.{key}={name}: {pairs[stem]} and {file} would be one side of the same pair")
        pairs[stem] = file
    return Side(where, "whole", pairs)


def _partners(sides: list[Side], root: object) -> list[str]:
    """The names of all pairs, sorted."""
    source, target = sides
    alone = [
        os.path.join(side.place, side.files[name])
        for side, other in ((source, target), (target, source))
        for name in sorted(set(side.files) - set(other.files))
    ]
    if alone:
        raise BadInput(f"dataset.root={root}: {counted(len(alone))} without a partner of the same name: {first_words(alone)}")
    return sorted(source.files, key=os.fsencode)


def _read(names: list[str], sides: list[Side], first: Pass, *, keep: bool) -> tuple[Part, Part]:
    """(sources, targets) of the pairs ``names``; those that cannot be read on either side go."""
    while True:
        found = Pass()
        both = [Part([side.files[name] for name in names], None) for side in sides]
        for part, side in zip(both, sides, strict=True):
            here = Pass()
            read(part, side.place, side.rule, here, keep=keep)
            inside = os.path.relpath(side.place, os.path.commonpath([entry.place for entry in sides]))
            found.troubles |= {os.path.normpath(os.path.join(inside, file)): why for file, why in here.troubles.items()}
            found.remarks += here.remarks
            first.said += here.said
        first.troubles |= found.troubles
        left = [set(part.names) for part in both]
        good = [name for name in names if all(side.files[name] in kept for side, kept in zip(sides, left, strict=True))]
        if len(good) == len(names):
            first.remarks += found.remarks
            return both[0], both[1]
        names = good
