"""Some classes and some share of a data set: what remains, under which labels, and what classifiers make of it."""

import math

import pytest
import torch
from PIL import Image
from test_data_torchvision import write_mnist

from ganrun.data.base import Images, Subset
from ganrun.data.selection import Selection, select
from ganrun.ground.errors import BadInput
from ganrun.ground.registry import build, lookup, names, options
from ganrun.metrics.choose import choose_extractor, resolve

LABELLED = ("digits", "mnist", "fashion_mnist", "cifar10", "folder", "ring8", "grid25", "two_gaussians", "gauss1200")
STACKED = ("stacked_digits", "stacked_mnist")


def make(name, **options):
    return build("dataset", {"name": name, **options})


def all_of(data):
    return data.batch(torch.arange(len(data)))


def same(one, other):
    first, second = all_of(one), all_of(other)
    return torch.equal(first.x, second.x) and (torch.equal(first.y, second.y) if first.y is not None else second.y is None)


@pytest.mark.parametrize("name", LABELLED + STACKED)
def test_every_labelled_set_takes_classes_and_a_fraction(name):
    assert {key: options(lookup("dataset", name))[key] for key in ("classes", "fraction")} == {"classes": None, "fraction": 1.0}
    assert set(LABELLED + STACKED) <= set(names("dataset"))


@pytest.mark.parametrize("name", ["digits", "ring8", "grid25", "stacked_digits"])
def test_classes_are_renumbered_in_the_order_given_and_keep_their_names(name):
    whole, part = make(name), make(name, classes=[7, 3])
    everything, chosen = all_of(whole), all_of(part)
    wanted = (everything.y == 7) | (everything.y == 3)
    assert torch.equal(chosen.x, everything.x[wanted])
    assert torch.equal(chosen.y, (everything.y[wanted] == 3).long())
    assert torch.equal(part.labels, chosen.y)
    assert part.spec.classes == 2
    assert part.class_names == (whole.class_names[7], whole.class_names[3])
    assert part.fingerprint() != make(name, classes=[3, 7]).fingerprint()
    held, away = all_of(part.held_out()), all_of(whole.held_out())
    assert torch.equal(held.x, away.x[(away.y == 7) | (away.y == 3)])
    assert held.y.max() < 2
    assert part.held_out().spec == part.spec
    assert any(f"classes {part.class_names[0]}, {part.class_names[1]}" in note for note in part.notes)


@pytest.mark.parametrize("name", ["digits", "ring8", "stacked_digits"])
def test_all_classes_in_their_order_are_the_set_itself(name):
    whole = make(name)
    count = whole.spec.classes
    assert make(name, classes=list(range(count)), fraction=1).fingerprint() == whole.fingerprint()
    turned = make(name, classes=[1, 0, *range(2, count)])
    assert len(turned) == len(whole)
    assert turned.fingerprint() != whole.fingerprint()
    assert torch.equal(turned.labels == 0, whole.labels == 1)


@pytest.mark.parametrize("name", ["digits", "ring8", "grid25"])
def test_a_fraction_keeps_that_share_of_every_class_and_smaller_shares_lie_in_larger_ones(name):
    whole, half, tenth = make(name), make(name, fraction=0.5), make(name, fraction=0.1)
    counts = whole.labels.bincount()
    for share, part in ((0.5, half), (0.1, tenth)):
        assert (part.labels.bincount() - share * counts).abs().max() <= 0.5
        assert same(part.held_out(), whole.held_out())
        assert part.class_names == whole.class_names
    rows = {part: {tuple(row.flatten().tolist()) for row in all_of(part).x} for part in (whole, half, tenth)}
    assert rows[tenth] < rows[half] < rows[whole]
    assert same(half, make(name, fraction=0.5))


def test_a_small_fraction_leaves_one_of_each_class_and_is_no_prefix():
    part = make("digits", fraction=0.0001)
    assert part.labels.bincount().tolist() == [1] * 10
    whole = make("digits")
    first = torch.stack([torch.nonzero(whole.labels == label)[0, 0] for label in range(10)])
    assert not torch.equal(part.indices, first.sort().values)


def test_classes_and_fraction_together():
    part = make("digits", classes=[2, 5, 8], fraction=0.25)
    whole = make("digits")
    wanted = [round(0.25 * int((whole.labels == label).sum())) for label in (2, 5, 8)]
    assert part.labels.bincount().tolist() == wanted
    assert len(part.held_out()) == 3 * 36
    assert part.notes == (f"classes 2, 5, 8, a share of 0.25 of each class: {sum(wanted)} of 1437 training samples",)


def test_filtered_gaussians_are_the_mixture_of_those_that_remain():
    part = make("ring8", classes=[4, 0], std=0.3)
    assert part.centres.flatten().tolist() == pytest.approx([-1, 0, 1, 0], abs=1e-12)
    ticks = torch.arange(-3, 3, 0.1, dtype=torch.float64)
    places = torch.cartesian_prod(ticks, ticks)
    assert part.log_density(places).exp().sum().item() * 0.01 == pytest.approx(1, abs=1e-6)
    above = torch.tensor([[0.0, 1.0]], dtype=torch.float64)  # a centre that went: sqrt(2) from both that remain
    assert part.log_density(above).item() == pytest.approx(-2 / (2 * 0.09) - math.log(2 * math.pi * 0.09))
    assert (part.x.double() - part.centres[part.labels]).norm(dim=1).mean().item() == pytest.approx(0.3 * 1.2533, rel=0.02)
    assert part.traits == make("ring8").traits
    assert part.held_out().spec == part.spec
    assert part.card()["modes"] == 2


@pytest.mark.parametrize("name", ["digits", "ring8"])
@pytest.mark.parametrize("classes", [[], [3, 3], [-1], [99], ["x"], [True], [1.0], [None], 3, "all"])
def test_what_is_no_choice_of_classes_is_refused(name, classes):
    with pytest.raises(BadInput, match=r"dataset.classes=.*(classes: numbers from 0 to [79]|is there twice|no class is named)"):
        make(name, classes=classes)


def pets(root, names=("cat", "dog", "emu")):
    for number, name in enumerate(names):
        (root / name).mkdir()
        for index in range(3):
            Image.new("RGB", (8, 8), (20 * number, 20 * index, 0)).save(root / name / f"{index}.png")
    return lambda classes: make("folder", root=str(root), size=8, held_out=0.0, classes=classes)


def test_classes_are_chosen_by_name_as_by_number(tmp_path):
    of = pets(tmp_path)
    by_name, by_number = of(["emu", "cat"]), of([2, 0])
    assert by_name.class_names == by_number.class_names == ("emu", "cat")
    assert by_name.fingerprint() == by_number.fingerprint() == of(["emu", 0]).fingerprint()
    assert make("digits", classes=["7", "2"]).fingerprint() == make("digits", classes=[7, 2]).fingerprint()
    assert make("stacked_digits", classes=["012", "999"]).class_names == ("012", "999")


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (["catt"], "no class is named 'catt'; did you mean 'cat'"),
        (["xylophone"], "no class is named 'xylophone'; there are cat, dog, emu"),
        (["catt", "dgo"], "'cat'.*; no class is named 'dgo'; did you mean 'dog'"),
        (["cat", 0], "different classes, and cat is there twice"),
        ([7], "7 is none of the 3 classes: numbers from 0 to 2, or names such as cat"),
    ],
)
def test_a_wrong_class_is_named_with_the_nearest(tmp_path, classes, said):
    with pytest.raises(BadInput, match=rf"dataset.classes=\[.*{said}"):
        pets(tmp_path)(classes)


def test_a_number_that_is_the_name_of_another_class_is_said(tmp_path):
    of = pets(tmp_path, ("1", "2", "3", "true"))
    by_number, by_name = of([2, 1]), of(["2", "1"])
    assert by_number.class_names == ("3", "2")
    assert by_name.class_names == ("2", "1")
    warnings = [remark for remark in by_number.remarks if remark.startswith("warning")]
    assert "takes class number 2, which is 3; the class named 2 is number 1" in warnings[0]
    assert not [remark for remark in (*by_name.remarks, *of([3]).remarks[2:]) if "number 1" in remark]
    assert not any("warning" in remark for remark in make("digits", classes=[3, 7]).remarks)
    with pytest.raises(BadInput, match=r"in quotes: \['true'\]"):
        of([True])


def test_composed_and_decomposed_names_of_a_class_are_one(tmp_path):
    of = pets(tmp_path, ("cafe\u0301", "dog"))
    assert of(["caf\u00e9"]).fingerprint() == of(["cafe\u0301"]).fingerprint() == of([0]).fingerprint()


@pytest.mark.parametrize("name", ["digits", "ring8", "stacked_digits"])
@pytest.mark.parametrize("fraction", [0, -0.5, 1.5, float("nan"), "half", True])
def test_what_is_no_share_is_refused(name, fraction):
    with pytest.raises(BadInput, match=r"dataset.fraction=.*above 0 and at most 1"):
        make(name, fraction=fraction)


def test_too_little_left_is_refused():
    with pytest.raises(BadInput, match=r"dataset.classes=\[3\], dataset.fraction=0.001: 1 samples are left"):
        make("digits", classes=[3], fraction=0.001)
    with pytest.raises(BadInput, match="at least 2"):
        make("ring8", classes=[3], fraction=0.001, num=20)


@pytest.mark.parametrize("memory", [4.0, 0.0])
def test_a_folder_is_filtered_in_memory_and_streamed(memory, tmp_path):
    for index in range(24):
        place = tmp_path / ("ant", "bee", "cat")[index % 3]
        place.mkdir(exist_ok=True)
        Image.new("L", (8, 8), 10 * index).save(place / f"{index}.png")
    given = {"root": str(tmp_path), "size": 8, "channels": 1, "held_out": 0.3, "memory_gib": memory}
    whole, part = make("folder", **given), make("folder", **given, classes=[2], fraction=0.5)
    kept = round(0.5 * int((whole.labels == 2).sum()))
    assert len(part) == kept
    assert part.class_names == ("cat",)
    values = {round((x.mean().item() + 1) * 127.5) for x in all_of(part).x}
    assert all(value // 10 % 3 == 2 for value in values)
    assert len(values) == kept
    assert len(part.held_out()) == int((whole.held_out().labels == 2).sum())
    part.expect(torch.arange(kept))
    assert part.fitted(16).batch(torch.tensor([0])).x.shape == (1, 1, 16, 16)
    with pytest.raises(BadInput, match="no labels"):
        make("folder", **given, labels="none", classes=[0])
    bare = make("folder", **given, labels="none", fraction=0.5)
    assert (len(bare), bare.spec.classes, bare.labels) == (round(0.5 * len(whole)), None, None)


def test_mnist_is_filtered_after_it_is_read(tmp_path):
    write_mnist(tmp_path / "MNIST" / "raw", train=60, test=30)
    given = {"root": str(tmp_path), "download": False, "size": 14}
    whole, part = make("mnist", **given), make("mnist", **given, classes=[1, 2])
    assert same(part, Subset(part, torch.arange(len(part))))
    assert len(part) == int(((whole.labels == 1) | (whole.labels == 2)).sum())
    assert part.spec.shape == (1, 14, 14)
    stacked = make("stacked_mnist", **given, num=4000, classes=[0, 111])
    assert (stacked.labels == 1).sum() == (make("stacked_mnist", **given, num=4000).labels == 111).sum()


def test_a_held_out_part_without_the_class_is_none():
    pixels = torch.zeros(6, 4, 4, 1, dtype=torch.uint8)
    held = Images(pixels[:2], torch.zeros(2, dtype=torch.int64), class_names=("a", "b"))
    whole = Images(pixels, torch.arange(6) % 2, class_names=("a", "b"), held_out=held)
    assert select(whole, [1], 1.0).held_out() is None
    assert len(select(whole, [0], 1.0).held_out()) == 2


def test_padding_reaches_the_part_and_what_it_holds_out():
    part = make("digits", classes=[3, 7], fraction=0.5)
    wide = part.fitted(16)
    assert torch.equal(all_of(wide).x[:, :, 4:12, 4:12], all_of(part).x)
    assert torch.equal(all_of(wide).y, all_of(part).y)
    assert wide.held_out().spec.shape == (1, 16, 16)
    assert torch.equal(all_of(wide.held_out()).y, all_of(part.held_out()).y)
    assert len(set(wide.notes)) == 2


def test_a_subset_is_a_view_in_its_own_order():
    whole = make("digits")
    rows = torch.tensor([9, 2, 700, 2])
    part = Subset(whole, rows)
    assert torch.equal(all_of(part).x, all_of(whole).x[rows])
    assert torch.equal(part.labels, whole.labels[rows])
    assert (len(part), part.spec, part.class_names, part.traits) == (4, whole.spec, whole.class_names, whole.traits)
    assert part.held_out() is whole.held_out()
    assert part.fingerprint() != Subset(whole, rows.flip(0)).fingerprint()
    assert part.fitted(16).batch(torch.tensor([2])).x.shape == (1, 1, 16, 16)
    asked = []
    whole.expect = lambda indices: asked.append(indices.tolist())
    part.expect(torch.tensor([2, 0]))
    assert asked == [[700, 9]]


# who judges


def test_the_judge_of_a_part_is_the_network_of_the_whole_with_the_logits_of_its_classes():
    whole, part = make("digits"), make("digits", classes=[7, 3], fraction=0.2)
    judge, narrow = (choose_extractor("auto", data, say=pytest.fail) for data in (whole, part))
    assert narrow.card()["origin"] == "shipped with ganrun"
    assert narrow.card()["classes"] == "2 of 10, by a network of all"
    pixels = whole.pixels[:50].permute(0, 3, 1, 2)
    with torch.inference_mode():
        (features, logits), (same_features, two) = judge(pixels), narrow(pixels)
    assert torch.equal(features, same_features)
    assert torch.equal(logits[:, [7, 3]], two)


def test_parts_of_parts_keep_track_of_their_classes():
    part = select(make("digits", classes=[9, 7, 3]), [2, 0], 1.0)
    assert part.class_names == ("3", "9")
    assert part.class_columns == (3, 9)
    assert isinstance(part.judged, Images)
    assert Subset(part, torch.arange(5)).class_columns == (3, 9)
    assert isinstance(part, Selection)


def test_one_class_of_the_digits_is_still_judged_by_their_network():
    part = make("digits", classes=[4])
    assert resolve("auto", part, None) == "classifier"
    extractor = choose_extractor("auto", part, say=pytest.fail)
    with torch.inference_mode():
        features, logits = extractor(make("digits").pixels[:5].permute(0, 3, 1, 2))
    assert features.shape == (5, 64)
    assert logits.shape == (5, 1)


@pytest.mark.parametrize("name", ["paired_digits", "unpaired_digits", "number_names"])
def test_sets_of_pairs_and_of_tokens_are_filtered_too(name: str) -> None:
    data = build("dataset", {"name": name, "classes": [7, 2], "fraction": 0.5})
    whole = build("dataset", {"name": name})
    batch, everything = data.batch(torch.arange(len(data))), whole.batch(torch.arange(len(whole)))
    assert data.spec.classes == 2
    assert set(batch.y.tolist()) == {0, 1}
    for new, old in ((0, 7), (1, 2)):
        kept, there = batch.x[batch.y == new], everything.x[everything.y == old]
        assert len(kept) == pytest.approx(len(there) / 2, abs=1)
        assert all((there == row).flatten(1).all(1).any() for row in kept[:5])
    held_out = data.held_out()
    assert set(held_out.batch(torch.arange(len(held_out))).y.tolist()) == {0, 1}
    if name == "paired_digits":  # each with its own source
        place = next(index for index, row in enumerate(everything.x) if torch.equal(row, batch.x[0]))
        assert torch.equal(batch.source[0], everything.source[place])
    if name == "unpaired_digits":
        assert len(data.sources()) < len(whole.sources()) / 3
