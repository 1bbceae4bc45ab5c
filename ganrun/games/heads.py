"""Further outputs of a discriminator: linear heads on its features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ganrun.ground.spec import Verdict


class Headed(nn.Module):
    """A discriminator whose verdicts carry ``heads``: name to linear map of the features, shape (n, size)."""

    def __init__(self, network: nn.Module, sizes: Mapping[str, int]) -> None:
        super().__init__()
        self.network = network
        self.num_features: int = getattr(network, "num_features", 0)
        self.heads = nn.ModuleDict({name: nn.Linear(self.num_features, size) for name, size in sizes.items()})

    def forward(self, *inputs: Tensor, **condition: Any) -> Verdict:
        verdict: Verdict = self.network(*inputs, **condition)
        assert verdict.features is not None
        verdict.heads.update({name: head(verdict.features) for name, head in self.heads.items()})
        return verdict
