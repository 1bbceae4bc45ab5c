"""Small networks trained with the shipped losses, against what is known exactly of the laws that they see."""

from __future__ import annotations

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from ganrun.ground.spec import DiscriminatorOutput
from ganrun.theory.base import Row, Rows, experiment
from ganrun.theory.tools import (
    LOG2,
    expectation,
    generator,
    improve,
    jensen_shannon,
    judged,
    line,
    loss,
    network,
    normal,
    normal_logit,
    regularizer,
)

FAR = 8.0  # deviations between the two laws of the sigmoid and the ramp
BATCH = 256


def train_critic(name: str, mean: float, steps: int, stack: list[object], activation: str = "tanh") -> nn.Module:
    """A small discriminator between N(0, 1) and N(mean, 1), both sampled afresh at each step."""
    critic, source = network("discriminator", 1, activation=activation), generator(0)
    optimizer = torch.optim.Adam(critic.parameters(), 5e-3, betas=(0.5, 0.99))
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, steps)
    side = loss(name).d
    for step in range(steps):
        noise = torch.randn(2, BATCH, 1, generator=source)
        improve(optimizer, side, critic, noise[0], noise[1] + mean, stack=stack, step=step)
        schedule.step()
    return critic


def scores(critic: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return critic(x.float().unsqueeze(1)).score.double()


def slopes(critic: nn.Module, x: Tensor) -> Tensor:
    """The score's derivative at each x."""
    inputs = x.float().unsqueeze(1).requires_grad_()
    return torch.autograd.grad(critic(inputs).score.sum(), inputs)[0].squeeze(1)


@experiment("neural_estimates", slow=True)
def neural_estimates(figure: Figure) -> Rows:
    """Trained networks read JS and W off samples, from below.

    Any D gives a lower bound of JS, and any 1-Lipschitz critic one of W; trained ones come close. Fresh samples at every step
    matter: on a fixed small sample the same networks would read the JS of that sample, up to log 2. The gradient penalty is
    soft, so its critic is a little steeper than 1 and reads more than W: by the factor 1 + W / (2 weight), which is exact for
    two points and close here, with the usual weight of 10. The trained networks are judged on the exact laws, by quadrature.

    Formula:
        JS >= log 2 - L_D / 2 for every D;  W >= -L_D for every 1-Lipschitz critic
    """
    x = line(-8, 14, 2201)
    rows, read = [], {}
    p = normal(x)
    for mean in (0.5, 1.0, 2.0, 4.0):
        q = normal(x, mean)
        judge = train_critic("minimax", mean, 500, [])
        critic = train_critic("wasserstein", mean, 500, [regularizer("gradient_penalty")])
        logit, height = scores(judge, x), scores(critic, x)
        estimate = LOG2 - expectation(loss("minimax").d, p, logit, q, logit).item() / 2
        distance = -expectation(loss("wasserstein").d, p, height, q, height).item()
        exact = jensen_shannon(p, q, normal_logit(x, (0, 1), (mean, 1)))
        read[mean] = (estimate, exact, distance)
        rows += [
            Row(f"distance {mean:g}: JS of the network", exact, estimate, 0.01),
            Row(f"distance {mean:g}: it is a lower bound", exact + 1e-6, estimate, relation="below"),
            Row(f"distance {mean:g}: the penalised critic reads W (1 + W / 20)", mean * (1 + mean / 20), distance, 0.05),
        ]
    left, right = figure.subplots(1, 2)
    left.plot(list(read), [entry[1] for entry in read.values()], label="JS, exact")
    left.plot(list(read), [entry[0] for entry in read.values()], "o", label="JS, network")
    left.axhline(LOG2, color="gray", lw=0.5)
    right.plot(list(read), list(read), label="W, exact")
    right.plot(list(read), [entry[2] for entry in read.values()], "o", label="W, critic")
    for axes in (left, right):
        axes.set(xlabel="distance of two unit normal laws", ylabel="JS" if axes is left else "W", ylim=(0, None))
        axes.legend()
    return rows


@experiment("sigmoid_and_ramp", slow=True)
def sigmoid_and_ramp(figure: Figure) -> Rows:
    """Between far laws the discriminator is a step and the critic a ramp.

    Both are trained near their best between N(0, 1) and N(8, 1). D = sigmoid(s) is flat where the fakes are, so the minimax
    generator has no slope to follow. That is a property of the sigmoid and the loss: the score s itself is far from flat, and
    the non-saturating loss reads it. The penalised critic has slope near 1 all the way, and its difference of means is near
    W. The clipped critic is a ramp with a slope K of the network's own making, and straight only as far as its units are:
    this one has leaky rectifiers, one of tanh units saturates.

    Formula:
        s* = 32 - 8 x,  D* = sigmoid(s*);  f* = -x,  E_p f* - E_q f* = W = 8
    """
    x = line(-6, 14, 401)
    judge = train_critic("minimax", FAR, 400, [])
    critic = train_critic("wasserstein", FAR, 500, [regularizer("gradient_penalty", weight=100.0)])
    clipped = train_critic("wasserstein", FAR, 400, [regularizer("weight_clip", clip=0.1)], "leaky_relu")
    belief, height, bounded = scores(judge, x).sigmoid(), scores(critic, x), scores(clipped, x)
    at_fakes = belief * (1 - belief) * slopes(judge, x)
    between = (x > 0.5) & (x < 7.5)
    ramp, small = slopes(critic, x)[between], slopes(clipped, x)[between]
    p, q = normal(x), normal(x, FAR)
    distance = -expectation(loss("wasserstein").d, p, height, q, height).item()
    place = int((x - FAR).abs().argmin())
    left, right = figure.subplots(1, 2)
    for axes in (left, right):
        axes.fill_between(x, p / p.max(), alpha=0.2, label="data")
        axes.fill_between(x, q / q.max(), alpha=0.2, label="fakes")
        axes.set(xlabel="x", ylabel="output, and densities scaled to 1")
    left.plot(x, belief, "k", label="D = sigmoid(s)")
    right.plot(x, (height - height.min()) / (height.max() - height.min()), "k", label="penalised critic")
    right.plot(x, (bounded - bounded.min()) / (bounded.max() - bounded.min()), "k:", label="clipped critic")
    left.legend(fontsize="small")
    right.legend(fontsize="small", loc="center left")
    right.set(title="critics, scaled to [0, 1]")
    return [
        Row("|dD/dx| at the fakes' mean", 1e-3, at_fakes[place].abs().item(), relation="below"),
        Row("|ds/dx| there is not small", 0.05, slopes(judge, x)[place].abs().item(), relation="above"),
        Row("penalised critic: mean slope between the laws", -1.0, ramp.mean().item(), 0.05),
        Row("its largest deviation from that slope", 0.2, (ramp / ramp.mean() - 1).abs().max().item(), relation="below"),
        Row("its difference of means, W (1 + W / 200)", FAR * (1 + FAR / 200), distance, 0.1),
        Row(
            "clipped critic: spread of its slope, deviation / mean",
            0.25,
            (small.std() / small.mean().abs()).item(),
            relation="below",
        ),
    ]


class Linear(nn.Module):
    """A linear critic of the plane."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))

    def forward(self, x: Tensor) -> DiscriminatorOutput:
        return DiscriminatorOutput(x @ self.weight)


@experiment("parallel_lines", slow=True)
def parallel_lines(figure: Figure) -> Rows:
    """A clipped critic reads the distance of parallel lines up to a factor.

    Between the segments (0, Z) and (t, Z) the best linear critic with weights in [-c, c] reads c t exactly. A clipped network
    reads K t with a K of its own, which is only roughly the same at each t, since its offsets are clipped too and training
    ends where it ends. Still it falls with t and gives G a slope, which JS does not: the discriminator separates the segments
    at every distance, and its JS is near log 2 as soon as it has trained long enough.

    Formula:
        E_p f - E_q f = c |t| for the best linear clipped f;  JS = log 2
    """
    distances = [0.25, 0.5, 1.0, 1.5, 2.0]
    estimates: list[float] = []
    stuck: list[float] = []
    plain: list[float] = []
    heights = torch.rand(BATCH, generator=generator(5))
    for t in distances:
        real, fake = (torch.stack((torch.full_like(heights, place), heights), 1) for place in (0.0, t))
        clip = [regularizer("weight_clip", clip=0.1)]
        for name, stack, kept in (("wasserstein", clip, estimates), ("minimax", [], stuck), ("wasserstein", clip, plain)):
            critic = Linear() if kept is plain else network("discriminator", 2, activation="relu", width=32, seed=1)
            optimizer = torch.optim.RMSprop(critic.parameters(), 1e-2)
            for step in range(300):
                improve(optimizer, loss(name).d, critic, real, fake, stack=stack, step=step)
            with torch.no_grad():
                kept.append(judged(loss(name).d, critic, real, fake)[0].item())
    reading, away = -torch.tensor(estimates).double(), torch.tensor(distances).double()
    factor = ((reading * away).sum() / away.square().sum()).item()
    unexplained = ((reading - factor * away).square().sum() / (reading - reading.mean()).square().sum()).item()
    divergence = [LOG2 - value / 2 for value in stuck]
    axes = figure.add_subplot()
    axes.plot(distances, [value / factor for value in reading.tolist()], "o", label="clipped critic's estimate / K")
    axes.plot([0, 2], [0, 2], lw=0.8, label="t")
    axes.plot(distances, divergence, "s", label="JS read by the discriminator")
    axes.axhline(LOG2, color="gray", lw=0.5)
    axes.set(xlabel="distance t of the segments", ylabel="estimate")
    axes.legend()
    return [
        *(Row(f"t = {t:g}: linear critic clipped to 0.1", 0.1 * t, -d, 1e-6) for t, d in zip(distances, plain, strict=True)),
        Row("network's estimate = K t: share of its variance explained", 0.97, 1 - unexplained, relation="above"),
        *(Row(f"t = {t:g}: JS read", LOG2, js, 0.01) for t, js in zip(distances, divergence, strict=True)),
    ]
