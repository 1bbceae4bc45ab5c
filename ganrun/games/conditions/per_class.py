"""One GAN a class: every player is one network for each class, and each class plays with its own samples only.

All are trained together, on equally many samples of each class; sampled as a mixture with the labels' own frequencies. The
remedy for mode collapse by construction, at as many times the weights. As independent GANs of Goodfellow et al. 2014.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ganrun.data.base import Dataset, Subset
from ganrun.games.choosing import EachForAll
from ganrun.games.conditions.base import LABELLED, Condition, Ports
from ganrun.games.heads import NOT_PACKED
from ganrun.ground.errors import BadInput
from ganrun.ground.registry import register
from ganrun.ground.spec import Batch, DiscriminatorOutput, Spec
from ganrun.ground.turn import Turn
from ganrun.networks.base import Family


class Routed(nn.Module):
    """One network a class; each sample goes through that of its label."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.num_features = getattr(networks[0], "num_features", 0)

    def forward(self, *inputs: Tensor, condition: Tensor) -> Tensor | DiscriminatorOutput:
        places = [torch.nonzero(condition == label).flatten() for label in range(len(self.networks))]
        found = [
            _alone(network, inputs, rows) if len(rows) == 1 else network(*(entry[rows] for entry in inputs))
            for network, rows in zip(self.networks, places, strict=True)
            if len(rows)
        ]
        back = torch.cat(places).argsort()
        samples = [entry for entry in found if isinstance(entry, Tensor)]
        if samples:
            return torch.cat(samples)[back]
        return joined([entry for entry in found if isinstance(entry, DiscriminatorOutput)]).rows(back)

    def traceable(self) -> nn.Module:
        """The same function of a generator, for exporters."""
        return EachForAll(list(self.networks), "condition")


def _alone(network: nn.Module, inputs: tuple[Tensor, ...], rows: Tensor) -> Tensor | DiscriminatorOutput:
    """One sample, seen twice: alone it could not be normalized as a batch."""
    found = network(*(entry[rows.repeat(2)] for entry in inputs))
    return found[:1] if isinstance(found, Tensor) else found.rows(slice(1))


def joined(outputs: Sequence[DiscriminatorOutput]) -> DiscriminatorOutput:
    """The rows of several outputs, one after the other."""
    features = [entry.features for entry in outputs if entry.features is not None]
    return DiscriminatorOutput(
        torch.cat([entry.score for entry in outputs]),
        torch.cat(features) if features else None,
        {name: torch.cat([entry.heads[name] for entry in outputs]) for name in outputs[0].heads},
    )


@register("condition", "per_class")
class PerClass(Condition):
    """A generator and a discriminator of its own for each class."""

    uses_labels = True
    mixes = False
    needs = LABELLED
    refuses = {"game.packed": NOT_PACKED}

    def generator(self, family: Family, role: str, spec: Spec, inputs: Ports, outputs: Ports) -> nn.Module:
        return Routed([family.make(role, inputs=inputs, outputs=outputs) for _ in range(int(spec.classes or 0))])

    def discriminator(self, family: Family, role: str, spec: Spec, inputs: Ports, outputs: Ports, pack: int) -> nn.Module:
        return Routed([family.make(role, inputs=inputs, outputs=outputs) for _ in range(int(spec.classes or 0))])

    def streams(self, dataset: Dataset, stream: str = "data") -> dict[str, Dataset]:
        labels = all_labels(dataset)
        found: dict[str, Dataset] = {}
        for label in range(int(dataset.spec.classes or 0)):
            rows = torch.nonzero(labels == label).flatten()
            if not len(rows):
                raise BadInput(f"condition=per_class: class {label} of the data set has no sample to train on")
            found[_supply(stream, label)] = Subset(dataset, rows)
        self.classes = len(found)
        return found

    def check_batch(self, size: int, spec: Spec) -> None:
        if size < 2 * int(spec.classes or 0):
            raise BadInput(
                f"batch_size={size} (of a micro-batch): condition=per_class trains {spec.classes} classes on at least two "
                f"samples each. Try batch_size={2 * int(spec.classes or 0)}"
            )

    def real(self, turn: Turn, stream: str = "data") -> Batch:
        batches = [turn.real(turn.batch_size // self.classes, _supply(stream, label)) for label in range(self.classes)]
        labels = torch.cat([torch.full((len(batch.x),), label, device=batch.x.device) for label, batch in enumerate(batches)])
        sources = [batch.source for batch in batches if batch.source is not None]
        return Batch(torch.cat([batch.x for batch in batches]), labels, torch.cat(sources) if sources else None)


def _supply(stream: str, label: int) -> str:
    return f"class_{label}" if stream == "data" else f"{stream}_class_{label}"


def all_labels(dataset: Dataset) -> Tensor:
    """Every label of a labelled data set, in order: int64 of shape (len,)."""
    pieces = [dataset.batch(rows).y for rows in torch.arange(len(dataset)).split(4096)]
    return torch.cat([piece for piece in pieces if piece is not None])
