"""How likely the generated points are under the exact law of the data.

- ``log_density``: mean of log p(x) over generated x; ``log_density_real``: the same over real x. Their difference
  estimates -H(data) - E log p(x): a generator that sits on the peaks reads more than real data, a blurred one less.
- ``likely``: share of generated points whose log density is above the real sample's 1 % quantile: 0.99 for a perfect
  generator.

It says nothing of coverage: a generator of one point at the peak scores best. Read it beside ``modes`` where there are modes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from ganrun.ground.registry import register
from ganrun.ground.traits import Rule
from ganrun.metrics.base import Sample, Score
from ganrun.metrics.two_samples import standard_error

QUANTILE = 0.01


@register("metric", "log_density")
class LogDensity(Score):
    """Mean log density of generated and real points and the share of likely ones, for data with ``log_density(x)``."""

    directions: Mapping[str, bool | None] = {"log_density": True, "log_density_real": None, "likely": True}
    extracts = frozenset({"x"})
    needs: ClassVar[Mapping[str, Rule]] = {"dataset.density": Rule("the data set has no known density", "dataset=ring8")}
    real: list[Tensor]
    generated: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.density: Callable[[Tensor], Tensor] | None = None
        self.add_state("real", [], dist_reduce_fx="cat")
        self.add_state("generated", [], dist_reduce_fx="cat")

    def fewest(self) -> tuple[int, int]:
        return 1, 1

    def bind(self, dataset: Any) -> None:
        self.density = dataset.log_density

    def update(self, sample: Sample, *, real: bool) -> None:
        if sample.x is None or self.density is None:
            raise ValueError("the log density needs the samples themselves and a bound data set")
        (self.real if real else self.generated).append(self.density(sample.x).double())

    def compute(self) -> dict[str, float]:
        """``log_density``, ``log_density_real``, ``likely``."""
        generated, real = dim_zero_cat(self.generated), dim_zero_cat(self.real)
        found = {
            "log_density": generated,
            "log_density_real": real,
            "likely": (generated >= real.quantile(QUANTILE)).double(),
        }
        self.spreads = {name: standard_error(values) for name, values in found.items()}
        return {name: values.mean().item() for name, values in found.items()}

    def card(self) -> dict[str, Any]:
        return {
            "likely": f"log density from the real sample's {QUANTILE:.0%} quantile",
            "std": "over samples, divided by the root of their number",
        }
