"""Two sets of images without a pair between them: half of the handwritten digits, and outlines (...) of the other half.

The split is drawn once and for all, so no digit stands on both sides: a stand-in for the unpaired sets of Zhu et al. 2017.
"""

from __future__ import annotations

import torch

from ganrun.data.base import Images
from ganrun.data.digit_tasks import sources_of
from ganrun.data.digits import digits
from ganrun.data.jitter import jittering
from ganrun.data.selection import select
from ganrun.data.translation import Translation
from ganrun.ground import rng
from ganrun.ground.registry import register


@register("dataset", "unpaired_digits")
def unpaired_digits(
    *,
    size: int | None = 16,
    task: str = "outline",
    jitter: float = 0.0,
    classes: list[int | str] | None = None,
    fraction: float = 1.0,
) -> Translation:
    """719 targets and 718 sources of other digits to train on, 180 of each held out; ``task``: one of ``TASKS``."""
    targets, others = halves(digits(size=size))
    made = Translation(select(targets, classes, fraction), select(sources_of(others, task), classes, fraction))
    return made.jittered(jittering(jitter))


def halves(images: Images) -> tuple[Images, Images]:
    """Two disjoint sets of equal size, to one; so are those held out."""
    assert images.labels is not None
    order = torch.randperm(len(images), generator=rng.generator("dataset", "unpaired_digits", len(images)))
    held = images.held_out()
    away: tuple[Images | None, Images | None] = (None, None) if held is None else halves(held)
    first, second = (rows.sort().values for rows in (order[: (len(order) + 1) // 2], order[(len(order) + 1) // 2 :]))
    one, other = (
        Images(
            images.pixels[rows],
            images.labels[rows],
            class_names=images.class_names,
            held_out=part,
            notes=images.notes,
            chiral=images.chiral,
        )
        for rows, part in zip((first, second), away, strict=True)
    )
    return one, other
