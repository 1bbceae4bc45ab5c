"""Residual players of SN-GAN (Miyato et al. 2018; He et al. 2016; the blocks of Gulrajani et al. 2017).

G: z -> linear -> 4x4 -> up blocks to the image size -> norm, ReLU, conv 3x3 -> tanh
D: x -> down blocks to 8x8 (at least one) -> two flat blocks -> ReLU -> sum over positions -> linear -> score

An up block doubles by nearest neighbours, a down block halves by averages. Both are folded into their convolution, see
``parts/resampling.py``, and a 1x1 shortcut commutes with both: same parameters and functions, fewer operations. Weights are
Glorot's with gain sqrt(2) inside residual branches and 1 elsewhere, the generator's last convolution included. Dropout stands
between the two convolutions of a block (Zagoruyko and Komodakis 2016), self-attention after the block that makes its map.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ganrun.ground.registry import register
from ganrun.ground.spec import DiscriminatorOutput, Latent
from ganrun.networks.base import as_image, flatten, norm2d
from ganrun.networks.images import ImageDiscriminatorOptions, ImageFamily, ImageGeneratorOptions, ImageOptions, sizes, traits_of
from ganrun.networks.parts.attention import attending, check_attention
from ganrun.networks.parts.minibatch import beside, judged
from ganrun.networks.parts.resampling import DownConv, upsampling
from ganrun.networks.parts.virtual_norm import virtual_refusals
from ganrun.networks.parts.weights import initialise


@dataclass(frozen=True)
class GeneratorOptions(ImageGeneratorOptions):
    """``width``: channels of every block."""

    width: int = 256
    norm: str = "batch"
    init: str = "xavier"
    upsample: str = "nearest"


@dataclass(frozen=True)
class DiscriminatorOptions(ImageDiscriminatorOptions):
    """``width``: channels of every block."""

    width: int = 128
    norm: str = "none"
    init: str = "xavier"


def double(x: Tensor) -> Tensor:
    """Nearest-neighbour upsampling by two."""
    return functional.interpolate(x, scale_factor=2, mode="nearest")


class Block(nn.Module):
    """x + residual, at the same size, twice ("up") or half ("down") of it. The first block sees raw pixels."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        norm: str,
        resize: str = "none",
        *,
        first: bool = False,
        upsample: str = "nearest",
        between: Sequence[nn.Module] = (),
    ) -> None:
        super().__init__()
        hidden = outputs if resize == "up" or first else inputs
        self.resize, self.first = resize, first
        convolution_out = DownConv if resize == "down" else nn.Conv2d
        self.norm_in = nn.Identity() if first else norm2d(norm, inputs)
        self.convolution_in = upsampling(upsample, inputs, hidden) if resize == "up" else nn.Conv2d(inputs, hidden, 3, padding=1)
        self.norm_out = norm2d(norm, hidden)
        self.between = nn.Sequential(*between)
        self.convolution_out = convolution_out(hidden, outputs, 3, padding=1)
        changes = inputs != outputs or resize != "none"
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        # in place wherever nobody else reads the map: large maps cost as much to allocate as to compute
        hidden = x if self.first else functional.relu(self.norm_in(x), inplace=not isinstance(self.norm_in, nn.Identity))
        hidden = functional.relu(self.norm_out(self.convolution_in(hidden)), inplace=True)
        hidden = self.convolution_out(self.between(hidden))
        if self.resize == "down":
            x = functional.avg_pool2d(x, 2)
        x = self.shortcut(x)
        return hidden.add_(double(x) if self.resize == "up" else x)


class Generator(nn.Module):
    """(n, latent) to images (n, channels, size, size) in [-1, 1]."""

    def __init__(self, latent: int, channels: int, size: int, options: GeneratorOptions) -> None:
        super().__init__()
        self.width = width = options.width
        check_attention("generator", options.attention, sizes(size, 4))
        self.input = nn.Linear(latent, width * 16)
        blocks = attending(options.attention, 4, width)
        for at in sizes(size, 8):
            blocks += [
                Block(width, width, options.norm, "up", upsample=options.upsample, between=options.dropping()),
                *attending(options.attention, at, width),
            ]
        self.blocks = nn.Sequential(*blocks)
        self.norm = norm2d(options.norm, width)
        self.output = nn.Conv2d(width, channels, 3, padding=1)
        initialise(self, options.init, gains(self))

    def forward(self, *inputs: Tensor) -> Tensor:
        maps = self.input(flatten(inputs)).unflatten(1, (self.width, 4, 4)).contiguous(memory_format=torch.channels_last)
        maps = functional.relu(self.norm(self.blocks(maps)), inplace=True)
        return torch.tanh(self.output(maps))


class Encoder(nn.Module):
    """Images, and codes as constant channels, to vectors of ``outputs`` numbers."""

    def __init__(self, channels: int, size: int, outputs: int, options: ImageOptions, minibatch: str = "none") -> None:
        super().__init__()
        width, downs = options.width, max(1, int(math.log2(size)) - 3)
        check_attention("discriminator", options.attention, sizes(size // 2, size >> downs))
        blocks: list[nn.Module] = []
        for level in range(downs):
            blocks += [
                Block(width if level else channels, width, options.norm, "down", first=not level, between=options.dropping()),
                *attending(options.attention, size >> (level + 1), width),
            ]
        blocks += [Block(width, width, options.norm, between=options.dropping()) for _ in range(2)]
        self.blocks = nn.Sequential(*blocks)
        self.output = nn.Linear(width, outputs)
        self.num_features = width
        self.beside = beside(minibatch, width)
        initialise(self, options.init, gains(self))

    def forward(self, *inputs: Tensor) -> Tensor:
        code: Tensor = self.output(self.features(inputs))
        return code

    def features(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Sums over positions of the last map: shape (n, num_features)."""
        return functional.relu(self.blocks(as_image(inputs)), inplace=True).sum((2, 3))


class Discriminator(Encoder):
    """Images, and codes as constant channels, to one score; the features are the sums over positions before it."""

    def __init__(self, channels: int, size: int, options: DiscriminatorOptions) -> None:
        super().__init__(channels, size, 1, options, options.minibatch)

    def forward(self, *inputs: Tensor) -> DiscriminatorOutput:  # type: ignore[override]
        features = self.features(inputs)
        return judged(self.output, self.beside, features, features)


def gains(network: nn.Module) -> Callable[[nn.Module], float]:
    """Of each layer of ``network``: sqrt(2) for the two convolutions of a residual branch, else 1."""
    blocks = [module for module in network.modules() if isinstance(module, Block)]
    inside = {id(layer) for block in blocks for layer in (block.convolution_in, block.convolution_out)}
    return lambda module: math.sqrt(2) if id(module) in inside else 1.0


@register("model", "sngan")
@register("model", "resnet")
class ResNet(ImageFamily):
    """Residual blocks up and down."""

    networks = (Generator, Discriminator, Encoder)

    def __init__(
        self,
        *,
        latent: int = 128,
        prior: str = "normal",
        generator: GeneratorOptions = GeneratorOptions(),
        discriminator: DiscriminatorOptions = DiscriminatorOptions(),
    ) -> None:
        self.latent = Latent(latent, prior)
        self.of_generator, self.of_discriminator = generator, discriminator
        self.refuses = virtual_refusals(generator.norm)
        self.traits = traits_of(discriminator)
