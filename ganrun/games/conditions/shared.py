"""One shared class embedding and hierarchical z (Brock, Donahue and Simonyan 2019, BigGAN), with the projection discriminator.

G: z is cut into parts, four or as many as there are normalizations and one; the first enters the network, and part i joins the
embedding e(y) of 128 numbers, which all layers share, in the normalizations of stage i: gain = 1 + A [e(y), z_i],
shift = B [e(y), z_i], A and B starting at N(0, 0.02). D: as ``projection``, and so is what acts on A, B and e: nothing that is
made for weight matrices. ``game.gain=free``, for runs from before there was the choice, adds learned constants to both.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from ganrun.games.conditions.base import GAINS, Concatenated, Ports, label_code, widened
from ganrun.games.conditions.projection import (
    SPREAD,
    FreeNorm,
    Projection,
    conditional_norms,
    make_conditional,
    normalizations,
)
from ganrun.ground.matrices import Modulation
from ganrun.ground.registry import register
from ganrun.ground.spec import Spec
from ganrun.networks.base import Family

WIDTH = 128  # of the shared embedding
PARTS = 4  # of z, where it has as many numbers and enough stages to read them


class Shared(nn.Module):
    """A generator whose normalizations read a shared embedding of the label and a part of z each."""

    def __init__(self, network: nn.Module, classes: int, part: int, parts: int, gain: str = GAINS[0], width: int = WIDTH) -> None:
        super().__init__()
        self.network, self.classes, self.part, self.parts = network, classes, part, parts
        self.embedding = (nn.Linear if gain == "free" else Modulation)(classes, width, bias=False)
        for norm in make_conditional(network, width + part, gain, bias=True):
            if isinstance(norm, FreeNorm):
                nn.init.normal_(norm.scale.weight, 0, SPREAD)
                nn.init.normal_(norm.shift.weight, 0, SPREAD)
                nn.init.ones_(norm.scale.bias)
                nn.init.zeros_(norm.shift.bias)

    def forward(self, *inputs: Tensor, condition: Tensor) -> Tensor:
        z = inputs[0]
        embedded = self.embedding(label_code(condition, self.classes).to(z.dtype))
        stages, later = conditional_norms(self.network), self.parts - 1
        first = z.shape[1] - later * self.part
        for index, norm in enumerate(stages):
            stage = index * later // len(stages)
            start = first + stage * self.part
            norm.code = torch.cat((embedded, z[:, start : start + self.part]), 1) if self.part else embedded
        x: Tensor = self.network(z[:, :first], *inputs[1:])
        for norm in stages:
            del norm.code
        return x


@register("condition", "shared")
class SharedEmbedding(Projection):
    """Projection with BigGAN's shared embedding and hierarchical z in the generator."""

    def __init__(self, *, width: int = WIDTH) -> None:
        if width < 1:
            raise ValueError(f"width={width} must be at least 1: it is the size of the shared embedding")
        self.width = width

    def generator(self, family: Family, role: str, spec: Spec, inputs: Ports, outputs: Ports) -> nn.Module:
        classes, state = int(spec.classes or 0), torch.get_rng_state()
        size, count = inputs[0].shape[0], len(list(normalizations(family.make(role, inputs=inputs, outputs=outputs))))
        torch.set_rng_state(state)
        if count:
            parts = min(PARTS, count + 1)
            part = size // parts if inputs[0].kind == "code" else 0
            first = replace(inputs[0], shape=(size - (parts - 1) * part, *inputs[0].shape[1:]))
            network = family.make(role, inputs=(first, *inputs[1:]), outputs=outputs)
            return Shared(network, classes, part, parts, self.gain, self.width)
        return Concatenated(family.make(role, inputs=widened(inputs, classes), outputs=outputs), classes)
