"""Trains every technique of benchmarks/techniques.yaml at toy scale and writes what was seen to docs/measured.yaml.

    python benchmarks/techniques.py [WORD ...]     all, or those whose name holds one of the words

Two runs at a time, one thread each, in outputs/measured; a finished run is not run again. Sentences are made from the
scores; the last picture of each run goes to a contact sheet beside them. What fails is written as failed.
"""

from __future__ import annotations

import datetime
import json
import math
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
import yaml
from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parent.parent
RUNS, SEEN = ROOT / "benchmarks" / "techniques.yaml", ROOT / "docs" / "measured.yaml"
OUTPUT = ROOT / "outputs" / "measured"
PARALLEL = 2
COMMON = ("device.threads=1", "every.log=500", "every.sample=0", "every.checkpoint=0", "keep=1")


def command(entry: dict[str, str], bases: dict[str, str]) -> list[str]:
    """The overrides of one run: the base's, then its own; a later one of the same key wins."""
    words = [*shlex.split(bases[entry["base"]]), *shlex.split(entry["add"])]
    return list({word.split("=")[0]: word for word in words}.values())


def run(name: str, overrides: list[str]) -> dict[str, Any]:
    """Train, or find it trained; scores, seconds and the last picture."""
    line = ["ganrun", "train", *overrides]
    program = str(Path(sys.executable).with_name("ganrun"))
    place = name.replace("=", "-")
    done = subprocess.run(
        [program, "train", *overrides, *COMMON, f"output={OUTPUT}", f"name={place}"],
        capture_output=True,
        text=True,
        check=False,
        env={**__import__("os").environ, "OMP_NUM_THREADS": "1"},
    )
    found: dict[str, Any] = {"command": shlex.join(line)}
    if done.returncode:
        return {**found, "failed": (done.stderr or done.stdout).strip().splitlines()[-1][:300], "code": done.returncode}
    folder = max((OUTPUT / place).iterdir(), key=lambda path: path.stat().st_mtime)
    scores = json.loads((folder / "scores.jsonl").read_text().splitlines()[-1])["scores"]
    facts = json.loads((folder / "run.json").read_text())
    values = {key: float(f"{entry['value']:.4g}") for key, entry in scores.items() if entry["value"] is not None}
    picture = sorted((folder / "samples").glob("step_*.png"))[-1]
    return {
        **found,
        "scores": values,
        "seconds": round(facts["seconds"]),
        "digest": facts["digest"][:12],
        "picture": str(picture),
    }


def sentence(found: dict[str, Any], overrides: list[str]) -> str:
    """What was seen, in words and figures."""
    if "failed" in found:
        return f"failed: {found['failed']}"
    values, steps = found["scores"], next(word.split("=")[1] for word in overrides if word.startswith("steps="))
    data = next(word.split("=")[1] for word in overrides if word.startswith("dataset="))
    start = f"{data}, {steps} steps"
    if "modes" in values:
        return f"{start}: {values['modes']:.0f} of 8 modes, {values['high_quality']:.0%} of samples within 3 std of one"
    if "ngrams_4" in values:
        said = f"4-grams {values['ngrams_4']:.2f} nats from the data's (at most {math.log(2):.2f})"
        return f"{start}: {said}, {values['distinct']:.0%} of the rows distinct"
    shown = ", ".join(f"{key.upper() if len(key) < 4 else key.replace('_', ' ')} {value:g}" for key, value in values.items())
    return f"{start}: {shown}"


def contact_sheet(pictures: dict[str, str], path: Path, columns: int = 6, size: int = 220) -> None:
    rows = math.ceil(len(pictures) / columns)
    sheet = Image.new("RGB", (columns * size, rows * (size + 16)), "white")
    pen = ImageDraw.Draw(sheet)
    for index, (name, picture) in enumerate(pictures.items()):
        left, top = index % columns * size, index // columns * (size + 16)
        image = Image.open(picture).convert("RGB")
        image.thumbnail((size - 6, size - 6))
        sheet.paste(image, (left + 3, top + 14))
        pen.text((left + 3, top + 1), name[-34:], fill="black")
    sheet.save(path)


def main(words: list[str]) -> None:
    listed = yaml.safe_load(RUNS.read_text(encoding="utf-8"))
    entries = {**listed["runs"], **listed["parts"]}
    chosen = {
        name: command(entry, listed["bases"]) for name, entry in entries.items() if not words or any(w in name for w in words)
    }
    held = yaml.safe_load(SEEN.read_text(encoding="utf-8")) if SEEN.exists() else {}
    seen: dict[str, Any] = dict(held.get("seen", {}))
    with ThreadPoolExecutor(PARALLEL) as pool:
        jobs = {name: pool.submit(run, name, overrides) for name, overrides in chosen.items()}
        for name, job in jobs.items():
            found = job.result()
            seen[name] = {**found, "sentence": sentence(found, chosen[name])}
            print(f"{name}: {seen[name]['sentence']}", flush=True)
            write(seen, held.get("about", {}) if words else {})
    OUTPUT.mkdir(parents=True, exist_ok=True)
    pictures = {name: entry["picture"] for name, entry in seen.items() if "picture" in entry and Path(entry["picture"]).exists()}
    for start in range(0, len(pictures), 24):
        contact_sheet(dict(list(pictures.items())[start : start + 24]), OUTPUT / f"contact_{start // 24}.png")


def write(seen: dict[str, Any], about: Mapping[str, str]) -> None:
    """``about``: what the file says of earlier runs, which stays true of them."""
    now = {
        "machine": f"{platform.machine()}, 2 cores, torch {torch.__version__.split('+')[0]}",
        "date": datetime.date.today().isoformat(),
    }
    about = {
        "what": "one run each, seed 0, one thread, the settings of benchmarks/techniques.yaml",
        **{key: " or ".join(dict.fromkeys([*about.get(key, said).split(" or "), said])) for key, said in now.items()},
    }
    plain = {name: {key: value for key, value in entry.items() if key != "picture"} for name, entry in sorted(seen.items())}
    SEEN.write_text(yaml.safe_dump({"about": about, "seen": plain}, sort_keys=False, width=130), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
