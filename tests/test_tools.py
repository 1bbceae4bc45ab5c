"""Class grids, walks, truncation, weights taken from another run, exported generators, probes."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

import ganrun
from ganrun.disk.runs import read_config
from ganrun.engine import probe, rejection, sample_run
from ganrun.engine.choice import Wish, choose
from ganrun.engine.invert import invert, search
from ganrun.engine.latents import of_samples
from ganrun.engine.run import train
from ganrun.ground.errors import BadInput
from ganrun.ground.runtime import Runtime
from ganrun.ground.spec import DiscriminatorOutput

SMALL = ("steps=2", "batch_size=8", "device=cpu", "metric=none", "model.latent=6")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("tools") / "run", "condition=concat", "model=mlp")


def made(path: Path, *overrides: str) -> Path:
    from conftest import compose_config

    train(compose_config(*SMALL, *overrides), path, overrides=list(overrides), sweep=True)
    return path


# latents


def test_a_class_grid_has_a_row_for_each_class_and_the_same_latents_in_each(run: Path) -> None:
    trained = ganrun.load(run)
    x = trained.sample(34, seed=3, class_grid=True)
    assert len(x) == 30
    for label in (0, 7):
        torch.testing.assert_close(x[3 * label : 3 * label + 3], trained.sample(3, seed=3, labels=label), atol=0.01, rtol=0)


def test_walks_start_and_end_at_the_samples_of_the_seed(run: Path) -> None:
    trained = ganrun.load(run)
    x = trained.sample(16, seed=5, labels=2, interpolate="linear")
    ends = trained.sample(3, seed=5, labels=2)
    assert len(x) == 16
    torch.testing.assert_close(x[[0, 7, 8, 15]], ends[[0, 1, 1, 2]], atol=0.01, rtol=0)
    assert not torch.equal(x[3], x[4])


def test_truncated_samples_come_from_truncated_latents_and_do_not_depend_on_their_number(run: Path) -> None:
    trained = ganrun.load(run)
    few, many = (trained.sample(count, seed=1, labels=0, truncation=0.3) for count in (3, 300))
    assert torch.equal(few, many[:3])
    assert of_samples(trained.game.latent_law, 300, 1, 0.3).abs().max() <= 0.3
    assert torch.equal(of_samples(trained.game.latent_law, 3, 1), of_samples(trained.game.latent_law, 300, 1)[:3])
    assert many.std(0).mean() < trained.sample(300, seed=1, labels=0).std(0).mean()


def test_what_cannot_be_is_refused_by_name(run: Path, tmp_path: Path) -> None:
    trained = ganrun.load(run)
    with pytest.raises(BadInput, match="'linear'"):
        trained.sample(8, interpolate="linaer")
    with pytest.raises(BadInput, match="truncation=-1"):
        trained.sample(8, truncation=-1.0)
    with pytest.raises(BadInput, match=r"class-grid: .* concat, .*projection"):
        ganrun.load(made(tmp_path / "plain", "model=mlp")).sample(8, class_grid=True)


def test_a_number_that_fills_no_rows_is_said(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for num, said in ((34, "note: --num 34: makes 30 samples"), (30, ""), (None, "")):
        sample_run.sample(run, num=num, seed=3, out=tmp_path, config=read_config(run), class_grid=True)
        found = capsys.readouterr().err
        assert said in found
        assert bool(found) == bool(said)


# weights of another run


def test_a_run_can_start_with_the_weights_of_another(run: Path, tmp_path: Path) -> None:
    child = made(
        tmp_path / "child", "condition=concat", "model=mlp", f"init_from={run}", "dataset.size=8", "steps=1", "optimizer.lr=0"
    )
    state, parent = (torch.load(sorted((path / "checkpoints").glob("*.pt"))[-1], weights_only=True) for path in (child, run))
    for role in ("generator", "discriminator"):
        for name, entry in state[f"players/{role}"].items():
            if "running" not in name and "num_batches" not in name:
                assert torch.equal(entry, parent[f"players/{role}"][name]), name
    assert "starts with the weights" in (child / "train.log").read_text()


def test_what_does_not_fit_starts_anew_and_is_said(run: Path, tmp_path: Path) -> None:
    child = made(tmp_path / "child", "condition=concat", "model=mlp", f"init_from={run}", "dataset.size=16", "steps=1")
    log = (child / "train.log").read_text()
    assert "entries of the generator start anew" in log
    with pytest.raises(BadInput, match="nothing of its generator fits"):
        made(tmp_path / "other", "model=dcgan", "condition=concat", f"init_from={run}")


def test_where_most_weights_would_start_anew_it_must_be_allowed(run: Path, tmp_path: Path) -> None:
    words = ("condition=concat", "model=mlp", f"init_from={run}", "dataset.size=8", "steps=1", "model.generator.width=7")
    with pytest.raises(BadInput, match=r"of the generator would start anew.*model\.generator\.width.*init_from_partial=true"):
        made(tmp_path / "refused", *words)
    assert not (tmp_path / "refused" / "config.yaml").exists()
    child = made(tmp_path / "child", *words, "init_from_partial=true")
    assert "entries of the generator start anew" in (child / "train.log").read_text()


# export


def test_an_exported_generator_gives_the_samples_of_its_run(run: Path, tmp_path: Path) -> None:
    from conftest import compose_config

    from ganrun.engine.export import export
    from ganrun.engine.sampling import Trained

    config = compose_config(*SMALL, "condition=concat", "model=mlp")
    path = export(run, tmp_path / "g.safetensors", config)
    network = ganrun.load_generator(path)
    trained = Trained(run, config)
    z, labels = of_samples(trained.game.latent_law, 256, 4), torch.arange(256) % 10
    wanted = trained.make(trained.choose(Wish(256, 4, labels.tolist())), seed=4)
    with torch.no_grad():
        assert torch.equal(network(z, condition=labels), wanted)
    assert not network.training


def test_every_generator_of_a_game_is_averaged_and_exported_also_from_a_checkpoint_of_before(tmp_path: Path) -> None:
    from conftest import compose_config, make_trainer

    from ganrun.engine.export import export

    words = (
        "game=cyclegan",
        "model=unet",
        "model.noise=none",
        "model.generator.width=4",
        "model.discriminator.width=4",
        "dataset=unpaired_digits",
    )
    run, config = tmp_path / "run", compose_config(*SMALL[:-1], *words)
    train(config, run, overrides=list(words), sweep=True)
    trained = ganrun.load(run)
    network = ganrun.load_generator(export(run, None, config, role="inverse"))
    assert (run / "inverse.safetensors").exists()
    x = torch.linspace(-1, 1, 2 * math.prod(trained.spec.shape)).view(2, *trained.spec.shape)
    wanted = trained.averages["inverse"].network(x)
    torch.testing.assert_close(network(x), wanted)
    assert not torch.allclose(trained.game.players["inverse"].eval()(x), wanted)
    with pytest.raises(BadInput, match=r"--role invers: .*'inverse'"):
        export(run, None, config, role="invers")

    state = torch.load(sorted((run / "checkpoints").glob("*.pt"))[-1], weights_only=True)
    del state["averages/inverse"]
    trainer = make_trainer(config).trainer
    assert trainer.load_state_dict(state) == [
        "averages/inverse: the checkpoint has none of this player; it starts from the present weights"
    ]
    begun = trainer.averages["inverse"].state_dict()
    assert all(torch.equal(entry, state["players/inverse"][name]) for name, entry in begun.items())


def test_a_file_that_is_no_export_is_refused(tmp_path: Path) -> None:
    wrong = tmp_path / "x.safetensors"
    wrong.write_bytes(b"nothing of the kind")
    for path in (wrong, tmp_path / "missing.safetensors"):
        with pytest.raises(BadInput, match=path.name):
            ganrun.load_generator(path)


# the probe


class Doubling(nn.Module):
    """One hidden layer whose activations are known."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(3, 2, bias=False)
        self.output = nn.Linear(2, 1)
        self.hidden.weight.data = torch.tensor([[1.0, 0, 0], [0, -2.0, 0]])

    def forward(self, x: Tensor) -> DiscriminatorOutput:
        return DiscriminatorOutput(self.output(self.hidden(x)).squeeze(1))


def test_activations_are_those_of_the_hidden_layers_and_the_judge_stays_as_it_was() -> None:
    judge = Doubling().train()
    x = torch.tensor([[1.0, 1.0, 5.0], [2.0, -1.0, 5.0]])
    torch.testing.assert_close(probe.activations(judge, x), torch.tensor([[1.0, -0.4], [2.0, 2.0]]))
    assert judge.training
    assert not judge.hidden._forward_hooks


def test_the_probe_is_the_logistic_regression_of_scikit_learn() -> None:
    source = torch.Generator().manual_seed(0)
    x = torch.randn(120, 4, generator=source, dtype=torch.float64)
    y = (x @ torch.randn(4, 3, generator=source, dtype=torch.float64) + 0.5 * torch.randn(120, 3, generator=source)).argmax(1)
    penalty = 0.05
    ours = probe.fit(x, y, 3, penalty)
    theirs = LogisticRegression(C=1 / (penalty * len(x)), tol=1e-10, max_iter=5000).fit(x.numpy(), y.numpy())
    centred = ours[:-1] - ours[:-1].mean(1, keepdim=True)
    torch.testing.assert_close(centred.T, torch.from_numpy(theirs.coef_), atol=1e-4, rtol=1e-3)


def test_a_probe_reports_the_discriminator_and_both_controls(tmp_path: Path) -> None:
    from conftest import compose_config

    path = made(tmp_path / "run", "model=mlp")
    found: dict[str, Any] = probe.probe(path, compose_config(*SMALL, "model=mlp"), labels=200)
    assert list(found) == ["discriminator", "random discriminator", "raw pixels"]
    assert found["raw pixels"]["features"] == 64
    assert 0.75 < found["raw pixels"]["accuracy"] < 1  # logistic regression on 200 digits
    assert found["discriminator"]["accuracy"] > 0.5


def test_a_discriminator_that_is_told_the_label_is_not_probed(run: Path) -> None:
    from conftest import compose_config

    with pytest.raises(BadInput, match="condition=concat"):
        probe.probe(run, compose_config(*SMALL, "condition=concat", "model=mlp"))


# the latent of an image


class Affine(nn.Module):
    """z -> W z + 10 y."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        return z @ self.weight.T + (0 if condition is None else 10 * condition[:, None])


def looked_for(toy: Any, weight: Tensor, x: Tensor, *how: str, **options: Any) -> Any:
    game = toy("mlp", "toy_points", "model.latent=2", *how).parts.game
    game.players["generator"] = Affine(weight)
    return search(game, {}, Runtime(torch.device("cpu")), x, **options)


def test_the_nearest_sample_of_a_linear_generator_is_that_of_least_squares(toy: Any) -> None:
    source = torch.Generator().manual_seed(0)
    weight, x = torch.randn(5, 2, generator=source), torch.randn(300, 5, generator=source)
    found = looked_for(toy, weight, x, starts=2, steps=200)
    best = torch.linalg.lstsq(weight.double(), x.double().T).solution.T
    torch.testing.assert_close(found.latents.double(), best, atol=2e-3, rtol=0)
    torch.testing.assert_close(found.error, (best @ weight.double().T - x.double()).square().mean(1), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.samples, found.latents @ weight.T)


def test_uniform_latents_stay_in_their_range_and_the_class_is_the_nearest(toy: Any) -> None:
    found = looked_for(toy, torch.eye(2), torch.tensor([[3.0, 0.5]]), "model.prior=uniform", starts=1, steps=100)
    torch.testing.assert_close(found.latents, torch.tensor([[1.0, 0.5]]), atol=1e-3, rtol=0)
    assert float(found.error[0]) == pytest.approx(2.0, rel=1e-3)
    x = torch.tensor([[20.5, 19.5], [0.1, 0.2]])
    found = looked_for(toy, torch.eye(2), x, "condition=concat", starts=3, steps=100)
    assert found.labels.tolist() == [2, 0]
    assert float(found.error.max()) < 1e-4
    found = looked_for(toy, torch.eye(2), x[:1], "condition=concat", starts=1, steps=1, labels=[1])
    assert found.labels.tolist() == [1]


def test_categories_of_codes_stay_as_they_were_drawn(toy: Any) -> None:
    game = toy("mlp", "toy_points", "game=infogan", "game.categories=[3]", "game.continuous=1").parts.game
    before = {name: entry.clone() for name, entry in game.players["generator"].state_dict().items()}
    found = search(game, {}, Runtime(torch.device("cpu")), torch.randn(4, 2), starts=5, steps=20)
    assert found.latents[:, 3:6].sort(1).values.tolist() == [[0, 0, 1]] * 4
    assert found.latents[:, 6].abs().max() <= 1
    assert all(torch.equal(entry, before[name]) for name, entry in game.players["generator"].state_dict().items())


def test_images_are_looked_for_and_what_was_found_is_kept(run: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"labels": [3], "starts": 1, "steps": 2, "seed": 0, "raw": False}
    first = invert(run, [], read_config(run), num=2, out=tmp_path, **options)
    assert [entry["image"] for entry in first["images"]] == ["held out 0", "held out 1"]
    assert {entry["class"] for entry in first["images"]} == {3}
    other = shutil.copy(first["path"], tmp_path.with_name("other.png"))
    again = invert(run, [tmp_path, Path(other)], read_config(run), num=None, out=tmp_path / "own", **options)
    assert len(again["images"]) == 2  # of a folder, and a file
    assert again["images"][0]["error"] == again["images"][1]["error"]
    kept = json.loads(again["path"].with_suffix(".json").read_text())
    assert kept["images"] == again["images"]
    assert kept["own"] == again["own"] >= 0
    for places, num, said in (([tmp_path / "no.png"], None, "no such file"), ([tmp_path], 3, "--num 3")):
        with pytest.raises(BadInput, match=said):
            invert(run, places, read_config(run), num=num, out=tmp_path, **options)
    with pytest.raises(BadInput, match="classes are 0 to 9"):
        invert(run, [], read_config(run), num=1, out=tmp_path, **{**options, "labels": [10]})


# rejection by the discriminator


def test_the_kept_share_at_gamma_zero_is_the_ratio_and_gamma_sets_the_mean() -> None:
    scores = torch.linspace(-4, 1, 50, dtype=torch.float64)
    torch.testing.assert_close(torch.sigmoid(rejection.lift(scores, 1.0)), (scores - 1).exp(), atol=1e-5, rtol=0)
    lifted = rejection.lift(torch.randn(2000, generator=torch.Generator().manual_seed(0), dtype=torch.float64), 3.0)
    for share in (0.2, 0.5, 0.9):
        gamma = rejection.find_gamma(lifted, share)
        assert float(torch.sigmoid(lifted - gamma).mean()) == pytest.approx(1 - share, abs=1e-6)


class Ratio(nn.Module):
    """log p / q of atoms 0, 1, 2 ..., by class if there are some."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.table = nn.Parameter(table)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> DiscriminatorOutput:
        rows = torch.zeros(len(x), dtype=torch.int64) if condition is None else condition
        return DiscriminatorOutput(self.table[rows, x[:, 0].round().long()])


def let_through(toy: Any, law: list[list[float]], reject: float, count: int, labels: Tensor | None) -> Tensor:
    """Atoms of equal shares that pass a discriminator which knows their ``law``."""
    how = ["condition=concat"] if labels is not None else []
    game = toy("mlp", "toy_points", *how).parts.game
    wanted = torch.tensor(law)
    game.players["discriminator"] = Ratio((wanted * wanted.shape[1]).log())

    def make(number: int, seed: int, _: Tensor | None) -> Tensor:
        drawn = torch.randint(wanted.shape[1], (number,), generator=torch.Generator().manual_seed(seed)).float()
        return torch.stack((drawn, drawn), 1)

    return rejection.kept(game, {}, make, labels, count, 0, reject)[:, 0].long()


def test_what_is_let_through_has_the_law_that_the_discriminator_knows(toy: Any) -> None:
    law = [0.5, 0.25, 0.125, 0.125]
    reject = 1 - sum(share / max(law) for share in law) / len(law)  # that of gamma 0
    found = let_through(toy, [law], reject, 6000, None)
    shares = torch.bincount(found, minlength=4) / 6000
    torch.testing.assert_close(shares, torch.tensor(law), atol=0.03, rtol=0)
    assert torch.equal(found[:50], let_through(toy, [law], reject, 50, None))


def test_each_class_has_a_law_of_its_own(toy: Any) -> None:
    labels = torch.arange(3000) % 3
    found = let_through(toy, [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]], 0.58, 3000, labels)
    assert float((found == labels).float().mean()) == pytest.approx(0.8, abs=0.04)


@pytest.mark.parametrize(
    ("how", "said"),
    [("loss=hinge", "log p / q"), ("game=aae", "something else"), ("game=bigan", "something else"), ("pack=2", "packs")],
)
def test_scores_that_are_no_ratio_of_a_sample_reject_nothing(toy: Any, how: str, said: str) -> None:
    made = toy("mlp", "toy_points", how)
    with pytest.raises(BadInput, match=said):
        choose(Wish(16, 0, reject=0.5), made.parts.game, {})
    with pytest.raises(BadInput, match="above 0 and below 1"):
        choose(Wish(16, 0, reject=1.0), made.parts.game, {})


def test_a_run_leaves_out_samples_by_its_discriminator(run: Path) -> None:
    trained = ganrun.load(run)
    few, many = (trained.sample(count, seed=1, reject=0.5) for count in (20, 60))
    assert many.shape == (60, 1, 8, 8)
    assert torch.equal(few, many[:20])
    every = trained.sample(600, seed=1, labels=3)
    one = trained.sample(5, seed=1, labels=3, reject=0.5)
    assert all((sample - every).abs().flatten(1).amax(1).min() < 0.01 for sample in one)
