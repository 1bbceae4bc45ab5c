"""What the doctor says of a run, as plain values: the evidence, what to try, and since when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

Row = Mapping[str, Any]
"""One look at a run: ``step`` and numbers by name (and ``modes``, a string). A row of signs.jsonl."""


@dataclass(frozen=True)
class Evidence:
    """Why a condition holds at one look: a sentence with its comparisons, and the numbers in it by the names of the row."""

    words: str
    values: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Remedy:
    """Overrides that may help. ``record`` says what was measured of it; "untried" where nothing was.

    ``fork``: it can be tried by a fork of the run; False where the networks must be made anew.
    """

    overrides: tuple[str, ...]
    why: str
    record: str = "untried"
    fork: bool = True


@dataclass(frozen=True)
class Finding:
    """A disease that persisted. ``since``: the first look of the unbroken row of looks at which its condition held; ``before``:
    the look before that one, or 0; ``named``: the look at which it had persisted long enough; ``ended``: the look at which it
    was over, or None while it stands. ``looks``: (looks at which the condition held, looks) since then.
    """

    disease: str
    title: str
    since: int
    before: int
    named: int
    ended: int | None
    looks: tuple[int, int]
    evidence: Evidence
    thresholds: Mapping[str, float]
    explained_by: str | None = None

    @property
    def standing(self) -> bool:
        return self.ended is None

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)
