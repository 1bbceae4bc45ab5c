"""Learning-rate schedules: functions of the progress t in [0, 1] and the final factor f.

All are 1 at t = 0 and, but for the constant one, f at t = 1. One that cannot end at f refuses it.
"""

from __future__ import annotations

import math

from ganrun.ground.errors import BadInput
from ganrun.ground.registry import register


@register("schedule", "constant")
def constant(progress: float, final: float) -> float:
    """1 throughout."""
    return 1.0


@register("schedule", "linear")
def linear(progress: float, final: float) -> float:
    """1 - t (1 - f)."""
    return 1 - progress * (1 - final)


@register("schedule", "cosine")
def cosine(progress: float, final: float) -> float:
    """f + (1 - f) (1 + cos(pi t)) / 2  (Loshchilov and Hutter 2017)."""
    return final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2


@register("schedule", "exponential")
def exponential(progress: float, final: float) -> float:
    """f^t, for f above zero: an exponential never reaches zero."""
    if final <= 0:
        raise BadInput(f"final={final}: an exponential schedule never reaches zero. Try optimizer.schedule.final=1e-3")
    return float(final**progress)
