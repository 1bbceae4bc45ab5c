"""One shared class embedding and hierarchical z (Brock, Donahue and Simonyan 2019, BigGAN), with the projection discriminator.

G: z is cut into parts; the first enters the network, and part i joins the embedding e(y) of 128 numbers, which all layers
share, in the normalizations of stage i: scale = 1 + A [e(y), z_i], shift = B [e(y), z_i]. D: as ``projection``.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from ganrun.games.conditions.base import Concatenated, Ports, label_code, widened
from ganrun.games.conditions.projection import ConditionalNorm, Projection, make_conditional, normalizations
from ganrun.ground.registry import register
from ganrun.ground.spec import Spec
from ganrun.networks.base import Family

WIDTH = 128  # of the shared embedding
PARTS = 4  # of z, where it has as many numbers


class Shared(nn.Module):
    """A generator whose normalizations read a shared embedding of the label and a part of z each."""

    def __init__(self, network: nn.Module, classes: int, part: int) -> None:
        super().__init__()
        self.network, self.classes, self.part = network, classes, part
        self.embedding = nn.Linear(classes, WIDTH, bias=False)
        for norm in make_conditional(network, WIDTH + part, bias=True):
            nn.init.normal_(norm.scale.weight, 0, 0.02)
            nn.init.normal_(norm.shift.weight, 0, 0.02)
            nn.init.ones_(norm.scale.bias)
            nn.init.zeros_(norm.shift.bias)

    def forward(self, *inputs: Tensor, condition: Tensor) -> Tensor:
        z = inputs[0]
        embedded = self.embedding(label_code(condition, self.classes).to(z.dtype))
        stages = [module for module in self.network.modules() if isinstance(module, ConditionalNorm)]
        first = z.shape[1] - (PARTS - 1) * self.part
        for index, norm in enumerate(stages):
            stage = index * (PARTS - 1) // len(stages)
            start = first + stage * self.part
            norm.code = torch.cat((embedded, z[:, start : start + self.part]), 1) if self.part else embedded
        x: Tensor = self.network(z[:, :first], *inputs[1:])
        return x


@register("condition", "shared")
class SharedEmbedding(Projection):
    """Projection with BigGAN's shared embedding and hierarchical z in the generator."""

    def generator(self, family: Family, role: str, spec: Spec, inputs: Ports, outputs: Ports) -> nn.Module:
        classes, state = int(spec.classes or 0), torch.get_rng_state()
        size = inputs[0].shape[0]
        part = size // PARTS if inputs[0].kind == "code" else 0
        first = replace(inputs[0], shape=(size - (PARTS - 1) * part, *inputs[0].shape[1:]))
        network = family.make(role, inputs=(first, *inputs[1:]), outputs=outputs)
        if any(normalizations(network)):
            return Shared(network, classes, part)
        torch.set_rng_state(state)
        return Concatenated(family.make(role, inputs=widened(inputs, classes), outputs=outputs), classes)
