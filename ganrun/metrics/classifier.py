"""A classifier of the data's own classes as extractor: for labelled images, and for IS where Inception knows nothing.

The digits have a network that ships with ganrun (scripts/train_digits_classifier.py), so that their scores compare across
machines. It is used for every data set that is the digits at heart, by this rule: grey images whose labels, in order, are
those of the digits' training split, and 95 % of whose held-out images the network names rightly, either from their central
8x8 pixels (padded digits) or resized to 8x8 (enlarged ones), whichever is better.

For any other labelled images a network is trained once and kept in the cache ($GANRUN_CACHE, else the user's) under the
fingerprint of the data, the recipe's number and its own hash.

Of some classes, or a share, of a data set the judge is the network of the whole: it knows more, and scores of the parts
compare. The logits are then those of the classes that were kept. Of images stacked as channels (Metz et al. 2017) it is the
network of the single images, looking at one channel at a time: the features stand side by side, and the logit of the classes
a, b, c together is log p(a) + log p(b) + log p(c).
"""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganrun.disk import cache, storage
from ganrun.ground.errors import BadInput, StorageFailed
from ganrun.ground.registry import register
from ganrun.metrics import training, weights
from ganrun.metrics.base import Data, Extractor
from ganrun.metrics.images import centre, to_size

SHIPPED = Path(__file__).with_name("digits_classifier.pt")
SHIPPED_SHA256 = "bc01e9a6d1d55f9f629f9609e20421f7a408c4e3c89a3f5abe76719f332c83f8"
DIGITS_COUNT = 1437  # images of the digits' training split, and the SHA-256 of their labels
DIGITS_LABELS = "9ef20999b9dd0feb157044254dea6489658d13fd5d2272a4f2874dad61b868f5"
DIGITS_SIDE = 8
TRUSTED = 0.95  # held-out accuracy from which the shipped network speaks for a data set


@register("extractor", "classifier")
class Classifier(Extractor):
    """64 features and the logits of a small network: shipped for the digits, trained once for other labelled images."""

    name = "classifier"
    num_features = 64
    has_logits = True

    def prepare(self, dataset: Data, device: torch.device, say: Callable[[str], None]) -> None:
        self.columns, shape = dataset.class_columns, dataset.spec.shape
        dataset = dataset.judged
        if dataset.spec.kind != "image" or (dataset.spec.classes or 0) < 2:
            raise BadInput(
                "evaluation.extractor=classifier: needs images of at least two classes; "
                "evaluation.extractor=band_energies needs no labels"
            )
        self.layers = shape[0] // dataset.spec.shape[0]
        self.num_features = 64 * self.layers
        if is_digits(dataset):
            trained, self.digest = shipped()
            self.crops, found = _digits_rule(trained, dataset)
            if found >= TRUSTED:
                self.origin, self.published = "shipped with ganrun", True
                return self._take(dataclasses.replace(trained, accuracy=found), dataset, device, say)
        self.crops, self.origin, self.published = False, "trained on this data", False
        trained, self.digest = cached(dataset, device, say)
        return self._take(trained, dataset, device, say)

    def _take(self, trained: training.Trained, dataset: Data, device: torch.device, say: Callable[[str], None]) -> None:
        self.trained, self.network = trained, trained.network()
        super().prepare(dataset, device, say)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        side, layers = self.trained.side, self.layers
        single = pixels.reshape(len(pixels) * layers, -1, *pixels.shape[2:])
        x = to_size(centre(single, side) if self.crops else single, side)
        features, logits = self.network(x.mul(2 / 255).sub(1))
        if layers > 1:
            features, logits = features.reshape(len(pixels), -1), together(logits.unflatten(0, (len(pixels), layers)))
        return features, logits if self.columns is None else logits[:, list(self.columns)]

    def card(self) -> Mapping[str, Any]:
        side, parts = f"{self.trained.side}x{self.trained.side}", {}
        if self.layers > 1:
            parts["stack"] = f"{self.layers} channels, judged one by one: {self.trained.accuracy**self.layers:.4f} right in all"
        if self.columns is not None:
            parts["classes"] = f"{len(self.columns)} of {self.trained.classes**self.layers}, by a network of all"
        return {
            "name": self.name,
            "features": self.num_features,
            "weights_sha256": self.digest,
            "origin": self.origin,
            "held_out_accuracy": round(self.trained.accuracy, 4),
            "held_out_images": self.trained.held_out,
            "resize": f"central {side} pixels, the padding is not looked at"
            if self.crops
            else f"bilinear, antialiased, to {side}",
            **parts,
        }


def together(logits: Tensor) -> Tensor:
    """Logits (n, layers, k) of independent layers as those of their classes together: (n, k^layers), the first counting most."""
    found, *others = logits.log_softmax(2).unbind(1)
    for layer in others:
        found = (found[:, :, None] + layer[:, None, :]).flatten(1)
    return found


def is_digits(dataset: Data) -> bool:
    """Whether the labels of ``dataset``, in order, are those of the digits' training split, and its images grey."""
    if len(dataset) != DIGITS_COUNT or dataset.spec.shape[0] != 1 or dataset.spec.shape[1] < DIGITS_SIDE:
        return False
    labels = dataset.batch(torch.arange(DIGITS_COUNT)).y
    return labels is not None and labels_digest(labels) == DIGITS_LABELS


def labels_digest(labels: Tensor) -> str:
    """SHA-256 (hex) of int64 labels."""
    return hashlib.sha256(labels.to("cpu", torch.int64).contiguous().numpy().tobytes()).hexdigest()


def shipped() -> tuple[training.Trained, str]:
    """The digits' network and the hash of its file; ``BadInput`` if the file is not the one that was released."""
    data, found = weights.read(SHIPPED, "the digits' classifier")
    if found != SHIPPED_SHA256:
        raise BadInput(f"{SHIPPED}: damaged (SHA-256 {found}, not {SHIPPED_SHA256}); install ganrun again")
    return training.Trained(**weights.decode(data, str(SHIPPED))), found


def cached(dataset: Data, device: torch.device, say: Callable[[str], None]) -> tuple[training.Trained, str]:
    """The network for ``dataset`` and the hash of its file, from the cache or trained now and put there."""
    folder = cache.cache_folder()
    held_out = dataset.held_out()
    content = (training.RECIPE, dataset.fingerprint(), None if held_out is None else held_out.fingerprint(), dataset.spec.classes)
    stem = f"classifier-{hashlib.sha256(repr(content).encode()).hexdigest()[:16]}"
    with cache.alone(None if folder is None else folder / f"{stem}.lock"):
        found = None if folder is None else _from_cache(folder, stem, say)
        if found is None:
            say("training a classifier of this data, once, for its scores (a minute or two for 60000 small images)")
            start = time.monotonic()
            trained = training.train(dataset, device)
            data = weights.encode(dataclasses.asdict(trained))
            digest = hashlib.sha256(data).hexdigest()
            seconds = time.monotonic() - start
            say(f"classifier: {trained.accuracy:.1%} of {trained.held_out} held-out images right, {seconds:.0f} s")
            try:
                if folder is None:
                    raise StorageFailed(cache.NO_CACHE)
                storage.write(folder / f"{stem}-{digest}.pt", data)
            except (StorageFailed, OSError) as error:
                say(f"the classifier could not be kept for the next time: {error}")
            found = trained, digest
    return found


def _from_cache(folder: Path, stem: str, say: Callable[[str], None]) -> tuple[training.Trained, str] | None:
    for path in sorted(folder.glob(f"{stem}-*.pt")):
        try:
            data, digest = weights.read(path, "cache")
            if path.stem == f"{stem}-{digest}":
                return training.Trained(**weights.decode(data, str(path))), digest
            say(f"{path}: damaged, not used")
        except (BadInput, TypeError) as error:
            say(f"{path}: not used ({error})")
    return None


def _digits_rule(trained: training.Trained, dataset: Data) -> tuple[bool, float]:
    """Whether to crop rather than to resize, and the held-out accuracy of the better of the two."""
    held_out = dataset.held_out() or dataset
    batch = held_out.batch(torch.arange(len(held_out)))
    network, right = trained.network(), {}
    for crops in (True, False):
        x = to_size(centre(batch.x, trained.side) if crops else batch.x, trained.side)
        with torch.inference_mode():
            right[crops] = (network(x)[1].argmax(1) == batch.y).float().mean().item()
    crops = right[True] >= right[False] and dataset.spec.shape[1] > trained.side
    return crops, right[crops]
