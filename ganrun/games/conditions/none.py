"""No label: the players of Goodfellow et al. 2014."""

from __future__ import annotations

from ganrun.games.conditions.base import Condition
from ganrun.ground.registry import register


@register("condition", "none")
class Unconditional(Condition):
    """No label."""
