"""Laws on few dimensions and laws known by few samples: why a discriminator can tell apart what is nearly the same."""

from __future__ import annotations

import itertools
import math

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ganrun.ground.spec import DiscriminatorOutput
from ganrun.theory.base import Row, Rows, experiment
from ganrun.theory.tools import LOG2, SURE, fit, generator, judged, loss

SHARE = 200001  # points along a segment


@experiment("supports")
def supports(figure: Figure) -> Rows:
    """Laws on few dimensions do not overlap.

    The outputs of a generator lie on a surface of at most as many dimensions as its latent. Two surfaces of k and l
    dimensions in general position in d do not meet if k + l < d; if k + l >= d they may meet, but only in a set that has
    probability zero under both laws. So "they do not overlap" does not mean "they do not meet": the share of either law
    within e of the other falls in proportion to e to the power d - k or d - l, and JS is log 2 either way.

    Formula:
        two segments of length L that cross at the angle a:  share within e = 2 e / (L sin a)
        two lines in space through A, B along u, v:  distance |(B - A) . n|, n the unit vector along u x v
    """
    length, angle = 2.0, 1.0
    along = torch.linspace(-length / 2, length / 2, SHARE, dtype=torch.float64)
    away = (along * math.sin(angle)).abs()
    epsilons = [1e-1, 1e-2, 1e-3, 1e-4]
    shares = [(away <= epsilon).double().mean().item() for epsilon in epsilons]
    rows = [
        Row(f"plane: share of a segment within {e:g} of the other", 2 * e / (length * math.sin(angle)), share, 2e-5)
        for e, share in zip(epsilons, shares, strict=True)
    ]
    source = generator(2)
    pairs = torch.randn(200, 4, 3, generator=source, dtype=torch.float64)
    a, b, u, v = pairs.unbind(1)
    normals = torch.linalg.cross(u, v)
    closed = ((b - a) * normals).sum(1).abs() / normals.norm(dim=1)
    basis = torch.stack((u, -v), 2)
    steps = torch.linalg.lstsq(basis, (b - a).unsqueeze(2)).solution
    found = (basis @ steps - (b - a).unsqueeze(2)).squeeze(2).norm(dim=1)
    meeting = torch.linalg.det(torch.stack((u[:, :2], -v[:, :2]), 2)).abs()
    rows += [
        Row(
            "space: least distance by search against the formula, worst of 200 pairs",
            0,
            (found - closed).abs().max().item(),
            1e-9,
        ),
        Row("space: pairs of lines that meet", 0, (closed < 1e-9).sum().item()),
        Row("plane: pairs of lines that meet", 200, (meeting > 1e-9).sum().item()),
        Row("JS of the crossing segments, from the minimax loss", LOG2, crossing_js(angle), 1e-4),
    ]
    left, right = figure.subplots(1, 2)
    left.plot(along, torch.zeros_like(along), lw=2)
    left.plot(along * math.cos(angle), along * math.sin(angle), lw=2)
    left.set(title="two laws on segments that cross", aspect="equal", xlabel="x", ylabel="y")
    right.loglog(epsilons, shares, "o-", label="plane, lines cross")
    right.loglog(
        epsilons,
        [(closed <= e).double().mean().item() + 1e-9 for e in epsilons],
        "s--",
        label="space: lines nearer than e",
    )
    right.set(xlabel="e", ylabel="share within e", ylim=(1e-5, 1))
    right.legend(fontsize="small")
    return rows


def crossing_js(angle: float) -> float:
    """JS of two segments through the origin, from 10 000 points each and a discriminator that looks on which one a point lies."""
    along = torch.linspace(-1, 1, 10000, dtype=torch.float64)
    first = torch.stack((along, torch.zeros_like(along)), 1)
    second = torch.stack((along * math.cos(angle), along * math.sin(angle)), 1)
    total, _ = judged(
        loss("minimax").d, lambda x: DiscriminatorOutput(SURE * (1 - 2 * (x[:, 1].abs() > 1e-9).double())), first, second
    )
    return LOG2 - total.item() / 2


def separable(points: Tensor) -> int:
    """How many of the 2^n labellings of ``points`` (n, d) a plane can make, counted by moving planes through d points."""
    count, dimension = points.shape
    found = set()
    for through in itertools.combinations(range(count), dimension):
        chosen = points[list(through)]
        lifted = torch.cat((chosen, torch.ones(dimension, 1, dtype=points.dtype)), 1)
        plane = torch.linalg.svd(lifted).Vh[-1]
        signs = points @ plane[:-1] + plane[-1] > 0
        for choice in itertools.product((False, True), repeat=dimension):
            labels = signs.clone()
            labels[list(through)] = torch.tensor(choice)
            found |= {tuple(labels.tolist()), tuple((~labels).tolist())}
    return len(found)


def cover(count: int, dimension: int) -> int:
    """Cover 1965: labellings of ``count`` points in general position that an affine plane can make."""
    return 2 * sum(math.comb(count - 1, k) for k in range(dimension + 1))


@experiment("finite_samples")
def finite_samples(figure: Figure) -> Rows:
    """Samples can be told apart though their laws are one.

    However the points lie, n + n <= d + 1 of them in general position are separated by a plane whatever their labels; of 2 (d
    + 1) points exactly half of all labellings are separable (Cover 1965). So a linear D already reaches 100 % on samples of
    one and the same law, drives its loss to zero, and says nothing: on fresh samples it is right half the time. JS read from
    samples by a strong D is thus near log 2 even at the best generator.

    Formula:
        separable labellings of N points in d dimensions:  2 sum_{k <= d} C(N - 1, k)
    """
    source = generator(3)
    rows = []
    for count, dimension in ((6, 2), (8, 3), (4, 3), (7, 2)):
        points = torch.randn(count, dimension, generator=source, dtype=torch.float64)
        rows.append(Row(f"{count} points in {dimension} dimensions: separable", cover(count, dimension), separable(points)))
    rows.append(Row("share of separable labellings of 2 (d + 1) points, d = 3", 0.5, rows[1].measured / 2**8, 1e-12))
    dimension, each = 64, 32
    real, fake = torch.randn(2, each, dimension, generator=source, dtype=torch.float64)
    plane = fit(lambda w: judged(loss("minimax").d, linear(w), real, fake)[0], torch.zeros(dimension + 1).double(), 200)
    fresh = torch.randn(2, 20000, dimension, generator=source, dtype=torch.float64)
    trained, tested = accuracy(plane, real, fake), accuracy(plane, *fresh)
    final = judged(loss("minimax").d, linear(plane), real, fake)[0].item()
    rows += [
        Row(f"linear D, {each} + {each} samples of one law in {dimension} dimensions: accuracy", 1.0, trained),
        Row("its loss", 0.01, final, relation="below"),
        Row("its accuracy on fresh samples", 0.5, tested, 0.02),
    ]
    left, right = figure.subplots(1, 2)
    axis = linear(plane)
    for axes, (one, two), title in ((left, (real, fake), "samples that D saw"), (right, fresh, "fresh samples")):
        axes.hist([axis(x).score.tolist() for x in (one, two)], bins=40, density=True, label=["real", "fake"])
        axes.set(title=title, xlabel="score", ylabel="density of the samples", yticks=[])
        axes.legend(fontsize="small")
    return rows


def linear(weights: Tensor):  # type: ignore[no-untyped-def]
    """A linear discriminator; the last weight is its offset."""
    return lambda x: DiscriminatorOutput(x @ weights[:-1] + weights[-1])


def accuracy(plane: Tensor, real: Tensor, fake: Tensor) -> float:
    judge = linear(plane)
    return ((judge(real).score > 0).double().mean() + (judge(fake).score < 0).double().mean()).item() / 2
