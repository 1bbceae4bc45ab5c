"""Takes the looks at a run: a row of numbers each, by whatever signs there are. It judges nothing and writes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

from torch import Tensor

from ganrun.data.base import Dataset
from ganrun.engine.look import Look
from ganrun.engine.loop import Trainer
from ganrun.engine.reference import Reference, reference
from ganrun.ground import registry, rng
from ganrun.ground.finding import Row
from ganrun.ground.runtime import Runtime


class Observer:
    """Looks at one run. ``say`` hears of a sign that fails: it is off from then on, and the run goes on.

    ``signs``: names of those to read, by default all, some of them not at every look.
    """

    def __init__(
        self,
        dataset: Dataset,
        runtime: Runtime,
        samples: int,
        say: Callable[[str], None],
        signs: Collection[str] | None = None,
    ) -> None:
        self.dataset, self.runtime, self.samples, self.say = dataset, runtime, samples, say
        self.always = signs is not None
        chosen = registry.names("sign") if signs is None else signs
        self.signs = {name: registry.lookup("sign", name)() for name in chosen}
        self._before: dict[str, list[Tensor]] = {}
        self._reference: Reference | None = None

    def before(self, trainer: Trainer) -> None:
        """Keep the weights as they are before the step that will be looked at."""
        self._before = {
            role: [entry.detach().clone() for entry in player.parameters()] for role, player in trainer.game.players.items()
        }

    def row(self, trainer: Trainer, seen: Sequence[Row]) -> dict[str, Any]:
        """What is seen of the step that is done; ``seen``: the rows of the looks before."""
        if self._reference is None:
            self._reference = reference(self.dataset, trainer.game, self.samples, rng.derive(trainer.seed, "doctor"))
        look = Look(
            trainer,
            self.dataset,
            self.runtime,
            self._reference,
            samples=self.samples,
            previous=seen[-1] if seen else None,
            before=self._before,
        )
        row: dict[str, Any] = {"step": trainer.step}
        for name, sign in list(self.signs.items()):
            if not self.always and len(seen) % sign.every:
                continue
            try:
                row |= {key: value for key, value in sign(look).items() if isinstance(value, str) or math.isfinite(value)}
            except Exception as error:  # a measure must never stop a run
                del self.signs[name]
                self.say(f"doctor: the sign {name} is off for this process: {type(error).__name__}: {error}")
        self._before = {}
        return {key: value if isinstance(value, str | int) else float(f"{value:.6g}") for key, value in row.items()}
