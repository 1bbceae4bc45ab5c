"""Who lies in whose ball: the distances that precision, recall, density and coverage read, computed once for all of them.

Distances between all pairs are products of matrices in the numbers' own precision, for two sets of float32 features in float32.
A bound on their rounding parts the pairs into those that are surely within a radius, surely beyond, and too near to say; the
last, and the radii themselves, are decided by differences in float64. So every answer is that of float64 arithmetic.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ganrun.metrics.base import Stage
from ganrun.metrics.two_samples import TwoSampleScore, symmetric_blocks

MOST = 10_000  # samples of a side
BLOCK = 1024  # rows whose distances to all others are worked on at a time
PAIRS = 4096  # pairs whose differences are in float64 at a time
NEAREST = 16  # neighbours of a row that are kept: no metric asks for more by default


class Neighbourhood:
    """``real`` (n, d) and ``generated`` (m, d), and the balls around them that reach to the k-th nearest other row.

    Holds m * n distances of the one to the other, once they were asked for.
    """

    def __init__(self, real: Tensor, generated: Tensor) -> None:
        middle = real.double().mean(0)  # rounding is small beside the norms, so let those be small
        self.count = len(real)
        self.sides = {"real": real, "generated": generated}
        self.centred = {
            name: torch.cat([(part - middle).to(part.dtype) for part in side.split(BLOCK)]) for name, side in self.sides.items()
        }
        self.norms = {name: side.square().sum(1) for name, side in self.centred.items()}
        # an error of the products of d numbers grows like the root of d; eight times that is never met
        self.slack = 8 * torch.finfo(real.dtype).eps * real.shape[1] ** 0.5
        self._nearest: dict[str, tuple[Tensor, Tensor]] = {}
        self._across: Tensor | None = None

    def radii(self, side: str, k: int) -> Tensor:
        """Squared distance of each row of ``side`` to its k-th nearest other row, from differences in float64: (n,)."""
        low, places = self._candidates(side, k)
        rows, norms = self.sides[side], self.norms[side]
        high = low + 2 * self.slack * (norms[:, None] + norms[places])
        bounds = low.kthvalue(k, 1).values, high.kthvalue(k, 1).values
        nearer, open_ = high < bounds[0][:, None], (high >= bounds[0][:, None]) & (low <= bounds[1][:, None])
        exact = torch.full(low.shape, float("inf"), dtype=torch.float64)
        which = open_.nonzero(as_tuple=True)
        exact[which] = self._differences(rows, which[0], rows, places[which])
        radii = exact.sort(1).values.gather(1, (k - 1 - nearer.sum(1))[:, None])[:, 0]
        if low.shape[1] < len(rows) - 1:  # a row that was not kept might be as near
            for row in (low[:, -1] <= bounds[1]).nonzero()[:, 0].tolist():
                others = torch.cat((torch.arange(row), torch.arange(row + 1, len(rows))))
                radii[row] = self._differences(rows, torch.full_like(others, row), rows, others).kthvalue(k).values
        return radii

    def within(self, side: str, k: int, *, boundary: bool) -> tuple[Tensor, Tensor]:
        """(in how many balls around ``side`` each row of the other is, how many rows of the other each ball holds).

        ``boundary``: whether a row on the boundary of a ball is in it.
        """
        other = "generated" if side == "real" else "real"
        across = self._distances_across() if other == "generated" else self._distances_across().T
        radii = self.radii(side, k)
        norms, reach = self.norms[side], radii.to(across.dtype)
        margin = self.slack * (norms + reach)
        counts, held = torch.zeros(len(across), dtype=torch.int64), torch.zeros(len(radii), dtype=torch.int64)
        for start in range(0, len(across), BLOCK):
            low = across[start : start + BLOCK]
            own = self.slack * self.norms[other][start : start + BLOCK, None]
            inside = low < reach - 3 * margin - 2 * own
            which = ((low <= reach + margin) ^ inside).nonzero(as_tuple=True)
            exact = self._differences(self.sides[other], which[0] + start, self.sides[side], which[1])
            inside[which] = exact <= radii[which[1]] if boundary else exact < radii[which[1]]
            counts[start : start + BLOCK] = inside.sum(1)
            held += inside.sum(0)
        return counts, held

    def share(self, side: str, k: int) -> Tensor:
        """1.0 for each row of the other side in any ball around ``side``, boundary included, else 0.0."""
        return (self.within(side, k, boundary=True)[0] > 0).double()

    def _candidates(self, side: str, k: int) -> tuple[Tensor, Tensor]:
        """(lower bounds of the squared distances of each row to its nearest others, which these are): (n, at least k) each."""
        kept = self._nearest.get(side)
        most = len(self.sides[side]) - 1
        if kept is None or kept[0].shape[1] < min(k + 1, most):
            rows, norms = self.centred[side], (1 - self.slack) * self.norms[side]
            low = torch.empty(len(rows), len(rows), dtype=rows.dtype)
            for down, right in symmetric_blocks(len(rows), BLOCK):
                block = norms[down, None] + norms[right] - 2 * (rows[down] @ rows[right].T)
                low[down, right] = block
                low[right, down] = block.T
            low.fill_diagonal_(float("inf"))  # a row is not its own neighbour
            wanted = min(max(NEAREST, k + 1), most)
            parts = [part.topk(wanted, 1, largest=False) for part in low.split(BLOCK)]
            kept = torch.cat([part.values for part in parts]), torch.cat([part.indices for part in parts])
            self._nearest[side] = kept
        return kept

    def _distances_across(self) -> Tensor:
        """Lower bounds of the squared distances of generated to real rows: (m, n)."""
        if self._across is None:
            real, norms = self.centred["real"], {name: (1 - self.slack) * side for name, side in self.norms.items()}
            across = torch.empty(len(self.centred["generated"]), len(real), dtype=real.dtype)
            for start in range(0, len(across), BLOCK):
                part = self.centred["generated"][start : start + BLOCK]
                low = norms["generated"][start : start + BLOCK, None] + norms["real"]
                across[start : start + BLOCK] = low.sub_(part @ real.T, alpha=2)
            self._across = across
        return self._across

    @staticmethod
    def _differences(x: Tensor, rows: Tensor, y: Tensor, others: Tensor) -> Tensor:
        """|x_i - y_j|^2 of the pairs (i, j) in float64; of a pair the same in either order."""
        found = [
            (x[i].double() - y[j].double()).square().sum(1) for i, j in zip(rows.split(PAIRS), others.split(PAIRS), strict=True)
        ]
        return torch.cat(found) if found else torch.zeros(0, dtype=torch.float64)


class Neighbours(TwoSampleScore):
    """Reads a ``Neighbourhood``, which those that are scored together share."""

    def __init__(self) -> None:
        super().__init__()
        self.stage: Stage | None = None

    def enter(self, stage: Stage) -> None:
        self.stage = stage

    def neighbourhood(self, name: str, least: int) -> Neighbourhood:
        """Of both samples, cut to equally many rows; ``BadInput`` naming the metric for fewer than ``least``."""
        self.given(name, least)
        make = lambda: Neighbourhood(*self.equal("precision_recall", MOST, least))  # noqa: E731
        stage, self.stage = self.stage, None
        return make() if stage is None else stage.once("neighbourhood", make)
