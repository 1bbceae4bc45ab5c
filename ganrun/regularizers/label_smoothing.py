"""D's targets a for real and b for fake in place of 1 and 0.  Salimans et al. 2016, section 3.4; Szegedy et al. 2016.

D: E_p [a sp(-s) + (1 - a) sp(s)] + E_q [b sp(-s) + (1 - b) sp(s)], best D = (a p + b q) / (p + q). With b > 0 the best D is b
wherever there are fakes alone, and other modes of q pull D's optimum: hence b = 0, one-sided, unless asked for. A range
gives each sample a target of its own, U(low, high); the loss is linear in its target, so in expectation only the mean
counts: a range around 1 smooths nothing. Targets that another technique has already moved (flipped) go through the same
map t -> b + (a - b) t. The generator's target stays what it is.
"""

from __future__ import annotations

from torch import Tensor

from ganrun.ground.duel import Duel
from ganrun.ground.registry import register
from ganrun.ground.turn import Turn
from ganrun.regularizers.base import Regularizer
from ganrun.regularizers.targets import TARGETS_READ

SIDES = ("real", "fake")


@register("regularizer", "label_smoothing")
class LabelSmoothing(Regularizer):
    """Targets short of certainty for the discriminator; with ``real_high`` or ``fake_high`` drawn from a range."""

    needs = TARGETS_READ

    def __init__(
        self, *, real: float = 0.9, real_high: float | None = None, fake: float = 0.0, fake_high: float | None = None
    ) -> None:
        super().__init__()
        self.ranges = {"real": _range("real", real, real_high), "fake": _range("fake", fake, fake_high)}
        means = {side: sum(ends) / 2 for side, ends in self.ranges.items()}
        if means["real"] > 1:
            raise ValueError(
                f"the mean target of real samples is {means['real']:g} and must be at most 1: above it the discriminator's "
                "loss falls without bound as its scores grow"
            )
        if means["fake"] < 0:
            raise ValueError(
                f"the mean target of fake samples is {means['fake']:g} and must be at least 0: below it the discriminator's "
                "loss falls without bound as its scores fall"
            )
        if means["real"] <= means["fake"]:
            raise ValueError(f"real={real} must be above fake={fake}: the discriminator is to score real samples higher")

    def before(self, duel: Duel, turn: Turn) -> None:
        for side in SIDES:
            high, low = (self._draw(kind, side, duel, turn) for kind in SIDES)
            target: float | Tensor = getattr(duel, f"{side}_target")
            setattr(duel, f"{side}_target", low + (high - low) * target)

    def _draw(self, kind: str, side: str, duel: Duel, turn: Turn) -> float | Tensor:
        """The target that ``kind`` stands for, one for each sample of ``side`` where it is a range."""
        low, high = self.ranges[kind]
        if low == high:
            return low
        inputs = duel.real if side == "real" else duel.fake
        return low + (high - low) * turn.uniform(f"label_smoothing/{side}/{kind}", like=inputs[0])


def _range(key: str, low: float, high: float | None) -> tuple[float, float]:
    if high is None:
        return low, low
    if isinstance(high, bool) or not isinstance(high, int | float):
        raise ValueError(f"{key}_high={high} must be a number, or null for a fixed target")
    if high < low:
        raise ValueError(f"{key}_high={high} must not be below {key}={low}: a target is drawn between them")
    return low, high
