"""What a discriminator may know of its whole batch, so that it notices when all samples are alike.

``discrimination`` (Salimans et al. 2016, "Improved Techniques for Training GANs"): M_i = f(x_i) T, of KERNELS rows of DIMENSIONS
numbers; c_b(i, j) = exp(-||M_ib - M_jb||_1); o_b(x_i) = sum over all j of c_b(i, j), j = i included.

``stddev`` (Karras et al. 2018, "Progressive Growing of GANs"): the standard deviation of each feature over a group of
samples, sqrt(population variance + 1e-8), averaged over features. Groups are of 4 samples; where 4 does not divide the
batch of 3, else 2, else the whole batch is one. Sample i is in group i modulo their number.

Both are computed from the last features; their numbers join these before the linear layer of the score. Real and fake
samples are judged in batches of their own, and the features handed on are those before this part.
"""

from __future__ import annotations

from torch import Tensor, nn

from ganrun.ground.errors import BadInput, suggestion
from ganrun.ground.spec import DiscriminatorOutput

KINDS = ("none", "discrimination", "stddev")
KERNELS, DIMENSIONS = 50, 5
GROUPS = (4, 3, 2)


class Discrimination(nn.Module):
    """Features (n, features) to closeness to the batch (n, KERNELS), each between 1 and n."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.kernels = nn.Linear(features, KERNELS * DIMENSIONS, bias=False)
        self.count = KERNELS

    def forward(self, features: Tensor) -> Tensor:
        rows = self.kernels(features).unflatten(1, (KERNELS, DIMENSIONS))
        return closeness(rows)


class Deviation(nn.Module):
    """Features (n, features) to the mean standard deviation of each sample's group: (n, 1)."""

    count = 1

    def forward(self, features: Tensor) -> Tensor:
        return deviation(features)


class AppendedFeatures(nn.Module):
    """What statistics of the batch add to the score: features (n, features) to (n, 1)."""

    def __init__(self, kind: str, features: int) -> None:
        super().__init__()
        self.statistics = Discrimination(features) if kind == "discrimination" else Deviation()
        self.output = nn.Linear(self.statistics.count, 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        added: Tensor = self.output(self.statistics(features))
        return added


def judged(output: nn.Module, beside: nn.Module | None, maps: Tensor, features: Tensor) -> DiscriminatorOutput:
    """One score a sample: ``output`` of the maps, and what statistics of the batch of features add to it."""
    score = output(maps)
    return DiscriminatorOutput((score if beside is None else score + beside(features)).squeeze(1), features)


def beside(minibatch: str, features: int) -> nn.Module | None:
    """The part that looks at the whole batch, or none."""
    return None if minibatch == "none" else AppendedFeatures(minibatch, features)


def closeness(rows: Tensor) -> Tensor:
    """sum_j exp(-||rows_ib - rows_jb||_1): (n, kernels, dimensions) to (n, kernels)."""
    return (rows[:, None] - rows[None]).abs().sum(3).neg().exp().sum(1)


def deviation(features: Tensor) -> Tensor:
    """Mean over features of the standard deviation over each sample's group: (n, features) to (n, 1)."""
    count = len(features)
    size = next((size for size in GROUPS if count % size == 0), count)
    groups = features.unflatten(0, (size, count // size))
    spread = (groups.var(0, correction=0) + 1e-8).sqrt().mean(1)
    return spread.repeat(size)[:, None]


def check_minibatch(kind: str) -> None:
    """Raise ``BadInput`` unless ``kind`` is one of the parts."""
    if kind not in KINDS:
        raise BadInput(f"minibatch={kind}: there is no such part. {suggestion(kind, KINDS)}")


def minibatch_traits(kind: str) -> frozenset[str]:
    """Scores that depend on the batch: no penalty may ask for a sample's own gradient."""
    return frozenset() if kind == "none" else frozenset({"discriminator.minibatch.batch_coupled"})
