"""Truncated latents against the moments of the truncated normal, walks against geometry."""

from __future__ import annotations

import importlib.util
import io
import math
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from scipy.stats import kstest, truncnorm
from torch import nn

from ganrun.cli import targets
from ganrun.disk import checkpoint
from ganrun.engine import assemble, sampling, video
from ganrun.engine.choice import Wish, choose
from ganrun.engine.directions import factorized, first_layers
from ganrun.engine.latents import code_traversal, linear, loop, of_sample, of_samples, slerp, terms, traversal, truncated, walks
from ganrun.engine.standing import stand
from ganrun.games.infogan import Coded
from ganrun.ground import rng
from ganrun.ground.errors import BadInput
from ganrun.ground.spec import Latent


def source(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("threshold", "variance"), [(1.0, 0.2911), (2.0, 0.7737), (0.5, None)])
def test_truncated_latents_have_the_law_of_the_truncated_normal(threshold: float, variance: float | None) -> None:
    z = truncated(Latent(50), threshold, 2000, source()).double().flatten()
    assert z.abs().max() <= threshold
    assert kstest(z.numpy(), truncnorm(-threshold, threshold).cdf).pvalue > 0.01
    density, mass = math.exp(-(threshold**2) / 2) / math.sqrt(2 * math.pi), math.erf(threshold / math.sqrt(2))
    exact = 1 - 2 * threshold * density / mass
    assert variance is None or exact == pytest.approx(variance, abs=1e-4)
    assert z.var().item() == pytest.approx(exact, rel=0.02)


def test_a_wide_threshold_truncates_nothing_and_a_wrong_one_is_refused() -> None:
    assert truncated(Latent(20), 8.0, 5000, source()).var().item() == pytest.approx(1, rel=0.02)
    with pytest.raises(BadInput, match="truncation=0"):
        truncated(Latent(2), 0, 1, source())
    with pytest.raises(BadInput, match="prior=uniform"):
        truncated(Latent(2, "uniform"), 1, 1, source())


def test_slerp_keeps_ends_and_lengths_and_meets_in_the_middle() -> None:
    a, b = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64), torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    made = slerp(a, b, torch.tensor([0.0, 0.25, 0.5, 1.0], dtype=torch.float64))
    torch.testing.assert_close(made[[0, 3]], torch.stack((a, b)))
    torch.testing.assert_close(made.norm(dim=1), torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close(made[2], (a + b) / math.sqrt(2))
    assert torch.arccos(made[1] @ a).item() == pytest.approx(math.pi / 8)


@pytest.mark.parametrize("factor", [1.0, 2.0, -1.0, 0.0])
def test_parallel_and_empty_ends_do_not_divide_by_zero(factor: float) -> None:
    a = torch.tensor([1.0, 2.0])
    t = torch.tensor([0.0, 0.5, 1.0])
    if factor:
        torch.testing.assert_close(slerp(a, factor * a, t), linear(a, factor * a, t))
    assert slerp(a, factor * a, t).isfinite().all()


def test_walks_go_from_end_to_end_in_rows() -> None:
    ends = Latent(4).draw(3, source())
    for rule in ("slerp", "linear"):
        made = walks(ends, rule, 5)
        assert made.shape == (10, 4)
        torch.testing.assert_close(made[[0, 4, 5, 9]], ends[[0, 1, 1, 2]])
    torch.testing.assert_close(walks(ends, "linear", 5)[2], (ends[0] + ends[1]) / 2)
    with pytest.raises(BadInput, match="'slerp'"):
        walks(ends, "slrep")


# traversals and arithmetic


def test_a_traversal_sets_the_component_along_a_direction_and_no_other() -> None:
    z, turned = Latent(5).draw(1, source()), torch.linalg.qr(torch.randn(5, 5, generator=source(1), dtype=torch.float64))[0]
    made = traversal(z, turned[:2], 3.0, 7).view(2, 7, 5).double()
    components = made @ turned.T
    torch.testing.assert_close(components[0, :, 0], torch.linspace(-3, 3, 7, dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(components[1, :, 1], torch.linspace(-3, 3, 7, dtype=torch.float64), atol=1e-6, rtol=0)
    kept = (z.double() @ turned.T).expand(7, 5)
    torch.testing.assert_close(components[0, :, 1:], kept[:, 1:], atol=1e-6, rtol=0)
    torch.testing.assert_close(components[1][:, [0, 2, 3, 4]], kept[:, [0, 2, 3, 4]], atol=1e-6, rtol=0)


def test_codes_take_their_values_in_turn_and_nothing_else_moves() -> None:
    law = Coded(2 + 3 + 2, "normal with codes", Latent(2), (3,), 2)
    z = law.draw(1, source())
    category, first, second = code_traversal(z, law, 4).view(3, 4, 7)
    assert torch.equal(category[:, 2:5], torch.eye(3)[[0, 1, 2, 0]])
    assert torch.equal(first[:, 5], torch.linspace(-1, 1, 4))
    assert torch.equal(second[:, 6], torch.linspace(-1, 1, 4))
    for row, moved in ((category, [2, 3, 4]), (first, [5]), (second, [6])):
        rest = [place for place in range(7) if place not in moved]
        assert torch.equal(row[:, rest], z[:, rest].expand(4, -1))


def test_one_sample_has_the_latent_that_it_has_among_many() -> None:
    many = of_samples(Latent(3), 600, 4)
    assert all(torch.equal(of_sample(Latent(3), index, 4), many[index : index + 1]) for index in (0, 255, 256, 599))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("3 - 5 + 8", ([(1, 3), (-1, 5), (1, 8)], False)),
        ("-2+0.5*7 - .25 * 1", ([(-1, 2), (0.5, 7), (-0.25, 1)], False)),
        ("label 3 - label5", ([(1, 3), (-1, 5)], True)),
    ],
)
def test_sums_are_read(text: str, wanted: object) -> None:
    assert terms(text) == wanted


@pytest.mark.parametrize("text", ["", "3 5", "3 +", "a - b", "3 - label 5", "3 * 0.5", "1e3"])
def test_what_is_no_sum_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="arithmetic="):
        terms(text)


@pytest.mark.parametrize(
    ("model", "data", "how"),
    [
        ("mlp", "toy_points", ""),
        ("mlp", "toy_points", "condition=concat"),
        ("dcgan", "toy_images", ""),
        ("dcgan", "toy_images", "regularizer=spectral_norm"),
        ("resnet", "toy_images", "condition=projection"),
        ("dcgan", "toy_images", "condition=shared"),
        ("dcgan", "toy_images", "condition=per_class"),
    ],
)
def test_what_the_first_layers_do_to_the_latent_is_their_weights(toy, model: str, data: str, how: str) -> None:
    settings = [*([how] if how else []), "model.latent=8", *(["batch_size=6"] if "per_class" in how else [])]
    game = toy(model, data, *settings).parts.game
    label = 1 if game.condition.uses_labels else None
    found = first_layers(game, {}, label)
    player = game.players["generator"]
    network = player.networks[1] if "per_class" in how else player
    first = next(module for module in network.modules() if isinstance(module, nn.Linear | nn.ConvTranspose2d) and
                 module.weight.shape[1 if isinstance(module, nn.Linear) else 0] not in (3, 128))  # fmt: skip
    weight = first.weight.detach()
    matrix = weight if isinstance(first, nn.Linear) else weight.flatten(1).T
    size = 8 if "shared" not in how else matrix.shape[1]
    torch.testing.assert_close(found[: len(matrix), :size], matrix[:, :size], atol=1e-5, rtol=1e-5)
    directions, values = factorized(game, {}, label)
    _, roots, right = torch.linalg.svd(found.double())
    torch.testing.assert_close(values[: len(roots)], roots.square(), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close((directions * right).sum(1).abs()[:3], torch.ones(3, dtype=torch.float64), atol=1e-4, rtol=0)
    if "shared" in how:  # the other parts of z enter the normalizations
        assert len(found) > len(matrix)
        assert (found[:, size:] != 0).any()


def test_codes_of_classes_are_what_their_labels_are(toy) -> None:
    for how in ("concat", "projection", "shared"):
        game = toy("dcgan", "toy_images", f"condition={how}").parts.game
        z, labels = torch.randn(3, 3, generator=source()), torch.arange(3)
        torch.testing.assert_close(game.generate(z, torch.eye(3)), game.generate(z, labels))
        assert not torch.equal(game.generate(z, torch.eye(3) * 2), game.generate(z, labels))


def test_sums_of_samples_and_of_classes_end_their_rows(toy) -> None:
    game = toy("mlp", "toy_points", "condition=concat").parts.game
    z = of_samples(game.latent_law, 9, 2)
    made = choose(Wish(64, 2, arithmetic="3 - 5 + 0.5*8", labels=[2]), game, {})
    assert (made.count, made.columns, made.labels.tolist()) == (4, 4, [2] * 4)
    torch.testing.assert_close(made.latents, torch.stack((z[3], z[5], z[8], z[3] - z[5] + 0.5 * z[8])))
    assert choose(Wish(64, 2, arithmetic="3 - 5"), game, {}).labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    made = choose(Wish(8, 2, arithmetic="label 0 - label 1 + label 2"), game, {})
    assert torch.equal(made.labels[:4], torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, -1, 1]]))
    assert torch.equal(made.latents, z[:2].repeat_interleave(4, 0))


@pytest.mark.parametrize(
    ("how", "wish", "said"),
    [
        ("condition=none", {"traverse": "codes"}, "hold no codes"),
        ("condition=none", {"traverse": "axis"}, "'axes'"),
        ("condition=none", {"traverse": "0,3"}, "there is no 3"),
        ("condition=none", {"traverse": "auto", "interpolate": "slerp"}, "choose one"),
        ("condition=none", {"arithmetic": "label 1"}, "without labels"),
        ("condition=concat", {"arithmetic": "label 3"}, "classes are 0 to 2"),
        ("condition=concat", {"traverse": "auto", "labels": [0, 1]}, "of one class"),
        ("condition=per_class", {"arithmetic": "label 1 - label 2"}, "network for each class"),
        ("game=madgan", {"traverse": "auto"}, "share theirs"),
    ],
)
def test_what_a_run_cannot_show_is_refused(toy, how: str, wish: dict, said: str) -> None:
    made = toy("mlp", "toy_points", how, *(["batch_size=6"] if "per_class" in how else []))
    with pytest.raises(BadInput, match=said):
        choose(Wish(16, 0, **wish), made.parts.game, {})


def test_codes_are_what_is_traversed_where_there_are_some(toy) -> None:
    game = toy("mlp", "toy_points", "game=infogan", "game.categories=[4]", "game.continuous=1").parts.game
    made = choose(Wish(64, 0, traverse="auto"), game, {})
    assert (made.count, made.columns) == (16, 8)
    plain = choose(Wish(64, 0, traverse="sefa"), game, {})
    assert plain.count == 3 * 8  # the directions of the noise alone
    assert torch.equal(plain.latents[:, 3:], of_sample(game.latent_law, 0, 0)[:, 3:].expand(24, -1))


# standing statistics


def test_standing_statistics_are_the_means_over_batches_of_their_means_and_variances(toy: Any) -> None:
    """Of the first normalization they follow from latents and one linear layer; the run's own stay as they were."""
    made = toy("mlp", "toy_points", "model.generator.norm=batch", "model.discriminator.norm=batch", "loss=hinge")
    made.trainer.advance()
    game, batches = made.parts.game, 3
    before = {role: checkpoint.digest(dict(player.state_dict())) for role, player in game.players.items()}
    z = [game.latent_law.draw(256, rng.generator(5, batch, "standing statistics", 0, "latent")) for batch in range(batches)]
    with assemble.performing(game, {}):
        stand(game, batches, lambda batch: game.generate(z[batch], None))
        layer, norm = game.players["generator"].hidden[:2]
        hidden = [layer(entry) for entry in z]
        assert torch.allclose(norm.running_mean, torch.stack([entry.mean(0) for entry in hidden]).mean(0), atol=1e-6)
        assert torch.allclose(norm.running_var, torch.stack([entry.var(0) for entry in hidden]).mean(0), atol=1e-6)
        judge, own = game.players["discriminator"], made.parts.game.players["discriminator"]
        assert checkpoint.digest(dict(judge.state_dict())) == checkpoint.digest(dict(own.state_dict()))
        kept = game.generate(z[0][:5], None)
    assert {role: checkpoint.digest(dict(player.state_dict())) for role, player in game.players.items()} == before
    options = {"seed": 5, "runtime": made.trainer.runtime, "averages": {}}
    usual = sampling.generate(game, 5, **options)
    standing = sampling.generate(game, 5, standing=batches, **options)
    assert not torch.allclose(usual, standing, atol=1e-4)
    assert torch.equal(standing, sampling.generate(game, 9, standing=batches, **options)[:5])
    assert kept.shape == standing.shape
    with pytest.raises(BadInput, match="no batch normalization"):
        sampling.generate(toy("mlp", "toy_points", "model.generator.norm=none").parts.game, 5, standing=1, **options)


def test_a_closed_walk_visits_every_sample_evenly_and_comes_back() -> None:
    ends = of_samples(Latent(20), 3, 0)
    for rule in ("slerp", "linear"):
        z = loop(ends, rule, 12)
        assert z.shape == (12, 20)
        torch.testing.assert_close(z[[0, 4, 8]], ends)
        between = walks(torch.cat((ends, ends[:1])), rule, 5)  # 5 a row, both ends among them
        torch.testing.assert_close(z, between.unflatten(0, (3, 5))[:, :4].flatten(0, 1))
    uneven = loop(ends, "linear", 7)
    t = torch.tensor([3 * 2 / 7], dtype=torch.float64)
    torch.testing.assert_close(uneven[2:3], linear(ends[0].double(), ends[1].double(), t).float())
    assert len(uneven) == 7
    assert torch.equal(loop(ends[:1], "slerp", 2), ends[:1].repeat(2, 1))
    with pytest.raises(BadInput, match="interpolate=cubic"):
        loop(ends, "cubic", 4)


def test_a_video_walks_within_each_class_side_by_side(toy: Any) -> None:
    game = toy("dcgan", "toy_images", "condition=concat").parts.game
    made = video.walk(game, num=2, seed=0, frames=4, labels=None, truncation=None, rule="slerp")
    assert (made.count, made.columns) == (12, 3)
    assert made.labels is not None
    assert made.latents is not None
    assert made.labels.tolist() == [0, 1, 2] * 4
    assert torch.equal(made.latents[0::3], made.latents[2::3])
    torch.testing.assert_close(made.latents[0::6], of_samples(game.latent_law, 2, 0))
    assert made.note.endswith("side by side, each within its class: 0, 1, 2")
    one = video.walk(game, num=2, seed=0, frames=4, labels=[2], truncation=None, rule="slerp")
    assert (one.count, one.columns, one.labels.tolist()) == (4, 1, [2] * 4)  # type: ignore[union-attr]
    with pytest.raises(BadInput, match="classes are 0 to 2"):
        video.walk(game, num=2, seed=0, frames=4, labels=[3], truncation=None, rule="slerp")
    plain = toy("dcgan", "toy_images").parts.game
    assert video.walk(plain, num=2, seed=0, frames=4, labels=None, truncation=None, rule="linear").columns == 1
    with pytest.raises(BadInput, match="trained without labels"):
        video.walk(plain, num=2, seed=0, frames=4, labels=[1], truncation=None, rule="linear")
    for word, data, said in (("game=madgan", "toy_images", "share theirs"), ("game=cyclegan", "toy_unpaired", "translates")):
        other = toy("dcgan", data, word).parts.game
        with pytest.raises(BadInput, match=said):
            video.walk(other, num=2, seed=0, frames=4, labels=None, truncation=None, rule="linear")


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_videos_hold_their_frames_in_order_at_their_speed(mode: str) -> None:
    shades = [0, 80, 160, 240]
    frames = [Image.new(mode, (33, 20), (shade,) * len(mode) if mode == "RGB" else shade) for shade in shades]
    with Image.open(io.BytesIO(video.as_gif(iter(frames), 25))) as gif:
        assert (gif.n_frames, gif.info["duration"], gif.info["loop"]) == (4, 40, 0)  # type: ignore[attr-defined]
        for place, shade in enumerate(shades):
            gif.seek(place)
            assert gif.convert("L").getpixel((16, 10)) == shade
    assert [video.hundredths(fps) for fps in (10, 24, 25, 60, 120)] == [10, 4, 4, 2, 2]
    larger = [video.even(frame) for frame in frames]
    assert [frame.size for frame in larger] == [(34, 20)] * 4
    assert larger[1].convert("L").getpixel((33, 5)) == 32
    if importlib.util.find_spec("imageio_ffmpeg") is None:
        pytest.skip("not installed: imageio-ffmpeg")
    import imageio_ffmpeg

    with tempfile.NamedTemporaryFile(suffix=".mp4") as file:
        file.write(video.as_mp4(iter(larger), 10))
        file.flush()
        reader = imageio_ffmpeg.read_frames(file.name)
        about = next(reader)
        assert (about["size"], about["fps"], about["codec"]) == ((34, 20), 10, "h264")
        found = [Image.frombytes("RGB", about["size"], data).convert("L").getpixel((16, 10)) for data in reader]
    assert found == pytest.approx(shades, abs=6)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((Path("walk.avi"), None, None), "must end with .mp4 or .gif"),
        ((Path("walk"), None, None), "must end with .mp4 or .gif"),
        ((None, 30, None), "--frames 30: is an option of --video FILE"),
        ((None, None, 30), "--fps 30: is an option of --video FILE"),
        ((Path("walk.mp4"), None, None), r'pip install "ganrun\[video\]". FILE.gif needs nothing more'),
    ],
)
def test_videos_that_cannot_be_are_refused_at_once(words: Any, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match=said):
        targets.film(*words)
    assert targets.film(Path("a.GIF"), None, 30) == targets.Film(Path("a.GIF"), 120, 30)
