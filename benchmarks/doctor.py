"""How often the doctor names an injected fault, and how often it names one in a healthy run: ``make doctor``.

Each run of benchmarks/doctor.yaml is trained through the command line, and its findings are read from its looks. Rows go to
``--out``/rows.jsonl as they finish; runs that are there already are not repeated. The page's table is written between the
markers of docs/doctor.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
SPECS = ROOT / "benchmarks" / "doctor.yaml"
PAGE = ROOT / "docs" / "doctor.md"
START, END = "<!-- measured: written by make doctor -->\n", "<!-- end of measured -->\n"


def rules() -> str:
    """A hash of what decides a finding: diseases, signs, looks and these specs."""
    files = [*sorted((ROOT / "ganrun" / "diseases").glob("*.py")), *sorted((ROOT / "ganrun" / "signs").glob("*.py"))]
    files += [*sorted((ROOT / "conf" / "disease").glob("*.yaml")), ROOT / "ganrun" / "engine" / "look.py", SPECS]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]


def wilson(hits: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927)."""
    if not count:
        return 0.0, 1.0
    share, square = hits / count, z * z / count
    middle = (share + square / 2) / (1 + square)
    half = z * math.sqrt(share * (1 - share) / count + square / (4 * count)) / (1 + square)
    return max(0.0, middle - half), min(1.0, middle + half)


def run(name: str, overrides: list[str], seed: int, out: Path) -> dict[str, Any]:
    """Train one run and read what the doctor says of it."""
    folder = out / hashlib.sha256(f"{name} {seed}".encode()).hexdigest()[:10]
    words = [sys.executable, "-m", "ganrun", "train", *overrides, f"seed={seed}", f"output={folder}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    trained = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    if trained.returncode not in (0, 3):
        raise SystemExit(f"{name}: exit {trained.returncode}: {trained.stderr[-500:]}")
    (made,) = (folder / "default").iterdir() if (folder / "default").exists() else next(iter(folder.iterdir())).iterdir()
    asked = [sys.executable, "-m", "ganrun", "doctor", "--json", str(made)]
    said = subprocess.run(asked, capture_output=True, text=True, env=environment, check=False)
    (case,) = json.loads(said.stdout)
    found = case["findings"]
    head = sorted(entry["disease"] for entry in found if entry["ended"] is None and entry["explained_by"] is None)
    head += ["diverged"] if trained.returncode == 3 else []
    ever = sorted({entry["disease"] for entry in found})
    since = {entry["disease"]: entry["since"] for entry in found}
    return {"name": name, "seed": seed, "rules": rules(), "standing": head, "ever": ever, "since": since}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--out", type=Path, default=ROOT / "outputs" / "doctor")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    specs = yaml.safe_load(SPECS.read_text(encoding="utf-8"))
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / "rows.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    rows = [row for row in rows if row["rules"] == rules()]
    done = {(row["name"], row["seed"]) for row in rows}
    cases = dict(specs["healthy"])
    cases |= {name: entry["run"] for name, entry in specs["sick"].items()}
    seeds = [int(seed) for seed in given.seeds.split(",")]
    waiting = [(name, seed) for seed in seeds for name in cases if given.only in name and (name, seed) not in done]
    with ThreadPoolExecutor(given.jobs) as pool, path.open("a", encoding="utf-8") as file:
        for row in pool.map(lambda job: run(job[0], [*specs["common"], *cases[job[0]]], job[1], given.out), waiting):
            rows.append(row)
            file.write(json.dumps(row) + "\n")
            file.flush()
            print(f"{row['name']}, seed {row['seed']}: {', '.join(row['standing']) or 'nothing'}", flush=True)
    write(rows, specs, given.seeds)


def write(rows: list[dict[str, Any]], specs: dict[str, Any], seeds: str) -> None:
    """The table of the page."""
    lines = ["", "| run | seeds | named, standing at the end | right |", "|---|---|---|---|"]
    right = wrong = ever = sick = well = 0
    for kind in ("sick", "healthy"):
        for name, entry in specs[kind].items():
            mine = [row for row in rows if row["name"] == name]
            if not mine:
                continue
            accepted = set(entry["accept"]) if kind == "sick" else set()
            hits = [bool(accepted & set(row["standing"])) if kind == "sick" else not row["standing"] for row in mine]
            words = "; ".join(" + ".join(row["standing"]) or "nothing" for row in mine)
            lines.append(f"| {name} ({kind}) | {len(mine)} | {words} | {sum(hits)} of {len(mine)} |")
            if kind == "sick":
                right, sick = right + sum(hits), sick + len(mine)
            else:
                wrong, well = wrong + len(mine) - sum(hits), well + len(mine)
                ever += sum(bool(row["ever"]) for row in mine)
    if sick and well:
        low, high = wilson(right, sick)
        lowest, highest = wilson(wrong, well)
        lines[:0] = [
            "",
            f"{right} of {sick} runs with an injected fault are named rightly ({100 * right / sick:.0f} %, 95 % interval "
            f"{100 * low:.0f} to {100 * high:.0f}); {wrong} of {well} healthy runs have a standing finding "
            f"({100 * wrong / well:.0f} %, {100 * lowest:.0f} to {100 * highest:.0f}), {ever} had one at any time.",
            f"Seeds {seeds}; rules and runs {rules()}; `make doctor` (torch on one thread a run, two at a time, 2 CPU cores).",
        ]
    text = PAGE.read_text(encoding="utf-8")
    before, after = text.split(START)[0], text.split(END)[1]
    PAGE.write_text(before + START + "\n".join(lines) + "\n" + END + after, encoding="utf-8")


if __name__ == "__main__":
    main()
