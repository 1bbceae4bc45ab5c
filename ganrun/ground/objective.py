"""The one number that a sweep compares its runs by: which score it is, and which way it is better.

A metric says of each of its values whether higher is better, lower is, or neither. ``choose`` picks one value before
anything trains; ``Outcome`` is what came of it. Sweepers minimise: a value of which more is better is negated for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ganrun.ground.errors import BadInput, suggestion

Directions = Mapping[str, bool | None]


@dataclass(frozen=True)
class Objective:
    """A value by its name, the metric that it is of, and whether higher is better."""

    name: str
    metric: str
    higher: bool


@dataclass(frozen=True)
class Outcome:
    """What a run reached: the objective's value at a step; None, and why, where there is none."""

    objective: Objective
    value: float | None
    step: int
    why: str = ""

    @property
    def to_minimise(self) -> float | None:
        """The value, negated where higher is better."""
        if self.value is None:
            return None
        return (-self.value if self.objective.higher else self.value) + 0.0  # + 0.0 turns -0 into 0

    def __str__(self) -> str:
        if self.value is None:
            return f"objective {self.objective.name} has no value at step {self.step}" + (f" ({self.why})" if self.why else "")
        better = "higher" if self.objective.higher else "lower"
        return f"objective {self.objective.name} {self.value:.6g} at step {self.step}, {better} is better"


def choose(
    asked: str | None, metrics: Mapping[str, Directions], lacking: Mapping[str, str] | None = None, *, key: str = "objective"
) -> Objective | None:
    """The objective that is ``asked`` for, by default the first value of the first of ``metrics`` that can have one.

    ``metrics``: the values of each chosen metric with their directions, in the order typed; ``lacking``: why a metric will
    have no value; ``key``: what ``asked`` was typed for. ``asked`` is the name of a value (``recall``), or that of a metric,
    which means its first value. Raises ``BadInput`` where there is no such value, where neither direction of it is better, and
    where it will have none.
    """
    lacking = lacking or {}
    if asked is None:
        for metric, values in metrics.items():
            name, higher = next(iter(values.items()), ("", None))
            if higher is not None and metric not in lacking:
                return Objective(name, metric, higher)
        return None
    asked = str(asked)
    if not metrics:
        raise BadInput(f"{key}={asked}: nothing is scored with metric=none. Choose the metric that it is a value of")
    found = {name: (metric, higher) for metric, values in metrics.items() for name, higher in values.items()}
    for metric, values in metrics.items():
        if asked == metric and asked not in found and values:
            asked = next(iter(values))
    if asked not in found:
        useful = [name for name, (_, higher) in found.items() if higher is not None]
        listed = f"metric={metrics_typed(metrics)}"
        raise BadInput(f"{key}={asked}: is no value of {listed}. {suggestion(asked, useful)}")
    metric, higher = found[asked]
    if higher is None:
        useful = [name for name, better in metrics[metric].items() if better is not None]
        raise BadInput(
            f"{key}={asked}: neither more nor less of it is better, it is there to read {metric} by. {suggestion('', useful)}"
        )
    if metric in lacking:
        raise BadInput(f"{key}={asked}: will have no value: {lacking[metric]}")
    return Objective(asked, metric, higher)


def metrics_typed(metrics: Mapping[str, object]) -> str:
    """The metrics as a person types them."""
    names = list(metrics)
    return names[0] if len(names) == 1 else f"[{','.join(names)}]"
