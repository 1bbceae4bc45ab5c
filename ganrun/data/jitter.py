"""Jitter and mirroring of images to train on.  Isola et al. 2017: from 286 pixels back to 256 at random, half of them mirrored.

An image of s pixels is enlarged to round(s (1 + jitter)) bilinearly and cut back to s at a place that is drawn anew each time the
image comes up; with ``mirror`` one in two is mirrored left to right. A source and the sample that belongs to it are treated
alike. What is scored, and what is translated, stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ganrun.ground.errors import BadInput
from ganrun.ground.spec import Batch


@dataclass(frozen=True)
class Jitter:
    """What is done to a batch, given ``draws`` in [0, 1) of shape (n, 3): row, column and mirroring of each sample."""

    jitter: float
    mirror: bool

    def __call__(self, batch: Batch, draws: Tensor) -> Batch:
        source = None if batch.source is None else self.changed(batch.source, draws)
        return replace(batch, x=self.changed(batch.x, draws), source=source)

    def changed(self, x: Tensor, draws: Tensor) -> Tensor:
        """Images (n, channels, height, width) to as many of the same size and memory format."""
        height, width = x.shape[2:]
        large = [round(side * (1 + self.jitter)) for side in (height, width)]
        wide = interpolate(x, size=large, mode="bilinear") if large != [height, width] else x
        room = torch.tensor([large[0] - height + 1, large[1] - width + 1], dtype=draws.dtype)
        starts = (draws[:, :2] * room).long().tolist()
        rows = [wide[row, :, top : top + height, left : left + width] for row, (top, left) in enumerate(starts)]
        if self.mirror:
            rows = [row.flip(2) if draw < 0.5 else row for row, draw in zip(rows, draws[:, 2].tolist(), strict=True)]
        kept = torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
        return torch.stack(rows).contiguous(memory_format=kept)


def jittering(jitter: float, mirror: bool = False) -> Jitter | None:
    """What is done to batches; None for nothing. ``BadInput`` unless 0 <= jitter < 1."""
    if not 0 <= jitter < 1:
        raise BadInput(f"dataset.jitter={jitter}: must be at least 0 and less than 1")
    return Jitter(jitter, mirror) if jitter or mirror else None
