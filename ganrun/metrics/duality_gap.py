"""How far the players are from an equilibrium: the duality gap of the game (Grnarova et al. 2019).

With M(G, D) minus the discriminator's loss,

    duality_gap = max over D' of M(G, D') - min over G' of M(G', D),

never below 0, and 0 where neither player can better itself. Both are estimated by ``steps`` steps of Adam on copies, each by
its own objective against the other as it stands, penalties included; M leaves penalties out. So the gap is that of the steps
allowed, a lower bound for a zero-sum game, and it compares at equal options only. ``duality_gap_discriminator`` and
``duality_gap_generator`` are the two parts: what D and G could gain. The better of the copy and the player itself counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ganrun.ground.errors import BadInput
from ganrun.ground.registry import register
from ganrun.metrics.base import Sample, Sandbox, Score, Stage
from ganrun.metrics.two_samples import standard_error


@register("metric", "duality_gap")
class DualityGap(Score):
    """What the players could still gain by a few steps against each other: lower is nearer to an equilibrium."""

    directions: Mapping[str, bool | None] = {
        "duality_gap": False,
        "duality_gap_discriminator": False,
        "duality_gap_generator": False,
    }
    extracts = frozenset({"networks"})

    def __init__(self, *, steps: int = 50, lr: float = 1e-3, batch_size: int = 64, batches: int = 16) -> None:
        super().__init__()
        for name, value, least in (("steps", steps, 1), ("batch_size", batch_size, 2), ("batches", batches, 2)):
            if value < least:
                raise BadInput(f"metric.duality_gap.{name}={value}: must be at least {least}")
        if not lr > 0:
            raise BadInput(f"metric.duality_gap.lr={lr}: must be above 0")
        self.steps, self.lr, self.batch_size, self.batches = steps, lr, batch_size, batches
        self.sandbox: Sandbox | None = None

    def fewest(self) -> tuple[int, int]:
        return 0, 0

    def dry_run(self, sandbox: Sandbox) -> None:
        sandbox.size(self.batch_size)

    def enter(self, stage: Stage) -> None:
        self.sandbox = stage.sandbox

    def update(self, sample: Sample, *, real: bool) -> None:
        """Samples are not looked at: the players make their own."""

    def compute(self) -> dict[str, float]:
        """``duality_gap``, ``duality_gap_discriminator``, ``duality_gap_generator``."""
        if self.sandbox is None:
            raise ValueError("the duality gap needs the networks of a run")
        sandbox, self.sandbox = self.sandbox, None
        here = sandbox.values(batches=self.batches, batch_size=self.batch_size)
        gains = {}
        for side, sign in (("discriminator", 1), ("generator", -1)):
            there = sandbox.improved(side, steps=self.steps, lr=self.lr, batch_size=self.batch_size).values(
                batches=self.batches, batch_size=self.batch_size
            )
            gain = sign * (there - here)
            gains[side] = gain if gain.mean() > 0 else 0 * gain
        found = {"duality_gap": gains["discriminator"] + gains["generator"]}
        found |= {f"duality_gap_{side}": gain for side, gain in gains.items()}
        self.spreads = {name: standard_error(values) for name, values in found.items()}
        return {name: values.mean().item() for name, values in found.items()}

    def card(self) -> dict[str, Any]:
        options = {"steps": self.steps, "lr": self.lr, "batch_size": self.batch_size, "batches": self.batches}
        return {**options, "std": "over batches, divided by the root of their number; the tries held fixed"}
