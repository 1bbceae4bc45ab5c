"""What generators put out: several answers, lost modes, maps that nothing pins down."""

from __future__ import annotations

import math

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ganrun.ground.spec import DiscriminatorOutput
from ganrun.theory.base import Row, Rows, experiment
from ganrun.theory.tools import LOG2, generator, improve, judged, kullback_leibler, line, loss, network, normal, regularizer

PLACE = 2.0  # the modes of the inverse's picture stand at plus and minus this
SPREAD = 0.5


@experiment("two_futures", slow=True)
def two_futures(figure: Figure) -> Rows:
    """Why put out a law: of two possible futures, the squared error answers with neither.

    Each past c has two equally likely futures, c + 1 and c - 1. The least squared error is reached by their mean c, a future
    that never happens: the net is right about the mean, and the mean is no sample. A conditional generator with noise as a
    second input learns both. It needs the noise to be used, and nothing in the loss but D's sight of (c, future) pairs asks
    for that.

    Formula:
        argmin E (f(c) - y)^2 = E[y | c]
    """
    source = generator(8)

    def batch(count: int) -> tuple[Tensor, Tensor]:
        past = torch.rand(count, 1, generator=source) * 2 - 1
        turn = (torch.rand(count, 1, generator=source) < 0.5).float() * 2 - 1
        return past, past + turn + 0.05 * torch.randn(count, 1, generator=source)

    plain = network("generator", 1, 1, width=32, seed=1)
    optimizer = torch.optim.Adam(plain.parameters(), 5e-3)
    for _ in range(400):
        past, future = batch(256)
        optimizer.zero_grad()
        (plain(past) - future).square().mean().backward()
        optimizer.step()
    maker, judge = network("generator", 2, 1, seed=2, activation="leaky_relu"), network("discriminator", 2, seed=3)
    by_g = torch.optim.Adam(maker.parameters(), 2e-3, betas=(0.5, 0.99))
    by_d = torch.optim.Adam(judge.parameters(), 4e-3, betas=(0.5, 0.99))
    for step in range(1200):
        past, future = batch(256)
        inputs = torch.cat((past, torch.randn(256, 1, generator=source)), 1)
        real, fake = torch.cat((past, future), 1), torch.cat((past, maker(inputs)), 1)
        improve(by_d, loss("nonsaturating").d, judge, real, fake.detach(), stack=[regularizer("r1", weight=0.1)], step=step)
        by_g.zero_grad()
        judged(loss("nonsaturating").g, judge, real, fake)[0].backward()
        by_g.step()
    past, future = batch(2000)
    with torch.no_grad():
        mean = plain(past)
        made = maker(torch.cat((past, torch.randn(2000, 1, generator=source)), 1))
    turns = made - past
    near = (turns.abs() - 1).abs() < 0.25
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, answers, title in ((left, mean, "least squares"), (right, made, "conditional GAN")):
        axes.plot(past[:600], future[:600], ".", ms=2, color="lightgray", label="data")
        axes.plot(past[:600], answers[:600], ".", ms=2, label="answers")
        axes.set(title=title, xlabel="past c", ylabel="future" if axes is left else "answer")
        axes.legend(fontsize="small", markerscale=4)
    return [
        Row("least squares: greatest distance from the mean c", 0.2, (mean - past).abs().max().item(), relation="below"),
        Row("least squares: share of answers near a future", 0.0, ((mean - past).abs() > 0.75).double().mean().item()),
        Row("GAN: share of answers near a future", 0.9, near.double().mean().item(), relation="above"),
        Row("GAN: share of the upper future", 0.5, (turns > 0).double().mean().item(), 0.1),
        Row("GAN: E |answer - c|", 1.0, turns.abs().mean().item(), 0.1),
    ]


@experiment("inverse_shows_lost_mode")
def inverse_shows_lost_mode(figure: Figure) -> Rows:
    """The inverse of G shows the mode that G has lost.

    The picture behind VEEGAN. The generator makes only the left of two modes. (a) F learned to invert it on its own samples
    sends real data of the lost mode far out, where the latent law has nothing: F(data) is not N(0, 1), and their KL tells.
    (b) F that maps the data onto N(0, 1) instead sends the generator's samples to one half of it: again not z, so the error
    of reconstruction z - F(G(z)) tells, and the KL of that half normal law is exactly log 2. Neither tells which generator to
    take instead; the game of pairs (z, x) does.

    Formula:
        p = N(-a, s^2) / 2 + N(a, s^2) / 2,  G(z) = -a + s z:  (a) F(x) = (x + a) / s, E F(data) = a / s
        (b) F = N^-1(P(x)), P the data's cumulative law:  F(G(z)) half normal, mean -sqrt(2 / pi), KL log 2
    """
    source = generator(9)
    z = torch.randn(20000, 1, generator=source, dtype=torch.float64)
    made = -PLACE + SPREAD * z
    sides = (torch.rand(20000, 1, generator=source) < 0.5).double() * 2 - 1
    data = PLACE * sides + SPREAD * torch.randn(20000, 1, generator=source, dtype=torch.float64)
    fitted = torch.linalg.lstsq(torch.cat((made, torch.ones_like(made)), 1), z).solution
    inverse = torch.cat((data, torch.ones_like(data)), 1) @ fitted
    x = line(-12, 20, 6401)
    image = (normal(x) + normal(x, 2 * PLACE / SPREAD)) / 2

    def onto_normal(points: Tensor) -> Tensor:
        below = torch.stack([0.5 * (1 + torch.erf((points - m) / (SPREAD * math.sqrt(2)))) for m in (-PLACE, PLACE)]).sum(0)
        return math.sqrt(2) * torch.erfinv((below - 1).clamp(-1 + 1e-15, 1 - 1e-15))

    back, straight = onto_normal(made), onto_normal(data)
    half = torch.where(x <= 0, 2 * normal(x), 0.0)
    half = half / half.sum()
    left, right = figure.subplots(1, 2)
    bins = torch.linspace(-4, 12, 65).tolist()
    left.hist(inverse.flatten().tolist(), bins=bins, density=True, color="C1", label="F(data)")
    left.plot(x, normal(x) / (x[1] - x[0]), "k", lw=1, label="N(0, 1)")
    left.set(xlim=(-4, 12), title="(a) F inverts G", xlabel="latent", ylabel="density")
    bins = torch.linspace(-4, 4, 65).tolist()
    right.hist(back.flatten().tolist(), bins=bins, density=True, color="C1", label="F(G(z))")
    right.plot(x, normal(x) / (x[1] - x[0]), "k", lw=1, label="N(0, 1)")
    right.set(xlim=(-4, 4), title="(b) F maps the data onto N(0, 1)", xlabel="latent", ylabel="density")
    for axes in (left, right):
        axes.legend(fontsize="small")
    squared = (2 * PLACE / SPREAD) ** 2 / 4
    gap = kullback_leibler(image, normal(x))
    return [
        Row("(a) slope of the F that inverts G, 1 / s", 1 / SPREAD, fitted[0].item(), 1e-9),
        Row("(a) its error on G's samples", 0.0, (made * fitted[0] + fitted[1] - z).square().mean().item(), 1e-12),
        Row("(a) mean of F(data), a / s", PLACE / SPREAD, inverse.mean().item(), 0.1),
        Row("(a) KL of F(data) from N(0, 1), near (2 a / s)^2 / 4 - log 2", squared - LOG2, gap, 0.01),
        Row("(b) mean of F(data)", 0.0, straight.mean().item(), 0.03),
        Row("(b) variance of F(data)", 1.0, straight.var().item(), 0.03),
        Row("(b) mean of F(G(z)), -sqrt(2 / pi)", -0.7978846, back.mean().item(), 0.02),
        Row("(b) KL of F(G(z)) from N(0, 1), log 2", LOG2, kullback_leibler(half, normal(x)), 0.01),
        Row("(b) E (z - F(G(z)))^2", 0.5, (z - back).square().mean().item(), relation="above"),
    ]


@experiment("unpaired_maps")
def unpaired_maps(figure: Figure) -> Rows:
    """Two laws do not say which point belongs to which.

    Source and target are both N(0, I) in the plane, and the true map is the identity. Every rotation, and every mirror image,
    maps the one law onto the other, so an adversarial loss alone cannot prefer the true one; a second map that inverts the
    first gives perfect cycle consistency for each of them, too. From 24 random starts linear maps are trained against the
    best D, known in closed form, by the shipped non-saturating loss: all fit the target law, and their angles are all over
    the circle. Laws with less symmetry leave fewer maps, but even a ring of eight points leaves sixteen.

    Formula:
        W W' = I  =>  W x ~ N(0, I) for x ~ N(0, I);  E |R_a x - x|^2 = 4 (1 - cos a)
    """
    source = generator(10)
    x = torch.randn(1000, 2, generator=source, dtype=torch.float64)
    x = (x - x.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(x.T, correction=0))).T  # mean 0, covariance I exactly
    maps, eye = [], torch.eye(2, dtype=torch.float64)
    for _ in range(24):
        matrix = torch.randn(2, 2, generator=source, dtype=torch.float64)
        for _ in range(80):
            matrix = step_towards(matrix, x)
        maps.append(matrix)
    stacked = torch.stack(maps)
    law_error = (stacked @ stacked.mT - eye).abs().amax((1, 2))
    turns = stacked.det() > 0
    angles = torch.atan2(stacked[:, 1, 0], stacked[:, 0, 0])[turns]
    errors = torch.stack([(x @ matrix.T - x).square().sum(1).mean() for matrix in stacked[turns]])
    spread = torch.stack((angles.cos(), angles.sin())).mean(1).norm().item()
    values = [judged(loss("minimax").d, quadratic(matrix), x, x @ matrix.T)[0].item() for matrix in stacked]
    cycle = [((x @ m.T) @ torch.linalg.inv(m).T - x).abs().max().item() for m in stacked]
    left, right = figure.subplots(1, 2)
    left.plot(angles.cos(), angles.sin(), "o", label="where (1, 0) goes")
    left.set(aspect="equal", title=f"{int(turns.sum())} of 24 maps are rotations", xlabel="x", ylabel="y")
    left.legend(fontsize="small")
    right.plot(angles, errors, "o", label="error of pairs")
    right.plot(angles, [value for value, turned in zip(values, turns.tolist(), strict=True) if turned], "s", label="loss of D")
    grid = torch.linspace(-math.pi, math.pi, 100)
    right.plot(grid, 4 * (1 - grid.cos()), lw=0.8, label="4 (1 - cos a)")
    right.set(xlabel="angle a of the map", ylabel="error, and loss")
    right.legend(fontsize="small")
    closed = 4 * (1 - angles.cos())
    return [
        Row("greatest |W W' - I| of 24 trained maps", 0.0, law_error.max().item(), 0.01),
        Row("loss of the best D, greatest distance from 2 log 2", 0.0, max(abs(v - 2 * LOG2) for v in values), 1e-4),
        Row("error of the pairs, greatest distance from 4 (1 - cos a)", 0.0, (errors - closed).abs().max().item(), 0.05),
        Row("length of the mean direction of the rotations (1: all agree)", 0.6, spread, relation="below"),
        Row("maps that mirror", 5, (~turns).sum().item(), relation="above"),
        Row("error of a round trip, greatest", 0.0, max(cycle), 1e-9),
    ]


def quadratic(matrix: Tensor):  # type: ignore[no-untyped-def]
    """The best discriminator of N(0, I) against N(0, W W'): s = log p - log q."""
    law = matrix.detach() @ matrix.detach().T
    inside = (torch.linalg.inv(law) - torch.eye(2, dtype=law.dtype)) / 2
    return lambda x: DiscriminatorOutput((x @ inside * x).sum(1) + law.det().log() / 2)


def step_towards(matrix: Tensor, x: Tensor) -> Tensor:
    """One step of the generator x -> W x against the best discriminator."""
    weights = matrix.clone().requires_grad_()
    cost, _ = judged(loss("nonsaturating").g, quadratic(matrix), x[:500], x @ weights.T)
    (slope,) = torch.autograd.grad(cost, weights)
    return matrix - 0.2 * slope / slope.norm().clamp_min(1)
