"""The best discriminator, the value there, and what it no longer says once the generator has moved."""

from __future__ import annotations

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ganrun.ground.duel import Duel
from ganrun.ground.errors import BadInput
from ganrun.ground.spec import DiscriminatorOutput
from ganrun.theory.base import Row, Rows, experiment
from ganrun.theory.tools import (
    LOG2,
    expectation,
    fit,
    jensen_shannon,
    judged,
    kullback_leibler,
    line,
    loss,
    normal,
    normal_logit,
    regularizer,
    turn,
    value,
)

P = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
Q = torch.tensor([0.2, 0.2, 0.6], dtype=torch.float64)
HERE = 1.0  # the generator's mean where the discriminator was trained
STEP = 1e-4


@experiment("optimal_discriminator")
def optimal_discriminator(figure: Figure) -> Rows:
    """The best discriminator is p / (p + q), and its value is 2 JS - 2 log 2.

    For a fixed generator each point's term is concave in D there, so the best D is p / (p + q) wherever p + q > 0 (elsewhere
    D is free), and the value at it measures the Jensen-Shannon divergence. This needs a D that may take any value at any
    point, and the laws rather than samples. Here a free score at each of three points is trained with the shipped loss.

    Formula:
        V(D, G) = E_p log D + E_q log(1 - D);  D* = p / (p + q);  V(D*, G) = 2 JS(p, q) - 2 log 2
    """
    table = fit(lambda s: expectation(loss("minimax").d, P, s, Q, s), torch.zeros(3, dtype=torch.float64))
    found, best = table.sigmoid(), P / (P + Q)
    height = -expectation(loss("minimax").d, P, table, Q, table).item()
    middle = (P + Q) / 2
    js = (kullback_leibler(P, middle) + kullback_leibler(Q, middle)) / 2
    axes = figure.add_subplot()
    places = torch.arange(3)
    for shift, bars, label in ((-0.3, P, "p"), (-0.1, Q, "q"), (0.1, best, "p / (p + q)"), (0.3, found, "D, trained")):
        axes.bar((places + shift).tolist(), bars.tolist(), width=0.18, label=label)
    axes.set(
        xticks=[0, 1, 2],
        xticklabels=["1", "2", "3"],
        xlabel="point",
        ylabel="probability",
        title=f"V = {height:.6f} = 2 JS - 2 log 2",
    )
    axes.legend(ncols=4, fontsize="small")
    axes.set_ylim(0, 1)
    return [
        *(Row(f"trained D at point {i + 1}", best[i].item(), found[i].item(), 1e-6) for i in range(3)),
        Row("V at the trained D, against 2 JS - 2 log 2", 2 * js - 2 * LOG2, height, 1e-9),
        Row("p = q: V is -2 log 2", -2 * LOG2, -expectation(loss("minimax").d, P, P * 0, P, P * 0).item(), 1e-12),
    ]


@experiment("moved_generator")
def moved_generator(figure: Figure) -> Rows:
    """Against a D that stands still, the generator does not minimise JS.

    V(D*, G) = 2 JS - 2 log 2 holds at the generator that D* was trained against. When the generator moves from there, V is a
    lower curve: it touches 2 JS - 2 log 2 where D* was made, with the same slope, and lies below it everywhere else. So the
    first small step of G does descend JS; a long one follows V beyond the data, and here V has no least value at all.

    Formula:
        p = N(0, 1), q_t = N(t, 1), D* made at t = 1:  s*(x) = 1/2 - x,  V(t) <= 2 JS(p, q_t) - 2 log 2, equal at t = 1
    """
    x = line()
    p, frozen = normal(x), normal_logit(x, (0.0, 1.0), (HERE, 1.0))
    game = loss("minimax")

    def moved(mean: float) -> float:
        return -expectation(game.d, p, frozen, normal(x, mean), frozen).item()

    def curve(mean: float) -> float:
        return 2 * jensen_shannon(p, normal(x, mean), normal_logit(x, (0.0, 1.0), (mean, 1.0))) - 2 * LOG2

    means = torch.linspace(-3, 3, 61).tolist()
    axes = figure.add_subplot()
    axes.plot(means, [curve(mean) for mean in means], label="2 JS - 2 log 2: D best at every t")
    axes.plot(means, [moved(mean) for mean in means], label="V(t) with D* of t = 1")
    axes.plot([HERE], [curve(HERE)], "ko")
    axes.set(xlabel="mean t of the generator's law (data at 0)", ylabel="value")
    axes.legend(fontsize="small")
    slopes = [(f(HERE + STEP) - f(HERE - STEP)) / (2 * STEP) for f in (curve, moved)]
    at_data = value(p, p, frozen).item()
    return [
        Row("V at t = 1 is 2 JS - 2 log 2", curve(HERE), moved(HERE), 1e-9),
        Row("its slope there is that of 2 JS", slopes[0], slopes[1], 1e-6),
        Row("at t = 0, q = p, the frozen D reads", at_data, moved(0.0), 1e-9),
        Row("less than the -2 log 2 that JS = 0 means", -2 * LOG2 - 0.05, moved(0.0), relation="below"),
        Row("highest V - (2 JS - 2 log 2) over t", 1e-9, max(moved(t) - curve(t) for t in means), relation="below"),
        Row("V ten units past the data", -9.0, moved(-10.0), relation="below"),
    ]


@experiment("nonsaturating")
def nonsaturating(figure: Figure) -> Rows:
    """What the non-saturating generator descends: KL(q, p) - 2 JS, for one step.

    At the best D the non-saturating loss equals the right side below. It is often said that its last two terms do not depend
    on the generator; they do as soon as D* follows G. What is exactly true is the gradient form: with D* held still at the
    present generator, the loss has the gradient of KL(q, p) - 2 JS (Arjovsky and Bottou 2017, theorem 2.5). The JS enters
    with the wrong sign, and the KL is the one that forgives missing modes.

    Formula:
        E_q[-log D*] = KL(q, p) - 2 JS(p, q) + 2 log 2 + E_p[log D*]
        grad_t E_{q_t}[-log D*_{t0}] = grad_t [KL(q_t, p) - 2 JS(q_t, p)]  at t = t0
    """
    logit = (P / Q).log()
    shipped = loss("nonsaturating").g
    left = expectation(shipped, P, logit, Q, logit).item()
    right = kullback_leibler(Q, P) - 2 * jensen_shannon(P, Q, logit) + 2 * LOG2 + (P * (P / (P + Q)).log()).sum().item()
    x = line()
    p = normal(x)

    def follow(start: float, stop: float) -> float:
        """The loss of the generator with mean ``stop`` before the best discriminator of ``start``."""
        scores = normal_logit(x, (0.0, 1.0), (start, 1.0))
        return expectation(shipped, p, scores, normal(x, stop), scores).item()

    def divergence(mean: float) -> float:
        q = normal(x, mean)
        return kullback_leibler(q, p) - 2 * jensen_shannon(p, q, normal_logit(x, (0.0, 1.0), (mean, 1.0)))

    rows = [Row("both sides at three points, p = (.5 .3 .2), q = (.2 .2 .6)", right, left, 1e-9)]
    means = [0.5, 1.0, 2.0]
    frozen = [(follow(t, t + STEP) - follow(t, t - STEP)) / (2 * STEP) for t in means]
    exact = [(divergence(t + STEP) - divergence(t - STEP)) / (2 * STEP) for t in means]
    moving = (follow(1 + STEP, 1 + STEP) - follow(1 - STEP, 1 - STEP)) / (2 * STEP)
    rows += [Row(f"gradient at t = {t:g}, D* held still", e, f, 1e-5) for t, e, f in zip(means, exact, frozen, strict=True)]
    rows.append(Row("at t = 1 with D* following G it is another: difference", 0.1, abs(moving - exact[1]), relation="above"))
    axes = figure.add_subplot()
    grid = torch.linspace(0.1, 4, 14).tolist()
    slope = [(divergence(t + STEP) - divergence(t - STEP)) / (2 * STEP) for t in grid]
    axes.plot(grid, slope, label="d/dt [KL(q, p) - 2 JS]")
    axes.plot(grid, [(follow(t, t + STEP) - follow(t, t - STEP)) / (2 * STEP) for t in grid], "o", label="loss, D* still")
    total = [(follow(t + STEP, t + STEP) - follow(t - STEP, t - STEP)) / (2 * STEP) for t in grid]
    axes.plot(grid, total, ":", label="loss, D* following")
    axes.set(xlabel="distance t of two unit normal laws", ylabel="slope")
    axes.legend(fontsize="small")
    return rows


@experiment("label_targets")
def label_targets(figure: Figure) -> Rows:
    """Smoothed, ranged and flipped labels: the best D is (a p + b q) / (p + q).

    Targets a for real and b for fake move the best D from p / (p + q) to the mixture below. The loss is linear in its target,
    so of random targets only the mean counts: U(0.7, 1.2) smooths to 0.95, U(0.8, 1.2) smooths nothing, and a mean above 1,
    as U(0.8, 2.0) has, leaves the loss without a lower bound and is refused. With b > 0 the best D is b wherever there are
    fakes alone, which is why smoothing is one-sided. Flipping labels with probability f is smoothing to 1 - f and f.

    Formula:
        D* = (a p + b q) / (p + q)
    """
    cases = {
        "one-sided, a = 0.9": (regularizer("label_smoothing"), 0.9, 0.0),
        "two-sided, a = 0.9, b = 0.1": (regularizer("label_smoothing", fake=0.1), 0.9, 0.1),
        "a in U(0.7, 1.2)": (regularizer("label_smoothing", real=0.7, real_high=1.2), 0.95, 0.0),
        "a in U(0.8, 1.2)": (regularizer("label_smoothing", real=0.8, real_high=1.2), 1.0, 0.0),
        "flipped with probability 0.1": (regularizer("label_flip", probability=0.1), 0.9, 0.1),
    }
    rows, axes = [], figure.add_subplot()
    weights = {"real": (P * 20000).long(), "fake": (Q * 20000).long()}
    real, fake = (torch.arange(3).repeat_interleave(count) for count in weights.values())
    for place, (label, (technique, a, b)) in enumerate(cases.items()):

        def objective(table: Tensor, technique: object = technique) -> Tensor:
            return judged(
                loss("minimax").d, lambda x: DiscriminatorOutput(table[x]), real, fake, [technique], turn(rows=len(real))
            )[0]

        found = fit(objective, torch.zeros(3, dtype=torch.float64), 60).sigmoid()
        best = (a * P + b * Q) / (P + Q)
        worst = (found - best).abs().max().item()
        rows.append(Row(f"{label}: largest distance of D from (a p + b q) / (p + q)", 0.0, worst, 0.006))
        axes.bar([place * 4 + i for i in range(3)], found.tolist(), color=f"C{place}", label=label)
        axes.hlines(best.tolist(), [place * 4 + i - 0.4 for i in range(3)], [place * 4 + i + 0.4 for i in range(3)], color="k")
    axes.set(xticks=[], xlabel="the three points, for each technique", ylabel="D", ylim=(0, 1.05), title="lines: closed form")
    axes.legend(fontsize="x-small", ncols=3, loc="upper center")
    refused = 0
    try:
        regularizer("label_smoothing", real=0.8, real_high=2.0)
    except BadInput:
        refused = 1
    rows.append(Row("a in U(0.8, 2.0), mean 1.4, is refused (1 = yes)", 1, refused))
    high = Duel(DiscriminatorOutput, (torch.full((4,), 100.0),), (torch.full((4,), -100.0),))
    high.real_target = 1.4
    rows.append(Row("for its loss, at scores of 100 and -100, would be", -40.0, loss("minimax").d(high).item(), 1e-5))
    return rows
