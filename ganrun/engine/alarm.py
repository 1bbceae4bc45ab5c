"""NaN and Inf are noticed on the device and read when the run logs or saves, so that no step waits for them."""

from __future__ import annotations

import torch
from torch import Tensor

from ganrun.ground.errors import Diverged

NEVER = torch.iinfo(torch.int64).max


class Alarm:
    """For every watched value, the tick at which it was first not finite. ``tick`` counts updates of all phases."""

    def __init__(self) -> None:
        self._first: dict[tuple[str, ...], Tensor] = {}

    def watch(self, tick: int, values: dict[str, Tensor]) -> None:
        """Note, without waiting for the device, which of ``values`` (scalars, by name) are not finite."""
        names = tuple(values)
        stacked = torch.stack([value.detach().float() for value in values.values()])
        bad = torch.where(torch.isfinite(stacked), NEVER, tick)
        held = self._first.get(names)
        self._first[names] = bad if held is None else torch.minimum(held, bad)

    def first(self) -> tuple[int, str] | None:
        """The earliest tick and the name of what broke then; waits for the device."""
        found = [
            (int(tick), order, name)
            for names, ticks in self._first.items()
            for order, (name, tick) in enumerate(zip(names, ticks.tolist(), strict=True))
            if tick != NEVER
        ]
        if not found:
            return None
        tick, _, name = min(found)
        return tick, name


def demand_finite(named: dict[str, list[Tensor]], step: int) -> None:
    """Raise ``Diverged`` if any tensor, grouped by what it belongs to, holds NaN or Inf."""
    for name, tensors in named.items():
        floating = [entry for entry in tensors if entry.is_floating_point() and entry.numel()]
        if floating and not torch.stack([torch.isfinite(entry).all() for entry in floating]).all():
            raise Diverged(f"the weights of the {name} are not finite after step {step}")
