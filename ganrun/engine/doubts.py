"""Whether a score tells real images from images that are spoilt in a known way, on the data set at hand.

A score by an extractor whose orderings nobody has published may flatter: nearest neighbours among features that average
detail away give blurred images more precision than real ones. So real images that were held out are spoilt, scored as if they
were generated, and compared with what they read unspoilt. What does not come out worse is said beside the score.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ganrun.data.base import Dataset
from ganrun.engine import scoring
from ganrun.metrics.base import Score
from ganrun.metrics.images import to_size

MOST = 1000  # images that are spoilt
COPIES = 8


def spoilt(held_out: Tensor, train: Tensor) -> dict[str, dict[str, Tensor]]:
    """{what is spoilt: {in words: images}}, as many as ``held_out`` (n, channels, height, width); ``train`` are ``COPIES``."""
    side = held_out.shape[-1]
    blurred = interpolate(to_size(held_out, max(1, side // 4)), size=held_out.shape[-2:], mode="bilinear")
    return {
        "fidelity": {
            "blurred": blurred,
            "averaged in pairs": (held_out + held_out.roll(1, 0)) / 2,
            "their mean": held_out.mean(0, keepdim=True).expand_as(held_out),
        },
        "diversity": {
            f"{len(train)} training images repeated": train.repeat(-(-len(held_out) // len(train)), 1, 1, 1)[: len(held_out)]
        },
    }


def doubts(
    metrics: Mapping[str, Score],
    dataset: Dataset,
    *,
    num: int,
    evaluation: Mapping[str, Any],
    device: torch.device | str = "cpu",
    say: scoring.Say = scoring.on_stderr,
) -> dict[str, list[str]]:
    """{metric: sentences} for each score that does not put spoilt images below the real ones that they were made of.

    Of metrics that say in ``tells`` what they are meant to see; at ``num`` images, at most ``MOST``.
    """
    asked = {name: metric for name, metric in metrics.items() if metric.tells}
    held_out = dataset.held_out()
    if not asked or held_out is None:
        return {}
    settings = {**evaluation, "average": False, "num": min(num, MOST), "device": str(device)}
    return dict(
        scoring.once(dataset, "doubts", asked, settings, lambda: _doubts(asked, dataset, held_out, num, evaluation, device, say))
    )


def _doubts(
    asked: Mapping[str, Score],
    dataset: Dataset,
    held_out: Dataset,
    num: int,
    evaluation: Mapping[str, Any],
    device: torch.device | str,
    say: scoring.Say,
) -> dict[str, list[str]]:
    options: dict[str, Any] = {"evaluation": {**evaluation, "average": False}, "device": device, "say": say}
    real = scoring.draw(held_out, min(num, MOST), "doubts").x
    plain = scoring.score(asked, real, dataset, **options)
    made = spoilt(real, scoring.draw(dataset, COPIES, "doubts").x)
    read = {
        kind: {words: scoring.score(asked, x, dataset, **options) for words, x in sets.items()} for kind, sets in made.items()
    }
    found: dict[str, list[str]] = {}
    for name, metric in asked.items():
        for value, kinds in metric.tells.items():
            if value not in plain[name].values:
                continue
            held, sign = plain[name].values[value], 1 if metric.directions[value] else -1
            others = {words: results[name].values.get(value) for kind in kinds for words, results in read[kind].items()}
            flattered = [
                f"{words} {other:.3g}" for words, other in others.items() if other is not None and sign * other >= sign * held
            ]
            if flattered:
                by = plain[name].card["extractor"]["name"]
                found.setdefault(name, []).append(
                    f"{value} by {by} does not tell real images from spoilt ones here: real images that were held out read "
                    f"{held:.3g}, {', '.join(flattered)}"
                )
    return found
