"""Inception score: exp(mean over x of KL(p(y|x) || p(y))), p(y) the mean of p(y|x) over the split (Salimans et al. 2016).

From logits, in float64, by log_softmax, so that a probability of zero costs nothing. With several splits the value is the
mean over splits and ``is_std`` their standard deviation (ddof 0, as published). The samples are shuffled first, by the
permutation that torch-fidelity draws, else samples that come sorted by class would give collapsed splits.

``splits=10`` on 50 000 samples is the published protocol. A split of n samples underestimates the score of the law by
about (classes - 1) / 2n of itself, hence the default of one split for the smaller samples of everyday use.

With one split the standard deviation of the score is, to first order, the score times that of KL(p(y|x) || p(y)) over
sqrt(n): what a sample adds to the logarithm of the score is its own KL less the mean. With several it is ``is_std`` over
the root of their number.
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
from ganrun.metrics.base import IMAGES, Sample, Score
from ganrun.metrics.two_samples import standard_error

BIAS = 0.02  # of the score, from which a reader is told
SHUFFLE_SEED = 2020  # torch-fidelity's, so that several splits agree with it too


def inception_scores(logits: Tensor, splits: int = 1) -> Tensor:
    """The score of each of ``splits`` consecutive parts of ``logits`` (n, classes): float64 of shape (splits,)."""
    count = len(logits)
    parts = [logits[split * count // splits : (split + 1) * count // splits] for split in range(splits)]
    return torch.stack([divergences(part).mean().exp() for part in parts])


def divergences(logits: Tensor) -> Tensor:
    """KL(p(y|x) || p(y)) for each row of ``logits`` (n, classes), p(y) their mean: float64 of shape (n,)."""
    logarithms = logits.double().log_softmax(1)
    probabilities = logarithms.exp()
    # a class whose probability underflows everywhere has p log q = 0 log 0 = 0
    cross = torch.special.xlogy(probabilities, probabilities.mean(0))
    return (torch.where(probabilities > 0, probabilities * logarithms, 0.0) - cross).sum(1)


@register("metric", "is")
class InceptionScore(Score):
    """Inception score of the generated samples; real ones are not looked at."""

    directions: Mapping[str, bool | None] = {"is": True, "is_std": None}
    extracts = frozenset({"logits"})
    needs: ClassVar[Mapping[str, Rule]] = IMAGES
    generated: list[Tensor]

    def __init__(self, *, splits: int = 1) -> None:
        super().__init__()
        if splits < 1:
            raise BadInput(f"metric.is.splits={splits}: must be at least 1 (10 is the published protocol)")
        self.splits = splits
        if splits == 1:
            self.directions = {"is": True}
        self.add_state("generated", [], dist_reduce_fx="cat")

    def fewest(self) -> tuple[int, int]:
        return 0, self.splits

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
        classes = logits.shape[1]
        if (classes - 1) / (2 * (count // self.splits)) > BIAS:
            enough = -(-(classes - 1) * self.splits // (2 * BIAS))
            self.remarks = (
                f"IS of {count // self.splits} samples a split and {classes} classes is biased down by up to "
                f"{(classes - 1) / (2 * (count // self.splits)):.0%}: compare only at the same N, or evaluation.num={enough:.0f}",
            )
        if self.splits == 1:
            self.spreads = {"is": scores.item() * standard_error(divergences(logits))}
            return {"is": scores.item()}
        self.spreads = {"is": scores.std(correction=0).item() / self.splits**0.5}
        if count < 5000 * self.splits:
            each = f"{count // self.splits} samples each"
            self.remarks += (f"{self.splits} splits of {each}: IS is biased down (the published protocol has 5000 each)",)
        return {"is": scores.mean().item(), "is_std": scores.std(correction=0).item()}

    def card(self) -> dict[str, Any]:
        how = "over splits, divided by the root of their number" if self.splits > 1 else "by the influence function"
        return {"splits": self.splits, "std": f"of the generated sample, {how}"}
