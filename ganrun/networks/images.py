"""What the families of square images share: their options and the shapes that their networks are made for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from ganrun.ground.errors import BadInput
from ganrun.ground.spec import Port
from ganrun.networks.base import (
    FEATURES,
    GENERATOR_NORMS,
    IMAGES_ONLY,
    NORMS,
    Family,
    check_norm,
    flat_size,
    image_size,
    norm_traits,
    power_of_two,
)
from ganrun.networks.parts.code_discriminator import CodeDiscriminator
from ganrun.networks.parts.dropout import check_dropout, dropping
from ganrun.networks.parts.minibatch import check_minibatch, minibatch_traits
from ganrun.networks.parts.resampling import check_upsampling
from ganrun.networks.parts.virtual_norm import referenced
from ganrun.networks.parts.weights import check_init


@dataclass(frozen=True)
class ImageOptions:
    """``width``: channels; ``attention``: the size of the map that attends to itself, 0 for none."""

    width: int = 64
    norm: str = "none"
    attention: int = 0
    init: str = "normal"

    def __post_init__(self) -> None:
        check_norm("norm", self.norm, self.norms)
        check_init(self.init)
        if self.width < 1:
            raise BadInput(f"width={self.width}: must be at least 1")
        if self.attention < 0:
            raise BadInput(f"attention={self.attention}: is the size of a map; 0 means none")

    @property
    def norms(self) -> tuple[str, ...]:
        return NORMS

    def dropping(self) -> list[nn.Module]:
        """What follows each hidden layer: dropout or nothing."""
        return []


@dataclass(frozen=True)
class ImageGeneratorOptions(ImageOptions):
    """Options of a generator of images."""

    upsample: str = "nearest"
    dropout: float = 0.0
    dropout_always: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_upsampling(self.upsample)
        check_dropout(self.dropout, self.dropout_always)

    @property
    def norms(self) -> tuple[str, ...]:
        return GENERATOR_NORMS

    def dropping(self) -> list[nn.Module]:
        return dropping(self.dropout, self.dropout_always)


@dataclass(frozen=True)
class ImageDiscriminatorOptions(ImageOptions):
    """Options of a discriminator of images."""

    minibatch: str = "none"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_minibatch(self.minibatch)
        check_dropout(self.dropout, always=False)

    def dropping(self) -> list[nn.Module]:
        return dropping(self.dropout, always=False)


class ImageFamily(Family):
    """Square images of a power of two from 8 pixels.

    ``networks``: what makes the generator, the discriminator and the encoder, from (latent, channels, size, options),
    (channels, size, options) and (channels, size, outputs, options). Encoders have the discriminator's options.
    """

    needs = {"dataset.image": IMAGES_ONLY}
    networks: tuple[Callable[..., nn.Module], Callable[..., nn.Module], Callable[..., nn.Module]]
    of_generator: Any
    of_discriminator: Any

    def legal_size(self, size: int) -> int:
        return power_of_two(size)

    def generator(self, inputs: tuple[Port, ...], outputs: tuple[Port, ...]) -> nn.Module:
        channels, size = image_size("generator", outputs)
        return referenced(self.networks[0](flat_size(inputs), channels, size, self.of_generator), inputs, self.latent)

    def discriminator(self, inputs: tuple[Port, ...], outputs: tuple[Port, ...]) -> nn.Module:
        if not any(port.is_image for port in inputs):
            return CodeDiscriminator(flat_size(inputs))
        channels, size = image_size("discriminator", inputs)
        return self.networks[1](channels, size, self.of_discriminator)

    def encoder(self, inputs: tuple[Port, ...], outputs: tuple[Port, ...]) -> nn.Module:
        channels, size = image_size("encoder", inputs)
        return self.networks[2](channels, size, flat_size(outputs), self.of_discriminator)


def sizes(largest: int, smallest: int) -> list[int]:
    """The sizes of maps from ``smallest``, doubling, to ``largest``."""
    return [smallest << level for level in range(int(math.log2(largest // smallest)) + 1)]


def traits_of(options: ImageDiscriminatorOptions) -> frozenset[str]:
    """What follows from a discriminator's options."""
    return norm_traits(options.norm) | minibatch_traits(options.minibatch) | FEATURES
