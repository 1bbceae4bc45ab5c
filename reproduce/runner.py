"""Runs what a target asks for: ``ganrun train`` as processes, two at a time and one thread each.

A finished run leaves a row in results.jsonl at once. A row holds for a target as long as its overrides are those that the
target has now; the runs themselves are resumable by ganrun, so the same command goes on with what is missing.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import os
import platform
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reproduce import reads
from reproduce.target import Target, merge

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).with_name("results.jsonl")
QUIET = ("device.threads=1", "every.sample=0", "every.checkpoint=500", "keep=1")
STOPPED = 75  # ganrun's exit code when it has saved after a signal
FINAL = (0, 3)  # done, diverged: running it again would say the same


def aloud(line: str) -> None:
    """A line on stdout, at once."""
    print(line, flush=True)


def slug(text: str) -> str:
    """A label as part of a folder's name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def key(target: Target, arm: str, seed: int) -> str:
    """What a row is for: the target, the overrides of the run, and how it is read."""
    asked = [target.name, sorted(target.overrides(arm)), seed, dict(sorted(target.reads.items()))]
    return _digest(asked)


def _digest(said: Any) -> str:
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:12]


def valid(target: Target, results: Iterable[Mapping[str, Any]]) -> dict[tuple[str, int], Mapping[str, Any]]:
    """{(arm, seed): its newest row} among the rows whose overrides the target still has."""
    rows = {row["key"]: row for row in results if row["target"] == target.name}
    found = {(arm, seed): rows.get(key(target, arm, seed)) for arm, seed in target.runs()}
    return {run: row for run, row in found.items() if row is not None}


def table(target: Target, results: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, list[float]]]:
    """{arm: {read: values over seeds}}, from the runs that finished; a run that diverged gives no value."""
    found: dict[str, dict[str, list[float]]] = {arm: {} for arm in target.arms}
    for (arm, _), row in sorted(valid(target, results).items(), key=lambda pair: pair[0][1]):
        for name in target.reads:
            value = row["values"].get(name)
            if value is not None:
                found[arm].setdefault(name, []).append(float(value))
    return found


def load(path: Path = RESULTS) -> list[dict[str, Any]]:
    """All rows, oldest first."""
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()] if path.exists() else []


def machine() -> str:
    """Processor, cores, system."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        found = re.search(r"model name\s*:\s*(.+)", info.read_text())
        name = found[1].strip() if found else name
    return f"{name}, {os.cpu_count()} cores, {platform.system()}"


def missing(target: Target, root: str | None) -> str:
    """Why the target cannot be run here; empty where it can."""
    folders = {"mnist": "MNIST/raw", "cifar10": "cifar-10-batches-py"}
    for need in target.needs:
        if need == "cuda":
            import torch

            if not torch.cuda.is_available():
                return "no CUDA device"
        elif need == "inception":
            if not Path(os.environ.get("WEIGHTS", "")).is_file():
                return "no Inception weights: make reproduce-... WEIGHTS=FILE"
        elif not (Path(root or "data") / folders[need]).is_dir():
            return f"no {need} in {'the folder that ROOT names' if root else 'data/'}: make reproduce-... ROOT=FOLDER"
    return ""


@dataclass
class Runner:
    """Runs targets, and appends a row for every finished run."""

    output: Path
    results: Path = RESULTS
    root: str | None = None  # folder with the data sets that do not ship
    parallel: int = 2
    say: Callable[[str], None] = aloud
    after: Callable[[], None] = lambda: None  # called when a row has been written

    def __post_init__(self) -> None:
        self._lock = threading.RLock()
        self._children: set[subprocess.Popen[str]] = set()
        self._over = False

    def run(self, target: Target, *, budget: float | None = None, seeds: int | None = None) -> None:
        """Run what has no row yet, until ``budget`` seconds are over; then stop what runs, which saves itself."""
        done = {run for run, row in valid(target, load(self.results)).items() if row.get("code", 0) in FINAL}
        allowed = target.seeds[:seeds]
        jobs = [(arm, seed) for arm, seed in target.runs() if (arm, seed) not in done and seed in allowed]
        if not jobs:
            self.say(f"{target.name}: all runs are there")
            return
        self._over = False
        clock = threading.Timer(target.budget if budget is None else budget, self.stop)
        clock.daemon = True
        clock.start()
        try:
            with ThreadPoolExecutor(self.parallel) as pool:
                list(pool.map(lambda job: self._one(target, *job), jobs))
        finally:
            clock.cancel()

    def stop(self) -> None:
        """Let nothing new start, and ask what runs to save and end."""
        self._over = True
        with self._lock:
            for child in self._children:
                child.send_signal(signal.SIGTERM)

    def overrides(self, target: Target, arm: str, seed: int, name: str = "") -> tuple[str, ...]:
        """Everything that is typed after ``ganrun train``."""
        device = () if "cuda" in target.needs else QUIET
        data: tuple[str, ...] = ()
        if self.root and not {"mnist", "cifar10"}.isdisjoint(target.needs):
            data = (f"dataset.root={self.root}", "dataset.download=false")
        if "inception" in target.needs:
            data += (f"evaluation.weights={Path(os.environ['WEIGHTS']).absolute()}",)
        folder = f"{target.name}-{slug(arm)}-{_digest(sorted(target.overrides(arm)))[:6]}"
        place = (f"name={name or folder}", f"output={self.output}")
        return merge(device, target.overrides(arm), data, (f"seed={seed}",), place)

    def train(self, typed: tuple[str, ...], seed: int) -> tuple[Path | None, int, str]:
        """(run folder, exit code, last words) of one run."""
        place = dict(word.split("=", 1) for word in typed)
        command = [sys.executable, "-m", "ganrun", "train", *typed]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with subprocess.Popen(
            command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as child:
            with self._lock:
                self._children.add(child)
                if self._over:
                    child.send_signal(signal.SIGTERM)
            out, error = child.communicate()
            with self._lock:
                self._children.discard(child)
        folders = list((Path(place["output"]) / place["name"]).glob(f"*-seed{seed}-*"))
        folder = max(folders, key=lambda path: path.stat().st_mtime) if folders else None
        words = (error or out).strip().splitlines()
        return folder, child.returncode, words[-1] if words else ""

    def _one(self, target: Target, arm: str, seed: int) -> None:
        if self._over:
            return
        start = time.monotonic()
        folder, code, words = self.train(self.overrides(target, arm, seed), seed)
        if code == STOPPED or (code < 0 and self._over):
            self.say(f"{target.name}: {arm}, seed {seed}: stopped at the end of the budget; run again to go on")
            return
        values: dict[str, float | None] = {}
        if code == 0 and folder is not None:
            for name, how in target.reads.items():
                try:
                    with self._lock:  # measures use torch in this process
                        value = reads.read(folder, how)
                except (ValueError, KeyError, OSError) as error:
                    self.say(f"{target.name}: {arm}, seed {seed}: {name}: {error}")
                else:
                    values[name] = float(f"{value:.6g}") if math.isfinite(value) else None
        facts = json.loads((folder / "run.json").read_text()) if folder is not None and (folder / "run.json").exists() else {}
        row = {
            "target": target.name,
            "arm": arm,
            "seed": seed,
            "key": key(target, arm, seed),
            "command": shlex.join(["ganrun", "train", *target.overrides(arm), f"seed={seed}"]),
            "values": values,
            "status": "done" if code == 0 else words[:200],
            "code": code,
            "seconds": round(facts.get("seconds", time.monotonic() - start), 1),
            "steps": facts.get("step"),
            "digest": facts.get("digest"),
            "commit": facts.get("environment", {}).get("commit"),
            "torch": facts.get("environment", {}).get("torch"),
            "machine": machine(),
            "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }
        self.append(row)
        self.say(f"{target.name}: {arm}, seed {seed}: {row['status']}  {values}  {row['seconds']} s")

    def draw(self, target: Target, folder: Path) -> None:
        """The target's picture, from the run folders of its first seed; the old one stays where a folder is gone."""
        wanted = {arm for arm, seed in valid(target, load(self.results)) if seed == target.seeds[0]}
        found = {}
        for arm in target.arms:
            place = {word.split("=", 1)[0]: word.split("=", 1)[1] for word in self.overrides(target, arm, target.seeds[0])}
            runs = list((Path(place["output"]) / place["name"]).glob(f"*-seed{target.seeds[0]}-*"))
            if runs and (runs[0] / "scores.jsonl").exists():
                found[arm] = runs[0]
        if target.draw and found and wanted <= set(found):
            from reproduce.drawings import DRAWINGS

            folder.mkdir(parents=True, exist_ok=True)
            scores = [how["score"] for how in target.reads.values() if "score" in how]
            DRAWINGS[target.draw](found, folder / f"{target.name}.png", scores)

    def append(self, row: Mapping[str, Any]) -> None:
        """One line more, whole."""
        with self._lock:
            with self.results.open("a") as file:
                file.write(json.dumps(row) + "\n")
            self.after()

    def twice(self, target: Target) -> bool:
        """Whether the first arm's first seed, run twice from nothing, ends in the same state to the last bit."""
        arm, seed = target.runs()[0]
        stamp = f"{os.getpid()}-{time.time_ns()}"
        jobs = [self.overrides(target, arm, seed, f"twice-{target.name}-{stamp}-{part}") for part in "ab"]
        with ThreadPoolExecutor(self.parallel) as pool:
            found = list(pool.map(lambda typed: self.train(typed, seed), jobs))
        digests = []
        for folder, code, words in found:
            if code or folder is None:
                raise RuntimeError(f"{target.name}: {arm}, seed {seed}: {words}")
            facts = json.loads((folder / "run.json").read_text())
            digests.append(facts["digest"])
        self.append(
            {
                "target": target.name,
                "twice": digests[0] == digests[1],
                "key": f"twice {key(target, arm, seed)}",
                "arm": arm,
                "seed": seed,
                "digest": digests[0],
                "commit": facts["environment"]["commit"],
                "machine": machine(),
            }
        )
        self.say(f"{target.name}: {arm}, seed {seed}: {digests[0]} and {digests[1]}")
        return digests[0] == digests[1]
