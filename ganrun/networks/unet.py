"""U-Net generator and patch discriminator for image-to-image translation (Isola et al. 2017, "pix2pix").

G: [conv 4x4 stride 2, norm, LeakyReLU 0.2] down to ``depth`` halvings, at most to 1x1, and the same way up by transposed
convolutions with ReLU, tanh at the end; with ``skips`` each map on the way down joins that of its size on the way up
(Ronneberger et al. 2015). Any image size: an odd map of 2k + 1 becomes k, and 2k + 1 again. No normalization next to the
image, nor of 1x1 maps, which would become zero. Noise: dropout in the first three blocks on the way up, 1/2 in the paper, at
sampling too; or a latent as constant channels beside the source.

D: ``layers`` convolutions 4x4 stride 2, then two of stride 1, give a map of scores, each of a patch of the image. From the last
layer back, r <- (r - 1) stride + kernel from r = 1 gives the patch's side: 16, 34, 70, 142 for 1, 2, 3, 4 layers; with 0 layers
all convolutions are 1x1. All inputs are channels of one image. The features are the means of the last map before the scores.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ganrun.ground.errors import BadInput, suggestion
from ganrun.ground.registry import register
from ganrun.ground.spec import DiscriminatorOutput, Latent, Port
from ganrun.ground.traits import Rule
from ganrun.networks.base import FEATURES, IMAGES_ONLY, Family, as_image, check_norm, norm2d, norm_traits
from ganrun.networks.parts.dropout import Dropout
from ganrun.networks.parts.weights import initialise

NOISES = ("none", "dropout", "input")
DEEPEST = 8  # halvings, as for images of 256 pixels
USUAL = 3  # strided layers of the discriminator
NOISY_BLOCKS = 3
SOURCE_NEEDED = Rule("it is for translating what is given, and this game gives nothing to translate", "game=pix2pix")


@dataclass(frozen=True)
class GeneratorOptions:
    """``width``: channels next to the image; ``depth``: halvings, None for as many as the image has, at most 8."""

    width: int = 64
    depth: int | None = None
    norm: str = "instance"
    skips: bool = True

    def __post_init__(self) -> None:
        check_norm("generator.norm", self.norm)
        check_whole("generator.width", self.width, 1)
        if self.depth is not None:
            check_whole("generator.depth", self.depth, 1)


@dataclass(frozen=True)
class DiscriminatorOptions:
    """``width``: channels next to the image; ``layers``: strided ones, None for 3 or as many as keep patches inside the image."""

    width: int = 64
    layers: int | None = None
    norm: str = "instance"

    def __post_init__(self) -> None:
        check_norm("discriminator.norm", self.norm)
        check_whole("discriminator.width", self.width, 1)
        if self.layers is not None:
            check_whole("discriminator.layers", self.layers, 0)


def check_whole(key: str, value: object, least: int) -> None:
    """Raise ``BadInput`` unless ``value`` is a whole number from ``least``."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise BadInput(f"{key}={value}: must be a whole number from {least}")


def receptive_field(layers: Iterable[tuple[int, int]]) -> int:
    """The side of the patch that one output sees, for ``layers`` of (kernel, stride) from the input on."""
    side = 1
    for kernel, stride in reversed(list(layers)):
        side = (side - 1) * stride + kernel
    return side


def strided(layers: int) -> list[tuple[int, int]]:
    """(kernel, stride) of a discriminator's convolutions."""
    return [(4, 2)] * layers + [(4, 1)] * 2 if layers else [(1, 1)] * 3


def map_size(size: int, layers: int) -> int:
    """The side of the map of scores for an image of ``size`` pixels; below 1 where it does not fit."""
    for kernel, stride in strided(layers):
        size = (size + (2 if kernel == 4 else 0) - kernel) // stride + 1
    return size


class UNetGenerator(nn.Module):
    """Images (n, channels, height, width) and codes as constant channels to images of ``outputs`` channels in [-1, 1]."""

    def __init__(self, channels: int, outputs: int, size: tuple[int, int], options: GeneratorOptions, dropout: float) -> None:
        super().__init__()
        most = min(min(size).bit_length() - 1, DEEPEST)
        depth = most if options.depth is None else options.depth
        if not 1 <= depth <= min(size).bit_length() - 1:
            halvings = min(size).bit_length() - 1
            raise BadInput(f"model.generator.depth={depth}: images of {size[0]}x{size[1]} can be halved {halvings} times")
        self.skips = options.skips
        widths = [options.width * min(2**level, 8) for level in range(depth)]
        sizes = [tuple(side >> level for side in size) for level in range(depth + 1)]
        down, up = [], []
        for level, width in enumerate(widths):
            normed = level > 0 and max(sizes[level + 1]) > 1
            down.append(
                nn.Sequential(
                    *([nn.LeakyReLU(0.2)] if level else []),
                    nn.Conv2d(
                        widths[level - 1] if level else channels, width, 4, 2, 1, bias=not normed or options.norm == "none"
                    ),
                    norm2d(options.norm, width) if normed else nn.Identity(),
                )
            )
            inner = width if level == depth - 1 or not options.skips else 2 * width
            outer, odd = widths[level - 1] if level else outputs, (sizes[level][0] % 2, sizes[level][1] % 2)
            noisy = level > 0 and level >= depth - NOISY_BLOCKS and dropout > 0
            up.append(
                nn.Sequential(
                    nn.ReLU(),
                    nn.ConvTranspose2d(inner, outer, 4, 2, 1, odd, bias=not level or options.norm == "none"),
                    norm2d(options.norm, outer) if level else nn.Tanh(),
                    *([Dropout(dropout, always=True)] if noisy else []),
                )
            )
        self.down, self.up = nn.ModuleList(down), nn.ModuleList(up)
        initialise(self, "normal")

    def forward(self, *inputs: Tensor) -> Tensor:
        x, maps = as_image(inputs), []
        for block in self.down:
            x = block(x)
            maps.append(x)
        for level in reversed(range(len(maps))):
            if self.skips and level < len(maps) - 1:
                x = torch.cat((x, maps[level]), 1)
            x = self.up[level](x)
        return x


class PatchDiscriminator(nn.Module):
    """Images, and codes as constant channels, to a map of scores (n, 1, height, width), one for each patch.

    ``receptive_field`` is the side of a patch; ``notes`` say it in words.
    """

    def __init__(self, channels: int, size: tuple[int, int], options: DiscriminatorOptions) -> None:
        super().__init__()
        room = max((count for count in range(min(size).bit_length()) if map_size(min(size), count) > 0), default=0)
        fitting = [layers for layers in range(1, USUAL + 1) if receptive_field(strided(layers)) <= min(size)]
        count = min(max(fitting, default=1), room) if options.layers is None else options.layers
        if count > room:
            raise BadInput(f"model.discriminator.layers={count}: images of {size[0]}x{size[1]} have room for {room}")
        shapes = strided(count)
        self.receptive_field = receptive_field(shapes)
        rows, columns = (map_size(side, count) for side in size)
        side = self.receptive_field
        self.notes = (f"judges patches of {side}x{side} pixels: a map of {rows}x{columns} scores",)
        layers: list[nn.Module] = []
        for level, (kernel, stride) in enumerate(shapes[:-1]):
            width = options.width * min(2**level, 8)
            layers += [
                nn.Conv2d(channels, width, kernel, stride, int(kernel == 4), bias=not level or options.norm == "none"),
                norm2d(options.norm, width) if level else nn.Identity(),
                nn.LeakyReLU(0.2, inplace=True),
            ]
            channels = width
        self.layers = nn.Sequential(*layers)
        self.output = nn.Conv2d(channels, 1, shapes[-1][0], 1, int(shapes[-1][0] == 4))
        self.num_features = channels
        initialise(self, "normal")

    def forward(self, *inputs: Tensor) -> DiscriminatorOutput:
        maps = self.layers(as_image(inputs))
        return DiscriminatorOutput(self.output(maps), maps.mean((2, 3)))


@register("model", "unet")
class UNet(Family):
    """An hourglass with skips that changes an image, and a discriminator of patches."""

    needs = {"dataset.image": IMAGES_ONLY, "game.translates": SOURCE_NEEDED}

    def __init__(
        self,
        *,
        latent: int = 8,
        prior: str = "normal",
        noise: str = "dropout",
        dropout: float = 0.5,
        generator: GeneratorOptions = GeneratorOptions(),
        discriminator: DiscriminatorOptions = DiscriminatorOptions(),
    ) -> None:
        if noise not in NOISES:
            raise BadInput(f"model.noise={noise}: {suggestion(noise, NOISES)}")
        if not 0 < dropout < 1:
            raise BadInput(f"model.dropout={dropout}: must be above 0 and below 1; model.noise=none has none")
        self.latent, self.noisy = Latent(latent, prior), noise == "input"
        self.dropout = dropout if noise == "dropout" else 0.0
        self.of_generator, self.of_discriminator = generator, discriminator
        self.traits = norm_traits(discriminator.norm) | FEATURES

    def legal_size(self, size: int) -> int:
        return max(size, 2)

    def generator(self, inputs: tuple[Port, ...], outputs: tuple[Port, ...]) -> nn.Module:
        channels, size = stacked("generator", inputs)
        if outputs[0].shape[1:] != size:
            raise BadInput(f"model=unet: makes images of its source's size, not {outputs[0].shape[1:]} of {size}")
        return UNetGenerator(channels, outputs[0].shape[0], size, self.of_generator, self.dropout)

    def discriminator(self, inputs: tuple[Port, ...], outputs: tuple[Port, ...]) -> nn.Module:
        return PatchDiscriminator(*stacked("discriminator", inputs), self.of_discriminator)


def stacked(role: str, ports: tuple[Port, ...]) -> tuple[int, tuple[int, int]]:
    """(channels, (height, width)) of ``ports`` as one image; ``BadInput`` unless they hold images of one size."""
    sizes = {port.shape[1:] for port in ports if port.is_image}
    if len(sizes) != 1:
        raise BadInput(f"this family's {role} takes images of one size, not {[port.shape for port in ports]}")
    height, width = sizes.pop()
    return sum(port.shape[0] for port in ports), (height, width)
