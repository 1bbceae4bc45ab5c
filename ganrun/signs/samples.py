"""How far the samples are from the data, how far apart from each other, and which modes they miss.

``gap``: energy distance to the real sample; ``gap_floor``: the same between two real samples. ``spread``: mean distance between
samples over that between real ones. ``starved``: share of the data in modes that get less than a quarter of their share, where
more than 5 samples were expected. ``mode_move``: total variation between the mode histograms of the same latents at this look
and the one before. ``radius``: median distance from the data's mean over the data's. ``sharpness``: median distance to the
nearest real sample over that of other real samples. ``extreme``: share of numbers beyond 0.99, minus the data's (images).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ganrun.ground.registry import register
from ganrun.signs.base import Look, Partition, Sign, distances, energy_distance, mean_pair

SYMBOLS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
EXPECTED = 5  # samples that a mode must have been due for its lack to count


@register("sign", "samples")
class Samples(Sign):
    """Distance, spread, modes and sharpness of the samples."""

    def __call__(self, look: Look) -> dict[str, float | str]:
        x = look.generated()
        features, real, other = look.features(x), look.real, look.other_real
        codes = look.partition.assign(features)
        words = "".join(SYMBOLS[int(code) % len(SYMBOLS)] for code in codes)
        row: dict[str, float | str] = {
            "gap": energy_distance(features, real),
            "gap_floor": max(energy_distance(other, real), 0.0),
            "spread": mean_pair(features) / max(mean_pair(real), 1e-12),
            "starved": starved(codes, look.partition),
            "radius": radius(features) / max(radius(real), 1e-12),
            "sharpness": nearest(features, real) / max(nearest(other, real), 1e-12),
            "modes": words,
        }
        before = look.previous.get("modes") if look.previous else None
        if isinstance(before, str) and len(before) == len(words):
            row["mode_move"] = total_variation(before, words)
        if look.kind == "image":
            row["extreme"] = extreme(x) - extreme(look.real_x)
        return row


def starved(codes: Tensor, partition: Partition) -> float:
    """Share of the data in modes that got less than a quarter of theirs."""
    counts = torch.bincount(codes, minlength=len(partition.shares)).float()
    due = partition.shares * len(codes)
    return float(partition.shares[(due > EXPECTED) & (counts < due / 4)].sum())


def total_variation(one: str, other: str) -> float:
    """Half the sum of the differences of the shares of each symbol."""
    return sum(abs(one.count(symbol) - other.count(symbol)) for symbol in {*one, *other}) / (2 * max(len(one), 1))


def radius(features: Tensor) -> float:
    """Median distance from the origin, which is the data's mean."""
    return float(features.norm(dim=1).median())


def nearest(features: Tensor, real: Tensor) -> float:
    """Median distance to the nearest of the real rows."""
    return float(distances(features, real).amin(1).median())


def extreme(x: Tensor) -> float:
    return float((x.abs() > 0.99).float().mean())
