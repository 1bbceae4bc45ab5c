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
    model of D's own error: see ``noisy_gradients``. "Vanishing" is a statement about this order, D first: it does not say
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
    left.set(ylabel="accuracy, and loss")
    right.set(ylabel="norm of the generator's gradient")
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


@experiment("noisy_gradients")
def noisy_gradients(figure: Figure) -> Rows:
    """Where D errs at random, the non-saturating gradient has no mean, and batches do not help.

    Arjovsky and Bottou (2017, theorem 2.6): on generated points the best D is 0, and what is left of a D near it is its error,
    D = r. If r is a centred Gaussian process, smooth and stationary, then at any one point r and its slope r' are independent
    normal numbers, and the gradient of -log D is their ratio, whose law is Cauchy's: no mean, no variance, and the mean of a
    batch spreads as widely as one sample. The minimax gradient, of log(1 - D), is r' alone for small r and averages out. Here r
    is a random sum of 64 waves, the gradients are autograd's, of -log|r|, as an error has either sign. It is a model of the
    error: a trained network's need not be Gaussian, and the experiment ``trained_to_convergence`` shows no such tails.

    Formula:
        d/dx [-log r] = -r' / r,  median |r' / r| = sd(r') / sd(r) = k,  P(|r' / r| > 10 k) = 1 - (2 / pi) atan 10 = 0.0635
    """
    size, batch, epsilon = 100_000, 200, 1e-3
    source = generator(8)
    waves = torch.randn(64, dtype=torch.float64, generator=source)
    scale = waves.square().mean().sqrt().item()  # sd(r') / sd(r): the waves carry equal parts of the variance
    parts = []
    for _ in range(10):
        x = torch.rand(size // 10, 1, dtype=torch.float64, generator=source).requires_grad_()
        heights = torch.randn(2, len(x), len(waves), dtype=torch.float64, generator=source) / len(waves) ** 0.5
        error = epsilon * (heights[0] * (x * waves).cos() + heights[1] * (x * waves).sin()).sum(1)
        costs = (-error.abs().log(), (1 - error).log() / epsilon)
        parts.append([torch.autograd.grad(cost.sum(), x, retain_graph=True)[0].flatten() / scale for cost in costs])
    heavy, light = (torch.cat(column) for column in zip(*parts, strict=True))
    order = heavy.sort().values
    gap = (0.5 + order.atan() / torch.pi - (torch.arange(size) + 0.5) / size).abs().max().item()
    means = {name: values.view(-1, batch).mean(1) for name, values in (("heavy", heavy), ("light", light))}
    left, right = figure.subplots(1, 2)
    left.hist(heavy.clamp(-20, 20).numpy(), 200, density=True, label="-log D")
    at = torch.linspace(-20, 20, 400, dtype=torch.float64)
    left.plot(at, 1 / (torch.pi * (1 + at.square())), label="Cauchy")
    left.set(yscale="log", xlabel="gradient / k, gathered at 20", ylabel="density")
    for values, label in ((heavy, "non-saturating"), (light, "minimax")):
        right.plot((values.cumsum(0) / torch.arange(1, size + 1))[::50], label=label)
    right.set(xlabel="samples / 50", ylabel="mean of the gradients so far")
    for axes in (left, right):
        axes.legend(fontsize="small")
    return [
        Row("non-saturating: median size / k", 1.0, heavy.abs().median().item(), 0.02),
        Row("non-saturating: share beyond 10 k", 0.0635, (heavy.abs() > 10).double().mean().item(), 0.003),
        Row("greatest gap to Cauchy's distribution function", 0.01, gap, relation="below"),
        Row(f"quartile range of means of {batch} / of one", 1.0, middle_half(means["heavy"]) / middle_half(heavy), 0.25),
        Row(f"minimax: the same, 1 / sqrt({batch})", batch**-0.5, middle_half(means["light"]) / middle_half(light), 0.015),
    ]


def middle_half(values: Tensor) -> float:
    """Distance of the quartiles, which every law has."""
    low, high = values.quantile(torch.tensor([0.25, 0.75], dtype=values.dtype)).tolist()
    return float(high - low)


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
    right = (duel.real_output.score > 0).float().mean() + (duel.fake_output.score < 0).float().mean()
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
