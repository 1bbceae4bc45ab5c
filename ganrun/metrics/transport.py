"""Optimal transport on the line, which is sorting, and what each point adds to its cost."""

from __future__ import annotations

import torch
from torch import Tensor


def line_cost(x: Tensor, y: Tensor, order: int) -> Tensor:
    """mean_i |x_(i) - y_(i)|^order of sorted columns: W_order^order in one dimension. (n, k) and (n, k) to (k,)."""
    return (x.sort(0).values - y.sort(0).values).abs().pow(order).mean(0)


def line_potential(x: Tensor, y: Tensor, order: int) -> Tensor:
    """What each x adds to ``line_cost`` to first order, but for a constant: the Kantorovich potential at x, (n, k).

    Its slope at x_(i) is order * |x_(i) - y_(i)|^(order - 1), with the sign of x_(i) - y_(i).
    """
    sorted_x, places = x.sort(0)
    shift = sorted_x - y.sort(0).values
    slope = order * shift.sign() * shift.abs().pow(order - 1)
    steps = (slope[1:] + slope[:-1]) / 2 * sorted_x.diff(dim=0)
    potential = torch.cat((torch.zeros_like(sorted_x[:1]), steps.cumsum(0)))
    return torch.empty_like(x).scatter_(0, places, potential)
