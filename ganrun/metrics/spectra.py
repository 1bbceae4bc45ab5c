"""Singular values of the discriminator's weights, whose collapse goes with the generator's (Liu et al. 2019, SR-GAN).

For each matrix of a layer (outputs x all else: convolutions, linear layers and embeddings, nothing of a normalization),
s_1 >= ... >= s_r its singular values as it is used, normalizations of the weight included:

- ``spectra``: mean over layers of the mean of s_j / s_1; it falls as a few directions take over.
- ``spectra_top.LAYER`` = s_1, ``spectra_mean.LAYER`` = mean of s_j / s_1, ``spectra_rank.LAYER`` = sum of s_j^2 / s_1^2, the
  stable rank, between 1 and r.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ganrun.ground.matrices import matrices
from ganrun.ground.registry import register
from ganrun.metrics.base import Sample, Sandbox, Score, Stage


def summary(matrix: Tensor) -> dict[str, float]:
    """``top``, ``mean`` and ``rank`` of the singular values of a matrix; a zero matrix has mean and rank 0."""
    values = torch.linalg.svdvals(matrix)
    top = values[0].item()
    ratios = values / top if top > 0 else values
    return {"top": top, "mean": ratios.mean().item(), "rank": ratios.square().sum().item()}


@register("metric", "spectra")
class Spectra(Score):
    """Singular values of each weight of the discriminators, at the step that is scored."""

    directions: Mapping[str, bool | None] = {"spectra": True}
    extracts = frozenset({"networks"})

    def __init__(self) -> None:
        super().__init__()
        self.sandbox: Sandbox | None = None

    def fewest(self) -> tuple[int, int]:
        return 0, 0

    def enter(self, stage: Stage) -> None:
        self.sandbox = stage.sandbox

    def update(self, sample: Sample, *, real: bool) -> None:
        """Samples are not looked at."""

    def compute(self) -> dict[str, float]:
        """``spectra`` and three values a layer."""
        if self.sandbox is None:
            raise ValueError("singular values need the networks of a run")
        judges, self.sandbox = self.sandbox.judges, None
        found = {}
        with torch.no_grad():
            for role, network in judges.items():
                for layer, matrix in matrices(network):
                    found[layer if len(judges) == 1 else f"{role}.{layer}"] = summary(matrix)
        if not found:
            self.missing = "the discriminator has no layer with a weight matrix"
            return {}
        each = {f"spectra_{word}.{layer}": entry[word] for layer, entry in found.items() for word in ("top", "mean", "rank")}
        return {"spectra": sum(entry["mean"] for entry in found.values()) / len(found), **each}

    def card(self) -> dict[str, Any]:
        return {
            "weights": "as used, outputs x all else; of the present networks, not of an average",
            "std": "none: weights are no sample",
        }
