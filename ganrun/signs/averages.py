"""Samples of the running average, and samples in training mode, beside those of the present weights.

``gap_average``: distance of averaged samples to the data. ``gap_training``: of samples in training mode;
``batch_move``: mean move of a sample between training and evaluation mode, over the distance between real samples;
for generators with running statistics.
"""

from __future__ import annotations

from ganrun.ground.registry import register
from ganrun.signs.base import Look, Sign


@register("sign", "average")
class Averaged(Sign):
    """``gap_average``."""

    every = 2

    def __call__(self, look: Look) -> dict[str, float | str]:
        if not look.averaged:
            return {}
        return {"gap_average": look.gap(look.features(look.generated(average=True)))}


@register("sign", "batch_statistics")
class BatchStatistics(Sign):
    """``batch_move`` and ``gap_training``."""

    every = 2

    def __call__(self, look: Look) -> dict[str, float | str]:
        if not any(
            hasattr(module, "running_mean") for player in look.players("generator").values() for module in player.modules()
        ):
            return {}
        present, training = look.features(look.generated()), look.features(look.generated(training=True))
        moved = float((present - training).norm(dim=1).mean()) / max(look.yardstick.pair, 1e-12)
        return {"batch_move": moved, "gap_training": look.gap(training)}
