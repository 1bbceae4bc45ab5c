"""Learning-rate schedules: functions of the progress t in [0, 1] and the final factor f.

All are 1 at t = 0 and, but for the constant one, f at t = 1.
"""

from __future__ import annotations

import math

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
    """f^t, with f at least 1e-3: an exponential never reaches zero."""
    return max(final, 1e-3) ** progress
