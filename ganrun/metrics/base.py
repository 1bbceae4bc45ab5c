"""What every metric and every feature extractor states of itself.

A metric is told of the data (``bind``), fed two samples (``update``), one real and one generated, and asked for its
values (``compute``). Features and logits are extracted once, for all metrics that read them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from ganrun.ground.spec import Batch, Spec
from ganrun.ground.traits import Rule

Found = TypeVar("Found")
IMAGES = {"dataset.image": Rule("it reads features of images, and these are none", "metric=log_density")}


class Data(Protocol):
    """What metrics and extractors may ask of a data set."""

    spec: Spec

    def __len__(self) -> int: ...

    def batch(self, indices: Tensor, device: torch.device | str = "cpu") -> Batch: ...

    def expect(self, indices: Tensor) -> None: ...

    def held_out(self) -> Data | None: ...

    @property
    def judged(self) -> Data: ...

    @property
    def class_columns(self) -> tuple[int, ...] | None: ...

    def fingerprint(self) -> str: ...


@dataclass
class Sample:
    """A set of real or generated samples, with what was extracted from them: what no metric reads is None.

    ``x`` float32 on the CPU, of shape (n, *spec.shape); ``features`` (n, d); ``logits`` (n, classes);
    ``labels`` int64 (n,), of generated samples the classes that were asked for. Where a metric takes features, and the data are
    no images, it finds ``x``.
    """

    x: Tensor | None = None
    features: Tensor | None = None
    logits: Tensor | None = None
    labels: Tensor | None = None
    _found: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def once(self, what: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What ``make`` computes of this sample alone, plain values and tensors, computed once as long as it lives."""
        if what not in self._found:
            self._found[what] = make()
        found: dict[str, Any] = self._found[what]
        return found


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
    published: bool = False  # whether its scores have a known scale and are known to order images rightly

    def prepare(self, dataset: Data, device: torch.device, say: Callable[[str], None]) -> None:
        """Load or train what is needed for ``dataset``; ``say`` takes a line for the person. Ends in eval mode on ``device``."""
        self.requires_grad_(False).eval().to(device)

    def card(self) -> Mapping[str, Any]:
        raise NotImplementedError


class Sandbox(Protocol):
    """The players of a run, and a stage to try them on: all that is tried happens to copies."""

    @property
    def judges(self) -> Mapping[str, nn.Module]:
        """The networks that give scores, by role, as they stand: to be looked at and left alone."""

    def improved(self, side: str, *, steps: int, lr: float, batch_size: int) -> Sandbox:
        """Another sandbox, in which the players of ``side`` have been trained for ``steps`` steps of Adam against the rest."""

    @property
    def heads(self) -> Mapping[str, nn.Module]:
        """Those of the ``judges`` that see a sample alone and name its class, in the head ``classes``."""

    def class_logits(self, x: Tensor) -> Tensor:
        """The class head of the first of ``heads``, in evaluation mode, at ``x`` (n, *spec.shape): float32 (n, classes)."""

    def size(self, most: int) -> int:
        """The largest batch of at most ``most`` samples that the game can play with; ``BadInput`` where there is none."""

    def values(self, *, batches: int, batch_size: int) -> Tensor:
        """Minus the discriminators' loss, penalties aside, on each of ``batches`` batches, the same at each call: (batches,)."""


@dataclass(frozen=True)
class Stage:
    """What a metric may ask for beside the two samples.

    ``split("train")`` and ``split("held_out")`` give that real data, or None where nothing is held out, with what
    ``extracts`` names; ``sandbox`` is None where no generator is scored; ``scored``: what the samples are, "generated",
    a split or "noise". ``once`` gives what several metrics compute from the same two samples, computed once.
    """

    split: Callable[[str], Sample | None]
    sandbox: Sandbox | None = None
    scored: str = "generated"
    _found: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def once(self, what: str, make: Callable[[], Found]) -> Found:
        if what not in self._found:
            self._found[what] = make()
        found: Found = self._found[what]
        return found


class Score(Metric):
    """A torchmetrics metric over a ``Sample`` of real and one of generated data.

    ``extracts`` names what it reads: of a sample "x", "features", "logits", "labels"; of the run "networks". What it also
    takes where there is any is in ``welcomes``. ``traits``, ``needs`` and ``refuses`` are matched with the data before
    training. ``update(sample, *, real)`` adds samples; ``compute()`` returns ``{name: value}`` and never touches torch's
    global random generator. ``directions`` says of each of these names whether higher is better (True), lower is (False) or
    neither (None); the first is what a sweep looks at where nothing else is chosen. ``tells`` names what some of them are
    meant to see, "fidelity" or "diversity": whether they do is tried on spoilt images where the extractor is not a published
    one. ``compute`` may set three things beside: ``spreads``, ``{name: standard deviation of the value}``, made as the card's
    "std" says; ``remarks``, sentences that a reader of the score must see (a sample smaller than the feature dimension, say);
    ``missing``, why there is no value.
    """

    full_state_update = False
    extracts: frozenset[str] = frozenset()
    welcomes: frozenset[str] = frozenset()
    traits: frozenset[str] = frozenset()
    needs: ClassVar[Mapping[str, Rule]] = {}
    refuses: ClassVar[Mapping[str, Rule]] = {}
    directions: Mapping[str, bool | None] = {}
    tells: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    remarks: tuple[str, ...] = ()
    spreads: Mapping[str, float] = {}
    missing: str = ""

    def __init__(self) -> None:
        super().__init__(sync_on_compute=False)  # one process scores: waiting for others would wait for ever

    @property
    def higher_is_better(self) -> bool | None:  # type: ignore[override]
        """Of the first value: torchmetrics' word for ``directions``."""
        return next(iter(self.directions.values()), None)

    def fewest(self) -> tuple[int, int]:
        """The fewest samples that it computes from: (real, generated)."""
        return 0, 1

    def verify(self, dataset: Data) -> None:
        """Raise ``BadInput`` for options that this data does not allow; called before training."""

    def dry_run(self, sandbox: Sandbox) -> None:
        """Raise ``BadInput`` where the networks of this run do not allow what it does; called before training."""

    def lacks(self, dataset: Data, classes: int | None) -> str:
        """Why there will be no value, known before training; "" where there will be one. ``classes``: how many the extractor
        tells apart, None for none."""
        return ""

    def bind(self, dataset: Any) -> None:
        """Take from the data set what the metric is measured against; called before the updates."""

    def enter(self, stage: Stage) -> None:
        """Take from the stage what the metric needs beside the two samples; called after ``bind``, before the updates."""

    def card(self) -> dict[str, Any]:
        """Options and conventions without which the values cannot be compared."""
        return {}


@dataclass
class Result:
    """One evaluated metric: its values, or why it has none, and the card that makes them comparable.

    ``spreads`` holds the standard deviations of those values that have one. ``failed``: an error is why there is none.
    """

    values: dict[str, float]
    card: dict[str, Any]
    missing: str = ""
    remarks: list[str] = field(default_factory=list)
    spreads: dict[str, float] = field(default_factory=dict)
    failed: bool = False


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
