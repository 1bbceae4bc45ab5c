"""Stacked digits: the UCI digits in threes, 1000 modes without a download (after Metz et al. 2017, who stack MNIST)."""

from __future__ import annotations

from ganrun.data.base import Dataset
from ganrun.data.digits import digit_images
from ganrun.data.selection import select
from ganrun.data.stacked import stack
from ganrun.ground.registry import register


@register("dataset", "stacked_digits")
def stacked_digits(
    *, num: int = 25600, size: int | None = None, classes: list[int | str] | None = None, fraction: float = 1.0
) -> Dataset:
    """``num`` triples of the 1437 training digits, each resized to ``size`` pixels unless that is None; three channels."""
    return select(stack("stacked_digits", digit_images(size), num), classes, fraction)
