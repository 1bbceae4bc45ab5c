"""What is tried: a claim, the runs that try it, and the checks that decide. One file of ``reproduce/targets`` each.

claim    one sentence             paper   the published figures          mark   where they were read, or "from memory"
set      cpu | mnist | long | gpu         needs   of mnist, cifar10, inception (weights), cuda
base     overrides of every run   arms    {label: further overrides}     seeds  [0, 1, ...]
small    overrides that make a run of two steps fit a test
reads    {label: what is read from a finished run}, see reads.py
checks   what must hold, see verdicts.py
budget   seconds for the whole target, two runs at a time
shows    one sentence on what came out     tried   what was tried where it failed     draw  sheet | spectra | curves
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

TARGETS = Path(__file__).with_name("targets")
SETS = ("cpu", "mnist", "long", "gpu")
DRAWN = ("", "sheet", "spectra", "curves")
NEEDS = ("mnist", "cifar10", "inception", "cuda")


def merge(*lines: str | Iterable[str]) -> tuple[str, ...]:
    """Overrides in the order typed; a later word of a key wins, and a newly chosen option drops the keys of the one before."""
    found: dict[str, str] = {}
    for line in lines:
        for word in shlex.split(line) if isinstance(line, str) else line:
            key = word.split("=", 1)[0]
            if key in found and key in ("dataset", "model", "loss", "game", "optimizer", "regularizer"):
                found = {other: text for other, text in found.items() if not other.startswith(f"{key}.")}
            found[key] = word
    return tuple(found.values())


def load(folder: Path = TARGETS) -> dict[str, Target]:
    """All targets by name, in the order of their sets and files."""
    found = {path.stem: read(path) for path in sorted(folder.glob("*.yaml"))}
    return dict(sorted(found.items(), key=lambda pair: (SETS.index(pair[1].set), pair[1].order, pair[0])))


def read(path: Path) -> Target:
    """One target; a key that does not exist, or is missing, is a ``ValueError``."""
    said = yaml.safe_load(path.read_text())
    known = {entry.name for entry in fields(Target)} - {"name"}
    if strange := sorted(set(said) - known):
        raise ValueError(f"{path}: no such key: {strange}. Valid: {sorted(known)}")
    return Target(name=path.stem, **said)


@dataclass(frozen=True)
class Target:
    """A claim and the runs that try it."""

    name: str
    claim: str
    paper: str
    mark: str
    arms: Mapping[str, str]
    reads: Mapping[str, Mapping[str, Any]]
    checks: list[dict[str, Any]]
    base: str = ""
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    budget: int = 900
    set: str = "cpu"
    needs: list[str] = field(default_factory=list)
    small: str = ""
    shows: str = ""
    tried: str = ""
    draw: str = ""
    order: int = 50

    def __post_init__(self) -> None:
        if self.set not in SETS:
            raise ValueError(f"{self.name}: set={self.set} is none of {SETS}")
        if strange := sorted(set(self.needs) - set(NEEDS)):
            raise ValueError(f"{self.name}: needs {strange}, and only {NEEDS} are known")
        if self.draw not in DRAWN:
            raise ValueError(f"{self.name}: draw={self.draw} is none of {DRAWN}")
        for check in self.checks:
            named = [check["arm"]] if isinstance(check["arm"], str) else list(check["arm"])
            named += [arm for key in ("below", "above") if isinstance(check.get(key), str) for arm in [check[key]]]
            if missing := [arm for arm in named if arm not in self.arms]:
                raise ValueError(f"{self.name}: a check names {missing}, which is none of its arms {list(self.arms)}")
            if check["read"] not in self.reads:
                raise ValueError(f"{self.name}: a check reads {check['read']}, which is none of its reads {list(self.reads)}")

    def overrides(self, arm: str) -> tuple[str, ...]:
        """What is typed after ``ganrun train`` for every seed of ``arm``."""
        return merge(self.base, self.arms[arm])

    def runs(self) -> list[tuple[str, int]]:
        """(arm, seed) in the order in which they are run: every arm once, then the next seed."""
        return [(arm, seed) for seed in self.seeds for arm in self.arms]
