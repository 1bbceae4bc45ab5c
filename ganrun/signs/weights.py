"""The players' weights: how large, how far a step moves them, how many stand at a bound, which gradient they get.

``norm_SIDE``; ``move_SIDE``: |w - w'| / |w| over the one step before the look; ``SIDE_gradient``: RMS gradient over
the optimizer's eps; ``clip_share``: share of the discriminator's weights at the clipping bound.
"""

from __future__ import annotations

import torch

from ganrun.ground.registry import register
from ganrun.signs.base import Look, Sign

SIDES = ("generator", "discriminator")


@register("sign", "weights")
class Weights(Sign):
    """Norms, moves, gradients, and the share at a bound."""

    def __call__(self, look: Look) -> dict[str, float | str]:
        row: dict[str, float | str] = {f"move_{side}": moved for side, moved in look.moves.items()}
        row |= {f"{side}_gradient": size for side, size in look.gradients.items()}
        for side in SIDES:
            entries = [entry.detach() for player in look.players(side).values() for entry in player.parameters()]
            if entries:
                row[f"norm_{side}"] = float(torch.stack([entry.float().norm() for entry in entries]).norm())
            if side == "discriminator" and entries and look.bound is not None:
                inside = torch.stack([(entry.abs() < 0.999 * look.bound).sum() for entry in entries]).sum()
                row["clip_share"] = 1 - float(inside) / sum(entry.numel() for entry in entries)
        return row


@register("sign", "rank")
class Rank(Sign):
    """``rank``: the smallest mean of s_j / s_1 over the discriminator's linear and convolutional layers of rank 4 and more."""

    every = 2

    def __call__(self, look: Look) -> dict[str, float | str]:
        kinds = (torch.nn.Linear, torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)
        found = []
        for player in look.players("discriminator").values():
            for layer in player.modules():
                if isinstance(layer, kinds):
                    matrix = layer.weight.detach().float().flatten(1)
                    if min(matrix.shape) >= 4 and torch.isfinite(matrix).all():
                        values = torch.linalg.svdvals(matrix)
                        found.append(float(values.mean() / values[0].clamp_min(1e-12)))
        return {"rank": min(found)} if found else {}
