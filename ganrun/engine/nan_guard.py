"""NaN and Inf are noticed on the device and read when the run logs or saves, so that no step waits for them."""

from __future__ import annotations

import torch
from torch import Tensor

from ganrun.ground.errors import Diverged

NEVER = torch.iinfo(torch.int64).max
TOGETHER = 64


class NaNGuard:
    """For every watched value, the tick at which it was first not finite. ``update_index`` counts updates of all phases."""

    def __init__(self) -> None:
        self._first: dict[tuple[str, ...], Tensor] = {}
        self._unread: dict[tuple[str, ...], list[tuple[int, Tensor]]] = {}

    def watch(self, update_index: int, values: dict[str, Tensor]) -> None:
        """Take note of ``values`` (scalars, by name) without waiting for the device; many are looked at together."""
        names = tuple(values)
        unread = self._unread.setdefault(names, [])
        unread.append((update_index, torch.stack([value.detach().float() for value in values.values()])))
        if len(unread) == TOGETHER:
            self._look(names)

    def _look(self, names: tuple[str, ...]) -> None:
        """Bring ``_first`` up to date, on the device."""
        unread = self._unread.pop(names, [])
        if not unread:
            return
        rows = torch.stack([row for _, row in unread])
        ticks = torch.tensor([update_index for update_index, _ in unread]).to(rows.device, non_blocking=True)
        bad = torch.where(torch.isfinite(rows), NEVER, ticks[:, None]).amin(0)
        held = self._first.get(names)
        self._first[names] = bad if held is None else torch.minimum(held, bad)

    def first(self) -> tuple[int, str] | None:
        """The earliest tick and the name of what broke then; waits for the device."""
        for names in list(self._unread):
            self._look(names)
        found = [
            (int(update_index), order, name)
            for names, ticks in self._first.items()
            for order, (name, update_index) in enumerate(zip(names, ticks.tolist(), strict=True))
            if update_index != NEVER
        ]
        if not found:
            return None
        update_index, _, name = min(found)
        return update_index, name


def demand_finite(named: dict[str, list[Tensor]], step: int) -> None:
    """Raise ``Diverged`` if any tensor, grouped by what it belongs to, holds NaN or Inf."""
    for name, tensors in named.items():
        floating = [entry for entry in tensors if entry.is_floating_point() and entry.numel()]
        if floating and not torch.stack([torch.isfinite(entry).all() for entry in floating]).all():
            raise Diverged(f"the weights of the {name} are not finite after step {step}")
