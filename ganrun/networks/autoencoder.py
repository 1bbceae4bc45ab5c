"""An autoencoder as discriminator, whose score is minus the reconstruction error.  Zhao et al. 2017, "Energy-based GAN".

E(x) = error of Dec(Enc(x)) against x, s(x) = -E(x) <= 0. The gradient runs through x in both places. With ``error``

- ``mean``: the mean of squares over all numbers of a sample, so that one margin fits every size;
- ``norm``: the root of their sum, ||Dec(Enc(x)) - x|| as the paper writes it; margins then grow with the image.

The features are the code Enc(x), for the pulling-away term. All layers are fully connected, for points and images of any
size; the generator is that of the family ``mlp``. A code as wide as the sample lets the autoencoder learn the identity, whose
energy is zero everywhere: then only the margin keeps fakes up.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from ganrun.ground.registry import register
from ganrun.ground.spec import DiscriminatorOutput, Latent, Port
from ganrun.networks.base import NO_TOKENS, Family, flat_size, flatten, norm_traits
from ganrun.networks.mlp import Generator, GeneratorOptions, LayerOptions
from ganrun.networks.parts.energy import ENERGY, check_energy, reconstruction_error
from ganrun.networks.parts.virtual_norm import referenced, virtual_refusals
from ganrun.networks.parts.weights import initialise

GENERATOR = GeneratorOptions(depth=3, norm="batch")


@dataclass(frozen=True)
class DiscriminatorOptions(LayerOptions):
    """``depth`` layers down to a code of ``code`` numbers, as many up again."""

    activation: str = "leaky_relu"
    code: int = 32
    error: str = "mean"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_energy(self.code, self.error)

    @property
    def traits(self) -> frozenset[str]:
        return norm_traits(self.norm) | ENERGY  # the decoder's first layer has its normalization


class Discriminator(nn.Module):
    """Any inputs to minus the error of their reconstruction; the features are the code."""

    def __init__(self, inputs: int, layers: DiscriminatorOptions) -> None:
        super().__init__()
        self.encoder = nn.Sequential(*layers.stack(inputs, first_norm=False), nn.Linear(layers.width, layers.code))
        self.decoder = nn.Sequential(*layers.stack(layers.code, first_norm=True), nn.Linear(layers.width, inputs))
        self.num_features, self.error = layers.code, layers.error
        initialise(self, layers.init)

    def forward(self, *inputs: Tensor) -> DiscriminatorOutput:
        x = flatten(inputs)
        code = self.encoder(x)
        return DiscriminatorOutput(-reconstruction_error(self.decoder(code), x, self.error), code)


@register("model", "autoencoder")
class Autoencoder(Family):
    """Fully connected generator against a fully connected autoencoder."""

    def __init__(
        self,
        *,
        latent: int = 64,
        prior: str = "normal",
        generator: GeneratorOptions = GENERATOR,
        discriminator: DiscriminatorOptions = DiscriminatorOptions(),
    ) -> None:
        self.latent = Latent(latent, prior)
        self.of_generator, self.of_discriminator = generator, discriminator
        self.refuses = {"dataset.tokens": NO_TOKENS, **virtual_refusals(generator.norm)}
        self.traits = discriminator.traits

    def generator(self, inputs: tuple[Port, ...], outputs: tuple[Port, ...]) -> nn.Module:
        return referenced(Generator(flat_size(inputs), outputs[0], self.of_generator), inputs, self.latent)

    def discriminator(self, inputs: tuple[Port, ...], outputs: tuple[Port, ...]) -> nn.Module:
        return Discriminator(flat_size(inputs), self.of_discriminator)

    def encoder(self, inputs: tuple[Port, ...], outputs: tuple[Port, ...]) -> nn.Module:
        return Generator(flat_size(inputs), outputs[0], self.of_discriminator)
