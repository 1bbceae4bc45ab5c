"""What is tried: a claim, the runs that try it, and the checks that decide. One file of ``reproduce/targets`` each.

claim    one sentence             paper   the published figures          mark   where they were read, or "from memory"
set      cpu | mnist | long | gpu         needs   of mnist, cifar10, inception (weights), cuda
base     overrides of every run   arms    {label: further overrides}
looks    numbers of seeds after which the target is judged; the seeds are 0, 1, 2, ... up to the last look
reads    {label: what is read from a finished run}, see reads.py; ``bounds: [low, high]`` where the value cannot leave them
checks   what must hold, see verdicts.py
budget   seconds for the whole target, two runs at a time
budgets  where arms differ in steps or batches: why; it is part of the claim
quick    whether it belongs to ``make reproduce-quick``
small    overrides that make a run of two steps fit a test
draw     sheet | spectra | curves           order    place on the page

All but the last four are *frozen*: a row carries their hash, and a row of another hash counts for nothing. So a claim, an arm or
a check cannot be changed once the results are known without running everything anew. Settings are found on seeds from
``TUNING`` on (``python -m reproduce --tune NAME``), and judged on the seeds below them.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

TARGETS = Path(__file__).with_name("targets")
SETS = ("cpu", "mnist", "long", "gpu")
DRAWN = ("", "sheet", "spectra", "curves")
TUNING = 1000  # the first seed on which settings may be found
FROZEN = ("claim", "paper", "mark", "set", "needs", "base", "arms", "looks", "reads", "checks", "budget", "budgets")
BUDGET = {"steps", "batch_size", "n_critic", "accumulate"}  # keys that say how much an arm may use
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
    looks: list[int] = field(default_factory=lambda: [5, 10, 20])
    budget: int = 900
    budgets: str = ""
    quick: bool = False
    set: str = "cpu"
    needs: list[str] = field(default_factory=list)
    small: str = ""
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

        if self.looks != sorted(set(self.looks)) or not self.looks or self.looks[0] < 2 or self.looks[-1] > TUNING:
            raise ValueError(f"{self.name}: looks={self.looks}: numbers of seeds from 2 to {TUNING} that grow")
        shares = {tuple(sorted(word for word in self.overrides(arm) if word.split("=")[0] in BUDGET)) for arm in self.arms}
        if len(shares) > 1 and not self.budgets:
            raise ValueError(f"{self.name}: arms differ in {sorted(BUDGET)}, and `budgets` does not say why: {sorted(shares)}")

    @property
    def seeds(self) -> list[int]:
        """The seeds that judge, in their order."""
        return list(range(self.looks[-1]))

    @property
    def frozen(self) -> str:
        """Hash of all that a result depends on or is judged by."""
        held = {name: getattr(self, name) for name in FROZEN}
        return hashlib.sha256(json.dumps(held, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def picture(self) -> str:
        """File name of its picture. The hash is in it, so that no picture of older runs stands beside results."""
        return f"{self.name}-{self.frozen}.png"

    def overrides(self, arm: str) -> tuple[str, ...]:
        """What is typed after ``ganrun train`` for every seed of ``arm``."""
        return merge(self.base, self.arms[arm])
