"""What metrics of the classes that a generator is asked for share: rows kept with their labels, and naming without a network."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from ganrun.ground.traits import Rule
from ganrun.metrics.base import Sample, Score
from ganrun.metrics.two_samples import CHUNK, squared_distances, subset

ASKED = {
    "dataset.labelled": Rule("it compares classes, and this data has none", "dataset=digits"),
    "condition.labels": Rule("it reads which class each sample was asked for, and this run asks for none", "condition=concat"),
}
KNOWN = 5000  # real samples that the nearest one is looked for among


class Asked(Score):
    """Keeps rows and labels of both sides: of generated samples the classes asked for, of real ones their own."""

    extracts = frozenset({"labels"})
    needs: ClassVar = ASKED
    real: list[Tensor]
    generated: list[Tensor]
    real_labels: list[Tensor]
    generated_labels: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.classes = 0
        for name in ("real", "generated", "real_labels", "generated_labels"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def fewest(self) -> tuple[int, int]:
        return 2, 2

    def bind(self, dataset: Any) -> None:
        self.classes = int(dataset.spec.classes)

    def rows(self, sample: Sample) -> Tensor:
        """What is kept of a sample: (n, ...)."""
        found = sample.x if sample.features is None else sample.features
        if found is None:
            raise ValueError(f"{type(self).__name__} needs samples or their features")
        return found

    def update(self, sample: Sample, *, real: bool) -> None:
        if sample.labels is None:
            raise ValueError(f"{type(self).__name__} needs the classes that were asked for")
        (self.real if real else self.generated).append(self.rows(sample))
        (self.real_labels if real else self.generated_labels).append(sample.labels)

    def side(self, *, real: bool) -> tuple[Tensor, Tensor]:
        """(rows, labels) of the real or of the generated samples."""
        if real:
            return dim_zero_cat(self.real), dim_zero_cat(self.real_labels)
        return dim_zero_cat(self.generated), dim_zero_cat(self.generated_labels)


def nearest_class(rows: Tensor, known: Tensor, labels: Tensor) -> Tensor:
    """The label of the nearest of ``known`` (m, ...), at most 5000 of them, to each of ``rows`` (n, ...): int64 (n,)."""
    chosen = subset(torch.arange(len(known)), KNOWN, "nearest class")
    known, labels = known.flatten(1)[chosen].double(), labels[chosen]
    middle = known.mean(0)
    parts = [squared_distances(part.double() - middle, known - middle).argmin(1) for part in rows.flatten(1).split(CHUNK)]
    return labels[torch.cat(parts)]
