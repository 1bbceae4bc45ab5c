"""Shared by all tests: one thread, configs composed as the command line composes them, tiny data sets, ready trainers."""

from __future__ import annotations

import atexit
import copy
import functools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor

from ganrun.cli import compose as hydra_compose
from ganrun.cli import signature
from ganrun.cli.compose import composer
from ganrun.cli.config_files import Places
from ganrun.data.base import Dataset, Images
from ganrun.data.number_names import Sequences
from ganrun.data.translation import Paired, Translation
from ganrun.engine import assemble
from ganrun.engine.loop import Trainer
from ganrun.ground.registry import register
from ganrun.ground.runtime import resolve
from ganrun.ground.spec import Batch, Spec
from ganrun.networks.mlp import MLP, LayerOptions

CONF = Path(__file__).resolve().parent.parent / "conf"

torch.set_num_threads(1)
if "GANRUN_CACHE" not in os.environ:  # no test leaves anything in the user's own
    os.environ["GANRUN_CACHE"] = tempfile.mkdtemp(prefix="ganrun-cache-")
    atexit.register(shutil.rmtree, os.environ["GANRUN_CACHE"], ignore_errors=True)


def compose_config(*overrides: str) -> dict[str, Any]:
    """What Hydra makes of conf/ and ``overrides``: the resolved config as plain containers."""
    return copy.deepcopy(_composed(overrides))


@functools.cache
def _composed(overrides: tuple[str, ...]) -> dict[str, Any]:
    with composer() as found:
        return signature.plain(found.compose(list(overrides)))


@pytest.fixture(scope="session", autouse=True)
def composed_once() -> Iterator[None]:
    """A line of ganrun's own files is composed once for all tests: Hydra takes a fifth of a second to make the same."""
    known: dict[tuple[str, ...], DictConfig] = {}
    hydras = hydra_compose.compose

    def composed(name: str, overrides: list[str], return_hydra_config: bool) -> DictConfig:
        line = tuple(overrides)
        if Places.folder is not None or name != "config" or any("hydra.searchpath" in text for text in line):
            return hydras(name, overrides=overrides, return_hydra_config=return_hydra_config)
        if line not in known:
            known[line] = hydras(name, overrides=overrides, return_hydra_config=return_hydra_config)
        found = copy.deepcopy(known[line])
        found.hydra.runtime.cwd = os.getcwd()
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hydra_compose, "compose", composed)
        yield


def one_in(number: int, cases: Iterable[Any]) -> list[Any]:
    """Parameters of a test that asks the same of many options: every ``number``-th in the fast suite, all in the matrix."""
    return [
        pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=[pytest.mark.matrix] if place % number else [])
        for place, case in enumerate(cases)
    ]


class ToyImages(Images):
    """Images whose batches have torch's default dtype, so that a whole run can be done in float64."""

    def batch(self, indices: Tensor, device: torch.device | str = "cpu") -> Batch:
        found = super().batch(indices, device)
        return Batch(found.x.to(torch.get_default_dtype()), found.y)


class ToyPoints(Dataset):
    """Points in the plane from three Gaussians, labelled by them or not, in torch's default dtype."""

    def __init__(self, num: int, labelled: bool) -> None:
        source = torch.Generator().manual_seed(5)
        self.labels = torch.arange(num) % 3
        centres = torch.tensor([[1.0, 0.0], [-1.0, 1.0], [0.0, -1.0]], dtype=torch.float64)
        self.x = centres[self.labels] + 0.1 * torch.randn(num, 2, generator=source, dtype=torch.float64)
        self.spec = Spec("points", (2,), 3 if labelled else None)

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, indices: Tensor, device: torch.device | str = "cpu") -> Batch:
        x = self.x[indices].to(device, torch.get_default_dtype())
        return Batch(x, self.labels[indices].to(device) if self.spec.classes else None)

    def fingerprint(self) -> str:
        return f"toy points {len(self.x)}"


@register("dataset", "toy_images")
def toy_images(*, size: int = 8, channels: int = 1, num: int = 22) -> Images:
    """Noise with a bright corner that tells its class."""
    source = torch.Generator().manual_seed(4)
    pixels = torch.randint(0, 128, (num, size, size, channels), generator=source, dtype=torch.uint8)
    labels = torch.arange(num) % 3
    for index, label in enumerate(labels.tolist()):
        pixels[index, :2, 2 * label : 2 * label + 2] = 255
    return ToyImages(pixels, labels, class_names=("left", "middle", "right"))


@register("dataset", "toy_points")
def toy_points(*, num: int = 23) -> ToyPoints:
    """The toy points."""
    return ToyPoints(num, labelled=True)


@register("dataset", "toy_unlabelled")
def toy_unlabelled() -> ToyPoints:
    """The toy points without their labels."""
    return ToyPoints(23, labelled=False)


@register("dataset", "toy_paired")
def toy_paired() -> Paired:
    """The toy images and their negatives."""
    targets = toy_images()
    return Paired(targets, negatives(targets))


@register("dataset", "toy_unpaired")
def toy_unpaired() -> Translation:
    """The toy images, and negatives of them that nobody knows to belong together."""
    targets = toy_images()
    return Translation(targets, negatives(targets))


def negatives(images: Images) -> Images:
    return ToyImages(255 - images.pixels, images.labels, class_names=images.class_names)


@register("dataset", "toy_tokens")
def toy_tokens() -> Sequences:
    """Rows of six symbols out of four, in three classes."""
    codes = torch.randint(0, 4, (21, 6), generator=torch.Generator().manual_seed(6))
    return Sequences(codes, torch.arange(21) % 3, Spec("tokens", (6, 4), 3, alphabet="abcd"), "toy rows")


@register("model", "toy_bare")
class Bare(MLP):
    """Fully connected players whose discriminator tells nothing of its features."""

    def __init__(self) -> None:
        super().__init__(latent=3, generator=LayerOptions(width=4), discriminator=LayerOptions(width=4))
        self.traits = self.traits - {"discriminator.features"}


@dataclass
class Made:
    """A run's parts, ready for the first step."""

    config: dict[str, Any]
    parts: assemble.Parts
    dataset: Dataset
    trainer: Trainer


def make_trainer(config: Mapping[str, Any], dataset: Dataset | None = None) -> Made:
    """Assemble ``config`` on the CPU, on ``dataset`` if given."""
    config = {**config, "device": {**config["device"], "name": "cpu"}}
    parts = assemble.build(config, with_metrics=False)
    dataset = assemble.load_data(config, parts.family) if dataset is None else dataset
    assemble.verify(parts, dataset)
    return Made(config, parts, dataset, assemble.trainer(parts, dataset, resolve(config["device"])))


SMALL = {
    "mlp": ("model.latent=3", "model.generator.width=6", "model.discriminator.width=6"),
    "dcgan": ("model.latent=3", "model.generator.width=4", "model.discriminator.width=4"),
    "resnet": ("model.latent=3", "model.generator.width=4", "model.discriminator.width=4"),
    "sequence": ("model.latent=3", "model.generator.width=4", "model.discriminator.width=4"),
}
"""The smallest players of each family."""


def toy_config(model: str, data: str, *overrides: str) -> dict[str, Any]:
    """A config of the smallest ``model`` on the data set ``data``, batch 4."""
    config = compose_config(f"model={model}", "batch_size=4", "steps=20", *SMALL[model], *overrides)
    return {**config, "dataset": {"name": data}}


@pytest.fixture
def compose() -> Callable[..., dict[str, Any]]:
    """``compose("loss=hinge", ...)`` gives the resolved config."""
    return compose_config


@pytest.fixture
def toy() -> Callable[..., Made]:
    """``toy("mlp", "toy_points", "loss=hinge", ...)`` gives a trainer of the smallest networks."""
    return lambda model, data, *overrides: make_trainer(toy_config(model, data, *overrides))


@pytest.fixture
def float64() -> Iterator[None]:
    """Within the test, networks, latents and toy data are in double precision."""
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)
