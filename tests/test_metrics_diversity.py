"""MS-SSIM, the birthday paradox and memorisation: closed forms, laws, and generators that repeat themselves on purpose."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from ganrun.engine import scoring
from ganrun.ground import rng
from ganrun.ground.errors import BadInput
from ganrun.ground.registry import build
from ganrun.metrics.base import Sample, Stage
from ganrun.metrics.birthday import collisions, first_collisions
from ganrun.metrics.memorisation import nearest_first
from ganrun.metrics.ms_ssim import pairs, scales, similarity


@pytest.fixture(autouse=True)
def _one_thread(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setenv("GANRUN_CACHE", str(tmp_path))


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def scored(name: str, real: Sample, fake: Sample, **options):
    metric = build("metric", {"name": name, **options})
    metric.update(real, real=True)
    metric.update(fake, real=False)
    return metric, metric.compute()


# ---------------------------------------------------------------- MS-SSIM


@pytest.mark.parametrize(
    ("side", "count"), [(8, 1), (11, 1), (21, 1), (22, 2), (43, 2), (44, 3), (87, 3), (88, 4), (175, 4), (176, 5), (400, 5)]
)
def test_the_number_of_scales_leaves_eleven_pixels(side, count):
    assert scales(side) == count
    x = images(2, 1, side, side)
    assert torch.allclose(similarity(x, x), torch.ones(2, dtype=torch.float64), atol=1e-5)


def test_one_scale_is_the_structural_similarity_itself():
    x, y = images(5, 1, 16, 16), images(5, 1, 16, 16, seed=1)
    y = (x + 0.3 * y).clamp(-1, 1)
    _, theirs = structural_similarity_index_measure(
        (x + 1) / 2, (y + 1) / 2, data_range=1.0, reduction="none", return_full_image=True
    )
    inside = theirs[..., 5:-5, 5:-5].flatten(1).mean(1)  # beyond, torchmetrics mirrors the images
    assert similarity(x, y).tolist() == pytest.approx(inside.tolist(), abs=1e-5)


def by_the_paper(x: np.ndarray, y: np.ndarray, weights: tuple[float, ...]) -> float:
    """MS-SSIM of two pictures in [0, 1] by Wang et al. 2003, window by window; ``weights``: one for each scale."""
    taps, sigma = (11, 1.5) if len(x) >= 11 else (5, 0.5)
    place = np.arange(taps) - taps // 2
    gauss = np.exp(-(place[:, None] ** 2 + place[None] ** 2) / (2 * sigma**2))
    gauss /= gauss.sum()
    found = 1.0
    for scale, weight in enumerate(weights):
        if scale:
            side = len(x) // 2 * 2
            x, y = (entry[:side, :side].reshape(side // 2, 2, side // 2, 2).mean((1, 3)) for entry in (x, y))
        a, b = (np.lib.stride_tricks.sliding_window_view(entry, (taps, taps)) for entry in (x, y))
        mean_a, mean_b = ((entry * gauss).sum((2, 3)) for entry in (a, b))
        centred_a, centred_b = a - mean_a[..., None, None], b - mean_b[..., None, None]
        spread_a, spread_b, joint = ((entry * gauss).sum((2, 3)) for entry in (centred_a**2, centred_b**2, centred_a * centred_b))
        values = (2 * joint + 0.03**2) / (spread_a + spread_b + 0.03**2)
        if scale == len(weights) - 1:
            values = values * (2 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2)
        found *= max(values.mean(), 0) ** (weight / sum(weights))
    return found


@pytest.mark.parametrize(("side", "count"), [(8, 1), (16, 1), (28, 2), (32, 2), (64, 3), (160, 4)])
def test_similarity_is_that_of_the_paper_in_double_precision(side: int, count: int) -> None:
    x, y = images(2, 1, side, side).double(), images(2, 1, side, side, seed=1).double()
    y = (x + 0.5 * y).clamp(-1, 1)
    weights = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)[:count]
    wanted = [by_the_paper(*((entry[0].numpy() + 1) / 2 for entry in pair), weights) for pair in zip(x, y, strict=True)]
    assert similarity(x, y).tolist() == pytest.approx(wanted, abs=1e-9)
    assert similarity(x.expand(-1, 3, -1, -1), y.expand(-1, 3, -1, -1)).tolist() == pytest.approx(wanted, abs=1e-9)
    assert 0.1 < wanted[0] < 0.95
    metric, _ = scored("ms_ssim", Sample(x=x.float()), Sample(x=y.float()), pairs=2)
    assert metric.card()["scales"] == count
    assert metric.card()["window"] == f"{11 if side >= 11 else 5} taps, inside the images"


def test_similarity_is_symmetric_and_falls_with_noise():
    x, noise = images(6, 3, 32, 32), images(6, 3, 32, 32, seed=1)
    near, far = x + 0.05 * noise, x + 0.5 * noise
    assert torch.allclose(similarity(x, near), similarity(near, x), atol=1e-6)
    assert (similarity(x, far) < similarity(x, near)).all()
    assert (similarity(x, near) < 1).all()


def test_pairs_are_of_one_class_and_of_two_samples():
    classes = torch.tensor([0, 1, 1, 2, 2, 2, 3] * 3 + [9])
    found = pairs(classes, 4000, torch.Generator().manual_seed(0))
    assert (classes[found[:, 0]] == classes[found[:, 1]]).all()
    assert (found[:, 0] != found[:, 1]).all()
    assert 21 not in found  # the only one of its class
    seen = {tuple(sorted(pair)) for pair in found.tolist()}
    expected = sum(math.comb(count, 2) for count in classes.bincount().tolist())
    assert len(seen) == expected  # every pair of a class can come
    assert len(pairs(torch.arange(5), 10, torch.Generator())) == 0


def test_classes_that_repeat_one_image_read_one_though_the_classes_differ():
    x = torch.cat([images(1, 1, 16, 16, seed=seed).repeat(10, 1, 1, 1) for seed in range(3)])
    logits = torch.nn.functional.one_hot(torch.arange(3).repeat_interleave(10)).float()
    metric, found = scored("ms_ssim", Sample(x=images(30, 1, 16, 16), logits=logits), Sample(x=x, logits=logits), pairs=40)
    assert found["ms_ssim"] == pytest.approx(1, abs=1e-5)
    assert found["ms_ssim_real"] < 0.3
    assert metric.card()["pairs are"] == "of one class, by the extractor"
    metric, mixed = scored("ms_ssim", Sample(x=x), Sample(x=x), pairs=40)
    assert mixed["ms_ssim"] < 0.6
    assert metric.card()["pairs are"] == "any two images"


def test_no_two_of_a_class_give_no_value_and_say_so():
    logits = torch.eye(4)
    metric, found = scored(
        "ms_ssim", Sample(x=images(4, 1, 16, 16), logits=logits), Sample(x=images(4, 1, 16, 16), logits=logits)
    )
    assert (found, metric.missing) == ({}, "no two samples are of one class")


# ---------------------------------------------------------------- birthday


def first_size(support: int, probability: float = 0.5) -> int:
    """The first batch size whose collision probability reaches one half, by the product formula."""
    free, size = 1.0, 1
    while 1 - free < probability:
        free *= 1 - size / support
        size += 1
    return size


def test_the_product_formula_gives_the_known_sizes():
    assert first_size(1000) == 38
    assert 1 - math.prod(1 - i / 400 for i in range(20)) == pytest.approx(0.383, abs=1e-3)


@pytest.mark.parametrize("support", [50, 400, 1000])
def test_a_uniform_law_of_known_support_is_recognised(support):
    points = normal(support, 5)
    draws = torch.randint(support, (2000,), generator=torch.Generator().manual_seed(1))
    metric, found = scored("birthday", Sample(x=normal(2000, 5, seed=2)), Sample(x=points[draws]))
    assert found["birthday"] == pytest.approx(first_size(support), rel=0.15, abs=2)
    assert found["support"] == pytest.approx(found["birthday"] ** 2 / (2 * math.log(2)))
    assert found["near_duplicates"] > 0.8
    assert found["near_duplicates_real"] < 0.01
    assert metric.spreads["support"] > 0


def test_near_duplicates_count_and_neighbours_do_not():
    real, base = normal(500, 4), normal(250, 4, seed=1)
    radius = scored("birthday", Sample(x=real), Sample(x=real))[0].radius
    step = torch.tensor([radius, 0.0, 0.0, 0.0], dtype=torch.float64)
    _, near = scored("birthday", Sample(x=real), Sample(x=torch.cat((base, base + 0.99 * step))))
    _, apart = scored("birthday", Sample(x=real), Sample(x=torch.cat((base, base + 1.01 * step))))
    assert near["near_duplicates"] == 1
    assert apart["near_duplicates"] < 0.05


def test_without_collisions_the_size_is_not_made_up():
    metric, found = scored("birthday", Sample(x=normal(300, 6)), Sample(x=normal(300, 6, seed=1)))
    assert found == {"near_duplicates": 0.0, "near_duplicates_real": 0.0}
    assert "orders of 300 samples" in metric.remarks[0]


def test_features_are_compared_where_there_are_any():
    features = normal(200, 3)
    metric, found = scored(
        "birthday",
        Sample(x=normal(200, 9), features=features),
        Sample(x=normal(200, 9, seed=1), features=features[:1].expand(200, -1)),
    )
    assert (found["birthday"], metric.card()["space"]) == (2, "features")


def test_collisions_are_all_pairs_within_the_radius(monkeypatch):
    monkeypatch.setattr("ganrun.metrics.birthday.CHUNK", 7)
    x = normal(40, 2)
    expected = {(i, j) for i in range(40) for j in range(i + 1, 40) if (x[i] - x[j]).norm() <= 0.3}
    assert {tuple(pair) for pair in collisions(x, 0.3).tolist()} == expected
    assert expected


def test_one_pair_of_n_is_met_when_both_have_come():
    # the larger of two ranks among n: median about n / sqrt(2)
    found = first_collisions(torch.tensor([[3, 70]]), 100, rng.generator("test"))
    assert found.median().item() == pytest.approx(100 / math.sqrt(2), abs=6)


def test_the_deviation_of_the_support_is_that_of_fresh_samples():
    points = normal(300, 4)
    found = []
    for seed in range(30):
        draws = torch.randint(300, (500,), generator=torch.Generator().manual_seed(seed))
        found.append(scored("birthday", Sample(x=normal(500, 4, seed=999)), Sample(x=points[draws])))
    truth = np.std([values["support"] for _, values in found])
    assert 0.25 < np.mean([metric.spreads["support"] for metric, _ in found]) / truth < 2


# ---------------------------------------------------------------- memorisation


def memorised(train: torch.Tensor, held_out: torch.Tensor | None, generated: torch.Tensor):
    metric = build("metric", {"name": "memorisation"})
    splits = {"train": Sample(features=train), "held_out": None if held_out is None else Sample(features=held_out)}
    metric.enter(Stage(splits.__getitem__))
    metric.update(Sample(features=train), real=True)
    metric.update(Sample(features=generated), real=False)
    return metric, metric.compute()


def test_a_generator_of_the_same_law_has_no_gap_and_one_half():
    found = [memorised(*(normal(200, 4, seed=3 * s + part) for part in range(3))) for s in range(60)]
    for name, expected in (("fid_gap", 0.0), ("nearest_train", 0.5)):
        values = [entry[name] for _, entry in found]
        assert abs(np.mean(values) - expected) < 4 * np.std(values) / math.sqrt(len(values))


def test_a_copier_is_caught():
    train, held_out = normal(200, 4), normal(200, 4, seed=1)
    metric, found = memorised(train, held_out, train[:150] + 1e-3 * normal(150, 4, seed=2))
    assert found["nearest_train"] == 1
    assert found["fid_gap"] > 0
    assert found["fid_gap"] == pytest.approx(found["fid_held_out"] - found["fid_train"])
    assert metric.spreads["fid_gap"] > 0


def test_splits_are_cut_to_equal_size():
    metric, found = memorised(normal(500, 4), normal(80, 4, seed=1), normal(100, 4, seed=2))
    assert found["nearest_train_expected"] == 500 / 580
    assert metric.card()["real samples of a split for fid_gap"] == 80


def test_the_deviation_of_the_gap_is_that_of_fresh_samples():
    found = [memorised(*(scale * normal(200, 4, seed=3 * s + part) for part, scale in enumerate((1, 1, 1.5)))) for s in range(60)]
    truth = np.std([values["fid_gap"] for _, values in found])
    assert np.mean([metric.spreads["fid_gap"] for metric, _ in found]) == pytest.approx(truth, rel=0.3)


def test_nearest_is_counted_by_distance_and_draws_are_halves():
    first, second = torch.tensor([[0.0], [10.0]]), torch.tensor([[4.0]])
    assert nearest_first(torch.tensor([[1.0], [3.0], [2.0], [8.0]]), first, second).tolist() == [1, 0, 0.5, 1]


def test_data_that_hold_nothing_out_give_no_value_and_say_so():
    class Whole(list):
        def held_out(self) -> None:
            return None

    metric, found = memorised(normal(50, 3), None, normal(50, 3, seed=1))
    assert (found, "held out is nothing" in metric.lacks(Whole(range(50)), None)) == ({}, True)


# ---------------------------------------------------------------- on real images


def test_all_of_them_read_the_digits():
    dataset = build("dataset", {"name": "digits", "size": None})
    evaluation = {"num": None, "reference": "train", "extractor": "auto", "weights": None, "weights_sha256": None,
                  "average": True, "baselines": False, "batch_size": 250, "seed": 7}  # fmt: skip
    names = ("ms_ssim", "birthday", "memorisation", "kid", "precision_recall", "density_coverage", "sliced_wasserstein")
    held_out = dataset.held_out().batch(torch.arange(360)).x
    train = dataset.batch(torch.arange(360)).x
    results = [
        scoring.score({name: build("metric", {"name": name}) for name in names}, x, dataset, evaluation=evaluation, say=[].append)
        for x in (held_out, train, held_out[:1].repeat(360, 1, 1, 1))
    ]
    fresh, copied, collapsed = (
        {key: value for result in row.values() for key, value in result.values.items()} for row in results
    )
    assert fresh["ms_ssim"] == pytest.approx(fresh["ms_ssim_real"], abs=0.05)
    assert collapsed["ms_ssim"] > 0.99
    assert collapsed["birthday"] == 2
    assert fresh["near_duplicates"] < 0.2
    assert copied["nearest_train"] == 1  # both are copies, the second of what is held out
    assert fresh["nearest_train"] == 0
    assert copied["nearest_train_expected"] == 1437 / 1797
    assert fresh["fid_gap"] < 0
    assert collapsed["recall"] == 0
    assert fresh["recall"] > 0.5
    assert fresh["coverage"] > 0.8
    assert fresh["sliced_wasserstein"] < collapsed["sliced_wasserstein"]
    assert abs(fresh["kid"]) < 0.1 * collapsed["kid"]


@pytest.mark.parametrize(
    ("name", "option", "value"), [("ms_ssim", "pairs", 1), ("birthday", "threshold", 0.0), ("birthday", "threshold", 2.0)]
)
def test_options_out_of_bounds_are_refused_by_name(name, option, value):
    with pytest.raises(BadInput, match=rf"metric\.{name}\.{option}={value}"):
        build("metric", {"name": name, option: value})
