"""Features of fixed random filters (idea: Naeem et al. 2020). They average blur away: band_energies is the default.

Images become RGB of 32x32 pixels (bilinear, antialiased) in [-1, 1], then pass three strided 5x5 convolutions with leaky
ReLU. 128 features: the means over space of the first two maps (32 + 32) and a random projection of the third (64), which
keeps the layout. The filters are uniform numbers of variance 2 / fan-in from a seed of their own, so all runs on all
machines share them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d, leaky_relu

from ganrun.ground import rng
from ganrun.ground.registry import register
from ganrun.metrics import weights
from ganrun.metrics.base import Extractor
from ganrun.metrics.images import rgb, to_size

SIDE = 32
LAYERS = ((32, 3, 5, 5), (32, 32, 5, 5), (64, 32, 5, 5))
PROJECTION = (64, 64 * 4 * 4)


@register("extractor", "random_conv")
class RandomConv(Extractor):
    """128 features of random filters, no classes."""

    name = "random_conv"
    num_features = 128
    has_logits = False
    why_no_logits = (
        "IS needs class probabilities and random filters have none: evaluation.extractor=classifier gives them for labelled "
        "images, evaluation.weights=FILE with the FID Inception weights for any"
    )

    def __init__(self) -> None:
        super().__init__()
        for index, shape in enumerate((*LAYERS, PROJECTION)):
            # torch.rand is exact arithmetic on random bits: the same on every machine, which randn is not
            uniform = torch.rand(shape, generator=rng.generator("extractor", "random_conv", index)) * 2 - 1
            self.register_buffer(f"filter{index}", uniform * (6 / uniform[0].numel()) ** 0.5)
        self.digest = weights.digest(self)

    def forward(self, pixels: Tensor) -> tuple[Tensor, None]:
        x = to_size(rgb(pixels, self.name), SIDE).mul(2 / 255).sub(1)
        found = []
        for index in range(len(LAYERS)):
            x = leaky_relu(conv2d(x, self.get_buffer(f"filter{index}"), stride=2, padding=2), 0.2)
            found.append(x.mean((2, 3)))
        found[-1] = x.flatten(1) @ self.get_buffer(f"filter{len(LAYERS)}").T
        return torch.cat(found, 1), None

    def card(self) -> Mapping[str, Any]:
        return {
            "name": self.name,
            "features": self.num_features,
            "weights_sha256": self.digest,
            "resize": f"bilinear, antialiased, to {SIDE}x{SIDE}; grey as RGB",
        }
