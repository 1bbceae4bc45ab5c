"""MNIST (LeCun et al. 1998), Fashion-MNIST (Xiao et al. 2017) and CIFAR-10 (Krizhevsky 2009), read by torchvision.

A folder that holds the data is only read. A download goes to a temporary folder beside its place and is moved there file
by file when complete, so that a broken download, or several jobs of a sweep that download at once, leave no half a file.
torchvision verifies the published MD5 of what it downloads, and of CIFAR-10's files before it unpickles them.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any

import torch
from torch import Tensor

from ganrun.data.base import Dataset, Images
from ganrun.data.selection import select
from ganrun.disk.image_folder import expand
from ganrun.ground.errors import BadInput
from ganrun.ground.registry import register

MNIST_FILES = tuple(
    f"{part}-ubyte" for part in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
)
CIFAR_FILES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta")
CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
THINGS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass(frozen=True)
class Source:
    """A data set of torchvision: our name, its class there, the folder and the files it wants below the root."""

    name: str
    kind: str
    folder: str
    files: tuple[str, ...]
    class_names: tuple[str, ...]
    chiral: bool = False


MNIST = Source("mnist", "MNIST", "MNIST/raw", MNIST_FILES, tuple("0123456789"), chiral=True)
FASHION = Source("fashion_mnist", "FashionMNIST", "FashionMNIST/raw", MNIST_FILES, CLOTHES)
CIFAR = Source("cifar10", "CIFAR10", "cifar-10-batches-py", CIFAR_FILES, THINGS)


@register("dataset", "mnist")
def mnist(
    *,
    root: str = "data",
    download: bool = True,
    size: int | None = None,
    classes: list[int | str] | None = None,
    fraction: float = 1.0,
) -> Dataset:
    """Handwritten digits, 28x28 grey: 60000 train, 10000 held out. ``root`` holds ``MNIST/raw``."""
    return select(load(MNIST, root, download, size), classes, fraction)


@register("dataset", "fashion_mnist")
def fashion_mnist(
    *,
    root: str = "data",
    download: bool = True,
    size: int | None = None,
    classes: list[int | str] | None = None,
    fraction: float = 1.0,
) -> Dataset:
    """Articles of clothing, 28x28 grey: 60000 train, 10000 held out. ``root`` holds ``FashionMNIST/raw``."""
    return select(load(FASHION, root, download, size), classes, fraction)


@register("dataset", "cifar10")
def cifar10(
    *,
    root: str = "data",
    download: bool = True,
    size: int | None = None,
    classes: list[int | str] | None = None,
    fraction: float = 1.0,
) -> Dataset:
    """Small photographs, 32x32 RGB: 50000 train, 10000 held out. ``root`` holds ``cifar-10-batches-py``."""
    return select(load(CIFAR, root, download, size), classes, fraction)


def load(source: Source, root: str, download: bool, size: int | None) -> Images:
    """Both splits of ``source`` as images, downloaded if they are missing and ``download`` allows it.

    Raises ``BadInput`` that says what is missing, where it was looked for and what works without a network.
    """
    root = expand(root)
    missing = _missing(source, root)
    if missing and download:
        _download(source, root)
    elif missing:
        raise BadInput(_absent(source, root, "dataset.download=false"))
    held_out = _images(source, _read(source, root, train=False))
    return _images(source, _read(source, root, train=True), held_out).resized(size)


def _missing(source: Source, root: str) -> list[str]:
    folder = os.path.join(root, source.folder)
    return [name for name in source.files if not os.path.isfile(os.path.join(folder, name))]


def _read(source: Source, root: str, *, train: bool) -> Any:
    """One split as torchvision reads it. Its errors are of many kinds, all of them about the files."""
    import torchvision

    try:
        return getattr(torchvision.datasets, source.kind)(root, train=train, download=False)
    except Exception as error:
        folder = os.path.join(root, source.folder)
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BadInput(
            f"dataset={source.name}: the files in {folder} cannot be read ({reason}). Remove that folder and run again to "
            "download them, or give another dataset.root; dataset=digits works without a network."
        ) from error


def _images(source: Source, split: Any, held_out: Images | None = None) -> Images:
    pixels = torch.as_tensor(split.data)
    labels: Tensor = torch.as_tensor(split.targets, dtype=torch.int64)
    if pixels.ndim == 3:
        pixels = pixels.unsqueeze(-1)
    if len(pixels) == 0:
        raise BadInput(f"dataset={source.name}: the files hold no images")
    return Images(pixels, labels, class_names=source.class_names, held_out=held_out, chiral=source.chiral)


def _download(source: Source, root: str) -> None:
    """Download to a folder beside the final one, then move each finished file into its place."""
    import torchvision

    beside = None
    try:
        os.makedirs(root, exist_ok=True)
        beside = tempfile.mkdtemp(prefix=".download-", dir=root)
        getattr(torchvision.datasets, source.kind)(beside, train=True, download=True)
        os.makedirs(os.path.join(root, source.folder), exist_ok=True)
        for name in source.files:
            os.replace(os.path.join(beside, source.folder, name), os.path.join(root, source.folder, name))
    except (OSError, RuntimeError, HTTPException) as error:  # URLError is an OSError
        raise BadInput(_absent(source, root, f"the download failed: {_last_line(error)}")) from error
    finally:
        if beside is not None:
            shutil.rmtree(beside, ignore_errors=True)


def _absent(source: Source, root: str, why: str) -> str:
    folder = os.path.join(root, source.folder)
    missing = ", ".join(_missing(source, root))
    return (
        f"dataset={source.name}: {missing} not found in {folder}, and {why}. Put the files there, or give the folder that "
        f"holds {source.folder} as dataset.root=DIR; dataset=digits works without a network."
    )


def _last_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
