"""What answers before torch is imported: help, misspelt flags and commands, checks, lists."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cli_driver
import pytest
from cli_driver import REPOSITORY, finish, run, start

inside, engine = cli_driver.inside, cli_driver.engine  # fixtures

# Runs several commands in one process in which torch cannot be imported.
WITHOUT_TORCH = """
import sys

class Forbidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "torchmetrics", "numpy"):
            raise AssertionError("imported " + name)

sys.meta_path.insert(0, Forbidden())
from typer.testing import CliRunner
from ganrun.cli.app import app
if "hydra" in sys.modules or "omegaconf" in sys.modules:
    raise AssertionError("Hydra is imported before a command needs it")
for line in LINES:
    found = CliRunner().invoke(app, line.split(), prog_name="ganrun")
    print(line, "|", found.exit_code, "|", found.exception if not isinstance(found.exception, SystemExit) else None)
    if "hydra" in sys.modules and line.endswith("--help"):
        raise AssertionError("help imports Hydra")
"""

LINES = {
    "--help": 0,
    "train --help": 0,
    "eval --help": 0,
    "list --help": 0,
    "--version": 0,
    "trian": 2,
    "train --mulirun": 2,
    "list": 0,
    "list losses": 2,
    "train loss=wassersten stepz=3 batch_size=x": 2,
    "train -m loss=hinge,lsgn": 2,
    "train model=wgan --cfg job --resolve": 0,
    "train resume=nowhere": 2,
    "eval nowhere": 2,
    "sample nowhere": 2,
    "sample nowhere --num 0": 2,
}


def test_help_checks_and_lists_never_import_torch(inside: Path) -> None:
    script = f"LINES = {list(LINES)!r}\n{WITHOUT_TORCH}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{line} | {code} | None" for line, code in LINES.items()]


def test_python_m_ganrun_is_the_command(inside: Path) -> None:
    answer = finish(start(inside, "--version"))
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith("ganrun 0.")


def test_every_mistake_of_a_line_in_a_real_process(inside: Path) -> None:
    answer = finish(start(inside, "train", "loss=wassersten", "stepz=3", "batch_size=x"))
    assert (answer.code, answer.out, len(answer.lines)) == (2, "", 3)
    assert "wasserstein" in answer.lines[0]
    assert "steps" in answer.lines[1]
    assert "batch_size=x" in answer.lines[2]


def test_the_modules_of_the_command_line_name_no_torch_above_a_function() -> None:
    for path in (REPOSITORY / "ganrun" / "cli").glob("*.py"):
        for line in path.read_text().splitlines():
            if line in ("from ganrun.engine import best", "from ganrun.engine import forms"):  # which import no torch either
                continue
            assert not line.startswith(("import torch", "from torch", "from ganrun.engine", "import ganrun.engine")), path


def test_help_shows_hydras_flags_in_a_panel_of_their_own() -> None:
    text = run("train", "--help").out
    panel = text[text.index(" Hydra ") :]
    for flag in (
        "--multirun",
        "-m",
        "--cfg",
        "-c",
        "--resolve",
        "--package",
        "-p",
        "--info",
        "--config-dir",
        "-cd",
        "--config-name",
        "-cn",
    ):
        assert flag in panel
    assert "--hydra-help" in panel
    assert "regularizer=[r1,spectral_norm]" in "".join(text.split()).replace("│", "")


@pytest.mark.parametrize(
    ("line", "nearest"),
    [
        (["train", "--mulirun"], "--multirun"),
        (["train", "--config-dr", "x"], "--config-dir"),
        (["sample", "RUN", "--seperate"], "--separate"),
        (["smple"], "sample"),
        (["--versoin"], "--version"),
    ],
)
def test_a_misspelt_flag_or_command_names_the_nearest(line: list[str], nearest: str) -> None:
    answer = run(*line)
    assert answer.code == 2
    assert nearest in answer.err
    assert "Traceback" not in answer.err


def test_a_closed_pipe_is_no_defect(inside: Path) -> None:
    process = start(inside, "list")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()
    process.wait(timeout=60)


def test_colours_and_width_of_the_terminal_do_not_break_lines(inside: Path) -> None:
    answer = finish(start(inside, "train", "loss=wassersten", COLUMNS="20", **({"TERM": os.environ.get("TERM", "dumb")})))
    assert len(answer.lines) == 1
