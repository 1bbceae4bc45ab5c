"""Signs against closed forms; looks that move nothing, write the same rows after a kill, and fail alone."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import driver
import pytest
import torch
from conftest import compose_config, make_trainer, one_in, toy_config
from matrix import config_of, smoke
from torch import Tensor

from ganrun.data.base import Dataset, Images
from ganrun.disk import checkpoint
from ganrun.engine import retrace
from ganrun.engine.doctor import Doctor, is_due
from ganrun.engine.look import Look
from ganrun.engine.reference import k_means, partition, reference
from ganrun.ground import registry, rng
from ganrun.ground.errors import BadInput
from ganrun.signs import base, samples, weights


def draw(count: int, size: int, seed: int, shift: float = 0.0) -> Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed)) + shift


def test_the_auc_of_two_gaussians_is_phi_of_the_shift_over_root_two() -> None:
    high, low = draw(4000, 1, 0, 0.8)[:, 0], draw(4000, 1, 1)[:, 0]
    assert base.auc(high, low) == pytest.approx(0.5 * (1 + math.erf(0.8 / 2)), abs=0.01)
    assert base.auc(low, high) == pytest.approx(1 - base.auc(high, low))
    assert base.auc(torch.zeros(5), torch.zeros(7)) == 0.5


def test_the_energy_distance_is_that_of_two_point_masses_and_of_shifted_gaussians() -> None:
    zero, one = torch.zeros(8, 3), torch.ones(9, 3)
    assert base.energy_distance(zero, one) == pytest.approx(1.0)  # as far apart as they can be
    assert base.energy_distance(zero, zero) == 0.0
    # N(0, 1) against N(3, 1) in one dimension: E|a - b| by numerical integration, E|a - a'| = 2 / root pi
    x, y = draw(3000, 1, 2), draw(3000, 1, 3, 3.0)
    grid = torch.linspace(-12, 12, 200001, dtype=torch.float64)
    density = torch.exp(-((grid - 3) ** 2) / 4) / math.sqrt(4 * math.pi)  # of the difference: N(3, 2)
    between = float((grid.abs() * density).sum() * (grid[1] - grid[0]))
    within = 2 / math.sqrt(math.pi)
    assert base.energy_distance(x, y) == pytest.approx((2 * between - 2 * within) / (2 * between), abs=0.01)


def test_distances_are_those_of_float64_and_small_ones_are_kept() -> None:
    for size in (2, 40):
        a, b = draw(50, size, 5), draw(60, size, 6)
        by_hand = (a.double()[:, None] - b.double()[None]).square().sum(2).sqrt()
        assert torch.allclose(base.distances(a, b).double(), by_hand, atol=1e-6)
        near = a + 1e-4
        assert torch.allclose(base.distances(a, near).diagonal().double(), (near.double() - a).norm(dim=1), atol=1e-6)
        pairs = (a.double()[:, None] - a.double()[None]).square().sum(2).sqrt().sum() / (50 * 49)
        assert base.mean_pair(a) == pytest.approx(float(pairs), rel=1e-6)


class Seen:
    """What the sign of samples asks of a look, of given samples."""

    previous, kind = None, "points"

    def __init__(self, dataset: Dataset, x: Tensor) -> None:
        self.held = reference(dataset, make_trainer(toy_config("mlp", "toy_points")).trainer.game, 256, 3)
        self.x, self.real, self.yardstick, self.sides = x, self.held.real, self.held.yardstick, self.held.sides
        self.partition, self.features = self.held.partition, self.held.features

    def generated(self) -> Tensor:
        return self.x

    @property
    def away(self) -> Tensor:
        return base.distances(self.features(self.x), self.real)


def test_blur_is_0_for_data_and_1_for_a_gaussian_of_the_same_covariance_and_missing_where_these_are_one() -> None:
    from ganrun.data.ring8 import ring8

    ring = ring8(num=4000)
    x = ring.batch(torch.arange(3000, 3256)).x
    assert samples.Samples()(Seen(ring, x))["blur"] == pytest.approx(0, abs=0.01)  # type: ignore[arg-type]
    noise = draw(256, 2, 8) * x.std(0) + x.mean(0)
    assert samples.Samples()(Seen(ring, noise))["blur"] == pytest.approx(1, abs=0.15)  # type: ignore[arg-type]
    half = x + 0.2 * draw(256, 2, 9)  # modes of a fifth of the radius
    assert 0.2 < samples.Samples()(Seen(ring, half))["blur"] < 0.7  # type: ignore[operator, arg-type]
    wide = Images(draw(4000, 16, 10).view(4000, 4, 4, 1).mul(40).add(128).clamp(0, 255).round().byte())
    row = samples.Samples()(Seen(wide, wide.batch(torch.arange(256)).x))  # type: ignore[arg-type]
    assert "blur" not in row
    assert "sharpness" in row


def test_copies_are_told_from_samples_of_the_law() -> None:
    from ganrun.data.ring8 import ring8

    ring = ring8(num=60)
    held = ring.held_out()
    assert held is not None
    training = ring.batch(torch.arange(240) % 60).x
    assert samples.Samples()(Seen(ring, training))["copied"] == 1.0  # type: ignore[arg-type]
    assert samples.Samples()(Seen(ring, held.batch(torch.arange(240) % len(held)).x))["copied"] == 0.0  # type: ignore[arg-type]
    other = ring8(num=500).batch(torch.arange(256, 500)).x
    assert samples.Samples()(Seen(ring, other))["copied"] == pytest.approx(0.5, abs=0.1)  # type: ignore[arg-type]


def test_training_mode_is_that_of_batches_as_large_as_the_runs_own() -> None:
    made = make_trainer({**toy_config("mlp", "toy_points"), "batch_size": 2})
    norm = torch.nn.BatchNorm1d(2, affine=False)
    made.trainer.game.players["generator"] = torch.nn.Sequential(Shortened(), norm)
    found = looked(made.trainer, made.dataset).generated(training=True)
    assert ((found.abs() - 1).abs() < 0.01).float().mean() > 0.9  # of two numbers, each one deviation from their mean
    made.trainer.generator_batch = 64
    whole = looked(made.trainer, made.dataset).generated(training=True)
    assert whole.abs().max() > 2
    assert norm.num_batches_tracked == 0  # the run's own statistics have not moved


class Shortened(torch.nn.Module):
    """The first two numbers of a latent."""

    def forward(self, z: Tensor) -> Tensor:
        return z[:, :2]


def test_starved_modes_and_moves_are_counted() -> None:
    modes = base.Partition(torch.eye(4), torch.full((4,), 0.25), labelled=False)
    codes = torch.tensor([0] * 40 + [1] * 40 + [2] * 16 + [3] * 4)
    assert samples.starved(codes, modes) == 0.25  # 4 of 25 due is below a quarter; 16 is not
    assert samples.starved(codes[:8], modes) == 0.0  # two were due: too few to say
    assert samples.total_variation("aabb", "aabb") == 0.0
    assert samples.total_variation("aaaa", "abab") == 0.5
    assert samples.total_variation("aaaa", "bbbb") == 1.0


def test_k_means_finds_clusters_and_class_means_are_modes_where_they_tell_classes_apart() -> None:
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    labels = torch.arange(90) % 3
    x = centres[labels] + 0.1 * draw(90, 2, 4)
    found = k_means(x, 3, torch.Generator().manual_seed(0))
    assert torch.cdist(found, centres).amin(1).max() < 0.1
    assert partition(x, labels, 3, 0).labelled
    assert not partition(x, torch.randint(0, 3, (90,)), 3, 0).labelled
    assert partition(x, labels, 3, 0).shares.tolist() == pytest.approx([1 / 3] * 3)


def looked(trainer: Any, dataset: Dataset, count: int = 64, before: Mapping[str, list[Tensor]] | None = None) -> Look:
    held = reference(dataset, trainer.game, count, 3)
    return Look(trainer, dataset, trainer.runtime, held, samples=count, previous=None, before=before or {})


class Known(torch.nn.Module):
    """A discriminator whose score is ``slope`` times the first number."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = torch.nn.Parameter(torch.tensor(slope))

    def forward(self, x: Tensor) -> Any:
        from ganrun.ground.spec import DiscriminatorOutput

        return DiscriminatorOutput(self.slope * x.flatten(1)[:, 0])


@pytest.mark.parametrize("loss", ["nonsaturating", "minimax", "wasserstein", "hinge", "lsgan"])
def test_teaching_and_slope_are_those_of_a_known_discriminator(loss: str) -> None:
    made = make_trainer({**toy_config("mlp", "toy_points", f"loss={loss}"), "batch_size": 128})
    made.trainer.game.players["discriminator"] = Known(0.7)
    look = looked(made.trainer, made.dataset)
    played = look.played
    assert played.fake is not None
    fake = played.fake  # D's phase and G's phase draw other latents, but of one law
    by_hand = {
        "nonsaturating": torch.sigmoid(-fake).mean(),
        "minimax": torch.sigmoid(fake).mean(),
        "wasserstein": torch.tensor(1.0),
        "hinge": torch.tensor(1.0),
        "lsgan": (fake - 1).abs().mean(),
    }[loss]
    assert played.teaching == pytest.approx(float(by_hand), rel=0.1)
    assert played.slope == pytest.approx(0.7 * look.held.deviation, rel=1e-5)


def test_the_penaltys_share_is_that_of_gradients_by_hand() -> None:
    made = make_trainer(
        toy_config("mlp", "toy_points", "regularizer=[r1]", "regularizer.r1.weight=3", "model.discriminator.norm=none")
    )
    made.trainer.game.players["discriminator"] = Known(0.5)
    share = looked(made.trainer, made.dataset).played.penalty_share
    # R1: weight / 2 * slope^2, gradient weight * slope = 1.5
    size = looked(made.trainer, made.dataset).size(128)
    assert size
    assert share is not None
    loss = 1.5 * (1 - share) / share
    assert 0 < loss < 3  # |d loss / d slope| is at most E|x_real| + E|x_fake|
    heavier = make_trainer(
        toy_config("mlp", "toy_points", "regularizer=[r1]", "regularizer.r1.weight=30", "model.discriminator.norm=none")
    )
    heavier.trainer.game.players["discriminator"] = Known(0.5)
    other = looked(heavier.trainer, heavier.dataset).played.penalty_share
    assert other == pytest.approx(15 / (15 + loss), rel=1e-4)


def test_weights_at_a_bound_moves_and_rank_by_hand() -> None:
    made = make_trainer(toy_config("mlp", "toy_points", "regularizer=[weight_clip]", "loss=wasserstein"))
    made.trainer.advance()
    before = {
        role: [entry.detach().clone() for entry in player.parameters()] for role, player in made.trainer.game.players.items()
    }
    made.trainer.advance()
    look = looked(made.trainer, made.dataset, before=before)
    row = weights.Weights()(look)
    for side in ("generator", "discriminator"):
        now = torch.cat([entry.detach().flatten() for entry in made.trainer.game.players[side].parameters()])
        old = torch.cat([entry.flatten() for entry in before[side]])
        assert row[f"norm_{side}"] == pytest.approx(now.norm().item(), rel=1e-5)
        assert row[f"move_{side}"] == pytest.approx(((now - old).norm() / now.norm()).item(), rel=1e-4)
    critic = torch.cat([entry.detach().flatten() for entry in made.trainer.game.players["discriminator"].parameters()])
    assert row["clip_share"] == pytest.approx((critic.abs() >= 0.01 * 0.999).float().mean().item(), abs=1e-6)
    assert row["clip_share"] > 0.3
    layer = torch.nn.Linear(6, 5)
    with torch.no_grad():
        layer.weight.copy_(torch.diag(torch.tensor([4.0, 2.0, 1.0, 1.0, 0.0]))[:, :5] @ torch.eye(5, 6))
    fake = SimpleNamespace(players=lambda side: {"discriminator": layer})
    assert weights.Rank()(fake)["rank"] == pytest.approx(8 / 5 / 4)  # type: ignore[arg-type]


def test_a_conditional_generator_that_ignores_its_label_or_its_noise_is_seen() -> None:
    made = make_trainer({**toy_config("mlp", "toy_points", "condition=concat"), "batch_size": 12})
    centres = torch.tensor([[1.0, 0.0], [-1.0, 1.0], [0.0, -1.0]])

    class Told(torch.nn.Module):
        def __init__(self, label: bool, noise: bool) -> None:
            super().__init__()
            self.label, self.noise = label, noise

        def forward(self, z: Tensor, condition: Tensor) -> Tensor:
            chosen = condition if self.label else condition * 0
            return centres[chosen] + (0.1 * z[:, :2] if self.noise else 0.0)

    sign = registry.lookup("sign", "conditions")()
    rows = {}
    for label, noise in ((True, True), (False, True), (True, False)):
        made.trainer.game.players["generator"] = Told(label, noise)
        made.trainer.averages = {}
        rows[label, noise] = sign(looked(made.trainer, made.dataset))
    assert rows[True, True]["class_hits"] == 1.0
    assert rows[True, True]["class_hits_real"] == 1.0
    assert rows[False, True]["class_hits"] == pytest.approx(1 / 3, abs=0.02)
    assert rows[False, True]["class_chance"] == pytest.approx(1 / 3, abs=0.02)
    assert rows[True, False]["noise_move"] == 0.0
    assert rows[True, True]["noise_move"] > 0.03
    assert rows[False, True]["label_move"] == 0.0
    assert rows[True, True]["label_move"] > 0.5


def test_looks_are_due_at_steps_that_a_longer_run_shares() -> None:
    due = [step for step in range(1, 20_001) if is_due(step, None)]
    assert due[:5] == [25, 50, 100, 250, 500]
    assert sum(step <= 2000 for step in due) == 10
    assert due[-1] == 20_000
    assert [step for step in range(20) if is_due(step, 6)] == [6, 12, 18]
    assert not any(is_due(step, 0) for step in range(300))


@pytest.mark.parametrize("chunk", one_in(6, range(6)))
def test_looks_change_no_bit_of_training_in_any_game_condition_or_regularizer(chunk: int, tmp_path: Path) -> None:
    failed = []
    for number, cell in enumerate(smoke()[chunk::6]):
        config = config_of(cell) | {"doctor": {"every": 1, "samples": 16, "stop": []}, "disease": compose_config()["disease"]}
        digests = []
        for looks in (False, True):
            made = make_trainer(config)
            said: list[str] = []
            doctor = Doctor(tmp_path / f"{chunk}-{number}.jsonl", config, made.dataset, made.trainer.runtime, said.append)
            for step in range(3):
                if looks and step != 1:
                    doctor.before(made.trainer)
                made.trainer.advance()
                if looks and step != 1:
                    doctor.look(made.trainer)
            digests.append(checkpoint.digest(made.trainer.state_dict()))
            failed += [f"{' '.join(cell.values())}: {line}" for line in said if "is off" in line]
        if digests[0] != digests[1]:
            failed.append(f"{' '.join(cell.values())}: other bits")
    assert not failed, "\n".join(failed)


def test_a_sign_that_fails_is_off_and_the_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = toy_config("mlp", "toy_points")
    made = make_trainer(config)
    said: list[str] = []
    doctor = Doctor(tmp_path / "signs.jsonl", config, made.dataset, made.trainer.runtime, said.append)
    monkeypatch.setattr(type(doctor.observer.signs["ranks"]), "__call__", lambda sign, look: 1 / 0)
    made.trainer.advance()
    doctor.look(made.trainer)
    assert any("ranks is off" in line and "ZeroDivisionError" in line for line in said)
    row = json.loads((tmp_path / "signs.jsonl").read_text())
    assert row["step"] == 1
    assert "gap" in row
    assert "auc" not in row


def test_a_killed_run_writes_the_rows_of_one_that_was_not(tmp_path: Path) -> None:
    config = driver.config("points", "doctor.every=2", "doctor.samples=16")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert driver.train(config, whole).code == 0
    driver.train(config, killed, environment={"GANRUN_FAULT": "after_commit:3"})
    assert driver.train(config, killed).code == 0
    assert (whole / "signs.jsonl").read_bytes() == (killed / "signs.jsonl").read_bytes()
    assert len((whole / "signs.jsonl").read_text().splitlines()) == 6


def test_draws_of_a_look_are_its_own() -> None:
    made = make_trainer(toy_config("mlp", "toy_points"))
    state = torch.get_rng_state()
    one, other = (looked(made.trainer, made.dataset).generated() for _ in range(2))
    assert torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), state)
    assert rng.derive(0, "doctor") != rng.derive(0, "data")


def test_a_finding_that_doctor_stop_names_ends_the_run_saved_and_the_same_command_says_so_again(tmp_path: Path) -> None:
    words = (
        "doctor.every=1",
        "doctor.samples=16",
        "doctor.stop=[collapse]",
        "disease=[collapse]",
        "disease.collapse.spread=100",
        "steps=30",
    )
    config = driver.config("points", *words)
    done = driver.train(config, tmp_path / "run")
    assert done.code == 0, done.said
    facts = driver.facts(tmp_path / "run")
    assert facts["status"] == "stopped by doctor"
    assert facts["step"] == 6  # three looks of grace, then three of four
    assert [finding["disease"] for finding in facts["findings"] if finding["ended"] is None] == ["collapse"]
    assert "stopped by doctor at step 6" in done.said
    again = driver.train(config, tmp_path / "run")
    assert again.code == 0
    assert driver.facts(tmp_path / "run")["step"] == 6
    on = driver.train({**config, "doctor": {**config["doctor"], "stop": []}}, tmp_path / "run")
    assert on.code == 0, on.said
    assert driver.facts(tmp_path / "run")["status"] == "done"
    assert driver.facts(tmp_path / "run")["step"] == 30


def test_a_finding_is_said_when_it_begins_and_stands_in_the_panel_and_run_json(tmp_path: Path) -> None:
    config = driver.config("points", "doctor.every=1", "doctor.samples=16", "disease=[collapse]", "disease.collapse.spread=100")
    done = driver.train(config, tmp_path / "run")
    assert done.code == 0, done.said
    begun = [line for line in done.said.splitlines() if line.startswith("doctor: mode collapse")]
    assert len(begun) == 1
    assert "collapse since step 4: ganrun doctor says more" in done.said
    assert driver.facts(tmp_path / "run")["findings"][0]["since"] == 4


def test_the_newest_checkpoint_from_before_a_finding_is_kept(tmp_path: Path) -> None:
    words = ("doctor.every=1", "doctor.samples=16", "disease=[collapse]", "disease.collapse.spread=100", "keep=1", "steps=12")
    config = driver.config("points", *words, "every.checkpoint=1")
    done = driver.train(config, tmp_path / "run")
    assert done.code == 0, done.said
    assert driver.facts(tmp_path / "run")["findings"][0]["before"] == 3  # after the looks of grace it holds at every look
    kept = sorted(path.name for path in (tmp_path / "run" / "checkpoints").glob("*.pt"))
    assert kept == ["step_00000003.pt", "step_00000012.pt"]


def test_a_disease_or_threshold_that_is_no_more_does_not_keep_a_run_from_going_on(tmp_path: Path) -> None:
    config = driver.config("points", "doctor.every=1", "doctor.samples=16", "disease=[collapse]", "steps=4")
    config["disease"] |= {"withered": {"name": "withered", "far": 3.0}, "stalled": {"far": 0.1}}
    config["disease"]["collapse"]["width"] = 2.0
    done = driver.train(config, tmp_path / "run")
    assert done.code == 0, done.said
    assert "note: disease.withered: this ganrun has no such disease, so it is not looked for" in done.said
    assert "note: disease.collapse.width: this ganrun has no such threshold, so it is not used" in done.said
    assert "disease.stalled" not in done.said  # a threshold of what is not looked for


def test_a_name_that_doctor_stop_does_not_know_is_refused_with_the_nearest(tmp_path: Path) -> None:
    made = make_trainer(toy_config("mlp", "toy_points"))
    config = {**compose_config(), "doctor": {"every": 1, "samples": 8, "stop": ["collaps"]}}
    with pytest.raises(BadInput, match=r"doctor\.stop=\[collaps\].*collapse"):
        Doctor(tmp_path / "signs.jsonl", config, made.dataset, made.trainer.runtime, print)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A run of 8 steps with looks at even steps, and its config."""
    words = ("doctor.every=2", "doctor.samples=16", "every.checkpoint=2", "every.log=1", "keep=9", "steps=8", "regularizer=none")
    config = driver.config("points", *words, "device.threads=1", "disease=[collapse]")
    run = tmp_path_factory.mktemp("kept") / "run"
    done = driver.train(config, run)
    assert done.code == 0, done.said
    return run, config


def content(run: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_a_stretch_is_trained_again_bit_for_bit_with_looks_that_the_run_would_have_taken(
    kept: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    run, config = kept
    before = content(run)
    found = retrace.retrace(run, config, start=3, stop=8, every=1, signs=None)
    assert [row["step"] for row in found.rows] == [3, 4, 5, 6, 7, 8]
    assert found.logged == [3, 4, 5, 6, 7, 8]  # it starts from the checkpoint of step 2
    assert found.checkpoints == [4, 6, 8]
    own = {row["step"]: row for row in map(json.loads, (run / "signs.jsonl").open())}
    for row in found.rows:
        for name, value in own.get(row["step"], {}).items():
            if name != "mode_move" and name in row:  # that one compares with the look before
                assert row[name] == value, (row["step"], name)
    path = retrace.write(run, found, ["3-8"], tmp_path)
    assert [json.loads(line) for line in path.open()] == found.rows
    assert retrace.write(run, found, ["3-8"], tmp_path) == path  # the same again
    found.rows.pop()
    assert retrace.write(run, found, ["3-8"], tmp_path) != path  # and nothing is overwritten
    assert content(run) == before
    (only,) = retrace.retrace(run, config, start=6, stop=6, every=1, signs=["ranks"]).rows
    assert set(only) == {"step", "auc", "auc_held_out"}


def test_a_replay_that_cannot_have_the_runs_bits_or_has_others_is_refused_with_the_reason(
    kept: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    run, config = kept
    other = Path(shutil.copytree(run, tmp_path / "other"))

    def refused(start: int, **changed: Any) -> str:
        with pytest.raises(BadInput) as error:
            retrace.retrace(other, {**config, **changed}, start=start, stop=8, every=1, signs=["rank"])
        return str(error.value)

    assert re.search(r"threads was 1 and is 2. Try device.threads=1", refused(3, device={**config["device"], "threads": 2}))
    facts = json.loads((run / "run.json").read_text())
    facts["environment"]["torch"] = "1.0"
    (other / "run.json").write_text(json.dumps(facts))
    assert "torch was 1.0 and is" in refused(3)
    (other / "run.json").write_bytes((run / "run.json").read_bytes())
    lines = (other / "metrics.jsonl").read_text().splitlines()
    row = json.loads(lines[4])
    name = next(key for key in row if "/" in key)
    lines[4] = json.dumps({**row, name: row[name] * (1 + 1e-6)})
    (other / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    assert f"not the run's own bits: at step 5 {name} is" in refused(3)
    assert retrace.retrace(other, config, start=7, stop=8, every=1, signs=["rank"]).logged == [7, 8]  # after the one that differs
    for path in (other / "checkpoints").glob("step_0000000[0-4].*"):
        path.unlink()
    assert "no checkpoint is kept from before it" in refused(3)


def test_checkpoints_of_a_run_without_looks_are_looked_at_one_step_on(kept: tuple[Path, dict[str, Any]]) -> None:
    run, config = kept
    before = content(run)
    rows, remarks = retrace.look_back(run, config)
    assert [row["step"] for row in rows] == [3, 5, 7, 9]  # not that of the untrained state
    assert not remarks
    assert all({"gap", "auc", "move_generator"} <= set(row) for row in rows)
    assert content(run) == before
