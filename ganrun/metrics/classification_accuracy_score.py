"""What a classifier learns from generated samples alone: the classification accuracy score (Ravuri and Vinyals 2019).

A classifier is trained on the generated samples, each with the class that was asked for, and tested on real samples:

    cas = share of held-out real samples that it names rightly;
    cas_real = the same of one trained on as many real training samples.

A generator that knows the data's law of x given y reads what ``cas_real`` reads; missing variety and wrong classes both cost,
which FID weighs otherwise. Images: the network and recipe of ``ganrun/metrics/training.py``, on the CPU. Points and tokens: the
nearest sample's class. Where the scored samples are the held-out ones themselves, the test is on the training data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ganrun.ground.registry import register
from ganrun.ground.spec import Batch, Spec
from ganrun.metrics import training
from ganrun.metrics.asked import Asked, nearest_class
from ganrun.metrics.base import Data, Sample, Stage
from ganrun.metrics.two_samples import subset


@dataclass
class Lesson:
    """Labelled images in memory, with what a classifier of them is tested on: what ``training.train`` asks of a data set."""

    spec: Spec
    x: Tensor
    y: Tensor
    test: Lesson | None = None

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, indices: Tensor, device: torch.device | str = "cpu") -> Batch:
        return Batch(self.x[indices].to(device), self.y[indices].to(device))

    def expect(self, indices: Tensor) -> None:
        """All is in memory."""

    def held_out(self) -> Lesson | None:
        return self.test


@register("metric", "classification_accuracy_score")
class ClassificationAccuracyScore(Asked):
    """The accuracy on real samples of a classifier that has seen generated ones alone: CAS."""

    directions: Mapping[str, bool | None] = {"cas": True, "cas_real": None}
    extracts = frozenset({"x", "labels"})

    def __init__(self) -> None:
        super().__init__()
        self.spec: Spec | None = None
        self.stage: Stage | None = None
        self.tested: str | None = None

    def lacks(self, dataset: Data, classes: int | None) -> str:
        return "" if dataset.held_out() else "classification_accuracy_score tests on held-out samples, and nothing is held out"

    def bind(self, dataset: Any) -> None:
        super().bind(dataset)
        self.spec = dataset.spec

    def enter(self, stage: Stage) -> None:
        self.stage = stage

    def rows(self, sample: Sample) -> Tensor:
        if sample.x is None:
            raise ValueError("a classifier is trained on the samples themselves")
        return sample.x

    def compute(self) -> dict[str, float]:
        """``cas``, and beside that of generated samples ``cas_real``."""
        assert self.stage is not None
        stage, self.stage = self.stage, None
        self.tested = "train" if stage.scored == "held_out" else "held_out"
        test = stage.split(self.tested)
        assert test is not None
        assert test.x is not None
        assert test.labels is not None
        tested = test.x, test.labels
        made, asked = self.side(real=False)
        found = {"cas": self._accuracy(made, asked, *tested)}
        if stage.scored == "generated":
            real = stage.split("train")
            assert real is not None
            assert real.x is not None
            assert real.labels is not None
            chosen = subset(torch.arange(len(real.x)), len(made), "classification_accuracy_score")
            found["cas_real"] = self._accuracy(real.x[chosen], real.labels[chosen], *tested)
        self.spreads = {name: (share * (1 - share) / len(test.x)) ** 0.5 for name, share in found.items()}
        return found

    def _accuracy(self, x: Tensor, y: Tensor, x_test: Tensor, y_test: Tensor) -> float:
        """The share of the test samples whose class is found by what was learned from ``x`` and ``y``."""
        assert self.spec is not None
        if self.spec.kind != "image":
            return (nearest_class(x_test, x, y) == y_test).double().mean().item()
        lesson: Any = Lesson(self.spec, x, y, Lesson(self.spec, x_test, y_test))
        return training.train(lesson, torch.device("cpu")).accuracy

    def card(self) -> dict[str, Any]:
        return {
            "recipe": training.RECIPE,
            "tested on": self.tested,
            "std": "of a share among the tested samples: sqrt(p (1 - p) / n); chances of training are not in it",
        }
