"""Energies of differences between neighbouring pixels, at all scales: features of images that have no labels.

A simple relative of the spatial envelope (Oliva and Torralba 2001), chosen because it sees what random filters average
away: docs/folder_scores.md has the comparison. Of an image of bytes, as luminance (r + g + b) / 3 and, in colour, the two
opponents (r - b) / sqrt 2 and (2g - r - b) / sqrt 6, at its own size and at each halving down to 4 pixels:

- for each of the four differences to the neighbours at 0, 90, 45 and 135 degrees, log(e + 1) / 2 with e its mean square over
  the image: a decibel scale, on which a blur is as far away as a noise, in units of one grey level;
- the same of the mean of the four in each quarter of the image, which says where they are;
- in colour, the same of each of the four, with e the mean of the two opponents.

Then the layout: means of the luminance over 4x4 cells and of the opponents over 2x2, divided by 32. Each feature is less its mean
over the training images and divided by sqrt(variance + 0.05^2), so that all count alike, and none that never varies more than
it should. The means and variances are made in float64 and rounded to 4 digits: equal on all machines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d

from ganrun.ground import rng
from ganrun.ground.registry import register
from ganrun.metrics import weights
from ganrun.metrics.base import Data, Extractor
from ganrun.metrics.images import check_channels

SMALLEST = 4  # pixels of the last scale
LEAST_DEVIATION = 0.05
MOST = 5000  # training images that means and variances are taken of
EXACT = 4  # digits of these that are kept


def energies(pixels: Tensor) -> Tensor:
    """The features before they are standardised: images (n, 1 or 3, height, width) of 0 to 255 in floating point to (n, d)."""
    x = opponents(pixels)
    found = [adaptive_avg_pool2d(x[:, :1], 4).flatten(1) / 32]
    if x.shape[1] > 1:
        found.append(adaptive_avg_pool2d(x[:, 1:], 2).flatten(1) / 32)
    while True:
        smallest = min(x.shape[-2:])
        if smallest > 1:
            squares = [difference.square() for difference in differences(x)]
            found.append(level(torch.stack([square[:, 0].mean((1, 2)) for square in squares], 1)))
            found.append(level(adaptive_avg_pool2d(torch.stack([square[:, :1] for square in squares]).mean(0), 2).flatten(1)))
            if x.shape[1] > 1:
                found.append(level(torch.stack([square[:, 1:].mean((1, 2, 3)) for square in squares], 1)))
        if smallest < 2 * SMALLEST:
            return torch.cat(found, 1)
        x = avg_pool2d(x, 2, ceil_mode=True)


def differences(x: Tensor) -> list[Tensor]:
    """To the neighbours on the right, below, and on the two diagonals: each (n, channels, height - 1, width - 1)."""
    here, right, below, across = x[..., :-1, :-1], x[..., :-1, 1:], x[..., 1:, :-1], x[..., 1:, 1:]
    return [right - here, below - here, across - here, below - right]


def level(energy: Tensor) -> Tensor:
    """log(energy + 1) / 2: the logarithm of the amplitude, level below one grey level."""
    return energy.log1p() / 2


def opponents(pixels: Tensor) -> Tensor:
    """Luminance and the two colour opponents of RGB; grey images as they are."""
    if pixels.shape[1] == 1:
        return pixels
    red, green, blue = pixels.unbind(1)
    return torch.stack([(red + green + blue) / 3, (red - blue) / 2**0.5, (2 * green - red - blue) / 6**0.5], 1)


@register("extractor", "band_energies")
class BandEnergies(Extractor):
    """Standardised logarithms of edge energies by scale, direction and place, and the layout of light and colour; no classes."""

    name = "band_energies"
    has_logits = False
    why_no_logits = (
        "IS needs class probabilities and energies of bands have none: evaluation.extractor=classifier gives them for labelled "
        "images, evaluation.weights=FILE with the FID Inception weights for any"
    )

    def prepare(self, dataset: Data, device: torch.device, say: Callable[[str], None]) -> None:
        """Take means and deviations of the training images; of a part of a data set those of the whole, so that parts compare."""
        check_channels(dataset.spec.shape[0], self.name)
        whole = dataset.judged if dataset.judged.spec.shape == dataset.spec.shape else dataset
        rows = torch.arange(len(whole))
        if len(whole) > MOST:
            rows = torch.randperm(len(whole), generator=rng.generator("extractor", self.name))[:MOST].sort().values
        found = torch.cat([energies(_bytes(whole.batch(chunk).x)) for chunk in rows.split(250)])
        self.register_buffer("mean", _rounded(found.mean(0)).float())
        self.register_buffer("deviation", _rounded((found.var(0) + LEAST_DEVIATION**2).sqrt()).float())
        self.num_features, self.used = found.shape[1], len(rows)
        self.digest = weights.digest(self)
        super().prepare(dataset, device, say)

    def forward(self, pixels: Tensor) -> tuple[Tensor, None]:
        check_channels(pixels.shape[1], self.name)
        return (energies(pixels.float()) - self.get_buffer("mean")) / self.get_buffer("deviation"), None

    def card(self) -> Mapping[str, Any]:
        return {
            "name": self.name,
            "features": self.num_features,
            "weights_sha256": self.digest,
            "standardised": f"by {self.used} training images",
            "resize": "none: images are seen at their own size",
        }


def _bytes(x: Tensor) -> Tensor:
    """Images in [-1, 1] as bytes, in float64."""
    return x.double().add(1).mul(127.5).round().clamp(0, 255)


def _rounded(values: Tensor) -> Tensor:
    """To ``EXACT`` significant digits: what is left of sums whose order differs between machines."""
    return torch.tensor([float(f"{value:.{EXACT}g}") for value in values.tolist()], dtype=torch.float64)
