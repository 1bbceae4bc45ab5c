"""The presets of papers: each composes, says what it is, and trains at the smallest widths on the data it names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from cli_driver import run
from conftest import CONF, compose_config, make_trainer, one_in
from matrix import smallest
from PIL import Image

from ganrun.cli import published
from ganrun.engine import assemble, best
from ganrun.ground import registry

EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml") if path.stem != "none")
OURS = {"demo", "digits", "photos"}  # of no paper
ABSENT = object()
NEEDED = {
    "dcgan", "wgan", "wgan_gp", "sngan", "lsgan", "dragan", "ebgan", "unrolled", "veegan", "madgan", "mrgan", "pacgan", "cgan",
    "acgan", "projection", "pix2pix", "cyclegan", "improved_gan", "spectral_regularization", "r3gan",
}  # fmt: skip


def test_the_presets_of_the_field_are_there() -> None:
    assert set(EXPERIMENTS) >= NEEDED


@pytest.mark.parametrize("name", one_in(3, EXPERIMENTS))
def test_a_preset_trains(name: str, tmp_path: Path) -> None:
    config = compose_config(f"experiment={name}", *([f"dataset.root={photos(tmp_path, 300)}"] if name == "photos" else []))
    pack = config["pack"]
    made = make_trainer({**config, "model": smallest(config["model"]), "batch_size": 4 * pack})
    made.trainer.advance()
    made.trainer.check()
    made.trainer.check_weights()


def photos(folder: Path, count: int, size: int = 32) -> Path:
    """A folder of so many images of noise."""
    made = np.random.default_rng(0).integers(0, 255, (count, size, size, 3), dtype=np.uint8)
    for place, pixels in enumerate(made):
        Image.fromarray(pixels).save(folder / f"{place}.png")
    return folder


@pytest.mark.parametrize(("size", "worked"), [(32, 32), (28, 32), (50, 32), (64, 64), (200, 64)])
def test_photos_are_worked_on_at_a_size_that_follows_from_them(size: int, worked: int, tmp_path: Path) -> None:
    config = compose_config("experiment=photos", f"dataset.root={photos(tmp_path, 4, size)}")
    assert assemble.load_data(config, assemble.build(config, with_metrics=False).family).spec.shape == (3, worked, worked)


def test_photos_hold_images_out_keep_the_best_and_say_whether_the_run_only_repeats_them(tmp_path: Path) -> None:
    config = compose_config("experiment=photos", f"dataset.root={photos(tmp_path, 300)}")
    data = assemble.load_data(config, assemble.build(config, with_metrics=False).family)
    assert 20 <= len(data.held_out()) <= 90
    assert (config["keep_best"], list(config["metric"])) == ("fid", ["fid", "memorisation"])
    assert {"diffaugment", "r1"} == set(config["regularizer"])
    best.verify(config)


def found(config: Any, key: str) -> Any:
    """What stands at a dotted key, or ``ABSENT``."""
    for part in key.split("."):
        if not isinstance(config, Mapping) or part not in config:
            return ABSENT
        config = config[part]
    return config


def faults(config: Any, lines: list[dict[str, Any]]) -> list[str]:
    """Undeclared differences from what was published, and declared ones that there are not."""
    wrong = []
    for line in lines:
        ours = found(config, line["key"])
        if "lacks" in line:
            wrong += [] if ours is ABSENT else [f"{line['key']} is there: it no longer lacks {line['lacks']}"]
        elif "ours" in line:
            wrong += [] if ours == line["ours"] != line["paper"] else [f"{line['key']}={ours}: declared otherwise, {line}"]
        else:
            wrong += [] if ours == line["paper"] else [f"{line['key']}={ours}: the paper has {line['paper']}, undeclared"]
    return wrong


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name not in OURS])
def test_a_preset_differs_from_its_paper_in_what_is_declared_and_nothing_else(name: str) -> None:
    entry = published.table()[name]
    assert not faults(compose_config(f"experiment={name}"), entry["values"])
    assert all(source["read"] in (True, "memory") for source in entry["sources"].values())
    for line in entry["values"]:
        assert line["source"] in entry["sources"]
        assert set(line) in ({"key", "paper", "source"}, {"key", "paper", "ours", "why", "source"}, {"key", "lacks", "source"})


def test_the_table_knows_our_presets_alone() -> None:
    assert set(published.table()) == set(EXPERIMENTS) - OURS


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"key": "batch_size", "paper": 63}, "undeclared"),
        ({"key": "batch_size", "paper": 63, "ours": 62}, "declared otherwise"),
        ({"key": "batch_size", "paper": 64, "ours": 64}, "declared otherwise"),
        ({"key": "batch_size", "lacks": "batches"}, "no longer"),
        ({"key": "not.there", "paper": 1}, "undeclared"),
    ],
)
def test_what_the_table_gets_wrong_is_noticed(line: dict[str, Any], said: str) -> None:
    (fault,) = faults({"batch_size": 64}, [line])
    assert said in fault


def test_differences_are_said_with_the_papers_value_and_why() -> None:
    told = published.differences("cyclegan")
    assert "without mirroring of half of the images, which would make other digits of them" in told
    listed = run("list", "experiment").out
    assert f"Differs from the paper in: {told}." in listed
    assert "demo: The demo" in listed.replace("experiment=", "")


def test_the_presets_weights_of_cyclegan_are_the_papers_squares() -> None:
    """loss=lsgan halves its squares: twice that is the authors' mean squared error to 1."""
    game, scores = compose_config("experiment=cyclegan")["game"], torch.tensor([0.3, -0.7, 1.9])
    verdict = SimpleNamespace(fake_output=SimpleNamespace(score=scores), fake_weight=1.0)
    ours = registry.build("loss", {"name": "lsgan"}).g(verdict) * game["adversarial"]
    assert float(ours) == pytest.approx(float(torch.nn.functional.mse_loss(scores, torch.ones(3))))
