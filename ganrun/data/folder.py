"""Any folder of images, nested or flat, of any sizes and modes; labels from its first-level sub-folders.

Every file is decoded once at the start: unreadable ones are named before anything is trained, and the fingerprint is of
the pixels. Sets of up to ``memory_gib`` stay in memory as bytes; larger ones are decoded again batch by batch. An image is
held out by a hash of its name, so that adding a file moves no other.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ganrun.data.base import ContentHash, Dataset, Images, check_size
from ganrun.data.decode import Rule, Unreadable, decode_all
from ganrun.data.folder_names import Part, classes_of, counted, first_words, images_of, split, troubles_of
from ganrun.data.streamed import StreamedImages
from ganrun.ground import content as folder_content
from ganrun.ground.errors import BadInput, suggestion
from ganrun.ground.registry import register


@dataclass
class Pass:
    """What the first pass over the files found: {file: why it is unreadable} and how often each remark was made."""

    troubles: dict[str, str] = field(default_factory=dict)
    remarks: Counter[str] = field(default_factory=Counter)


@register("dataset", "folder")
def folder(
    *,
    root: str | None = None,
    size: int = 64,
    resize: str = "crop",
    channels: int = 3,
    labels: str = "auto",
    held_out: float = 0.0,
    on_error: str = "fail",
    memory_gib: float = 4.0,
    content: str | None = None,
) -> Dataset:
    """The images below ``root`` as ``Images``, or as ``StreamedImages`` where they take more than ``memory_gib``.

    Raises ``BadInput`` for a missing or empty folder, unreadable files (unless ``on_error`` is "skip"), fewer than two
    images, a class without images, and for ``content``, the digest of names and sizes that the run began with, if it
    is another now.
    """
    place = _check_root(root)
    _check_choice("resize", resize, ("crop", "pad", "stretch"))
    _check_choice("labels", labels, ("auto", "none", "folders"))
    _check_choice("on_error", on_error, ("fail", "skip"))
    _check_options(channels, held_out, memory_gib)
    rule = Rule(check_size(size), resize, channels)
    if content is not None and content != folder_content.digest(place):
        raise BadInput(
            f"dataset.root={root}: its files changed since this run began (names or sizes): put them back, or start a new run"
        )

    found = folder_content.listing(place)
    names, notes = images_of(found, place)
    class_names, numbers, remark = classes_of(found, names, labels, place)
    notes += [remark] if remark else []
    parts = split(names, numbers, held_out)
    streams = len(names) * rule.size**2 * rule.channels > memory_gib * 2**30
    first = Pass(troubles_of(found))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")  # what matters of a file is an error or a remark here
        for part in parts:
            _read(part, place, rule, first, keep=not streams)
    if first.troubles and on_error == "fail":
        raise BadInput(
            f"dataset.root={root}: {_named(first.troubles)}. Remove them, or leave them out with dataset.on_error=skip"
        )
    _check_enough(parts, class_names, place)

    notes += [f"{resize} to {size}x{size}, Lanczos"]
    notes += [f"{counted(count)} {remark}" for remark, count in sorted(first.remarks.items())]
    notes += [f"left out: {_named(first.troubles)}"] if first.troubles else []
    notes += ["streamed from disk"] if streams else []
    made: Images | StreamedImages | None = None
    for part in reversed(parts):
        made = _assemble(part, place, rule, class_names, made, (_counts(part, class_names), *notes))
    assert made is not None
    return made


def _check_root(root: object) -> str:
    if root is None:
        raise BadInput("dataset.root is not given: dataset=folder needs dataset.root=DIR, a folder of images")
    place = folder_content.expand(str(root))
    if not os.path.isdir(place):
        what = "it is a file, not a folder" if os.path.exists(place) else "there is no such folder"
        raise BadInput(f"dataset.root={root}: {what} (looked for {os.path.abspath(place)})")
    return place


def _check_choice(key: str, value: str, valid: tuple[str, ...]) -> None:
    if value not in valid:
        raise BadInput(f"dataset.{key}={value}: {suggestion(str(value), valid)}")


def _check_options(channels: int, held_out: float, memory_gib: float) -> None:
    if channels not in (1, 3):
        raise BadInput(f"dataset.channels={channels}: 1 (grey) or 3 (RGB)")
    if not 0 <= held_out < 1:
        raise BadInput(f"dataset.held_out={held_out}: a share from 0 up to, but not including, 1")
    if not memory_gib >= 0:
        raise BadInput(f"dataset.memory_gib={memory_gib}: must not be negative")


def _read(part: Part, place: str, rule: Rule, first: Pass, *, keep: bool) -> None:
    """Decode the part's files: its unreadable names go, its fingerprint and, with ``keep``, its pixels come."""
    shape = (rule.size, rule.size, rule.channels)
    pixels = torch.empty((len(part.names) if keep else 1, *shape), dtype=torch.uint8)
    digest = ContentHash()
    kept: list[int] = []
    for index, result in enumerate(decode_all((os.path.join(place, name) for name in part.names), rule)):
        if isinstance(result, Unreadable):
            first.troubles[part.names[index]] = str(result)
            continue
        row = pixels[len(kept) if keep else 0]
        row.numpy()[...] = result.pixels
        digest.add(row)
        first.remarks.update(result.remarks)
        kept.append(index)
    part.names = [part.names[index] for index in kept]
    part.labels = None if part.labels is None else [part.labels[index] for index in kept]
    part.pixels = pixels[: len(kept)] if keep else None
    part.fingerprint = digest.close((len(kept), *shape), _tensor(part.labels))


def _check_enough(parts: list[Part], class_names: tuple[str, ...] | None, place: str) -> None:
    for part, use in zip(parts, ("to train on", "held out"), strict=False):
        if len(part.names) < 2:
            raise BadInput(f"dataset.root={place}: {counted(len(part.names))} {use}, at least 2 are needed")
    if class_names is not None:
        counts = Counter(parts[0].labels)
        empty = [name for number, name in enumerate(class_names) if not counts[number]]
        if empty:
            raise BadInput(
                f"dataset.root={place}: no images to train on in {first_words(empty)} ({_counts(parts[0], class_names)}). "
                "Remove empty sub-folders, or use dataset.labels=none"
            )


def _assemble(
    part: Part, place: str, rule: Rule, class_names: tuple[str, ...] | None, held_out: Dataset | None, notes: tuple[str, ...]
) -> Images | StreamedImages:
    labels = _tensor(part.labels)
    if part.pixels is not None:
        assert held_out is None or isinstance(held_out, Images)
        return Images(part.pixels, labels, class_names=class_names, held_out=held_out, notes=notes)
    assert held_out is None or isinstance(held_out, StreamedImages)
    paths = [os.path.join(place, name) for name in part.names]
    return StreamedImages(
        paths, rule, labels, class_names=class_names, held_out=held_out, notes=notes, fingerprint=part.fingerprint
    )


def _counts(part: Part, class_names: tuple[str, ...] | None) -> str:
    """How many images each class has, for people."""
    if class_names is None or part.labels is None:
        return counted(len(part.names))
    counts = Counter(part.labels)
    listed = [f"{name} {counts[number]}" for number, name in enumerate(class_names)]
    fewest, most = (pick(counts[number] for number in range(len(class_names))) for pick in (min, max))
    return f"{counted(len(part.names))} in {len(class_names)} classes, {fewest} to {most} each: {first_words(listed)}"


def _named(troubles: dict[str, str]) -> str:
    listed = [f"{name} ({why})" for name, why in sorted(troubles.items())]
    return f"{len(troubles)} unreadable {'file' if len(troubles) == 1 else 'files'}: {first_words(listed)}"


def _tensor(labels: list[int] | None) -> Tensor | None:
    return None if labels is None else torch.tensor(labels, dtype=torch.int64)
