"""Laws by quadrature, losses as expectations under them, and the small players that several experiments share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.nn.functional import logsigmoid

from ganrun.ground import registry
from ganrun.ground.duel import Duel
from ganrun.ground.spec import DiscriminatorOutput, Latent, Port
from ganrun.ground.turn import Turn

LOG2 = math.log(2)
SURE = 1e3  # a score at which sigmoid is 0 or 1 in float64
Side = Callable[[Duel], Tensor]


def loss(name: str, **options: Any) -> Any:
    """The loss that training uses under this name."""
    return registry.build("loss", {"name": name, **options})


def regularizer(name: str, **options: Any) -> Any:
    """The regularizer that training uses under this name."""
    return registry.build("regularizer", {"name": name, **options})


def turn(step: int = 0, rows: int = 1, seed: int = 0) -> Turn:
    """A discriminator's turn at ``step`` with batches of ``rows``."""
    return Turn(seed, step, "discriminator", 0, rows, Latent(1), torch.device("cpu"), update=step)


def line(low: float = -20.0, high: float = 28.0, count: int = 4801) -> Tensor:
    """Nodes of the trapezoid rule, whose error for smooth densities that vanish at both ends is below any tolerance here."""
    return torch.linspace(low, high, count, dtype=torch.float64)


def normal(x: Tensor, mean: float | Tensor = 0.0, std: float = 1.0) -> Tensor:
    """Weights at equally spaced nodes ``x`` of the normal law: density times distance, sum 1."""
    density = torch.exp(-((x - mean) ** 2) / (2 * std**2)) / (std * math.sqrt(2 * math.pi))
    return density * (x[1] - x[0])


def normal_logit(x: Tensor, p: tuple[float, float], q: tuple[float, float]) -> Tensor:
    """log p - log q for two normal laws given as (mean, std)."""
    (a, s), (b, t) = p, q
    return (x - b) ** 2 / (2 * t**2) - (x - a) ** 2 / (2 * s**2) + math.log(t / s)


def expectation(side: Side, p: Tensor, real: Tensor, q: Tensor, fake: Tensor) -> Tensor:
    """A loss under two laws: weights ``p`` at scores ``real``, weights ``q`` at scores ``fake``.

    The loss must be a mean over real plus a mean over fake, d(r, f) = a(r) + b(f), as of one sample each.
    """

    def single(r: Tensor, f: Tensor) -> Tensor:
        return side(Duel(DiscriminatorOutput, (r.view(1),), (f.view(1),)))

    zero = torch.zeros(1, dtype=real.dtype)
    first = vmap(single)(real, zero.expand(len(real)))
    second = vmap(single)(zero.expand(len(fake)), fake)
    both = single(zero[0], zero[0])
    return (p * (first - both)).sum() + (q * (second - both)).sum() + both


def jensen_shannon(p: Tensor, q: Tensor, logit: Tensor) -> float:
    """JS from the minimax loss at its best discriminator: (2 log 2 - L_D) / 2."""
    return LOG2 - expectation(loss("minimax").d, p, logit, q, logit).item() / 2


def kullback_leibler(p: Tensor, q: Tensor) -> float:
    """sum p log(p / q) over atoms or nodes; infinite where q alone is zero."""
    inside = p > 0
    return torch.where(inside, torch.xlogy(p, p) - torch.xlogy(p, q), 0.0)[inside].sum().item()


def value(p: Tensor, q: Tensor, logit: Tensor) -> Tensor:
    """V(D, G) = E_p log D + E_q log(1 - D), directly."""
    return (p * logsigmoid(logit)).sum() + (q * logsigmoid(-logit)).sum()


def fit(objective: Callable[[Tensor], Tensor], start: Tensor, rounds: int = 500) -> Tensor:
    """The point near ``start`` that minimises ``objective``, by L-BFGS."""
    point = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [point], max_iter=rounds, tolerance_grad=1e-12, tolerance_change=1e-15, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        height = objective(point)
        height.backward()
        return height

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return point.detach()


def network(role: str, inputs: int, outputs: int = 1, *, width: int = 64, activation: str = "tanh", seed: int = 0) -> nn.Module:
    """A fully connected player of the shipped family: role "discriminator" or "generator"."""
    torch.manual_seed(seed)
    layers = {"width": width, "depth": 2, "activation": activation}
    family = registry.build("model", {"name": "mlp", "generator": layers, "discriminator": layers})
    port = Port("score", ()) if role == "discriminator" else Port("data", (outputs,))
    made: nn.Module = family.make(role, inputs=(Port("data", (inputs,)),), outputs=(port,))
    return made


def judged(
    side: Side, discriminator: Any, real: Tensor, fake: Tensor, stack: Sequence[Any] = (), here: Turn | None = None
) -> tuple[Tensor, Duel]:
    """The loss of a duel with its regularizers' hooks and terms, as a phase computes it, and the duel."""
    here = here or turn(rows=len(real))
    duel = Duel(discriminator, (real,), (fake,))
    for entry in stack:
        entry.before(duel, here)
    total = side(duel)
    for entry in stack:
        term = entry.term(duel, {}, here)
        total = total if term is None else total + entry.weight * term
    return total, duel


def improve(
    optimizer: torch.optim.Optimizer,
    side: Side,
    discriminator: nn.Module,
    real: Tensor,
    fake: Tensor,
    *,
    stack: Sequence[Any] = (),
    step: int = 0,
) -> float:
    """One update of the discriminator by a loss and a stack of regularizers; the loss before it."""
    here = turn(step, len(real))
    total, duel = judged(side, discriminator, real, fake, stack, here)
    optimizer.zero_grad()
    total.backward()
    optimizer.step()
    players: Mapping[str, nn.Module] = {"discriminator": discriminator}
    for entry in stack:
        entry.after_step(players, duel, here)
    return total.item()


def generator(seed: int) -> torch.Generator:
    """A random stream of an experiment's own."""
    return torch.Generator().manual_seed(seed)
