"""Auxiliary classifier: D also names the class (Odena, Olah and Shlens 2017, "Conditional Image Synthesis with AC-GANs").

D: L_S + weight * (CE(y | x) + CE(y | G(z, y)));  G: L_S + weight * CE(y | G(z, y)), where L_S is any loss on the score, weight is
1 in the paper, and the class logits are a linear head on the discriminator's features. The label's code joins z; the score itself
does not see the label.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ganrun.games.conditions.base import LABELLED, Concatenated, Condition, Ports, Terms, widened
from ganrun.games.heads import NOT_PACKED, Headed
from ganrun.ground.duel import Duel
from ganrun.ground.registry import register
from ganrun.ground.spec import DiscriminatorOutput, Spec
from ganrun.ground.traits import FEATURES_NEEDED
from ganrun.ground.turn import Turn
from ganrun.losses.base import Loss
from ganrun.networks.base import Family


class Classifying(Headed):
    """A discriminator with a head of class logits; it ignores the label that it is shown."""

    def forward(self, *inputs: Tensor, **condition: Any) -> DiscriminatorOutput:
        return super().forward(*inputs)


@register("condition", "acgan")
class AuxiliaryClassifier(Condition):
    """Class logits beside the score, learned on real and fake samples."""

    uses_labels = True
    judges_labels = False
    traits = frozenset({"discriminator.classes"})
    needs = LABELLED | FEATURES_NEEDED
    refuses = {"game.packed": NOT_PACKED}

    def __init__(self, *, weight: float = 1.0) -> None:
        if weight < 0:
            raise ValueError(f"weight={weight} must not be negative: it would reward wrong classes")
        self.weight = weight

    def generator(self, family: Family, role: str, spec: Spec, inputs: Ports, outputs: Ports) -> nn.Module:
        classes = int(spec.classes or 0)
        return Concatenated(family.make(role, inputs=widened(inputs, classes), outputs=outputs), classes)

    def discriminator(self, family: Family, role: str, spec: Spec, inputs: Ports, outputs: Ports, pack: int) -> nn.Module:
        return Classifying(family.make(role, inputs=inputs, outputs=outputs), {"classes": int(spec.classes or 0)})

    def objective(self, loss: Loss, duel: Duel, turn: Turn, side: str) -> Terms:
        terms = super().objective(loss, duel, turn, side)
        assert duel.real_condition is not None
        assert duel.fake_condition is not None
        classes = cross_entropy(duel.fake_output.heads["classes"].float(), duel.fake_condition)
        if side == "discriminator":
            classes = classes + cross_entropy(duel.real_output.heads["classes"].float(), duel.real_condition)
        return {**terms, "classes": self.weight * classes}
