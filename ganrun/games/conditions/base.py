"""What a condition is, and the label's code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from ganrun.data.base import Dataset
from ganrun.ground.duel import Duel
from ganrun.ground.spec import Batch, DiscriminatorOutput, Port, Spec
from ganrun.ground.traits import Rule
from ganrun.ground.turn import Turn
from ganrun.losses.base import Loss
from ganrun.networks.base import Family

GAINS = ("offset", "free")
Terms = dict[str, Tensor]
Ports = tuple[Port, ...]

LABELLED = {
    "dataset.labelled": Rule("a class condition needs labels, and this data set has none", "condition=none"),
}


class Condition:
    """Makes players that know the label, or not, and adds what it wants to the objectives.

    ``make`` wraps what the family makes; a wrapped player takes ``condition=``, labels int64 of shape (n,), or (n, pack)
    where ``pack`` samples are judged as one. Encoders never see the label.
    """

    gain: str = GAINS[0]  # how conditional normalizations read the label: the game's option
    uses_labels = False
    mixes = True  # where labels are used: the generator takes codes between and beyond the one-hot ones, too
    judges_labels = True  # where labels are used: the discriminator is told them, and so cannot be asked for them
    traits: frozenset[str] = frozenset()
    needs: Mapping[str, Rule] = {}
    refuses: Mapping[str, Rule] = {}

    def make(self, family: Family, role: str, spec: Spec, *, inputs: Ports, outputs: Ports, pack: int = 1) -> nn.Module:
        """The player of ``role``. ``inputs`` of a discriminator are already those of a pack."""
        if outputs[0].kind == "data":
            return self.generator(family, role, spec, inputs, outputs)
        if outputs[0].kind == "score":
            return self.discriminator(family, role, spec, inputs, outputs, pack)
        return family.make(role, inputs=inputs, outputs=outputs)

    def generator(self, family: Family, role: str, spec: Spec, inputs: Ports, outputs: Ports) -> nn.Module:
        return family.make(role, inputs=inputs, outputs=outputs)

    def discriminator(self, family: Family, role: str, spec: Spec, inputs: Ports, outputs: Ports, pack: int) -> nn.Module:
        return family.make(role, inputs=inputs, outputs=outputs)

    def streams(self, dataset: Dataset, stream: str = "data") -> dict[str, Dataset]:
        """Further supplies of real samples, by name, in place of the supply ``stream``, which is ``dataset``."""
        return {}

    def real(self, turn: Turn, stream: str = "data") -> Batch:
        """The real batch of a turn, from the supply ``stream``."""
        return turn.real(stream=stream)

    def check_batch(self, size: int, spec: Spec) -> None:
        """Raise ``BadInput`` if batches of ``size`` samples cannot be."""

    def objective(self, loss: Loss, duel: Duel, turn: Turn, side: str) -> Terms:
        """The terms of one side of a duel, penalties aside."""
        return {"loss": loss.d(duel) if side == "discriminator" else loss.g(duel)}


class Concatenated(nn.Module):
    """A network whose first input is joined by the label's one-hot code: as channels of an image, as numbers of a vector."""

    def __init__(self, network: nn.Module, classes: int) -> None:
        super().__init__()
        self.network, self.classes = network, classes
        self.num_features = getattr(network, "num_features", 0)

    def forward(self, *inputs: Tensor, condition: Tensor) -> Tensor | DiscriminatorOutput:
        first = inputs[0]
        code = label_code(condition, self.classes).to(first.dtype)
        if first.ndim == 4:
            code = code[:, :, None, None].expand(-1, -1, *first.shape[2:])
        if first.ndim == 3:
            code = code[:, None, :].expand(-1, first.shape[1], -1)
            return self.network(torch.cat((first, code), 2), *inputs[1:])
        return self.network(torch.cat((first, code), 1), *inputs[1:])


def label_code(labels: Tensor, classes: int) -> Tensor:
    """One-hot codes: labels int64 (n,) or (n, pack) to int64 (n, pack * classes); codes, float (n, classes), as they are."""
    if labels.is_floating_point():
        return labels
    return one_hot(labels, classes).flatten(1)


def widened(ports: Ports, numbers: int) -> Ports:
    """``ports`` with ``numbers`` more in the first: channels of an image, entries of a vector or of each row of tokens."""
    shape = ports[0].shape
    more = (*shape[:-1], shape[-1] + numbers) if len(shape) == 2 else (shape[0] + numbers, *shape[1:])
    return (replace(ports[0], shape=more), *ports[1:])
