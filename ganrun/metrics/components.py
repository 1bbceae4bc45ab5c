"""Connected components of small images, for a whole batch at once."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d


def label(mask: Tensor) -> Tensor:
    """Which component each pixel of ``mask`` bool (n, height, width) is of: int64 of that shape, 0 where it is of none.

    Pixels that touch, at a corner too, are of one component. Its number is that of its last pixel, counted from 1 by rows.
    """
    count, height, width = mask.shape
    numbers = torch.arange(1, height * width + 1).view(1, height, width)
    found, left = torch.where(mask, numbers, 0), torch.arange(count)
    while len(left):
        old, within = found[left], mask[left]
        new = max_pool2d(old.to(torch.float32).unsqueeze(1), 3, stride=1, padding=1).squeeze(1).long()  # exact below 2^24
        new = torch.where(within, new, 0)
        # what the pixel of that number has found by now: winding components close in a few rounds
        beyond = new.flatten(1).gather(1, (new.flatten(1) - 1).clamp(min=0)).view_as(new)
        found[left] = new = torch.where(within, beyond, 0)
        left = left[(new != old).flatten(1).any(1)]
    return found


def moments(labels: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of every component, ordered by image: (image, pixels, x, y), each (m,); x and y of the centre, weighted by ``weights``.

    ``labels`` as from ``label``; ``weights`` (n, height, width), positive within components. x and y are in pixels from the
    middle of the first pixel, y downwards.
    """
    count, height, width = labels.shape
    size = height * width + 1
    places = (torch.arange(count)[:, None, None] * size + labels).flatten()
    heavy = weights.double().flatten()
    columns = torch.arange(width, dtype=torch.float64).expand(count, height, width).flatten()
    rows = torch.arange(height, dtype=torch.float64)[:, None].expand(count, height, width).flatten()
    total, x, y = (places.bincount(each, count * size) for each in (heavy, heavy * columns, heavy * rows))
    pixels = places.bincount(minlength=count * size)
    pixels[torch.arange(count) * size] = 0  # the background
    kept = torch.nonzero(pixels).flatten()
    return kept // size, pixels[kept], x[kept] / total[kept], y[kept] / total[kept]
