"""Handwritten digits and what was made of them: pairs for image-to-image translation that ship with ganrun.

A small stand-in for the edges and photographs of Isola et al. 2017: the source is the digit's outline, its negative, a
blurred, a small or a masked copy, the target the digit.
"""

from __future__ import annotations

from ganrun.data.base import Dataset
from ganrun.data.digit_tasks import sources_of
from ganrun.data.digits import digits
from ganrun.data.jitter import jittering
from ganrun.data.selection import select
from ganrun.data.translation import Paired
from ganrun.ground.registry import register


@register("dataset", "paired_digits")
def paired_digits(
    *,
    size: int | None = 16,
    task: str = "outline",
    jitter: float = 0.0,
    classes: list[int | str] | None = None,
    fraction: float = 1.0,
) -> Dataset:
    """1437 pairs of ``size`` x ``size`` pixels to train on, 360 held out; ``task``: one of ``TASKS``."""
    targets = digits(size=size)
    made = select(Paired(targets, sources_of(targets, task)), classes, fraction)
    made.change = jittering(jitter)
    return made
