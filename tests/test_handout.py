"""Files that a person asks for: other requests have other names, and nothing that is there is touched."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ganrun.disk.runs import read_config
from ganrun.engine import handout, pictures, sample_run
from ganrun.engine.export import export
from ganrun.engine.run import train
from ganrun.ground.spec import Spec

SMALL = ("steps=1", "batch_size=8", "device=cpu", "device.threads=1", "metric=none")
REQUESTS: list[dict[str, Any]] = [
    {},
    {"raw": True},
    {"seed": 1},
    {"num": 9},
    {"labels": [3]},
    {"labels": [3, 4]},
    {"truncation": 0.7},
    {"class_grid": True},
    {"interpolate": "slerp"},
    {"interpolate": "linear"},
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    from conftest import compose_config

    folder = tmp_path_factory.mktemp("handout")
    data = {
        "a": ["dataset=digits", "model=mlp", "model.generator.width=8", "condition=concat"],
        "b": ["dataset=paired_digits", "game=pix2pix", "model=unet", "model.generator.width=4"],
    }
    for name, words in data.items():
        (folder / name).mkdir()
        train(compose_config(*SMALL, *words), folder / name / "run", overrides=words, sweep=True)
    return [folder / name / "run" for name in data]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def sample(run: Path, out: Path, **said: Any) -> Path:
    return sample_run.sample(run, out=out, config=read_config(run), **{"num": None, "seed": 0, **said})


def test_other_requests_have_other_names_and_the_same_one_its_own(runs: list[Path], tmp_path: Path) -> None:
    made = [sample(runs[0], tmp_path, **said) for said in REQUESTS]
    assert len(set(made)) == len(REQUESTS)
    before = contents(tmp_path)
    assert len(before) == len(REQUESTS)
    assert [sample(runs[0], tmp_path, **said, separate=not said) for said in REQUESTS] == made
    after = contents(tmp_path)
    assert {name: after[name] for name in before} == before
    assert len(after) == len(before) + 64
    assert all(len(path.name) < 200 for path in made)
    assert Image.open(made[1]).text["Comment"].startswith('{"run": "run", "step": 1, "seed": 0, "num": 64, "raw": true')


def test_two_folders_of_one_name_are_two_requests(runs: list[Path], tmp_path: Path) -> None:
    for place, value in (("one", 0), ("two", 255)):
        for name in ("x", "deep/y"):
            path = tmp_path / place / "photos ü" / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8), value, np.uint8)).save(path)
    made = [sample(runs[1], tmp_path / "out", source=tmp_path / place / "photos ü", separate=True) for place in ("one", "two")]
    assert made[0] != made[1]
    for path in made:
        assert sorted(contents(path.with_suffix(""))) == ["deep/y.png", "x.png"]


def test_two_runs_into_one_folder_keep_apart(runs: list[Path], tmp_path: Path) -> None:
    assert sample(runs[0], tmp_path, num=9) != sample(runs[1], tmp_path, num=9)
    assert len(contents(tmp_path)) == 2


def test_a_file_of_the_persons_own_is_not_overwritten(runs: list[Path], tmp_path: Path) -> None:
    made = sample(runs[0], tmp_path, separate=True, num=2)
    (made.with_suffix("") / "notes.txt").write_text("mine")
    (made.with_suffix("") / "00001.png").write_text("painted over")
    before = contents(tmp_path)
    again = sample(runs[0], tmp_path, separate=True, num=2)
    assert again.stem == f"{made.stem}-2"
    after = contents(tmp_path)
    assert {name: after[name] for name in before} == before
    assert sorted(contents(again.with_suffix(""))) == ["00000.png", "00001.png"]
    assert sample(runs[0], tmp_path, separate=True, num=2) == again


def test_a_link_or_a_folder_in_the_way_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("mine")
    os.symlink(tmp_path / "elsewhere", tmp_path / "x.png")
    (tmp_path / "x-2.png").mkdir()
    os.symlink(tmp_path, tmp_path / "x-3")
    assert handout.write(tmp_path, "x", {".png": lambda: b"new", "/0.png": lambda: b"0"}) == "x-4"
    assert (tmp_path / "elsewhere").read_text() == "mine"
    assert (tmp_path / "x-4.png").read_bytes() == b"new"


def test_a_name_is_plain_and_bounded_and_counts_what_it_cannot_say() -> None:
    words = ["sample", "input_ä b/c:*?" + "x" * 300]
    one, other = (handout.name(words, {"input": entry}) for entry in ("a", "b"))
    assert one[:-8] == other[:-8]
    assert one != other
    assert len(one) <= handout.LONGEST + 9
    assert one.isascii()
    assert not set(one) & set("/ :*?")


def test_an_export_without_a_name_leaves_another_one_there(runs: list[Path]) -> None:
    config = read_config(runs[0])
    made = [export(runs[0], None, config, raw=raw) for raw in (False, True, False)]
    assert [path.name for path in made] == ["generator.safetensors", "generator_raw.safetensors", "generator.safetensors"]
    made[0].write_text("mine")
    assert export(runs[0], None, config).name == "generator-2.safetensors"
    assert made[0].read_text() == "mine"


@pytest.mark.parametrize("kind", ["points", "tokens"])
def test_points_and_text_are_one_file_of_their_own(kind: str) -> None:
    spec = Spec("points", (2,), None) if kind == "points" else Spec("tokens", (3, 4), None, alphabet="abcd")
    x = torch.tensor([[0.5, -1.0], [2.0, 0.25]]) if kind == "points" else torch.eye(4)[torch.tensor([[0, 1, 2], [3, 3, 0]])]
    ((name, make),) = pictures.pieces(x, spec).items()
    assert (name, make()) == (("points.txt", b"0.5 -1\n2 0.25\n") if kind == "points" else ("lines.txt", b"abc\ndda\n"))
