"""Whether the discriminator tells real from fake, and training from held-out data, by ranks alone.

``auc``: P(score of a real one > of a fake); ``auc_held_out``: the same for a training against a held-out sample. Ranks mean the
same under every loss.
"""

from __future__ import annotations

from ganrun.ground.registry import register
from ganrun.signs.base import Look, Sign, auc


@register("sign", "ranks")
class Ranks(Sign):
    """Rank AUC of real against fake, and of training against held-out data."""

    def __call__(self, look: Look) -> dict[str, float | str]:
        played, row = look.played, {}
        if played.real is not None and played.fake is not None:
            row["auc"] = auc(played.real, played.fake)
        if played.real is not None and played.held_out is not None:
            row["auc_held_out"] = auc(played.real, played.held_out)
        return dict(row)
