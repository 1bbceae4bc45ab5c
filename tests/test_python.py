"""ganrun from a person's own program: what it returns, and that the program's torch is as it was."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import ganrun
from ganrun.engine import commands, run, sampling
from ganrun.engine.export import export

SMALL = ("steps=2", "batch_size=8", "device=cpu", "device.threads=1", "metric=none", "model=mlp", "model.generator.width=8")


def state() -> dict[str, Any]:
    """Whatever of torch and the environment a library could leave changed."""
    return {
        "threads": torch.get_num_threads(),
        "determinism": torch.get_deterministic_debug_mode(),
        "fill": torch.utils.deterministic.fill_uninitialized_memory,
        "benchmark": torch.backends.cudnn.benchmark,
        "tf32": torch.backends.cudnn.allow_tf32,
        "dtype": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "generator": torch.get_rng_state().tolist(),
        "environment": dict(os.environ),
    }


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A program that has chosen everything otherwise."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    threads, benchmark = torch.get_num_threads(), torch.backends.cudnn.benchmark
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = True
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(77)
    try:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.benchmark = benchmark
        torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from conftest import compose_config

    folder = tmp_path_factory.mktemp("python") / "run"
    run.train(compose_config(*SMALL), folder, overrides=list(SMALL), sweep=True)
    return folder


def test_a_loaded_run_samples_as_the_command_does_and_leaves_the_program_alone(trained: Path, tmp_path: Path, host: None) -> None:
    before = state()
    x = ganrun.load(trained).sample(5, seed=3)
    assert state() == before
    assert (x.dtype, x.shape) == (torch.float32, (5, 1, 8, 8))
    config = ganrun.load(trained).config
    picture = commands.sample(trained, num=5, seed=3, out=tmp_path, config=config, separate=True)
    shown = [np.asarray(Image.open(path)) for path in sorted(picture.with_suffix("").glob("*.png"))]
    assert np.array_equal(np.stack(shown), (x[:, 0] * 255).round().to(torch.uint8).numpy())
    assert state() == before


def test_an_exported_generator_and_a_new_run_leave_the_program_alone(trained: Path, tmp_path: Path, host: None) -> None:
    from conftest import compose_config

    config = sampling.Trained(trained, compose_config(*SMALL)).config
    path = export(trained, tmp_path / "g.safetensors", config)
    before = state()
    assert next(ganrun.load_generator(path).parameters()).dtype == torch.float32
    assert state() == before
    run.train(compose_config(*SMALL), tmp_path / "again", overrides=[], sweep=True)
    assert state() == before
    states = [torch.load(folder / "checkpoints/step_00000002.pt", weights_only=True) for folder in (trained, tmp_path / "again")]
    for part, entries in states[0].items():
        if isinstance(entries, dict):
            for name, entry in entries.items():
                if isinstance(entry, torch.Tensor):
                    assert torch.equal(entry, states[1][part][name]), (part, name)


def test_the_program_is_left_alone_where_a_run_fails(trained: Path, tmp_path: Path, host: None) -> None:
    before = state()
    with pytest.raises(ganrun.GanrunError):
        ganrun.load(tmp_path)
    with pytest.raises(ganrun.GanrunError):
        ganrun.load(trained).sample(0)
    assert state() == before
