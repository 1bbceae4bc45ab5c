"""Points in the plane whose density is known exactly: what a generative model can be held against without a feature network."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ganrun.data.base import Dataset
from ganrun.ground import rng
from ganrun.ground.errors import BadInput
from ganrun.ground.spec import Batch, Spec

HELD_OUT = 10_000

Draw = Callable[[int, torch.Generator], tuple[Tensor, Tensor | None]]
Density = Callable[[Tensor], Tensor]


class Points(Dataset):
    """``x`` float32 (n, 2), labels int64 (n,) or None; held-out points are drawn afresh from the same law.

    ``log_density`` maps float64 points (n, 2) to the exact natural log density (n,). Mixtures of Gaussians have
    ``centres`` float64 (k, 2) and ``std``, the same in both directions for every centre; otherwise both are None.
    """

    def __init__(
        self,
        x: Tensor,
        labels: Tensor | None,
        log_density: Density,
        *,
        centres: Tensor | None = None,
        std: float | None = None,
        held_out: Points | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.x, self.labels, self.log_density = x.to(torch.float32), labels, log_density
        self.centres, self.std, self.notes = centres, std, notes
        self._held_out = held_out
        classes = None if labels is None or centres is None else len(centres)
        self.spec = Spec("points", (2,), classes)
        self.class_names = None if classes is None else tuple(str(index) for index in range(classes))

    @property
    def traits(self) -> frozenset[str]:
        words = {"dataset.density"} if self.centres is None else {"dataset.density", "dataset.modes"}
        return super().traits | words

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, indices: Tensor, device: torch.device | str = "cpu") -> Batch:
        labels = None if self.labels is None else self.labels[indices].to(device, non_blocking=True)
        return Batch(self.x[indices].to(device, non_blocking=True), labels)

    def held_out(self) -> Points | None:
        return self._held_out

    def fingerprint(self) -> str:
        digest = hashlib.sha256(repr(tuple(self.x.shape)).encode())
        digest.update(self.x.numpy().data)
        if self.labels is not None:
            digest.update(self.labels.numpy().data)
        return digest.hexdigest()

    def card(self) -> Mapping[str, Any]:
        modes = {} if self.centres is None else {"modes": len(self.centres), "std": self.std}
        return {**super().card(), **modes}


def points(name: str, num: int, draw: Draw, log_density: Density, note: str, **law: Any) -> Points:
    """``num`` points of the law ``draw``, and an independent sample of min(num, 10000) held out.

    The random numbers follow from the data set's name and the split alone, so every run and every seed sees the same
    points. ``law`` is passed on to ``Points``.
    """
    if not isinstance(num, int) or num < 2:
        raise BadInput(f"dataset.num={num}: at least 2 points are needed")

    def split(part: str, count: int, held_out: Points | None) -> Points:
        x, labels = draw(count, rng.generator("dataset", name, part))
        return Points(x, labels, log_density, held_out=held_out, notes=(note,), **law)

    return split("train", num, split("held_out", min(num, HELD_OUT), None))


def mixture(name: str, num: int, centres: Tensor, std: float, note: str) -> Points:
    """An equal mixture of round Gaussians: p(x) = 1/k sum_j N(x; c_j, std^2 I). The label of a point is its centre."""
    if not std > 0:
        raise BadInput(f"dataset.std={std}: must be positive")

    def draw(count: int, source: torch.Generator) -> tuple[Tensor, Tensor]:
        labels = torch.randint(len(centres), (count,), generator=source)
        return centres[labels] + std * torch.randn(count, 2, generator=source, dtype=torch.float64), labels

    def log_density(x: Tensor) -> Tensor:
        return log_mixture(x, centres, torch.full((len(centres),), -math.log(len(centres)), dtype=torch.float64), std)

    return points(name, num, draw, log_density, note, centres=centres, std=std)


def log_mixture(x: Tensor, centres: Tensor, log_weights: Tensor, std: float) -> Tensor:
    """log sum_j w_j N(x; c_j, std^2 I) for ``x`` (n, 2), ``centres`` (k, 2), ``log_weights`` (k,): float64 (n,)."""
    constant = log_weights - math.log(2 * math.pi * std**2)
    rows = max(1, 2_000_000 // len(centres))  # at most 16 MB at a time
    pieces = []
    for piece in x.to(torch.float64).split(rows):
        squares = (piece[:, None, 0] - centres[:, 0]).square_() + (piece[:, None, 1] - centres[:, 1]).square_()
        pieces.append(torch.logsumexp(constant - squares / (2 * std**2), dim=1))
    return torch.cat(pieces) if pieces else x.new_empty(0, dtype=torch.float64)
