"""A discriminator of codes, for families whose own looks at images: two hidden layers, as in Makhzani et al. 2015."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ganrun.ground.spec import DiscriminatorOutput

WIDTH = 256


class CodeDiscriminator(nn.Module):
    """Vectors of ``inputs`` numbers, in all, to one score; the features are the last hidden layer."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.num_features = WIDTH
        self.hidden = nn.Sequential(nn.Linear(inputs, WIDTH), nn.LeakyReLU(0.2), nn.Linear(WIDTH, WIDTH), nn.LeakyReLU(0.2))
        self.output = nn.Linear(WIDTH, 1)

    def forward(self, *inputs: Tensor) -> DiscriminatorOutput:
        features = self.hidden(torch.cat([entry.flatten(1) for entry in inputs], 1))
        return DiscriminatorOutput(self.output(features).squeeze(1), features)
