"""What a disease is: a condition on the rows so far, how long it must persist, what it explains, and what may help.

A condition compares with the run's own real data or with the run's own past. It never reads the value of a loss.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from ganrun.ground.finding import Evidence, Remedy, Row

GRACE = 3  # looks before anything but numbers that are not finite is named


class Disease:
    """One thing that can be wrong.

    ``watches``: names that a row must hold for the condition to be asked; where one is missing the disease is silent.
    ``patience``: (k, n): it is named when the condition held in k of the last n looks. ``explains``: the diseases that follow
    from this one and are reported under it. ``outcome``: the sign that tells whether a remedy helped, and whether more of it is
    better. Thresholds are keyword options of the constructor.
    """

    title = ""
    watches: tuple[str, ...] = ()
    patience: tuple[int, int] = (3, 4)
    grace: int = GRACE
    explains: frozenset[str] = frozenset()
    outcome: tuple[str, bool] = ("gap", False)

    def holds(self, rows: Sequence[Row], place: int) -> Evidence | None:
        """Whether the condition holds at the look ``rows[place]``, given it and those before; the evidence, or None."""
        raise NotImplementedError

    def remedies(self, config: Mapping[str, Any], evidence: Evidence) -> list[Remedy]:
        """What may help a run of ``config``, the best first."""
        return []

    def thresholds(self) -> dict[str, float]:
        """The options by name."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}


def series(rows: Sequence[Row], place: int, name: str, count: int) -> list[float]:
    """The last ``count`` values of ``name`` up to the look ``place``, oldest first; looks without it are left out."""
    return [float(row[name]) for row in rows[: place + 1] if name in row][-count:]


def improving(rows: Sequence[Row], place: int, name: str = "gap", by: float = 0.05) -> bool:
    """Whether the samples are still getting closer to the data: Kendall's tau of the last 8 looks <= -0.5 and a fall of ``by``.

    The fall is between the medians of the first and the last three. With fewer than 5 looks it cannot be told yet, which
    counts as improving: an unfinished run is not sick.
    """
    values = series(rows, place, name, 8)
    if len(values) < 5:
        return True
    return kendall(values) <= -0.5 and median(values[-3:]) <= (1 - by) * median(values[:3])


def kendall(values: Sequence[float]) -> float:
    """Kendall's tau of a series against its order: (pairs that rise - pairs that fall) / all pairs."""
    pairs = [(later > earlier) - (later < earlier) for i, earlier in enumerate(values) for later in values[i + 1 :]]
    return sum(pairs) / len(pairs) if pairs else 0.0


def at(config: Mapping[str, Any], key: str, default: Any = None) -> Any:
    """The entry of a nested config at a dotted key."""
    held: Any = config
    for part in key.split("."):
        if not isinstance(held, Mapping) or part not in held:
            return default
        held = held[part]
    return held


def rate(config: Mapping[str, Any], player: str) -> float | None:
    """A player's learning rate."""
    held = at(config, f"optimizer.{player}.lr", at(config, "optimizer.lr"))
    return float(held) if isinstance(held, int | float) else None


def regularizers(config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The run's own regularizers; an option that an experiment left for another one has no name, and none stands for it."""
    return {
        name: entry for name, entry in (at(config, "regularizer") or {}).items() if isinstance(entry, Mapping) and "name" in entry
    }


def stack(config: Mapping[str, Any], *added: str, without: tuple[str, ...] = ()) -> str:
    """``regularizer=[...]``: the run's own regularizers, ``added`` ones and none of ``without``."""
    held = [name for name in regularizers(config) if name not in without]
    return f"regularizer=[{','.join(dict.fromkeys([*held, *added]))}]"


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"
