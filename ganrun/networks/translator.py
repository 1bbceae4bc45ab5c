"""The residual translator of CycleGAN, and its discriminator of patches.  Zhu et al. 2017; Johnson et al. 2016.

G: conv 7x7 to ``width`` channels, two conv 3x3 stride 2 that double them, ``blocks`` residual blocks, two transposed conv 3x3
stride 2 that halve them, conv 7x7, tanh. Each convolution but the last is followed by a normalization and ReLU; a block is
x + norm conv ReLU norm conv x, 3x3 each. The 7x7 convolutions and the blocks mirror the image at its edges. Published: 9 blocks
for images from 256 pixels, 6 for smaller ones, no noise. On request dropout between a block's convolutions, at sampling too; a
latent as constant channels would be taken out again by the normalization of each image. Weights start at N(0, 0.02).

D is that of the family ``unet``.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from ganrun.ground.errors import BadInput
from ganrun.ground.registry import register
from ganrun.ground.spec import Latent, Port
from ganrun.networks.base import FEATURES, IMAGES_ONLY, Family, as_image, check_norm, norm2d, norm_traits
from ganrun.networks.parts.dropout import check_dropout, dropping
from ganrun.networks.parts.weights import initialise
from ganrun.networks.unet import (
    SOURCE_NEEDED,
    DiscriminatorOptions,
    PatchDiscriminator,
    check_whole,
    stacked,
)

DISCRIMINATOR = DiscriminatorOptions()
LARGE = 256  # pixels from which a generator has 9 blocks


@dataclass(frozen=True)
class GeneratorOptions:
    """``width``: channels next to the image; ``blocks``: residual ones, None for 9 from 256 pixels on and 6 below."""

    width: int = 64
    blocks: int | None = None
    norm: str = "instance"

    def __post_init__(self) -> None:
        check_norm("generator.norm", self.norm)
        check_whole("generator.width", self.width, 1)
        if self.blocks is not None:
            check_whole("generator.blocks", self.blocks, 0)


class Block(nn.Module):
    """x + norm conv ReLU norm conv x, at the same size and width."""

    def __init__(self, width: int, norm: str, dropout: float) -> None:
        super().__init__()
        bias = norm == "none"
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, padding_mode="reflect", bias=bias),
            norm2d(norm, width),
            nn.ReLU(inplace=True),
            *dropping(dropout, True),
            nn.Conv2d(width, width, 3, padding=1, padding_mode="reflect", bias=bias),
            norm2d(norm, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        changed: Tensor = self.layers(x)
        return x + changed


class Generator(nn.Module):
    """Images, and codes of labels as constant channels, to images (n, outputs, height, width) in [-1, 1]."""

    def __init__(self, channels: int, outputs: int, size: tuple[int, int], options: GeneratorOptions, dropout: float) -> None:
        super().__init__()
        if any(side % 4 or side < 8 for side in size):
            raise BadInput(f"this family halves its images twice: sides are multiples of 4 from 8, not {size[0]}x{size[1]}")
        width, norm, bias = options.width, options.norm, options.norm == "none"
        blocks = (9 if min(size) >= LARGE else 6) if options.blocks is None else options.blocks
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 7, padding=3, padding_mode="reflect", bias=bias)]
        layers += [norm2d(norm, width), nn.ReLU(inplace=True)]
        for narrow in (width, 2 * width):
            layers += [nn.Conv2d(narrow, 2 * narrow, 3, 2, 1, bias=bias), norm2d(norm, 2 * narrow), nn.ReLU(inplace=True)]
        layers += [Block(4 * width, norm, dropout) for _ in range(blocks)]
        for wide in (4 * width, 2 * width):
            layers += [
                nn.ConvTranspose2d(wide, wide // 2, 3, 2, 1, 1, bias=bias),
                norm2d(norm, wide // 2),
                nn.ReLU(inplace=True),
            ]
        layers += [nn.Conv2d(width, outputs, 7, padding=3, padding_mode="reflect"), nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        initialise(self, "normal")

    def forward(self, *inputs: Tensor) -> Tensor:
        image: Tensor = self.layers(as_image(inputs))
        return image


@register("model", "translator")
class Translator(Family):
    """Residual blocks that change an image, and a discriminator of patches."""

    latent, noisy = Latent(1), False  # it reads images alone
    needs = {"dataset.image": IMAGES_ONLY, "game.translates": SOURCE_NEEDED}

    def __init__(
        self,
        *,
        dropout: float = 0.0,
        generator: GeneratorOptions = GeneratorOptions(),
        discriminator: DiscriminatorOptions = DISCRIMINATOR,
    ) -> None:
        check_dropout(dropout, always=False)
        self.dropout = dropout
        self.of_generator, self.of_discriminator = generator, discriminator
        self.traits = norm_traits(discriminator.norm) | FEATURES

    def legal_size(self, size: int) -> int:
        return max(8, -4 * (-size // 4))

    def generator(self, inputs: tuple[Port, ...], outputs: tuple[Port, ...]) -> nn.Module:
        channels, size = stacked("generator", inputs)
        if outputs[0].shape[1:] != size:
            raise BadInput(f"model=translator: makes images of its source's size, not {outputs[0].shape[1:]} of {size}")
        return Generator(channels, outputs[0].shape[0], size, self.of_generator, self.dropout)

    def discriminator(self, inputs: tuple[Port, ...], outputs: tuple[Port, ...]) -> nn.Module:
        return PatchDiscriminator(*stacked("discriminator", inputs), self.of_discriminator)
