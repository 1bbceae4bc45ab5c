"""Points of any dimension whose law is known exactly: what a generative model can be held against without a feature network."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ganrun.data.base import Dataset
from ganrun.data.selection import check_classes, check_fraction, check_left, note_of, numbers_of, rows_of
from ganrun.ground import rng
from ganrun.ground.errors import BadInput
from ganrun.ground.spec import Batch, Spec

HELD_OUT = 10_000

Draw = Callable[[int, torch.Generator], tuple[Tensor, Tensor | None]]
Density = Callable[[Tensor], Tensor]


class Points(Dataset):
    """``x`` float32 (n, d), labels int64 (n,) or None; held-out points are drawn afresh from the same law.

    ``log_density`` maps float64 points (n, d) to the exact natural log density (n,); None where the law has none, being
    on a line or a plane. Mixtures of Gaussians have ``centres`` float64 (k, d) and ``std``, the same for every centre;
    otherwise both are None.
    """

    def __init__(
        self,
        x: Tensor,
        labels: Tensor | None,
        log_density: Density | None,
        *,
        centres: Tensor | None = None,
        std: float | None = None,
        class_names: tuple[str, ...] | None = None,
        held_out: Points | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.x, self.labels, self.log_density = x.to(torch.float32), labels, log_density
        self.centres, self.std, self.notes = centres, std, notes
        self._held_out = held_out
        classes = None if labels is None or centres is None else len(centres)
        self.spec = Spec("points", (x.shape[1],), classes)
        self.class_names = class_names or (None if classes is None else tuple(str(index) for index in range(classes)))

    @property
    def traits(self) -> frozenset[str]:
        known = {"dataset.density": self.log_density, "dataset.modes": self.centres}
        return super().traits | {word for word, held in known.items() if held is not None}

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


def points(name: str, num: int, draw: Draw, log_density: Density | None, note: str, **law: Any) -> Points:
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


def mixture(
    name: str, num: int, centres: Tensor, std: float, note: str, classes: Sequence[int | str] | None = None, fraction: float = 1.0
) -> Points:
    """An equal mixture of round Gaussians: p(x) = 1/k sum_j N(x; c_j, std^2 I). The label of a point is its centre.

    ``classes`` leaves the mixture of these Gaussians alone, ``fraction`` a share of the training points.
    """
    if not std > 0:
        raise BadInput(f"dataset.std={std}: must be positive")

    def draw(count: int, source: torch.Generator) -> tuple[Tensor, Tensor]:
        labels = torch.randint(len(centres), (count,), generator=source)
        return centres[labels] + std * torch.randn(count, centres.shape[1], generator=source, dtype=torch.float64), labels

    whole = points(name, num, draw, equal_density(centres, std), note, centres=centres, std=std)
    return part(whole, classes, fraction, lambda kept: equal_density(kept, std))


def part(whole: Points, classes: Sequence[int | str] | None, fraction: float, law: Callable[[Tensor], Density | None]) -> Points:
    """The points of a mixture that ``classes`` and ``fraction`` leave; ``law`` gives the density for the centres that remain."""
    assert whole.centres is not None
    count = len(whole.centres)
    chosen, _ = check_classes(classes, count, whole.class_names)
    check_fraction(fraction)
    if chosen is None and fraction == 1:
        return whole
    kept = tuple(range(count)) if chosen is None else chosen
    centres, numbers = whole.centres[list(kept)], numbers_of(kept, count)

    def take(data: Points, share: float, held_out: Points | None) -> Points:
        assert data.labels is not None
        rows = rows_of(len(data), data.labels, chosen, share)
        check_left(rows, chosen, fraction)
        note = note_of(whole.class_names, chosen, fraction, len(rows), len(data))
        names = tuple(str(index) for index in kept)
        return Points(
            data.x[rows],
            numbers[data.labels[rows]],
            law(centres),
            centres=centres,
            std=data.std,
            class_names=names,
            held_out=held_out,
            notes=(*data.notes, note),
        )

    held_out = whole.held_out()
    return take(whole, fraction, None if held_out is None else take(held_out, 1.0, None))


def equal_density(centres: Tensor, std: float) -> Density:
    """The log density of the equal mixture of N(c_j, std^2 I)."""
    weights = torch.full((len(centres),), -math.log(len(centres)), dtype=torch.float64)
    return lambda x: log_mixture(x, centres, weights, std)


def log_mixture(x: Tensor, centres: Tensor, log_weights: Tensor, std: float) -> Tensor:
    """log sum_j w_j N(x; c_j, std^2 I) for ``x`` (n, d), ``centres`` (k, d), ``log_weights`` (k,): float64 (n,)."""
    constant = log_weights - centres.shape[1] / 2 * math.log(2 * math.pi * std**2)
    rows = max(1, 2_000_000 // len(centres))  # at most 16 MB at a time
    pieces = []
    for piece in x.to(torch.float64).split(rows):
        squares = torch.zeros(len(piece), len(centres), dtype=torch.float64)
        for axis in range(centres.shape[1]):
            squares += (piece[:, None, axis] - centres[:, axis]).square_()
        pieces.append(torch.logsumexp(constant - squares / (2 * std**2), dim=1))
    return torch.cat(pieces) if pieces else x.new_empty(0, dtype=torch.float64)
