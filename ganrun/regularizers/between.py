"""Points between real samples and fakes: what penalties on slopes there share."""

from __future__ import annotations

import torch
from torch import Tensor


def cycled(rows: Tensor, count: int) -> Tensor:
    """``count`` rows, those of ``rows`` over and over: row i is rows[i mod len(rows)]."""
    return rows if len(rows) == count else rows[torch.arange(count, device=rows.device) % len(rows)]


def interpolate(x: Tensor, g: Tensor, mix: Tensor) -> Tensor:
    """mix * x + (1 - mix) * g with one ``mix`` of shape (n,) a sample."""
    return torch.lerp(g, x.detach(), mix.to(x.dtype).view(-1, *[1] * (x.ndim - 1)))
