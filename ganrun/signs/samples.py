"""How far the samples are from the data, how far apart from each other, and which modes they miss.

``gap``: energy distance to the real sample; ``gap_floor``: the same between two real samples. ``spread``: mean distance between
samples over that between real ones. ``starved``: share of the data in modes that get less than a quarter of their share, where
more than 5 samples were expected. ``mode_move``: total variation between the mode histograms of the same latents at this look
and the one before. ``radius``: median distance from the data's mean over the data's. ``sharpness``: median distance to the
nearest real sample over that of other real samples. ``blur``: the same distance, 0 for other real samples and 1 for draws of a
Gaussian of the data's mean and covariance, which knows no mode; for data from which such draws lie three times as far as
real ones do. ``copied``: share of the samples that lie nearer to a training sample than to any of as many held-out ones.
``extreme``: share of numbers beyond 0.99, minus the data's (images).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ganrun.ground.registry import register
from ganrun.signs.base import Look, Partition, Sign, distances, extreme, gap, mean_pair, radius

SYMBOLS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
EXPECTED = 5  # samples that a mode must have been due for its lack to count
CLEAR = 3  # times the distance of real samples from which a Gaussian's draws are told from real ones


@register("sign", "samples")
class Samples(Sign):
    """Distance, spread, modes and sharpness of the samples."""

    def __call__(self, look: Look) -> dict[str, float | str]:
        x = look.generated()
        features, away, known = look.features(x), look.away, look.yardstick
        codes = look.partition.assign(features)
        pair = mean_pair(features)
        words = "".join(SYMBOLS[int(code) % len(SYMBOLS)] for code in codes)
        row: dict[str, float | str] = {
            "gap": gap(float(away.mean()), pair, known.pair),
            "gap_floor": known.floor,
            "spread": pair / max(known.pair, 1e-12),
            "starved": starved(codes, look.partition),
            "radius": radius(features) / max(known.radius, 1e-12),
            "modes": words,
        }
        far = float(away.amin(1).median())
        if known.nearest > 0:
            row["sharpness"] = far / known.nearest
            if known.blank > CLEAR * known.nearest:
                row["blur"] = (far - known.nearest) / (known.blank - known.nearest)
        if look.sides is not None:
            training, held_out = look.sides  # the former are the first of the real sample
            row["copied"] = nearer(away[:, : len(training)].amin(1), distances(features, held_out).amin(1))
        before = look.previous.get("modes") if look.previous else None
        if isinstance(before, str) and len(before) == len(words):
            row["mode_move"] = total_variation(before, words)
        if look.kind == "image":
            row["extreme"] = extreme(x) - known.extreme
        return row


def starved(codes: Tensor, partition: Partition) -> float:
    """Share of the data in modes that got less than a quarter of theirs."""
    counts = torch.bincount(codes, minlength=len(partition.shares)).float()
    due = partition.shares * len(codes)
    return float(partition.shares[(due > EXPECTED) & (counts < due / 4)].sum())


def total_variation(one: str, other: str) -> float:
    """Half the sum of the differences of the shares of each symbol."""
    return sum(abs(one.count(symbol) - other.count(symbol)) for symbol in {*one, *other}) / (2 * max(len(one), 1))


def nearer(one: Tensor, other: Tensor) -> float:
    """Share of the places where the first distance is the smaller; a tie is half."""
    return float((one < other).float().mean() + (one == other).float().mean() / 2)
