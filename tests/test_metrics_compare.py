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

from ganrun.cli import settings as settings_of_runs
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
    gap = found.differences["fid"]["b"]
    assert (gap.mean, gap.count) == (pytest.approx(1.1), 3)
    low, high = scipy.stats.t.interval(0.95, 2, 1.1, scipy.stats.sem([1.0, 1.1, 1.2]))
    assert (gap.mean - gap.half, gap.mean + gap.half) == pytest.approx((low, high))
    assert found.means["fid"]["a"].count == 4
    assert found.means["fid"]["a"].half > 20 > gap.half  # what pairing is for


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
    assert found.means["fid"] == {"a": Estimate(1.0, None, 1)}
    assert found.differences == {}


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


def test_unlike_cards_are_named_and_never_share_a_column():
    found = summarise([[entry(0, 1.0)], [entry(0, 2.0, samples=200)]], ["a", "b"])
    assert found.differences == {}
    said = "in columns of their own (card 1: samples=100; card 2: samples=200)"
    assert [said in note for note in found.notes] == [True], found.notes
    means = {name: {setting: mean.mean for setting, mean in held.items()} for name, held in found.means.items()}
    assert means == {"fid (card 1)": {"a": 1.0}, "fid (card 2)": {"b": 2.0}}


def test_seeds_under_unlike_cards_have_no_common_mean():
    found = summarise([[entry(0, 1.0), entry(1, 2.0, samples=200)]], ["a"])
    assert [(mean.mean, mean.count) for held in found.means.values() for mean in held.values()] == [(1.0, 1), (2.0, 1)]


def test_a_run_that_was_scored_under_two_cards_is_compared_under_both():
    both = entry(0, 1.0)
    both.also = [("fid", entry(0, 1.5, samples=200).scores["fid"])]
    found = summarise([[both, entry(1, 1.1)], [entry(0, 2.0, samples=200), entry(1, 3.0)]], ["a", "b"])
    assert found.columns["fid (card 1)"].values == {"a": {0: 1.0, 1: 1.1}, "b": {1: 3.0}}
    assert found.columns["fid (card 2)"].values == {"a": {0: 1.5}, "b": {0: 2.0}}
    assert found.differences["fid (card 2)"]["b"].mean == 0.5


def test_values_that_are_not_finite_count_nowhere():
    found = summarise([[entry(0, 1.0), entry(1, float("nan")), entry(2, float("inf"))]], ["a"])
    assert found.means["fid"]["a"] == Estimate(1.0, None, 1)


# ---------------------------------------------------------------- settings


BASE = {
    "model": {"name": "mlp", "latent": 2},
    "loss": {"name": "hinge"},
    "dataset": {"name": "ring8"},
    "optimizer": {"name": "adam", "lr": 0.1, "generator": {"lr": 0.1}, "schedule": {"name": "linear"}},
    "steps": 10,
    "seed": 0,
    "regularizer": {},
}
TITLED = [
    ([{}, {"loss": {"name": "lsgan", "target": 1}, "steps": 20}], ["loss=hinge steps=10", "loss=lsgan steps=20"]),
    ([{}], ["mlp-hinge-ring8"]),
    ([{}, {"regularizer": {"r1": {"name": "r1", "weight": 1.0}}}], ["regularizer=none", "regularizer=r1"]),
    (
        [{"regularizer": {"r1": {"name": "r1", "weight": weight}}} for weight in (1.0, 2.5)],
        ["regularizer.r1.weight=1", "regularizer.r1.weight=2.5"],
    ),
    # a key that follows another one says nothing of its own, and does where it goes its own way
    ([{}, {"optimizer": {**BASE["optimizer"], "lr": 0.2, "generator": {"lr": 0.2}}}], ["optimizer.lr=0.1", "optimizer.lr=0.2"]),
    (
        [{}, {"optimizer": {**BASE["optimizer"], "generator": {"lr": 0.2}}}],
        ["optimizer.generator.lr=0.1", "optimizer.generator.lr=0.2"],
    ),
    # two of one option differ in a key that the third does not have
    (
        [{}, *({"loss": {"name": "lsgan", "target": target}} for target in (0, 1))],
        ["loss=hinge loss.target=-", "loss=lsgan loss.target=0", "loss=lsgan loss.target=1"],
    ),
]


@pytest.mark.parametrize(("changes", "names"), TITLED)
def test_settings_are_named_by_what_differs_and_no_two_alike(changes, names):
    found, groups = settings_of_runs.grouped([{**BASE, **change, "seed": seed} for change in changes for seed in (0, 1)])
    assert groups == [place for place in range(len(changes)) for _ in (0, 1)]
    titles = settings_of_runs.titles(found)
    assert [sorted(title.split()) for title in titles] == [sorted(name.split()) for name in names]
    assert len(set(titles)) == len(titles)


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
        assert found.means["high_quality"][f"loss={name}"].mean == pytest.approx(np.mean(held))
    gap = found.differences["high_quality"]["loss=lsgan"]
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


@pytest.mark.parametrize(("effect", "count"), [(0.5, 34), (0.8, 15), (1.0, 10), (1.5, 6)])
def test_the_seeds_that_a_paired_test_needs_are_those_of_cohens_table(effect, count):
    """Cohen (1988) and G*Power: a two-sided paired t-test at 0.05 with a power of 0.8."""
    assert decide.seeds(effect * 3, 3.0, level=0.05) == count


def test_so_many_seeds_decide_in_four_of_five_simulated_cases():
    draws = np.random.default_rng(3)
    count = decide.seeds(0.9, 1.0, level=0.05 / 3)
    p = scipy.stats.ttest_1samp(draws.normal(0.9, 1.0, (8000, count)), 0, axis=1).pvalue
    assert np.mean(p < 0.05 / 3) == pytest.approx(0.8, abs=0.03)
    share = (1 + 9) ** 2 / (1 + 81)
    count = decide.seeds(2.5, 10**0.5, level=0.05, share=share)
    one, other = draws.normal(2.5, 1, (8000, count)), draws.normal(0, 3, (8000, count))
    assert np.mean(scipy.stats.ttest_ind(one, other, axis=1, equal_var=False).pvalue < 0.05) == pytest.approx(0.8, abs=0.03)


def test_how_many_more_seeds_follows_from_the_paired_spread_and_holms_factor():
    gaps = [0.3, 1.4, -0.4, 0.9]
    found = decide.difference(dict(enumerate(gaps)), dict.fromkeys(range(4), 0.0))
    decide.judge([found])
    spread = np.std(gaps, ddof=1)
    assert (found.decided, found.further) == (False, decide.seeds(np.mean(gaps), spread, level=0.05) - 4)
    clear = decide.difference({0: 1.0, 1: 1.01, 2: 0.99}, dict.fromkeys(range(3), 0.0))
    decide.judge([found, clear, decide.difference({0: 1.0, 1: 2.0}, {0: 0.0, 1: 1.0})])  # the third has no spread, and counts
    assert clear.further is None
    assert found.further == decide.seeds(np.mean(gaps), spread, level=0.05 / 2) - 4
    apart = decide.difference({0: 1.0, 1: 2.0, 2: 2.5}, {7: 0.9, 8: 1.1})
    decide.judge([apart])
    assert apart.further == decide.seeds(apart.mean, apart.spread, level=0.05, share=apart.share) - 2
    none = decide.difference({0: 1.0, 1: -1.0}, {0: 0.0, 1: 0.0})
    decide.judge([none])
    assert none.further is None
    assert compare.verdict(none, True) == f"not decided; more than {decide.MOST} more seeds would"


def test_a_gap_far_beyond_the_spread_needs_two_seeds_whatever_scipy_says_of_it():
    assert [decide.seeds(gap, 1.0, level=0.05) for gap in (20.0, 30.0, 1e3, 1e9)] == [2, 2, 2, 2]


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
    assert found.best == {"fid": "b" if higher else "a"}
    assert found.differences["fid"]["b"].decided
    assert summarise(directed({"a": low, "b": alike}, higher), ["a", "b"]).best == {}
    third = summarise(directed({"a": high, "b": low, "c": alike}, higher), ["a", "b", "c"])  # two low ones, not told apart
    assert third.best == ({"fid": "a"} if higher else {})
    turned = summarise(directed({"a": low, "b": high}, higher), ["a", "b"], reference=1)
    assert list(turned.differences["fid"]) == ["a"]
    assert turned.differences["fid"]["a"].mean == pytest.approx(-found.differences["fid"]["b"].mean)


def test_what_has_no_direction_no_spread_or_one_seed_is_never_decided():
    apart = {"a": {0: 1.0, 1: 1.1}, "b": {0: 9.0, 1: 9.1}}
    assert summarise(directed(apart, None), ["a", "b"]).best == {}
    found = summarise(directed({"a": {0: 8.0, 1: 8.0}, "b": {0: 7.0, 1: 7.0}}), ["a", "b"])
    assert (found.best, found.differences["fid"]["b"].decided) == ({}, False)
    assert summarise(directed({"a": {0: 8.0}, "b": {0: 7.0}}), ["a", "b"]).best == {}


@pytest.mark.parametrize("columns", [40, 60, 80, 160])
def test_the_table_cuts_no_name_and_no_number_and_keeps_to_the_width(columns):
    names = ["loss=hinge optimizer.discriminator.lr=0.000123456789", "loss=nonsaturating optimizer.discriminator.lr=0.0002"]
    settings = directed({"a": {0: 1.0, 1: 1.01, 2: 0.99}, "b": {0: 2.0, 1: 2.02, 2: 1.99}})
    for entries in settings:
        for one in entries:
            one.scores = {f"{word}_of_generated_samples": one.scores["fid"] for word in ("share", "recall", "entropy", "overlap")}
            one.directions = dict.fromkeys(one.scores, True)
    found = summarise(settings, names)
    lines = compare.table(found, columns=columns)
    text = "\n".join(lines)
    assert max(map(len, lines)) <= max(columns, 55)
    assert "…" not in text
    for word in [*" ".join(names).split(), *found.means]:
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
    assert [settings_of_runs.reference_of(text, runs, groups, 2) for text in (None, "1", "2", str(runs[0]))] == [0, 0, 1, 0]
    for wrong, why in (("3", "2 settings"), ("0", "2 settings"), ("nowhere", "none of the runs")):
        with pytest.raises(BadInput, match=why):
            settings_of_runs.reference_of(wrong, runs, groups, 2)
    assert "for several runs" in run("eval", runs[0], "--reference", "1").err
