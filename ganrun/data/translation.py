"""Data for translation: samples with the sources that belong to them, or beside a data set of sources that do not."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import torch
from torch import Tensor

from ganrun.data.base import Dataset
from ganrun.data.jitter import Jitter
from ganrun.ground.errors import BadInput
from ganrun.ground.spec import Batch


class Translation(Dataset):
    """Targets, which are the samples of this data set, and a data set of sources; both hold something out, or neither does.

    A batch is one of targets; ``sources()`` gives the other side. The fingerprint is of both.
    """

    kind = "dataset.unpaired"

    def __init__(self, targets: Dataset, sources: Dataset) -> None:
        if targets.spec.kind == "image" and targets.spec.shape[1:] != sources.spec.shape[1:]:
            raise BadInput(f"sources of {sources.spec.shape[1:]} pixels do not become images of {targets.spec.shape[1:]}")
        self.targets, self._sources = targets, sources
        self.spec = replace(targets.spec, source=sources.spec.shape)
        self.class_names, self.labels = targets.class_names, targets.labels
        self.notes = (*targets.notes, *(f"sources: {note}" for note in sources.notes))
        self.remarks = (*targets.remarks, *(f"sources: {remark}" for remark in sources.remarks))
        held, held_sources = targets.held_out(), sources.held_out()
        self._held_out = None if held is None or held_sources is None else type(self)(held, held_sources)

    @property
    def traits(self) -> frozenset[str]:
        return self.targets.traits | {self.kind}

    def __len__(self) -> int:
        return len(self.targets)

    def batch(self, indices: Tensor, device: torch.device | str = "cpu") -> Batch:
        return self.targets.batch(indices, device)

    def expect(self, indices: Tensor) -> None:
        self.targets.expect(indices)

    def held_out(self) -> Translation | None:
        return self._held_out

    def sources(self) -> Dataset:
        return self._sources

    def fitted(self, size: int) -> Translation:
        made = type(self)(self.targets.fitted(size), self._sources.fitted(size))
        made.change = self.change
        return made

    def jittered(self, change: Jitter | None) -> Translation:
        """The same, whose batches to train on are changed by ``change``; of an unpaired set, those of either side."""
        self.change = self._sources.change = change
        return self

    def fingerprint(self) -> str:
        both = f"{self.kind} {self.targets.fingerprint()} {self._sources.fingerprint()}"
        return hashlib.sha256(both.encode()).hexdigest()


class Paired(Translation):
    """Sample i of the targets belongs to sample i of the sources. Taken apart they are unpaired data as well."""

    kind = "dataset.paired"

    def __init__(self, targets: Dataset, sources: Dataset) -> None:
        if len(targets) != len(sources):
            raise BadInput(f"{len(targets)} targets and {len(sources)} sources are not pairs")
        super().__init__(targets, sources)

    @property
    def traits(self) -> frozenset[str]:
        return super().traits | {Translation.kind}

    def batch(self, indices: Tensor, device: torch.device | str = "cpu") -> Batch:
        found = self.targets.batch(indices, device)
        return replace(found, source=self._sources.batch(indices, device).x)

    def expect(self, indices: Tensor) -> None:
        self.targets.expect(indices)
        self._sources.expect(indices)
