"""Convolutional players for rows of tokens: those of the language experiment of Gulrajani et al. 2017, at any size.

G: z -> linear -> (width, length) -> residual blocks of two convolutions of 5 -> logits of every position -> ``output``
D: one-hot rows, or rows of probabilities -> convolution of 1 -> the same blocks -> sums over positions -> linear -> score

What the generator hands over, l being its logits:

- ``softmax``: the probabilities; a critic with a gradient penalty is met by them, a plain discriminator tells them from
  one-hot rows at a glance;
- ``gumbel``: softmax((l + g) / temperature) with Gumbel noise g, nearly one-hot samples (Jang, Gu and Poole 2017; Maddison,
  Mnih and Teh 2017);
- ``straight_through``: exactly one-hot samples, whose gradient is that of ``gumbel``;
- ``argmax``: the likeliest symbols; its derivative is zero almost everywhere, so a generator learns nothing through it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ganrun.ground.errors import BadInput, suggestion
from ganrun.ground.registry import register
from ganrun.ground.spec import DiscriminatorOutput, Latent, Port
from ganrun.ground.traits import Rule
from ganrun.networks.base import FEATURES, Family, flat_size
from ganrun.networks.parts.code_discriminator import CodeDiscriminator

OUTPUTS = ("softmax", "gumbel", "straight_through", "argmax")


@dataclass(frozen=True)
class BlockOptions:
    """``depth`` residual blocks of ``width`` channels."""

    width: int = 128
    depth: int = 3

    def __post_init__(self) -> None:
        if self.width < 1 or self.depth < 1:
            raise BadInput(f"width={self.width}, depth={self.depth}: both must be at least 1")


@dataclass(frozen=True)
class GeneratorOptions(BlockOptions):
    """Options of the generator."""


@dataclass(frozen=True)
class DiscriminatorOptions(BlockOptions):
    """Options of the discriminator."""


class Block(nn.Module):
    """x + 0.3 times two convolutions of it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(width, width, 5, padding=2)
        self.second = nn.Conv1d(width, width, 5, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.3 * self.second(functional.relu(self.first(functional.relu(x))))


def blocks(options: BlockOptions) -> nn.Sequential:
    return nn.Sequential(*(Block(options.width) for _ in range(options.depth)))


class Generator(nn.Module):
    """(n, latent) to rows (n, length, vocabulary)."""

    def __init__(self, inputs: int, shape: tuple[int, ...], options: BlockOptions, output: str, temperature: float) -> None:
        super().__init__()
        self.length, vocabulary = shape
        self.input = nn.Linear(inputs, options.width * self.length)
        self.blocks = blocks(options)
        self.logits = nn.Conv1d(options.width, vocabulary, 1)
        self.output, self.temperature = output, temperature

    def forward(self, *inputs: Tensor) -> Tensor:
        maps = self.input(torch.cat([entry.flatten(1) for entry in inputs], 1)).unflatten(1, (-1, self.length))
        logits: Tensor = self.logits(self.blocks(maps)).transpose(1, 2)
        return rows(logits, self.output, self.temperature)


def rows(logits: Tensor, output: str, temperature: float) -> Tensor:
    """Logits (n, length, vocabulary) as rows that sum to one; Gumbel noise comes from torch's default generator."""
    if output == "softmax":
        return logits.softmax(-1)
    if output == "argmax":
        return functional.one_hot(logits.argmax(-1), logits.shape[-1]).to(logits.dtype) + 0 * logits
    return functional.gumbel_softmax(logits, tau=temperature, hard=output == "straight_through")


class Encoder(nn.Module):
    """Rows, and codes at every position, to vectors of ``outputs`` numbers."""

    def __init__(self, inputs: tuple[Port, ...], outputs: int, options: BlockOptions) -> None:
        super().__init__()
        channels = sum(port.shape[-1] for port in inputs)
        self.input = nn.Conv1d(channels, options.width, 1)
        self.blocks = blocks(options)
        self.output = nn.Linear(options.width, outputs)
        self.num_features = options.width

    def features(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Sums over positions of the last map: shape (n, num_features)."""
        length = next(entry.shape[1] for entry in inputs if entry.ndim == 3)
        wide = [entry if entry.ndim == 3 else entry[:, None, :].expand(-1, length, -1) for entry in inputs]
        maps = self.blocks(self.input(torch.cat(wide, 2).transpose(1, 2)))
        return functional.relu(maps).sum(2)

    def forward(self, *inputs: Tensor) -> Tensor:
        code: Tensor = self.output(self.features(inputs))
        return code


class Discriminator(Encoder):
    """Rows, and codes at every position, to one score."""

    def __init__(self, inputs: tuple[Port, ...], options: BlockOptions) -> None:
        super().__init__(inputs, 1, options)

    def forward(self, *inputs: Tensor) -> DiscriminatorOutput:  # type: ignore[override]
        features = self.features(inputs)
        return DiscriminatorOutput(self.output(features).squeeze(1), features)


@register("model", "sequence")
class Sequence(Family):
    """One-dimensional convolutions over rows of tokens."""

    needs = {"dataset.tokens": Rule("its players read and write rows of tokens, and this data set has none", "model=mlp")}
    traits = FEATURES

    def __init__(
        self,
        *,
        latent: int = 64,
        prior: str = "normal",
        output: str = "softmax",
        temperature: float = 0.75,
        generator: GeneratorOptions = GeneratorOptions(),
        discriminator: DiscriminatorOptions = DiscriminatorOptions(),
    ) -> None:
        if output not in OUTPUTS:
            raise BadInput(f"model.output={output}: there is no such output. {suggestion(output, OUTPUTS)}")
        if not temperature > 0:
            raise BadInput(f"model.temperature={temperature}: must be above 0")
        self.latent = Latent(latent, prior)
        self.output, self.temperature = output, temperature
        self.of_generator, self.of_discriminator = generator, discriminator

    def generator(self, inputs: tuple[Port, ...], outputs: tuple[Port, ...]) -> nn.Module:
        return Generator(flat_size(inputs), outputs[0].shape, self.of_generator, self.output, self.temperature)

    def discriminator(self, inputs: tuple[Port, ...], outputs: tuple[Port, ...]) -> nn.Module:
        if all(len(port.shape) == 1 for port in inputs):
            return CodeDiscriminator(flat_size(inputs))
        return Discriminator(inputs, self.of_discriminator)

    def encoder(self, inputs: tuple[Port, ...], outputs: tuple[Port, ...]) -> nn.Module:
        return Encoder(inputs, flat_size(outputs), self.of_discriminator)
