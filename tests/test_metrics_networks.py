"""Spectra and the duality gap: closed forms, and a training state that nothing of it touches."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from ganrun.disk.run_folder import RunFolder
from ganrun.engine import generator_scores, scoring
from ganrun.engine.sandbox import Sandbox
from ganrun.ground.errors import BadInput
from ganrun.ground.matrices import matrices
from ganrun.ground.registry import build
from ganrun.ground.runtime import Runtime
from ganrun.ground.spec import DiscriminatorOutput
from ganrun.metrics.base import Sample, Stage
from ganrun.metrics.spectra import summary

EVALUATION = {"num": 20, "reference": "train", "extractor": "random_conv", "weights": None, "weights_sha256": None,
              "average": True, "baselines": False, "batch_size": 250, "seed": 7}  # fmt: skip
CPU = Runtime(torch.device("cpu"))
TRIES = {"steps": 4, "lr": 0.01, "batch_size": 12, "batches": 3}


class Point(nn.Module):
    """A generator that knows one point."""

    def __init__(self, place: list[float]) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.tensor(place))

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.place.expand(len(z), -1)


class Plane(nn.Module):
    """A linear discriminator."""

    def __init__(self, slope: list[float]) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope))

    def forward(self, x: torch.Tensor) -> DiscriminatorOutput:
        return DiscriminatorOutput(x @ self.slope)


def scored(name: str, sandbox: Sandbox, **options):
    metric = build("metric", {"name": name, **options})
    metric.enter(Stage(lambda split: None, sandbox))
    metric.update(Sample(), real=True)
    return metric, metric.compute()


def sandbox_of(made) -> Sandbox:
    return Sandbox(made.parts.game, made.dataset, CPU, 0)


# ---------------------------------------------------------------- duality gap


def test_the_gap_of_a_bilinear_game_is_its_closed_form(toy):
    # M = slope.(mean of data - place): Adam moves each coordinate by lr a step, by its sign
    made = toy("mlp", "toy_points", "loss=wasserstein")
    place, slope = [60.0, -80.0], [0.5, 2.0]
    made.parts.game.players = {"generator": Point(place), "discriminator": Plane(slope)}
    metric, found = scored("duality_gap", sandbox_of(made), **TRIES)
    reach = TRIES["steps"] * TRIES["lr"]
    assert found["duality_gap_generator"] == pytest.approx(reach * 2.5, rel=1e-4)
    assert found["duality_gap_discriminator"] == pytest.approx(reach * 140, rel=0.02)
    assert found["duality_gap"] == pytest.approx(sum(found[f"duality_gap_{side}"] for side in ("discriminator", "generator")))
    assert metric.spreads["duality_gap_generator"] == pytest.approx(0, abs=1e-4)


def test_the_value_is_minus_the_loss_without_penalties(toy):
    made = toy("mlp", "toy_points", "loss=wasserstein", "regularizer=gradient_penalty", "regularizer.gradient_penalty.weight=1e6")
    made.parts.game.players = {"generator": Point([1.0, 2.0]), "discriminator": Plane([3.0, 0.0])}
    values = sandbox_of(made).values(batches=200, batch_size=12)
    assert values.mean().item() == pytest.approx(3 * (made.dataset.x.mean(0)[0].item() - 1), abs=0.5)


def test_penalties_of_further_duels_are_left_out_too(toy):
    found = []
    for weight in (1.0, 1e6):
        stack = ("game=cyclegan", "game.identity=0", "regularizer=r1", f"regularizer.r1.weight={weight}")
        made = toy("mlp", "toy_unpaired", *stack)
        found.append(sandbox_of(made).values(batches=2, batch_size=4))
    assert torch.equal(*found)


def test_players_that_nothing_can_better_have_no_gap(toy):
    made = toy("mlp", "toy_points", "loss=wasserstein", "regularizer=weight_clip", "regularizer.weight_clip.clip=1e-6")
    made.parts.game.players = {"generator": Point([0.0, 0.0]), "discriminator": Plane([0.0, 0.0])}
    _, found = scored("duality_gap", sandbox_of(made), **TRIES)
    assert all(0 <= value < 1e-4 for value in found.values())


@pytest.mark.parametrize("loss", ["nonsaturating", "hinge", "wasserstein", "lsgan"])
def test_the_gap_is_never_negative_and_the_same_at_each_call(toy, loss):
    made = toy("mlp", "toy_points", f"loss={loss}")
    for _ in range(5):
        made.trainer.advance()
    _, first = scored("duality_gap", sandbox_of(made), **TRIES)
    torch.rand(3)
    _, second = scored("duality_gap", sandbox_of(made), **TRIES)
    assert first == second
    assert min(first.values()) >= 0


STACKS = [
    ("mlp", "toy_points", "loss=wasserstein", "regularizer=[gradient_penalty,spectral_norm]"),
    ("dcgan", "toy_images", "loss=hinge", "model.discriminator.norm=batch"),
    ("mlp", "toy_points", "loss=nonsaturating", "condition=concat", "regularizer=[r1]"),
    ("mlp", "toy_points", "loss=wasserstein", "pack=2", "regularizer=weight_clip"),
]


@pytest.mark.parametrize("stack", STACKS, ids=lambda stack: "-".join(stack[2:]))
def test_nothing_of_the_training_state_moves_and_training_goes_on_bit_for_bit(toy, stack):
    touched, left = toy(*stack), toy(*stack)
    for made in (touched, left):
        for _ in range(3):
            made.trainer.advance()
    flags = [entry.requires_grad for player in touched.parts.game.players.values() for entry in player.parameters()]
    modes = [module.training for player in touched.parts.game.players.values() for module in player.modules()]
    before, random = copy.deepcopy(touched.trainer.state_dict()), torch.get_rng_state()
    for name, options in (("duality_gap", TRIES), ("spectra", {})):
        scored(name, sandbox_of(touched), **options)
    assert torch.equal(torch.get_rng_state(), random)
    assert flags == [entry.requires_grad for player in touched.parts.game.players.values() for entry in player.parameters()]
    assert modes == [module.training for player in touched.parts.game.players.values() for module in player.modules()]
    same(touched.trainer.state_dict(), before)
    for made in (touched, left):
        made.trainer.advance()
    same(touched.trainer.state_dict(), left.trainer.state_dict())


def same(one, other) -> None:
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            same(one[key], other[key])
    else:
        assert one == other


def test_the_largest_batch_that_the_game_can_play_is_used(toy):
    sandbox = sandbox_of(toy("mlp", "toy_points", "pack=4"))
    assert sandbox.size(11) == 8


# ---------------------------------------------------------------- spectra


def test_the_summary_of_known_singular_values():
    turn = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).Q
    matrix = turn @ torch.diag(torch.tensor([4.0, 2.0, 1.0, 1.0], dtype=torch.float64))
    assert summary(matrix) == pytest.approx({"top": 4.0, "mean": 0.5, "rank": 22 / 16}, rel=1e-12)
    assert summary(torch.zeros(2, 3)) == {"top": 0, "mean": 0, "rank": 0}


def test_convolutions_are_outputs_by_all_else():
    network = nn.Sequential(nn.Conv2d(3, 5, 4), nn.ReLU(), nn.ConvTranspose2d(5, 2, 3), nn.Linear(7, 1), nn.BatchNorm1d(4))
    found = dict(matrices(network))
    assert {name: tuple(matrix.shape) for name, matrix in found.items()} == {"0": (5, 48), "2": (2, 45), "3": (1, 7)}
    assert torch.equal(found["2"][1], network[2].weight[:, 1].detach().double().flatten())


def test_spectra_are_of_the_discriminator_as_it_is_used(toy):
    plain, normal = (toy("mlp", "toy_points", *more) for more in ((), ("regularizer=spectral_norm",)))
    for made in (plain, normal):
        for _ in range(20):
            made.trainer.advance()
    _, free = scored("spectra", sandbox_of(plain))
    _, held = scored("spectra", sandbox_of(normal))
    tops = [value for name, value in held.items() if name.startswith("spectra_top.")]
    assert len(tops) == len(list(matrices(normal.parts.game.players["discriminator"])))
    assert all(value == pytest.approx(1, abs=0.1) for value in tops)
    means = [value for name, value in free.items() if name.startswith("spectra_mean.")]
    assert free["spectra"] == pytest.approx(sum(means) / len(means))
    assert next(iter(free)) == "spectra"
    for name, value in free.items():
        assert value >= 1 - 1e-9 if name.startswith("spectra_rank.") else value > 0


# ---------------------------------------------------------------- through the engine


def test_a_run_is_scored_by_its_networks_and_noise_is_not(toy, tmp_path, monkeypatch):
    monkeypatch.setenv("GANRUN_CACHE", str(tmp_path))
    made = toy("mlp", "toy_points")
    metrics = {"spectra": build("metric", {"name": "spectra"}), "duality_gap": build("metric", {"name": "duality_gap", **TRIES})}
    scores, baselines = generator_scores.evaluate(
        metrics=metrics,
        game=made.parts.game,
        averages=made.trainer.averages,
        dataset=made.dataset,
        runtime=CPU,
        evaluation={**EVALUATION, "baselines": True},
        say=[].append,
    )
    assert scores["duality_gap"]["value"] >= 0
    assert "std" in scores["duality_gap"]
    assert scores["spectra"]["card"]["extractor"] is None
    assert "come from none" in baselines["noise"]["spectra"]["missing"]
    row = generator_scores.write_scores(RunFolder(tmp_path), 0, scores, baselines)
    assert math.isfinite(row["scores"]["spectra"]["value"])


def test_metrics_of_networks_without_a_run_have_no_value(toy):
    made = toy("mlp", "toy_points")
    found = scoring.score(
        {"spectra": build("metric", {"name": "spectra"})}, made.dataset.x[:9], made.dataset, evaluation=EVALUATION
    )
    assert found["spectra"].values == {}
    assert "reads the networks of a run" in found["spectra"].missing


@pytest.mark.parametrize(("option", "value"), [("steps", 0), ("lr", 0.0), ("batch_size", 1), ("batches", 1)])
def test_options_out_of_bounds_are_refused_by_name(option, value):
    with pytest.raises(BadInput, match=rf"metric\.duality_gap\.{option}={value}"):
        build("metric", {"name": "duality_gap", option: value})
