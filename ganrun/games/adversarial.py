"""The adversarial game as it is: generator against discriminator (Goodfellow et al. 2014), conditional or not."""

from __future__ import annotations

from ganrun.games.base import Game
from ganrun.ground.registry import register


@register("game", "adversarial")
class Adversarial(Game):
    """A discriminator phase, ``n_critic`` times, then a generator phase."""
