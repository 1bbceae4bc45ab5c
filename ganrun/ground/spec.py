"""What is played with: the shapes of a data set, the ports of a network, the law of the latent, a batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from ganrun.ground.errors import BadInput, suggestion


@dataclass(frozen=True)
class Spec:
    """What a data set holds.

    ``shape`` is (channels, height, width) for images in [-1, 1], (dimensions,) for points and (length, vocabulary) for
    tokens, one-hot rows over the symbols of ``alphabet``. ``source`` is the shape of the image that comes with a sample, or
    of those to be translated.
    """

    kind: Literal["image", "points", "tokens"]
    shape: tuple[int, ...]
    classes: int | None = None
    source: tuple[int, ...] | None = None
    alphabet: str | None = None


@dataclass(frozen=True)
class Port:
    """One input or output of a network. ``kind`` "data" is noised, augmented and packed; "code" never is."""

    kind: Literal["data", "code", "score"]
    shape: tuple[int, ...]

    @property
    def is_image(self) -> bool:
        return len(self.shape) == 3


@dataclass
class Batch:
    """Real samples on the training device: ``x`` float32 of shape (n, *spec.shape), ``y`` int64 of shape (n,) or None.

    ``source``: for translation, the images of shape (n, *spec.source) that belong to x.
    """

    x: Tensor
    y: Tensor | None = None
    source: Tensor | None = None


@dataclass(frozen=True)
class Latent:
    """The generator's input law: ``normal`` is N(0, I), ``uniform`` is U(-1, 1) in each of ``size`` dimensions."""

    size: int
    prior: str = "normal"

    def __post_init__(self) -> None:
        if self.size < 1:
            raise BadInput(f"model.latent={self.size}: must be at least 1")
        if self.prior not in ("normal", "uniform"):
            raise BadInput(f"model.prior={self.prior}: {suggestion(self.prior, ('normal', 'uniform'))}")

    def draw(self, count: int, source: torch.Generator) -> Tensor:
        """``count`` latents: float32 of shape (count, size), on the CPU."""
        if self.prior == "normal":
            return torch.randn(count, self.size, generator=source)
        return torch.rand(count, self.size, generator=source) * 2 - 1

    @property
    def noise_law(self) -> str:
        """The law of the leading numbers: "normal" or "uniform"."""
        return self.prior

    @property
    def noise_size(self) -> int:
        """How many of the leading numbers mean nothing by themselves: the others are codes."""
        return self.size

    @property
    def codes(self) -> tuple[int, ...]:
        """What follows the noise: for each category its number of values, coded one-hot; 1 for each number from U(-1, 1)."""
        return ()

    @property
    def reach(self) -> float:
        """How far from 0 a number of the noise goes, the rare ones aside."""
        return 3.0 if self.noise_law == "normal" else 1.0


@dataclass
class DiscriminatorOutput:
    """What a discriminator says of n inputs.

    ``score``: raw, higher is more real, shape (n,) or (n, 1, height, width) for a map of patches.
    ``features``: the last layer before the score, shape (n, features). ``heads``: further outputs by name.
    """

    score: Tensor
    features: Tensor | None = None
    heads: dict[str, Tensor] = field(default_factory=dict)

    def rows(self, rows: slice | Tensor) -> DiscriminatorOutput:
        """What is said of some of the inputs."""
        features = None if self.features is None else self.features[rows]
        return DiscriminatorOutput(self.score[rows], features, {name: head[rows] for name, head in self.heads.items()})
