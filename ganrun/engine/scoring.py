"""Scores with their cards: generated samples against a data set, and what real data and noise read by the same measure.

Images are rounded to bytes before anything is extracted, as the real ones are. Extraction happens once for all metrics, and
for real data once in a process: the extractor and the real features are kept as long as the data set lives. Importing this
module imports torchmetrics; nothing else in the engine does.
"""

from __future__ import annotations

import importlib.metadata
import itertools
import platform
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ganrun.data.base import Dataset, to_pixels, to_range
from ganrun.ground import rng
from ganrun.ground.errors import BadInput, Diverged, suggestion
from ganrun.metrics.base import Extractor, Result, Sample, Score, in_chunks
from ganrun.metrics.choose import choose_extractor

MOST_GENERATED = 10_000  # where evaluation.num is null
MOST_REAL = 50_000  # real samples that a score compares with, as in the published protocol
SPLITS = ("train", "held_out")

Say = Callable[[str], None]


def on_stderr(line: str) -> None:
    """Show a line without touching what a command prints."""
    print(line, file=sys.stderr)


@dataclass(frozen=True)
class Bench:
    """What all scores of one evaluation share."""

    dataset: Dataset
    evaluation: Mapping[str, Any]
    device: torch.device
    extractor: Extractor | None
    reads: frozenset[str]

    def sample(self, x: Tensor) -> Sample:
        """``x`` float32 (n, *shape), as bytes and back if it is an image, with what the metrics read of it."""
        features = logits = None
        if self.dataset.spec.kind == "image":
            pixels = to_pixels(x)
            x = to_range(pixels)
            if self.extractor is not None:
                features, logits = in_chunks(self.extractor, pixels, self.evaluation["batch_size"], self.device)
        return Sample(x if "x" in self.reads else None, features, logits)


# what was made for a data set lives as long as it: {key: extractor or real sample}
_kept: weakref.WeakKeyDictionary[Dataset, dict[Any, Any]] = weakref.WeakKeyDictionary()


def score(
    metrics: Mapping[str, Score],
    generated: Tensor,
    dataset: Dataset,
    *,
    evaluation: Mapping[str, Any],
    device: torch.device | str = "cpu",
    say: Say = on_stderr,
) -> dict[str, Result]:
    """Every metric of ``generated`` (n, *dataset.spec.shape; images in [-1, 1]) against ``evaluation.reference``.

    ``evaluation`` is that part of the config; its ``average`` and ``seed`` go on the cards as what was done. A metric that
    the extractor has nothing for gets a ``Result`` that says why. Raises ``Diverged`` for NaN or Inf in ``generated``,
    ``BadInput`` for options that cannot be.
    """
    if tuple(generated.shape[1:]) != tuple(dataset.spec.shape):
        raise BadInput(
            f"samples of shape {tuple(generated.shape[1:])} cannot be scored against data of {tuple(dataset.spec.shape)}"
        )
    if not generated.isfinite().all():
        raise Diverged("the generated samples hold NaN or Inf: there is nothing to score")
    bench = _bench(metrics, dataset, evaluation, torch.device(device), say)
    split = _split(dataset, evaluation["reference"])
    real = _real(bench, split)
    fake = bench.sample(generated.detach().float().cpu())
    common = {
        "samples": len(generated),
        "reference": {**split.card(), "split": evaluation["reference"], "used": min(len(split), MOST_REAL)},
        "extractor": None if bench.extractor is None else dict(bench.extractor.card()),
        "quantised": "to bytes, rounded to the nearest" if dataset.spec.kind == "image" else "no",
        "average": bool(evaluation["average"]),
        "seed": evaluation["seed"],
        "versions": versions(),
    }
    return {name: _result(name, metric, bench, real, fake, common) for name, metric in metrics.items()}


def baselines(
    metrics: Mapping[str, Score],
    dataset: Dataset,
    *,
    num: int,
    evaluation: Mapping[str, Any],
    device: torch.device | str = "cpu",
    say: Say = on_stderr,
) -> dict[str, dict[str, Result]]:
    """The scores of real samples that are not the reference, and of uniform noise, at ``num`` samples where there are as many.

    The first row is ``held_out`` (``train`` where the held-out data is the reference); it is missing, and each of its results
    says so, where the data set holds nothing out. ``noise``: uniform bytes for images, uniform in the real sample's bounding
    box for points.
    """
    other = "train" if evaluation["reference"] == "held_out" else "held_out"
    plain = {**evaluation, "average": False}
    rows: dict[str, dict[str, Result]] = {}
    real = dataset if other == "train" else dataset.held_out()
    if real is None:
        why = "the data set holds nothing out"
        rows[other] = {name: Result({}, {"metric": name, "scored": "held-out real data"}, missing=why) for name in metrics}
    else:
        rows[other] = score(metrics, _draw(real, num, "baseline"), dataset, evaluation=plain, device=device, say=say)
    rows["noise"] = score(metrics, _noise(dataset, num, evaluation["seed"]), dataset, evaluation=plain, device=device, say=say)
    names = {"held_out": "held-out real data", "train": "real training data", "noise": "uniform noise"}
    for row, results in rows.items():
        for result in results.values():
            result.card["scored"] = names[row]
            if result.values and result.card["samples"] != num:
                result.remarks.append(f"N={result.card['samples']}, all there are, instead of {num}: FID and IS move with N")
    return rows


def default_num(evaluation: Mapping[str, Any], dataset: Dataset) -> int:
    """How many samples to generate: ``evaluation.num``, else as many as are held out (or in all), at most 10000."""
    num = evaluation["num"]
    if num is None:
        return min(len(dataset.held_out() or dataset), MOST_GENERATED)
    if not isinstance(num, int) or isinstance(num, bool) or num < 2:
        raise BadInput(f"evaluation.num={num}: must be a whole number from 2, or null")
    return num


def versions() -> dict[str, str]:
    """What the bits of a score depend on, beside what its card names."""
    found = {name: importlib.metadata.version(name) for name in ("ganrun", "torch", "torchmetrics")}
    return {**found, "python": platform.python_version()}


def _bench(
    metrics: Mapping[str, Score], dataset: Dataset, evaluation: Mapping[str, Any], device: torch.device, say: Say
) -> Bench:
    size = evaluation["batch_size"]
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise BadInput(f"evaluation.batch_size={size}: must be a whole number from 1")
    reads = frozenset[str]().union(*(metric.extracts for metric in metrics.values()))
    extractor = None
    if reads & {"features", "logits"} and dataset.spec.kind == "image":
        name, *files = asked = tuple(evaluation[key] for key in ("extractor", "weights", "weights_sha256"))
        kept = _kept.setdefault(dataset, {})
        if (asked, device) not in kept:
            options = dict(zip(("weights", "weights_sha256"), files, strict=True))
            kept[asked, device] = choose_extractor(name, dataset, device=device, say=say, **options)
        extractor = kept[asked, device]
    return Bench(dataset, evaluation, device, extractor, reads)


def _split(dataset: Dataset, name: str) -> Dataset:
    if name not in SPLITS:
        raise BadInput(f"evaluation.reference={name}: {suggestion(name, SPLITS)}")
    split = dataset if name == "train" else dataset.held_out()
    if split is None:
        raise BadInput(
            "evaluation.reference=held_out: the data set holds nothing out; evaluation.reference=train compares with all of it"
        )
    return split


def _real(bench: Bench, split: Dataset) -> Sample:
    """The reference sample, extracted at the first call for its data set, extractor and device."""
    kept = _kept.setdefault(split, {})
    key = (bench.extractor, bench.reads, bench.device)
    if key not in kept:
        rows = _choice(len(split), MOST_REAL, "reference")
        parts = [bench.sample(x) for x in _chunks(split, rows, bench.evaluation["batch_size"])]
        joined = ([getattr(part, name) for part in parts] for name in ("x", "features", "logits"))
        kept[key] = Sample(*(None if pieces[0] is None else torch.cat(pieces) for pieces in joined))
    return kept[key]


def _result(name: str, metric: Score, bench: Bench, real: Sample, fake: Sample, common: Mapping[str, Any]) -> Result:
    card = {"metric": name, **metric.card(), **common}
    if not metric.extracts & {"features", "logits"}:
        card["extractor"] = None
    elif bench.extractor is None:
        return Result({}, card, missing=f"{name} reads features of images, and these are {bench.dataset.spec.kind}")
    elif "logits" in metric.extracts and not bench.extractor.has_logits:
        return Result({}, card, missing=bench.extractor.why_no_logits)
    metric.reset()
    metric.bind(bench.dataset)
    metric.update(real, real=True)
    metric.update(fake, real=False)
    values = {key: float(value) for key, value in metric.compute().items()}
    card |= metric.card()  # what a metric knows only of its data
    metric.reset()
    return Result(values, card, remarks=list(metric.remarks))


def _choice(length: int, most: int, purpose: str) -> Tensor:
    """All of ``length`` indices, or ``most`` of them by a permutation that never changes."""
    if length <= most:
        return torch.arange(length)
    return torch.randperm(length, generator=rng.generator("scoring", purpose))[:most].sort().values


def _chunks(split: Dataset, rows: Tensor, size: int) -> Iterator[Tensor]:
    pieces = rows.split(size)
    for piece, coming in itertools.zip_longest(pieces, pieces[1:]):
        if coming is not None:
            split.expect(coming)
        yield split.batch(piece).x


def _draw(split: Dataset, num: int, purpose: str) -> Tensor:
    return torch.cat(list(_chunks(split, _choice(len(split), num, purpose), 1000)))


def _noise(dataset: Dataset, num: int, seed: int) -> Tensor:
    source = rng.generator(seed, "scoring", "noise")
    if dataset.spec.kind == "image":
        return to_range(torch.randint(0, 256, (num, *dataset.spec.shape), generator=source, dtype=torch.uint8))
    box = _draw(dataset, MOST_GENERATED, "noise")
    low, high = box.amin(0), box.amax(0)
    return low + (high - low) * torch.rand(num, *dataset.spec.shape, generator=source)
