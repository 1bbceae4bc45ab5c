"""Modes of labelled images that a generator covers, by a classifier (Metz et al. 2017; Srivastava et al. 2017; Lin et al. 2018).

The extractor names the class of each sample, its largest logit; of stacked digits that is the class of each channel, 1000 modes
in all. q are the shares of the classes among n generated samples.

- ``class_modes``: classes that at least one sample is of. A perfect sampler of shares p reaches sum over k of
  1 - (1 - p_k)^n on average: of 1000 equal modes 918 with 2500 samples, practically all with the published 26000.
- ``class_kl``: sum over k of q_k log(q_k / p_k), zero times log zero being zero. A perfect sampler reads about (K - 1) / 2n.

p is ``uniform`` over the K classes, as published, or that of the ``data``: the shares that the same classifier finds in the real
sample of m, as (count + 1/2) / (m + K/2), since a class that is missing there would make the divergence infinite.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from ganrun.ground import rng
from ganrun.ground.errors import BadInput, suggestion
from ganrun.ground.registry import register
from ganrun.ground.traits import Rule
from ganrun.metrics.base import IMAGES, Data, Sample, Score

LAWS = ("uniform", "data")
RESAMPLES = 200


def read(counts: Tensor, law: Tensor) -> dict[str, Tensor]:
    """All values, float64 (r,), from ``counts`` (r, k) of samples by class and the shares ``law`` (k,) to compare with."""
    share = counts.double() / counts.sum(1, keepdim=True)
    return {
        "class_modes": (counts > 0).sum(1).double(),
        "class_kl": torch.special.xlogy(share, share / law).sum(1),
    }


def ceiling(law: Tensor, count: int) -> float:
    """How many classes ``count`` samples of the shares ``law`` hit on average."""
    return float((1 - (1 - law).pow(count)).sum())


@register("metric", "class_modes")
class ClassModes(Score):
    """Classes that the generated samples hit, and the divergence of their shares from ``law``."""

    directions: Mapping[str, bool | None] = {"class_modes": True, "class_kl": False}
    extracts = frozenset({"logits"})
    needs: ClassVar[Mapping[str, Rule]] = {
        **IMAGES,
        "dataset.labelled": Rule("it counts classes, and this data has none", "dataset=digits"),
    }
    real: list[Tensor]
    generated: list[Tensor]

    def __init__(self, *, law: str = "uniform") -> None:
        super().__init__()
        if law not in LAWS:
            raise BadInput(f"metric.class_modes.law={law}: {suggestion(str(law), LAWS)}")
        self.law, self.classes = law, 0
        self.add_state("real", [], dist_reduce_fx="cat")
        self.add_state("generated", [], dist_reduce_fx="cat")

    def lacks(self, dataset: Data, classes: int | None) -> str:
        if classes is None or classes == dataset.spec.classes:
            return ""
        return f"class_modes needs the logits of the {dataset.spec.classes} classes of the data: evaluation.extractor=classifier"

    def bind(self, dataset: Any) -> None:
        self.classes = int(dataset.spec.classes)

    def update(self, sample: Sample, *, real: bool) -> None:
        if sample.logits is None:
            raise ValueError("classes are named from logits")
        (self.real if real else self.generated).append(sample.logits.argmax(1))

    def compute(self) -> dict[str, float]:
        """``class_modes``, ``class_kl``."""
        named = dim_zero_cat(self.generated)
        law, count = self._law(), len(named)
        source = rng.generator("metric", "class_modes")
        again = (torch.randint(count, (count,), generator=source) for _ in range(RESAMPLES))
        drawn = torch.stack([named[rows].bincount(minlength=self.classes) for rows in again])
        self.spreads = {name: entry.std(correction=0).item() for name, entry in read(drawn, law).items()}
        floor = (self.classes - 1) / (2 * count)
        self.remarks = (
            f"{count} samples of a perfect generator hit {ceiling(law, count):.1f} of {self.classes} classes on average "
            f"and read a class_kl of about {floor:.2g}",
        )
        return {name: entry.item() for name, entry in read(named.bincount(minlength=self.classes)[None], law).items()}

    def _law(self) -> Tensor:
        if self.law == "uniform":
            return torch.full((self.classes,), 1 / self.classes, dtype=torch.float64)
        counts = dim_zero_cat(self.real).bincount(minlength=self.classes).double() + 0.5
        return counts / counts.sum()

    def card(self) -> dict[str, Any]:
        return {
            "classes": self.classes,
            "law": "equal shares" if self.law == "uniform" else "the real sample's, by the same classifier, half a sample added",
            "std": f"{RESAMPLES} bootstrap resamples of the generated sample",
        }
