"""What a stranger gets: a wheel that carries its config, the first component of their own, a set-up that installs once."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
QUICK = ["dataset=ring8", "dataset.num=64", "batch_size=4", "steps=2", "metric=none", "device=cpu", "device.threads=1"]


def call(*command: str | Path, where: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        cwd=where,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_a_built_wheel_carries_its_config_and_runs_from_another_folder(tmp_path: Path) -> None:
    built = call(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        tmp_path / "wheels",
        ROOT,
        where=tmp_path,
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = (tmp_path / "wheels").glob("ganrun-*.whl")
    assert {"ganrun/conf/config.yaml", "ganrun/conf/loss/hinge.yaml", "ganrun/data/digits.npz"} <= set(
        zipfile.ZipFile(wheel).namelist()
    )

    # sees the libraries of this environment by a plain path, which does not follow its editable install
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env/bin/python"
    (site,) = (tmp_path / "env/lib").glob("python*/site-packages")
    (site / "parent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    installed = call(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", wheel, where=tmp_path)
    assert installed.returncode == 0, installed.stderr
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    found = call(python, "-c", "import ganrun; print(ganrun.__file__)", where=elsewhere)
    assert str(site) in found.stdout, found.stdout + found.stderr
    ran = call(tmp_path / "env/bin/ganrun", "train", *QUICK, where=elsewhere)
    assert ran.returncode == 0, ran.stderr
    assert len(list(elsewhere.glob("outputs/default/*/checkpoints/step_00000002.pt"))) == 1


def test_a_loss_of_ones_own_trains_with_one_file_and_one_yaml(tmp_path: Path) -> None:
    text = (ROOT / "docs/howto/write_loss.md").read_text(encoding="utf-8")
    source = next(block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "@register" in block)
    schema = next(block for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "softplus_margin" in block)
    (tmp_path / "softplus_margin.py").write_text(source)
    (tmp_path / "my_conf/loss").mkdir(parents=True)
    (tmp_path / "my_conf/loss/softplus_margin.yaml").write_text(schema.split("\n", 1)[1])  # without the path's own comment
    line = next(line for line in text.splitlines() if line.startswith("ganrun train --config-dir my_conf"))
    typed = [word.strip("'") for word in line.split()[1:]]

    trained = call(sys.executable, "-m", "ganrun", *typed, *QUICK, where=tmp_path)
    assert trained.returncode == 0, trained.stderr
    (run,) = tmp_path.glob("outputs/default/mlp-softplus_margin-*")
    refused = call(sys.executable, "-m", "ganrun", "sample", run, where=tmp_path)
    assert refused.returncode == 2
    assert "plugins=[softplus_margin]" in refused.stderr
    sampled = call(sys.executable, "-m", "ganrun", "sample", run, "--num", "5", "plugins=[softplus_margin]", where=tmp_path)
    assert sampled.returncode == 0, sampled.stderr


def test_a_second_make_installs_nothing() -> None:
    planned = call("make", "-n", "-o", ".venv/.installed", "test", where=ROOT)
    assert planned.returncode == 0, planned.stderr
    assert "pip install" not in planned.stdout
    assert "pytest" in planned.stdout
