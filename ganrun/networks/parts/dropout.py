"""Dropout: each hidden number is zeroed with probability p, the others divided by 1 - p.

Srivastava et al. 2014. In a discriminator it is on while it trains, in both players' updates. As a noise of a generator's own it
stays on at sampling too (Isola et al. 2017; with p = 0.5 in Chintala et al. 2016, "How to Train a GAN?").
Its draws come from torch's default generator, which is seeded for every update and for every block of samples.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import dropout

from ganrun.ground.errors import BadInput


class Dropout(nn.Module):
    """Zeroes numbers while training; ``always``: in evaluation mode too."""

    def __init__(self, share: float, *, always: bool) -> None:
        super().__init__()
        self.share, self.always = share, always

    def forward(self, x: Tensor) -> Tensor:
        return dropout(x, self.share, training=self.training or self.always)


def dropping(share: float, always: bool) -> list[nn.Module]:
    """A dropout layer, or none for a share of 0."""
    return [Dropout(share, always=always)] if share else []


def check_dropout(share: float, always: bool) -> None:
    """Raise ``BadInput`` unless 0 <= share < 1, and for a dropout that is always on and never zeroes anything."""
    if not 0 <= share < 1:
        raise BadInput(f"dropout={share}: must be at least 0 and below 1")
    if always and not share:
        raise BadInput("dropout_always=true: there is no dropout to keep on. Try dropout=0.5")
