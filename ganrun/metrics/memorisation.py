"""Whether a generator repeats its training data: it lies nearer to them than to real data that it never saw.

- ``nearest_train``: share of generated samples whose nearest real sample, of both splits together, is a training one: 1 for a
  generator that only copies, ``nearest_train_expected`` = n / (n + m) for one that has not memorised any of n training
  samples beside m held-out ones (Lopez-Paz and Oquab 2017, for nearest neighbours as a test).
- ``fid_gap`` = ``fid_held_out`` - ``fid_train``, the Frechet distances to either (Heusel et al. 2017), both splits cut to
  equally many, so that their biases are equal: 0 in the mean for a generator that has not memorised, above it for one that
  has. It tells of a whole distribution, so it needs more of it than nearest_train.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from ganrun.ground.errors import BadInput
from ganrun.ground.registry import register
from ganrun.ground.traits import Rule
from ganrun.metrics.base import IMAGES, Data, Sample, Stage
from ganrun.metrics.fid import compare, moments
from ganrun.metrics.two_samples import CHUNK, TwoSampleScore, squared_distances, standard_error, subset

MOST = 10_000  # real samples of a split


def nearest_first(x: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """1.0 for each row of ``x`` that is nearer to a row of ``first`` than to all of ``second``, 1/2 for a draw: (n,)."""
    found = []
    for part in x.split(CHUNK):
        one, other = (squared_distances(part, rows).amin(1) for rows in (first, second))
        found.append((one < other).double() + 0.5 * (one == other).double())
    return torch.cat(found)


@register("metric", "memorisation")
class Memorisation(TwoSampleScore):
    """How much nearer generated images are to the training data than to held-out data of the same size."""

    directions: Mapping[str, bool | None] = {
        "nearest_train": False,
        "nearest_train_expected": None,
        "fid_gap": False,
        "fid_train": False,
        "fid_held_out": False,
    }
    extracts = frozenset({"features"})
    needs: ClassVar[Mapping[str, Rule]] = IMAGES

    def __init__(self) -> None:
        super().__init__()
        self.splits: dict[str, Sample | None] = {}
        self.used: int | None = None

    def fewest(self) -> tuple[int, int]:
        return 0, self.least

    def lacks(self, dataset: Data, classes: int | None) -> str:
        held_out = dataset.held_out()
        counts = (len(dataset), 0 if held_out is None else len(held_out))
        if min(counts) >= self.least:
            return ""
        found = "nothing" if held_out is None else f"{counts[1]} of {sum(counts)}"
        return f"memorisation compares training with held-out data, {self.least} samples of each at least; held out is {found}"

    def enter(self, stage: Stage) -> None:
        self.splits = {name: stage.split(name) for name in ("train", "held_out")}

    def update(self, sample: Sample, *, real: bool) -> None:
        if not real:  # the real samples are those of both splits, whatever the reference is
            super().update(sample, real=False)

    def compute(self) -> dict[str, float]:
        """``nearest_train`` and what is expected of it, the distances and their gap; nothing without held-out data."""
        held = {name: sample.features for name, sample in self.splits.items() if sample and sample.features is not None}
        self.splits = {}
        if len(held) < 2:
            return {}  # ``lacks`` says why
        self.used = count = min(*(len(rows) for rows in held.values()), MOST)
        train, held_out = (subset(rows, count, "memorisation", name).double() for name, rows in held.items())
        whole = [subset(rows, MOST, "memorisation", "nearest", name).double() for name, rows in held.items()]
        generated = torch.cat(self.generated).double()
        if min(len(generated), count) < 2:
            raise BadInput(f"metric=memorisation: needs at least 2 samples, there are {len(generated)}; raise evaluation.num")
        made, first, second = moments(generated), moments(train), moments(held_out)
        near, far = (compare(real, made) for real in (first, second))
        moves = [found.influence(generated) for found in (near, far)]
        of_real = [compare(made, real).spread(rows) for real, rows in ((first, train), (second, held_out))]
        hits = nearest_first(generated - first.mean, *(rows - first.mean for rows in whole))
        dimension = generated.shape[1]
        self.remarks = ()
        if min(len(generated), count) <= dimension:
            self.remarks = (
                f"{min(len(generated), count)} samples for {dimension} features: both distances are biased up; "
                "nearest_train needs fewer",
            )
        self.spreads = {
            "fid_gap": (standard_error(moves[1] - moves[0]) ** 2 + of_real[0] ** 2 + of_real[1] ** 2) ** 0.5,
            "fid_train": standard_error(moves[0]),
            "fid_held_out": standard_error(moves[1]),
            "nearest_train": standard_error(hits),
        }
        return {
            "nearest_train": hits.mean().item(),
            "nearest_train_expected": len(whole[0]) / (len(whole[0]) + len(whole[1])),
            "fid_gap": far.distance - near.distance,
            "fid_train": near.distance,
            "fid_held_out": far.distance,
        }

    def card(self) -> dict[str, Any]:
        return {
            "real samples of a split for fid_gap": self.used,
            "std": "by the influence function: of the gap over all three samples, else over the generated one; binomial",
        }
