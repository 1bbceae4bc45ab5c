"""A convolutional autoencoder as discriminator, for images.  Zhao et al. 2017, "Energy-based GAN", in the style of DCGAN.

The generator is that of the family ``dcgan``, the autoencoder its encoder and, without the tanh, its generator again; for the
energy see the family ``autoencoder``. Further inputs are reconstructed as the constant channels that they enter as.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from ganrun.ground.registry import register
from ganrun.ground.spec import DiscriminatorOutput, Latent
from ganrun.networks.base import as_image, norm_traits
from ganrun.networks.dcgan import Encoder, Generator, GeneratorOptions
from ganrun.networks.images import ImageFamily, ImageOptions
from ganrun.networks.parts.energy import ENERGY, check_energy, reconstruction_error
from ganrun.networks.parts.virtual_norm import virtual_refusals

GENERATOR = GeneratorOptions()


@dataclass(frozen=True)
class DiscriminatorOptions(ImageOptions):
    """``width``: channels of the layers next to the image; ``code``: numbers in the middle."""

    norm: str = "batch"
    code: int = 64
    error: str = "mean"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_energy(self.code, self.error)


class Discriminator(nn.Module):
    """Images, and codes as constant channels, to minus the error of their reconstruction; the features are the code."""

    def __init__(self, channels: int, size: int, options: DiscriminatorOptions) -> None:
        super().__init__()
        self.encoder = Encoder(channels, size, options.code, options)
        up = GeneratorOptions(width=options.width, norm=options.norm, attention=options.attention, init=options.init)
        self.decoder = Generator(options.code, channels, size, up, bounded=False)
        self.num_features, self.error = options.code, options.error

    def forward(self, *inputs: Tensor) -> DiscriminatorOutput:
        x = as_image(inputs)
        code = self.encoder(x)
        return DiscriminatorOutput(-reconstruction_error(self.decoder(code), x, self.error), code)


@register("model", "conv_autoencoder")
class ConvAutoencoder(ImageFamily):
    """Strided convolutions: a generator against an autoencoder."""

    networks = (Generator, Discriminator, Encoder)

    def __init__(
        self,
        *,
        latent: int = 100,
        prior: str = "normal",
        generator: GeneratorOptions = GENERATOR,
        discriminator: DiscriminatorOptions = DiscriminatorOptions(),
    ) -> None:
        self.latent = Latent(latent, prior)
        self.of_generator, self.of_discriminator = generator, discriminator
        self.refuses = virtual_refusals(generator.norm)
        self.traits = norm_traits(discriminator.norm) | ENERGY
