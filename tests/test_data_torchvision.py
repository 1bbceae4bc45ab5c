"""MNIST, Fashion-MNIST and CIFAR-10: real reading code on tiny files, and what is said when the files are missing."""

import hashlib
import os
import pickle
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision

from ganrun.ground.errors import BadInput
from ganrun.ground.registry import build


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


def write_mnist(folder, train=5, test=3, seed=0):
    """Tiny idx files; returns the training images and labels."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    made = {}
    for part, count in (("train", train), ("t10k", test)):
        made[part] = random.integers(0, 256, (count, 28, 28)), random.integers(0, 10, count)
        write_idx(folder / f"{part}-images-idx3-ubyte", made[part][0])
        write_idx(folder / f"{part}-labels-idx1-ubyte", made[part][1])
    return made["train"]


def write_cifar(root, monkeypatch):
    """Tiny CIFAR-10 files, and torchvision told their checksums; returns the first training batch."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)

    def entry(name, value):
        (folder / name).write_bytes(pickle.dumps(value))
        return [name, hashlib.md5((folder / name).read_bytes()).hexdigest()]

    def batch():
        return {"data": random.integers(0, 256, (4, 3072), dtype=np.uint8), "labels": random.integers(0, 10, 4).tolist()}

    batches = [batch() for _ in range(6)]
    kind = torchvision.datasets.CIFAR10
    monkeypatch.setattr(kind, "train_list", [entry(f"data_batch_{number + 1}", batches[number]) for number in range(5)])
    monkeypatch.setattr(kind, "test_list", [entry("test_batch", batches[5])])
    names = entry("batches.meta", {"label_names": [str(number) for number in range(10)]})
    monkeypatch.setattr(kind, "meta", {"filename": "batches.meta", "key": "label_names", "md5": names[1]})
    return batches[0]


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")])
def test_idx_files_are_read_pixel_by_pixel_and_the_test_split_is_held_out(name, folder, tmp_path):
    pixels, labels = write_mnist(tmp_path / folder / "raw")
    data = build("dataset", {"name": name, "root": str(tmp_path), "download": False})
    assert np.array_equal(data.pixels[..., 0].numpy(), pixels)
    assert data.labels.tolist() == labels.tolist()
    assert (len(data), len(data.held_out())) == (5, 3)
    assert data.spec.shape == (1, 28, 28)
    assert data.spec.classes == 10
    assert data.fitted(32).pixels[0, 2:30, 2:30, 0].tolist() == pixels[0].tolist()
    assert build("dataset", {"name": name, "root": str(tmp_path), "size": 14}).held_out().spec.shape == (1, 14, 14)


def test_a_folder_with_the_data_is_only_read(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    write_mnist(raw)
    before = sorted((str(path), path.stat().st_mtime_ns) for path in tmp_path.rglob("*"))
    for folder in (raw, raw.parent, tmp_path):
        os.chmod(folder, 0o555)
    try:
        assert len(build("dataset", {"name": "mnist", "root": str(tmp_path), "download": True})) == 5
        assert sorted((str(path), path.stat().st_mtime_ns) for path in tmp_path.rglob("*")) == before
    finally:
        for folder in (tmp_path, raw.parent, raw):
            os.chmod(folder, 0o755)


def test_cifar10_is_read_with_its_colours_in_place(tmp_path, monkeypatch):
    first = write_cifar(tmp_path, monkeypatch)
    data = build("dataset", {"name": "cifar10", "root": str(tmp_path), "download": False})
    assert (len(data), len(data.held_out())) == (20, 4)
    assert data.spec.shape == (3, 32, 32)
    assert data.labels[:4].tolist() == first["labels"]
    red = first["data"][1][:1024].reshape(32, 32)  # the format: 1024 bytes of red, of green, of blue
    assert np.array_equal(data.pixels[1, ..., 0].numpy(), red)
    assert torch.equal(data.batch(torch.tensor([1])).x[0, 0], torch.from_numpy(red.copy()).float().mul(2 / 255).sub(1))


def test_a_cifar10_file_that_is_not_the_published_one_is_never_unpickled(tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    marker = tmp_path / "ran"

    class Hostile:
        def __reduce__(self):
            return (Path.touch, (marker,))

    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta"):
        (folder / name).write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(BadInput, match="cannot be read"):
        build("dataset", {"name": "cifar10", "root": str(tmp_path)})
    assert not marker.exists()


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10"])
def test_missing_data_is_one_message_that_says_what_where_and_what_works(name, tmp_path):
    with pytest.raises(BadInput) as caught:
        build("dataset", {"name": name, "root": str(tmp_path), "download": False})
    said = str(caught.value)
    wanted = {"cifar10": ("data_batch_1", "cifar-10-batches-py")}.get(name, ("train-images-idx3-ubyte", f"{os.sep}raw"))
    assert all(word in said for word in (*wanted, str(tmp_path), "dataset.root=DIR", "dataset=digits works without a network"))
    assert "\n" not in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "kind"), [("mnist", "MNIST"), ("cifar10", "CIFAR10")])
def test_a_failed_download_gives_its_reason_and_leaves_nothing_behind(name, kind, tmp_path, monkeypatch):
    def fail(self):
        raise URLError("Name or service not known")

    monkeypatch.setattr(getattr(torchvision.datasets, kind), "download", fail)
    with pytest.raises(BadInput, match=r"download failed: .*Name or service not known.*dataset=digits works"):
        build("dataset", {"name": name, "root": str(tmp_path / "new")})
    assert list((tmp_path / "new").iterdir()) == []


def test_a_root_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="dataset=digits works"):
        build("dataset", {"name": "mnist", "root": str(tmp_path / "file" / "below")})


def test_a_download_arrives_whole_and_replaces_half_a_set(tmp_path, monkeypatch):
    kind = torchvision.datasets.MNIST
    monkeypatch.setattr(kind, "download", lambda self: write_mnist(Path(self.raw_folder), seed=1))
    write_mnist(tmp_path / "MNIST" / "raw", seed=2)
    (tmp_path / "MNIST" / "raw" / "t10k-labels-idx1-ubyte").unlink()
    data = build("dataset", {"name": "mnist", "root": str(tmp_path)})
    expected, _ = write_mnist(tmp_path / "other", seed=1)
    assert np.array_equal(data.pixels[..., 0].numpy(), expected)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("damage", [b"", b"\0\0\x08\x03", b"garbage" * 10])
def test_damaged_files_are_named_with_a_way_out(damage, tmp_path):
    write_mnist(tmp_path / "MNIST" / "raw")
    (tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte").write_bytes(damage)
    with pytest.raises(BadInput, match=r"dataset=mnist: the files in .*raw cannot be read .*Remove that folder"):
        build("dataset", {"name": "mnist", "root": str(tmp_path)})


def test_the_real_mnist_has_its_known_size_and_mean():
    root = Path(os.environ.get("GANRUN_DATA", "data"))
    if not (root / "MNIST" / "raw").is_dir():
        pytest.skip(f"the real MNIST is not in {root} (set GANRUN_DATA to the folder that holds it)")
    data = build("dataset", {"name": "mnist", "root": str(root)})
    assert (len(data), len(data.held_out())) == (60_000, 10_000)
    assert data.pixels.sum(dtype=torch.int64).item() / data.pixels.numel() / 255 == pytest.approx(0.1307, abs=1e-4)
