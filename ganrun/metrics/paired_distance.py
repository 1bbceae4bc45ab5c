"""How far translations are from the right answers (Isola et al. 2017 train on the first of these; Zhu et al. 2017 never see it).

- ``paired_l1``: mean over all numbers of |G(s) - x|, in the data's own range (images: -1 to 1, so black on white reads 2);
- ``paired_l2``: the root of the mean of (G(s) - x)^2.

The pairs (s, x) are those held out, in their order, or those to train on where none are; where more samples are made than
there are pairs, the pairs come over and over. Whatever the samples were made from is compared so: noise reads what noise reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from ganrun.ground.registry import register
from ganrun.ground.traits import Rule
from ganrun.metrics.base import Sample, Score
from ganrun.metrics.two_samples import standard_error

LARGEST = 10_000  # pairs


@register("metric", "paired_distance")
class PairedDistance(Score):
    """L1 and L2 between sample i and the target of pair i."""

    directions: Mapping[str, bool | None] = {"paired_l1": False, "paired_l2": False}
    extracts = frozenset({"x"})
    needs: ClassVar[Mapping[str, Rule]] = {
        "dataset.paired": Rule("it takes pairs of a source and a sample, and this data set has none", "dataset=paired_digits"),
        "game.translates": Rule("it is for translating what is given, and this game gives nothing to translate", "game=pix2pix"),
    }
    generated: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.targets, self.split = torch.empty(0), "held_out"
        self.add_state("generated", [], dist_reduce_fx="cat")

    def bind(self, dataset: Any) -> None:
        held = dataset.held_out()
        self.split = "train" if held is None else "held_out"
        pairs = dataset if held is None else held
        rows = torch.arange(min(len(pairs), LARGEST))
        self.targets = torch.cat([pairs.batch(piece).x for piece in rows.split(256)])

    def update(self, sample: Sample, *, real: bool) -> None:
        if real:
            return
        if sample.x is None:
            raise ValueError("distances are those of the samples themselves")
        self.generated.append(sample.x)

    def compute(self) -> dict[str, float]:
        """``paired_l1`` and ``paired_l2``."""
        made = dim_zero_cat(self.generated).double()
        gap = made - self.targets[torch.arange(len(made)) % len(self.targets)].double()
        absolute, square = (entry.flatten(1).mean(1) for entry in (gap.abs(), gap.square()))
        root = square.mean().sqrt()
        self.spreads = {
            "paired_l1": standard_error(absolute),
            "paired_l2": standard_error(square) / (2 * max(root.item(), 1e-12)),  # a root changes by d / (2 root)
        }
        return {"paired_l1": absolute.mean().item(), "paired_l2": root.item()}

    def card(self) -> dict[str, Any]:
        return {"pairs": self.split, "range": "the data's own", "std": "over pairs, divided by the root of their number"}
