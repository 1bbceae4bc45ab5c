"""DCGAN: all-convolutional players (Radford, Metz and Chintala 2016); also the networks of WGAN (Arjovsky et al. 2017).

For images of 2^k pixels, k >= 3, there are k - 2 strided layers, at least two: from a 4x4 map to the image, from 2x2 for
8x8 images. Widths double towards the smallest map, up to 8 x ``width``:

G: z -> map -> [transposed conv 4x4 stride 2, norm, ReLU] ... -> transposed conv -> tanh
D: x -> [conv 4x4 stride 2, norm, LeakyReLU 0.2] ... -> map -> conv over it -> score

No normalization at the generator's output and the discriminator's input. Weights start at N(0, 0.02).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.functional import linear

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
class Convolutions:
    """``width``: channels of the layer next to the image."""

    width: int = 64
    norm: str = "batch"

    def __post_init__(self) -> None:
        check_norm("norm", self.norm)
        if self.width < 1:
            raise BadInput(f"width={self.width}: must be at least 1")

    def widths(self, size: int) -> list[int]:
        """Channels of the maps from size / 2 down to the smallest."""
        return [self.width * min(2**level, 8) for level in range(max(2, int(math.log2(size)) - 2))]


class FirstMap(nn.ConvTranspose2d):
    """A transposed convolution of 1x1 maps, as the matrix product that it is: several times faster."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        weight, sides = self.weight.permute(0, 2, 3, 1).flatten(1), self.kernel_size
        bias = None if self.bias is None else self.bias.repeat(sides[0] * sides[1])
        return linear(x.flatten(1), weight.T, bias).unflatten(1, (*sides, -1)).permute(0, 3, 1, 2)


class Score(nn.Conv2d):
    """A convolution over maps of the kernel's size, as a matrix product. Both products leave maps channels_last."""

    def forward(self, x: Tensor) -> Tensor:
        maps, weight = (entry.permute(0, 2, 3, 1).flatten(1) for entry in (x, self.weight))
        return linear(maps, weight, self.bias)


class Generator(nn.Module):
    """(n, latent) to images (n, channels, size, size) in [-1, 1]."""

    def __init__(self, latent: int, channels: int, size: int, options: Convolutions) -> None:
        super().__init__()
        widths = options.widths(size)[::-1]
        bias = options.norm == "none"
        layers: list[nn.Module] = [
            FirstMap(latent, widths[0], size >> len(widths), bias=bias),
            norm2d(options.norm, widths[0]),
            nn.ReLU(inplace=True),
        ]
        for wide, narrow in zip(widths, widths[1:], strict=False):
            layers += [
                nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=bias),
                norm2d(options.norm, narrow),
                nn.ReLU(inplace=True),
            ]
        layers += [nn.ConvTranspose2d(widths[-1], channels, 4, 2, 1), nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        self.apply(initialise)

    def forward(self, *inputs: Tensor) -> Tensor:
        z: Tensor = flatten(inputs)
        return self.layers(z[:, :, None, None])


class Encoder(nn.Module):
    """Images, and codes as constant channels, to vectors of ``outputs`` numbers."""

    def __init__(self, channels: int, size: int, outputs: int, options: Convolutions) -> None:
        super().__init__()
        widths = options.widths(size)
        layers: list[nn.Module] = [nn.Conv2d(channels, widths[0], 4, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
        for narrow, wide in zip(widths, widths[1:], strict=False):
            layers += [
                nn.Conv2d(narrow, wide, 4, 2, 1, bias=options.norm == "none"),
                norm2d(options.norm, wide),
                nn.LeakyReLU(0.2, inplace=True),
            ]
        self.layers = nn.Sequential(*layers)
        self.output = Score(widths[-1], outputs, size >> len(widths))
        self.num_features = widths[-1] * (size >> len(widths)) ** 2
        self.apply(initialise)

    def forward(self, *inputs: Tensor) -> Tensor:
        code: Tensor = self.output(self.layers(as_image(inputs)))
        return code


class Discriminator(Encoder):
    """Images, and codes as constant channels, to one score; the features are the last map, flattened."""

    def __init__(self, channels: int, size: int, options: Convolutions) -> None:
        super().__init__(channels, size, 1, options)

    def forward(self, *inputs: Tensor) -> Verdict:  # type: ignore[override]
        maps = self.layers(as_image(inputs))
        return Verdict(self.output(maps).squeeze(1), maps.flatten(1))


def initialise(module: nn.Module) -> None:
    """Weights N(0, 0.02), scales of normalizations N(1, 0.02), biases 0."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0, 0.02)
    elif isinstance(module, nn.BatchNorm2d | nn.GroupNorm | nn.InstanceNorm2d):
        nn.init.normal_(module.weight, 1, 0.02)
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)


@register("model", "wgan")
@register("model", "dcgan")
class DCGAN(Family):
    """Strided convolutions up and down."""

    needs = {"dataset.image": IMAGES_ONLY}

    def __init__(
        self,
        *,
        latent: int = 100,
        prior: str = "normal",
        generator: Convolutions = Convolutions(),
        discriminator: Convolutions = Convolutions(),
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
