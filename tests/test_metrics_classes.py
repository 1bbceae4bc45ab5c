"""Classes that a classifier finds, and discs that stand where they should: against counting by hand and other libraries."""

import functools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import linalg, ndimage
from scipy.stats import entropy

from ganrun.data.shapes import Layout, Shapes, draw
from ganrun.data.stacked import Stacked
from ganrun.engine import generator_scores, scoring
from ganrun.engine.sandbox import Sandbox
from ganrun.ground import traits
from ganrun.ground.errors import BadInput
from ganrun.ground.registry import build
from ganrun.ground.runtime import resolve
from ganrun.metrics import training
from ganrun.metrics.base import Sample, Stage
from ganrun.metrics.choose import choose_extractor
from ganrun.metrics.class_modes import ceiling
from ganrun.metrics.classifier import together
from ganrun.metrics.components import label, moments

EVALUATION = {
    "reference": "held_out",
    "extractor": "auto",
    "weights": None,
    "weights_sha256": None,
    "average": False,
    "batch_size": 250,
    "seed": 0,
}


def make(name, **options):
    return build("dataset", {"name": name, **options})


def all_of(data):
    return data.batch(torch.arange(len(data)))


def class_modes(named, classes, real=None, **options):
    """The metric of samples of the classes ``named``."""

    class Bound:
        spec = type("spec", (), {"classes": classes})

    metric = build("metric", {"name": "class_modes", **options})
    metric.bind(Bound)
    for side, rows in ((True, real), (False, named)):
        if rows is not None:
            metric.update(Sample(logits=torch.nn.functional.one_hot(torch.tensor(rows), classes).float()), real=side)
    return metric.compute(), metric


# classes


def test_classes_are_counted_and_their_shares_compared_as_another_library_does():
    found, _ = class_modes([0, 0, 0, 2, 2, 5], 8)
    assert found["class_modes"] == 3
    assert found["class_kl"] == pytest.approx(entropy([3 / 6, 0, 2 / 6, 0, 0, 1 / 6, 0, 0], [1 / 8] * 8))


def test_one_class_of_eight_reads_log_eight_and_all_of_them_nothing():
    assert class_modes([4] * 10, 8)[0] == pytest.approx({"class_modes": 1, "class_kl": 2.0794415})
    assert class_modes(list(range(8)) * 3, 8)[0] == pytest.approx({"class_modes": 8, "class_kl": 0}, abs=1e-12)


def test_the_shares_of_the_data_are_those_of_the_real_sample_with_half_a_sample_added():
    real, made = [0] * 6 + [1] * 3, [0, 1, 1, 2]
    found, metric = class_modes(made, 3, real, law="data")
    law = np.array([6.5, 3.5, 0.5]) / 10.5
    assert found["class_kl"] == pytest.approx(entropy([1 / 4, 2 / 4, 1 / 4], law))
    assert math.isfinite(found["class_kl"])
    assert "real sample" in metric.card()["law"]
    assert class_modes(made, 3, real)[0]["class_kl"] == pytest.approx(entropy([1 / 4, 2 / 4, 1 / 4], [1 / 3] * 3))


def test_a_perfect_sampler_reads_its_ceiling_and_its_floor():
    named = torch.randint(1000, (26000,), generator=torch.Generator().manual_seed(1)).tolist()
    found, metric = class_modes(named, 1000)
    assert found["class_modes"] == 1000
    assert found["class_kl"] == pytest.approx(999 / 52000, rel=0.15)
    few, metric = class_modes(named[:2500], 1000)
    assert few["class_modes"] == pytest.approx(1000 * (1 - 0.999**2500), abs=25)
    assert metric.remarks[0].startswith("2500 samples of a perfect generator hit 918.0 of 1000 classes")


@pytest.mark.parametrize("law", [[0.5, 0.5], [0.2, 0.3, 0.5]])
def test_the_ceiling_is_the_mean_over_all_samples(law):
    """By enumeration of all sequences of four classes."""
    places = torch.cartesian_prod(*[torch.arange(len(law))] * 4)
    chances = torch.tensor(law, dtype=torch.float64)[places].prod(1)
    hit = torch.tensor([len(set(row)) for row in places.tolist()], dtype=torch.float64)
    assert ceiling(torch.tensor(law, dtype=torch.float64), 4) == pytest.approx((chances * hit).sum().item())


def test_the_standard_deviation_is_that_of_fresh_samples():
    source = torch.Generator().manual_seed(3)
    values = [class_modes(torch.randint(6, (200,), generator=source).clamp(max=4).tolist(), 6) for _ in range(60)]
    spread = np.std([found["class_kl"] for found, _ in values])
    assert np.mean([metric.spreads["class_kl"] for _, metric in values]) == pytest.approx(spread, rel=0.25)


def test_logits_of_layers_together_are_the_joint_law_of_independent_classes():
    logits = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    one, two, three = logits.softmax(2).unbind(1)
    wanted = torch.einsum("na,nb,nc->nabc", one, two, three).flatten(1)
    torch.testing.assert_close(together(logits).softmax(1), wanted)
    assert torch.equal(together(logits).argmax(1), logits.argmax(2) @ torch.tensor([16, 4, 1]))


def test_stacked_digits_are_named_channel_by_channel_by_the_digits_network():
    data = make("stacked_digits", num=400)
    extractor, single = choose_extractor("auto", data, say=pytest.fail), choose_extractor("auto", make("digits"), say=pytest.fail)
    pixels = data.layers.pixels[data.rows].squeeze(-1)
    with torch.inference_mode():
        features, logits = extractor(pixels)
        apart = [single(pixels[:, channel : channel + 1]) for channel in range(3)]
    torch.testing.assert_close(features, torch.cat([found for found, _ in apart], 1))
    assert features.shape[1] == extractor.num_features
    named = torch.stack([classes.argmax(1) for _, classes in apart], 1) @ torch.tensor([100, 10, 1])
    assert torch.equal(logits.argmax(1), named)
    assert (named == data.labels).float().mean() > 0.97
    assert extractor.card()["stack"].startswith("3 channels, judged one by one: 0.96")
    wide = data.fitted(32)
    padded = choose_extractor("auto", wide, say=pytest.fail)
    with torch.inference_mode():
        assert (padded(torch.nn.functional.pad(pixels, (12,) * 4))[1].argmax(1) == named).all()


def test_real_stacks_are_scored_as_their_own_law_and_a_collapsed_sample_is_not(tmp_path, monkeypatch):
    monkeypatch.setenv("GANRUN_CACHE", str(tmp_path))
    data = make("stacked_digits", num=3000)
    metric = {"class_modes": build("metric", {"name": "class_modes"})}
    held, said = data.held_out(), []

    def score(x):
        return scoring.score(metric, x, data, evaluation=EVALUATION, say=said.append)["class_modes"]

    real = score(all_of(held).x)
    assert real.values["class_modes"] == pytest.approx(1000 * (1 - 0.999**3000), abs=25)
    assert real.values["class_kl"] == pytest.approx(999 / 6000, abs=0.03)
    collapsed = score(all_of(data).x[data.labels % 100 == 77])
    assert 8 <= collapsed.values["class_modes"] <= 13
    grey = torch.cat([make("digits").held_out().batch(torch.arange(360)).x] * 3, 1)
    assert 10 <= score(grey).values["class_modes"] <= 12
    assert real.card["extractor"]["stack"]


def test_classes_of_part_of_the_digits_are_counted_among_those_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("GANRUN_CACHE", str(tmp_path))
    data = make("digits", classes=[3, 7])
    metric = {"class_modes": build("metric", {"name": "class_modes"})}
    held = all_of(data.held_out())
    found = scoring.score(metric, held.x, data, evaluation=EVALUATION, say=lambda line: None)["class_modes"]
    assert found.values["class_modes"] == 2
    assert found.values["class_kl"] < 0.001
    sevens = scoring.score(metric, held.x[held.y == 1], data, evaluation=EVALUATION, say=lambda line: None)["class_modes"]
    assert sevens.values == pytest.approx({"class_modes": 1, "class_kl": math.log(2)})


def test_without_logits_of_these_classes_there_is_no_value():
    _, metric = class_modes([0, 1], 4)
    data = SimpleNamespace(spec=SimpleNamespace(classes=4))
    assert metric.lacks(data, 4) == ""
    assert "evaluation.extractor=classifier" in metric.lacks(data, 7)
    with pytest.raises(BadInput, match=r"metric.class_modes.law=dat: .*'data'"):
        build("metric", {"name": "class_modes", "law": "dat"})


def test_what_the_metrics_need_of_the_data():
    for name, data, others in (
        ("class_modes", make("shapes", num=5), (make("stacked_digits", num=5), make("digits"))),
        ("structure", make("digits"), (make("shapes", num=5),)),
    ):
        metric = build("metric", {"name": name})
        assert len(traits.conflicts({"data": data, "metric": metric})) == 1
        assert not [found for other in others for found in traits.conflicts({"data": other, "metric": metric})]


def test_only_grey_labelled_images_are_stacked():
    with pytest.raises(BadInput, match="only grey images with classes"):
        Stacked(make("shapes", num=5), torch.zeros(2, 3, dtype=torch.int64))


# components


@pytest.mark.parametrize("share", [0.2, 0.4, 0.6, 1.0])
def test_components_and_their_centres_are_those_of_another_library(share):
    source = torch.Generator().manual_seed(int(10 * share))
    light = torch.rand(12, 9, 13, generator=source)
    mask = torch.rand(12, 9, 13, generator=source) < share
    numbers = label(mask)
    image, pixels, across, down = moments(numbers, light)
    for index in range(12):
        wanted, count = ndimage.label(mask[index].numpy(), np.ones((3, 3)))
        assert int((image == index).sum()) == count
        centres = ndimage.center_of_mass(light[index].numpy().astype(np.float64), wanted, range(1, count + 1))
        areas = np.bincount(wanted.flatten())[1:]
        here = image == index
        found = sorted(zip(down[here].tolist(), across[here].tolist(), pixels[here].tolist(), strict=True))
        expected = sorted((*centre, area) for centre, area in zip(centres, areas, strict=True))
        assert np.array(found).reshape(-1, 3) == pytest.approx(np.array(expected).reshape(-1, 3))


def test_a_winding_component_is_one():
    mask = torch.zeros(1, 15, 15, dtype=torch.bool)
    mask[0, ::4] = True
    mask[0, 2::8, 14] = mask[0, 1::8, 14] = mask[0, 3::8, 14] = True
    mask[0, 5::8, 0] = mask[0, 6::8, 0] = mask[0, 7::8, 0] = True
    assert len(label(mask).unique()) == 2
    assert label(torch.zeros(2, 4, 4, dtype=torch.bool)).sum() == 0


# discs


def structure(x, data, **options):
    metric = build("metric", {"name": "structure", **options})
    metric.bind(data)
    metric.update(Sample(x=x), real=False)
    return metric.compute()


def discs(places, layout):
    """An image with discs of the layout's radius at (x, y) from the middle, y upwards."""
    x = torch.full((1, 1, layout.size, layout.size), -1.0)
    alone = Layout((1,), layout.size, layout.middle, 0.0, layout.radius)
    for across, up in places:
        ring = math.hypot(across, up)
        one = draw(
            torch.tensor([1]), torch.tensor([math.atan2(up, across)]), Layout((1,), layout.size, alone.middle, ring, alone.radius)
        )
        x = x.maximum(one.permute(0, 3, 1, 2).float() * 2 / 255 - 1)
    return x


def polygon(count, ring, start=0.3):
    angles = [start + 2 * math.pi * index / count for index in range(count)]
    return [(ring * math.cos(angle), ring * math.sin(angle)) for angle in angles]


@pytest.mark.parametrize(("counts", "size"), [([1], 16), ([3], 16), ([6], 16), ([2, 3, 4], 16), ([2, 5, 6], 32)])
def test_real_images_of_discs_are_right_in_everything(counts, size):
    data = make("shapes", counts=counts, size=size, num=600)
    for real in (data, data.fitted(40)):
        assert set(structure(all_of(real).x, real).values()) == {1.0}


def test_every_failure_is_seen_by_its_own_share():
    data = make("shapes", size=32, num=2)
    layout = data.layout
    right = polygon(3, layout.ring)
    off = [(0.5 * x, 0.5 * y) for x, y in right[:1]] + right[1:]
    uneven = polygon(3, layout.ring)[:2] + polygon(3, layout.ring, 0.3 + math.radians(-25))[2:]
    names = ("structure", "count_right", "place_right", "angle_right")
    for places, wanted in (
        (right, (1, 1, 1, 1)),
        (right[:2], (0, 0, 1, 0)),
        (polygon(4, layout.ring), (0, 0, 1, 0)),
        ([(x, y) for x, y in polygon(3, layout.ring - 3)], (0, 1, 0, 0)),
        (off, (0, 1, 2 / 3, 0)),
        (uneven, (0, 1, 1, 0)),
        ([], (0, 0, 0, 0)),
    ):
        assert structure(discs(places, layout), data) == pytest.approx(dict(zip(names, wanted, strict=True))), places


def test_a_blot_is_no_disc_and_a_speck_counts_only_if_it_is_large():
    data = make("shapes", size=32, num=2)
    x = discs(polygon(3, data.layout.ring), data.layout)
    x[0, 0, 0, 0] = 1.0
    assert structure(x, data)["structure"] == 1
    assert structure(x, data, least=1)["count_right"] == 0
    blot = discs(polygon(3, data.layout.ring), Layout((3,), 32, 15.5, data.layout.ring, 2 * data.layout.radius))
    found = structure(blot, data)
    assert (found["count_right"], found["place_right"], found["angle_right"]) == (1, 0, 0)


def test_the_tolerances_are_in_pixels_and_degrees():
    data = make("shapes", size=32, num=2)
    ring = data.layout.ring
    shifted = discs(polygon(3, ring + 0.8), data.layout)
    assert structure(shifted, data)["place_right"] == 1
    assert structure(shifted, data, tolerance=0.5)["place_right"] == 0
    turned = discs(polygon(3, ring)[:2] + polygon(3, ring, 0.3 + math.radians(10))[2:], data.layout)
    assert structure(turned, data)["angle_right"] == 1
    assert structure(turned, data, degrees=8.0)["angle_right"] == 0
    assert structure(turned, data, degrees=12.0)["angle_right"] == 1


def test_several_counts_are_each_right_with_their_own_angles():
    data = make("shapes", counts=[2, 4], size=32, num=2)
    ring = data.layout.ring
    images = [polygon(2, ring), polygon(4, ring), polygon(3, ring), polygon(4, ring)[:2]]
    x = torch.cat([discs(places, data.layout) for places in images])
    found = structure(x, data)
    assert (found["count_right"], found["angle_right"], found["structure"]) == (0.75, 0.5, 0.5)


def test_removing_a_disc_from_real_images_takes_their_count():
    data = make("shapes", counts=[3], num=50)
    fewer = Shapes(draw(data.number - 1, data.angle, data.layout), data.number, data.angle, data.layout)
    found = structure(all_of(fewer).x, data)
    assert (found["count_right"], found["angle_right"], found["structure"], found["place_right"]) == (0, 0, 0, 1)


def test_shares_have_their_binomial_deviation():
    data = make("shapes", size=32, num=2)
    good, bad = discs(polygon(3, data.layout.ring), data.layout), discs([], data.layout)
    metric = build("metric", {"name": "structure"})
    metric.bind(data)
    metric.update(Sample(x=torch.cat([good] * 3 + [bad] * 9)), real=False)
    assert metric.compute()["structure"] == 0.25
    assert metric.spreads["structure"] == pytest.approx(math.sqrt(0.25 * 0.75 / 12))


@pytest.mark.parametrize("options", [{"tolerance": 0.0}, {"degrees": 0.0}, {"degrees": 181.0}, {"least": 0}])
def test_bad_bounds_of_structure_are_refused(options):
    (key,) = options
    with pytest.raises(BadInput, match=f"metric.structure.{key}="):
        build("metric", {"name": "structure", **options})


# classes that were asked for


def asked(name, made, labels, real=None, known=None, *, classes=3, logits=False, bound=None, stage=None):
    """The metric ``name`` of rows that were asked to be of ``labels``, against ``real`` ones of the classes ``known``."""
    metric = build("metric", {"name": name})
    metric.bind(bound or SimpleNamespace(spec=SimpleNamespace(classes=classes, kind="points")))
    metric.enter(stage or Stage(lambda split: None))
    field = "logits" if logits else "x"
    if real is not None:
        metric.update(Sample(**{field: real, "labels": torch.tensor(known)}), real=True)
    metric.update(Sample(**{field: made, "labels": torch.tensor(labels)}), real=False)
    return metric.compute(), metric


def codes(*named, classes=3):
    return torch.nn.functional.one_hot(torch.tensor(named), classes).float()


def test_the_share_of_samples_of_the_class_asked_for_and_that_of_the_worst():
    found, metric = asked("label_accuracy", codes(0, 0, 1, 2, 2, 0, 0, 0), [0, 0, 1, 1, 1, 1, 2, 2], logits=True)
    assert found == pytest.approx({"label_accuracy": 3 / 8, "label_accuracy_worst": 0})
    assert metric.spreads["label_accuracy"] == pytest.approx(math.sqrt(3 / 8 * 5 / 8 / 8))
    assert metric.remarks == ("the lowest share is that of class 2: 0 of 2 samples, taken most often for class 0",)
    found, metric = asked("label_accuracy", codes(0, 1), [0, 1], logits=True)
    assert found == {"label_accuracy": 1, "label_accuracy_worst": 1}
    assert metric.remarks == ("1 of 3 classes were not asked for: raise evaluation.num",)


def test_points_are_of_the_class_of_the_nearest_real_one():
    real = torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0]])
    made = torch.tensor([[0.4, 0.1], [4.0, 1.0], [1.0, 4.0], [3.0, 0.0]])
    found, metric = asked("label_accuracy", made, [0, 1, 2, 0], real, [0, 1, 2])
    assert found == pytest.approx({"label_accuracy": 3 / 4, "label_accuracy_worst": 1 / 2})
    assert metric.card()["named by"] == "the nearest real sample"


def test_the_distance_within_classes_is_the_mean_of_theirs_by_matrix_roots_and_sees_exchanged_labels():
    source = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 40)
    real, made = (source.normal(size=(120, 2)) * [1, 1 + gain] + labels[:, None] * 6 for gain in (0, 1))

    def by_roots(one, other):
        covariances = np.cov(one.T), np.cov(other.T)
        root = linalg.sqrtm(covariances[0] @ covariances[1]).real
        return ((one.mean(0) - other.mean(0)) ** 2).sum() + np.trace(covariances[0] + covariances[1] - 2 * root)

    wanted = np.mean([by_roots(real[labels == label], made[labels == label]) for label in range(3)])
    given = torch.tensor(real), labels.tolist()
    assert asked("intra_fid", torch.tensor(made), labels.tolist(), *given)[0]["intra_fid"] == pytest.approx(wanted, rel=1e-9)
    exchanged = asked("intra_fid", torch.tensor(made), ((labels + 1) % 3).tolist(), *given)[0]["intra_fid"]
    assert exchanged == pytest.approx((2 * 72 + 288) / 3, rel=0.1)


def test_the_deviation_within_classes_is_that_of_fresh_samples():
    source = torch.Generator().manual_seed(1)
    labels = (torch.arange(150) % 3).tolist()
    real = torch.randn(150, 2, generator=source)
    found = [asked("intra_fid", 1 + torch.randn(150, 2, generator=source), labels, real, labels) for _ in range(60)]
    spread = np.std([values["intra_fid"] for values, _ in found])
    assert np.mean([metric.spreads["intra_fid"] for _, metric in found]) == pytest.approx(spread, rel=0.25)


def test_a_class_with_one_sample_leaves_the_distance_within_classes_without_a_value():
    found, metric = asked("intra_fid", torch.randn(5, 2), [0, 0, 1, 1, 2], torch.randn(6, 2), [0, 0, 1, 1, 2, 2])
    assert found == {}
    assert "class 2 has 2 real and 1 generated" in metric.missing


def test_what_points_teach_is_tested_on_those_that_are_not_scored():
    splits = {
        "held_out": Sample(x=torch.tensor([[0.0], [1.0], [2.2], [3.0]]), labels=torch.tensor([0, 1, 2, 2])),
        "train": Sample(x=torch.tensor([[0.1], [0.9], [2.1]]), labels=torch.tensor([0, 1, 2])),
    }
    made, labels = torch.tensor([[0.0], [1.0], [3.0]]), [1, 1, 2]
    bound = SimpleNamespace(spec=SimpleNamespace(classes=3, kind="points"))
    name = "classification_accuracy_score"
    found, metric = asked(name, made, labels, bound=bound, stage=Stage(splits.get))
    assert found == {"cas": 3 / 4, "cas_real": 1}
    assert metric.card()["tested on"] == "held_out"
    found, metric = asked(name, made, labels, bound=bound, stage=Stage(splits.get, scored="held_out"))
    assert found == {"cas": 2 / 3}  # the first is misnamed
    assert metric.card()["tested on"] == "train"


def test_a_network_learns_from_the_classes_that_were_asked_for(monkeypatch):
    monkeypatch.setattr(training, "PRESENTATIONS", 3000)
    monkeypatch.setattr(training, "LEAST_STEPS", 40)
    data = make("digits", classes=[0, 1])
    held, train = all_of(data.held_out()), all_of(data)
    splits = {"held_out": Sample(x=held.x, labels=held.y), "train": Sample(x=train.x, labels=train.y)}
    score, name = functools.partial(asked, bound=data), "classification_accuracy_score"
    found, _ = score(name, train.x[::2], train.y[::2].tolist(), stage=Stage(splits.get))
    assert min(found.values()) > 0.95
    found, _ = score(name, train.x[::2], (1 - train.y[::2]).tolist(), stage=Stage(splits.get, scored="noise"))
    assert found["cas"] < 0.05
    assert list(found) == ["cas"]


@pytest.mark.parametrize("shift", [0, 1])
def test_a_run_is_scored_by_the_classes_that_it_was_asked_for(toy, shift, monkeypatch):
    """A generator that knows the digits by heart and shows those of the class asked for, or of the next."""
    data = make("digits")
    made = toy("mlp", "digits", "condition=concat")
    shelf = [all_of(data).x[data.labels == label] for label in range(10)]
    monkeypatch.setattr(
        made.parts.game, "generate", lambda z, y: torch.stack([shelf[(int(k) + shift) % 10][i % 99] for i, k in enumerate(y)])
    )
    scores, beside = generator_scores.evaluate(
        metrics={name: build("metric", {"name": name}) for name in ("label_accuracy", "intra_fid")},
        game=made.parts.game,
        averages={},
        dataset=data,
        runtime=resolve({**made.config["device"], "name": "cpu"}),
        evaluation={**EVALUATION, "num": 200, "baselines": True, "reference": "train"},
        say=[].append,
    )
    accuracy = scores["label_accuracy"]["value"]
    assert accuracy > 0.98 if not shift else accuracy < 0.02
    assert beside["held_out"]["label_accuracy"]["value"] > 0.95
    assert beside["noise"]["label_accuracy"]["value"] < 0.3
    assert (scores["intra_fid"]["value"] < beside["noise"]["intra_fid"]["value"] / 4) == (not shift)


# the discriminator's own classes


@pytest.mark.parametrize("how", ["condition=acgan", "condition=reacgan", "game=semi_supervised"])
def test_the_error_of_the_class_head_is_counted_on_held_out_samples(toy, how):
    made = toy("dcgan", "digits", how, "model.discriminator.norm=batch", *(["game.labels=30"] if "game" in how else []))
    data, game = made.dataset, made.parts.game
    held, judge = all_of(data.held_out()), game.players["discriminator"]
    before = {key: entry.clone() for key, entry in judge.state_dict().items()}
    scores, _ = generator_scores.evaluate(
        metrics={"classification": build("metric", {"name": "classification"})},
        game=game,
        averages={},
        dataset=data,
        runtime=resolve({**made.config["device"], "name": "cpu"}),
        evaluation={**EVALUATION, "num": 20, "baselines": False, "reference": "train"},
        say=[].append,
    )
    assert judge.training
    assert all(torch.equal(entry, before[key]) for key, entry in judge.state_dict().items())
    logits = judge.eval()(held.x).heads["classes"].detach()
    wrong = (logits.argmax(1) != held.y).float().mean().item()
    assert scores["classification_error"]["value"] == pytest.approx(wrong)
    likely = logits.softmax(1)[torch.arange(len(held.y)), held.y]
    assert scores["classification_cross_entropy"]["value"] == pytest.approx(-likely.log().mean().item(), rel=1e-5)


def test_a_head_on_pairs_names_no_class_of_a_sample(toy):
    made = toy("mlp", "digits", "game=bigan", "condition=acgan")
    sandbox = Sandbox(made.parts.game, made.dataset, resolve({**made.config["device"], "name": "cpu"}), 0)
    with pytest.raises(BadInput, match="no discriminator of this game"):
        build("metric", {"name": "classification"}).dry_run(sandbox)


def test_what_was_not_asked_for_cannot_be_compared(compose):
    metrics = {f"metric={name}": build("metric", {"name": name}) for name in ("label_accuracy", "classification")}
    found = [(typed, rule.override) for typed, rule in traits.conflicts({"dataset=ring8": make("ring8", num=100), **metrics})]
    assert found == [("metric=label_accuracy", "condition=concat"), ("metric=classification", "condition=acgan")]
