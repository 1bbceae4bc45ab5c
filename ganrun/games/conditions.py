"""How a class label enters the players (group ``condition``). Any game can take any of them."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from ganrun.ground.registry import register
from ganrun.ground.spec import Port, Spec, Verdict
from ganrun.ground.traits import Rule
from ganrun.networks.base import Family


class Condition:
    """Makes players that know the label, or not: ``generator`` and ``discriminator`` wrap what the family makes."""

    uses_labels = False
    needs: dict[str, Rule] = {}

    def make(self, family: Family, role: str, spec: Spec, *, inputs: tuple[Port, ...], outputs: tuple[Port, ...]) -> nn.Module:
        raise NotImplementedError


@register("condition", "none")
class Unconditional(Condition):
    """No label."""

    def make(self, family: Family, role: str, spec: Spec, *, inputs: tuple[Port, ...], outputs: tuple[Port, ...]) -> nn.Module:
        return family.make(role, inputs=inputs, outputs=outputs)


class Concatenated(nn.Module):
    """A network whose first input is joined by the label's one-hot code: as channels of an image, as numbers of a vector."""

    def __init__(self, network: nn.Module, classes: int) -> None:
        super().__init__()
        self.network, self.classes = network, classes

    def forward(self, *inputs: Tensor, condition: Tensor) -> Tensor | Verdict:
        first = inputs[0]
        code = one_hot(condition, self.classes).to(first.dtype)
        if first.ndim == 4:
            code = code[:, :, None, None].expand(-1, -1, *first.shape[2:])
        return self.network(torch.cat((first, code), 1), *inputs[1:])


@register("condition", "concat")
class Concatenation(Condition):
    """The one-hot label beside z for the generator and beside x for the discriminator (Mirza and Osindero 2014)."""

    uses_labels = True
    needs = {
        "dataset.labelled": Rule("a class condition needs labels, and this data set has none", "game.condition=none"),
    }

    def make(self, family: Family, role: str, spec: Spec, *, inputs: tuple[Port, ...], outputs: tuple[Port, ...]) -> nn.Module:
        assert spec.classes is not None
        first = inputs[0]
        widened = replace(first, shape=(first.shape[0] + spec.classes, *first.shape[1:]))
        return Concatenated(family.make(role, inputs=(widened, *inputs[1:]), outputs=outputs), spec.classes)
