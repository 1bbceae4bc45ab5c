"""The theory's experiments: their verdicts, their expected numbers against others' and against faults in what they test."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import softplus
from typer.testing import CliRunner

from ganrun.cli.app import app
from ganrun.ground import figures
from ganrun.ground.errors import BadInput
from ganrun.losses.minimax import Minimax
from ganrun.losses.nonsaturating import Nonsaturating
from ganrun.losses.wasserstein import Wasserstein
from ganrun.regularizers.gradient_penalty import GradientPenalty
from ganrun.regularizers.instance_noise import InstanceNoise
from ganrun.regularizers.label_flip import LabelFlip
from ganrun.regularizers.label_smoothing import LabelSmoothing
from ganrun.regularizers.r1 import R1
from ganrun.regularizers.spectral_norm import SpectralNormWeight
from ganrun.regularizers.weight_clip import WeightClip
from ganrun.theory import base, page
from ganrun.theory.base import Row, Rows

EVERY = base.experiments()
FAST = [entry.name for entry in EVERY if not entry.slow]
SLOW = [entry.name for entry in EVERY if entry.slow]
DOCS = Path(__file__).parents[1] / "docs"

_seen: dict[str, Rows] = {}


def rows_of(name: str) -> Rows:
    """An experiment's rows, computed once in this process."""
    if name not in _seen:
        _seen[name] = base.select([name])[0].run()
    return _seen[name]


def measured(name: str, claim: str) -> float:
    """The number measured for the one row whose claim contains ``claim``."""
    (row,) = (row for row in rows_of(name) if claim in row.claim)
    return row.measured


def failures(name: str) -> list[str]:
    return [f"{row.claim}: {row.expectation}, measured {row.measured}" for row in base.select([name])[0].run() if not row.passed]


@pytest.mark.parametrize("name", FAST)
def test_every_verdict_is_pass(name: str) -> None:
    assert [row for row in rows_of(name) if not row.passed] == []


@pytest.mark.long
@pytest.mark.parametrize("name", SLOW)
def test_every_verdict_of_trained_networks_is_pass(name: str) -> None:
    assert failures(name) == []


# numbers worked out apart from this code
@pytest.mark.parametrize(
    ("name", "claim", "number"),
    [
        ("optimal_discriminator", "against 2 JS", 2 * 0.0905658 - 2 * math.log(2)),
        ("optimal_discriminator", "against 2 JS", -1.2051627),
        ("nonsaturating", "both sides", 1.0012362),
        ("distances", "N(0, 1), N(2, 1): JS", 0.3368308),
        ("distances", "U(0, 1), U(0.25, 1): JS", 0.0956026),
        ("distances", "U(0, 1), U(0.5, 1): W", 0.25),
        ("bilinear", "x first: the kept number, least", 7),
        ("bilinear", "y first: the kept number, least", 19),
        ("bilinear", "after two steps", 7.2111026),
        ("dirac", "non-saturating: imaginary", 0.5),
        ("dirac", "Wasserstein: imaginary", 1.0),
        ("dirac", "R1, weight 1: real", -0.5),
        ("dirac", "R1, weight 0.3: imaginary", 0.4769696),
        ("order_of_play", "(x - y)^2: min max", 0.25),
        ("inception_score", "root of 2", 1.4142136),
    ],
)
def test_measured_numbers_are_those_known_otherwise(name: str, claim: str, number: float) -> None:
    assert measured(name, claim) == pytest.approx(number, abs=2e-7)


def flipped(method):  # type: ignore[no-untyped-def]
    return lambda self, *given: -method(self, *given)


def no_change(self, *given) -> None:  # type: ignore[no-untyped-def]
    pass


def half_real(self, duel) -> Tensor:  # type: ignore[no-untyped-def]
    """The discriminator's loss with its real side halved."""
    return softplus(-duel.real_output.score).mean() / 2 + softplus(duel.fake_output.score).mean()


FAULTS = [
    ("optimal_discriminator", Minimax, "d", half_real),
    ("moved_generator", Minimax, "d", half_real),
    ("nonsaturating", Nonsaturating, "g", flipped(Nonsaturating.g)),
    ("nonsaturating", Nonsaturating, "g", Minimax.g),
    ("distances", Wasserstein, "d", flipped(Wasserstein.d)),
    ("distances", Minimax, "d", half_real),
    ("label_targets", LabelSmoothing, "before", no_change),
    ("label_targets", LabelFlip, "before", no_change),
    ("bilinear", Wasserstein, "g", flipped(Wasserstein.g)),
    ("dirac_orbits", Minimax, "g", Nonsaturating.g),
    ("dirac", Minimax, "g", flipped(Minimax.g)),
    ("dirac", Nonsaturating, "g", lambda self, duel: 2 * Minimax.g(self, duel)),
    ("dirac", R1, "term", lambda self, duel, players, turn: duel.grad_norm_sq("real").mean()),
    ("dirac", InstanceNoise, "before", no_change),
    pytest.param("dirac_critics", WeightClip, "after_step", no_change, marks=pytest.mark.long),
    pytest.param("dirac_critics", GradientPenalty, "term", R1.term, marks=pytest.mark.long),
    ("spectral_norm", SpectralNormWeight, "iterate", no_change),
    ("argmax", Nonsaturating, "g", lambda self, duel: 0 * duel.fake_output.score.mean()),
]


@pytest.mark.parametrize(("name", "owner", "hook", "fault"), FAULTS)
def test_a_fault_in_what_is_tested_turns_a_verdict(monkeypatch, name, owner, hook, fault) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(owner, hook, fault)
    assert failures(name)


def test_verdicts() -> None:
    inf, nan = math.inf, math.nan
    good = [Row("", 1.0, 1.05, 0.1), Row("", inf, inf), Row("", 1.0, 0.9, 0.0, "below"), Row("", 1.0, 1.1, 0.0, "above")]
    bad = [Row("", 1.0, 1.2, 0.1), Row("", 1.0, 0.8, 0.1), Row("", inf, 1.0), Row("", 1.0, inf, 5.0)]
    bad += [Row("", 1.0, 1.1, 0.0, "below"), Row("", 1.0, 0.9, 0.0, "above")]
    bad += [Row("", 1.0, nan, 1.0, relation) for relation in ("equal", "below", "above")]
    assert {row.verdict for row in good} == {"PASS"}
    assert {row.verdict for row in bad} == {"FAIL"}


def test_a_second_run_reads_the_same_numbers_draws_the_same_figure_and_leaves_torch_alone(tmp_path: Path) -> None:
    entry = base.select(["finite_samples"])[0]
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    first, second = entry.run(tmp_path / "a"), entry.run(tmp_path / "b")
    assert first == second
    assert (tmp_path / "a/finite_samples.png").read_bytes() == (tmp_path / "b/finite_samples.png").read_bytes()
    assert torch.equal(before, torch.get_rng_state())
    assert torch.get_num_threads() == threads


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(BadInput, match="bilinear"):
        base.select(["bilinaer"])
    assert [entry.name for entry in base.select(["dirac", "argmax", "dirac"])] == ["dirac", "argmax"]


def test_every_experiment_has_a_title_a_statement_and_a_formula() -> None:
    for entry in EVERY:
        title, statement, formula = entry.page
        assert 20 < len(title) < 90, entry.name
        assert len(statement) > 100, entry.name
        assert formula, entry.name
    assert len({entry.page[0] for entry in EVERY}) == len(EVERY)


def test_a_figure_stands_alone_or_is_refused() -> None:
    with figures.style():
        drawn = figures.figure(*base.SIZE)
        left, right = drawn.subplots(1, 2)
        for axes in (left, right):
            axes.plot([0, 1], [0, 1], label="a line")
            axes.legend()
        left.set(xlabel="x", ylabel="y")
        with pytest.raises(ValueError, match="no label of x and y"):
            base.complete(drawn, "a title")
        right.set(xlabel="x", ylabel="y")
        base.complete(drawn, "a title of many words " * 6)
        figures.png(drawn)  # which lays it out
        assert "\n" in drawn.get_suptitle()
        for axes in (left, right):
            legend = axes.get_legend()
            assert legend.get_window_extent().y1 < axes.xaxis.label.get_window_extent().y0 + 1  # below the axes and its label


def test_the_command_runs_some_and_tells_the_verdict_by_its_exit_code(monkeypatch, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    runner, written = CliRunner(), tmp_path / "page.md"
    done = runner.invoke(app, ["theory", "argmax", "--out", str(tmp_path / "figures"), "--page", str(written)])
    assert done.exit_code == 0, done.output
    assert "5 of 5 verdicts are PASS" in done.output
    assert Image.open(tmp_path / "figures/argmax.png").size == (760, 390)
    assert "![argmax passes no gradient](figures/argmax.png)" in written.read_text()
    assert runner.invoke(app, ["theory", "argmacks", "--out", str(tmp_path)]).exit_code == 2
    listed = runner.invoke(app, ["theory", "--list"]).output
    assert all(f"{entry.name}: " in listed for entry in EVERY)
    monkeypatch.setattr(Wasserstein, "d", flipped(Wasserstein.d))
    failed = runner.invoke(app, ["theory", "distances", "--out", str(tmp_path)])
    assert failed.exit_code == 1
    assert "FAIL" in failed.output


def test_the_committed_page_is_whole() -> None:
    text = (DOCS / "theory.md").read_text()
    for entry in EVERY:
        title, statement, formula = entry.page
        assert f"## {title}\n" in text, "run make theory"
        assert page.escape(statement) in text, f"{entry.name}: run make theory"
        assert formula in text, f"{entry.name}: run make theory"
        assert f"](theory/{entry.name}.png)" in text
        for row in rows_of(entry.name) if not entry.slow else []:
            assert page.line(row).split(" | ")[0] in text, f"{entry.name}: {row.claim}: run make theory"
    assert "| FAIL |" not in text
    pictures = sorted((DOCS / "theory").glob("*.png"))
    assert [picture.stem for picture in pictures] == sorted(entry.name for entry in EVERY)
    sizes = [picture.stat().st_size for picture in pictures]
    assert max(sizes) < 40_000
    assert sum(sizes) < 1_000_000
    counted = re.search(r"(\d+) experiments, (\d+) rows, (\d+) of them PASS", text)
    assert counted
    assert int(counted[1]) == len(EVERY)
    assert counted[2] == counted[3]
