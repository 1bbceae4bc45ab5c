"""A small classifier of images, trained once: its penultimate layer and its classes are what scores are computed from.

Four or five 3x3 convolutions down to a map of about 4x4, the mean over space (64 features), one linear layer. AdamW with a
cosine schedule, random shifts; batch norm is folded into the convolutions at the end and the weights are rounded to half
precision, so that the network in memory is the one in the file. Its random numbers are its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate, pad, relu
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ganrun.ground import rng
from ganrun.metrics.base import Data
from ganrun.metrics.images import to_size

RECIPE = 1  # raise it with any change that gives other weights
SEED = 0
BATCH = 64
LARGEST = 64  # working size in pixels; larger images are resized
PRESENTATIONS = 200_000  # images shown in training, at 32x32; fewer where they are larger
EPOCHS = 60  # at most,
LEAST_STEPS = 400  # unless that would be fewer updates than these


class Network(nn.Module):
    """Float images (n, channels, side, side) in [-1, 1] to features (n, 64) and logits (n, classes)."""

    def __init__(self, channels: int, side: int, classes: int, *, normed: bool = False) -> None:
        super().__init__()
        halvings = max(1, round(math.log2(side / 4)))
        early = side > 16  # large images are halved by the first layer already
        strides = [2 if early else 1, *[2] * (halvings - early), 1]
        widths = [channels, 32, *[64] * (len(strides) - 1)]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 3, stride, padding=1)
            for before, after, stride in zip(widths, widths[1:], strides, strict=False)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) if normed else nn.Identity() for width in widths[1:])
        self.last = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = relu(norm(convolution(x)))
        features = x.mean((2, 3))
        return features, self.last(features)


@dataclass
class Trained:
    """A trained network, as a file holds it. ``accuracy`` is the share of right classes among ``held_out`` images."""

    channels: int
    side: int
    classes: int
    state: dict[str, Tensor]
    accuracy: float
    held_out: int

    def network(self) -> Network:
        """The network in float32, in eval mode."""
        with torch.random.fork_rng(devices=[]):
            network = Network(self.channels, self.side, self.classes)
        network.load_state_dict({name: entry.float() for name, entry in self.state.items()})
        return network.requires_grad_(False).eval()


def working_size(dataset: Data) -> int:
    """The side that the classifier sees: the images' own, at most 64 pixels."""
    return min(dataset.spec.shape[1], LARGEST)


def train(dataset: Data, device: torch.device, *, blur: bool = False) -> Trained:
    """Train on ``dataset`` and measure on its held-out part, or on a tenth of it that is then not trained on.

    ``blur``: every other batch is enlarged and shrunk again, so that the network also knows images that were resized.
    """
    held_out, rows = dataset.held_out(), torch.arange(len(dataset))
    tested = torch.empty(0, dtype=torch.int64)
    if held_out is None:
        shuffled = torch.randperm(len(dataset), generator=rng.generator(SEED, "classifier", "held out"))
        tested, rows = shuffled.tensor_split([max(1, len(dataset) // 10)])
        held_out = dataset
    else:
        tested = torch.arange(len(held_out))
    channels, side, classes = dataset.spec.shape[0], working_size(dataset), dataset.spec.classes or 0
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False):
        network = _initial(channels, side, classes).to(device).to(memory_format=torch.channels_last)
        _fit(network, dataset, rows, side, device, blur)
    trained = Trained(channels, side, classes, _folded(network), 0.0, len(tested))
    trained.accuracy = accuracy(trained.network().to(device), held_out, tested, side, device)
    return trained


def accuracy(network: Network, dataset: Data, rows: Tensor, side: int, device: torch.device) -> float:
    """The share of the images at ``rows`` whose class the network names."""
    right = 0
    with torch.inference_mode():
        for chunk in rows.split(250):
            batch = dataset.batch(chunk, device)
            right += int((network(to_size(batch.x, side))[1].argmax(1) == batch.y).sum())
    return right / max(1, len(rows))


def _initial(channels: int, side: int, classes: int) -> Network:
    source = rng.generator(SEED, "classifier", "weights")
    with torch.random.fork_rng(devices=[]):
        network = Network(channels, side, classes, normed=True)
    for name, entry in network.named_parameters():
        if entry.ndim > 1:
            nn.init.kaiming_normal_(entry, nonlinearity="relu", generator=source)
        elif name.endswith("bias"):
            nn.init.zeros_(entry)
    return network


def _fit(network: Network, dataset: Data, rows: Tensor, side: int, device: torch.device, blur: bool) -> None:
    shown = PRESENTATIONS * min(1.0, (32 / side) ** 2)
    steps = max(LEAST_STEPS, int(min(shown, EPOCHS * len(rows))) // BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=1e-2)
    reach = side // 8
    network.train()
    for step in range(steps):
        warm = min(1.0, (step + 1) / (0.05 * steps + 1))
        optimizer.param_groups[0]["lr"] = 3e-3 * warm * 0.5 * (1 + math.cos(math.pi * step / steps))
        chosen = rows[rng.order(SEED, "classifier", step * BATCH, BATCH, len(rows))]
        dataset.expect(rows[rng.order(SEED, "classifier", (step + 1) * BATCH, BATCH, len(rows))])
        batch = dataset.batch(chosen, device)
        right, down = torch.randint(-reach, reach + 1, (2,), generator=rng.generator(SEED, "classifier", "shift", step)).tolist()
        x = pad(to_size(batch.x, side), (right, -right, down, -down), value=-1.0)
        if blur and step % 2:
            x = to_size(interpolate(x, scale_factor=2, mode="bilinear"), side)
        assert batch.y is not None  # who calls has seen that there are classes
        loss = cross_entropy(network(x)[1], batch.y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()


def _folded(network: Network) -> dict[str, Tensor]:
    """The state without batch norms, on the CPU, in half precision."""
    network.eval().cpu()
    state: dict[str, Tensor] = {}
    for index, (convolution, norm) in enumerate(zip(network.convolutions, network.norms, strict=True)):
        assert isinstance(convolution, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        fused = fuse_conv_bn_eval(convolution, norm)
        state |= {f"convolutions.{index}.{name}": entry for name, entry in fused.state_dict().items()}
    state |= {f"last.{name}": entry for name, entry in network.last.state_dict().items()}
    return {name: entry.detach().half().contiguous() for name, entry in state.items()}
