"""Images stacked as channels: a set of modes that can be counted (Metz et al. 2017; Srivastava et al. 2017).

A sample is three grey images of ten classes, drawn independently, as the channels of one image; with classes a, b and c its
label is 100 a + 10 b + c, so there are 1000 modes. The triples are a fixed list, drawn by a generator that follows from the
data set's name and the split alone; images are put together when they are asked for. Held-out triples are of held-out images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ganrun.data.base import Dataset, Images, as_batch
from ganrun.ground import rng
from ganrun.ground.errors import BadInput
from ganrun.ground.spec import Batch, Spec

LAYERS = 3
HELD_OUT = 10_000


class Stacked(Dataset):
    """Samples of the images ``layers``, grey and labelled: ``rows`` int64 (n, 3) names those of each sample's channels."""

    labels: Tensor

    def __init__(self, layers: Images, rows: Tensor, held_out: Stacked | None = None, notes: tuple[str, ...] = ()) -> None:
        channels, height, width = layers.spec.shape
        if channels != 1 or layers.labels is None or layers.class_names is None:
            raise BadInput("only grey images with classes can be stacked")
        kinds = len(layers.class_names)
        self.layers, self.rows, self.notes, self._held_out = layers, rows, (*layers.notes, *notes), held_out
        self._own_notes, self._fingerprint, self.chiral = notes, "", layers.chiral
        self.labels = joined(layers.labels[rows], kinds)
        self.spec = Spec("image", (LAYERS, height, width), kinds**LAYERS)
        self.class_names = tuple(f"{a}{b}{c}" for a in layers.class_names for b in layers.class_names for c in layers.class_names)

    @property
    def traits(self) -> frozenset[str]:
        return super().traits | {"dataset.stacked"}

    @property
    def judged(self) -> Dataset:
        return self.layers

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, indices: Tensor, device: torch.device | str = "cpu") -> Batch:
        pixels = self.layers.pixels[self.rows[indices]]  # (n, 3, height, width, 1)
        return as_batch(pixels.squeeze(-1).permute(0, 2, 3, 1).contiguous(), self.labels[indices], device)

    def held_out(self) -> Stacked | None:
        return self._held_out

    def fitted(self, size: int) -> Stacked:
        if size == self.spec.shape[1]:
            return self
        held_out = None if self._held_out is None else self._held_out.fitted(size)
        return Stacked(self.layers.fitted(size), self.rows, held_out, self._own_notes)

    def fingerprint(self) -> str:
        if not self._fingerprint:
            digest = hashlib.sha256(f"stacked {self.layers.fingerprint()} {tuple(self.rows.shape)}".encode())
            digest.update(self.rows.numpy().data)
            self._fingerprint = digest.hexdigest()
        return self._fingerprint

    def card(self) -> Mapping[str, Any]:
        return {**super().card(), "channels": f"{LAYERS} of {len(self.layers)} images, drawn independently"}


def joined(labels: Tensor, kinds: int) -> Tensor:
    """Labels (n, 3) of the channels, each below ``kinds``, as one: int64 (n,), the first channel's counting most."""
    return (labels * torch.tensor([kinds**power for power in reversed(range(LAYERS))])).sum(1)


def stack(name: str, layers: Images, num: int) -> Stacked:
    """``num`` stacks of ``layers``, and min(num, 10000) held out of the images that are held out."""
    if not isinstance(num, int) or isinstance(num, bool) or num < 2:
        raise BadInput(f"dataset.num={num}: at least 2 stacks are needed")

    def split(part: str, images: Images, count: int, held_out: Stacked | None) -> Stacked:
        rows = torch.randint(len(images), (count, LAYERS), generator=rng.generator("dataset", name, part))
        return Stacked(images, rows, held_out, (f"{count} stacks of {LAYERS} of {len(images)} images",))

    away = layers.held_out()
    held_out = None if away is None else split("held_out", away, min(num, HELD_OUT), None)
    return split("train", layers, num, held_out)
