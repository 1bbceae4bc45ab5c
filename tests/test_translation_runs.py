"""Runs that translate: sources kept in the folder, pictures side by side, a person's own images, the distance to the answer."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import compose_config, make_trainer
from PIL import Image
from torch import Tensor, nn

import ganrun
from ganrun.data.base import to_pixels
from ganrun.engine import assemble, generator_scores, pictures, sample_run, sampling, sources
from ganrun.engine.choice import Choice
from ganrun.engine.probe import probe
from ganrun.engine.run import train
from ganrun.ground.errors import BadInput
from ganrun.ground.registry import build
from ganrun.ground.runtime import resolve
from ganrun.ground.spec import Spec
from ganrun.metrics.base import Sample

SMALL = ("device=cpu", "device.threads=1", "steps=2", "batch_size=4", "ema=0.5", "metric=none")
NETWORKS = ("model.generator.width=4", "model.discriminator.width=4")
DIGITS = ("dataset=paired_digits", "dataset.size=8", "dataset.task=invert", *NETWORKS)


def config(*overrides: str) -> dict[str, Any]:
    return compose_config(*SMALL, *overrides)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, dict[str, Any]]]:
    """Two steps of each kind."""
    wanted = {
        "pairs": config(*DIGITS, "model.noise=input"),
        "no pairs": config("dataset=unpaired_digits", "dataset.size=8", *NETWORKS),
        "points": config("dataset=rotated_ring", "dataset.num=50", *NETWORKS),
        "labels": config(*DIGITS, "condition=concat"),
        "noise": config("dataset=digits", "model=mlp", *NETWORKS),
    }
    found = {}
    for name, given in wanted.items():
        folder = tmp_path_factory.mktemp("runs") / name.replace(" ", "-")
        train(given, folder, overrides=[], sweep=True)
        found[name] = (folder, given)
    return found


def no_data(*arguments: Any) -> Any:
    raise AssertionError("the data set was asked for")


# what the run folder keeps


def test_the_run_keeps_its_first_held_out_sources_with_their_answers(runs: dict[str, Any]) -> None:
    for name, rows in (("pairs", 32), ("no pairs", 32), ("points", 50)):
        folder, given = runs[name]
        dataset = build("dataset", given["dataset"])
        held = sources.load(folder, sampling.load_spec(folder))
        wanted = sources.of_dataset(dataset, rows)
        assert torch.equal(held.source, wanted.source)
        if name == "no pairs":
            assert held.target is None
            assert torch.equal(held.source, dataset.held_out().sources().batch(torch.arange(32)).x)
        else:
            assert torch.equal(held.target, dataset.held_out().batch(torch.arange(rows)).x)
            assert torch.equal(held.source, dataset.held_out().batch(torch.arange(rows)).source)
    assert not (runs["noise"][0] / sources.FILE).exists()


def test_a_second_look_changes_nothing_and_a_run_of_other_data_has_other_sources(runs: dict[str, Any], tmp_path: Path) -> None:
    folder, given = runs["pairs"]
    before = (folder / sources.FILE).read_bytes()
    made = make_trainer(given)
    sources.keep(folder, made.parts.game, made.dataset)
    assert (folder / sources.FILE).read_bytes() == before


@pytest.mark.parametrize("damage", ["gone", "torn", "other", "short"])
def test_damaged_sources_are_said(runs: dict[str, Any], tmp_path: Path, damage: str) -> None:
    folder = shutil.copytree(runs["pairs"][0], tmp_path / "run")
    file = folder / sources.FILE
    if damage == "gone":
        file.unlink()
    elif damage == "torn":
        file.write_bytes(file.read_bytes()[:100])
    else:
        held = torch.load(file, weights_only=True)
        held["target"] = held["target"][:3] if damage == "short" else held["target"][..., :4]
        torch.save(held, file)
    with pytest.raises(BadInput, match=r"sources\.pt.*damaged.*--input"):
        sample_run.sample(folder, num=2, seed=0, out=tmp_path, config=runs["pairs"][1])


def test_the_log_says_what_the_discriminator_sees(runs: dict[str, Any]) -> None:
    said = (runs["no pairs"][0] / "train.log").read_text()
    assert "discriminator: judges patches of 16x16 pixels: a map of 2x2 scores" in said
    assert "inverse_discriminator: judges" in said
    assert "sources: the outlines of the ink" in said


def test_the_picture_shows_source_translation_and_answer_side_by_side() -> None:
    spec = Spec("image", (3, 8, 8), None, (1, 8, 8))
    source, made, target = torch.full((5, 1, 8, 8), -1.0), torch.zeros(5, 3, 8, 8), torch.ones(5, 3, 8, 8)
    for answer, kinds in ((target, 3), (None, 2)):
        found = np.asarray(pictures.beside(made, spec, source, answer).convert("L"))
        columns = pictures.across(5 * kinds, kinds)
        side = found.shape[1] // columns
        cells = [int(found[side // 2, side // 2 + index * side]) for index in range(columns)]
        assert cells == [0, 128, 255][:kinds] * (columns // kinds)
        assert columns % kinds == 0


# sampling


@pytest.mark.parametrize("name", ["pairs", "no pairs", "points", "labels"])
def test_sampling_needs_no_data_set_and_sample_i_is_made_from_source_i(
    runs: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder, given = runs[name]
    monkeypatch.setattr(assemble, "load_data", no_data)
    path = sample_run.sample(folder, num=None, seed=3, out=tmp_path, config=given)
    assert path.exists()
    trained = sampling.Trained(folder, given)
    held = sources.load(folder, trained.spec)
    few, many = (trained.sample(count, seed=3) for count in (5, 70))
    assert torch.equal(few, many[:5])
    explicit = held.source[:5] if name == "points" else (held.source[:5] + 1) / 2
    labels = held.labels[:5].tolist() if name == "labels" else None
    assert torch.allclose(trained.sample(5, seed=3, sources=explicit, labels=labels), few, atol=1e-6)
    turned = trained.sample(5, seed=3, sources=explicit.flip(0), labels=labels)
    assert not torch.allclose(turned, few, atol=1e-4)


def test_dropout_differs_from_sample_to_sample_and_repeats_with_the_seed(runs: dict[str, Any]) -> None:
    folder, given = runs["no pairs"]
    trained = sampling.Trained(folder, given)
    one = trained.starts(1)
    assert one is not None
    x = trained.make(Choice(70), seed=1, starts=one.repeated(70))
    again = trained.make(Choice(70), seed=1, starts=one.repeated(70))
    assert torch.equal(x, again)
    assert len(torch.unique(x.flatten(1), dim=0)) == 70
    assert not torch.equal(x, trained.make(Choice(70), seed=2, starts=one.repeated(70)))


def test_the_public_loader_translates(runs: dict[str, Any]) -> None:
    trained = ganrun.load(runs["pairs"][0], device="cpu")
    assert trained.sample(3, sources=torch.rand(3, 1, 8, 8)).shape == (3, 1, 8, 8)
    with pytest.raises(BadInput, match="this run translates"):
        trained.sample(3, sources=torch.rand(3, 1, 9, 9))
    with pytest.raises(BadInput, match="nothing"):
        ganrun.load(runs["noise"][0], device="cpu").sample(3, sources=torch.rand(3, 1, 8, 8))


def test_walks_keep_the_source_of_a_row_and_need_a_latent(runs: dict[str, Any]) -> None:
    folder, given = runs["pairs"]
    trained = sampling.Trained(folder, given)
    starts = trained.starts(16, interpolate="linear")
    assert starts is not None
    assert torch.equal(starts.source[0], starts.source[7])
    assert not torch.equal(starts.source[7], starts.source[8])
    assert trained.sample(16, interpolate="linear").shape[0] == 16
    other = sampling.Trained(*runs["no pairs"])
    with pytest.raises(BadInput, match="takes none"):
        other.sample(16, interpolate="linear")


def test_a_grid_of_classes_shows_each_source_as_every_class(runs: dict[str, Any]) -> None:
    trained = sampling.Trained(*runs["labels"])
    starts = trained.starts(20, class_grid=True)
    assert starts is not None
    assert torch.equal(starts.source[:2], starts.source[2:4])
    assert trained.sample(20, class_grid=True).shape[0] == 20


def test_a_probe_has_no_pairs_to_show(runs: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="never a sample alone"):
        probe(*runs["pairs"])


def test_data_of_pairs_trains_a_game_that_translates_nothing() -> None:
    made = make_trainer(config(*DIGITS, "game=adversarial", "model=dcgan"))
    made.trainer.advance()
    assert not sources.translates(made.parts.game)
    assert sources.keep(Path("nowhere"), made.parts.game, made.dataset) is None


# a person's own images


def own(folder: Path) -> dict[str, tuple[int, int]]:
    """Files of several kinds and sizes; what each is called and how large it is."""
    found = {"wide.png": (30, 10), "tall.jpg": (9, 40), "sub/tiny.bmp": (3, 3), "same.png": (8, 8), "same.jpg": (8, 8)}
    for index, (name, size) in enumerate(found.items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (40 * index, 40 * index, 40 * index)).save(path)
    return found


def test_own_images_of_any_size_are_translated_under_their_own_names(runs: dict[str, Any], tmp_path: Path) -> None:
    folder, given = runs["pairs"]
    own(tmp_path / "mine")
    path = sample_run.sample(
        folder, num=None, seed=0, out=tmp_path / "out", config=given, separate=True, source=tmp_path / "mine"
    )
    assert path.exists()
    made = sorted(str(entry.relative_to(path.with_suffix(""))) for entry in path.with_suffix("").rglob("*.png"))
    assert made == ["same.jpg.png", "same.png.png", "sub/tiny.png", "tall.png", "wide.png"]
    assert Image.open(path.with_suffix("") / "wide.png").size == (8, 8)
    found = sources.read_folder(tmp_path / "mine", Spec("image", (1, 8, 8), None, (1, 8, 8)), {})
    assert dict(zip(found.names, to_pixels(found.source)[:, 0, 4, 4].tolist(), strict=True)) == {
        "wide": 0,
        "tall": 40,
        "sub/tiny": 80,
        "same.png": 120,
        "same.jpg": 160,
    }
    assert found.source.shape == (5, 1, 8, 8)


def test_own_images_are_resized_and_padded_as_the_data_was(tmp_path: Path) -> None:
    own(tmp_path)
    spec = Spec("image", (3, 16, 16), None, (3, 16, 16))
    padded = sources.read_folder(tmp_path, spec, {"size": 12, "resize": "pad"})
    shown = dict(zip(padded.names, to_pixels(padded.source), strict=True))
    square = torch.zeros(3, 16, 16, dtype=torch.uint8)
    square[:, 2:14, 2:14] = 120
    assert torch.equal(shown["same.png"], square)
    assert int(shown["tall"][:, 2:14].amax()) > 30  # the whole of it, between black sides
    assert int(shown["tall"][:, :, :6].amax()) == int(shown["tall"][:, :, 10:].amax()) == 0
    filled = sources.read_folder(tmp_path, spec, {"size": 12, "resize": "crop", "fit": "resize"})
    assert int(to_pixels(filled.source)[filled.names.index("same.png")].amin()) == 120
    cut = sources.read_folder(tmp_path, spec, {"resize": "crop"})
    assert int(to_pixels(cut.source)[cut.names.index("tall")].amin()) > 30


def test_own_images_that_cannot_be_are_refused_in_words(runs: dict[str, Any], tmp_path: Path) -> None:
    def ask(place: Path, run: str = "pairs", **more: Any) -> str:
        with pytest.raises(BadInput) as caught:
            sample_run.sample(
                runs[run][0], **{"num": None, "seed": 0, "out": tmp_path, "config": runs[run][1], "source": place} | more
            )
        return str(caught.value)

    assert "there is no such folder" in ask(tmp_path / "nowhere")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert ask(empty).startswith(f"--input {empty}: no images, no files at all")
    (empty / "notes.txt").write_text("words")
    assert "left out: 1 file, by their suffix no images" in ask(empty)
    (empty / "bad.png").write_bytes(b"no image")
    assert "bad.png (no image of the formats" in ask(empty)
    assert "it is a file" in ask(empty / "bad.png")
    own(tmp_path / "mine")
    assert "translates nothing" in ask(tmp_path / "mine", "noise")
    assert "trained on points" in ask(tmp_path / "mine", "points")
    assert "say which class" in ask(tmp_path / "mine", "labels")
    assert "leave out --num" in ask(tmp_path / "mine", num=3)
    assert sample_run.sample(
        runs["labels"][0], num=None, seed=0, out=tmp_path, config=runs["labels"][1], labels=[3], source=tmp_path / "mine"
    ).exists()


# scores


class Negative(nn.Module):
    """The right answer to task=invert."""

    def __init__(self, shift: float = 0.0) -> None:
        super().__init__()
        self.shift = shift

    def forward(self, source: Tensor, *more: Tensor, **condition: Tensor) -> Tensor:
        return -source + self.shift


@pytest.mark.parametrize("count", [None, 50, 400])
def test_the_right_answer_to_held_out_sources_has_no_distance(count: int | None) -> None:
    given = config(*DIGITS, "metric=paired_distance", f"evaluation.num={'null' if count is None else count}")
    parts = assemble.build(given)
    dataset = assemble.load_data(given, parts.family)
    assemble.verify(parts, dataset)
    runtime = resolve(given["device"])
    assemble.build_players(parts, dataset.spec, runtime)
    options: dict[str, Any] = {
        "metrics": parts.metrics,
        "game": parts.game,
        "averages": {},
        "dataset": dataset,
        "runtime": runtime,
        "evaluation": given["evaluation"],
        "say": print,
    }
    parts.game.players = {**parts.game.players, "generator": Negative()}
    scores, _ = generator_scores.evaluate(**options)
    assert scores["paired_l1"]["value"] == pytest.approx(0, abs=1e-6)
    assert scores["paired_l1"]["card"]["pairs"] == "held_out"
    parts.game.players = {**parts.game.players, "generator": Negative(0.25)}
    wrong, _ = generator_scores.evaluate(**options)
    assert 0.1 < wrong["paired_l1"]["value"] < wrong["paired_l2"]["value"] < 0.26  # white stays white: it is clamped


def test_the_distance_is_the_mean_over_pairs_that_come_over_and_over() -> None:
    class Pairs:
        def held_out(self) -> None:
            return None

        def __len__(self) -> int:
            return 2

        def batch(self, rows: Tensor) -> Any:
            return Sample(torch.tensor([[0.0, 0.0], [1.0, 1.0]])[rows])

    metric = build("metric", {"name": "paired_distance"})
    metric.bind(Pairs())
    metric.update(Sample(torch.full((9, 2), 77.0)), real=True)
    metric.update(Sample(torch.tensor([[0.0, 3.0], [1.0, 1.0]])), real=False)
    metric.update(Sample(torch.tensor([[0.0, -1.0]])), real=False)
    found = metric.compute()
    assert found["paired_l1"] == pytest.approx(4 / 6)
    assert found["paired_l2"] == pytest.approx((10 / 6) ** 0.5)
    assert metric.card()["pairs"] == "train"


def test_a_distance_to_answers_needs_pairs_and_a_game_that_translates() -> None:
    given = config("dataset=ring8", "metric=paired_distance")
    parts = assemble.build(given)
    with pytest.raises(BadInput, match=r"(?s)dataset=paired_digits.*game=pix2pix"):
        assemble.verify(parts, assemble.load_data(given, parts.family))
