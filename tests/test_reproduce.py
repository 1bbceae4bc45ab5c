"""Reproductions: verdicts from made-up numbers, what is read from a run, runs that leave rows, and targets that compose."""

from __future__ import annotations

import json
import math
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import compose_config, one_in
from PIL import Image
from scipy import stats
from torch import Tensor

from ganrun.data.digits import digits
from ganrun.engine import assemble
from ganrun.engine import sources as kept
from ganrun.engine.sources import Sources
from ganrun.ground.runtime import resolve
from reproduce import choosing, drawings, measures, page, reads, runner, sequential, target, verdicts
from reproduce.__main__ import main
from reproduce.runner import Runner, table
from reproduce.target import Target, merge
from reproduce.verdicts import FAIL, INCONCLUSIVE, NOT_RUN, PASS

TARGETS = target.load()
TINY = "dataset=ring8 dataset.num=64 model.generator.width=4 model.discriminator.width=4 batch_size=8 steps=2 evaluation.num=32"


def made(**changes: Any) -> Target:
    said: dict[str, Any] = {
        "name": "toy",
        "claim": "A holds.",
        "paper": "none",
        "mark": "derived",
        "base": TINY,
        "arms": {"one": "", "other": "loss=hinge"},
        "looks": [2],
        "reads": {"modes": {"score": "modes"}},
        "checks": [{"read": "modes", "arm": "one", "below": "other"}],
    }
    return Target(**{**said, **changes})


def row(entry: Target, arm: str, seed: int, value: float | None, **more: Any) -> dict[str, Any]:
    return {
        "target": entry.name,
        "arm": arm,
        "seed": seed,
        "frozen": entry.frozen,
        "values": {"modes": value},
        "status": "done" if value is not None else "exploded",
        "code": 0 if value is not None else 3,
        "seconds": 1.0,
        "commit": "abc",
        "torch": "2",
        "machine": "a machine",
        "at": "2026-01-01T00:00:00+00:00",
        **more,
    }


# intervals that hold at every look


def test_what_looks_spend_adds_up() -> None:
    for looks in ([5, 10, 20], [3], [2, 7]):
        assert sum(sequential.spend(looks, look) for look in looks) == pytest.approx(0.05)


def test_the_interval_of_a_mean_is_students_and_needs_spread() -> None:
    found = sequential.student([1.0, 2.0, 4.0], 0.02)
    assert (found.low, found.high) == pytest.approx(stats.t.interval(0.98, 2, loc=7 / 3, scale=stats.sem([1.0, 2.0, 4.0])))
    for values in ([3.0], [8.0] * 8, [3.0, math.inf], [0.1 + 0.2, 0.3]):
        assert sequential.student(values, 0.05).high == math.inf


def test_the_interval_of_a_share_is_exact() -> None:
    for hits, count in ((0, 5), (3, 10), (19, 20), (20, 20)):
        found = sequential.binomial(hits, count, 0.03)
        expected = stats.binomtest(hits, count).proportion_ci(0.97, method="exact")
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_betting_says_something_of_values_without_spread_and_nothing_beyond_its_bounds() -> None:
    few, many = (sequential.betting([8.0] * count, (0, 8), 0.05) for count in (5, 20))
    assert few.low < many.low < 8.0 == many.high
    # against a fair bet of each m by hand: with the largest stake all values at the upper bound multiply by 1.75 at m = 1/2
    assert sequential.betting([1.0] * 9, (0, 1), 0.05).low > 0.5
    mirrored = sequential.betting([0.0] * 20, (0, 8), 0.05)
    assert mirrored.high == pytest.approx(8.0 - many.low)
    with pytest.raises(ValueError, match="beyond its bounds"):
        sequential.betting([9.0], (0, 8), 0.05)


@pytest.mark.parametrize("kind", ["student", "binomial", "betting"])
def test_intervals_hold_at_all_looks_together(kind: str) -> None:
    """Simulated: the share of designs in which one of the looks misses the truth is 5 % at most, up to chance."""
    looks, missed, designs = [5, 10, 20], 0, 300
    numbers = torch.Generator().manual_seed(0)
    for _ in range(designs):
        if kind == "student":
            values, truth = torch.randn(20, generator=numbers, dtype=torch.float64).tolist(), 0.0
            found = [sequential.student(values[:look], sequential.spend(looks, look)) for look in looks]
        elif kind == "binomial":
            values, truth = (torch.rand(20, generator=numbers) < 0.8).double().tolist(), 0.8
            found = [sequential.binomial(int(sum(values[:look])), look, sequential.spend(looks, look)) for look in looks]
        else:  # a law of few values near a bound, where Student's interval is wrong
            values, truth = torch.where(torch.rand(20, generator=numbers) < 0.9, 8.0, 2.0).tolist(), 7.4
            found = [sequential.betting(values[:look], (0, 8), 0.05, points=201) for look in looks]
        missed += any(not entry.low <= truth <= entry.high for entry in found)
    assert missed <= stats.binom.ppf(0.999, designs, 0.05)


def test_looking_often_without_spending_would_miss_too_often() -> None:
    """The test above can fail: an ordinary interval at each look misses more often than its level says."""
    numbers, missed, designs = torch.Generator().manual_seed(0), 0, 400
    for _ in range(designs):
        values = torch.randn(20, generator=numbers, dtype=torch.float64).tolist()
        found = [sequential.student(values[:look], 0.05) for look in (5, 10, 20)]
        missed += any(not entry.low <= 0.0 <= entry.high for entry in found)
    assert missed > stats.binom.ppf(0.999, designs, 0.05)


# verdicts


def numbers(**arms: list[float]) -> dict[str, dict[str, dict[int, float]]]:
    """{arm: values over seeds 0, 1, ...} as the table that verdicts read; nan is a run that diverged."""
    return {arm: {"modes": dict(enumerate(values))} for arm, values in arms.items()}


def asks(*checks: dict[str, Any], looks: list[int] | None = None, bounds: list[float] | None = None) -> Target:
    reads = {"modes": {"score": "modes", **({"bounds": bounds} if bounds else {})}}
    arms = dict.fromkeys(("a", "b", "c", "d"), "")
    return made(arms=arms, reads=reads, looks=looks or [3], checks=[{"read": "modes", **check} for check in checks])


def decided(check: dict[str, Any], looks: list[int] | None = None, bounds: list[float] | None = None, **arms: list[float]) -> str:
    entry = asks({"arm": "a", **check}, looks=looks, bounds=bounds)
    return verdicts.verdict(entry, numbers(**arms))


@pytest.mark.parametrize(
    ("check", "values", "expected"),
    [
        ({"at_least": 7.5}, [8.0, 8.01, 8.02], PASS),
        ({"at_least": 7.5}, [8.0, 8.0, 8.0], INCONCLUSIVE),  # no spread, no interval
        ({"at_least": 7.5}, [1.0, 1.2, 1.1], FAIL),
        ({"at_least": 7.5}, [8.0, 7.0, 8.0], INCONCLUSIVE),
        ({"at_most": 0.2}, [0.1, 0.11, 0.1], PASS),
        ({"at_most": 0.2}, [0.3, 0.31, 0.3], FAIL),
        ({"at_most": 0.2}, [0.1, 0.3, 0.2], INCONCLUSIVE),
        ({"near": 10.0, "tolerance": 1.0}, [10.5, 10.4, 10.6], PASS),
        ({"near": 10.0, "tolerance": 1.0}, [12.5, 12.4, 12.6], FAIL),
        ({"near": 10.0, "tolerance": 1.0}, [7.5, 7.4, 7.6], FAIL),
        ({"near": 10.0, "tolerance": 1.0}, [10.9, 11.1, 10.7], INCONCLUSIVE),
        ({"at_least": 7.5}, [8.0, 8.01, math.nan], INCONCLUSIVE),
    ],
)
def test_bounds_are_held_by_the_whole_interval(check: dict[str, float], values: list[float], expected: str) -> None:
    assert decided(check, a=values) == expected


def test_an_order_is_judged_by_pairs_of_one_seed() -> None:
    noisy = [1.0, 5.0, 3.0]
    above = [value + 0.5 + 0.01 * value for value in noisy]  # the same runs, a little more each
    assert decided({"above": "b"}, a=above, b=noisy) == PASS
    assert decided({"below": "b"}, a=above, b=noisy) == FAIL
    assert decided({"above": "b"}, a=above, b=noisy[::-1]) == INCONCLUSIVE
    assert decided({"above": "b"}, a=noisy, b=noisy) == INCONCLUSIVE
    assert decided({"above": "b"}, a=noisy) == NOT_RUN


def test_a_share_counts_runs_and_a_run_that_diverged_is_a_miss() -> None:
    half = {"at_least": 8, "share": 0.5}
    assert decided(half, [10], a=[8.0] * 10) == PASS
    assert decided(half, [10], a=[8.0] * 9 + [7.0]) == PASS
    assert decided(half, [10], a=[7.0] * 10) == FAIL
    assert decided(half, [10], a=[8.0] * 5 + [7.0] * 5) == INCONCLUSIVE
    assert decided(half, [10], a=[8.0] * 6 + [math.nan] * 4) == INCONCLUSIVE
    assert decided({"below": "b", "share": 0.5}, [10], a=[0.0] * 10, b=[8.0] * 10) == PASS
    assert decided({"below": "b", "share": 0.5}, [10], a=[0.0] * 10, b=[math.nan] * 10) == PASS
    assert decided({"below": "b", "share": 0.5}, [10], a=[8.0] * 10, b=[8.0] * 10) == FAIL


def test_values_with_bounds_are_judged_by_betting_and_a_run_that_diverged_by_the_worse_bound() -> None:
    assert decided({"above": "b"}, [10], [0, 8], a=[8.0] * 10, b=[0.0] * 10) == PASS
    assert decided({"above": "b"}, [10], [0, 8], a=[math.nan] * 10, b=[8.0] * 10) == FAIL
    assert decided({"at_least": 6}, [20], [0, 8], a=[8.0] * 20) == PASS
    assert decided({"at_least": 6}, [20], [0, 8], a=[8.0] * 12 + [math.nan] * 8) == INCONCLUSIVE


def test_several_arms_must_all_hold_or_one_of_them() -> None:
    table = numbers(a=[8.0, 8.1, 8.2], b=[1.0, 1.1, 1.2], c=[7.0, 9.0, 8.0])

    def word(*arms: str, **more: Any) -> str:
        entry = asks({"arm": list(arms), "at_least": 7.5, **more})
        return verdicts.verdict(entry, table)

    assert word("a", "b") == FAIL
    assert word("a", "b", any=True) == PASS
    assert word("a", "c") == INCONCLUSIVE
    assert word("b", "c", any=True) == INCONCLUSIVE
    assert word("b", any=True) == FAIL
    assert word("d") == NOT_RUN
    assert word("a", "d") == INCONCLUSIVE


def test_the_best_of_several_and_one_failure_among_many_need_a_stricter_level() -> None:
    edge = [8.0, 8.1, 8.2]
    bound = sequential.student(edge, 0.05).low - 1e-6  # just inside at 5 %
    assert verdicts.verdict(asks({"arm": "a", "at_least": bound}), numbers(a=edge)) == PASS
    either = asks({"arm": ["a", "b"], "at_least": bound, "any": True})
    assert verdicts.verdict(either, numbers(a=edge, b=[0.0, 1.0, 2.0])) == INCONCLUSIVE
    over = sequential.student(edge, 0.05).high + 1e-6
    assert verdicts.verdict(asks({"arm": "a", "at_least": over}), numbers(a=edge)) == FAIL
    both = asks({"arm": "a", "at_least": over}, {"arm": "b", "at_least": 0})
    assert verdicts.verdict(both, numbers(a=edge, b=[1.0, 1.1, 1.2])) == INCONCLUSIVE


def test_a_target_fails_by_one_check_and_passes_by_all() -> None:
    good, bad, far = {"arm": "a", "at_least": 1}, {"arm": "a", "at_most": 1}, {"arm": "d", "at_most": 1}
    table = numbers(a=[2.0, 2.01, 2.02])
    assert verdicts.verdict(asks(good, good), table) == PASS
    assert verdicts.verdict(asks(good, bad, far), table) == FAIL
    assert verdicts.verdict(asks(good, far), table) == INCONCLUSIVE
    assert verdicts.verdict(asks(far), table) == NOT_RUN


def test_the_first_look_that_decides_stands_and_a_look_that_is_not_whole_does_not_count() -> None:
    check = {"arm": "a", "at_least": 1.0}
    entry = asks(check, looks=[3, 6])
    early = [2.0, 2.01, 2.02]
    assert verdicts.decide(entry, entry.checks[0], "a", numbers(a=early)) == (PASS, 3)
    assert verdicts.decide(entry, entry.checks[0], "a", numbers(a=[*early, -9.0, -9.0, -9.0])) == (PASS, 3)
    open_ = [0.5, 1.5, 2.5]
    assert verdicts.decide(entry, entry.checks[0], "a", numbers(a=[*open_, 2.0, 2.0])) == (INCONCLUSIVE, 3)
    assert verdicts.decide(entry, entry.checks[0], "a", numbers(a=early[:2])) == (NOT_RUN, 0)


def test_only_runs_that_can_still_decide_are_due() -> None:
    entry = asks({"arm": "a", "at_least": 1.0}, {"arm": "b", "below": "c"}, looks=[2, 4])
    assert verdicts.due(entry, numbers()) == [(arm, seed) for seed in (0, 1) for arm in "abcd"]
    both = {"c": [5.0, 9.0], "d": [0.0, 0.0]}
    table = numbers(a=[2.0, 2.001], b=[4.0, 2.0], **both)
    assert verdicts.due(entry, table) == [("b", 2), ("c", 2), ("b", 3), ("c", 3)]
    assert verdicts.due(entry, numbers(a=[0.0, 0.001], b=[4.0, 2.0], **both)) == []  # failed already


def test_how_many_seeds_would_decide_is_what_decides_when_they_are_there() -> None:
    entry = asks({"arm": "a", "at_least": 1.0}, looks=[4])
    values = [0.5, 2.0, 1.5, 1.0]
    count = verdicts.enough(entry, entry.checks[0], "a", numbers(a=values))
    assert count is not None
    assert sequential.student((values * 200)[:count], 0.05).low >= 1.0
    assert all(sequential.student((values * 200)[:fewer], 0.05).low < 1.0 for fewer in range(5, count))
    level = asks({"arm": "a", "at_least": 1.25}, looks=[4])
    assert verdicts.enough(level, level.checks[0], "a", numbers(a=values)) is None


# what is read


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    losses = [5.0, 4.0, 3.0, 2.0, 1.0, 0.0]
    metrics = [{"step": step, "discriminator/loss": loss} for step, loss in zip(range(0, 60, 10), losses, strict=True)]
    scores = [{"step": step, "scores": {"fid": {"value": value}}} for step, value in ((10, 9.0), (30, 4.0), (50, 6.0))]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in metrics))
    (tmp_path / "scores.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in scores))
    return tmp_path


def test_scores_and_curves_are_read_where_told(folder: Path) -> None:
    assert reads.read(folder, {"score": "fid"}) == 6.0
    assert reads.read(folder, {"score": "fid", "at": "first"}) == 9.0
    assert reads.read(folder, {"score": "fid", "at": "lowest"}) == 4.0
    assert reads.read(folder, {"share": "fid", "of": "first"}) == pytest.approx(6 / 9)
    assert reads.read(folder, {"share": "fid", "of": "lowest"}) == pytest.approx(6 / 4)
    assert reads.read(folder, {"share": "fid", "of": "highest"}) == pytest.approx(6 / 9)
    assert reads.read(folder, {"curve": "discriminator/loss", "last": 2}) == 0.5
    with pytest.raises(ValueError, match="no value of is"):
        reads.read(folder, {"score": "is"})
    with pytest.raises(ValueError, match="no generator"):
        reads.read(folder, {"curve": "generator/loss"})


def test_the_rank_correlation_pairs_each_score_with_the_curve_before_it(folder: Path) -> None:
    # means since the evaluation before: 4.5, 2.5, 0.5 against 9, 4, 6, whose ranks are 3, 1, 2
    assert reads.read(folder, {"rank": "discriminator/loss", "with": "fid"}) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="too few"):
        reads.read(folder, {"rank": "discriminator/loss", "with": "fid", "skip": 1})


# measures, of generators whose answer is known


@pytest.fixture
def plays(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """``plays(make, sources)``: a run whose generator is ``make(seed, sources, labels)`` in pixels 0..1, on these sources."""

    def plays(make: Callable[..., Tensor], given: Sources | None = None) -> Path:
        def sample(num: int, *, seed: int, labels: list[int] | None = None, sources: Tensor | None = None) -> Tensor:
            return make(seed, sources, labels)

        found = SimpleNamespace(folder=Path("run"), spec=SimpleNamespace(classes=10), sample=sample)
        monkeypatch.setattr(measures.ganrun, "load", lambda folder, **options: found)
        monkeypatch.setattr(kept, "load", lambda folder, spec: given)
        return found.folder

    return plays


def test_label_accuracy_is_that_of_the_samples_and_not_of_what_was_asked(plays: Callable[..., Path]) -> None:
    data = digits(size=8)
    by_class = [(data.labels == label).nonzero().flatten() for label in range(10)]

    def real(seed: int, sources: Tensor | None, labels: list[int], shift: int = 0) -> Tensor:
        rows = [int(by_class[(label + shift) % 10][place % 20]) for place, label in enumerate(labels)]
        return data.batch(torch.tensor(rows)).x / 2 + 0.5

    assert measures.label_accuracy(plays(real), each=20) > 0.98
    assert measures.label_accuracy(plays(partial(real, shift=1)), each=20) < 0.02


def test_the_effect_of_noise_is_a_share_of_that_of_the_input(plays: Callable[..., Path]) -> None:
    given = Sources(torch.rand(16, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1)
    spread = (given.source.double() / 2 + 0.5).std(0).mean().item()
    assert measures.noise_effect(plays(lambda seed, sources, labels: sources, given)) == 0
    moved = measures.noise_effect(plays(lambda seed, sources, labels: sources + 0.01 * seed, given))
    assert moved == pytest.approx(0.01 * math.sqrt(6) / spread, rel=1e-4)  # the numbers 0..7 have variance 6


def test_sharpness_is_one_for_the_right_answers_and_less_for_paler_and_smoother_ones(plays: Callable[..., Path]) -> None:
    target = torch.rand(8, 1, 6, 6, generator=torch.Generator().manual_seed(1)) * 2 - 1
    given, right = Sources(torch.zeros_like(target), target), target / 2 + 0.5
    assert measures.sharpness(plays(lambda seed, sources, labels: right, given)) == pytest.approx(1)
    assert measures.sharpness(plays(lambda seed, sources, labels: right / 2, given)) == pytest.approx(0.5)
    smooth = torch.nn.functional.avg_pool2d(right, 3, 1, 1)
    assert measures.sharpness(plays(lambda seed, sources, labels: smooth, given)) < 0.5
    with pytest.raises(ValueError, match="has no pairs"):
        measures.sharpness(plays(lambda seed, sources, labels: right, Sources(target)))


def test_the_distance_from_the_negative_is_none_where_it_is_undone(plays: Callable[..., Path]) -> None:
    given = Sources(torch.rand(8, 1, 6, 6, generator=torch.Generator().manual_seed(2)) * 2 - 1)
    undone = measures.distance_from_negative(plays(lambda seed, sources, labels: 1 - sources, given))
    assert undone == pytest.approx(0, abs=1e-6)
    same = measures.distance_from_negative(plays(lambda seed, sources, labels: sources, given))
    assert same == pytest.approx(2 * given.source.abs().mean().item(), rel=1e-5)


# runs and rows


def test_a_later_word_wins_and_another_option_drops_the_keys_of_the_one_before() -> None:
    found = merge(
        "dataset=mnist dataset.root=x steps=3 regularizer=r1 regularizer.r1.weight=2", "dataset=digits steps=4 regularizer=r2"
    )
    assert found == ("dataset=digits", "steps=4", "regularizer=r2")


def faked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, act: Callable[[int], int] = lambda seed: 0) -> list[tuple[str, ...]]:
    """``Runner.train`` without a process: writes what a run would leave, and notes what was asked for."""
    asked: list[tuple[str, ...]] = []

    def train(self: Runner, typed: tuple[str, ...], seed: int) -> tuple[Path, int, str]:
        asked.append(typed)
        place = tmp_path / f"run{len(asked)}-{seed}"
        place.mkdir()
        (place / "scores.jsonl").write_text(json.dumps({"step": 2, "scores": {"modes": {"value": float(seed)}}}))
        (place / "run.json").write_text(
            json.dumps({"seconds": 1.5, "step": 2, "digest": "d", "environment": {"commit": "c", "torch": "t"}})
        )
        return place, act(seed), "why it ended"

    monkeypatch.setattr(Runner, "train", train)
    return asked


def test_finished_runs_leave_rows_and_are_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, entry = faked(monkeypatch, tmp_path), made(looks=[2, 4])
    run = Runner(tmp_path / "out", results=tmp_path / "results.jsonl", say=lambda line: None)
    run.run(entry, looks=1)
    assert len(asked) == 4
    run.run(entry)  # both arms have the same values, so nothing decides before the last look
    assert len(asked) == 8
    run.run(entry)
    assert len(asked) == 8
    assert all(words.count("device.threads=1") == 1 for words in asked)
    rows = runner.load(run.results)
    values = {0: 0.0, 1: 1.0, 2: 2.0, 3: 3.0}
    assert table(entry, rows) == {"one": {"modes": values}, "other": {"modes": values}}
    assert {"target", "arm", "seed", "frozen", "command", "commit", "machine", "digest", "seconds", "images"} <= set(rows[0])
    assert shlex.split(rows[0]["command"])[:2] == ["ganrun", "train"]


def test_rows_of_a_target_that_was_frozen_otherwise_are_stale() -> None:
    entry = made()
    rows = [row(entry, "one", 0, 3.0), row(entry, "one", 0, 4.0), row(entry, "other", 1, None)]
    found = table(entry, rows)
    assert found["one"] == {"modes": {0: 3.0}}  # the first result of a run stands
    assert math.isnan(found["other"]["modes"][1])
    fewer = [{"read": "modes", "arm": "one", "at_least": 0}]
    for changed in (made(base=f"{TINY} ema=0.5"), made(checks=fewer), made(claim="B."), made(looks=[3]), made(budget=1)):
        assert table(changed, rows) == {"one": {}, "other": {}}
        assert len(runner.stale(changed, rows)) == 3
        assert verdicts.verdict(changed, table(changed, rows)) == NOT_RUN
    assert made(small="steps=1", order=3, draw="sheet", quick=True).frozen == entry.frozen
    assert runner.stale(entry, rows) == []


def test_a_run_that_diverged_has_no_values_and_a_stopped_one_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faked(monkeypatch, tmp_path, act=lambda seed: (3, 75)[seed])
    run = Runner(tmp_path / "out", results=tmp_path / "results.jsonl", say=lambda line: None)
    run.run(made(arms={"one": "", "other": "loss=hinge"}))
    rows = runner.load(run.results)
    assert [(entry["seed"], entry["status"], entry["values"]) for entry in rows] == [(0, "why it ended", {})] * 2


@pytest.mark.parametrize(("code", "again"), [(0, 0), (3, 0), (1, 4), (4, 4)])
def test_what_failed_is_run_again_unless_it_diverged(
    code: int, again: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = faked(monkeypatch, tmp_path, act=lambda seed: code)
    run = Runner(tmp_path / "out", results=tmp_path / "results.jsonl", say=lambda line: None)
    run.run(made())
    run.run(made())
    assert len(asked) == 4 + again


def test_settings_are_found_on_seeds_that_judge_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = faked(monkeypatch, tmp_path)
    run = Runner(tmp_path / "out", tmp_path / "results.jsonl", tmp_path / "tuning.jsonl", say=lambda line: None)
    with pytest.raises(ValueError, match="seed 3 is one of those that judge"):
        run.tune(made(), ["steps=7"], [1000, 3])
    run.tune(made(), ["steps=7"], [1000, 1001], ["other"])
    assert [("steps=7" in words, "loss=hinge" in words) for words in asked] == [(True, True)] * 2
    assert not run.results.exists()
    assert [entry["seed"] for entry in runner.load(run.tuning)] == [1000, 1001]
    assert main(["ring8", "steps=3"]) == 2
    assert "frozen" in capsys.readouterr().err


def test_a_repeated_run_is_held_against_its_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faked(monkeypatch, tmp_path)
    said: list[str] = []
    run = Runner(tmp_path / "out", results=tmp_path / "results.jsonl", say=said.append)
    entry = made()
    assert run.again(entry) is None
    run.append(row(entry, "one", 0, 3.0, digest="d" * 64))
    run.append(row(entry, "other", 0, 3.0, digest="d", seconds=0.5))
    assert run.again(entry) is True  # the shortest run is repeated; ``faked`` ends in the digest "d"
    run.append(row(entry, "one", 1, 3.0, digest="another", seconds=0.1))
    assert run.again(entry) is False
    assert [line["again"] for line in runner.load(run.results) if "again" in line] == [True, False]


def test_arms_with_other_budgets_say_why() -> None:
    arms = {"one": "", "other": "n_critic=5"}
    with pytest.raises(ValueError, match="`budgets` does not say why"):
        made(arms=arms)
    assert "Budgets differ: a critic needs them." in page.target_page(made(arms=arms, budgets="a critic needs them"), [])


def test_nothing_starts_after_the_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Runner(tmp_path / "out", results=tmp_path / "results.jsonl", parallel=1, say=lambda line: None)
    asked = faked(monkeypatch, tmp_path, act=lambda seed: run.stop() or 0)
    run.run(made())
    assert len(asked) == 1


def test_data_and_devices_that_are_absent_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WEIGHTS", raising=False)
    assert "no mnist" in runner.missing(made(needs=["mnist"]), str(tmp_path))
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    assert runner.missing(made(needs=["mnist"]), str(tmp_path)) == ""
    assert "Inception" in runner.missing(made(needs=["inception"]), str(tmp_path))
    typed = Runner(tmp_path, root=str(tmp_path)).overrides(made(needs=["mnist"], base=f"{TINY} dataset=mnist"), "one", 3)
    assert {f"dataset.root={tmp_path}", "dataset.download=false", "seed=3"} <= set(typed)


def test_misspelt_keys_arms_and_names_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="which is none of its arms"):
        made(checks=[{"read": "modes", "arm": "none", "at_least": 1}])
    with pytest.raises(ValueError, match="which is none of its reads"):
        made(checks=[{"read": "node", "arm": "one", "at_least": 1}])
    (tmp_path / "bad.yaml").write_text("clam: x")
    with pytest.raises(ValueError, match="clam"):
        target.load(tmp_path)
    assert main(["ring"]) == 2
    assert "ring8" in capsys.readouterr().err


# the page


def test_the_pages_say_verdict_interval_seeds_commit_and_failures() -> None:
    entry = made(needs=["mnist"], looks=[2, 3])
    empty = page.target_page(entry, [])
    assert "**NOT RUN.** A holds." in empty
    assert "needs mnist" in empty
    rows = [row(entry, "one", seed, value, steps=20, images=1600) for seed, value in ((0, 1.0), (1, 1.1), (2, 1.2))]
    rows += [row(entry, "other", 0, 9.0), row(entry, "other", 1, None), {**row(entry, "other", 2, 9.2), "frozen": "an older one"}]
    text = page.target_page(entry, rows)
    assert "**INCONCLUSIVE.** A holds." in text
    assert "| one | 1.1 ± 0.1 | 3 | 20 | 1,600 | 1 |" in text
    assert "| other | 9 | 2; seed 1: exploded |  |  | 1 |" in text
    assert "1 rows are STALE" in text
    assert "commit abc" in text
    for arm in entry.arms:
        assert re.search(rf"^ganrun train -m .* seed=0,1    # {arm}$", text, re.MULTILINE)
    whole = [*rows[:4], row(entry, "other", 1, 9.15)]
    text = page.target_page(entry, whole)
    assert "**PASS.** A holds." in text
    summary = page.write({"toy": entry}, whole)
    assert "1 targets: 1 PASS, 0 FAIL, 0 INCONCLUSIVE, 0 NOT RUN." in summary
    assert "modes of one against other, by seed: -8" in summary


def test_the_summary_is_short_before_its_table() -> None:
    text = page.write(TARGETS, [])
    assert len(text[: text.index("| target")].split()) <= 400


def test_a_sheet_shows_every_arm_and_curves_every_evaluation(folder: Path, tmp_path: Path) -> None:
    (folder / "samples").mkdir()
    for step, colour in ((1, "red"), (20, "lime")):
        Image.new("RGB", (40, 40), colour).save(folder / "samples" / f"step_{step:08d}.png")
    drawings.sheet({"one": folder, "other": folder}, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as picture:
        colours = picture.convert("RGB")
        assert colours.size == (2 * drawings.TILE, drawings.TITLE + 4 + 40)
        assert [colours.getpixel((column * drawings.TILE + 20, drawings.TITLE + 20)) for column in (0, 1)] == [(0, 255, 0)] * 2
    drawings.curves({"one": folder}, tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as picture:
        assert len(picture.convert("RGB").getcolors(10**6) or []) > 20


def test_the_committed_pages_are_what_targets_and_results_say() -> None:
    results = runner.load()
    assert page.PAGE.read_text() == page.write(TARGETS, results)
    for name, entry in TARGETS.items():
        assert (page.PICTURES / f"{name}.md").read_text() == page.target_page(entry, results)


def test_every_row_that_is_committed_is_of_a_target_and_whole() -> None:
    for entry in runner.load():
        assert entry["target"] in TARGETS, entry
        assert {"arm", "seed", "commit", "machine", "digest"} <= set(entry), entry


# the targets themselves


def test_each_target_says_what_it_must() -> None:
    assert {entry.set for entry in TARGETS.values()} == set(target.SETS)
    assert sum(entry.budget for entry in TARGETS.values() if entry.set == "cpu") <= 8 * 3600
    for entry in TARGETS.values():
        assert entry.checks
        assert entry.mark in {"V", "from memory", "derived"}
        assert entry.small
        assert entry.claim.endswith(".")


@pytest.mark.parametrize("name", one_in(6, TARGETS))
def test_every_arm_composes_and_its_parts_are_legal(name: str) -> None:
    """Hydra refuses a key that does not exist; the constructors a value out of bounds."""
    entry = TARGETS[name]
    for arm in entry.arms:
        assemble.build(compose_config(*entry.overrides(arm)), with_metrics=False)


@pytest.mark.parametrize(
    "name", [name for name, entry in TARGETS.items() if entry.set != "cpu"] + ["matching-aware", "characters"]
)
def test_a_target_trains_two_steps_at_the_smallest_widths(name: str) -> None:
    entry = TARGETS[name]
    typed = merge(entry.overrides(next(iter(entry.arms))), entry.small, "steps=2 device=cpu device.threads=1")
    config = compose_config(*typed)
    parts = assemble.build(config, with_metrics=False)
    dataset = assemble.load_data(config, parts.family)
    assemble.verify(parts, dataset)
    trainer = assemble.trainer(parts, dataset, resolve(config["device"]))
    for _ in range(2):
        trainer.advance()
    assert trainer.step == 2


@pytest.mark.long
def test_every_arm_trains_and_is_read_in_two_steps(tmp_path: Path) -> None:
    faults = []
    for entry in TARGETS.values():
        small = Target(**{**vars(entry), "base": entry.base, "needs": [], "looks": [2]})
        arms = {
            arm: " ".join(map(shlex.quote, merge(f"{entry.arms[arm]} steps=2 device=cpu", entry.small))) for arm in entry.arms
        }
        small = Target(**{**vars(small), "arms": arms})
        run = Runner(tmp_path / "out", results=tmp_path / "results.jsonl", say=lambda line: None)
        run.run(small, budget=3600)
        rows = [found for found in runner.load(run.results) if found["target"] == entry.name]
        wanting = {(found["arm"], name) for found in rows for name in entry.reads if name not in found["values"]}
        faults += [(entry.name, found["arm"], found["status"]) for found in rows if found["status"] != "done"]
        faults += [(entry.name, *pair) for pair in wanting if not pair[1].startswith(("rank", "distance from"))]
    assert not faults


@pytest.mark.long
@pytest.mark.parametrize("name", ["ring8", "conditional"])
def test_running_twice_agrees_to_the_last_bit(name: str, tmp_path: Path) -> None:
    entry = TARGETS[name]
    one = " ".join(merge(next(iter(entry.arms.values())), entry.small, "steps=50"))
    short = Target(**{**vars(entry), "arms": {"one": one}, "checks": [], "looks": [2]})
    run = Runner(tmp_path / "out", results=tmp_path / "results.jsonl", say=lambda line: None)
    run.run(short)
    assert run.again(short) is True


def test_the_command_lists_without_torch() -> None:
    words = (
        "import sys; from reproduce.__main__ import main; "
        "code = main(['--list']); assert 'torch' not in sys.modules; sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", words], cwd=runner.ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "ring8" in done.stdout
    assert verdicts.NOT_RUN in done.stdout


# which setting to choose


def test_cells_at_equal_time_have_steps_by_their_cost() -> None:
    table = choosing.load()["points"]
    cells = list(table.cells())
    dear = choosing.Table(**{**vars(table), "cost": {cells[0]: 1.0, cells[1]: 2.5}})
    steps = [dict(word.split("=") for word in dear.target().overrides(cell))["steps"] for cell in cells[:3]]
    assert steps == [str(table.steps), str(round(table.steps / 2.5)), str(table.steps)]


def test_the_cells_that_stay_hold_the_best_with_the_level_that_is_promised() -> None:
    """Simulated with a best cell that shares its noise with the others: it is out in at most 5 % of tables, up to chance."""
    noise, out, designs = torch.Generator().manual_seed(1), 0, 80
    for _ in range(designs):
        drawn = torch.randn(6, 5, generator=noise, dtype=torch.float64) + torch.randn(5, generator=noise, dtype=torch.float64)
        values = {str(cell): dict(enumerate((0.05 * (cell > 0) + drawn[cell]).tolist())) for cell in range(6)}
        out += "0" in choosing.beaten(values)
    assert out <= stats.binom.ppf(0.999, designs, 0.05)
    clear = {"good": {0: 1.0, 1: 1.1, 2: 0.9}, "bad": {0: 9.0, 1: 9.2, 2: 9.1}, "same": {0: 1.01, 1: 1.0, 2: 1.0}}
    assert choosing.beaten(clear) == {"bad": "good is better"}


def test_the_committed_page_of_choices_is_what_its_tables_and_results_say() -> None:
    assert choosing.PAGE.read_text() == choosing.write(choosing.load(), runner.load(choosing.RESULTS))


@pytest.mark.parametrize("name", choosing.load())
def test_every_cell_composes_and_its_parts_are_legal(name: str) -> None:
    entry = choosing.load()[name].target()
    for cell in list(entry.arms)[::13]:  # the losses and regularizers themselves compose elsewhere
        assemble.build(compose_config(*entry.overrides(cell)), with_metrics=False)


def test_a_picture_of_older_settings_stands_beside_no_results(tmp_path: Path) -> None:
    entry, older = made(draw="sheet", looks=[2]), made(draw="sheet", looks=[3])
    Image.new("RGB", (4, 4)).save(tmp_path / older.picture)
    rows = [row(entry, arm, seed, 1.0 + seed) for arm in entry.arms for seed in (0, 1)]
    assert ".png" not in page.target_page(entry, rows, tmp_path)
    Image.new("RGB", (4, 4)).save(tmp_path / entry.picture)
    assert f"]({entry.picture})" in page.target_page(entry, rows, tmp_path)
