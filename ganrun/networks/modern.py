"""Residual players without normalization: those of R3GAN.  Huang et al. 2024, "The GAN is dead; long live the GAN!"

G: z -> linear times a learned 4x4 map -> stages of blocks, each twice the size of the one before -> conv 1x1 -> image
D: x -> conv 1x1 -> the same stages downwards -> a learned sum over the 4x4 map, channel by channel -> linear -> score

A block adds to x a conv 1x1 to twice the channels, a grouped 3x3 and a conv 1x1 back, with biases and LeakyReLU 0.2 between.
Maps are resized by the filter [1, 3, 3, 1] / 8 in each direction, which is bilinear. The published CIFAR-10 networks have width
768 and groups of 16 channels (cardinality 96) at all sizes to 32; above, widths halve with each doubling of the size.

Weights start at N(0, gain^2 / inputs), inside a block with the gain of its activation over (blocks in all)^(1 / 4), so that the
depth does not set the scale (Zhang et al. 2019, "Fixup Initialization"). There a block's last layer is zero; here it is a
ten-thousandth of its normal size, since a matrix of zeros has no direction to be divided by. The generator has no tanh, as
published: pixels are cut to [-1, 1] when pictures are made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ganrun.ground.errors import BadInput
from ganrun.ground.registry import register
from ganrun.ground.spec import DiscriminatorOutput, Latent
from ganrun.networks.base import FEATURES, as_image, flatten
from ganrun.networks.images import ImageFamily, sizes

SLOPE, EXPANSION, NEARLY_ZERO = 0.2, 2, 1e-4


@dataclass(frozen=True)
class StageOptions:
    """Each stage has ``blocks`` blocks of ``width`` channels; 3x3 convolutions mix ``group`` channels at a time."""

    width: int = 64
    blocks: int = 2
    group: int = 16

    def __post_init__(self) -> None:
        for key, value in (("width", self.width), ("blocks", self.blocks), ("group", self.group)):
            if value < 1:
                raise BadInput(f"{key}={value}: must be at least 1")
        if self.width * EXPANSION % self.group and self.group < self.width * EXPANSION:
            raise BadInput(f"group={self.group}: must divide twice the width={self.width}")

    def channels(self, size: int) -> int:
        """Width of the stage whose maps have ``size``."""
        return max(1, self.width * 32 // max(32, size))


@dataclass(frozen=True)
class GeneratorOptions(StageOptions):
    """Options of the generator: its stages, the smallest maps first."""


@dataclass(frozen=True)
class DiscriminatorOptions(StageOptions):
    """Options of the discriminator: its stages, the largest maps first."""


class Block(nn.Module):
    """x + conv 1x1 (grouped conv 3x3 (conv 1x1 (x))); ``total``: blocks in the whole network."""

    def __init__(self, channels: int, group: int, total: int) -> None:
        super().__init__()
        hidden = channels * EXPANSION
        groups = hidden // math.gcd(hidden, group)
        self.widen = nn.Conv2d(channels, hidden, 1)
        self.mix = nn.Conv2d(hidden, hidden, 3, padding=1, groups=groups)
        self.narrow = nn.Conv2d(hidden, channels, 1, bias=False)
        gain = math.sqrt(2 / (1 + SLOPE**2)) * total ** (-1 / 4)
        for layer, scale in ((self.widen, gain), (self.mix, gain), (self.narrow, NEARLY_ZERO)):
            start(layer, scale)

    def forward(self, x: Tensor) -> Tensor:
        hidden = functional.leaky_relu(self.widen(x), SLOPE, inplace=True)
        hidden = functional.leaky_relu(self.mix(hidden), SLOPE, inplace=True)
        narrowed: Tensor = self.narrow(hidden)
        return narrowed.add_(x)


class Resize(nn.Module):
    """Maps at twice ("up") or half ("down") their size, by the filter [1, 3, 3, 1] / 8 in each direction; 0 beyond the edge."""

    def __init__(self, direction: str) -> None:
        super().__init__()
        self.direction = direction

    def forward(self, x: Tensor) -> Tensor:
        row = 0.5 - (torch.arange(4, device=x.device, dtype=x.dtype) - 1.5).abs() / 4
        kernel = torch.outer(row, row).expand(x.shape[1], 1, 4, 4)
        if self.direction == "up":
            return functional.conv_transpose2d(x, 4 * kernel, stride=2, padding=1, groups=x.shape[1])
        return functional.conv2d(x, kernel, stride=2, padding=1, groups=x.shape[1])


class Generator(nn.Module):
    """(n, latent) to images (n, channels, size, size), not bounded."""

    def __init__(self, latent: int, channels: int, size: int, options: StageOptions) -> None:
        super().__init__()
        levels = sizes(size, 4)
        total = options.blocks * len(levels)
        width = options.channels(4)
        self.basis = nn.Parameter(torch.randn(width, 4, 4))
        self.input = start(nn.Linear(latent, width, bias=False))
        layers: list[nn.Module] = []
        for level in levels:
            if level > 4:
                layers += [*joined(width, options.channels(level)), Resize("up")]  # narrow first: the smaller map
                width = options.channels(level)
            layers += [Block(width, options.group, total) for _ in range(options.blocks)]
        self.layers = nn.Sequential(*layers)
        self.output = start(nn.Conv2d(width, channels, 1, bias=False))

    def forward(self, *inputs: Tensor) -> Tensor:
        maps = self.input(flatten(inputs))[:, :, None, None] * self.basis
        image: Tensor = self.output(self.layers(maps.contiguous(memory_format=torch.channels_last)))
        return image


class Encoder(nn.Module):
    """Images, and codes as constant channels, to vectors of ``outputs`` numbers."""

    def __init__(self, channels: int, size: int, outputs: int, options: StageOptions) -> None:
        super().__init__()
        levels = sizes(size, 4)[::-1]
        total = options.blocks * len(levels)
        width = options.channels(size)
        layers: list[nn.Module] = [start(nn.Conv2d(channels, width, 1, bias=False))]
        for level in levels:
            if level < size:
                layers += [Resize("down"), *joined(width, options.channels(level))]
                width = options.channels(level)
            layers += [Block(width, options.group, total) for _ in range(options.blocks)]
        self.layers = nn.Sequential(*layers)
        self.basis = start(nn.Conv2d(width, width, 4, groups=width, bias=False))
        self.output = start(nn.Linear(width, outputs, bias=False))
        self.num_features = width

    def forward(self, *inputs: Tensor) -> Tensor:
        code: Tensor = self.output(self.features(inputs))
        return code

    def features(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Sums over the positions of the last map, weighted channel by channel: shape (n, num_features)."""
        found: Tensor = self.basis(self.layers(as_image(inputs))).flatten(1)
        return found


class Discriminator(Encoder):
    """Images, and codes as constant channels, to one score, which is linear in the features."""

    def __init__(self, channels: int, size: int, options: StageOptions) -> None:
        super().__init__(channels, size, 1, options)

    def forward(self, *inputs: Tensor) -> DiscriminatorOutput:  # type: ignore[override]
        features = self.features(inputs)
        return DiscriminatorOutput(self.output(features).squeeze(1), features)


def start(layer: nn.Conv2d | nn.Linear, gain: float = 1.0) -> nn.Module:
    """``layer`` with weights N(0, gain^2 / inputs) and no bias."""
    nn.init.normal_(layer.weight, 0, gain / math.sqrt(layer.weight[0].numel()))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def joined(inputs: int, outputs: int) -> list[nn.Module]:
    """A conv 1x1 where the width changes."""
    return [start(nn.Conv2d(inputs, outputs, 1, bias=False))] if inputs != outputs else []


@register("model", "r3gan")
@register("model", "modern")
class Modern(ImageFamily):
    """Residual blocks of grouped convolutions, no normalization."""

    networks = (Generator, Discriminator, Encoder)
    traits = FEATURES

    def __init__(
        self,
        *,
        latent: int = 64,
        prior: str = "normal",
        generator: GeneratorOptions = GeneratorOptions(),
        discriminator: DiscriminatorOptions = DiscriminatorOptions(),
    ) -> None:
        self.latent = Latent(latent, prior)
        self.of_generator, self.of_discriminator = generator, discriminator
