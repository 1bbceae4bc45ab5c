"""Residual players of SN-GAN (Miyato et al. 2018; He et al. 2016; the blocks of Gulrajani et al. 2017).

G: z -> linear -> 4x4 -> up blocks to the image size -> norm, ReLU, conv 3x3 -> tanh
D: x -> down blocks to 8x8 (at least one) -> two flat blocks -> ReLU -> sum over positions -> linear -> score

An up block doubles by nearest neighbours, a down block halves by averages. Both are folded into their convolution:
nearest x2 then a 3x3 convolution is one 4x4 transposed convolution of stride 2, a 3x3 convolution then averaging is
one 4x4 convolution of stride 2; and a 1x1 shortcut commutes with both. Same parameters and functions, fewer operations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ganrun.ground.errors import BadInput
from ganrun.ground.registry import register
from ganrun.ground.spec import Latent, Port, Verdict
from ganrun.networks.base import (
    FEATURES,
    IMAGES_ONLY,
    Family,
    as_image,
    check_norm,
    flat_size,
    flatten,
    image_size,
    norm2d,
    norm_traits,
    power_of_two,
)


@dataclass(frozen=True)
class Blocks:
    """``width``: channels of every block."""

    width: int = 128
    norm: str = "none"

    def __post_init__(self) -> None:
        check_norm("norm", self.norm)
        if self.width < 1:
            raise BadInput(f"width={self.width}: must be at least 1")


def spread(weight: Tensor) -> Tensor:
    """The full convolution of each 3x3 kernel with a 2x2 kernel of ones: (o, i, 3, 3) to (o, i, 4, 4)."""
    rows = functional.pad(weight, (0, 0, 0, 1)) + functional.pad(weight, (0, 0, 1, 0))
    return functional.pad(rows, (0, 1)) + functional.pad(rows, (1, 0))


class UpConv(nn.Conv2d):
    """Nearest x2, then a 3x3 convolution, as one transposed convolution."""

    def forward(self, x: Tensor) -> Tensor:
        kernel = spread(self.weight.flip(2, 3)).transpose(0, 1)
        return functional.conv_transpose2d(x, kernel, self.bias, stride=2, padding=1)


class DownConv(nn.Conv2d):
    """A 3x3 convolution, then 2x2 averages, as one strided convolution."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, spread(self.weight) / 4, self.bias, stride=2, padding=1)


def double(x: Tensor) -> Tensor:
    """Nearest-neighbour upsampling by two."""
    return functional.interpolate(x, scale_factor=2, mode="nearest")


class Block(nn.Module):
    """x + residual, at the same size, twice ("up") or half ("down") of it. The first block sees raw pixels."""

    def __init__(self, inputs: int, outputs: int, norm: str, resize: str = "none", *, first: bool = False) -> None:
        super().__init__()
        hidden = outputs if resize == "up" or first else inputs
        self.resize, self.first = resize, first
        convolution_in = UpConv if resize == "up" else nn.Conv2d
        convolution_out = DownConv if resize == "down" else nn.Conv2d
        self.norm_in = nn.Identity() if first else norm2d(norm, inputs)
        self.convolution_in = convolution_in(inputs, hidden, 3, padding=1)
        self.norm_out = norm2d(norm, hidden)
        self.convolution_out = convolution_out(hidden, outputs, 3, padding=1)
        changes = inputs != outputs or resize != "none"
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        # in place wherever nobody else reads the map: large maps cost as much to allocate as to compute
        hidden = x if self.first else functional.relu(self.norm_in(x), inplace=not isinstance(self.norm_in, nn.Identity))
        hidden = functional.relu(self.norm_out(self.convolution_in(hidden)), inplace=True)
        hidden = self.convolution_out(hidden)
        if self.resize == "down":
            x = functional.avg_pool2d(x, 2)
        x = self.shortcut(x)
        return hidden.add_(double(x) if self.resize == "up" else x)


class Generator(nn.Module):
    """(n, latent) to images (n, channels, size, size) in [-1, 1]."""

    def __init__(self, latent: int, channels: int, size: int, options: Blocks) -> None:
        super().__init__()
        width, ups = options.width, int(math.log2(size)) - 2
        self.width = width
        self.input = nn.Linear(latent, width * 16)
        self.blocks = nn.Sequential(*(Block(width, width, options.norm, "up") for _ in range(ups)))
        self.norm = norm2d(options.norm, width)
        self.output = nn.Conv2d(width, channels, 3, padding=1)
        self.apply(initialise)

    def forward(self, *inputs: Tensor) -> Tensor:
        maps = self.input(flatten(inputs)).unflatten(1, (self.width, 4, 4)).contiguous(memory_format=torch.channels_last)
        maps = functional.relu(self.norm(self.blocks(maps)), inplace=True)
        return torch.tanh(self.output(maps))


class Encoder(nn.Module):
    """Images, and codes as constant channels, to vectors of ``outputs`` numbers."""

    def __init__(self, channels: int, size: int, outputs: int, options: Blocks) -> None:
        super().__init__()
        width, downs = options.width, max(1, int(math.log2(size)) - 3)
        blocks = [Block(channels, width, options.norm, "down", first=True)]
        blocks += [Block(width, width, options.norm, "down") for _ in range(downs - 1)]
        blocks += [Block(width, width, options.norm) for _ in range(2)]
        self.blocks = nn.Sequential(*blocks)
        self.output = nn.Linear(width, outputs)
        self.num_features = width
        self.apply(initialise)

    def forward(self, *inputs: Tensor) -> Tensor:
        code: Tensor = self.output(self.features(inputs))
        return code

    def features(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Sums over positions of the last map: shape (n, num_features)."""
        return functional.relu(self.blocks(as_image(inputs)), inplace=True).sum((2, 3))


class Discriminator(Encoder):
    """Images, and codes as constant channels, to one score; the features are the sums over positions before it."""

    def __init__(self, channels: int, size: int, options: Blocks) -> None:
        super().__init__(channels, size, 1, options)

    def forward(self, *inputs: Tensor) -> Verdict:  # type: ignore[override]
        features = self.features(inputs)
        return Verdict(self.output(features).squeeze(1), features)


def initialise(module: nn.Module) -> None:
    """Glorot uniform, with gain sqrt(2) inside a residual branch; biases 0."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        residual = isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3)
        nn.init.xavier_uniform_(module.weight, math.sqrt(2) if residual else 1.0)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


@register("model", "sngan")
@register("model", "resnet")
class ResNet(Family):
    """Residual blocks up and down."""

    needs = {"dataset.image": IMAGES_ONLY}

    def __init__(
        self,
        *,
        latent: int = 128,
        prior: str = "normal",
        generator: Blocks = Blocks(width=256, norm="batch"),
        discriminator: Blocks = Blocks(),
    ) -> None:
        self.latent = Latent(latent, prior)
        self.of_generator, self.of_discriminator = generator, discriminator
        self.traits = norm_traits(discriminator.norm) | FEATURES

    def legal_size(self, size: int) -> int:
        return power_of_two(size)

    def generator(self, inputs: tuple[Port, ...], outputs: tuple[Port, ...]) -> nn.Module:
        channels, size = image_size("generator", outputs)
        return Generator(flat_size(inputs), channels, size, self.of_generator)

    def discriminator(self, inputs: tuple[Port, ...], outputs: tuple[Port, ...]) -> nn.Module:
        channels, size = image_size("discriminator", inputs)
        return Discriminator(channels, size, self.of_discriminator)

    def encoder(self, inputs: tuple[Port, ...], outputs: tuple[Port, ...]) -> nn.Module:
        channels, size = image_size("encoder", inputs)
        return Encoder(channels, size, flat_size(outputs), self.of_discriminator)
