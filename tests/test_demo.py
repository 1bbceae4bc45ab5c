"""The default experiment keeps its promise on real digits (minutes: ``make test-all``)."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_the_demo_reaches_95_percent_of_held_out_digits_is_in_the_median_of_five_seeds(tmp_path: Path) -> None:
    shares = []
    for seed in range(5):
        typed = ["experiment=demo", f"seed={seed}", "evaluation.baselines=true", "device=cpu", "device.threads=1"]
        done = subprocess.run(
            [sys.executable, "-m", "ganrun", "train", *typed],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=1500,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        (scores,) = tmp_path.glob(f"outputs/default/*-seed{seed}-*/scores.jsonl")
        row = json.loads(scores.read_text().splitlines()[-1])
        generated, held_out = row["scores"]["is"], row["baselines"]["held_out"]["is"]
        assert generated["card"]["samples"] == held_out["card"]["samples"] == 360
        assert generated["card"]["extractor"] == held_out["card"]["extractor"]
        shares.append(generated["value"] / held_out["value"])
    assert statistics.median(shares) >= 0.95, shares
