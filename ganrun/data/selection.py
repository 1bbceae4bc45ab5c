"""Some classes and some share of a labelled data set: the options ``classes`` and ``fraction`` of every such set.

Classes are chosen by their numbers from 0, or by their names: a whole number is always a number, text is a name, also where it
looks like a number (``['3']``). With ``classes=[3,7]`` only samples of these classes remain, here and in what is held out;
class 3 becomes label 0, class 7 label 1, and both keep their names.

With ``fraction=0.1`` a tenth of the training samples of every class remains, at least one, the first of a permutation that
never changes: those of a smaller share are among those of a larger one.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ganrun.data.base import Dataset, Subset
from ganrun.ground import rng
from ganrun.ground.errors import BadInput, nearest
from ganrun.ground.spec import Batch


def select(dataset: Dataset, classes: Sequence[int | str] | None, fraction: float) -> Dataset:
    """What ``classes`` and ``fraction`` leave of ``dataset``; itself where that is all of it in its own order.

    Raises ``BadInput`` for classes or shares that cannot be, and where fewer than two samples are left.
    """
    chosen, doubts = check_classes(classes, dataset.spec.classes, dataset.class_names)
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
    note = note_of(dataset.class_names, chosen, fraction, len(rows), len(dataset))
    found = Selection(dataset, rows, chosen, held_out, note)
    found.remarks = (*found.remarks, *doubts)
    return found


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


def check_classes(
    classes: Any, count: int | None, names: Sequence[str] | None = None
) -> tuple[tuple[int, ...] | None, tuple[str, ...]]:
    """(the numbers of ``classes`` of ``count``, or None for all in their own order; warnings of numbers that are names too).

    An entry is a number from 0 or one of ``names``. Raises ``BadInput`` for what is no choice of classes.
    """
    if classes is None:
        return None, ()
    typed = f"dataset.classes={_written(classes)}"
    if not count:
        raise BadInput(f"{typed}: this data has no labels, leave it null")
    such = f"{count} classes: numbers from 0 to {count - 1}" + (f", or names such as {names[0]}" if names else "")
    if not isinstance(classes, list | tuple) or not classes:
        raise BadInput(f"{typed}: must be null or a list of different ones of the {such}; write [0,1], say")
    called = {unicodedata.normalize("NFC", name): number for number, name in enumerate(names or ())}
    given, mistakes = [], []
    for entry in classes:
        number = called.get(unicodedata.normalize("NFC", entry)) if isinstance(entry, str) else entry
        if isinstance(number, int) and not isinstance(number, bool) and 0 <= number < count:
            given.append(number)
        else:
            mistakes.append(_no_class(entry, list(called), such))
    if mistakes:
        raise BadInput(f"{typed}: {'; '.join(mistakes)}")
    if len(set(given)) < len(given):
        twice = next(number for place, number in enumerate(given) if number in given[:place])
        raise BadInput(f"{typed}: must be different classes, and {called_of(names, twice)} is there twice")
    doubts = [
        f"warning: {typed} takes class number {entry}, which is {called_of(names, entry)}; the class named {entry} is number "
        f"{called[str(entry)]}, written {called[str(entry)]} or, in quotes, \"['{entry}']\""
        for entry in classes
        if isinstance(entry, int) and called.get(str(entry), entry) != entry
    ]
    return None if given == list(range(count)) else tuple(given), tuple(doubts)


def called_of(names: Sequence[str] | None, number: int) -> str:
    """The name of a class, or its number where it has none."""
    return names[number] if names else str(number)


def _no_class(entry: Any, names: list[str], such: str) -> str:
    """Why ``entry`` is no class, with the nearest that are."""
    if isinstance(entry, str) and names:
        close = nearest(entry, names)
        hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"there are {', '.join(names[:20])}"
        return f"no class is named {entry!r}; {hint}{' ...' if not close and len(names) > 20 else ''}"
    alike = [name for name in names if name.lower() == str(entry).lower()]
    quote = f" (a name that looks like something else is written in quotes: ['{alike[0]}'])" if alike else ""
    return f"{_plain(entry)} is none of the {such}{quote}"


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
        f"[{','.join(map(_plain, classes))}]"
        if isinstance(classes, list | tuple)
        else "null"
        if classes is None
        else str(classes)
    )


def _plain(entry: Any) -> str:
    """``entry`` as it is typed: a name that looks like a number in quotes."""
    if entry is None or isinstance(entry, bool):
        return {None: "null", True: "true", False: "false"}[entry]
    return repr(entry) if isinstance(entry, str) and entry.strip("-.").isdigit() else str(entry)


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
