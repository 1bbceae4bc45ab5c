"""The UCI handwritten digits: 1797 grey images of 8x8 pixels in ten classes (Alpaydin and Kaynak 1998).

They ship with ganrun, so this data set needs no network. 1437 images train, 360 (36 of each class) are held out. Each
published value v in 0..16, a count of ink pixels, becomes the pixel round(v * 255 / 16).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ganrun.data.base import Dataset, Images
from ganrun.data.selection import select
from ganrun.ground.registry import register

FILE = Path(__file__).with_name("digits.npz")
NAMES = tuple("0123456789")


@register("dataset", "digits")
def digits(*, size: int | None = None, classes: list[int | str] | None = None, fraction: float = 1.0) -> Dataset:
    """The digits, resized to ``size`` x ``size`` pixels unless that is None; a part of them by ``classes`` and ``fraction``."""
    return select(digit_images(size), classes, fraction)


def digit_images(size: int | None = None) -> Images:
    """All digits, resized to ``size`` x ``size`` pixels unless that is None."""
    with np.load(FILE, allow_pickle=False) as held:
        ink, labels, kept_back = (torch.from_numpy(held[name].astype(np.int64)) for name in ("images", "labels", "held_out"))
    pixels = ((ink * 255 + 8) // 16).to(torch.uint8).unsqueeze(-1)
    trains = torch.ones(len(pixels), dtype=torch.bool)
    trains[kept_back] = False
    held_out = Images(pixels[kept_back], labels[kept_back], class_names=NAMES, chiral=True)
    return Images(pixels[trains], labels[trains], class_names=NAMES, held_out=held_out, chiral=True).resized(size)
