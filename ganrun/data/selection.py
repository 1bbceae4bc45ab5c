"""Some classes and some share of a labelled data set: the options ``classes`` and ``fraction`` of every such set.

With ``classes=[3,7]`` only samples of these classes remain, here and in what is held out; class 3 becomes label 0, class 7
label 1, and both keep their names. With ``fraction=0.1`` a tenth of the training samples of every class remains, at least
one, the first of a permutation that never changes: those of a smaller share are among those of a larger one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ganrun.data.base import Dataset, Subset
from ganrun.ground import rng
from ganrun.ground.errors import BadInput
from ganrun.ground.spec import Batch


def select(dataset: Dataset, classes: Sequence[int] | None, fraction: float) -> Dataset:
    """What ``classes`` and ``fraction`` leave of ``dataset``; itself where that is all of it in its own order.

    Raises ``BadInput`` for classes or shares that cannot be, and where fewer than two samples are left.
    """
    chosen = check_classes(classes, dataset.spec.classes)
    check_fraction(fraction)
    if chosen is None and fraction == 1:
        return dataset
    labels = None if dataset.labels is None or dataset.spec.classes is None else dataset.labels
    rows = rows_of(len(dataset), labels, chosen, fraction)
    check_left(rows, chosen, fraction)
    held_out = dataset.held_out()
    if held_out is not None and chosen is not None:
        left = rows_of(len(held_out), held_out.labels, chosen, 1.0)
        held_out = Selection(held_out, left, chosen, None, "") if len(left) else None
    return Selection(dataset, rows, chosen, held_out, note_of(dataset.class_names, chosen, fraction, len(rows), len(dataset)))


def rows_of(count: int, labels: Tensor | None, classes: Sequence[int] | None, fraction: float) -> Tensor:
    """The samples that remain, in order: int64 indices. Without labels the share is taken of all samples alike."""
    kept = torch.ones(count, dtype=torch.bool)
    if classes is not None and labels is not None:
        kept = torch.isin(labels, torch.tensor(classes))
    if fraction == 1:
        return torch.nonzero(kept).flatten()
    shuffled = torch.randperm(count, generator=rng.generator("dataset", "fraction"))
    shuffled = shuffled[kept[shuffled]]
    groups = torch.zeros(len(shuffled), dtype=torch.int64) if labels is None else labels[shuffled]
    parts = [shuffled[groups == group] for group in groups.unique().tolist()]
    taken = [part[: max(1, round(fraction * len(part)))] for part in parts]
    return torch.cat(taken).sort().values if taken else shuffled


def check_classes(classes: Any, count: int | None) -> tuple[int, ...] | None:
    """``classes`` of ``count`` as a tuple; None for all in their own order. ``BadInput`` for what is no choice of classes."""
    if classes is None:
        return None
    if not count:
        raise BadInput(f"dataset.classes={_written(classes)}: this data has no labels, leave it null")
    given = list(classes) if isinstance(classes, list | tuple) else [classes]
    whole = all(isinstance(entry, int) and not isinstance(entry, bool) and 0 <= entry < count for entry in given)
    if not whole or not given or len(set(given)) < len(given) or not isinstance(classes, list | tuple):
        raise BadInput(
            f"dataset.classes={_written(classes)}: must be null or a list of different classes from 0 to {count - 1}, "
            "such as [0,1]"
        )
    return None if given == list(range(count)) else tuple(given)


def numbers_of(classes: Sequence[int], count: int) -> Tensor:
    """The new number of each of ``count`` classes, -1 for those that are not among ``classes``: int64 of shape (count,)."""
    numbers = torch.full((count,), -1)
    numbers[torch.tensor(classes)] = torch.arange(len(classes))
    return numbers


def check_fraction(fraction: Any) -> None:
    """Raise ``BadInput`` unless ``fraction`` is a number above 0 and at most 1."""
    if not isinstance(fraction, int | float) or isinstance(fraction, bool) or not 0 < fraction <= 1:
        raise BadInput(f"dataset.fraction={fraction}: must be above 0 and at most 1, the share of training samples to keep")


def check_left(rows: Tensor, classes: Sequence[int] | None, fraction: float) -> None:
    """Raise ``BadInput`` for fewer than two samples."""
    if len(rows) < 2:
        raise BadInput(
            f"dataset.classes={_written(classes)}, dataset.fraction={fraction}: {len(rows)} samples are left, "
            "at least 2 are needed"
        )


def note_of(names: Sequence[str] | None, classes: Sequence[int] | None, fraction: float, left: int, count: int) -> str:
    """What was chosen, for the log and the cards."""
    words = []
    if classes is not None:
        shown = [names[index] if names else str(index) for index in classes[:20]]
        more = f" and {len(classes) - 20} more" if len(classes) > 20 else ""
        words.append(f"classes {', '.join(shown)}{more}")
    if fraction != 1:
        words.append(f"a share of {fraction:g} of each class" if names else f"a share of {fraction:g}")
    return f"{', '.join(words)}: {left} of {count} training samples"


def _written(classes: Any) -> str:
    return (
        f"[{','.join(map(str, classes))}]" if isinstance(classes, list | tuple) else "null" if classes is None else str(classes)
    )


class Selection(Subset):
    """The samples of ``parent`` at ``indices``, the classes renumbered in the order of ``classes`` where that is given."""

    def __init__(
        self, parent: Dataset, indices: Tensor, classes: tuple[int, ...] | None, held_out: Dataset | None, note: str
    ) -> None:
        super().__init__(parent, indices)
        self.classes, self._held_out, self._note = classes, held_out, note
        self.notes = (*parent.notes, note) if note else parent.notes
        if classes is None:
            self._held_out = parent.held_out()
            return
        assert parent.spec.classes is not None
        self._numbers = numbers_of(classes, parent.spec.classes)
        self.spec = replace(parent.spec, classes=len(classes))
        self.class_names = None if parent.class_names is None else tuple(parent.class_names[index] for index in classes)
        self.labels = None if self.labels is None else self._numbers[self.labels]

    @property
    def class_columns(self) -> tuple[int, ...] | None:
        below = self.parent.class_columns
        if self.classes is None:
            return below
        return self.classes if below is None else tuple(below[index] for index in self.classes)

    def batch(self, indices: Tensor, device: torch.device | str = "cpu") -> Batch:
        found = super().batch(indices, device)
        if self.classes is not None and found.y is not None:
            found.y = self._numbers.to(found.y.device)[found.y]
        return found

    def held_out(self) -> Dataset | None:
        return self._held_out

    def fitted(self, size: int) -> Dataset:
        held_out = None if self._held_out is None else self._held_out.fitted(size)
        return Selection(self.parent.fitted(size), self.indices, self.classes, held_out, self._note)

    def fingerprint(self) -> str:
        return hashlib.sha256(f"{super().fingerprint()} {self.classes}".encode()).hexdigest()
