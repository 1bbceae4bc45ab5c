"""Eight Gaussians on a circle as sources, the same points turned by an angle as targets: translation whose answer is known.

With the pairs (Isola et al. 2017) the map is determined: x = R s. Without them (Zhu et al. 2017) it is not: every turn that takes
one ring to the other, and every reflection, fits both laws and its inverse closes the cycle. ``paired_distance`` tells.
"""

from __future__ import annotations

import hashlib
import math

import torch
from torch import Tensor

from ganrun.data.base import Dataset
from ganrun.data.points import Points, log_mixture
from ganrun.data.ring8 import ring8
from ganrun.ground.registry import register
from ganrun.ground.spec import Batch


class PairedPoints(Points):
    """Points with the source of each: ``origins`` has as many rows, in the same order."""

    def __init__(self, points: Points, origins: Points, held_out: PairedPoints | None = None) -> None:
        centres, std = points.centres, points.std
        super().__init__(
            points.x, points.labels, points.log_density, centres=centres, std=std, held_out=held_out, notes=points.notes
        )
        self.origins = origins
        self.spec = type(self.spec)("points", self.spec.shape, self.spec.classes, origins.spec.shape)

    @property
    def traits(self) -> frozenset[str]:
        return super().traits | {"dataset.paired", "dataset.unpaired"}

    def batch(self, indices: Tensor, device: torch.device | str = "cpu") -> Batch:
        found = super().batch(indices, device)
        return Batch(found.x, found.y, self.origins.batch(indices, device).x)

    def sources(self) -> Dataset:
        return self.origins

    def fingerprint(self) -> str:
        return hashlib.sha256(f"paired {super().fingerprint()} {self.origins.fingerprint()}".encode()).hexdigest()


@register("dataset", "rotated_ring")
def rotated_ring(*, angle: float = 22.5, radius: float = 1.0, std: float = 0.01, num: int = 100000) -> PairedPoints:
    """``num`` pairs of a point of the ring and the same point turned by ``angle`` degrees; label i names its Gaussian."""
    origins = ring8(radius=radius, std=std, num=num)
    held = origins.held_out()
    assert held is not None
    return turned(origins, angle, turned(held, angle))


def turned(origins: Points, angle: float, held_out: PairedPoints | None = None) -> PairedPoints:
    """Every point of ``origins`` turned about 0 by ``angle`` degrees, with its origin."""
    assert origins.centres is not None
    assert origins.std is not None
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    turn = torch.tensor([[cos, sin], [-sin, cos]], dtype=torch.float64)
    centres, std = origins.centres @ turn, origins.std
    weights = torch.full((len(centres),), -math.log(len(centres)), dtype=torch.float64)

    def log_density(x: Tensor) -> Tensor:
        return log_mixture(x, centres, weights, std)

    note = f"turned by {angle} degrees: {', '.join(origins.notes)}"
    x = origins.x.double() @ turn
    return PairedPoints(Points(x, origins.labels, log_density, centres=centres, std=std, notes=(note,)), origins, held_out)
