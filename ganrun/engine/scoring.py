"""Scores with their cards: generated samples against a data set.

Images are rounded to bytes before anything is extracted, as the real ones are. Extraction happens once for all metrics, and
for real data once on a machine: features are kept on disk, and in memory as long as the data set lives. Importing this
module imports torchmetrics; nothing else in the engine does.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import itertools
import math
import platform
import sys
import traceback
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from ganrun.data.base import Dataset, to_pixels, to_range
from ganrun.ground import rng
from ganrun.ground.errors import BadInput, Diverged, GanrunError, suggestion
from ganrun.ground.spec import Batch
from ganrun.metrics import reference
from ganrun.metrics.base import Extractor, Result, Sample, Sandbox, Score, Stage, in_chunks
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
    say: Say

    def classes(self) -> int | None:
        """How many classes the extractor tells apart; None where it tells none."""
        if self.extractor is None or not self.extractor.has_logits:
            return None
        blank = torch.zeros(1, *self.dataset.spec.shape, dtype=torch.uint8)
        logits = in_chunks(self.extractor, blank, 1, self.device)[1]
        return None if logits is None else logits.shape[1]

    def split(self, name: str) -> Sample | None:
        """The real data of a split, extracted once; None for a held-out split that is not there."""
        split = self.dataset if name == "train" else self.dataset.held_out()
        return None if split is None else _real(self, split)

    def sample(self, x: Tensor, labels: Tensor | None = None) -> Sample:
        """``x`` float32 (n, *shape), as bytes and back if it is an image, with what the metrics read of it."""
        features = logits = None
        if self.dataset.spec.kind == "image":
            pixels = to_pixels(x)
            x = to_range(pixels)
            if self.extractor is not None:
                features, logits = in_chunks(self.extractor, pixels, self.evaluation["batch_size"], self.device)
        return Sample(x if "x" in self.reads else None, features, logits, labels if "labels" in self.reads else None)


# what was made for a data set lives as long as it: {key: extractor or real sample}
_kept: weakref.WeakKeyDictionary[Dataset, dict[Any, Any]] = weakref.WeakKeyDictionary()


def once(
    dataset: Dataset, purpose: str, metrics: Mapping[str, Score], settings: Mapping[str, Any], make: Callable[[], Any]
) -> Any:
    """What ``make`` gives, made once for these metrics, ``settings`` and data, which make it a function of them alone."""
    kept = _kept.setdefault(dataset, {})
    key = (purpose, tuple((name, id(metric)) for name, metric in metrics.items()), repr(sorted(settings.items())))
    if key not in kept:
        kept[key] = dict(metrics), make()  # the metrics live as long as the entry, so that no other has their identity
    return kept[key][1]


def score(
    metrics: Mapping[str, Score],
    generated: Tensor,
    dataset: Dataset,
    *,
    evaluation: Mapping[str, Any],
    device: torch.device | str = "cpu",
    say: Say = on_stderr,
    sandbox: Sandbox | None = None,
    labels: Tensor | None = None,
    scored: str = "generated",
) -> dict[str, Result]:
    """Every metric of ``generated`` (n, *dataset.spec.shape; images in [-1, 1]) against ``evaluation.reference``.

    ``evaluation`` is that part of the config; its ``average`` and ``seed`` go on the cards as what was done. A metric that
    the extractor has nothing for gets a ``Result`` that says why, and so does one of networks without a ``sandbox``, and one
    that fails: the others' values are kept. ``labels`` int64 (n,): the classes that were asked for; ``scored``: what the samples
    are, as metrics are told. Raises ``Diverged`` for NaN or Inf in ``generated``,
    ``BadInput`` for options that cannot be.
    """
    if tuple(generated.shape[1:]) != tuple(dataset.spec.shape):
        raise BadInput(
            f"samples of shape {tuple(generated.shape[1:])} cannot be scored against data of {tuple(dataset.spec.shape)}"
        )
    if not generated.isfinite().all():
        raise Diverged("the generated samples hold NaN or Inf: there is nothing to score")
    bench = bench_of(metrics, dataset, evaluation, torch.device(device), say)
    split = _split(dataset, evaluation["reference"])
    real = _real(bench, split)
    fake = bench.sample(generated.detach().float().cpu(), labels)
    common, stage = _common(bench, split, len(generated)), Stage(bench.split, sandbox, scored)
    return {name: _tried(name, metric, bench, stage, real, fake, common) for name, metric in metrics.items()}


def cards(
    metrics: Mapping[str, Score],
    dataset: Dataset,
    *,
    num: int,
    evaluation: Mapping[str, Any],
    device: torch.device | str = "cpu",
    say: Say = on_stderr,
) -> dict[str, dict[str, Any]]:
    """What the card of each metric would say of ``num`` samples, as far as that is known before there are any.

    What a metric knows only afterwards is None on its card until then. The extractor that ``score`` will use is made ready, so
    that what it lacks is known before training and not after.
    """
    bench = bench_of(metrics, dataset, evaluation, torch.device(device), say)
    split = _split(dataset, evaluation["reference"])
    common = _common(bench, split, num)
    found = {}
    for name, metric in metrics.items():
        metric.bind(dataset)
        found[name] = {key: entry for key, entry in _card(name, metric, common).items() if entry is not None or key in common}
    return found


def verify(metrics: Mapping[str, Score], dataset: Dataset, *, num: int, evaluation: Mapping[str, Any]) -> None:
    """Raise ``BadInput`` with all that keeps ``metrics`` from being computed from ``num`` samples: too few, options that the data
    does not allow. Known from the options alone, so before anything is trained."""
    split, found = _split(dataset, evaluation["reference"]), []
    typed = f"evaluation.num={evaluation['num']}" if evaluation["num"] is not None else f"evaluation.num=null, which makes {num}"
    for name, metric in metrics.items():
        try:
            metric.verify(dataset)
        except BadInput as error:
            found.append(str(error))
        real, generated = metric.fewest()
        if num < generated:
            cure = f"Try evaluation.num={generated}"
            found.append(f"metric={name}: needs at least {generated} generated samples, not {typed}. {cure}")
        if min(len(split), MOST_REAL) < real:
            where = f"evaluation.reference={evaluation['reference']} has {len(split)}"
            other = "held_out" if evaluation["reference"] == "train" else "train"
            found.append(f"metric={name}: needs at least {real} real samples, {where}. Try evaluation.reference={other}")
    if found:
        raise BadInput("\n".join(found))


def lacking(
    metrics: Mapping[str, Score], dataset: Dataset, *, evaluation: Mapping[str, Any], device: torch.device | str, say: Say
) -> dict[str, str]:
    """Of each metric that will have no value on this data by this extractor, why: {name: sentence}."""
    bench = bench_of(metrics, dataset, evaluation, torch.device(device), say)
    found = {name: _lacks(name, metric, bench) for name, metric in metrics.items()}
    return {name: why for name, why in found.items() if why}


def _lacks(name: str, metric: Score, bench: Bench) -> str:
    if metric.extracts & {"features", "logits"}:
        if bench.extractor is None:
            return f"{name} reads features of images, and these are {bench.dataset.spec.kind}"
        if "logits" in metric.extracts and not bench.extractor.has_logits:
            return bench.extractor.why_no_logits
    asks = type(metric).lacks is not Score.lacks and "logits" in metric.extracts | metric.welcomes
    return metric.lacks(bench.dataset, bench.classes() if asks else None)


def _common(bench: Bench, split: Dataset, count: int) -> dict[str, Any]:
    """The part of the cards that is the same for all metrics."""
    dataset, evaluation = bench.dataset, bench.evaluation
    return {
        "samples": count,
        "reference": {**split.card(), "split": evaluation["reference"], "used": min(len(split), MOST_REAL)},
        "extractor": None if bench.extractor is None else dict(bench.extractor.card()),
        "quantised": "to bytes, rounded to the nearest" if dataset.spec.kind == "image" else "no",
        "average": bool(evaluation["average"]),
        **({"standing": evaluation["standing"]} if evaluation.get("standing") else {}),
        "seed": evaluation["seed"],
        "versions": versions(),
    }


def _card(name: str, metric: Score, common: Mapping[str, Any]) -> dict[str, Any]:
    card = {"metric": name, **metric.card(), **common}
    if not (metric.extracts | metric.welcomes) & {"features", "logits"}:
        card["extractor"] = None
    return card


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


def bench_of(
    metrics: Mapping[str, Score],
    dataset: Dataset,
    evaluation: Mapping[str, Any],
    device: torch.device,
    say: Say,
) -> Bench:
    size = evaluation["batch_size"]
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise BadInput(f"evaluation.batch_size={size}: must be a whole number from 1")
    reads = frozenset[str]().union(*(metric.extracts | metric.welcomes for metric in metrics.values()))
    extractor = None
    if "features" in reads and dataset.spec.kind != "image":
        reads |= {"x"}
    if reads & {"features", "logits"} and dataset.spec.kind == "image":
        name, *files = asked = tuple(evaluation[key] for key in ("extractor", "weights", "weights_sha256"))
        kept = _kept.setdefault(dataset, {})
        if (asked, device) not in kept:
            options = dict(zip(("weights", "weights_sha256"), files, strict=True))
            kept[asked, device] = choose_extractor(name, dataset, device=device, say=say, **options)
        extractor = kept[asked, device]
    return Bench(dataset, evaluation, device, extractor, reads, say)


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
        kept[key] = _extracted(bench, split, rows) if bench.extractor is None else _looked_up(bench, bench.extractor, split, rows)
    found_sample: Sample = kept[key]
    return found_sample


def _looked_up(bench: Bench, extractor: Extractor, split: Dataset, rows: Tensor) -> Sample:
    """The real sample at ``rows``: of what is on disk, nothing is extracted, and only what is asked for is read."""
    size = bench.evaluation["batch_size"]
    name = reference.name_of(extractor, split.fingerprint(), rows, size, bench.device)
    found, held = None, dataclasses.replace(bench, extractor=None)
    if not reference.is_kept(name):
        reference.load(name, len(rows), bench.say)  # says that there is nothing
        held = bench  # one pass over the data, for all
    sample = _extracted(held, split, rows) if held is bench or "x" in bench.reads else Sample()
    if sample.features is not None:
        found = sample.features, sample.logits
        reference.keep(name, found, bench.say)
    elif "labels" in bench.reads:
        sample.labels = _labels(split, rows, size)

    # what is kept for a data set must not keep the data set
    owner, data, say = weakref.ref(bench.dataset), weakref.ref(split), bench.say
    shared = (bench.evaluation, bench.device, extractor)

    def make() -> tuple[Tensor, Tensor | None]:
        again = Bench(cast(Dataset, owner()), *shared, frozenset(), say)
        found = _extracted(again, cast(Dataset, data()), rows)
        return cast(Tensor, found.features), found.logits

    return reference.KeptSample(name, len(rows), make, bench.say, found, x=sample.x, labels=sample.labels)


def _extracted(bench: Bench, split: Dataset, rows: Tensor) -> Sample:
    """The real sample at ``rows``, with what the extractor of ``bench``, if it has one, finds in it."""
    parts = [bench.sample(batch.x, batch.y) for batch in _chunks(split, rows, bench.evaluation["batch_size"])]
    kinds = ("x", "features", "logits", "labels")
    held = {kind: [getattr(part, kind) for part in parts] for kind in kinds if getattr(parts[0], kind) is not None}
    found: dict[str, Any] = {kind: torch.cat(pieces) for kind, pieces in held.items()}
    return Sample(**found)


def _tried(name: str, metric: Score, bench: Bench, stage: Stage, real: Sample, fake: Sample, common: Mapping[str, Any]) -> Result:
    """``_result``, or what its failure leaves: hours of training must not lose the other scores."""
    try:
        return _result(name, metric, bench, stage, real, fake, common)
    except Exception as error:
        if not isinstance(error, GanrunError):
            bench.say(traceback.format_exc())
        metric.reset()
        said = str(error) if isinstance(error, GanrunError) else f"{type(error).__name__}: {error}"
        return Result({}, _card(name, metric, common), f"{name} failed: {' '.join(said.split())}", failed=True)


def _result(
    name: str, metric: Score, bench: Bench, stage: Stage, real: Sample, fake: Sample, common: Mapping[str, Any]
) -> Result:
    card = _card(name, metric, common)
    if why := _lacks(name, metric, bench):
        return Result({}, card, missing=why)
    if "networks" in metric.extracts and stage.sandbox is None:
        return Result({}, card, missing=f"{name} reads the networks of a run, and these samples come from none")
    metric.reset()
    metric.spreads, metric.remarks, metric.missing = {}, (), ""
    metric.bind(bench.dataset)
    metric.enter(stage)
    metric.update(real, real=True)
    metric.update(fake, real=False)
    found = {key: float(value) for key, value in metric.compute().items()}
    card |= metric.card()  # what a metric knows only of its data
    values = {key: value for key, value in found.items() if math.isfinite(value)}
    spreads = {key: float(value) for key, value in metric.spreads.items() if key in values and math.isfinite(value)}
    remarks = [*metric.remarks, *(f"{key} is {value}, which is no score" for key, value in found.items() if key not in values)]
    metric.reset()
    missing = metric.missing or ("" if values else f"{name} gave no finite value")
    return Result(values, card, missing, remarks, spreads)


def _choice(length: int, most: int, purpose: str) -> Tensor:
    """All of ``length`` indices, or ``most`` of them by a permutation that never changes."""
    if length <= most:
        return torch.arange(length)
    return torch.randperm(length, generator=rng.generator("scoring", purpose))[:most].sort().values


def _labels(split: Dataset, rows: Tensor, size: int) -> Tensor | None:
    """The labels at ``rows``, read with the samples only where they are not at hand."""
    if split.labels is not None:
        return split.labels[rows]
    found = [batch.y for batch in _chunks(split, rows, size) if batch.y is not None]
    return torch.cat(found) if found else None


def _chunks(split: Dataset, rows: Tensor, size: int) -> Iterator[Batch]:
    pieces = rows.split(size)
    for piece, coming in itertools.zip_longest(pieces, pieces[1:]):
        if coming is not None:
            split.expect(coming)
        yield split.batch(piece)


def draw(split: Dataset, num: int, purpose: str) -> Batch:
    """``num`` samples of ``split``, or all there are: the same for ever for one ``purpose``."""
    paired = "dataset.paired" in split.traits  # sample i is compared with pair i
    rows = torch.arange(min(num, len(split))) if paired else _choice(len(split), num, purpose)
    parts = list(_chunks(split, rows, 1000))
    labels = [part.y for part in parts if part.y is not None]
    return Batch(torch.cat([part.x for part in parts]), torch.cat(labels) if labels else None)
