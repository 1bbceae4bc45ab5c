"""Games of two numbers: the order and the kind of the steps decide whether play comes to rest."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from ganrun.ground.spec import DiscriminatorOutput
from ganrun.theory.base import Row, Rows, experiment
from ganrun.theory.tools import judged, loss, regularizer, turn

Point = Tensor  # (theta, psi): the generator's place and the discriminator's slope
Field = Callable[[Point], Tensor]


def dirac_field(name: str, stack: Sequence[Any] = (), rows: int = 1, step: int = 0) -> Field:
    """(-d L_G / d theta, -d L_D / d psi) with data at 0, the generator at theta and the score psi x.

    Losses and regularizers are the shipped ones, before batches of ``rows`` equal samples in float64.
    """
    played, here = loss(name), turn(step, rows)
    for_generator = [entry for entry in stack if "generator" in entry.sides]

    def field(point: Point) -> Tensor:
        theta, psi = point.unbind()
        real, fake = torch.zeros(rows, 1, dtype=torch.float64), theta.expand(rows, 1)
        score = lambda x: DiscriminatorOutput(psi * x[:, 0])  # noqa: E731
        cost_d, _ = judged(played.d, score, real, fake, stack, here)
        cost_g, _ = judged(played.g, score, real, fake, for_generator, here)
        down_g = torch.autograd.grad(cost_g, theta, create_graph=True)[0]
        down_d = torch.autograd.grad(cost_d, psi, create_graph=True)[0]
        return -torch.stack((down_g, down_d))

    def at(point: Point) -> Tensor:
        return field(point if point.requires_grad else point.detach().requires_grad_())

    return at


def eigenvalue(field: Field) -> complex:
    """The eigenvalue of the field's Jacobian at (0, 0) with the greater imaginary, then real, part."""
    origin = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    speed = field(origin)
    rows = [torch.autograd.grad(entry, origin, retain_graph=True)[0] for entry in speed]
    values = torch.linalg.eigvals(torch.stack(rows)).tolist()
    return complex(max(values, key=lambda value: (round(value.imag, 12), value.real)))


def simultaneous(field: Field, point: Point, step: float) -> Point:
    return (point + step * field(point)).detach()


def alternating(field: Field, point: Point, step: float, first: int = 0) -> Point:
    """One player moves, then the other answers the new place."""
    for player in (first, 1 - first):
        move = torch.zeros(2, dtype=point.dtype)
        move[player] = 1
        point = (point + step * move * field(point)).detach()
    return point


def extragradient(field: Field, point: Point, step: float) -> Point:
    """Look a step ahead and move by what is seen there."""
    return (point + step * field(simultaneous(field, point, step))).detach()


def runge_kutta(field: Field, point: Point, step: float) -> Point:
    """One step of the classic fourth-order method, near the continuous flow."""
    a = field(point)
    b = field((point + step / 2 * a).detach())
    c = field((point + step / 2 * b).detach())
    d = field((point + step * c).detach())
    return (point + step / 6 * (a + 2 * b + 2 * c + d)).detach()


def orbit(move: Callable[[Point], Point], start: Sequence[float], count: int) -> Tensor:
    """``count`` moves from ``start``: shape (count + 1, 2)."""
    points = [torch.tensor(start, dtype=torch.float64)]
    for _ in range(count):
        points.append(move(points[-1]))
    return torch.stack(points)


def trace(axes: Axes, paths: dict[str, Tensor]) -> None:
    for label, path in paths.items():
        axes.plot(path[:, 0], path[:, 1], marker=".", ms=4, lw=1, label=label)
    axes.set(xlabel="x", ylabel="y", aspect="equal", adjustable="datalim")
    axes.legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1, 0.5))


@experiment("dirac")
def dirac(figure: Figure) -> Rows:
    """The Dirac-GAN: data at 0, a generator at theta, a linear discriminator.

    Close to the solution the minimax and the non-saturating game turn without a pull inwards: their eigenvalues are purely
    imaginary, and so are the Wasserstein game's. R1 and instance noise move them to the left half plane; R1 with weight 1 is
    critically damped. Imaginary eigenvalues alone decide nothing: they say that the linear part neither pulls nor pushes.

    Formula:
        minimax, non-saturating: +- i / 2;  Wasserstein: +- i;  R1: -g/2 +- sqrt(g^2/4 - 1/4)
        instance noise: -s^2/4 +- sqrt(s^4/16 - 1/4)
    """
    rows, spectrum = [], {}
    noise = regularizer("instance_noise", sigma=1.0)
    fields = {
        "minimax": (dirac_field("minimax"), 0.5j, 1e-9),
        "non-saturating": (dirac_field("nonsaturating"), 0.5j, 1e-9),
        "Wasserstein": (dirac_field("wasserstein"), 1j, 1e-9),
    }
    for weight in (0.3, 1.0, 2.0):
        expected = -weight / 2 + complex(weight**2 / 4 - 0.25) ** 0.5
        fields[f"R1, weight {weight:g}"] = (dirac_field("minimax", [regularizer("r1", weight=weight)]), expected, 1e-7)
    damped = -0.25 + complex(1 / 16 - 0.25) ** 0.5
    fields["instance noise of deviation 1"] = (dirac_field("minimax", [noise], 200000), damped, 2e-3)
    for label, (field, expected, tolerance) in fields.items():
        found = spectrum[label] = eigenvalue(field)
        rows.append(Row(f"{label}: real part", expected.real, found.real, tolerance))
        rows.append(Row(f"{label}: imaginary part", expected.imag, found.imag, tolerance))
    axes = figure.add_subplot()
    for mark, (label, found) in zip("osD^vPX", spectrum.items(), strict=True):
        axes.plot([found.real] * 2, [found.imag, -found.imag], mark, ms=6, label=label)
    axes.axvline(0, color="gray", lw=0.5)
    axes.set(xlabel="real part", ylabel="imaginary part", xlim=(-0.6, 0.6), title="eigenvalues")
    axes.legend(fontsize="small")
    return rows


@experiment("dirac_orbits")
def dirac_orbits(figure: Figure) -> Rows:
    """How the Dirac-GAN moves: round and round, slowly in, or home.

    What the eigenvalues leave open. The minimax flow keeps theta^2 + psi^2 exactly. The non-saturating flow loses it, though
    its eigenvalues are imaginary too: not stuck, but far slower than any exponential. With R1 or instance noise both come
    home at the rate of the eigenvalues' real part. With steps of finite size, both at once, the plain game leaves the
    solution by a fixed factor a step; in turn it neither leaves nor reaches it.

    Formula:
        d/dt (theta^2 + psi^2) = 0 for minimax, 2 theta psi [f'(psi theta) - f'(-psi theta)] <= 0 for non-saturating,
        f'(t) = sigmoid(-t)
        step h at once, near the solution: |1 + h i / 2| = sqrt(1 + h^2 / 4)
    """
    start = (1.0, 1.0)
    minimax, gentle = dirac_field("minimax"), dirac_field("nonsaturating")
    damping = dirac_field("minimax", [regularizer("r1", weight=0.3)])
    flow = orbit(lambda p: runge_kutta(minimax, p, 0.3), start, 100)
    slow = orbit(lambda p: runge_kutta(gentle, p, 0.3), start, 100)
    inward = orbit(lambda p: runge_kutta(damping, p, 0.3), start, 100)
    small = orbit(lambda p: simultaneous(minimax, p, 0.5), (1e-4, 0.0), 20)
    turns = orbit(lambda p: alternating(minimax, p, 0.5), (1e-4, 0.0), 100).norm(dim=1)
    noisy = noisy_orbit(start)
    kept = flow.square().sum(1)
    rows = [
        Row("minimax flow: theta^2 + psi^2 after time 30", 2.0, kept[-1].item(), 1e-3),
        Row("non-saturating flow: it has fallen below", 2.0, slow[-1].square().sum().item(), relation="below"),
        Row("but it is still above", 0.1, slow[-1].square().sum().item(), relation="above"),
        Row(
            "R1 flow: distance from the solution, at most e^(-0.15 t) * 4",
            4 * math.exp(-4.5),
            inward[-1].norm().item(),
            relation="below",
        ),
        Row("minimax at once, step 0.5: growth a step", math.sqrt(1 + 1 / 16), (small[-1].norm() / 1e-4).item() ** 0.05, 1e-5),
        Row("minimax in turn, step 0.5: least distance / first over 100 steps", 0.7, turns.min().item() * 1e4, relation="above"),
        Row("minimax in turn, step 0.5: greatest", 1.4, turns.max().item() * 1e4, relation="below"),
        Row("instance noise: distance from the solution at the end", 0.05, noisy[-1].norm().item(), relation="below"),
    ]
    axes = figure.add_subplot()
    trace(axes, {"minimax": flow, "non-saturating": slow, "R1, weight 0.3": inward, "instance noise": noisy})
    axes.set(xlabel="theta", ylabel="psi")
    return rows


def noisy_orbit(start: Sequence[float]) -> Tensor:
    """Minimax play, both at once in steps of 0.1, with fresh instance noise on 2000 samples each time."""
    technique = regularizer("instance_noise", sigma=1.0)
    points = [torch.tensor(start, dtype=torch.float64)]
    for step in range(200):
        points.append(simultaneous(dirac_field("minimax", [technique], 2000, step), points[-1], 0.1))
    return torch.stack(points)


class Slope(nn.Module):
    """The score psi x."""

    def __init__(self, psi: float) -> None:
        super().__init__()
        self.psi = nn.Parameter(torch.tensor(psi, dtype=torch.float64))

    def forward(self, x: Tensor) -> DiscriminatorOutput:
        return DiscriminatorOutput(self.psi * x[:, 0])


def critic_orbit(technique: Any, step: float, count: int, n_critic: int = 1) -> Tensor:
    """Wasserstein play of the Dirac-GAN in turn with a regularizer's term and its hook after each step."""
    critic, played = Slope(1.0), loss("wasserstein")
    theta = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    real, points = torch.zeros(1, 1, dtype=torch.float64), []
    for index in range(count):
        here = turn(index)
        for _ in range(n_critic):
            cost, duel = judged(played.d, critic, real, theta.detach().view(1, 1), [technique], here)
            (slope,) = torch.autograd.grad(cost, critic.psi)
            with torch.no_grad():
                critic.psi.sub_(step * slope)
            technique.after_step({"discriminator": critic}, duel, here)
        cost, _ = judged(played.g, critic, real, theta.view(1, 1))
        (slope,) = torch.autograd.grad(cost, theta)
        with torch.no_grad():
            theta.sub_(step * slope)
        points.append(torch.stack((theta.detach(), critic.psi.detach())).clone())
    return torch.stack(points)


@experiment("dirac_critics", slow=True)
def dirac_critics(figure: Figure) -> Rows:
    """Clipped and gradient-penalised critics do not bring the Dirac-GAN to rest.

    With finitely many critic steps to a generator step, clipping and the gradient penalty leave the generator swinging about
    the data for ever: the one holds the critic's slope within a bound, the other pulls it to plus or minus 1, and a slope
    that is not zero keeps pushing the generator (Mescheder et al. 2018). That is about this game: W itself is the right
    distance, and the estimate of it is right. R1 pulls the slope to 0 and brings both to rest.

    Formula:
        at rest theta = psi = 0;  play with clipping and with the penalty swings;  with R1 |(theta, psi)| -> 0
    """
    played = {
        "clipped to 0.3": critic_orbit(regularizer("weight_clip", clip=0.3), 0.1, 500),
        "clipped, 5 critic steps": critic_orbit(regularizer("weight_clip", clip=0.3), 0.1, 500, 5),
        "gradient penalty": critic_orbit(regularizer("gradient_penalty", weight=1.0), 0.1, 500),
        "gradient penalty, 5 critic steps": critic_orbit(regularizer("gradient_penalty", weight=1.0), 0.1, 500, 5),
        "R1": critic_orbit(regularizer("r1", weight=1.0), 0.1, 500),
    }
    rows, (left, right) = [], figure.subplots(1, 2, width_ratios=(2, 1))
    for label, path in played.items():
        swing = path[-200:, 0].abs().max().item()
        if label == "R1":
            rows.append(Row("R1: greatest |theta| over the last 200 of 500 steps", 1e-6, swing, relation="below"))
        else:
            rows.append(Row(f"{label}: greatest |theta| over the last 200 of 500 steps", 0.01, swing, relation="above"))
        left.plot(path[:250, 0], lw=1, label=label)
        right.plot(path[-200:, 0], path[-200:, 1], ".", ms=3)
    clipped = max(path[:, 1].abs().max().item() for label, path in played.items() if label.startswith("clipped"))
    rows.append(Row("greatest |psi| of the clipped critics", 0.3, clipped, 1e-12))
    left.set(xlabel="step", ylabel="theta", ylim=(-2.5, 2.5))
    left.legend(fontsize="x-small", ncols=2)
    right.set(xlabel="theta", ylabel="psi", title="last 200 steps")
    return rows
