"""One optimizer for each player, with learning rates that follow from the step alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch.nn import Parameter
from torch.optim import Optimizer

from ganrun.ground import registry
from ganrun.ground.errors import BadInput


def for_player(config: Mapping[str, Any], role: str, parameters: Iterable[Parameter]) -> Optimizer:
    """The optimizer of the player ``role``: the group's options, overridden by those under the player's own key.

    A player whose key names another kind has that kind with the options there, and none of the group's.
    A player without a key follows the discriminator if it is one by name, else the generator: encoders and inverses do.
    """
    common = {key: value for key, value in config.items() if not isinstance(value, Mapping)}
    kin = "discriminator" if role.endswith("discriminator") else "generator"
    own = config.get(role, config.get(kin, {}))
    if own.get("name", config["name"]) != config["name"]:
        common = {}
    return registry.build("optimizer", {**common, **own}, list(parameters))


@dataclass(frozen=True)
class Motion:
    """A value, ``key``, of an optimizer that goes from ``first`` to ``last`` over the run, as the schedule ``fall`` goes to 0."""

    key: str
    first: Any
    last: Any
    fall: Callable[[float, float], float]

    def at(self, progress: float) -> Any:
        """The value after the fraction ``progress`` of the run: a number, or a tuple of them."""
        left = self.fall(progress, 0.0)
        if isinstance(self.first, tuple):
            return tuple(last + (first - last) * left for first, last in zip(self.first, self.last, strict=True))
        return self.last + (self.first - self.last) * left


MOTION = "motion"  # entry of a parameter group


def moving(optimizer: Optimizer, key: str, first: Any, last: Any, fall: Callable[[float, float], float]) -> Optimizer:
    """``optimizer``, whose ``key`` will go from ``first`` to ``last`` over the run."""
    for group in optimizer.param_groups:
        group[MOTION] = Motion(key, first, last, fall)
    return optimizer


def move(optimizer: Optimizer, progress: float) -> None:
    """Put every value that changes over the run to what it is after the fraction ``progress`` of it."""
    for group in optimizer.param_groups:
        if MOTION in group:
            group[group[MOTION].key] = group[MOTION].at(progress)


def schedule(config: Mapping[str, Any], steps: int) -> Callable[[int], float]:
    """The factor on every learning rate as a function of the step 0 .. steps - 1.

    ``warmup`` steps rise linearly to 1; from the fraction ``start`` of the run on, the named schedule falls to ``final``.
    ``BadInput`` for values that cannot be, and for those that the named schedule would take no notice of.
    """
    options = dict(config)
    name, warmup, start, final = options["name"], options["warmup"], options["start"], options["final"]
    if warmup < 0 or not 0 <= start < 1 or not 0 <= final <= 1:
        raise BadInput(
            f"optimizer.schedule: warmup={warmup}, start={start}, final={final}: "
            "warmup must be 0 or more, start in [0, 1), final in [0, 1]"
        )
    fall = registry.lookup("schedule", name)
    try:
        last = fall(1.0, final)
    except BadInput as error:
        raise BadInput(f"optimizer.schedule.{error}") from None
    if last == 1 and (start or final) and final != 1:
        raise BadInput(
            f"optimizer.schedule: start={start}, final={final}: the schedule {name} never falls and would not heed them. "
            "Try optimizer.schedule.name=linear, or leave both at 0"
        )

    def factor(step: int) -> float:
        rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
        progress = max(0.0, step / steps - start) / (1 - start)
        return rise * fall(min(progress, 1.0), final)

    return factor
