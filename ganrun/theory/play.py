"""The bilinear game, played in several ways by the shipped Wasserstein loss."""

from __future__ import annotations

import math

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ganrun.ground.spec import DiscriminatorOutput
from ganrun.theory.base import Row, Rows, experiment
from ganrun.theory.dynamics import Point, alternating, dirac_field, extragradient, orbit, runge_kutta, simultaneous, trace
from ganrun.theory.tools import judged, loss

START = (2.0, 3.0)


def bilinear_field(point: Point) -> Tensor:
    """x descends and y ascends x y, played by the shipped Wasserstein loss: generator at x, score -y times the input."""
    mirrored = dirac_field("wasserstein")(point * torch.tensor([1.0, -1.0], dtype=point.dtype))
    return mirrored * torch.tensor([1.0, -1.0], dtype=point.dtype)


def unrolled(point: Point, step: float, looks: int) -> Point:
    """x descends x y_K, where y_K is y after ``looks`` steps of its own; then y makes one step (Metz et al. 2017)."""
    x, y = (entry.detach().requires_grad_() for entry in point)
    critic, maker = loss("wasserstein").d, loss("wasserstein").g
    ahead = y
    for _ in range(looks):
        cost, _ = judged(critic, lambda z, y=ahead: DiscriminatorOutput(-y * z[:, 0]), torch.zeros(1, 1).double(), x.view(1, 1))
        ahead = ahead - step * torch.autograd.grad(cost, ahead, create_graph=True)[0]
    height, _ = judged(maker, lambda z: DiscriminatorOutput(-ahead * z[:, 0]), torch.zeros(1, 1).double(), x.view(1, 1))
    (slope,) = torch.autograd.grad(height, x)
    speed = bilinear_field(point)
    return torch.stack((point[0] - step * slope, point[1] + step * speed[1])).detach()


@experiment("bilinear")
def bilinear(figure: Figure) -> Rows:
    """min max x y from (2, 3): the smallest game that does not come to rest by itself.

    In continuous time the players circle for ever. With steps of size 1 in turn they come back to (2, 3) after six steps,
    exactly, through six whole points of an ellipse (not of a circle); which ellipse depends on who begins. Moving at once
    they spiral out by sqrt(1 + step^2) a step. The mean over one round is the solution (0, 0), though no point of the round
    is near it. Looking ahead helps: extra-gradient contracts, and so does a player that unrolls the other's steps.

    Formula:
        in turn, x first: x^2 + y^2 - h x y is kept, period 6 at h = 1;  y first: x^2 + y^2 + h x y
        at once: |.| grows by sqrt(1 + h^2);  extra-gradient: |.| shrinks by sqrt(1 - h^2 + h^4)
        unrolled K looks: the slope in x is y + 2 K h x
    """
    first = orbit(lambda p: alternating(bilinear_field, p, 1.0), START, 6)
    second = orbit(lambda p: alternating(bilinear_field, p, 1.0, first=1), START, 6)
    at_once = orbit(lambda p: simultaneous(bilinear_field, p, 1.0), START, 4)
    flow = orbit(lambda p: runge_kutta(bilinear_field, p, 0.05), START, 126)
    extra = orbit(lambda p: extragradient(bilinear_field, p, 0.3), START, 60)
    ahead = orbit(lambda p: unrolled(p, 0.1, 5), START, 150)
    plain = orbit(lambda p: unrolled(p, 0.1, 0), START, 120)
    x, y = START
    slope = (x - unrolled(first[0], 0.1, 5)[0].item()) / 0.1
    known = {"x first": ((2, 3), (-1, 2), (-3, -1), (-2, -3), (1, -2), (3, 1), (2, 3))}
    known["y first"] = ((2, 3), (-3, 5), (-5, 2), (-2, -3), (3, -5), (5, -2), (2, 3))
    rows = []
    for (label, places), path, sign in zip(known.items(), (first, second), (-1, 1), strict=True):
        wrong = (path - torch.tensor(places, dtype=torch.float64)).abs().max().item()
        kept = (path[:, 0] ** 2 + path[:, 1] ** 2 + sign * path[:, 0] * path[:, 1]).tolist()
        rows += [
            Row(f"{label}: farthest of seven points from {places[1]} ... {places[-1]}", 0.0, wrong, 1e-9),
            Row(f"{label}: the kept number, least", x * x + y * y + sign * x * y, min(kept), 1e-9),
            Row(f"{label}: the kept number, greatest", x * x + y * y + sign * x * y, max(kept), 1e-9),
        ]
    ratios = at_once[1:].norm(dim=1) / at_once[:-1].norm(dim=1)
    shrinks = extra[1:].norm(dim=1) / extra[:-1].norm(dim=1)
    h = 0.3
    rows += [
        Row("mean over one round", 0.0, first[:6].mean(0).norm().item(), 1e-12),
        Row("at once: growth a step, step 1", math.sqrt(2), ratios.max().item(), 1e-9),
        Row("at once: |(x, y)| after two steps", 7.2111026, at_once[2].norm().item(), 1e-6),
        Row("flow: radius after one round, sqrt 13", math.sqrt(13), flow[-1].norm().item(), 1e-5),
        Row("extra-gradient, step 0.3: factor", math.sqrt(1 - h**2 + h**4), shrinks.mean().item(), 1e-9),
        Row("unrolled 5 looks, step 0.1: slope in x", y + 2 * 5 * 0.1 * x, slope, 1e-9),
        Row("unrolled 5 looks: distance after 150 steps", 0.02, ahead[-1].norm().item(), relation="below"),
        Row("unrolled 0 looks: distance after 120 steps", math.sqrt(13), plain[-1].norm().item(), relation="above"),
    ]
    left, right = figure.subplots(1, 2)
    for axes, paths in (
        (left, {"in turn, x first": first, "y first": second, "at once": at_once[:3], "flow": flow}),
        (right, {"extra-gradient": extra, "unrolled 5": ahead, "unrolled 0": plain}),
    ):
        trace(axes, paths)
    right.plot(0, 0, "k+")
    return rows
