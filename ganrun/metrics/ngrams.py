"""How near the n-grams of generated sequences are to those of real ones (Gulrajani et al. 2017, language experiment).

``ngrams_n`` = JS(p_n, q_n) in nats, p_n and q_n the laws of n successive symbols, anywhere in a row, among the real and the
generated rows; each position's likeliest symbol counts. 0 for equal laws, log 2 where no n-gram is shared. A finite sample
of the same law reads more than 0, and the more so the larger n is. ``distinct``: different rows among the generated ones.

The standard deviation is that of the generated rows, to first order: a row adds 1/N of the mean over its n-grams of
log(q / m) / 2, m = (p + q) / 2, which is the derivative of JS by q.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from ganrun.ground.errors import BadInput
from ganrun.ground.registry import register
from ganrun.ground.traits import Rule
from ganrun.metrics.base import Data, Sample, Score
from ganrun.metrics.two_samples import standard_error

FEW = 1000  # rows
SHARE = 0.1  # of a divergence that may be of the samples' size alone


@register("metric", "ngrams")
class NGrams(Score):
    """Jensen-Shannon divergence between the n-grams of real and generated rows, for n = longest down to 1."""

    directions: Mapping[str, bool | None] = {
        "ngrams_8": False,
        "ngrams_7": False,
        "ngrams_6": False,
        "ngrams_5": False,
        "ngrams_4": False,
        "ngrams_3": False,
        "ngrams_2": False,
        "ngrams_1": False,
        "distinct": True,
    }
    extracts = frozenset({"x"})
    needs: ClassVar[Mapping[str, Rule]] = {
        "dataset.tokens": Rule("n-grams are counted in rows of tokens, and this data set has none", "metric=none")
    }
    real: list[Tensor]
    generated: list[Tensor]

    def __init__(self, *, longest: int = 4) -> None:
        super().__init__()
        if not 1 <= longest <= 8:
            raise BadInput(f"metric.ngrams.longest={longest}: must be from 1 to 8 symbols")
        self.longest = longest
        self.directions = {f"ngrams_{n}": False for n in range(longest, 0, -1)} | {"distinct": True}
        self.add_state("real", [], dist_reduce_fx="cat")
        self.add_state("generated", [], dist_reduce_fx="cat")

    def fewest(self) -> tuple[int, int]:
        return 1, 1

    def verify(self, dataset: Data) -> None:
        length = dataset.spec.shape[0]
        if self.longest > length:
            raise BadInput(f"metric.ngrams.longest={self.longest}: rows of this data hold {length} symbols, so at most {length}")

    def update(self, sample: Sample, *, real: bool) -> None:
        if sample.x is None:
            raise ValueError("n-grams are counted on the samples themselves")
        (self.real if real else self.generated).append(sample.x.argmax(-1))
        self.vocabulary = sample.x.shape[-1]

    def compute(self) -> dict[str, float]:
        """``ngrams_4`` ... ``ngrams_1`` and ``distinct``."""
        real, generated = dim_zero_cat(self.real), dim_zero_cat(self.generated)
        longest = min(self.longest, real.shape[1])
        found, self.spreads, self.remarks = {}, {}, ()
        if longest < self.longest:
            self.remarks = (f"no n-grams of {self.longest}: the rows are {longest} symbols long",)
        for n in range(longest, 0, -1):
            name = f"ngrams_{n}"
            found[name], influence = compared(real, generated, n, self.vocabulary)
            self.spreads[name] = standard_error(influence)
            chance = by_chance(real, generated, n, self.vocabulary)
            if chance > SHARE * found[name]:
                self.remarks += (
                    f"{name} is {found[name]:.3g}, and samples as small as {len(generated)} and {len(real)} real ones would read "
                    f"about {chance:.2g} if their laws were equal: raise evaluation.num",
                )
        if len(generated) < FEW:
            self.remarks += (f"distinct falls as N grows, which is {len(generated)}: compare at the same N",)
        return {**found, "distinct": len(generated.unique(dim=0)) / len(generated)}

    def card(self) -> dict[str, Any]:
        return {
            "ngrams": "Jensen-Shannon divergence in nats, likeliest symbols, all positions",
            "std": "of the generated rows, by the influence function; of distinct there is none",
        }


def by_chance(one: Tensor, other: Tensor, n: int, vocabulary: int) -> float:
    """What JS of two sets of rows of one law is to second order: (kinds - 1) / 8 * (1 / count + 1 / other count) of n-grams."""
    weights = vocabulary ** torch.arange(n)
    codes = [(rows.unfold(1, n, 1) * weights).sum(-1).flatten() for rows in (one, other)]
    kinds = len(torch.cat(codes).unique())
    return min((kinds - 1) / 8 * sum(1 / len(part) for part in codes), math.log(2))


def divergence(one: Tensor, other: Tensor, n: int, vocabulary: int) -> float:
    """JS of the n-gram laws of two sets of rows, int64 (rows, length): between 0 and log 2."""
    return compared(one, other, n, vocabulary)[0]


def compared(one: Tensor, other: Tensor, n: int, vocabulary: int) -> tuple[float, Tensor]:
    """(JS of the n-gram laws of two sets of rows, what each row of the ``other`` adds to it to first order, but for the mean)."""
    weights = vocabulary ** torch.arange(n)
    codes = [(rows.unfold(1, n, 1) * weights).sum(-1).flatten() for rows in (one, other)]
    kinds, places = torch.cat(codes).unique(return_inverse=True)
    counts = [part.bincount(minlength=len(kinds)).double() for part in (places[: len(codes[0])], places[len(codes[0]) :])]
    p, q = (entry / entry.sum() for entry in counts)
    middle = (p + q) / 2
    kl = [torch.special.xlogy(law, law / middle).nan_to_num(0).sum().item() for law in (p, q)]
    influence = 0.5 * (q / middle).log()[places[len(codes[0]) :]].view(len(other), -1).mean(1)
    return min(max(sum(kl) / 2, 0.0), math.log(2)), influence
