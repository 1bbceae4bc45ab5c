"""Fully connected players, for points and for images of any size.

G: z -> [linear, norm, activation] x depth -> linear (-> tanh for images).  D: x -> the same -> linear.
The players of Goodfellow et al. 2014 in kind. The 2-D experiments of Metz et al. 2017 have 128 x 2 units without
normalization, those of Gulrajani et al. 2017 512 x 3, those of Lin et al. 2018 400 x 4 with batch normalization in G.
Dropout stands after the activation. Options are described in the modules of ``ganrun.networks.parts``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ganrun.ground.errors import BadInput, suggestion
from ganrun.ground.registry import register
from ganrun.ground.spec import DiscriminatorOutput, Latent, Port
from ganrun.networks.base import (
    FEATURES,
    GENERATOR_NORMS,
    NO_TOKENS,
    NORMS,
    Family,
    check_norm,
    flat_size,
    flatten,
    norm1d,
    norm_traits,
)
from ganrun.networks.parts.dropout import check_dropout, dropping
from ganrun.networks.parts.minibatch import beside, check_minibatch, judged, minibatch_traits
from ganrun.networks.parts.virtual_norm import referenced, virtual_refusals
from ganrun.networks.parts.weights import check_init, initialise

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "tanh": nn.Tanh,
    "elu": nn.ELU,
    "silu": nn.SiLU,
}


@dataclass(frozen=True)
class LayerOptions:
    """Hidden layers: ``depth`` of ``width`` units each."""

    width: int = 256
    depth: int = 2
    norm: str = "none"
    activation: str = "relu"
    init: str = "uniform"

    def __post_init__(self) -> None:
        check_norm("norm", self.norm, self.norms)
        norm1d(self.norm, 8)  # refuses what vectors cannot have
        check_init(self.init)
        if self.width < 1 or self.depth < 1:
            raise BadInput(f"width={self.width}, depth={self.depth}: both must be at least 1")
        if self.activation not in ACTIVATIONS:
            raise BadInput(f"activation={self.activation}: {suggestion(self.activation, ACTIVATIONS)}")

    @property
    def norms(self) -> tuple[str, ...]:
        return NORMS

    @property
    def traits(self) -> frozenset[str]:
        """What follows for a discriminator with these layers. Its first has no normalization."""
        return norm_traits(self.norm if self.depth > 1 else "none")

    def dropping(self) -> list[nn.Module]:
        """What follows each hidden layer: dropout or nothing."""
        return []

    def beside(self) -> nn.Module | None:
        """The part of a discriminator that looks at the whole batch, or none."""
        return None

    def stack(self, inputs: int, *, first_norm: bool) -> nn.Sequential:
        layers: list[nn.Module] = []
        for index in range(self.depth):
            layers.append(nn.Linear(inputs if index == 0 else self.width, self.width))
            layers.append(norm1d(self.norm if index or first_norm else "none", self.width))
            layers.append(ACTIVATIONS[self.activation](*([0.2] if self.activation == "leaky_relu" else [])))
            layers += self.dropping()
        return nn.Sequential(*layers)


@dataclass(frozen=True)
class GeneratorOptions(LayerOptions):
    """Options of a fully connected generator."""

    dropout: float = 0.0
    dropout_always: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_dropout(self.dropout, self.dropout_always)

    @property
    def norms(self) -> tuple[str, ...]:
        return GENERATOR_NORMS

    def dropping(self) -> list[nn.Module]:
        return dropping(self.dropout, self.dropout_always)


@dataclass(frozen=True)
class DiscriminatorOptions(LayerOptions):
    """Options of a fully connected discriminator."""

    minibatch: str = "none"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_minibatch(self.minibatch)
        check_dropout(self.dropout, always=False)

    def dropping(self) -> list[nn.Module]:
        return dropping(self.dropout, always=False)

    @property
    def traits(self) -> frozenset[str]:
        return super().traits | minibatch_traits(self.minibatch)

    def beside(self) -> nn.Module | None:
        return beside(self.minibatch, self.width)


class Generator(nn.Module):
    """Latent vectors to samples of ``shape``."""

    def __init__(self, inputs: int, port: Port, layers: LayerOptions) -> None:
        super().__init__()
        self.hidden = layers.stack(inputs, first_norm=True)
        self.output = nn.Linear(layers.width, flat_size((port,)))
        self.port = port
        initialise(self, layers.init)

    def forward(self, *inputs: Tensor) -> Tensor:
        x = self.output(self.hidden(flatten(inputs))).unflatten(1, self.port.shape)
        return torch.tanh(x) if self.port.is_image else x


class Discriminator(nn.Module):
    """Any inputs to one score; the features are the last hidden layer."""

    def __init__(self, inputs: int, layers: LayerOptions) -> None:
        super().__init__()
        self.hidden = layers.stack(inputs, first_norm=False)
        self.output = nn.Linear(layers.width, 1)
        self.num_features = layers.width
        self.beside = layers.beside()
        initialise(self, layers.init)

    def forward(self, *inputs: Tensor) -> DiscriminatorOutput:
        features = self.hidden(flatten(inputs))
        return judged(self.output, self.beside, features, features)


@register("model", "mlp")
class MLP(Family):
    """Fully connected generator and discriminator."""

    def __init__(
        self,
        *,
        latent: int = 64,
        prior: str = "normal",
        generator: GeneratorOptions = GeneratorOptions(depth=3, norm="batch"),
        discriminator: DiscriminatorOptions = DiscriminatorOptions(activation="leaky_relu"),
    ) -> None:
        self.latent = Latent(latent, prior)
        self.of_generator, self.of_discriminator = generator, discriminator
        self.refuses = {"dataset.tokens": NO_TOKENS, **virtual_refusals(generator.norm)}
        self.traits = discriminator.traits | FEATURES

    def generator(self, inputs: tuple[Port, ...], outputs: tuple[Port, ...]) -> nn.Module:
        return referenced(Generator(flat_size(inputs), outputs[0], self.of_generator), inputs, self.latent)

    def discriminator(self, inputs: tuple[Port, ...], outputs: tuple[Port, ...]) -> nn.Module:
        return Discriminator(flat_size(inputs), self.of_discriminator)

    def encoder(self, inputs: tuple[Port, ...], outputs: tuple[Port, ...]) -> nn.Module:
        return Generator(flat_size(inputs), outputs[0], self.of_discriminator)
