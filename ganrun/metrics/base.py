"""What every metric and every feature extractor states of itself.

A metric is told of the data (``bind``), fed two samples (``update``), one real and one generated, and asked for its
values (``compute``). Features and logits are extracted once, for all metrics that read them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from ganrun.ground.spec import Batch, Spec
from ganrun.ground.traits import Rule


class Data(Protocol):
    """What metrics and extractors may ask of a data set."""

    spec: Spec

    def __len__(self) -> int: ...

    def batch(self, indices: Tensor, device: torch.device | str = "cpu") -> Batch: ...

    def expect(self, indices: Tensor) -> None: ...

    def held_out(self) -> Data | None: ...

    def fingerprint(self) -> str: ...


@dataclass
class Sample:
    """A set of real or generated samples, with what was extracted from them: what no metric reads is None.

    ``x`` float32 on the CPU, of shape (n, *spec.shape); ``features`` (n, d); ``logits`` (n, classes).
    """

    x: Tensor | None = None
    features: Tensor | None = None
    logits: Tensor | None = None


class Extractor(nn.Module):
    """Turns images into features, and into class logits where it has classes.

    ``prepare`` comes before all else. ``forward`` takes uint8 images of shape (n, channels, height, width) of any size
    and returns ``(features, logits or None)``. ``card`` names it and holds the hash of its weights and its resize rule:
    scores of unlike extractors never compare. Nothing here touches torch's global random generator.
    """

    name: str
    num_features: int
    has_logits: bool
    why_no_logits: str = ""

    def prepare(self, dataset: Data, device: torch.device, say: Callable[[str], None]) -> None:
        """Load or train what is needed for ``dataset``; ``say`` takes a line for the person. Ends in eval mode on ``device``."""
        self.requires_grad_(False).eval().to(device)

    def card(self) -> Mapping[str, Any]:
        raise NotImplementedError


class Score(Metric):
    """A torchmetrics metric over a ``Sample`` of real and one of generated data.

    ``extracts`` names what it reads of a sample: of "x", "features", "logits". ``traits``, ``needs`` and ``refuses`` are
    matched with the data before training. ``update(sample, *, real)`` adds samples; ``compute()`` returns
    ``{name: value}`` and never touches torch's global random generator; ``remarks``, set by ``compute``, are sentences
    that a reader of the score must see (a sample smaller than the feature dimension, say).
    """

    full_state_update = False
    extracts: frozenset[str] = frozenset()
    traits: frozenset[str] = frozenset()
    needs: ClassVar[Mapping[str, Rule]] = {}
    refuses: ClassVar[Mapping[str, Rule]] = {}
    remarks: tuple[str, ...] = ()

    def __init__(self) -> None:
        super().__init__(sync_on_compute=False)  # one process scores: waiting for others would wait for ever

    def bind(self, dataset: Any) -> None:
        """Take from the data set what the metric is measured against; called before the updates."""

    def card(self) -> dict[str, Any]:
        """Options and conventions without which the values cannot be compared."""
        return {}


@dataclass
class Result:
    """One evaluated metric: its values, or why it has none, and the card that makes them comparable."""

    values: dict[str, float]
    card: dict[str, Any]
    missing: str = ""
    remarks: list[str] = field(default_factory=list)


@contextlib.contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """No autocast and no TF32: the same features on every device, as nearly as the device can."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def in_chunks(module: Extractor, pixels: Tensor, size: int, device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Extract uint8 ``pixels`` in chunks of ``size``: features (n, d) and logits (n, classes) or None, on the CPU."""
    features, logits = [], []
    with torch.inference_mode(), full_precision(device):
        for chunk in pixels.split(size):
            found, classes = module(chunk.to(device))
            features.append(found.float().cpu())
            if classes is not None:
                logits.append(classes.float().cpu())
    return torch.cat(features), torch.cat(logits) if logits else None
