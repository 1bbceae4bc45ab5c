"""KL, JS and W between laws whose distances are known, and what each of them asks of a generator."""

from __future__ import annotations

import math

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ganrun.theory.base import Row, Rows, experiment
from ganrun.theory.tools import (
    LOG2,
    SURE,
    expectation,
    fit,
    generator,
    jensen_shannon,
    kullback_leibler,
    line,
    loss,
    normal,
    normal_logit,
)

CELLS = 4000  # of one unit of length: uniform laws end on borders of cells
MODES = 3.0  # the two modes stand at plus and minus this, with unit variance


def uniform(low: float, high: float) -> Tensor:
    """Weights of U(low, high) on cells of [0, 2]."""
    weights = torch.zeros(2 * CELLS, dtype=torch.float64)
    first, last = round(low * CELLS), round(high * CELLS)
    weights[first:last] = 1 / (last - first)
    return weights


def atoms_logit(p: Tensor, q: Tensor) -> Tensor:
    """log p - log q, sure of itself where one law is alone."""
    return torch.where(q == 0, SURE, torch.where(p == 0, -SURE, (p.clamp_min(1e-300) / q.clamp_min(1e-300)).log()))


def critic_distance(p: Tensor, q: Tensor, critic: Tensor) -> float:
    """E_p f - E_q f from the shipped critic's loss."""
    return -expectation(loss("wasserstein").d, p, critic, q, critic).item()


@experiment("distances")
def distances(figure: Figure) -> Rows:
    """JS sticks at log 2 where W falls with the distance.

    Two parallel unit segments in the plane, a distance t apart, have JS log 2 and infinite KL for every t but 0, while W is
    |t|. The shifted uniform law shows it on a line: from t = 1 on JS stands still. For the shrunken law U(t, 1), often quoted
    in the place of the segments, it is not so: the laws overlap, JS is finite and continuous, W is t / 2 and one of the two
    KL is finite. For two normal laws JS never stands still but flattens: at eight deviations its slope is gone in practice.
    JS is read from the minimax loss at its best D, W from the Wasserstein loss at its best 1-Lipschitz critic.

    Formula:
        segments at (0, Z) and (t, Z):  KL = inf,  JS = log 2,  W = |t|
        U(0, 1) and U(t, 1):            KL(q, p) = -log(1 - t),  KL(p, q) = inf,  W = t / 2
        U(0, 1) and U(t, 1 + t):        JS = min(t, 1) log 2,  W = t
        N(0, 1) and N(m, 1):            KL = m^2 / 2,  W = m
    """
    cells = (torch.arange(2 * CELLS, dtype=torch.float64) + 0.5) / CELLS
    rows = [*segments(), *shrunken(cells), *shifted(cells), *normals()]
    left, right = figure.subplots(1, 2)
    shifts = torch.linspace(0, 1, 21).tolist()
    pairs = [(uniform(0, 1), uniform(t, 1 + t)) for t in shifts]
    x = line()
    means = torch.linspace(0, 8, 33).tolist()
    left.plot(shifts, [jensen_shannon(p, q, atoms_logit(p, q)) for p, q in pairs], label="JS, shifted uniform")
    left.plot(shifts, [0] + [LOG2] * 20, "o", ms=3, label="JS, segments")
    left.plot(shifts, [critic_distance(p, q, -cells) for p, q in pairs], "--", label="W, both")
    left.set(xlabel="distance t", ylabel="distance of the two laws")
    right.plot(means, [jensen_shannon(normal(x), normal(x, m), normal_logit(x, (0, 1), (m, 1))) for m in means], label="JS")
    right.plot(means, [critic_distance(normal(x), normal(x, m), -x) / 8 for m in means], "--", label="W / 8")
    right.set(xlabel="distance of two unit normal laws", ylabel="distance of the two laws")
    for axes in (left, right):
        axes.axhline(LOG2, color="gray", lw=0.5)
        axes.legend(fontsize="small")
    return rows


def segments() -> Rows:
    """The two parallel segments, as 50 heights each; a discriminator of the plane may look at the first coordinate."""
    rows = []
    heights = torch.full((50,), 1 / 50, dtype=torch.float64)
    alone = torch.zeros_like(heights)
    for t in (1e-3, 1.0):
        p, q = torch.cat((heights, alone)), torch.cat((alone, heights))
        shift = torch.tensor(t, dtype=torch.float64, requires_grad=True)
        critic = torch.cat((alone, -shift.expand(50)))
        distance = -expectation(loss("wasserstein").d, p, critic, q, critic)
        (slope,) = torch.autograd.grad(distance, shift)
        rows += [
            Row(f"segments, t = {t:g}: JS", LOG2, jensen_shannon(p, q, atoms_logit(p, q)), 1e-9),
            Row(f"segments, t = {t:g}: KL", math.inf, kullback_leibler(p, q)),
            Row(f"segments, t = {t:g}: W", t, distance.item(), 1e-9),
            Row(f"segments, t = {t:g}: slope of W in t", 1.0, slope.item(), 1e-9),
        ]
    return rows


def shrunken(cells: Tensor) -> Rows:
    rows = []
    for t, js in ((0.25, 0.0956026), (0.5, 0.2157616), (0.9, 0.5255973)):
        p, q = uniform(0, 1), uniform(t, 1)
        rows += [
            Row(f"U(0, 1), U({t:g}, 1): JS", js, jensen_shannon(p, q, atoms_logit(p, q)), 1e-6),
            Row(f"U(0, 1), U({t:g}, 1): KL(q, p)", -math.log(1 - t), kullback_leibler(q, p), 1e-9),
            Row(f"U(0, 1), U({t:g}, 1): W", t / 2, critic_distance(p, q, -cells), 1e-9),
        ]
    return [*rows, Row("U(0, 1), U(0.5, 1): KL(p, q)", math.inf, kullback_leibler(uniform(0, 1), uniform(0.5, 1)))]


def shifted(cells: Tensor) -> Rows:
    rows = []
    for t in (0.25, 1.0):
        p, q = uniform(0, 1), uniform(t, 1 + t)
        rows += [
            Row(f"U(0, 1), U({t:g}, {1 + t:g}): JS", t * LOG2, jensen_shannon(p, q, atoms_logit(p, q)), 1e-9),
            Row(f"U(0, 1), U({t:g}, {1 + t:g}): W", t, critic_distance(p, q, -cells), 1e-9),
        ]
    return rows


def normals() -> Rows:
    rows, x = [], line()
    known = ((0.5, 0.0303113), (1.0, 0.1114215), (2.0, 0.3368308), (4.0, 0.6327202), (8.0, 0.6930536))
    for mean, js in known:
        p, q, logit = normal(x), normal(x, mean), normal_logit(x, (0.0, 1.0), (mean, 1.0))
        rows += [
            Row(f"N(0, 1), N({mean:g}, 1): JS", js, jensen_shannon(p, q, logit), 1e-6),
            Row(f"N(0, 1), N({mean:g}, 1): KL", mean**2 / 2, kullback_leibler(p, q), 1e-9),
            Row(f"N(0, 1), N({mean:g}, 1): W", mean, critic_distance(p, q, -x), 1e-9),
        ]
    return rows


@experiment("maximum_likelihood")
def maximum_likelihood(figure: Figure) -> Rows:
    """To maximise likelihood is to minimise KL from the data to the model.

    Exactly true, for any sample, of KL from the empirical law: mean log-likelihood plus KL is the same number for every
    model, minus the sample's entropy. With more samples the empirical law becomes the data's. Where the model gives a sample
    probability zero, both are infinite. The model here is binomial with free success rate, on 500 draws that are not
    binomial.

    Formula:
        (1/n) sum log q_t(x_i) = -H(p^) - KL(p^, q_t)
    """
    draws = torch.multinomial(torch.tensor([0.1, 0.5, 0.1, 0.3]), 500, replacement=True, generator=generator(1))
    empirical = draws.bincount(minlength=4).double() / 500
    ways = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=torch.float64)
    counts = torch.arange(4)

    def model(rate: Tensor) -> Tensor:
        return ways * rate**counts * (1 - rate) ** (3 - counts)

    start = torch.zeros(1, dtype=torch.float64)
    likeliest = fit(lambda logit: -model(logit.sigmoid())[draws].log().mean(), start).sigmoid().item()

    def divergence(logit: Tensor) -> Tensor:
        return (empirical * (empirical.log() - model(logit.sigmoid()).log())).sum()

    closest = fit(divergence, start).sigmoid().item()
    rates = torch.linspace(0.05, 0.95, 91, dtype=torch.float64)
    likelihoods = torch.stack([model(rate)[draws].log().mean() for rate in rates])
    divergences = torch.tensor([kullback_leibler(empirical, model(rate)) for rate in rates], dtype=torch.float64)
    sums = likelihoods + divergences
    entropy = -(empirical * empirical.log()).sum().item()
    axes = figure.add_subplot()
    axes.plot(rates, -likelihoods, label="minus mean log-likelihood")
    axes.plot(rates, divergences, label="KL(sample, model)")
    axes.fill_between(rates, divergences, -likelihoods, alpha=0.2, label="their constant distance: the sample's entropy")
    axes.axvline(likeliest, color="gray", lw=0.8)
    axes.set(xlabel="model's success rate", ylabel="nats for each sample", ylim=(0, 4))
    axes.legend(fontsize="small")
    mean = draws.double().mean().item() / 3
    return [
        Row("rate of greatest likelihood, against mean / 3", mean, likeliest, 1e-6),
        Row("rate of least KL", mean, closest, 1e-6),
        Row("log-likelihood + KL, against minus the entropy", -entropy, sums.mean().item(), 1e-9),
        Row("spread of that sum over all rates", 0.0, (sums.max() - sums.min()).item(), 1e-9),
    ]


@experiment("kl_directions")
def kl_directions(figure: Figure) -> Rows:
    """One KL covers all modes, the other seeks one.

    The names of the two directions are often swapped. KL(p, q), the one of maximum likelihood, is infinite where q is zero
    and p is not: its best normal law matches the data's mean and variance and covers both modes, and the gap between them
    too. KL(q, p) punishes q for mass where p has none: its best normal law sits on one mode, and pays about log 2 for having
    missed the other. Which mode depends on the start: there are two equally good minima.

    Formula:
        p = N(-a, 1) / 2 + N(a, 1) / 2:  least KL(p, q) at mean 0, variance 1 + a^2;  KL(q, p) at q = N(a, 1) is near log 2
    """
    x = line(-25, 25, 2501)
    p = (normal(x, -MODES) + normal(x, MODES)) / 2

    def law(parameters: Tensor) -> Tensor:
        mean, deviation = parameters[0], parameters[1].exp()
        return -((x - mean) ** 2) / (2 * deviation**2) - deviation.log() - math.log(2 * math.pi) / 2 + (x[1] - x[0]).log()

    def covering(parameters: Tensor) -> Tensor:
        return (p * (p.log() - law(parameters))).sum()

    def seeking(parameters: Tensor) -> Tensor:
        return (law(parameters).exp() * (law(parameters) - p.log())).sum()

    starts = [torch.tensor([side, 0.0], dtype=torch.float64) for side in (0.5, 2.5, -2.5)]
    wide, right, left = fit(covering, starts[0]), fit(seeking, starts[1]), fit(seeking, starts[2])
    axes = figure.add_subplot()
    for weights, label in ((p, "data"), (law(wide).exp(), "least KL(p, q)"), (law(right).exp(), "least KL(q, p)")):
        axes.plot(x, weights / (x[1] - x[0]), label=label)
    axes.plot(x, law(left).exp() / (x[1] - x[0]), ":", label="the same, from the left")
    axes.set(xlim=(-11, 11), xlabel="x", ylabel="density")
    axes.legend(fontsize="small")
    return [
        Row("KL(p, q): mean", 0.0, wide[0].item(), 1e-5),
        Row("KL(p, q): variance, against 1 + a^2", 1 + MODES**2, (2 * wide[1]).exp().item(), 1e-4),
        Row("KL(q, p) from the right: mean near a", MODES, right[0].item(), 0.05),
        Row("KL(q, p) from the left: mean near -a", -MODES, left[0].item(), 0.05),
        Row("its deviation", 1.0, right[1].exp().item(), 0.05),
        Row("what it pays, KL(q, p), near log 2", LOG2, seeking(right).item(), 0.02),
        Row("the covering law's KL(q, p) is more", seeking(right).item(), seeking(wide).item(), relation="above"),
        Row("the seeking law's KL(p, q) is more", covering(wide).item() + 1, covering(right).item(), relation="above"),
    ]
