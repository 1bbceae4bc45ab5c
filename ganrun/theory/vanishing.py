"""A discriminator trained to convergence, and what it leaves of the generator's gradients."""

from __future__ import annotations

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from ganrun.theory.base import Row, Rows, experiment
from ganrun.theory.tools import expectation, generator, improve, judged, loss, network

BATCH = 256


@experiment("trained_to_convergence", slow=True)
def trained_to_convergence(figure: Figure) -> Rows:
    """Train D to convergence and the minimax generator has nothing left to learn from.

    The generator stands still: its samples lie on a curve in the plane, the data on a ring beside it. D's accuracy goes to
    100 %, its loss to 0. The minimax gradient carries the factor D(fake) and vanishes with it; the non-saturating one carries
    1 - D, near 1, and grows with D's slopes. Its spread over batches grows as well, here by about the same factor: large and
    scattered steps, not steps that are noisier for their size. The heavy tails of Arjovsky and Bottou (2017) come from a
    model of D's own error, which this does not test. "Vanishing" is a statement about this order, D first: it does not say
    that training in turn must fail.

    Formula:
        d/ds log(1 - sigmoid(s)) = -sigmoid(s),  d/ds [-log sigmoid(s)] = -(1 - sigmoid(s));  at s = -10: 4.54e-5, 0.99995
    """
    rows, sure = [], torch.tensor([-10.0], dtype=torch.float64, requires_grad=True)
    weights = torch.ones(1, dtype=torch.float64)
    for name, factor in (("minimax", 4.5397869e-5), ("nonsaturating", 0.9999546)):
        height = expectation(loss(name).g, weights, sure * 0, weights, sure)
        rows.append(Row(f"{name}: slope at s = -10", -factor, torch.autograd.grad(height, sure)[0].item(), 1e-7))
    maker, source = network("generator", 1, 2, width=32, seed=3), generator(6)
    series: dict[str, list[float]] = {name: [] for name in ("accuracy", "loss", "minimax", "nonsaturating", "noise")}
    critic = network("discriminator", 2, activation="leaky_relu", seed=4)
    optimizer = torch.optim.Adam(critic.parameters(), 3e-3, betas=(0.5, 0.99))
    checks = 17
    for step in range(100 * (checks - 1) + 1):
        real, fake = ring(BATCH, source), maker(torch.randn(BATCH, 1, generator=source)).detach()
        if step % 100 == 0:
            measure(series, maker, critic)
        improve(optimizer, loss("minimax").d, critic, real, fake, step=step)
    relative = [series["noise"][place] / series["nonsaturating"][place] for place in (0, -1)]
    steps = [100 * i for i in range(checks)]
    left, right = figure.subplots(1, 2)
    left.plot(steps, series["accuracy"], label="accuracy of D")
    left.plot(steps, series["loss"], label="loss of D")
    right.semilogy(steps, series["minimax"], label="minimax")
    right.semilogy(steps, series["nonsaturating"], label="non-saturating")
    right.semilogy(steps, series["noise"], ":", label="its spread over batches")
    right.set(title="gradient norm of the generator")
    for axes in (left, right):
        axes.set(xlabel="steps of D")
        axes.legend(fontsize="small")
    return [
        *rows,
        Row("accuracy of D on fresh samples", 0.999, series["accuracy"][-1], relation="above"),
        Row("loss of D", 0.01, series["loss"][-1], relation="below"),
        Row("minimax gradient, last / greatest", 0.01, series["minimax"][-1] / max(series["minimax"]), relation="below"),
        Row(
            "non-saturating gradient, last / first",
            1.0,
            series["nonsaturating"][-1] / series["nonsaturating"][0],
            relation="above",
        ),
        Row("its spread over batches, last / first", 2.0, series["noise"][-1] / series["noise"][0], relation="above"),
        Row("that spread for its size, last / first", 1.0, relative[1] / relative[0], 0.5),
    ]


def ring(count: int, source: torch.Generator) -> Tensor:
    """Points on the unit circle about (2, 0), with noise."""
    angle = torch.rand(count, generator=source) * 2 * torch.pi
    circle = torch.stack((angle.cos() + 2, angle.sin()), 1)
    return circle + 0.05 * torch.randn(count, 2, generator=source)


def measure(series: dict[str, list[float]], maker: nn.Module, critic: nn.Module) -> None:
    """D's accuracy and loss on fresh samples, and the generator's gradients by both losses, always on the same latents."""
    source = generator(7)
    real, latents = ring(4000, source), torch.randn(16, 250, 1, generator=source)
    with torch.no_grad():
        total, duel = judged(loss("minimax").d, critic, real, maker(latents.flatten(0, 1)))
    right = (duel.real_verdict.score > 0).float().mean() + (duel.fake_verdict.score < 0).float().mean()
    series["accuracy"].append(right.item() / 2)
    series["loss"].append(total.item())
    for name in ("minimax", "nonsaturating"):
        gradients = []
        for batch in latents:
            cost, _ = judged(loss(name).g, critic, real[:250], maker(batch))
            gradients.append(torch.cat([entry.flatten() for entry in torch.autograd.grad(cost, list(maker.parameters()))]))
        together = torch.stack(gradients)
        series[name].append(together.mean(0).norm().item())
    series["noise"].append((together - together.mean(0)).norm(dim=1).mean().item())
