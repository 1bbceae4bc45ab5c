"""Whether the label and the noise reach the sample, in runs that are told labels.

``class_hits``: share of samples nearest the mean of the class asked for; ``class_hits_real``: the same of real data;
``class_chance``: what the classes' shares alone give. ``noise_move``, ``label_move``: how far a sample moves, over the
distance between real samples, when the noise alone, or the label alone, is another.
"""

from __future__ import annotations

import torch

from ganrun.ground.registry import register
from ganrun.signs.base import Look, Sign


@register("sign", "conditions")
class Conditions(Sign):
    """Hits of the class asked for, and moves by noise and label."""

    every = 2

    def __call__(self, look: Look) -> dict[str, float | str]:
        labels = look.labels
        if labels is None:
            return {}
        features, pair = look.features(look.generated()), max(look.yardstick.pair, 1e-12)
        row: dict[str, float | str] = {}
        partition = look.partition
        if partition.labelled and look.real_labels is not None:
            codes = partition.assign(features)
            row["class_hits"] = float((codes == labels).float().mean())
            row["class_hits_real"] = float((partition.assign(look.real) == look.real_labels).float().mean())
            shares = torch.bincount(codes, minlength=len(partition.shares)).float() / len(codes)
            asked = torch.bincount(labels, minlength=len(partition.shares)).float() / len(labels)
            row["class_chance"] = float((shares * asked).sum())
        for name, moved in (("noise_move", look.again(noise=True)), ("label_move", look.again(label=True))):
            if moved is not None:
                row[name] = float((look.features(moved) - features).norm(dim=1).mean()) / pair
        return row
