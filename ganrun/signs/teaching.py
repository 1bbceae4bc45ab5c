"""What the discriminator teaches the generator: the loss's derivative by a score, and the score's by a sample."""

from __future__ import annotations

from ganrun.ground.registry import register
from ganrun.signs.base import Look, Sign


@register("sign", "teaching")
class Teaching(Sign):
    """``teaching``: n * mean |d L_G / d score|; ``slope``: mean ||d score / d fake|| over one deviation of the data."""

    def __call__(self, look: Look) -> dict[str, float | str]:
        found = {"teaching": look.played.teaching, "slope": look.played.slope}
        return {name: value for name, value in found.items() if value is not None}


@register("sign", "penalties")
class Penalties(Sign):
    """``penalty_share``: |grad of penalties| / (|grad of penalties| + |grad of the loss|) over the discriminator's weights."""

    def __call__(self, look: Look) -> dict[str, float | str]:
        share = look.played.penalty_share
        return {} if share is None else {"penalty_share": share}
