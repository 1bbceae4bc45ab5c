"""Any folder of images, nested or flat, of any sizes and modes; labels from its first-level sub-folders.

Every file is decoded once, and found decoded at later starts (``ganrun/data/decoded.py``): unreadable ones are named before
anything is trained, and the fingerprint is of the pixels. Sets of up to ``memory_gib`` stay in memory as bytes; larger ones are
decoded again batch by batch. An image is held out by a hash of its name, so that adding a file moves no other, and for all seeds
alike, so that their scores compare.
"""

from __future__ import annotations

import warnings
from collections import Counter

from ganrun.data.base import Dataset, Images
from ganrun.data.decode import ResizeRule
from ganrun.data.folder_names import Part, classes_of, counted, first_words, images_of, said_of, split
from ganrun.data.folder_reading import (
    Pass,
    assemble,
    check_choice,
    check_content,
    check_options,
    check_root,
    check_troubles,
    class_counts,
    named,
    read,
)
from ganrun.data.selection import select
from ganrun.data.streamed import StreamedImages
from ganrun.data.working_size import Files, Legal, any_size, working_size
from ganrun.disk import image_folder as folder_content
from ganrun.ground.errors import BadInput
from ganrun.ground.registry import register


@register("dataset", "folder")
def folder(
    legal_size: Legal = any_size,
    *,
    root: str | None = None,
    size: int | None = None,
    fit: str = "resize",
    resize: str = "crop",
    channels: int = 3,
    labels: str = "auto",
    held_out: float | None = None,
    on_error: str = "fail",
    memory_gib: float = 4.0,
    classes: list[int | str] | None = None,
    fraction: float = 1.0,
    content: str | None = None,
) -> Dataset:
    """The images below ``root`` as ``Images``, or as ``StreamedImages`` where they take more than ``memory_gib``.

    ``legal_size(n)``: the smallest size from n on that the family of networks makes.

    Raises ``BadInput`` for a missing or empty folder, unreadable files (unless ``on_error`` is "skip"), fewer than two
    images, a class without images, and for ``content``, the digest of names and sizes that the run began with, if it
    is another now.
    """
    place = check_root(root)
    check_choice("resize", resize, ("crop", "pad", "stretch"))
    check_choice("labels", labels, ("auto", "none", "folders"))
    check_choice("on_error", on_error, ("fail", "skip"))
    check_options(channels, held_out, memory_gib)
    check_content(root, place, content)

    found = folder_content.listing(place)
    names, remarks = images_of(found, place)
    size, sized = working_size(size, fit, legal_size, [Files(place, names)])
    rule = ResizeRule(size, resize, channels)
    class_names, numbers, doubts = classes_of(found, names, labels, place)
    remarks += doubts
    parts = split(names, numbers, held_out)
    streams = len(names) * rule.size**2 * rule.channels > memory_gib * 2**30
    first = Pass(dict(found.troubles))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")  # what matters of a file is an error or a remark here
        for part in parts:
            read(part, place, rule, first, keep=not streams)
    check_troubles(root, first.troubles, on_error)
    _check_enough(parts, class_names, place)

    notes = said_of(parts, held_out)
    notes += [*sized, f"{resize} to {size}x{size}, Lanczos"]
    notes += [f"{counted(count)} {done}" for done, count in sorted(first.remarks.items())]
    notes += [f"left out: {named(first.troubles)}"] if first.troubles else []
    notes += ["streamed from disk"] if streams else []
    made: Images | StreamedImages | None = None
    for part in reversed(parts):
        made = assemble(part, place, rule, class_names, made, (class_counts(part, class_names), *notes))
    assert made is not None
    made.remarks = (*remarks, *first.said)
    return select(made, classes, fraction)


def _check_enough(parts: list[Part], class_names: tuple[str, ...] | None, place: str) -> None:
    for part, use in zip(parts, ("to train on", "held out"), strict=False):
        if len(part.names) < 2:
            remedy = "; dataset.held_out=0 holds none out" if use == "held out" else ""
            raise BadInput(f"dataset.root={place}: {counted(len(part.names))} {use}, at least 2 are needed{remedy}")
    if class_names is not None:
        counts = Counter(parts[0].labels)
        empty = [name for number, name in enumerate(class_names) if not counts[number]]
        if empty:
            raise BadInput(
                f"dataset.root={place}: no images to train on in {first_words(empty)} ({class_counts(parts[0], class_names)}). "
                "Remove empty sub-folders, or use dataset.labels=none"
            )
