"""weight * E_p |s(x) - s(T(x))|^2, T an augmentation (Zhang et al. 2020, "Consistency Regularization for GANs").

``fakes``: + weight * E_q |s(G(z)) - s(T(G(z)))|^2, the balanced form of Zhao et al. 2021, which keeps the generator from
learning what T does to real samples. D's side only; the gradient runs through both looks. x is what D judges in the main
pass: where another technique augments or noises it, T comes on top. The score of a map of patches is its mean, since T moves
the patches; the samples of a pack are augmented one by one. The paper's T for photographs is policy=[flip,translation]; by
default nothing is mirrored, since that would make other characters of digits.
"""

from __future__ import annotations

from torch import Tensor

from ganrun.ground.duel import Duel, Inputs, of_sample, packed
from ganrun.ground.registry import register
from ganrun.ground.spec import Port
from ganrun.ground.turn import Turn
from ganrun.regularizers.augmentations import NO_TOKENS, augment, check_fits, check_policy, mirroring
from ganrun.regularizers.base import Players, Regularizer, check_weight


@register("regularizer", "consistency")
class Consistency(Regularizer):
    """The discriminator's score should not change when a sample is augmented."""

    refuses = NO_TOKENS

    def __init__(self, *, weight: float = 10.0, fakes: bool = False, policy: list[str] = ["translation"], every: int = 1) -> None:
        super().__init__()
        check_weight(weight, every)
        self.weight, self.fakes, self.policy, self.every = weight, fakes, check_policy(policy), every
        self.advises = mirroring(self.policy, "consistency", ["translation"])

    def allocate(self, ports: tuple[Port, ...]) -> None:
        check_fits("consistency", self.policy, ports)

    def term(self, duel: Duel, players: Players, turn: Turn) -> Tensor:
        real = self._change(duel, duel.real, duel.real_condition, duel.real_output.score, turn, "real")
        if not self.fakes:
            return real
        return real + self._change(duel, duel.fake, duel.fake_condition, duel.fake_output.score, turn, "fake")

    def _change(self, duel: Duel, inputs: Inputs, labels: Tensor | None, score: Tensor, turn: Turn, side: str) -> Tensor:
        """Mean squared change of the score under T."""
        single = tuple(entry.detach().unflatten(1, (duel.pack, -1)).flatten(0, 1) for entry in inputs)
        moved = augment(single, duel.kinds, self.policy, turn, f"consistency/{side}")
        other = duel.discriminate(tuple(packed(entry, duel.pack) for entry in moved), labels).score
        return (of_sample(score) - of_sample(other)).square().mean()
