"""Reading the images of a folder once: what is unreadable, the fingerprint, and the pixels where they are to be kept."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ganrun.data.base import ContentHash, Dataset, Images
from ganrun.data.decode import ResizeRule, Unreadable, decode_all
from ganrun.data.decoded import Pixels, Store, hash_of
from ganrun.data.folder_names import Part, counted, first_words
from ganrun.data.streamed import StreamedImages
from ganrun.disk import image_folder as folder_content
from ganrun.ground.errors import BadInput, suggestion


@dataclass
class Pass:
    """What the first pass over the files found: {file: why it is unreadable} and how often each remark was made.

    ``said``: what a person should know of the pass itself.
    """

    troubles: dict[str, str] = field(default_factory=dict)
    remarks: Counter[str] = field(default_factory=Counter)
    said: list[str] = field(default_factory=list)


def check_root(root: object, name: str = "folder") -> str:
    """The folder ``root``, which ``dataset=name`` must be given."""
    if root is None:
        raise BadInput(f"dataset.root is not given: dataset={name} needs dataset.root=DIR, a folder of images")
    place = folder_content.expand(str(root))
    if not os.path.isdir(place):
        raise BadInput(f"dataset.root={root}: {folder_content.why_not_there(place)}")
    return place


def check_content(root: object, place: str, content: str | None) -> None:
    """Raise ``BadInput`` if names or sizes of the images below ``place`` are not those of ``content``, which a run began with."""
    if content is not None and content not in (folder_content.digest(place), folder_content.earlier_digest(place)):
        raise BadInput(
            f"dataset.root={root}: its images changed since this run began (names or sizes): put them back, or start a new run"
        )


def check_choice(key: str, value: str, valid: tuple[str, ...]) -> None:
    """Raise ``BadInput`` unless ``value`` is one of ``valid``."""
    if value not in valid:
        raise BadInput(f"dataset.{key}={value}: {suggestion(str(value), valid)}")


def check_troubles(root: object, troubles: dict[str, str], on_error: str) -> None:
    """Raise ``BadInput`` naming the unreadable files, unless they are to be skipped."""
    if troubles and on_error == "fail":
        raise BadInput(f"dataset.root={root}: {named(troubles)}. Remove them, or leave them out with dataset.on_error=skip")


def check_options(channels: int, held_out: float | None, memory_gib: float) -> None:
    """Raise ``BadInput`` for numbers that cannot be."""
    if channels not in (1, 3):
        raise BadInput(f"dataset.channels={channels}: 1 (grey) or 3 (RGB)")
    number = isinstance(held_out, int | float) and not isinstance(held_out, bool)
    if held_out is not None and not (number and 0 <= held_out < 1):
        raise BadInput(f"dataset.held_out={held_out}: a share from 0 up to, but not including, 1, or null for the usual one")
    if not memory_gib >= 0:
        raise BadInput(f"dataset.memory_gib={memory_gib}: must not be negative")


def read(part: Part, place: str, rule: ResizeRule, first: Pass, *, keep: bool) -> None:
    """Decode the part's files, or find them decoded: unreadable names go, the fingerprint and, with ``keep``, the pixels come."""
    store = Store(place, part.names, rule, part.labels, first.said, keep=keep)
    found = store.load()
    if found is None:
        found = _decoded(store)
        store.keep(found)
    first.troubles |= found.troubles
    first.remarks.update(found.remarks)
    part.names = [part.names[index] for index in found.kept]
    part.labels = None if part.labels is None else [part.labels[index] for index in found.kept]
    part.pixels, part.fingerprint = found.pixels, found.fingerprint


def _decoded(store: Store) -> Pixels:
    rule = store.rule
    shape = (rule.size, rule.size, rule.channels)
    pixels = torch.empty((len(store.names) if store.keeps else 1, *shape), dtype=torch.uint8)
    found, digest = Pixels([], None, ""), ContentHash()
    paths = [os.path.join(store.place, name) for name in store.names]
    for index, result in enumerate(decode_all(paths, rule)):
        if isinstance(result, Unreadable):
            found.troubles[store.names[index]] = str(result)
            continue
        row = pixels[len(found.kept) if store.keeps else 0]
        row.numpy()[...] = result.pixels
        digest.add(row)
        if not store.keeps:
            found.hashes.append(hash_of(row))
        found.remarks.update(result.remarks)
        found.kept.append(index)
    found.pixels = pixels[: len(found.kept)] if store.keeps else None
    found.fingerprint = digest.close((len(found.kept), *shape), store.labels_of(found.kept))
    return found


def assemble(
    part: Part,
    place: str,
    rule: ResizeRule,
    class_names: tuple[str, ...] | None,
    held_out: Dataset | None,
    notes: tuple[str, ...],
) -> Images | StreamedImages:
    """The part's images, from memory if its pixels were kept, else streamed."""
    labels = tensor(part.labels)
    if part.pixels is not None:
        assert held_out is None or isinstance(held_out, Images)
        found = Images(part.pixels, labels, class_names=class_names, held_out=held_out, notes=notes)
        found.known_as(part.fingerprint)
        return found
    assert held_out is None or isinstance(held_out, StreamedImages)
    paths = [os.path.join(place, name) for name in part.names]
    return StreamedImages(
        paths, rule, labels, class_names=class_names, held_out=held_out, notes=notes, fingerprint=part.fingerprint
    )


def class_counts(part: Part, class_names: tuple[str, ...] | None) -> str:
    """How many images each class has, for people."""
    if class_names is None or part.labels is None:
        return counted(len(part.names))
    counts = Counter(part.labels)
    listed = [f"{name} {counts[number]}" for number, name in enumerate(class_names)]
    fewest, most = (pick(counts[number] for number in range(len(class_names))) for pick in (min, max))
    return f"{counted(len(part.names))} in {len(class_names)} classes, {fewest} to {most} each: {first_words(listed)}"


def named(troubles: dict[str, str]) -> str:
    """The unreadable files and why, the first of them."""
    listed = [f"{name} ({why})" for name, why in sorted(troubles.items())]
    return f"{len(troubles)} unreadable {'file' if len(troubles) == 1 else 'files'}: {first_words(listed)}"


def tensor(labels: list[int] | None) -> Tensor | None:
    return None if labels is None else torch.tensor(labels, dtype=torch.int64)
