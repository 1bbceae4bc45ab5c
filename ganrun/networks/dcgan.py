"""DCGAN: all-convolutional players (Radford, Metz and Chintala 2016); also the networks of WGAN (Arjovsky et al. 2017).

For images of 2^k pixels, k >= 3, there are k - 2 strided layers, at least two: from a 4x4 map to the image, from 2x2 for
8x8 images. Widths double towards the smallest map, up to 8 x ``width``:

G: z -> map -> [transposed conv 4x4 stride 2, norm, ReLU] ... -> transposed conv -> tanh
D: x -> [conv 4x4 stride 2, norm, LeakyReLU 0.2] ... -> map -> conv over it -> score

No normalization at the generator's output and the discriminator's input. Weights start at N(0, 0.02). Dropout and
self-attention stand after the activation. Options are described in the modules of ``ganrun.networks.parts``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.functional import linear

from ganrun.ground.registry import register
from ganrun.ground.spec import DiscriminatorOutput, Latent
from ganrun.networks.base import as_image, flatten, norm2d
from ganrun.networks.images import ImageDiscriminatorOptions, ImageFamily, ImageGeneratorOptions, ImageOptions, sizes, traits_of
from ganrun.networks.parts.attention import attending, check_attention
from ganrun.networks.parts.minibatch import beside, judged
from ganrun.networks.parts.resampling import upsampling
from ganrun.networks.parts.virtual_norm import virtual_refusals
from ganrun.networks.parts.weights import initialise


@dataclass(frozen=True)
class GeneratorOptions(ImageGeneratorOptions):
    """``width``: channels of the layer next to the image."""

    width: int = 64
    norm: str = "batch"
    upsample: str = "transposed"


@dataclass(frozen=True)
class DiscriminatorOptions(ImageDiscriminatorOptions):
    """``width``: channels of the layer next to the image."""

    width: int = 64
    norm: str = "batch"


def widths_of(options: ImageOptions, size: int) -> list[int]:
    """Channels of the maps from size / 2 down to the smallest."""
    return [options.width * min(2**level, 8) for level in range(max(2, int(math.log2(size)) - 2))]


class FirstMap(nn.ConvTranspose2d):
    """A transposed convolution of 1x1 maps, as the matrix product that it is: several times faster."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        weight, sides = self.weight.permute(0, 2, 3, 1).flatten(1), self.kernel_size
        bias = None if self.bias is None else self.bias.repeat(sides[0] * sides[1])
        return linear(x.flatten(1), weight.T, bias).unflatten(1, (*sides, -1)).permute(0, 3, 1, 2)


class ScoreConvolution(nn.Conv2d):
    """A convolution over maps of the kernel's size, as a matrix product. Both products leave maps channels_last."""

    def forward(self, x: Tensor) -> Tensor:
        maps, weight = (entry.permute(0, 2, 3, 1).flatten(1) for entry in (x, self.weight))
        return linear(maps, weight, self.bias)


class Generator(nn.Module):
    """(n, latent) to images (n, channels, size, size): in [-1, 1] if ``bounded``."""

    def __init__(self, latent: int, channels: int, size: int, options: GeneratorOptions, *, bounded: bool = True) -> None:
        super().__init__()
        widths = widths_of(options, size)[::-1]
        bias, at = options.norm == "none", size >> len(widths)
        check_attention("generator", options.attention, sizes(size // 2, at))
        layers: list[nn.Module] = [
            FirstMap(latent, widths[0], at, bias=bias),
            norm2d(options.norm, widths[0]),
            nn.ReLU(inplace=True),
            *options.dropping(),
            *attending(options.attention, at, widths[0]),
        ]
        for wide, narrow in zip(widths, widths[1:], strict=False):
            at *= 2
            layers += [
                upsampling(options.upsample, wide, narrow, bias=bias),
                norm2d(options.norm, narrow),
                nn.ReLU(inplace=True),
                *options.dropping(),
                *attending(options.attention, at, narrow),
            ]
        layers += [upsampling(options.upsample, widths[-1], channels), nn.Tanh() if bounded else nn.Identity()]
        self.layers = nn.Sequential(*layers)
        initialise(self, options.init)

    def forward(self, *inputs: Tensor) -> Tensor:
        z: Tensor = flatten(inputs)
        return self.layers(z[:, :, None, None])


class Encoder(nn.Module):
    """Images, and codes as constant channels, to vectors of ``outputs`` numbers."""

    def __init__(self, channels: int, size: int, outputs: int, options: ImageOptions, minibatch: str = "none") -> None:
        super().__init__()
        widths, at = widths_of(options, size), size // 2
        check_attention("discriminator", options.attention, sizes(at, size >> len(widths)))
        layers: list[nn.Module] = [
            nn.Conv2d(channels, widths[0], 4, 2, 1),
            nn.LeakyReLU(0.2, inplace=True),
            *options.dropping(),
            *attending(options.attention, at, widths[0]),
        ]
        for narrow, wide in zip(widths, widths[1:], strict=False):
            at //= 2
            layers += [
                nn.Conv2d(narrow, wide, 4, 2, 1, bias=options.norm == "none"),
                norm2d(options.norm, wide),
                nn.LeakyReLU(0.2, inplace=True),
                *options.dropping(),
                *attending(options.attention, at, wide),
            ]
        self.layers = nn.Sequential(*layers)
        self.output = ScoreConvolution(widths[-1], outputs, at)
        self.num_features = widths[-1] * at**2
        self.beside = beside(minibatch, self.num_features)
        initialise(self, options.init)

    def forward(self, *inputs: Tensor) -> Tensor:
        code: Tensor = self.output(self.layers(as_image(inputs)))
        return code


class Discriminator(Encoder):
    """Images, and codes as constant channels, to one score; the features are the last map, flattened."""

    def __init__(self, channels: int, size: int, options: DiscriminatorOptions) -> None:
        super().__init__(channels, size, 1, options, options.minibatch)

    def forward(self, *inputs: Tensor) -> DiscriminatorOutput:  # type: ignore[override]
        maps = self.layers(as_image(inputs))
        return judged(self.output, self.beside, maps, maps.flatten(1))


@register("model", "wgan")
@register("model", "dcgan")
class DCGAN(ImageFamily):
    """Strided convolutions up and down."""

    networks = (Generator, Discriminator, Encoder)

    def __init__(
        self,
        *,
        latent: int = 100,
        prior: str = "normal",
        generator: GeneratorOptions = GeneratorOptions(),
        discriminator: DiscriminatorOptions = DiscriminatorOptions(),
    ) -> None:
        self.latent = Latent(latent, prior)
        self.of_generator, self.of_discriminator = generator, discriminator
        self.refuses = virtual_refusals(generator.norm)
        self.traits = traits_of(discriminator)
