"""Exported generators: every format gives ganrun's samples, without ganrun, and says what goes in and what comes out."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import compose_config, make_trainer
from torch import Tensor, nn
from typer.testing import CliRunner

import ganrun
from ganrun.cli.app import app
from ganrun.disk.runs import read_config
from ganrun.engine import exporters, forms, sampling
from ganrun.engine.export import export, exported
from ganrun.engine.exporters import EXPORTERS, written
from ganrun.engine.latents import of_samples
from ganrun.engine.portable import inputs_of, performer, portable
from ganrun.engine.run import train
from ganrun.games.choosing import EachForAll
from ganrun.games.conditions.per_class import Routed
from ganrun.games.madgan import GeneratorMixture
from ganrun.ground import rng
from ganrun.ground.errors import BadInput
from ganrun.ground.runtime import resolve

needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in forms.FORMS["onnx"].packages), reason='needs "ganrun[onnx]"'
)
SMALL = ("batch_size=24", "metric=none", "device=cpu")
NARROW = ("model.generator.width=4", "model.discriminator.width=4", "model.latent=5")
TRANSLATOR = ("model.generator.width=4", "model.discriminator.width=4")
FAMILIES = ("mlp", "dcgan", "resnet", "modern", "autoencoder", "conv_autoencoder")
CONDITIONS = ("none", "concat", "acgan", "projection", "shared", "per_class", "reacgan", "matching_aware")


def cells() -> dict[str, tuple[str, ...]]:
    """Every family with every condition, and what else changes how a generator computes, by name."""
    found = {}
    for family in FAMILIES:
        energy = ("loss=energy",) if "autoencoder" in family else ()
        for condition in CONDITIONS:
            if not (energy and condition in ("acgan", "reacgan")):  # an energy is no logit; the traits refuse it elsewhere
                found[f"{family} {condition}"] = (f"model={family}", f"condition={condition}", *energy, *NARROW)
    for game in ("bigan", "infogan", "madgan", "mdgan", "mrgan", "semi_supervised", "unrolled", "vaegan", "veegan", "aae"):
        found[f"game {game}"] = ("model=mlp", f"game={game}", *NARROW)
    found["madgan projection"] = ("model=dcgan", "game=madgan", "condition=projection", *NARROW)
    found["madgan per_class"] = ("model=mlp", "game=madgan", "condition=per_class", "dataset.classes=[0,1,2]", *NARROW)
    found["free gain"] = ("model=dcgan", "condition=projection", "game.gain=free", *NARROW)
    found["points"] = ("dataset=ring8", "condition=concat", *NARROW)
    found["uniform"] = ("model=mlp", "model.prior=uniform", *NARROW)
    for norm in ("virtual", "instance", "group", "layer", "none"):
        found[f"norm {norm}"] = ("model=dcgan", f"model.generator.norm={norm}", "condition=concat", *NARROW)
    for name, words in {
        "attention": ("model.generator.attention=4", "dataset.size=16"),
        "nearest": ("model.generator.upsample=nearest",),
        "pixel_shuffle": ("model.generator.upsample=pixel_shuffle",),
        "dropout": ("model.generator.dropout=0.5", "model.generator.dropout_always=true"),
        "quiet dropout": ("model.generator.dropout=0.5",),
        "spectral_norm": ("regularizer=spectral_norm", "regularizer.spectral_norm.sides=[generator,discriminator]"),
        "weight_norm": ("regularizer=weight_norm", "regularizer.weight_norm.sides=[generator,discriminator]"),
        "layer_noise": ("regularizer=layer_noise", "regularizer.layer_noise.players=[generator]"),
    }.items():
        found[name] = ("model=dcgan", *words, *NARROW)
    for output in ("softmax", "argmax", "gumbel", "straight_through"):
        found[f"sequence {output}"] = ("model=sequence", "dataset=number_names", f"model.output={output}", *NARROW)
    found["sequence concat"] = ("model=sequence", "dataset=number_names", "condition=concat", *NARROW)
    for noise in ("none", "dropout", "input"):
        words = ("model=unet", f"model.noise={noise}", *TRANSLATOR)
        found[f"unet {noise}"] = (*words, "game=pix2pix", "dataset=paired_digits", "condition=concat")
        found[f"unet {noise} cyclegan"] = (*words, "game=cyclegan", "dataset=unpaired_digits")
    found["unet projection"] = (*words, "game=pix2pix", "dataset=paired_digits", "condition=projection")
    found["translator"] = ("model=translator", "game=cyclegan", "dataset=unpaired_digits", *TRANSLATOR)
    found["translator dropout"] = (*found["translator"], "model.dropout=0.5")
    found["translator points"] = ("dataset=rotated_ring", "game=cyclegan", *NARROW)
    return found


CELLS = cells()
QUICK = ("mlp shared", "dcgan projection", "madgan per_class", "norm virtual", "unet dropout", "spectral_norm")
NOISY = ("dropout", "sequence gumbel", "sequence straight_through", "unet dropout", "unet dropout cyclegan", "translator dropout")


def moved(network: nn.Module) -> None:
    """Give every number of ``network`` a value of its own, as training does: gains of one and shifts of zero hide mistakes."""
    source = torch.Generator().manual_seed(9)
    for entry in (*network.parameters(), *network.buffers()):
        if entry.is_floating_point():
            entry.data += 0.05 * torch.rand(entry.shape, generator=source)


def toy_run(name: str, folder: Path) -> Any:
    """As a ``Trained``, for the cell ``name``, without a run."""
    made = make_trainer(compose_config(*CELLS[name], *SMALL))
    for average in made.trainer.averages.values():
        moved(average.network)
    return SimpleNamespace(
        game=made.parts.game,
        spec=made.dataset.spec,
        folder=folder,
        config=made.config,
        runtime=resolve(made.config["device"]),
        averages=made.trainer.averages,
    )


@pytest.mark.parametrize("name", QUICK)
def test_a_format_gives_what_the_network_gives(name: str, tmp_path: Path) -> None:
    check("torchscript", name, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("form", list(EXPORTERS))
@pytest.mark.parametrize("name", list(CELLS))
def test_every_format_gives_what_every_network_gives(form: str, name: str, tmp_path: Path) -> None:
    check(form, name, tmp_path)


def check(form: str, name: str, folder: Path) -> None:
    if form == "onnx" and any(importlib.util.find_spec(package) is None for package in forms.FORMS["onnx"].packages):
        pytest.skip('needs "ganrun[onnx]"')
    trained = toy_run(name, folder)
    for role in trained.game.averaged:
        network = performer(trained, role)
        made = portable(trained, network, role, {})
        assert made.noisy == (name in NOISY)
        if made.noisy and not EXPORTERS[form].noise:
            with pytest.raises(BadInput, match=r"draws random numbers of its own.*Try --format torchscript or torch_export"):
                written(form, made)
            continue
        read = EXPORTERS[form].read(written(form, made), made)
        for count in (1, 5):
            inputs = made.tried(count)
            given = {entry.keyword: x for entry, x in zip(made.inputs, inputs, strict=True) if entry.keyword}
            with torch.no_grad():
                torch.manual_seed(count)
                wanted = network(*inputs[: len(inputs) - len(given)], **given)
                torch.manual_seed(count)
                torch.testing.assert_close(read(*inputs), wanted, atol=1e-5, rtol=0)


@needs_onnx
def test_onnx_refuses_noise_of_the_networks_own(tmp_path: Path) -> None:
    check("onnx", "dropout", tmp_path)


# a run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "run"
    words = ("model=mlp", "game=infogan", "condition=concat", "steps=2", *NARROW, *SMALL)
    train(compose_config(*words), path, overrides=list(words), sweep=True)
    return path


ALONE = """
import sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("ganrun", "safetensors"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Nothing())
try:
    import ganrun
except ModuleNotFoundError:
    pass
else:
    raise AssertionError("ganrun is there")
for text, given, out in TASKS:
    here = {}
    exec(text, here)
    import torch
    held = torch.load(given)
    x = held if "session" not in here else {name: entry.numpy() for name, entry in zip(NAMES, held)}
    made = here["session"].run(None, x)[0] if "session" in here else here["generator"](*x)
    torch.save((torch.as_tensor(made), here["about"], torch.as_tensor(here["samples"])), out)
"""


def test_examples_run_as_printed_without_ganrun_and_what_they_load_gives_ganruns_samples(run: Path, tmp_path: Path) -> None:
    config, tasks = read_config(run), []
    shapes = [form for form in EXPORTERS if all(map(importlib.util.find_spec, forms.FORMS[form].packages))]
    trained = ganrun.load(run, device="cpu")
    inputs = (of_samples(trained.game.latent_law, 300, 4), torch.arange(300) % 10)
    torch.save(inputs, tmp_path / "inputs.pt")
    for form in shapes:
        path, text = exported(run, tmp_path / f"it's{forms.FORMS[form].suffix}", config, raw=False, role="generator", form=form)
        assert path.exists()
        assert len(text.splitlines()) <= 13
        tasks.append((text, str(tmp_path / "inputs.pt"), str(tmp_path / f"{form}.out")))
    code = f"TASKS, NAMES = {tasks!r}, ['z', 'labels']\n{ALONE}"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    wanted = sampling.generate(trained.game, 300, seed=4, runtime=trained.runtime, averages=trained.averages, labels=inputs[1])
    for form in shapes:
        made, about, samples = torch.load(tmp_path / f"{form}.out")
        torch.testing.assert_close(made, wanted, atol=1e-5, rtol=0)
        assert samples.shape == (16, 1, 8, 8)
        said(about)


def said(about: dict[str, Any]) -> None:
    law = [{"law": "normal", "numbers": 5}, {"law": "one_hot", "numbers": 10}]
    law += [{"law": "uniform", "numbers": 1}] * 2
    assert (about["run"], about["step"], about["role"], about["average"]) == ("run", 2, "generator", True)
    assert about["inputs"] == [
        {"name": "z", "shape": ["n", 17], "dtype": "float32", "law": law},
        {"name": "labels", "shape": ["n"], "dtype": "int64", "values": 10, "names": list("0123456789")},
    ]
    assert about["output"]["shape"] == ["n", 1, 8, 8]
    assert about["output"]["range"] == [-1, 1]
    assert "noise" not in about


def test_safetensors_say_the_same_and_their_example_runs(run: Path, tmp_path: Path) -> None:
    from safetensors import safe_open

    path, text = exported(run, tmp_path, read_config(run), raw=False, role="generator", form="safetensors")
    with safe_open(str(path), framework="pt") as file:
        said(json.loads(file.metadata()["ganrun"]))
    here: dict[str, Any] = {}
    exec(text, here)
    assert here["samples"].shape == (16, 1, 8, 8)


def test_a_drawn_maker_is_an_input_and_gives_the_samples_of_the_run(tmp_path: Path) -> None:
    trained = toy_run("madgan projection", tmp_path)
    made = portable(trained, performer(trained, "generator"), "generator", {})
    z, labels = of_samples(trained.game.latent_law, 256, 3), torch.arange(256) % 10
    maker = torch.randint(3, (256,), generator=rng.generator(3, 0, "sample", 0, "maker"))
    read = EXPORTERS["torchscript"].read(written("torchscript", made), made)
    wanted = sampling.generate(trained.game, 256, seed=3, runtime=trained.runtime, averages=trained.averages, labels=labels)
    torch.testing.assert_close(read(z, labels, maker), wanted, atol=1e-5, rtol=0)
    assert [(entry.name, entry.values) for entry in inputs_of(trained, "generator")] == [
        ("z", None),
        ("labels", 10),
        ("maker", 3),
    ]


class Times(nn.Module):
    """Multiplies by ``factor``."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


def test_networks_chosen_without_looking_are_the_networks_chosen_row_by_row() -> None:
    networks = [Times(factor) for factor in (1.0, 10.0, 100.0)]
    x, choice = torch.arange(1.0, 6.0)[:, None].expand(5, 2), torch.tensor([2, 0, 1, 1, 0])
    wanted = x * torch.tensor([100.0, 1, 10, 10, 1])[:, None]
    assert torch.equal(EachForAll(networks, "condition")(x, condition=choice), wanted)
    assert torch.equal(Routed(networks).traceable()(x, condition=choice), wanted)
    assert torch.equal(GeneratorMixture(networks).traceable()(x, maker=choice), wanted)


def test_standing_statistics_are_exported_where_samples_have_them(tmp_path: Path) -> None:
    trained = toy_run("mlp concat", tmp_path)
    trained.config = {**trained.config, "evaluation": {**trained.config["evaluation"], "standing": 2}}
    trained.starts = lambda count: None
    made = portable(trained, performer(trained, "generator"), "generator", {})
    z, labels = of_samples(trained.game.latent_law, 256, 0), torch.arange(20) % 10
    common = {"runtime": trained.runtime, "averages": trained.averages, "labels": labels}
    wanted = sampling.generate(trained.game, 20, seed=0, standing=2, **common)
    torch.testing.assert_close(made.network(z[:20], labels), wanted, atol=1e-5, rtol=0)
    assert not torch.allclose(sampling.generate(trained.game, 20, seed=0, **common), wanted, atol=1e-3)


def test_what_was_written_is_compared_before_anybody_gets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = toy_run("mlp none", tmp_path)
    made = portable(trained, performer(trained, "generator"), "generator", {})
    wrong = exporters.Exporter(lambda made: b"", lambda data, made: lambda *inputs: made.network(*inputs) + 2e-5)
    monkeypatch.setitem(EXPORTERS, "torchscript", wrong)
    with pytest.raises(BadInput, match=r"differ from ganrun's by 2e-05. Try --format torch_export or onnx or safetensors"):
        written("torchscript", made)

    def fail(made: Any) -> bytes:
        raise RuntimeError("\nno such operator\nmore")

    monkeypatch.setitem(EXPORTERS, "torchscript", exporters.Exporter(fail, wrong.read))
    with pytest.raises(BadInput, match=r"cannot write this generator \(no such operator\). Try --format torch_export"):
        written("torchscript", made)
    monkeypatch.setitem(EXPORTERS, "torchscript", exporters.Exporter(fail, wrong.read, largest=10))
    with pytest.raises(BadInput, match=r"holds at most .* Try --format torch_export"):
        written("torchscript", made)


def test_an_export_leaves_the_run_as_it_was(run: Path) -> None:
    config = read_config(run)
    made = [export(run, None, config, form=form) for form in ("torchscript", "torchscript", "safetensors")]
    assert made[0].name == "generator.pt"
    assert made[2].name == "generator.safetensors"
    assert export(run, None, config, form="torchscript", raw=True).name == "generator_raw.pt"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--format", "onx"], "--format onx: there is no such format. Did you mean 'onnx'?"),
        (["--out", "g.onnx"], "--out g.onnx: safetensors would be written into a file named as onnx is. Add --format onnx"),
        (["--format", "torchscript", "--role", "invers"], "--role invers: this game has no such generator"),
    ],
)
def test_wrong_words_are_named(run: Path, words: list[str], said: str) -> None:
    done = CliRunner().invoke(app, ["export", str(run), *words])
    assert done.exit_code == 2
    assert said in done.output


def test_packages_that_are_missing_are_named_before_work_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r'needs onnx, onnxscript, onnxruntime: pip install "ganrun\[onnx\]"'):
        forms.chosen("onnx", None)
    assert forms.chosen("torchscript", None) == "torchscript"


def test_the_command_prints_the_file_and_an_example_when_a_format_is_named(run: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["export", str(run), "--format", "torchscript", "--out", str(tmp_path / "g.pt")])
    assert done.exit_code == 0, done.output
    first, blank, *example = done.stdout.splitlines()
    assert (first, blank) == (str(tmp_path / "g.pt"), "")
    assert example[0] == "import json"
