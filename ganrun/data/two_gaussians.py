"""Two Gaussians on the line, p(x) = 1/2 N(x; -mu, std^2) + 1/2 N(x; mu, std^2): mean 0, variance mu^2 + std^2.

One set serves two pictures. All of it is the law of two modes to which a single Gaussian is fitted: min KL(p || q) gives the
moments above, min KL(q || p) sits on one mode (Goodfellow 2016, NIPS tutorial). One Gaussian alone, ``classes=[1]``, is the real
law N(mu, std^2) between which and a generator at -mu a discriminator saturates, while a critic of slope 1 does not and reads
W1 = 2 mu (Arjovsky, Chintala and Bottou 2017, figure 2); the default puts the two 8 standard deviations apart.
"""

from __future__ import annotations

import torch

from ganrun.data.points import Points, mixture
from ganrun.ground.errors import BadInput
from ganrun.ground.registry import register


@register("dataset", "two_gaussians")
def two_gaussians(
    *, mu: float = 4.0, std: float = 1.0, num: int = 100000, classes: list[int | str] | None = None, fraction: float = 1.0
) -> Points:
    """``num`` points of shape (1,); label 0 is the Gaussian at -mu, label 1 that at mu."""
    if not mu > 0:
        raise BadInput(f"dataset.mu={mu}: must be positive (dataset.classes=[1] leaves the Gaussian at mu alone)")
    centres = torch.tensor([[-mu], [mu]], dtype=torch.float64)
    note = f"2 Gaussians of std {std} at -{mu} and {mu}"
    return mixture("two_gaussians", num, centres, std, note, classes, fraction)
