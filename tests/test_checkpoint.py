"""Checkpoints: whole or absent, believed only when they are what was promised."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import random
import tracemalloc
from collections import OrderedDict, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ganrun.disk import checkpoint, storage
from ganrun.engine.loop import structure_differences
from ganrun.ground.errors import NoCheckpoint, StorageFailed


def state_of(step: int, size: int = 64) -> dict[str, Any]:
    weights = torch.randn(size, generator=torch.Generator().manual_seed(step))
    return {"step": step, "players/generator": {"weight": weights, "count": torch.tensor(step)}, "rates": [0.1, (1, None, True)]}


def fill(folder: Path, steps: range, keep: int = 100) -> None:
    folder.mkdir(exist_ok=True)
    for step in steps:
        checkpoint.save(folder, step, state_of(step), keep)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def silent(line: str) -> None:
    pytest.fail(f"nothing was to be said, but: {line}")


# what may be in one

PLAIN: list[Any] = [
    True,
    -3,
    2**80,
    float("inf"),
    "text",
    b"bytes",
    None,
    [1, [2]],
    (1, "two"),
    {"a": {1: 2.0}},
    torch.zeros(0),
    torch.tensor(1.5),
    torch.ones(2, 3, dtype=torch.bfloat16),
    torch.tensor([True, False]),
    torch.arange(6).reshape(2, 3).T,
    torch.ones(1).expand(5),
]
NOT_PLAIN: list[Any] = [
    np.float64(1.0),
    np.int64(1),
    np.zeros(2),
    deque([1]),
    {1, 2},
    frozenset({1}),
    OrderedDict(a=1),
    Path("x"),
    slice(1),
    range(3),
    1j,
    nn.Parameter(torch.zeros(1)),
    nn.Linear(1, 1),
    torch.Generator(),
    torch.float32,
    torch.Size([1]),
    {"inner": [{"deep": np.float32(1)}]},
    {1.5: "key"},
    {("a", "b"): "key"},
]


@pytest.mark.parametrize("value", PLAIN, ids=repr)
def test_whatever_may_be_saved_is_read_back_bit_for_bit(value: Any, tmp_path: Path) -> None:
    state = {"step": 4, "value": value}
    path = checkpoint.save(tmp_path, 4, state, 1)
    assert checkpoint.digest(checkpoint.read(path)) == checkpoint.digest(state)


@pytest.mark.parametrize("value", NOT_PLAIN, ids=lambda value: type(value).__name__)
def test_what_could_not_be_read_back_is_refused_before_anything_is_written(value: Any, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"state\.value"):
        checkpoint.save(tmp_path, 4, {"step": 4, "value": value}, 1)
    assert names(tmp_path) == []


def test_the_digest_sees_every_bit_name_shape_and_type() -> None:
    base = state_of(3)
    weight = base["players/generator"]["weight"]
    flipped = weight.clone()
    flipped.view(torch.int32)[7] ^= 1
    others: list[dict[str, Any]] = [
        {**base, "step": 4},
        {**base, "players/generator": {**base["players/generator"], "weight": flipped}},
        {**base, "players/generator": {**base["players/generator"], "weight": weight.view(8, 8)}},
        {**base, "players/generator": {**base["players/generator"], "weight": weight.view(torch.int32)}},
        {**base, "players/generator": {"weights": weight, "count": torch.tensor(3)}},
        {**base, "rates": [0.1, (1, None, 1)]},
        {**base, "rates": [0.1, (1, None)]},
        {"step": 3, "rates": base["rates"]},
    ]
    assert len({checkpoint.digest(state) for state in [base, *others]}) == len(others) + 1
    copied = {**base, "players/generator": {"count": torch.tensor(3), "weight": weight.clone()}}
    assert checkpoint.digest(copied) == checkpoint.digest(base)
    zero = {"step": 0, "x": torch.tensor([0.0])}
    assert checkpoint.digest(zero) != checkpoint.digest({"step": 0, "x": torch.tensor([-0.0])})


def test_the_same_state_gives_the_same_file_so_saving_a_step_again_endangers_nothing(tmp_path: Path) -> None:
    one, other = (checkpoint.save(tmp_path / name, 5, state_of(5), 1) for name in _folders(tmp_path, "one", "other"))
    assert one.read_bytes() == other.read_bytes()


def _folders(where: Path, *folders: str) -> list[str]:
    for name in folders:
        (where / name).mkdir()
    return list(folders)


# how one is written


def test_data_reach_the_disk_before_their_name_and_the_promise_comes_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, range(1, 3))
    events: list[tuple[str, str]] = []
    hashes: dict[str, str] = {}
    sync, replace, unlink = os.fsync, os.replace, Path.unlink

    def noted_sync(handle: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        kind = "folder" if path.is_dir() else path.name.split(".tmp.")[0]
        if path.is_file():
            hashes[kind] = hashlib.sha256(path.read_bytes()).hexdigest()
        events.append(("sync", kind))
        sync(handle)

    def noted_replace(source: Path, target: Path) -> None:
        events.append(("rename", target.name))
        replace(source, target)

    def noted_unlink(path: Path, missing_ok: bool = False) -> None:
        if path.exists():
            events.append(("remove", path.name))
        unlink(path, missing_ok)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(os, "replace", noted_replace)
    monkeypatch.setattr(Path, "unlink", noted_unlink)
    path = checkpoint.save(tmp_path, 3, state_of(3), 2)
    data, promise = path.name, path.with_suffix(".json").name
    assert events == [
        ("sync", data),
        ("sync", promise),
        ("rename", data),
        ("rename", promise),
        ("sync", "folder"),
        ("remove", "step_00000001.json"),
        ("remove", "step_00000001.pt"),
    ]
    # what was synced was whole
    assert hashes[data] == hashlib.sha256(path.read_bytes()).hexdigest() == json.loads((tmp_path / promise).read_text())["sha256"]
    assert hashes[promise] == hashlib.sha256((tmp_path / promise).read_bytes()).hexdigest()


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_save_that_fails_anywhere_leaves_older_ones_and_no_litter(
    call: str, nth: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, range(1, 3))
    before = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    count, original = 0, getattr(os, call)

    def failing(*arguments: Any) -> Any:
        nonlocal count
        count += 1
        if count == nth:
            raise OSError(5, "Input/output error")
        return original(*arguments)

    monkeypatch.setattr(os, call, failing)
    if call == "replace" and nth == 3:
        checkpoint.save(tmp_path, 3, state_of(3), 9)  # there are two renames
        return
    with pytest.raises(StorageFailed, match="Input/output error"):
        checkpoint.save(tmp_path, 3, state_of(3), 9)
    monkeypatch.undo()
    assert not [name for name in names(tmp_path) if ".tmp." in name]
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    found = checkpoint.newest(tmp_path, lambda line: None)
    assert found is not None
    assert found["step"] in (2, 3)


@pytest.mark.parametrize("keep", [1, 2, 3, 7])
def test_exactly_the_newest_k_stay(keep: int, tmp_path: Path) -> None:
    fill(tmp_path, range(0, 50, 3), keep)
    steps = list(range(0, 50, 3))[-keep:]
    assert names(tmp_path) == sorted(f"step_{step:08d}.{kind}" for step in steps for kind in ("pt", "json"))
    for step in steps:
        assert checkpoint.read(tmp_path / f"step_{step:08d}.pt")["step"] == step


def test_every_nth_stays_for_good_and_so_does_the_newest_from_before_a_pinned_step(tmp_path: Path) -> None:
    for step in range(0, 80, 10):
        checkpoint.save(tmp_path, step, {"step": step}, 1, each=40, pins=(25, 500) if step > 20 else (25,))
    assert sorted(path.stem for path in tmp_path.glob("*.pt")) == ["step_00000020", "step_00000040", "step_00000070"]
    assert sorted(path.stem for path in tmp_path.glob("*.json")) == ["step_00000020", "step_00000040", "step_00000070"]
    checkpoint.prune(tmp_path, 1, pins=(5,))  # none from before it is left: the oldest is the nearest
    assert sorted(path.stem for path in tmp_path.glob("*.pt")) == ["step_00000020", "step_00000070"]


def test_pruning_takes_data_that_lost_its_manifest_and_nothing_else(tmp_path: Path) -> None:
    fill(tmp_path, range(1, 5))
    (tmp_path / "step_00000002.json").unlink()  # killed between the two removals
    for other in ("step_best.pt", "step_.pt", "notes.txt", "step_00000001.pt.unusable", "step_00000009.pt"):
        (tmp_path / other).write_bytes(b"mine")
    checkpoint.save(tmp_path, 5, state_of(5), 3)
    assert [name for name in names(tmp_path) if name.endswith(".json")] == [f"step_0000000{step}.json" for step in (3, 4, 5)]
    assert [name for name in names(tmp_path) if not name.endswith(".json")] == [
        "notes.txt",
        "step_.pt",
        "step_00000001.pt.unusable",
        "step_00000003.pt",
        "step_00000004.pt",
        "step_00000005.pt",
        "step_00000009.pt",  # newer: a save that was cut short, which will be repeated
        "step_best.pt",
    ]


def test_steps_count_as_numbers_not_as_words(tmp_path: Path) -> None:
    for step in (99_999_999, 100_000_000):
        checkpoint.save(tmp_path, step, state_of(step), 1)
    found = checkpoint.newest(tmp_path, silent)
    assert found is not None
    assert found["step"] == 100_000_000


# how one is read


def flip(path: Path, byte: int, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[byte] ^= 1 << bit
    path.write_bytes(data)


def test_two_hundred_flipped_bits_are_all_noticed(tmp_path: Path) -> None:
    fill(tmp_path, range(1, 2))
    path = tmp_path / "step_00000001.pt"
    chance, size = random.Random(0), path.stat().st_size
    for _ in range(200):
        place = chance.randrange(size), chance.randrange(8)
        flip(path, *place)
        with pytest.raises(NoCheckpoint, match="SHA-256"):
            checkpoint.read(path)
        flip(path, *place)
    assert checkpoint.read(path)["step"] == 1


def newest_and_said(folder: Path) -> tuple[int, list[str]]:
    said: list[str] = []
    found = checkpoint.newest(folder, said.append)
    assert found is not None
    assert checkpoint.digest(found) == checkpoint.digest(state_of(found["step"]))
    return found["step"], said


def manifest_with(**changes: Any) -> Callable[[Path, Path], None]:
    def change(data: Path, manifest: Path) -> None:
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **changes}))

    return change


DAMAGE: dict[str, Callable[[Path, Path], Any]] = {
    "truncated": lambda data, manifest: os.truncate(data, data.stat().st_size // 2),
    "a byte short": lambda data, manifest: os.truncate(data, data.stat().st_size - 1),
    "a byte long": lambda data, manifest: data.write_bytes(data.read_bytes() + b"x"),
    "empty": lambda data, manifest: data.write_bytes(b""),
    "zeros": lambda data, manifest: data.write_bytes(bytes(data.stat().st_size)),
    "deleted": lambda data, manifest: data.unlink(),
    "a folder": lambda data, manifest: (data.unlink(), data.mkdir()),
    "a pipe": lambda data, manifest: (data.unlink(), os.mkfifo(data)),
    "a link to nothing": lambda data, manifest: (data.unlink(), data.symlink_to("nowhere")),
    "manifest deleted": lambda data, manifest: manifest.unlink(),
    "manifest a pipe": lambda data, manifest: (manifest.unlink(), os.mkfifo(manifest)),
    "manifest empty": lambda data, manifest: manifest.write_bytes(b""),
    "manifest torn": lambda data, manifest: os.truncate(manifest, 40),
    "manifest garbage": lambda data, manifest: manifest.write_bytes(bytes(range(256))),
    "manifest a list": lambda data, manifest: manifest.write_text("[1, 2]"),
    "manifest deep": lambda data, manifest: manifest.write_text("[" * 100_000),
    "manifest of another format": manifest_with(format=99),
    "manifest with another hash": manifest_with(sha256="0" * 64),
    "manifest with a hash that is no text": manifest_with(sha256=None),
    "manifest with another size": manifest_with(bytes=1),
    "manifest with a size that is no number": manifest_with(bytes="many"),
    "older data in its place": lambda data, manifest: data.write_bytes((data.parent / "step_00000002.pt").read_bytes()),
    "older data and manifest in its place": lambda data, manifest: (
        data.write_bytes((data.parent / "step_00000002.pt").read_bytes()),
        manifest.write_bytes((data.parent / "step_00000002.json").read_bytes()),
    ),
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_checkpoint_is_passed_over_loudly(damage: Callable[[Path, Path], Any], tmp_path: Path) -> None:
    fill(tmp_path, range(1, 4))
    assert newest_and_said(tmp_path) == (3, [])
    damage(tmp_path / "step_00000003.pt", tmp_path / "step_00000003.json")
    step, said = newest_and_said(tmp_path)
    assert step == 2
    assert len(said) == 1
    assert said[0].startswith("warning: ")
    assert "step_00000003.pt" in said[0]


@pytest.mark.parametrize("chance", [random.Random(seed) for seed in range(5)], ids=range(5))
def test_two_damaged_ones_lead_to_the_third_and_three_to_a_refusal(chance: random.Random, tmp_path: Path) -> None:
    fill(tmp_path, range(1, 4))
    for step in (3, 2, 1):
        path = tmp_path / f"step_0000000{step}.pt"
        flip(path, chance.randrange(path.stat().st_size), 0)
        if step == 2:
            assert newest_and_said(tmp_path)[0] == 1
    before = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    with pytest.raises(NoCheckpoint, match=r"none of 3 checkpoints(.|\n)*fresh=true"):
        checkpoint.newest(tmp_path, lambda line: None)
    assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == before


def test_where_nothing_was_ever_committed_there_is_none(tmp_path: Path) -> None:
    assert checkpoint.newest(tmp_path, silent) is None
    (tmp_path / "step_00000006.pt").write_bytes(b"the first save, cut short between its renames")
    assert checkpoint.newest(tmp_path, silent) is None


def test_what_proved_unusable_is_renamed_so_that_it_no_longer_counts_as_the_newest(tmp_path: Path) -> None:
    fill(tmp_path, range(1, 4))
    os.truncate(tmp_path / "step_00000003.pt", 10)
    assert newest_and_said(tmp_path)[0] == 2
    assert [path.name for path in checkpoint.retire(tmp_path, 2)] == ["step_00000003.json"]
    assert newest_and_said(tmp_path) == (2, [])
    assert (tmp_path / "step_00000003.pt.unusable").stat().st_size == 10
    checkpoint.save(tmp_path, 2, state_of(2), 1)  # with keep=1, a broken newest would have cost the only good one
    assert newest_and_said(tmp_path) == (2, [])


# what must fit


def test_every_misfit_is_named() -> None:
    own = {"weight": torch.zeros(2, 3), "inner": {"count": torch.tensor(1)}, "rate": 0.5}
    assert structure_differences(own, {**own, "weight": torch.full((2, 3), float("nan"))}) == []
    cases: list[tuple[Any, str]] = [
        ({**own, "weight": torch.zeros(3, 2)}, "weight is float32 of shape (3, 2) where float32 of shape (2, 3) is needed"),
        ({**own, "weight": torch.zeros(2, 3).double()}, "weight is float64 of shape (2, 3) where float32"),
        ({**own, "weight": torch.zeros(2, 3).to_sparse()}, "weight is not plain, float32"),
        ({**own, "weight": torch.zeros(2, 3, device="meta")}, "weight is not plain, float32"),
        ({**own, "weight": [[0.0] * 3] * 2}, "weight is a list where a Tensor is needed"),
        ({**own, "inner": 3}, "inner/ is not a mapping"),
        ({**own, "inner": {}}, "inner/count is missing"),
        ({**own, "inner": {**own["inner"], "more": 1}}, "inner/more is unexpected"),
        ({**own, "rate": 1}, "rate is a int where a float is needed"),
        ({**own, "rate": True}, "rate is a bool where a float is needed"),
        (None, "it is not a mapping"),
        (Tensor(), "it is not a mapping"),
    ]
    for other, said in cases:
        found = structure_differences(own, other)
        assert len(found) == 1, other
        assert said in found[0]


@pytest.mark.parametrize("writes", [0, 1, 2, 5])
def test_a_disk_that_fills_up_within_a_checkpoint_is_said_and_leaves_nothing(tmp_path, writes):
    state = {"step": 5, "players": {"generator": torch.zeros(1000)}}
    checkpoint.save(tmp_path, 5, state, 3)
    before = sorted(tmp_path.iterdir())

    class Full(io.FileIO):
        left = writes

        def write(self, data):
            if self.left == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self.left -= 1
            return super().write(data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "open", Full, raising=False)
        with pytest.raises(StorageFailed, match="disk full"):
            checkpoint.save(tmp_path, 6, {**state, "step": 6}, 3)
    assert sorted(tmp_path.iterdir()) == before
    assert checkpoint.read(tmp_path / "step_00000005.pt")["step"] == 5


def test_what_is_streamed_has_the_hash_and_the_size_of_the_file(tmp_path):
    temporary, written = storage.stream_temporary(tmp_path / "file", lambda file: [file.write(b"ab"), file.write(b"c" * 9)], 11)
    assert temporary.read_bytes() == b"ab" + b"c" * 9
    assert (written.size, written.sha256) == (11, hashlib.sha256(b"ab" + b"c" * 9).hexdigest())


def test_saving_and_reading_hold_no_second_copy_of_the_state(tmp_path):
    state = {"step": 5, "players": {f"{place}": torch.full((2**20,), float(place)) for place in range(12)}}  # 48 MiB
    biggest = []

    class Counting(io.FileIO):
        def write(self, data):
            biggest.append(len(data))
            return super().write(data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "open", Counting, raising=False)
        tracemalloc.start()
        path = checkpoint.save(tmp_path, 5, state, 3)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 2**22
    assert max(biggest) == 2**22  # one tensor at a time
    assert torch.equal(checkpoint.read(path)["players"]["7"], state["players"]["7"])
