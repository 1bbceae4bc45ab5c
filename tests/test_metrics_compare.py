"""Several runs side by side: intervals over seeds, paired differences, and cards that must be alike."""

from __future__ import annotations

import copy
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
from cli_driver import run

from ganrun.cli import signature, targets
from ganrun.disk import checkpoint
from ganrun.engine import answers, assemble, compare, decide
from ganrun.engine.compare import Entry, differing, summarise
from ganrun.engine.decide import Estimate, estimate
from ganrun.ground.errors import BadInput

CARD = {"metric": "fid", "samples": 100, "seed": 0, "extractor": {"name": "classifier", "weights_sha256": "aa"}}


def entry(seed: int, value: float | None, **changes) -> Entry:
    held = {"value": value, "card": {**copy.deepcopy(CARD), **changes}}
    return Entry(Path("x"), {}, seed, {"fid": held})


# ---------------------------------------------------------------- statistics


def test_the_interval_is_students():
    values = [3.0, 4.5, 3.7, 5.1, 2.2]
    found = estimate(values)
    low, high = scipy.stats.t.interval(0.95, 4, np.mean(values), scipy.stats.sem(values))
    assert (found.mean - found.half, found.mean + found.half) == pytest.approx((low, high))
    assert estimate([2.0]) == Estimate(2.0, None, 1)
    assert (str(estimate([2.0])), str(Estimate(3.14159, 0.0271, 4))) == ("2 (n=1)", "3.142 ±0.027 (n=4)")


def test_the_interval_holds_the_truth_as_often_as_it_says():
    draws = torch.randn(1500, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    hits = [abs(found.mean) <= found.half for found in map(estimate, draws.tolist())]
    assert np.mean(hits) == pytest.approx(0.95, abs=0.02)


def test_differences_are_paired_by_seed_and_only_shared_seeds_count():
    one = [entry(seed, 10.0 * seed) for seed in (0, 1, 2, 7)]
    other = [entry(seed, 10.0 * seed + 1 + 0.1 * seed) for seed in (2, 1, 0)]
    found = summarise([one, other], ["a", "b"])
    gap = found["differences"]["fid"]["b"]
    assert (gap.mean, gap.count) == (pytest.approx(1.1), 3)
    low, high = scipy.stats.t.interval(0.95, 2, 1.1, scipy.stats.sem([1.0, 1.1, 1.2]))
    assert (gap.mean - gap.half, gap.mean + gap.half) == pytest.approx((low, high))
    assert found["means"]["fid"]["a"].count == 4
    assert found["means"]["fid"]["a"].half > 20 > gap.half  # what pairing is for


@pytest.mark.parametrize("damage", [3, {"value": 1}, {"value": "x", "card": {"metric": "fid"}}, {"value": 1, "card": {}}])
def test_a_row_that_is_not_one_serves_nothing(damage):
    good = {"fid": {"value": 1.0, "card": CARD}}
    assert missing(good, {"fid": CARD}) == []
    assert missing(good, {"fid": {**CARD, "samples": 7}}) == ["fid"]
    assert missing(good, {"fid": CARD, "kid": CARD}) == ["kid"]
    assert missing({**good, "modes": damage}, {"fid": CARD, "modes": CARD}) == ["modes"]


def missing(scores, cards) -> list[str]:
    return answers.find([{"step": 2, "scores": scores}], 2, answers.Question(cards)).missing


def test_missing_values_are_left_out():
    found = summarise([[entry(0, 1.0), entry(1, None)], [entry(0, None)]], ["a", "b"])
    assert found["means"]["fid"] == {"a": Estimate(1.0, None, 1)}
    assert found["differences"] == {}


# ---------------------------------------------------------------- cards


def test_the_fields_in_which_cards_differ_are_found_however_deep():
    other = copy.deepcopy(CARD)
    other["extractor"]["weights_sha256"], other["samples"], other["new"] = "bb", 200, True
    assert differing([CARD, other, CARD]) == {
        "samples": ["100", "200"],
        "extractor.weights_sha256": ['"aa"', '"bb"'],
        "new": ["-", "true"],
    }
    assert differing([CARD, {**CARD, "seed": 9}]) == {}


def test_unlike_cards_are_named_and_never_subtracted():
    found = summarise([[entry(0, 1.0)], [entry(0, 2.0, samples=200)]], ["a", "b"])
    assert found["differences"] == {}
    assert found["notes"] == ["fid: the cards differ, so these values do not compare (samples: 100 or 200)"]
    assert found["means"]["fid"]["b"].mean == 2.0


def test_seeds_under_unlike_cards_have_no_mean():
    found = summarise([[entry(0, 1.0), entry(1, 2.0, samples=200)]], ["a"])
    assert found["means"]["fid"] == {}
    assert "samples: 100 or 200" in found["notes"][0]


# ---------------------------------------------------------------- settings


def test_settings_are_named_by_what_differs():
    base = {
        "model": {"name": "mlp", "latent": 2},
        "loss": {"name": "hinge"},
        "dataset": {"name": "ring8"},
        "steps": 10,
        "regularizer": {},
    }
    changed = {**base, "loss": {"name": "lsgan", "target": 1}, "steps": 20}
    assert signature.titles([base, changed]) == ["loss=hinge steps=10", "loss=lsgan steps=20"]
    assert signature.titles([base]) == ["mlp-hinge-ring8"]
    stacked = {**base, "regularizer": {"r1": {"name": "r1", "weight": 1.0}}}
    heavier = {**base, "regularizer": {"r1": {"name": "r1", "weight": 2.0}}}
    assert signature.titles([base, stacked]) == ["regularizer.r1=None", "regularizer.r1=r1"]
    assert signature.titles([stacked, heavier]) == ["regularizer.r1.weight=1.0", "regularizer.r1.weight=2.0"]


# ---------------------------------------------------------------- real runs


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[Path]:
    """Two losses by two seeds."""
    folder = tmp_path_factory.mktemp("runs")
    words = [
        "dataset=ring8",
        "dataset.num=500",
        "steps=2",
        "every.sample=0",
        "model.generator.width=8",
        "model.discriminator.width=8",
    ]
    words += ["evaluation.num=200", "device.threads=1", "device=cpu", f"output={folder}", "metric=[modes,sliced_wasserstein]"]
    answer = run("train", "-m", *words, "loss=hinge,lsgan", "seed=0,1")
    assert answer.code == 0, answer.err
    return sorted(path.parent for path in folder.rglob("config.yaml"))


def rows(folder: Path) -> int:
    return len((folder / "scores.jsonl").read_text().splitlines())


def test_runs_that_were_scored_are_compared_without_scoring_again(runs, monkeypatch):
    caught = []
    plain = compare.summarise
    monkeypatch.setattr(compare, "summarise", lambda *said: caught.append(plain(*said)) or caught[-1])
    before = [rows(folder) for folder in runs]
    answer = run("eval", *runs)
    assert answer.code == 0, answer.err
    assert [rows(folder) for folder in runs] == before
    (found,) = caught
    values = {}
    for folder in runs:
        row = json.loads((folder / "scores.jsonl").read_text().splitlines()[-1])["scores"]
        values.setdefault("hinge" if "hinge" in folder.name else "lsgan", []).append(row["high_quality"]["value"])
    for name, held in values.items():
        assert found["means"]["high_quality"][f"loss={name}"].mean == pytest.approx(np.mean(held))
    gap = found["differences"]["high_quality"]["loss=lsgan"]
    assert (gap.count, gap.mean) == (2, pytest.approx(np.mean(values["lsgan"]) - np.mean(values["hinge"])))


def test_a_remark_is_said_once_with_the_scores_and_the_runs_that_it_is_about():
    def entry(name, **remarks):
        scores = {score: {"value": 1.0, "card": {}, "remarks": list(said)} for score, said in remarks.items()}
        return compare.Entry(Path(name), {}, 0, scores)

    entries = [
        entry("a", precision=["few"], recall=["few"], fid=["biased"]),
        entry("b", precision=["few"], recall=["few"], fid=[]),
    ]
    assert compare.remarks_of(entries) == ["precision, recall: few", "fid: biased (a)"]


def test_several_runs_that_are_scored_now_say_what_they_share_once(runs, tmp_path):
    answer = run("eval", *runs[:2], "metric=modes", "evaluation.num=40", "--out", tmp_path / "all.jsonl")
    assert answer.code == 0, answer.err
    said = (answer.out + answer.err).splitlines()
    shared = [line for line in said if "40 samples of 8 modes are too few" in " ".join(line.split())]
    assert len(shared) == 1, said
    assert shared[0].startswith("note: modes")
    assert sum("scored at step 2, in" in line for line in said) == 2
    assert not [line for line in said if line.startswith("╭")]  # the table has the numbers
    assert len((tmp_path / "all.jsonl").read_text().splitlines()) == 2


def test_parts_data_and_state_of_a_run_are_made_once_for_whatever_is_done_with_it(runs, tmp_path, monkeypatch):
    made = []
    for module, name in ((assemble, "build"), (assemble, "load_data"), (checkpoint, "read")):
        plain = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda *said, _plain=plain, _name=name, **more: made.append(_name) or _plain(*said, **more)
        )
    once = {"build": 1, "load_data": 1, "read": 1}
    for line, wanted in (
        (("eval", runs[0], "metric=modes", "evaluation.num=60", "--out", tmp_path / "one.jsonl"), once),
        (
            ("eval", *runs[:2], "metric=modes", "evaluation.num=61", "--out", tmp_path / "two.jsonl"),
            dict.fromkeys(once, 2),
        ),
        (("sample", runs[0], "--num", "3", "--out", tmp_path), {"build": 1, "read": 1}),
        (("export", runs[0], "--out", tmp_path / "g.safetensors"), {"build": 1, "read": 1}),
    ):
        made.clear()
        answer = run(*line)
        assert answer.code == 0, answer.err
        assert Counter(made) == wanted, line


@pytest.mark.long
def test_other_wishes_score_again_and_stand_as_rows(runs):
    before = [rows(folder) for folder in runs[:2]]
    assert run("eval", *runs[:2], "evaluation.num=150").code == 0
    assert [rows(folder) for folder in runs[:2]] == [count + 1 for count in before]
    assert run("eval", *runs[:2], "evaluation.num=150").code == 0
    assert [rows(folder) for folder in runs[:2]] == [count + 1 for count in before]


@pytest.mark.long
def test_one_run_is_scored_as_ever(runs):
    before = rows(runs[3])
    assert run("eval", runs[3]).code == 0
    assert rows(runs[3]) == before + 1


def test_mistakes_are_exit_two_in_one_line(runs):
    twice = run("eval", runs[0], runs[0])
    assert (twice.code, "two runs of this setting have seed=0" in twice.err) == (2, True)
    gone = run("eval", runs[0], "nowhere")
    assert (gone.code, len(gone.lines)) == (2, 1)
    assert "there is no such run folder" in gone.err
    assert run("eval", *runs[:2], "steps=3").code == 2


@pytest.mark.long
def test_damaged_rows_are_scored_anew(runs):
    scores = runs[2] / "scores.jsonl"
    kept = scores.read_text()
    try:
        scores.write_text('{"step": 2, "scores": {"modes": 3}}\n')
        assert run("eval", runs[2], runs[3]).code == 0
        assert rows(runs[2]) == 2
    finally:
        scores.write_text(kept)


# ---------------------------------------------------------------- decisions


def directed(values: dict[str, dict[int, float]], direction: bool | None = False) -> list[list[Entry]]:
    found = []
    for held in values.values():
        entries = [entry(seed, value) for seed, value in held.items()]
        for one in entries:
            one.directions = {"fid": direction}
        found.append(entries)
    return found


def test_p_values_are_those_of_scipy():
    one = {seed: float(value) for seed, value in enumerate(np.random.default_rng(0).normal(0, 1, 6))}
    other = {seed: value + 0.7 + 0.3 * np.sin(seed) for seed, value in one.items()}
    paired = decide.difference(other, one)
    assert paired.how == "paired"
    assert paired.p == pytest.approx(scipy.stats.ttest_rel(list(other.values()), list(one.values())).pvalue)
    apart = {seed + 100: value for seed, value in list(other.items())[:4]}
    welch = decide.difference(apart, one)
    assert (welch.how, welch.count, welch.other) == ("Welch", 4, 6)
    known = scipy.stats.ttest_ind(list(apart.values()), list(one.values()), equal_var=False)
    interval = known.confidence_interval(0.95)
    assert welch.p == pytest.approx(known.pvalue)
    assert (welch.mean - welch.half, welch.mean + welch.half) == pytest.approx((interval.low, interval.high))


@pytest.mark.parametrize(
    ("values", "adjusted"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),  # by hand: 4, 3, 2 and 1 times, never falling
        ([0.4, 0.5, 0.9], [1.0, 1.0, 1.0]),
        ([0.02], [0.02]),
        ([], []),
    ],
)
def test_holms_adjusted_p_values(values, adjusted):
    assert decide.holm(values) == pytest.approx(adjusted)


def test_holm_rarely_decides_where_nothing_differs():
    draws = np.random.default_rng(1).uniform(size=(4000, 5))
    wrong = np.mean([min(decide.holm(list(row))) <= 0.05 for row in draws])
    assert wrong == pytest.approx(1 - (1 - 0.05 / 5) ** 5, abs=0.012)


@pytest.mark.parametrize("higher", [True, False])
def test_the_best_is_named_only_where_it_is_decided(higher):
    low = {0: 1.0, 1: 1.01, 2: 0.99}
    high = {0: 2.0, 1: 2.02, 2: 1.99}
    alike = {0: 1.02, 1: 0.98, 2: 1.01}
    found = summarise(directed({"a": low, "b": high}, higher), ["a", "b"])
    assert found["best"] == {"fid": "b" if higher else "a"}
    assert found["differences"]["fid"]["b"].decided
    assert summarise(directed({"a": low, "b": alike}, higher), ["a", "b"])["best"] == {}
    third = summarise(directed({"a": high, "b": low, "c": alike}, higher), ["a", "b", "c"])  # two low ones, not told apart
    assert third["best"] == ({"fid": "a"} if higher else {})
    turned = summarise(directed({"a": low, "b": high}, higher), ["a", "b"], reference=1)
    assert list(turned["differences"]["fid"]) == ["a"]
    assert turned["differences"]["fid"]["a"].mean == pytest.approx(-found["differences"]["fid"]["b"].mean)


def test_what_has_no_direction_no_spread_or_one_seed_is_never_decided():
    apart = {"a": {0: 1.0, 1: 1.1}, "b": {0: 9.0, 1: 9.1}}
    assert summarise(directed(apart, None), ["a", "b"])["best"] == {}
    found = summarise(directed({"a": {0: 8.0, 1: 8.0}, "b": {0: 7.0, 1: 7.0}}), ["a", "b"])
    assert (found["best"], found["differences"]["fid"]["b"].decided) == ({}, False)
    assert summarise(directed({"a": {0: 8.0}, "b": {0: 7.0}}), ["a", "b"])["best"] == {}


@pytest.mark.parametrize("columns", [40, 60, 80, 160])
def test_the_table_cuts_no_name_and_no_number_and_keeps_to_the_width(columns):
    names = ["loss=hinge optimizer.discriminator.lr=0.000123456789", "loss=nonsaturating optimizer.discriminator.lr=0.0002"]
    settings = directed({"a": {0: 1.0, 1: 1.01, 2: 0.99}, "b": {0: 2.0, 1: 2.02, 2: 1.99}})
    for entries in settings:
        for one in entries:
            one.scores = {f"{word}_of_generated_samples": one.scores["fid"] for word in ("share", "recall", "entropy", "overlap")}
            one.directions = dict.fromkeys(one.scores, True)
    found = summarise(settings, names)
    lines = compare.table(found, settings, names, 0, columns=columns)
    text = "\n".join(lines)
    assert max(map(len, lines)) <= max(columns, 55)
    assert "…" not in text
    for word in [*" ".join(names).split(), *found["means"]]:
        assert word in text
    assert text.count("2.003 ±0.038 (n=3)  best") == 4
    assert text.count("better, p=") == 4
    assert text.count("higher is better") == 4
    assert sum("overlap_of_generated_samples" in line and "share_of" in line for line in lines) == (columns >= 140)


def test_the_reference_is_a_run_or_a_settings_number(runs):
    answer = run("eval", *runs, "--reference", runs[-1])
    assert answer.code == 0, answer.err
    assert "1 - 2" in answer.err
    assert "2 - 1" not in answer.err
    groups = [0, 0, 1, 1]
    assert [targets._reference(text, runs, groups, 2) for text in (None, "1", "2", str(runs[0]))] == [0, 0, 1, 0]
    for wrong, why in (("3", "2 settings"), ("0", "2 settings"), ("nowhere", "none of the runs")):
        with pytest.raises(BadInput, match=why):
            targets._reference(wrong, runs, groups, 2)
    assert "for several runs" in run("eval", runs[0], "--reference", "1").err
