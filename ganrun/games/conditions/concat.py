"""The one-hot label beside z for the generator and beside x for the discriminator (Mirza and Osindero 2014)."""

from __future__ import annotations

from torch import nn

from ganrun.games.conditions.base import LABELLED, Concatenated, Condition, Ports, widened
from ganrun.ground.registry import register
from ganrun.ground.spec import Spec
from ganrun.networks.base import Family


@register("condition", "concat")
class Concatenation(Condition):
    """The label's code as further numbers of a vector, as constant channels of an image."""

    uses_labels = True
    needs = LABELLED

    def generator(self, family: Family, role: str, spec: Spec, inputs: Ports, outputs: Ports) -> nn.Module:
        classes = int(spec.classes or 0)
        return Concatenated(family.make(role, inputs=widened(inputs, classes), outputs=outputs), classes)

    def discriminator(self, family: Family, role: str, spec: Spec, inputs: Ports, outputs: Ports, pack: int) -> nn.Module:
        classes = int(spec.classes or 0)
        return Concatenated(family.make(role, inputs=widened(inputs, classes * pack), outputs=outputs), classes)
