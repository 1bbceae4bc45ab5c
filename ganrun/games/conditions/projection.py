"""Projection discriminator and conditional normalization (Miyato and Koyama 2018, "cGANs with Projection Discriminator").

D: s(x, y) = psi(phi(x)) + <V y, phi(x)>, phi the features before the score, V an embedding of the label.
G: every normalization's gain and shift become those of the label, 1 + A y and B y (conditional batch normalization, Dumoulin et
al. 2017), where A and B start at N(0, 0.02), so that gains start near one; a generator without normalization gets the
label's code beside z instead. A and B are no weight matrices of the network: see ``ganrun/ground/matrices.py``.

``game.gain=free`` is for runs from before there was the choice: the gain is A y, A starts at one, and whatever acts on
weight matrices acts on A and B too. Spectral normalization then shrinks all gains to a few hundredths.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ganrun.games.conditions.base import GAINS, LABELLED, Concatenated, Condition, Ports, label_code, widened
from ganrun.ground.matrices import Embedding, Modulation
from ganrun.ground.registry import register
from ganrun.ground.spec import DiscriminatorOutput, Spec
from ganrun.ground.traits import FEATURES_NEEDED
from ganrun.networks.base import Family

SPREAD = 0.02  # of gains and shifts at the start


class Projected(nn.Module):
    """A discriminator whose score gains the inner product of its features with the label's embedding."""

    def __init__(self, network: nn.Module, classes: int, pack: int, kind: type[nn.Linear] = Embedding) -> None:
        super().__init__()
        self.network, self.classes = network, classes
        self.num_features: int = getattr(network, "num_features", 0)
        self.embedding = kind(classes * pack, self.num_features, bias=False)

    def forward(self, *inputs: Tensor, condition: Tensor) -> DiscriminatorOutput:
        output: DiscriminatorOutput = self.network(*inputs)
        assert output.features is not None
        embedded = self.embedding(label_code(condition, self.classes).to(output.features.dtype))
        product = (embedded * output.features).sum(1)
        output.score = output.score + product.view(-1, *[1] * (output.score.ndim - 1))
        return output


class ConditionalNorm(nn.Module):
    """A normalization times 1 + ``gain(code)`` plus ``shift(code)``; ``code`` is there during the pass alone.

    ``code``: (n, size); maps are (n, channels, ...).
    """

    code: Tensor

    def __init__(self, norm: nn.Module, channels: int, size: int) -> None:
        super().__init__()
        self.norm = norm
        self.gain: nn.Linear = Modulation(size, channels, bias=False)
        self.shift: nn.Linear = Modulation(size, channels, bias=False)
        for layer in (self.gain, self.shift):
            nn.init.normal_(layer.weight, 0, SPREAD)

    def factor(self, code: Tensor) -> Tensor:
        """What the normalized maps are multiplied by: (n, channels)."""
        return 1 + torch.as_tensor(self.gain(code))

    def forward(self, x: Tensor) -> Tensor:
        code, spread = self.code.to(x.dtype), (..., *[None] * (x.ndim - 2))
        normal: Tensor = self.norm(x)
        return normal * self.factor(code)[spread] + self.shift(code)[spread]


class FreeNorm(ConditionalNorm):
    """The same with the gain ``scale(code)``, two layers like any other: that of ``game.gain=free``."""

    def __init__(self, norm: nn.Module, channels: int, size: int, *, bias: bool) -> None:
        nn.Module.__init__(self)
        self.norm = norm
        self.scale = nn.Linear(size, channels, bias=bias)
        self.shift = nn.Linear(size, channels, bias=bias)

    def factor(self, code: Tensor) -> Tensor:
        return torch.as_tensor(self.scale(code))


class Conditioned(nn.Module):
    """A generator all of whose normalizations are conditional."""

    def __init__(self, network: nn.Module, classes: int, gain: str = GAINS[0]) -> None:
        super().__init__()
        self.network, self.classes = network, classes
        for norm in make_conditional(network, classes, gain):
            if isinstance(norm, FreeNorm):
                nn.init.ones_(norm.scale.weight)
                nn.init.normal_(norm.shift.weight, 0, SPREAD)

    def forward(self, *inputs: Tensor, condition: Tensor) -> Tensor:
        code = label_code(condition, self.classes)
        stages = conditional_norms(self.network)
        for norm in stages:
            norm.code = code
        x: Tensor = self.network(*inputs)
        for norm in stages:
            del norm.code
        return x


def conditional_norms(network: nn.Module) -> list[ConditionalNorm]:
    """Those that ``make_conditional`` made, in the order of the network."""
    return [module for module in network.modules() if isinstance(module, ConditionalNorm)]


def normalizations(network: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    """(parent, name, module) of every normalization with a scale of its own, in the order of the network."""
    for parent in list(network.modules()):
        for name, module in list(parent.named_children()):
            if hasattr(module, "num_channels") or hasattr(module, "num_features") or isinstance(module, nn.LayerNorm):
                weight = getattr(module, "weight", None)
                if isinstance(weight, nn.Parameter) and weight.ndim == 1:
                    yield parent, name, module


def make_conditional(network: nn.Module, size: int, gain: str, *, bias: bool = False) -> list[ConditionalNorm]:
    """Replace every normalization of ``network`` by one whose gain and shift follow a code of ``size`` numbers.

    ``gain``: one of ``GAINS``. ``bias``: of a free one's layers.
    """
    found = []
    for parent, name, module in normalizations(network):
        channels = len(module.weight)  # type: ignore[arg-type]
        module.weight, module.bias = None, None  # type: ignore[assignment]
        free = gain == "free"
        norm = FreeNorm(module, channels, size, bias=bias) if free else ConditionalNorm(module, channels, size)
        setattr(parent, name, norm)
        found.append(norm)
    return found


@register("condition", "projection")
class Projection(Condition):
    """Inner product with the label's embedding in D, conditional normalization in G."""

    uses_labels = True
    needs = LABELLED | FEATURES_NEEDED

    def generator(self, family: Family, role: str, spec: Spec, inputs: Ports, outputs: Ports) -> nn.Module:
        classes, state = int(spec.classes or 0), torch.get_rng_state()
        network = family.make(role, inputs=inputs, outputs=outputs)
        if any(normalizations(network)):
            return Conditioned(network, classes, self.gain)
        torch.set_rng_state(state)
        return Concatenated(family.make(role, inputs=widened(inputs, classes), outputs=outputs), classes)

    def discriminator(self, family: Family, role: str, spec: Spec, inputs: Ports, outputs: Ports, pack: int) -> nn.Module:
        kind = nn.Linear if self.gain == "free" else Embedding
        return Projected(family.make(role, inputs=inputs, outputs=outputs), int(spec.classes or 0), pack, kind)
