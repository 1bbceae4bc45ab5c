"""``ganrun export --format script``: one file without ganrun, whose losses are ganrun's, bit for bit."""

from __future__ import annotations

import math
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import CONF, compose_config, make_trainer
from typer.testing import CliRunner

from ganrun.cli.app import app
from ganrun.data.base import to_pixels
from ganrun.engine import sampling, script
from ganrun.engine.run import train
from ganrun.ground.errors import BadInput

SMALL = ("metric=none", "disease=none", "device=cpu", "batch_size=8", "every.log=2")
NARROW = ("model.generator.width=8", "model.discriminator.width=8")
LOSSES = ("nonsaturating", "minimax", "lsgan", "hinge", "wasserstein")
REGULARIZERS = ("none", "gradient_penalty", "r1", "spectral_norm", "weight_clip")
QUICK = {
    "a penalty between samples": ("model=mlp", "loss=nonsaturating", "regularizer=gradient_penalty", "n_critic=2"),
    "divided weights, batch norm": ("model=dcgan", "loss=hinge", "regularizer=spectral_norm"),
    "clipped weights": ("model=wgan", "loss=wasserstein", "regularizer=weight_clip", "optimizer=rmsprop"),
    "a lazy penalty": (
        *("model=dcgan", "loss=lsgan", "regularizer=r1", "regularizer.r1.every=3", "model.discriminator.norm=none"),
        "n_critic=2",
    ),
    "points": ("dataset=ring8", "loss=minimax", "model.prior=uniform", "dataset.num=100", "ema=0.9"),
    "a schedule": (
        *("model=mlp", "optimizer=sgd", "optimizer.momentum=0.5", "optimizer.schedule.name=cosine", "steps=30", "ema=0"),
        *("optimizer.schedule.warmup=3", "optimizer.schedule.start=0.2", "optimizer.schedule.final=0.1"),
    ),
    "several at once": (
        *("model=mlp", "regularizer=[r1,gradient_penalty,spectral_norm]", "regularizer.gradient_penalty.one_sided=true"),
        *(
            "optimizer=ttur",
            "optimizer.generator.name=rmsprop",
            "generator_batch=12",
            "model.discriminator.norm=layer",
            "model.discriminator.init=xavier",
        ),
    ),
}


def written(folder: Path, *words: str) -> tuple[Path, dict[str, Any]]:
    """The file of a config, and the config, without a run."""
    config = compose_config(*words, *NARROW, *SMALL)
    (folder / "run").mkdir()
    (folder / "run" / "config.yaml").write_text("{}")
    return script.write(folder / "run", folder / "gan.py", config), config


def compare(folder: Path, words: tuple[str, ...], steps: int) -> None:
    """Every loss of every step, and the generator at the end, are the same bits in both."""
    path, config = written(folder, *words)
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--isolated", "--no-cache", str(path)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    trainer = make_trainer(config).trainer
    rows: list[dict[str, float]] = []
    here = runpy.run_path(str(path), run_name="gan")
    with trainer.runtime.applied():
        made = here["train"](lambda step, losses: rows.append({name: float(value) for name, value in losses.items()}), steps)
        for step, row in enumerate(rows):
            trainer.advance()
            wanted = {name: float(term) for name, term in trainer.terms.items() if "gradient_norm" not in name}
            assert all(map(math.isfinite, wanted.values()))
            assert row == wanted, f"step {step + 1}"
        assert len(rows) == steps
        ours = trainer.averages["generator"].network if config["ema"] else trainer.game.players["generator"].eval()
        for mine, other in zip(made.state_dict().values(), ours.state_dict().values(), strict=True):
            assert torch.equal(mine, other)
        if here["picture"](made).shape[2] == 1:
            x = sampling.generate(trainer.game, 64, seed=int(config["seed"]), runtime=trainer.runtime, averages=trainer.averages)
            grid = to_pixels(x).unflatten(0, (8, 8)).permute(0, 3, 1, 4, 2).flatten(0, 1).flatten(1, 2)
            assert torch.equal(here["picture"](made)[::4, ::4], grid)


@pytest.mark.parametrize("name", list(QUICK))
def test_the_file_trains_as_ganrun_does(name: str, tmp_path: Path) -> None:
    compare(tmp_path, QUICK[name], 20)


@pytest.mark.long
@pytest.mark.parametrize("model", ["mlp", "dcgan"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("regularizer", REGULARIZERS)
def test_every_common_cell_trains_as_ganrun_does(model: str, loss: str, regularizer: str, tmp_path: Path) -> None:
    more = ("model.discriminator.norm=layer",) if model == "dcgan" and regularizer in ("gradient_penalty", "r1") else ()
    compare(tmp_path, (f"model={model}", f"loss={loss}", f"regularizer={regularizer}", "n_critic=2", *more), 100)


def test_the_file_runs_alone_prints_losses_and_makes_a_picture(tmp_path: Path) -> None:
    path, _ = written(tmp_path, "dataset=ring8", "dataset.num=100", "steps=3")
    code = f"import runpy, sys; sys.modules['ganrun'] = None; runpy.run_path({str(path)!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[1] for line in lines[:-1]] == ["1", "2", "3"]
    assert lines[0].startswith("step 1  discriminator/loss ")
    from PIL import Image

    picture = tmp_path / "gan.png"
    assert lines[-1] == str(picture)
    with Image.open(picture) as image:
        assert image.size == (256, 256)
        assert (30, 80, 200) in {colour for _, colour in image.convert("RGB").getcolors(maxcolors=9)}


def test_all_that_there_is_no_text_for_is_named_at_once(tmp_path: Path) -> None:
    words = (
        *("model=mlp", "model.generator.dropout=0.5", "regularizer=[r2,diffaugment,r1]", "regularizer.r1.final=1", "loss=ragan"),
        *("regularizer.r1.decay=5", "accumulate=2", "pack=2", "optimizer.betas_final=[0,0.9]", "device.precision=bf16"),
    )
    with pytest.raises(BadInput) as error:
        written(tmp_path, *words)
    said = str(error.value)
    for line in (
        "accumulate=2: it has text for 1 alone",
        "pack=2: it has text for 1 alone",
        "device.precision=bf16: it has text for fp32 alone",
        "model.generator.dropout=0.5: it has text for 0.0 alone",
        "loss=ragan: it has no text for this; it has for hinge, lsgan, minimax, nonsaturating, wasserstein",
        "regularizer=diffaugment: it has no text for this",
        "regularizer=r2: it has no text for this",
        "regularizer.r1.final=1",
        "regularizer.r1.decay=5",
        "optimizer.betas_final=[0,0.9]: it has text for null alone",
    ):
        assert line in said
    assert "optimizer.generator.betas_final" not in said
    assert not (tmp_path / "gan.py").exists()


def test_an_option_that_no_part_knows_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = script.part
    monkeypatch.setattr(
        script, "part", lambda group, name: {**(whole(group, name) or {}), "reads": []} if group == "loss" else whole(group, name)
    )
    with pytest.raises(BadInput, match=r"loss.a=0.0: it has no text for this"):
        written(tmp_path, "loss=lsgan")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("model=mlp", "condition=concat"), "condition=concat: it has text for none alone"),
        (("dataset=number_names",), "model=sequence: it has no text for this"),
        (("model=mlp", "game=madgan"), "game=madgan: it has no text for this; it has for adversarial"),
        (
            ("model=mlp", "optimizer.schedule.name=linear", "doctor.stop=[collapse]"),
            "doctor.stop=[collapse]: it has text for [] alone",
        ),
    ],
)
def test_other_runs_are_refused(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as error:
        written(tmp_path, *words)
    assert said in str(error.value)


def test_data_that_are_too_many_for_one_file_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "LARGEST", 1000)
    with pytest.raises(BadInput, match=r"dataset=digits: its 1437 samples are"):
        written(tmp_path, "model=mlp")


def test_every_option_of_every_part_is_known_in_the_config() -> None:
    """A part that speaks of an option that its component does not have is a mistake of spelling."""
    for path in script.PARTS.glob("*/*.yaml"):
        group, name = path.parent.name, path.stem
        own = yaml.safe_load(path.read_text(encoding="utf-8"))
        if "same" in own:
            assert (path.with_stem(own["same"])).exists()
            continue
        if group in ("init", "schedule"):
            continue
        read = yaml.safe_load((CONF / group / f"{name}.yaml").read_text(encoding="utf-8"))
        flat = script._flat(read)
        players = [f"{player}.{key}" for player in ("generator", "discriminator") for key in own.get("reads_of_players", ())]
        assert {*own.get("reads", ()), *own.get("only", ()), *players} <= set(flat) | {"condition.name"}, path


def test_the_command_writes_the_file_and_its_data_and_shows_how_to_run_it(tmp_path: Path) -> None:
    words = ("model=mlp", "steps=1", *NARROW, *SMALL)
    train(compose_config(*words), tmp_path / "run", overrides=list(words), sweep=True)
    for _ in range(2):
        done = CliRunner().invoke(app, ["export", str(tmp_path / "run"), "--format", "script"])
        assert done.exit_code == 0, done.output
        path = tmp_path / "run" / "gan.py"
        assert done.stdout.splitlines() == [str(path), "", f"python {path}"]
    assert sorted(entry.name for entry in (tmp_path / "run").glob("gan*")) == ["gan.data.pt", "gan.py"]
    done = CliRunner().invoke(app, ["export", str(tmp_path / "run"), "--format", "script", "--raw", "--role", "inverse"])
    assert done.exit_code == 2
    assert "--raw" in done.output
    assert "--role inverse" in done.output
