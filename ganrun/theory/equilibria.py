"""Who moves first, with and without mixing."""

from __future__ import annotations

import torch
from matplotlib.figure import Figure

from ganrun.theory.base import Row, Rows, experiment
from ganrun.theory.tools import LOG2, expectation, jensen_shannon, loss

NODES = 201


@experiment("order_of_play")
def order_of_play(figure: Figure) -> Rows:
    """min max is not max min, unless the players may mix.

    (x - y)^2 on the unit square has min max 1/4 and max min 0. The GAN's own V is linear in the generator's law and concave
    in D, so over all laws and all D the two agree, at -2 log 2. The order matters once the generator may not mix: if it can
    only put out one of the data's two points, a D that knows it gains, and in the other order the generator's best reply to
    any D is one point, that of highest D. A generator trained to the end against a D that stands still therefore collapses.
    With gradient steps in turn nothing decides which order is played.

    Formula:
        max_D min_G V <= min_G max_D V;  equal over all laws;  over single points -2 log 2 against 2 JS - 2 log 2, JS = 0.2157616
    """
    grid = torch.linspace(0, 1, NODES, dtype=torch.float64)
    square = (grid.unsqueeze(1) - grid) ** 2  # rows: x, columns: y
    pennies = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)
    mixed = torch.stack((grid, 1 - grid), 1) @ pennies @ torch.stack((grid, 1 - grid))
    logits = torch.linspace(-6, 6, NODES, dtype=torch.float64)
    pairs = torch.cartesian_prod(logits, logits)  # D's scores at the two points
    data = torch.tensor([0.5, 0.5], dtype=torch.float64)
    shipped = loss("minimax")
    at_points = torch.stack([values(shipped, pairs, place) for place in (0, 1)])  # V of each D against either point alone
    # V is linear in the generator's law, so its least over all laws is at one point
    max_min = at_points.min(0).values.max().item()
    single = at_points.max(1).values.min().item()
    shares = torch.linspace(0, 1, 41, dtype=torch.float64).tolist()
    best = [(share * at_points[0] + (1 - share) * at_points[1]).max().item() for share in shares]
    point = torch.tensor([1.0, 0.0], dtype=torch.float64)
    closed = 2 * jensen_shannon(data, point, torch.tensor([-LOG2, 1e3], dtype=torch.float64)) - 2 * LOG2
    left, right = figure.subplots(1, 2)
    left.imshow(square.numpy(), extent=(0, 1, 1, 0), cmap="viridis")
    left.grid(False)
    left.set(xlabel="y, to maximise", ylabel="x, to minimise", title="(x - y)^2")
    right.plot(shares, best, label="max over D of V")
    right.axhline(max_min, color="C1", ls="--", label="max min")
    right.plot([0, 1], [best[0], best[-1]], "ko", label="generators that cannot mix")
    right.set(xlabel="share of the fakes on the first of two points", ylabel="value V")
    right.legend(fontsize="small")
    return [
        Row("(x - y)^2: min max", 0.25, square.max(1).values.min().item(), 1e-9),
        Row("(x - y)^2: max min", 0.0, square.min(0).values.max().item(), 1e-9),
        Row("matching pennies, pure: min max", 1.0, pennies.max(1).values.min().item()),
        Row("matching pennies, pure: max min", -1.0, pennies.min(0).values.max().item()),
        Row("matching pennies, mixed: min max", 0.0, mixed.max(1).values.min().item(), 1e-9),
        Row("matching pennies, mixed: max min", 0.0, mixed.min(0).values.max().item(), 1e-9),
        Row("V over all laws on two points: max min", -2 * LOG2, max_min, 1e-9),
        Row("V over all laws on two points: min max", -2 * LOG2, min(best), 1e-3),
        Row("V, the generator on one point: min max, D on a grid", closed, single, 2e-3),
        Row("that closed form: 2 * 0.2157616 - 2 log 2", -0.9547712, closed, 1e-6),
    ]


def values(shipped, pairs: torch.Tensor, place: int) -> torch.Tensor:  # type: ignore[no-untyped-def]
    """V of each pair of scores (n, 2) with data on both points and the fakes on point ``place``: shape (n,)."""
    one = torch.ones(1, dtype=torch.float64)

    def single(scores: torch.Tensor) -> torch.Tensor:
        half = torch.full((2,), 0.5, dtype=torch.float64)
        return -expectation(shipped.d, half, scores, one, scores[place].view(1))

    return torch.func.vmap(single)(pairs)
