"""Further outputs of a discriminator: linear heads on its features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ganrun.ground.spec import DiscriminatorOutput
from ganrun.ground.traits import Rule

NOT_PACKED = Rule("a pack of samples has several labels, and one class is asked for", "pack=1")
NO_ENERGY = Rule("its score is made of logits, and minus an energy is none", "game=adversarial")


class Headed(nn.Module):
    """A discriminator whose outputs carry ``heads``: name to linear map of the features, shape (n, size)."""

    def __init__(self, network: nn.Module, sizes: Mapping[str, int]) -> None:
        super().__init__()
        self.network = network
        self.num_features: int = getattr(network, "num_features", 0)
        self.heads = nn.ModuleDict({name: nn.Linear(self.num_features, size) for name, size in sizes.items()})

    def forward(self, *inputs: Tensor, **condition: Any) -> DiscriminatorOutput:
        output: DiscriminatorOutput = self.network(*inputs, **condition)
        assert output.features is not None
        output.heads.update({name: head(output.features) for name, head in self.heads.items()})
        return output


def beside_score(number: Tensor, score: Tensor) -> Tensor:
    """One number a sample, (n,), in a shape that adds to the score: (n,), or (n, 1, 1, 1) for a map of patches."""
    return number.view(-1, *[1] * (score.ndim - 1))
