"""Runs what a target asks for: ``ganrun train`` as processes, two at a time and one thread each.

A finished run leaves a row in results.jsonl at once. A row counts for a target as long as the target is frozen as it was
then; the runs themselves are resumable by ganrun, so the same command goes on with what is missing.
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
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from reproduce import reads, verdicts
from reproduce.target import TUNING, Target, merge

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).with_name("results.jsonl")
TUNED = Path(__file__).with_name("tuning.jsonl")
QUIET = ("device.threads=1", "every.sample=0", "every.checkpoint=500", "keep=1")
STOPPED = 75  # ganrun's exit code when it has saved after a signal
FINAL = (0, 3)  # done, diverged: running it again would say the same


def aloud(line: str) -> None:
    """A line on stdout, at once."""
    print(line, flush=True)


def slug(text: str) -> str:
    """A label as part of a folder's name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _digest(said: Any) -> str:
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:12]


def valid(target: Target, results: Iterable[Mapping[str, Any]]) -> dict[tuple[str, int], Mapping[str, Any]]:
    """{(arm, seed): its first row} among the rows of the target as it is now. The first, so that a run that was repeated
    cannot replace a result that somebody did not like; ``FINAL`` ones alone, as others have no result.
    """
    held: dict[tuple[str, int], Mapping[str, Any]] = {}
    for row in results:
        if row["target"] == target.name and row.get("frozen") == target.frozen and row.get("code") in FINAL:
            held.setdefault((row["arm"], row["seed"]), row)
    return held


def stale(target: Target, results: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Rows of the target as it was at other times. They are shown, and count for nothing."""
    return [row for row in results if row["target"] == target.name and row.get("frozen") != target.frozen and "values" in row]


def table(target: Target, results: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, dict[int, float]]]:
    """{arm: {read: {seed: value}}}; nan where the run diverged or its value could not be read."""
    held: dict[str, dict[str, dict[int, float]]] = {arm: {} for arm in target.arms}
    for (arm, seed), row in valid(target, results).items():
        for name in target.reads:
            value = row["values"].get(name)
            held[arm].setdefault(name, {})[seed] = math.nan if value is None else float(value)
    return held


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


def images(folder: Path | None, facts: Mapping[str, Any]) -> int | None:
    """Real samples that the discriminator was shown: steps x updates of D a step x batch."""
    if folder is None or not (folder / "config.yaml").exists():
        return None
    config = yaml.safe_load((folder / "config.yaml").read_text())
    critic = config.get("game", {}).get("n_critic") or config.get("n_critic") or 1
    return int(facts.get("step") or 0) * int(critic) * int(config["batch_size"])


@dataclass
class Runner:
    """Runs targets, and appends a row for every finished run."""

    output: Path
    results: Path = RESULTS
    tuning: Path = TUNED
    root: str | None = None  # folder with the data sets that do not ship
    parallel: int = 2
    say: Callable[[str], None] = aloud
    after: Callable[[], None] = lambda: None  # called when a row has been written

    def __post_init__(self) -> None:
        self._lock = threading.RLock()
        self._children: set[subprocess.Popen[str]] = set()
        self._over = False

    def run(self, target: Target, *, budget: float | None = None, looks: int | None = None) -> None:
        """Run what the next look needs, look by look, until the target is decided or its looks (the first ``looks``) are over.

        After ``budget`` seconds what runs is stopped, and saves itself. A run that failed is tried once more with each call.
        """
        most = target.looks[: looks or None][-1]
        self._over = False
        clock = threading.Timer(target.budget if budget is None else budget, self.stop)
        clock.daemon = True
        clock.start()
        tried: set[tuple[str, int]] = set()
        try:
            while not self._over:
                due = verdicts.due(target, table(target, load(self.results)))
                jobs = [run for run in due if run[1] < most and run not in tried]
                if not jobs:
                    break
                tried.update(jobs)
                with ThreadPoolExecutor(self.parallel) as pool:
                    list(pool.map(lambda job: self._one(target, *job), jobs))
        finally:
            clock.cancel()
        if not tried:
            self.say(f"{target.name}: all runs are there")

    def tune(self, target: Target, words: Sequence[str], seeds: Iterable[int], arms: Sequence[str] = ()) -> None:
        """Runs that find settings: further overrides of the arms, on seeds that judge nothing. Rows go to ``tuning.jsonl``."""
        tried = Target(
            **{
                **vars(target),
                "arms": {a: shlex.join(merge(t, words)) for a, t in target.arms.items() if not arms or a in arms},
                "checks": [],
            }
        )
        jobs = [(arm, seed) for seed in seeds for arm in tried.arms]
        if low := [seed for _, seed in jobs if seed < TUNING]:
            raise ValueError(f"seed {low[0]} is one of those that judge; settings are found on seeds from {TUNING} on")
        with ThreadPoolExecutor(self.parallel) as pool:
            list(pool.map(lambda job: self._one(tried, job[0], job[1], self.tuning), jobs))

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

    def _one(self, target: Target, arm: str, seed: int, place: Path | None = None) -> None:
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
            "frozen": target.frozen,
            "command": shlex.join(["ganrun", "train", *target.overrides(arm), f"seed={seed}"]),
            "values": values,
            "status": "done" if code == 0 else words[:200],
            "code": code,
            "seconds": round(facts.get("seconds", time.monotonic() - start), 1),
            "steps": facts.get("step"),
            "images": images(folder, facts),
            "digest": facts.get("digest"),
            "commit": facts.get("environment", {}).get("commit"),
            "torch": facts.get("environment", {}).get("torch"),
            "machine": machine(),
            "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }
        self.append(row, place)
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
            for old in folder.glob(f"{target.name}-{'[0-9a-f]' * len(target.frozen)}.png"):
                old.unlink()
            DRAWINGS[target.draw](found, folder / target.picture, scores)

    def append(self, row: Mapping[str, Any], place: Path | None = None) -> None:
        """One line more, whole."""
        with self._lock:
            with (place or self.results).open("a") as file:
                file.write(json.dumps(row) + "\n")
            self.after()

    def again(self, target: Target) -> bool | None:
        """Train the first run that a row is of once more, from nothing: whether it ends in the row's state to the last bit.

        Nothing where there is no row yet. On another machine, torch or processor bits may differ; the row says where each was.
        """
        rows = sorted(valid(target, load(self.results)).items(), key=lambda pair: pair[1]["seconds"])
        if not rows:
            self.say(f"{target.name}: no run is there to be repeated")
            return None
        (arm, seed), row = rows[0]
        stamp = f"again-{target.name}-{os.getpid()}-{time.time_ns()}"
        folder, code, words = self.train(self.overrides(target, arm, seed, stamp), seed)
        if code != row["code"] or folder is None:
            raise RuntimeError(f"{target.name}: {arm}, seed {seed}: {words}")
        facts = json.loads((folder / "run.json").read_text())
        same = facts["digest"] == row["digest"]
        self.append(
            {
                "target": target.name,
                "frozen": target.frozen,
                "again": same,
                "arm": arm,
                "seed": seed,
                "digest": facts["digest"],
                "commit": facts["environment"]["commit"],
                "torch": facts["environment"]["torch"],
                "machine": machine(),
                "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            }
        )
        where = "" if row["machine"] == machine() else f" (the row is of {row['machine']})"
        self.say(f"{target.name}: {arm}, seed {seed}: {row['digest'][:12]} and {facts['digest'][:12]}{where}")
        return same
