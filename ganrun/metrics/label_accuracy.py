"""Whether the class that a generator is asked for comes out, as a classifier sees it (Odena, Olah and Shlens 2017).

    label_accuracy = share of generated samples whose class is the one asked for;
    label_accuracy_worst = the lowest share of a class.

For images the class is the one that the extractor's classifier finds, so 1 cannot be expected: real samples read the
classifier's own accuracy, which is on the card. For points and tokens it is that of the nearest real sample. A generator that
ignores the label reads about 1 / K, or the classes' shares squared and summed. It says nothing of variety: one good image a
class reads 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ganrun.ground.registry import register
from ganrun.metrics.asked import Asked, nearest_class
from ganrun.metrics.base import Data, Sample


@register("metric", "label_accuracy")
class LabelAccuracy(Asked):
    """The share of samples that are of the class asked for, and that of the worst class."""

    directions: Mapping[str, bool | None] = {"label_accuracy": True, "label_accuracy_worst": True}
    welcomes = frozenset({"features", "logits"})

    def __init__(self) -> None:
        super().__init__()
        self.by: str | None = None

    def lacks(self, dataset: Data, classes: int | None) -> str:
        if dataset.spec.kind != "image" or classes == dataset.spec.classes:
            return ""
        wanted = f"the {dataset.spec.classes} classes of the data: evaluation.extractor=classifier"
        return f"label_accuracy needs a classifier of {wanted}"

    def rows(self, sample: Sample) -> Tensor:
        self.by = "the extractor's classifier" if sample.logits is not None else "the nearest real sample"
        return super().rows(sample) if sample.logits is None else sample.logits

    def compute(self) -> dict[str, float]:
        """``label_accuracy``, ``label_accuracy_worst``."""
        rows, asked = self.side(real=False)
        found = rows.argmax(1) if self.by == "the extractor's classifier" else nearest_class(rows, *self.side(real=True))
        right = (found == asked).double()
        counts = asked.bincount(minlength=self.classes)
        shares = torch.zeros(self.classes, dtype=torch.float64).index_add_(0, asked, right) / counts
        shares[counts == 0] = torch.inf
        worst = int(shares.argmin())
        mistaken = found[(asked == worst) & (found != asked)]
        taken = f", taken most often for class {int(mistaken.mode().values)}" if len(mistaken) else ""
        absent = int((counts == 0).sum())
        self.remarks = (
            *([f"the lowest share is that of class {worst}: {shares[worst]:.3g} of {int(counts[worst])} samples{taken}"]
              if right.min() == 0 else []),
            *([f"{absent} of {self.classes} classes were not asked for: raise evaluation.num"] if absent else []),
        )  # fmt: skip
        self.spreads = {
            "label_accuracy": _deviation(right.mean(), len(right)),
            "label_accuracy_worst": _deviation(shares[worst], int(counts[worst])),
        }
        return {"label_accuracy": right.mean().item(), "label_accuracy_worst": shares[worst].item()}

    def card(self) -> dict[str, Any]:
        return {"classes": self.classes or None, "named by": self.by, "std": "of a share: sqrt(p (1 - p) / n)"}


def _deviation(share: Tensor, count: int) -> float:
    return (share * (1 - share) / count).sqrt().item()
