"""The real data that the looks at a run compare with, made once: real samples, others beside them, and the modes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ganrun.data.base import Dataset
from ganrun.engine import sources
from ganrun.games.base import Game
from ganrun.ground import rng
from ganrun.signs.base import Partition, Yardstick, distances, energy_distance, extreme, mean_pair, radius

REAL = 2048  # real samples that the partition is made from
THUMBNAIL = 8
AGREE = 0.7  # share of real data nearest their own class's mean for class means to be the modes
CLUSTERS = 10


@dataclass(frozen=True)
class Reference:
    """The real data that every look of a run compares with, made once. ``mean`` (d,) and ``scale`` standardise features."""

    kind: str
    mean: Tensor
    scale: float
    real: Tensor
    real_labels: Tensor | None
    sides: tuple[Tensor, Tensor] | None
    yardstick: Yardstick
    deviation: float
    partition: Partition
    source: Tensor | None
    source_labels: Tensor | None

    def features(self, x: Tensor) -> Tensor:
        return (thumbnails(x, self.kind) - self.mean) / self.scale


def thumbnails(x: Tensor, kind: str) -> Tensor:
    """Numbers of each sample, images averaged to at most 8x8: float32 (n, d)."""
    x = x.float()
    if kind == "image" and max(x.shape[2:]) > THUMBNAIL:
        x = nn.functional.adaptive_avg_pool2d(x, THUMBNAIL)
    return x.flatten(1)


def reference(dataset: Dataset, game: Game, count: int, seed: int) -> Reference:
    """What looks at a run on ``dataset`` compare with: ``count`` real samples, as many others, and the modes."""
    kind, split = dataset.spec.kind, dataset.held_out()
    order = rng.order(seed, "doctor", 0, min(REAL, max(2 * count, len(dataset))), len(dataset))
    batch = dataset.batch(order)
    raw = thumbnails(batch.x, kind)
    mean = raw.mean(0)
    scale = max(float((raw - mean).square().mean().sqrt()), 1e-12)
    features = (raw - mean) / scale
    real, other, sides = features[:count], features[count : 2 * count], None
    if split is not None and len(split) >= 2:
        x = split.batch(rng.order(seed, "doctor held out", 0, min(count, len(split)), len(split))).x
        other = (thumbnails(x, kind) - mean) / scale
        different = min(len(other), count, len(dataset))
        sides = real[:different], other[:different]
    noise = torch.randn(count, len(features), generator=rng.generator(seed, "doctor", "blank"))
    blank = noise @ features / max(len(features) - 1, 1) ** 0.5  # their mean is 0: a Gaussian with their covariance
    start = sources.of_dataset(dataset, count) if sources.translates(game) else None
    return Reference(
        kind=kind,
        mean=mean,
        scale=scale,
        real=real,
        real_labels=None if batch.y is None else batch.y[:count],
        sides=sides,
        yardstick=Yardstick(
            pair=mean_pair(real),
            floor=max(energy_distance(other, real), 0.0),
            nearest=float(distances(other, real).amin(1).median()),
            blank=float(distances(blank, real).amin(1).median()),
            radius=radius(real),
            extreme=extreme(batch.x[:count]),
        ),
        deviation=float((batch.x - batch.x.mean(0)).square().mean().sqrt()),
        partition=partition(features, batch.y, dataset.spec.classes, seed),
        source=None if start is None else start.source,
        source_labels=None if start is None else start.labels,
    )


def partition(features: Tensor, labels: Tensor | None, classes: int | None, seed: int) -> Partition:
    """The modes: class means where at least 70 % of real data lie nearest their own, else k-means of 10."""
    if labels is not None and classes and classes <= len(features) // 4:
        present = [int(label) for label in range(classes) if bool((labels == label).any())]
        if len(present) == classes:
            means = torch.stack([features[labels == label].mean(0) for label in present])
            found = torch.cdist(features, means).argmin(1)
            if float((found == labels).float().mean()) >= AGREE:
                return Partition(means, torch.bincount(found, minlength=classes).float() / len(found), labelled=True)
    centres = k_means(features, min(CLUSTERS, len(features)), rng.generator(seed, "doctor", "k-means"))
    found = torch.cdist(features, centres).argmin(1)
    return Partition(centres, torch.bincount(found, minlength=len(centres)).float() / len(found), labelled=False)


def k_means(x: Tensor, count: int, generator: torch.Generator, rounds: int = 25) -> Tensor:
    """Lloyd's algorithm from k-means++ starts (Arthur and Vassilvitskii 2007): centres (count, d)."""
    centres = x[torch.randint(len(x), (1,), generator=generator)]
    while len(centres) < count:
        far = torch.cdist(x, centres).amin(1).square() + 1e-12
        centres = torch.cat((centres, x[torch.multinomial(far, 1, generator=generator)]))
    for _ in range(rounds):
        nearest = torch.cdist(x, centres).argmin(1)
        members = nn.functional.one_hot(nearest, count).float()
        sizes = members.sum(0)
        moved = torch.where(sizes[:, None] > 0, members.T @ x / sizes.clamp_min(1)[:, None], centres)
        if torch.equal(moved, centres):
            break
        centres = moved
    return centres
