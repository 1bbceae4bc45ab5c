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
from conftest import compose_config
from PIL import Image
from scipy import stats
from torch import Tensor

from ganrun.data.digits import digits
from ganrun.engine import assemble
from ganrun.engine import sources as kept
from ganrun.engine.sources import Sources
from ganrun.ground.runtime import resolve
from reproduce import drawings, measures, page, reads, runner, target, verdicts
from reproduce.__main__ import main
from reproduce.runner import Runner, key, table
from reproduce.target import Target, merge
from reproduce.verdicts import FAIL, INCONCLUSIVE, NOT_RUN, PASS, decide, difference, interval, judge, verdict

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
        "seeds": [0, 1],
        "reads": {"modes": {"score": "modes"}},
        "checks": [{"read": "modes", "arm": "one", "below": "other"}],
    }
    return Target(**{**said, **changes})


def row(entry: Target, arm: str, seed: int, value: float | None, **more: Any) -> dict[str, Any]:
    return {
        "target": entry.name,
        "arm": arm,
        "seed": seed,
        "key": key(entry, arm, seed),
        "values": {"modes": value},
        "status": "done",
        "seconds": 1.0,
        "commit": "abc",
        "torch": "2",
        "machine": "a machine",
        "at": "2026-01-01T00:00:00+00:00",
        **more,
    }


# verdicts


def test_the_interval_is_students() -> None:
    found = interval([1.0, 2.0, 4.0])
    low, high = stats.t.interval(0.95, 2, loc=7 / 3, scale=stats.sem([1.0, 2.0, 4.0]))
    assert (found.low, found.high) == pytest.approx((low, high))
    assert interval([1.0, 2.0, 3.0]).width == pytest.approx(4.302653 / math.sqrt(3))


def test_one_value_and_one_that_is_not_finite_have_no_interval() -> None:
    assert interval([3.0]).width == math.inf
    assert interval([3.0, math.inf]).width == math.inf
    assert decide({"read": "r", "arm": "a", "at_least": 1}, "a", {"a": {"r": [3.0]}}) == INCONCLUSIVE


@pytest.mark.parametrize(
    ("check", "values", "expected"),
    [
        ({"at_least": 7.5}, [8, 8, 8], PASS),
        ({"at_least": 7.5}, [7.5, 7.5], PASS),
        ({"at_least": 7.5}, [1, 2, 1], FAIL),
        ({"at_least": 7.5}, [8, 7, 8], INCONCLUSIVE),
        ({"at_most": 0.2}, [0.1, 0.1], PASS),
        ({"at_most": 0.2}, [0.3, 0.31], FAIL),
        ({"at_most": 0.2}, [0.1, 0.3], INCONCLUSIVE),
        ({"near": 10.0, "tolerance": 1.0}, [10.5, 10.4, 10.6], PASS),
        ({"near": 10.0, "tolerance": 1.0}, [12.5, 12.4, 12.6], FAIL),
        ({"near": 10.0, "tolerance": 1.0}, [7.5, 7.4, 7.6], FAIL),
        ({"near": 10.0, "tolerance": 1.0}, [10.9, 11.1, 10.7], INCONCLUSIVE),
    ],
)
def test_bounds_are_held_by_the_whole_interval(check: dict[str, float], values: list[float], expected: str) -> None:
    assert decide({"read": "r", "arm": "a", **check}, "a", {"a": {"r": values}}) == expected


def test_the_difference_of_two_means_has_welchs_interval() -> None:
    first, second = [5.0, 6.0, 9.0, 7.5], [1.0, 1.5, 1.2]
    expected = stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    found = difference(first, second)
    assert (found.low, found.high) == pytest.approx(tuple(expected))
    assert difference(second, first).mean == -found.mean
    assert difference([8.0, 8.0], [3.0, 3.0]).low == 5.0  # without any spread there is no test, and no doubt
    assert difference([8.0], [3.0, 3.0]).width == math.inf
    assert difference([8.0, math.inf], [3.0, 3.0]).width == math.inf


def test_an_order_needs_a_difference_that_is_sure() -> None:
    values = {"low": [1.0, 1.1, 0.9], "high": [5.0, 5.1, 4.9], "wide": [1.0, 5.0, 3.0], "same": [2.0, 2.0]}
    numbers = {arm: {"r": found} for arm, found in values.items()}
    assert decide({"read": "r", "arm": "low", "below": "high"}, "low", numbers) == PASS
    assert decide({"read": "r", "arm": "low", "above": "high"}, "low", numbers) == FAIL
    assert decide({"read": "r", "arm": "high", "above": "low"}, "high", numbers) == PASS
    assert decide({"read": "r", "arm": "high", "below": "low"}, "high", numbers) == FAIL
    assert decide({"read": "r", "arm": "low", "below": "wide"}, "low", numbers) == INCONCLUSIVE
    assert decide({"read": "r", "arm": "low", "below": "low"}, "low", numbers) == INCONCLUSIVE
    assert decide({"read": "r", "arm": "same", "below": "same"}, "same", numbers) == INCONCLUSIVE
    assert decide({"read": "r", "arm": "same", "above": "low"}, "same", numbers) == PASS
    assert decide({"read": "r", "arm": "low", "below": "none"}, "low", numbers) == NOT_RUN


def test_several_arms_must_all_hold_or_one_of_them() -> None:
    numbers = {"a": {"r": [8.0, 8.0]}, "b": {"r": [1.0, 1.0]}, "c": {"r": [7.0, 9.0]}}
    every = {"read": "r", "arm": ["a", "b"], "at_least": 7.5}
    assert judge(every, numbers) == FAIL
    assert judge({**every, "any": True}, numbers) == PASS
    assert judge({**every, "arm": ["a", "c"]}, numbers) == INCONCLUSIVE
    assert judge({**every, "arm": ["b", "c"], "any": True}, numbers) == INCONCLUSIVE
    assert judge({**every, "arm": ["b"], "any": True}, numbers) == FAIL
    assert judge({**every, "arm": ["absent"]}, numbers) == NOT_RUN
    assert judge({**every, "arm": ["a", "absent"]}, numbers) == INCONCLUSIVE


def test_a_target_fails_by_one_check_and_passes_by_all() -> None:
    good = {"read": "r", "arm": "a", "at_least": 1}
    bad = {"read": "r", "arm": "a", "at_most": 1}
    far = {"read": "r", "arm": "absent", "at_most": 1}
    numbers = {"a": {"r": [2.0, 2.0]}}
    assert verdict([good, good], numbers) == PASS
    assert verdict([good, bad, far], numbers) == FAIL
    assert verdict([good, far], numbers) == INCONCLUSIVE
    assert verdict([far], numbers) == NOT_RUN


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
    asked, entry = faked(monkeypatch, tmp_path), made()
    run = Runner(tmp_path / "out", results=tmp_path / "results.jsonl", say=lambda line: None)
    run.run(entry, seeds=1)
    assert len(asked) == 2
    run.run(entry)
    assert len(asked) == 4
    run.run(entry)
    assert len(asked) == 4
    assert all(words.count("device.threads=1") == 1 for words in asked)
    rows = runner.load(run.results)
    assert table(entry, rows) == {"one": {"modes": [0.0, 1.0]}, "other": {"modes": [0.0, 1.0]}}
    assert {"target", "arm", "seed", "command", "commit", "machine", "digest", "seconds"} <= set(rows[0])
    assert shlex.split(rows[0]["command"])[:2] == ["ganrun", "train"]


def test_rows_of_other_overrides_do_not_count(tmp_path: Path) -> None:
    entry = made()
    rows = [row(entry, "one", 0, 3.0), row(entry, "one", 0, 4.0), row(entry, "other", 1, None)]
    assert table(entry, rows) == {"one": {"modes": [4.0]}, "other": {}}
    changed = made(base=f"{TINY} ema=0.5")
    assert table(changed, rows) == {"one": {}, "other": {}}
    assert verdict(changed.checks, table(changed, rows)) == NOT_RUN


def test_a_failed_run_has_no_values_and_a_stopped_one_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faked(monkeypatch, tmp_path, act=lambda seed: (3, 75)[seed])
    run = Runner(tmp_path / "out", results=tmp_path / "results.jsonl", say=lambda line: None)
    run.run(made(arms={"one": "", "other": "loss=hinge"}))
    rows = runner.load(run.results)
    assert [(entry["seed"], entry["status"], entry["values"]) for entry in rows] == [(0, "why it ended", {})] * 2


@pytest.mark.parametrize(("code", "again"), [(0, 0), (3, 0), (1, 2), (4, 2)])
def test_what_failed_is_run_again_unless_it_diverged(
    code: int, again: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = faked(monkeypatch, tmp_path, act=lambda seed: code)
    run = Runner(tmp_path / "out", results=tmp_path / "results.jsonl", say=lambda line: None)
    run.run(made(seeds=[0]))
    run.run(made(seeds=[0]))
    assert len(asked) == 2 + again


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


def test_the_page_says_verdict_interval_seeds_commit_and_failures() -> None:
    entry = made(shows="It shows this.", tried="That.", needs=["mnist"])
    empty = page.write({"toy": entry}, [])
    assert "**NOT RUN.** A holds." in empty
    assert "needs mnist" in empty
    rows = [row(entry, "one", seed, value) for seed, value in ((0, 1.0), (1, 1.1))]
    rows += [row(entry, "other", 0, 9.0), row(entry, "other", 1, None, status="exploded")]
    text = page.write({"toy": entry}, rows)
    assert "**INCONCLUSIVE.** A holds." in text
    assert "| one | 1.05 ± 0.64 | 0, 1 | 1 |" in text
    assert "| other | 9 (one seed) | 0, 1; seed 1: exploded | 1 |" in text
    assert "It shows this." in text
    assert "Tried: That." in text
    assert "commit abc" in text
    for arm in entry.arms:
        assert re.search(rf"^ganrun train -m .* seed=[0-9,]+    # {arm}$", text, re.MULTILINE)
    rows.append(row(entry, "other", 1, 9.1))
    assert "**PASS.** A holds." in page.write({"toy": entry}, rows)


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


def test_the_committed_page_is_what_targets_and_results_say() -> None:
    assert page.PAGE.read_text() == page.write(TARGETS, runner.load())


def test_every_row_that_is_committed_is_of_a_target_and_whole() -> None:
    for entry in runner.load():
        assert entry["target"] in TARGETS, entry
        assert {"key", "arm", "seed", "commit", "machine", "digest"} <= set(entry), entry


# the targets themselves


def test_each_target_says_what_it_must() -> None:
    assert {entry.set for entry in TARGETS.values()} == set(target.SETS)
    for entry in TARGETS.values():
        assert entry.checks
        assert entry.mark in {"V", "from memory", "derived"}
        assert entry.budget <= 900 or entry.set != "cpu"
        assert entry.small
        assert entry.claim.endswith(".")


@pytest.mark.parametrize("name", TARGETS)
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
        small = Target(**{**vars(entry), "base": entry.base, "needs": [], "seeds": [0]})
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
    short = Target(
        **{
            **vars(entry),
            "arms": {"one": " ".join(merge(next(iter(entry.arms.values())), entry.small, "steps=50"))},
            "checks": [],
        }
    )
    run = Runner(tmp_path / "out", results=tmp_path / "results.jsonl", say=lambda line: None)
    assert run.twice(short)
    assert runner.load(run.results)[0]["twice"] is True


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
