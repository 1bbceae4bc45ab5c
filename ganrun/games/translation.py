"""What games of image-to-image translation share: a generator whose first input is the source."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ganrun.games.base import Game, Ports
from ganrun.ground.errors import BadInput, suggestion
from ganrun.ground.spec import Port, Spec
from ganrun.ground.turn import Turn
from ganrun.losses.base import Loss
from ganrun.networks.base import Family
from ganrun.regularizers.base import Regularizer

DISTANCES = ("l1", "l2")


def distance(one: Tensor, other: Tensor, kind: str = "l1") -> Tensor:
    """The mean over all numbers of |one - other|, or of its square for ``kind`` "l2"."""
    gap = one.float() - other.float()
    return gap.abs().mean() if kind == "l1" else gap.square().mean()


def check_distance(kind: str) -> None:
    """Raise ``BadInput`` unless ``kind`` is a distance."""
    if kind not in DISTANCES:
        raise BadInput(f"distance={kind}: {suggestion(kind, DISTANCES)}")


class Translating(Game):
    """A game whose generator maps (source) or, for a family that wants noise, (source, z) to a sample."""

    remakes = False  # most of its generators take no latent

    @property
    def traits(self) -> frozenset[str]:
        return super().traits | {"game.translates"}

    def build_players(self, family: Family, spec: Spec, loss: Loss, regularizers: Mapping[str, Regularizer], seed: int) -> None:
        if spec.source is None:
            raise BadInput("this game translates, and the data set has no sources. Try dataset=paired_digits")
        self.noisy = family.noisy
        super().build_players(family, spec, loss, regularizers, seed)

    def sides(self) -> tuple[Port, Port]:
        """The ports of a source and of a sample."""
        assert self.spec.source is not None
        return Port("data", self.spec.source), Port("data", self.spec.shape)

    def with_noise(self, port: Port) -> Ports:
        """The inputs of a generator that is given ``port``."""
        return (port, Port("code", (self.latent_law.size,))) if self.noisy else (port,)

    def translate(
        self, role: str, given: Tensor, labels: Tensor | None, turn: Turn, purpose: str, latent: Tensor | None = None
    ) -> Tensor:
        """What the generator ``role`` makes of ``given``, with ``latent`` or one of its own for ``purpose``."""
        inputs: tuple[Tensor, ...] = (given,)
        if self.noisy:
            inputs = (given, self._latent(given, turn, purpose) if latent is None else latent)
        player = self.players[role]
        made: Tensor = player(*inputs) if labels is None else player(*inputs, condition=labels)
        return made.to(given.dtype)

    def _latent(self, given: Tensor, turn: Turn, purpose: str) -> Tensor:
        law, like = turn.latent_law, given.new_empty(len(given), turn.latent_law.size)
        return turn.noise(purpose, like) if law.prior == "normal" else turn.noise(purpose, like, "uniform") * 2 - 1

    def sample(self, count: int, turn: Turn, condition: Tensor | None = None, source: Tensor | None = None) -> Tensor:
        if source is None:
            raise BadInput("this game translates: there is nothing to sample without sources")
        return self.translate("generator", source, condition, turn, "latent", turn.latent(count) if self.noisy else None)
