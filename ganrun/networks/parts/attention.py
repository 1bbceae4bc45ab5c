"""Self-attention over the positions of a map.  Zhang et al. 2019, "Self-Attention Generative Adversarial Networks".

For a map x of C channels, with f, g, h: 1x1 convolutions to C / 8 channels and v: one back to C,

    beta_ji = softmax over i of f(x_i)' g(x_j),   o_j = v(sum_i beta_ji h(x_i)),   y = x + gamma o.

gamma starts at 0, so that the layer begins as the identity and learns first from its neighbourhood, then from afar.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ganrun.ground.errors import BadInput, suggestion


class SelfAttention(nn.Module):
    """Maps (n, channels, height, width) to maps of the same shape. Written out: fused kernels have no second derivative."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(1, channels // 8)
        self.f, self.g, self.h = (nn.Conv2d(channels, inner, 1) for _ in range(3))
        self.v = nn.Conv2d(inner, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        f, g, h = (layer(x).flatten(2) for layer in (self.f, self.g, self.h))
        beta = torch.bmm(g.transpose(1, 2), f).softmax(2)  # row j: how much position j takes from each position i
        o = torch.bmm(h, beta.transpose(1, 2)).unflatten(2, x.shape[2:])
        return x + self.gamma * self.v(o)


def attending(at: int, size: int, channels: int) -> list[nn.Module]:
    """Self-attention if a map of ``size`` is where it was asked for, else nothing."""
    return [SelfAttention(channels)] if at == size else []


def check_attention(role: str, at: int, sizes: list[int]) -> None:
    """Raise ``BadInput`` if there is no hidden map of size ``at`` in a network that has those of ``sizes``."""
    if at and at not in sizes:
        names = [str(size) for size in sizes]
        raise BadInput(
            f"model.{role}.attention={at}: its hidden maps are {', '.join(names)} pixels wide. {suggestion(str(at), names)}"
        )
