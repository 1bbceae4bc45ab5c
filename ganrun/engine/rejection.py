"""Discriminator rejection sampling (Azadi et al. 2019): of many samples those that the discriminator lets through.

Where D's score is s = log p / q, as the logistic loss has it at its best D, a sample of q kept with probability
exp(s - M), M = max s, has the law p. Few would be kept, so the paper keeps it with probability sigmoid(F) instead,

    F = (s - M) - log(1 - exp(s - M - e)) - gamma,

which is exp(s - M) at gamma = 0 and keeps more of the rest the smaller gamma is. M and gamma are found on samples of another
seed: gamma is such that the share ``reject`` of those is rejected. Of a class-conditional run every class is one distribution.
What comes is as good as D's ratio is: penalties, averages and few updates of D move it away from log p / q.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ganrun.engine import assemble
from ganrun.engine.ema import EMA
from ganrun.engine.sources import translates
from ganrun.games.base import Game
from ganrun.ground import rng
from ganrun.ground.errors import BadInput
from ganrun.ground.registry import lookup, names

TRIED = 1024  # samples that M and gamma are found on
EPSILON = 1e-6
MOST = 512  # blocks of candidates for a class
BLOCK = 256

Make = Callable[[int, int, Tensor | None], Tensor]  # (count, seed, labels) -> samples in the training range


def check(game: Game, reject: float) -> None:
    """Raise ``BadInput`` unless the discriminator's score is a log ratio of single samples, and ``reject`` a share."""
    if not 0 < reject < 1:
        raise BadInput(f"reject={reject}: must be above 0 and below 1, the share of samples to reject")
    if translates(game) or not game.judges_samples or len(game.roles()["discriminator"][0]) > 1:
        raise BadInput("reject: reads what a discriminator says of a sample alone, and this run's judges something else")
    if game.pack > 1:
        raise BadInput("reject: reads what a discriminator says of a sample alone, and this run's judges packs")
    if not game.loss.log_ratio:
        found = [name for name in names("loss") if getattr(lookup("loss", name), "log_ratio", False)]
        fitting = ", ".join(f"loss={name}" for name in found)
        raise BadInput(f"reject: needs scores that are log p / q, and this run's loss gives others. Train with {fitting}")


def lift(scores: Tensor, top: float) -> Tensor:
    """F at gamma 0: the log odds of exp(s - M). ``scores`` (n,) float64; above M it is as at M."""
    below = (scores - top).clamp_max(0.0) - EPSILON
    return below - torch.log(-torch.expm1(below))


def find_gamma(lifted: Tensor, reject: float) -> float:
    """gamma for which the mean of sigmoid(F) over ``lifted`` is 1 - ``reject``, by halving."""
    low, high = float(lifted.min()) - 50, float(lifted.max()) + 50
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if float(torch.sigmoid(lifted - middle).mean()) > 1 - reject else (low, middle)
    return (low + high) / 2


def kept(
    game: Game, averages: Mapping[str, EMA], make: Make, labels: Tensor | None, count: int, seed: int, reject: float
) -> Tensor:
    """``count`` samples that were let through, of the classes ``labels`` (count,) where the run takes some.

    Whether candidate i of a class is kept follows from the seed, the class and i.
    """
    check(game, reject)
    classes = [None] if labels is None else sorted(set(labels.tolist()))
    found = torch.empty(count, *game.spec.shape)
    for label in classes:
        places = torch.arange(count) if label is None else torch.nonzero(labels == label).flatten()
        found[places] = _of_class(game, averages, make, label, len(places), seed, reject)
    return found


def _of_class(
    game: Game, averages: Mapping[str, EMA], make: Make, label: int | None, count: int, seed: int, reject: float
) -> Tensor:
    def asked(number: int) -> Tensor | None:
        return None if label is None else torch.full((number,), label)

    tried = make(TRIED, rng.derive(seed, "rejection") % 2**31, asked(TRIED))
    scores = score(game, averages, tried, label)
    top = float(scores.max())
    gamma = find_gamma(lift(scores, top), reject)
    blocks = math.ceil(count / (1 - reject) / BLOCK)
    while blocks <= MOST:
        x = make(blocks * BLOCK, seed, asked(blocks * BLOCK))
        chances = torch.sigmoid(lift(score(game, averages, x, label), top) - gamma)
        draws = torch.rand(len(x), generator=rng.generator(seed, "rejection", label or 0), dtype=torch.float64)
        let = x[draws < chances]
        if len(let) >= count:
            return let[:count]
        blocks *= 2
    raise BadInput(f"reject={reject}: of {MOST * BLOCK} samples fewer than {count} were kept; reject fewer")


def score(game: Game, averages: Mapping[str, EMA], x: Tensor, label: int | None) -> Tensor:
    """The discriminator's scores of ``x``, a map's mean over its patches: float64 (n,), on the CPU."""
    judge, parts = game.players["discriminator"], []
    device = next(judge.parameters()).device
    with assemble.performing(game, averages):
        for part in x.split(BLOCK):
            given = {} if label is None else {"condition": torch.full((len(part),), label, device=device)}
            parts.append(_flat(judge(part.to(device), **given).score))
    return torch.cat(parts).cpu()


def _flat(score: Tensor) -> Tensor:
    return score.double() if score.ndim == 1 else score.double().flatten(1).mean(1)
