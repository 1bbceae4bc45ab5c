"""Stacked MNIST: digits in threes, 1000 modes (Metz et al. 2017; Srivastava et al. 2017); 128000 triples as Lin et al. 2018."""

from __future__ import annotations

from dataclasses import replace

from ganrun.data.base import Dataset
from ganrun.data.selection import select
from ganrun.data.stacked import stack
from ganrun.data.torchvision_sets import MNIST, load
from ganrun.ground.registry import register


@register("dataset", "stacked_mnist")
def stacked_mnist(
    *,
    num: int = 128000,
    root: str = "data",
    download: bool = True,
    size: int | None = None,
    classes: list[int | str] | None = None,
    fraction: float = 1.0,
) -> Dataset:
    """``num`` triples of the 60000 training digits; ``root`` holds ``MNIST/raw``."""
    source = replace(MNIST, name="stacked_mnist")  # for the errors
    return select(stack("stacked_mnist", load(source, root, download, size), num), classes, fraction)
