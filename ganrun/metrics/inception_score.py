"""Inception score: exp(mean over x of KL(p(y|x) || p(y))), p(y) the mean of p(y|x) over the split (Salimans et al. 2016).

From logits, in float64, by log_softmax, so that a probability of zero costs nothing. With several splits the value is the
mean over splits and ``is_std`` their standard deviation (ddof 0, as published). The samples are shuffled first, by the
permutation that torch-fidelity draws, else samples that come sorted by class would give collapsed splits.

``splits=10`` on 50 000 samples is the published protocol. A split of n samples underestimates the score of the law by
about (classes - 1) / 2n of itself, hence the default of one split for the smaller samples of everyday use.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from ganrun.ground.errors import BadInput
from ganrun.ground.registry import register
from ganrun.ground.traits import Rule
from ganrun.metrics.base import Sample, Score

SHUFFLE_SEED = 2020  # torch-fidelity's, so that several splits agree with it too


def inception_scores(logits: Tensor, splits: int = 1) -> Tensor:
    """The score of each of ``splits`` consecutive parts of ``logits`` (n, classes): float64 of shape (splits,)."""
    logarithms = logits.double().log_softmax(1)
    count = len(logits)
    scores = []
    for split in range(splits):
        part = logarithms[split * count // splits : (split + 1) * count // splits]
        probabilities = part.exp()
        marginal = probabilities.mean(0)
        # a class whose probability underflows everywhere has p log q = 0 log 0 = 0
        cross = torch.special.xlogy(probabilities, marginal)
        scores.append((torch.where(probabilities > 0, probabilities * part, 0.0) - cross).sum(1).mean().exp())
    return torch.stack(scores)


@register("metric", "is")
class InceptionScore(Score):
    """Inception score of the generated samples; real ones are not looked at."""

    higher_is_better = True
    extracts = frozenset({"logits"})
    needs: ClassVar[Mapping[str, Rule]] = {"dataset.image": Rule("the inception score is one of images", "metric=log_density")}
    generated: list[Tensor]

    def __init__(self, *, splits: int = 1) -> None:
        super().__init__()
        if splits < 1:
            raise BadInput(f"metric.is.splits={splits}: must be at least 1 (10 is the published protocol)")
        self.splits = splits
        self.add_state("generated", [], dist_reduce_fx="cat")

    def update(self, sample: Sample, *, real: bool) -> None:
        if real:
            return
        if sample.logits is None:
            raise ValueError("the inception score needs logits")
        self.generated.append(sample.logits)

    def compute(self) -> dict[str, float]:
        """``is``, and ``is_std`` over the splits if there are several."""
        logits = dim_zero_cat(self.generated)
        count = len(logits)
        if count < self.splits:
            raise BadInput(f"metric.is.splits={self.splits}: more splits than samples ({count}); choose fewer")
        shuffled = logits[torch.from_numpy(np.random.RandomState(SHUFFLE_SEED).permutation(count))]
        scores = inception_scores(shuffled, self.splits)
        self.remarks = ()
        if self.splits == 1:
            return {"is": scores.item()}
        if count < 5000 * self.splits:
            each = f"{count // self.splits} samples each"
            self.remarks = (f"{self.splits} splits of {each}: IS is biased down (the published protocol has 5000 each)",)
        return {"is": scores.mean().item(), "is_std": scores.std(correction=0).item()}

    def card(self) -> dict[str, Any]:
        return {"splits": self.splits}
