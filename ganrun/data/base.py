"""What every data set offers, and images kept in memory as bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ganrun.ground.errors import BadInput
from ganrun.ground.spec import Batch, Spec


class Dataset:
    """A finite collection of samples.

    ``spec`` gives kind, shape and classes; ``class_names`` their names, if any; ``notes`` are sentences on what was done
    to the data (padding, resizing), for the log and the cards; ``remarks``, for the log alone, are on what lies beside it and
    on choices that may be mistakes; ``traits`` are matched against components' needs.
    ``labels``, where all are at hand without reading the samples: int64 of shape (n,).
    """

    spec: Spec
    class_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    labels: Tensor | None = None
    change: Callable[[Batch, Tensor], Batch] | None = None  # of batches to train on, by draws in [0, 1) of shape (n, 3)
    chiral = False  # whether mirror images of samples are none: of digits and letters

    @property
    def traits(self) -> frozenset[str]:
        words = {f"dataset.{self.spec.kind}"} | (set() if self.chiral else {"dataset.achiral"})
        if self.spec.classes:
            words.add("dataset.labelled")
        return frozenset(words)

    def __len__(self) -> int:
        raise NotImplementedError

    def batch(self, indices: Tensor, device: torch.device | str = "cpu") -> Batch:
        """The samples at ``indices`` (int64, on the CPU), converted on ``device``."""
        raise NotImplementedError

    def expect(self, indices: Tensor) -> None:
        """A hint that ``indices`` come next; data sets that read from disk start reading."""

    def held_out(self) -> Dataset | None:
        """Samples of the same law that are never trained on, or None."""
        return None

    def sources(self) -> Dataset | None:
        """For unpaired translation: the images to translate, as a data set of their own."""
        return None

    def fitted(self, size: int) -> Dataset:
        """The same data with images of ``size`` x ``size``, padded; points are returned as they are."""
        return self

    @property
    def judged(self) -> Dataset:
        """The labelled samples that a classifier of this data learns: of a part the whole, of a stack its layers."""
        return self

    @property
    def class_columns(self) -> tuple[int, ...] | None:
        """Which of the classes that such a classifier (or, of a stack, its layers together) tells apart are ours; None: all."""
        return None

    def fingerprint(self) -> str:
        """SHA-256 (hex) of the preprocessed content: equal data, equal fingerprint, wherever it lies."""
        raise NotImplementedError

    def card(self) -> Mapping[str, Any]:
        """What a score computed against this data must say of it."""
        return {
            "samples": len(self),
            "shape": list(self.spec.shape),
            "classes": self.spec.classes,
            "fingerprint": self.fingerprint(),
            "notes": list(self.notes),
        }


class Subset(Dataset):
    """Some samples of a data set, in a given order: ``indices`` int64 into ``parent``. What is held out is the parent's."""

    def __init__(self, parent: Dataset, indices: Tensor) -> None:
        self.parent, self.indices = parent, indices
        self.spec, self.class_names, self.notes, self.remarks = parent.spec, parent.class_names, parent.notes, parent.remarks
        self.labels = None if parent.labels is None else parent.labels[indices]

    @property
    def traits(self) -> frozenset[str]:
        return self.parent.traits

    @property
    def judged(self) -> Dataset:
        return self.parent.judged

    @property
    def class_columns(self) -> tuple[int, ...] | None:
        return self.parent.class_columns

    def __len__(self) -> int:
        return len(self.indices)

    def batch(self, indices: Tensor, device: torch.device | str = "cpu") -> Batch:
        return self.parent.batch(self.indices[indices], device)

    def expect(self, indices: Tensor) -> None:
        self.parent.expect(self.indices[indices])

    def held_out(self) -> Dataset | None:
        return self.parent.held_out()

    def sources(self) -> Dataset | None:
        return self.parent.sources()

    def fitted(self, size: int) -> Dataset:
        made = Subset(self.parent.fitted(size), self.indices)
        made.change = self.change
        return made

    def fingerprint(self) -> str:
        return hashlib.sha256(self.parent.fingerprint().encode() + self.indices.numpy().tobytes()).hexdigest()


class Images(Dataset):
    """Images in memory: ``pixels`` uint8 of shape (n, height, width, channels), ``labels`` int64 of shape (n,) or None.

    A batch is (x / 127.5 - 1) in float32, computed on the device; its memory format is channels_last.
    """

    def __init__(
        self,
        pixels: Tensor,
        labels: Tensor | None = None,
        *,
        class_names: tuple[str, ...] | None = None,
        held_out: Images | None = None,
        notes: tuple[str, ...] = (),
        chiral: bool = False,
    ) -> None:
        if pixels.dtype != torch.uint8 or pixels.ndim != 4:
            raise ValueError(
                f"pixels must be uint8 of shape (n, height, width, channels), not {pixels.dtype} {tuple(pixels.shape)}"
            )
        if pixels.shape[1] != pixels.shape[2]:
            raise BadInput(f"images must be square, not {pixels.shape[1]}x{pixels.shape[2]}: choose a resize rule")
        check_labels(labels, len(pixels), class_names)
        _, height, width, channels = pixels.shape
        self.pixels, self.labels, self.notes = pixels.contiguous(), labels, notes
        self.class_names, self.chiral = class_names, chiral
        self._held_out = held_out
        self._fingerprint = ""
        self.spec = Spec("image", (channels, height, width), len(class_names) if class_names and labels is not None else None)

    def __len__(self) -> int:
        return len(self.pixels)

    def batch(self, indices: Tensor, device: torch.device | str = "cpu") -> Batch:
        return as_batch(self.pixels[indices], None if self.labels is None else self.labels[indices], device)

    def held_out(self) -> Images | None:
        return self._held_out

    def fitted(self, size: int) -> Images:
        have = self.spec.shape[1]
        if size == have:
            return self
        before, after = padding(have, size)
        pixels = torch.nn.functional.pad(self.pixels, (0, 0, before, after, before, after))
        return self._changed(pixels, lambda other: other.fitted(size), padding_note(have, size))

    def resized(self, size: int | None) -> Images:
        """The same data resized to ``size`` x ``size`` pixels (bilinear, antialiased, rounded); None leaves it as it is.

        Raises ``BadInput`` for anything but a whole number from 1.
        """
        have = self.spec.shape[1]
        if size is None or check_size(size) == have:
            return self
        chunks = []
        for chunk in self.pixels.split(1024):
            x = chunk.permute(0, 3, 1, 2).to(torch.float32)
            x = torch.nn.functional.interpolate(x, size=(size, size), mode="bilinear", antialias=True)
            chunks.append(x.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1))
        note = f"resized from {have}x{have} to {size}x{size}, bilinear, antialiased"
        return self._changed(torch.cat(chunks), lambda other: other.resized(size), note)

    def fingerprint(self) -> str:
        if not self._fingerprint:  # kept: every card asks for it, and the pixels never change
            digest = ContentHash()
            digest.add(self.pixels)
            self._fingerprint = digest.close(self.pixels.shape, self.labels)
        return self._fingerprint

    def known_as(self, fingerprint: str) -> None:
        """Take the fingerprint that reading these pixels gave: it is that which ``fingerprint`` would find."""
        self._fingerprint = fingerprint

    def _changed(self, pixels: Tensor, change: Callable[[Images], Images], note: str) -> Images:
        held_out = None if self._held_out is None else change(self._held_out)
        notes = (*self.notes, note)
        made = Images(pixels, self.labels, class_names=self.class_names, held_out=held_out, notes=notes, chiral=self.chiral)
        made.remarks, made.change = self.remarks, self.change
        return made


class ContentHash:
    """SHA-256 of the pixels (uint8, any number of pieces), the shape and the labels of a set of images."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, pixels: Tensor) -> None:
        """The next pixels, contiguous."""
        self._digest.update(pixels.numpy().data)

    def close(self, shape: Sequence[int], labels: Tensor | None) -> str:
        """The hash (hex) of what was added, as images of ``shape`` (n, height, width, channels) with ``labels``."""
        self._digest.update(repr(tuple(shape)).encode())
        if labels is not None:
            self._digest.update(labels.numpy().data)
        return self._digest.hexdigest()


def as_batch(pixels: Tensor, labels: Tensor | None, device: torch.device | str) -> Batch:
    """uint8 rows (n, height, width, channels) as a batch on ``device``: moved as bytes, converted there, channels_last."""
    x = to_range(pixels.to(device, non_blocking=True).permute(0, 3, 1, 2))
    return Batch(x, None if labels is None else labels.to(device, non_blocking=True))


def padding(have: int, size: int) -> tuple[int, int]:
    """Rows to add before and after images of ``have`` x ``have`` to centre them in ``size``; ``BadInput`` if they do not fit."""
    if size < have:
        raise BadInput(f"dataset.size={size}: images of {have}x{have} are padded to a larger size, never cut")
    before = (size - have) // 2
    return before, size - have - before


def padding_note(have: int, size: int) -> str:
    """What padding did, for the log and the cards."""
    return f"padded with black from {have}x{have} to {size}x{size}"


def check_size(size: object) -> int:
    """``size`` if it is a whole number from 1; ``BadInput`` otherwise."""
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise BadInput(f"dataset.size={size}: must be a whole number of pixels from 1")
    return size


def check_labels(labels: Tensor | None, count: int, class_names: tuple[str, ...] | None) -> None:
    """Raise ``BadInput`` unless there is one label for each sample and, with class names, one name for each label."""
    if labels is None:
        return
    if labels.dtype != torch.int64 or labels.shape != (count,):
        raise BadInput(f"{count} images need as many whole-number labels, not {labels.dtype} of shape {tuple(labels.shape)}")
    if class_names and count and not (int(labels.min()) >= 0 and int(labels.max()) < len(class_names)):
        raise BadInput(f"labels run from {int(labels.min())} to {int(labels.max())}, but there are {len(class_names)} classes")


def to_range(pixels: Tensor) -> Tensor:
    """uint8 pixels 0..255 to float32 in [-1, 1]."""
    return pixels.to(torch.float32).mul_(2 / 255).sub_(1)


def to_pixels(x: Tensor) -> Tensor:
    """[-1, 1] to uint8 pixels 0..255, clamped and rounded to the nearest, not truncated."""
    return x.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
