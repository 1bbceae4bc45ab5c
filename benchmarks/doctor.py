"""How often the doctor names an injected fault, and how often it names one in a healthy run: ``make doctor``.

Each run of benchmarks/doctor.yaml is trained through the command line, and its looks go to ``--out``/rows.jsonl as it ends, so
that a second call goes on where the first stopped. What the looks mean is judged by the present rules when the table is
written, between the markers of docs/doctor.md.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import io
import itertools
import json
import math
import os
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from doctor_faults import FAULTS  # noqa: E402

from ganrun.cli.app import app  # noqa: E402
from ganrun.diseases import examination  # noqa: E402
from ganrun.ground import registry  # noqa: E402

SPECS = ROOT / "benchmarks" / "doctor.yaml"
PAGE = ROOT / "docs" / "doctor.md"
START, END = "<!-- measured: written by make doctor -->\n", "<!-- end of measured -->\n"
NEAR = 10  # deviations of a mode within which a sample counts for it: short runs are blurred, which is no lost mode
LISTS = {
    "tune sick": "tuning, injected",
    "tune healthy": "tuning, healthy recipes",
    "tune sweep": "tuning, sweeps",
    "judge sick": "judging, injected",
    "judge healthy": "judging, healthy recipes",
    "judge sweep": "judging, sweeps",
}
NEARBY = 0.03  # gap below which a run that failed is blurred
COVERED = 0.8  # share of the modes that a run covers which has not failed


@dataclass(frozen=True)
class Case:
    """One run to train. ``accept``: the right names, of a sick one. ``oracle``: a metric, and how many modes there are.

    ``fault``: what of doctor_faults.py is put into the process that trains it.
    """

    kind: str
    name: str
    words: Sequence[str]
    accept: frozenset[str] = frozenset()
    oracle: Mapping[str, int] = field(default_factory=dict)
    fault: str | None = None


def cases(specs: Mapping[str, Any]) -> Iterator[Case]:
    """Every run of the specs; the sweeps of ``wild`` one by one."""
    for part in ("tune", "judge"):
        for kind in ("sick", "healthy"):
            for name, entry in specs[part][kind].items():
                accept, oracle = frozenset(entry.get("accept", ())), entry.get("oracle", {})
                yield Case(f"{part} {kind}", name, entry["run"], accept, oracle, entry.get("fault"))
        for entry in specs[part]["sweeps"]:
            for values in itertools.product(*entry["sweep"].values()):
                swept = [f"{key}={value}" for key, value in zip(entry["sweep"], values, strict=True)]
                name = " ".join([word for word in entry["run"] if not word.startswith(("steps=", "model."))] + swept)
                yield Case(f"{part} sweep", name, [*entry["run"], *swept], oracle=entry["oracle"])


def order(case: Case) -> tuple[bool, str]:
    """Tuning first, and within a part by chance, so that what a short night leaves out is no choice."""
    return not case.kind.startswith("tune"), hashlib.sha256(case.name.encode()).hexdigest()


def rules() -> str:
    """A hash of what decides a finding, and of what is trained: the diseases, their thresholds, the specs."""
    files = [
        *sorted((ROOT / "ganrun" / "diseases").glob("*.py")),
        *sorted((ROOT / "conf" / "disease").glob("*.yaml")),
        SPECS,
        ROOT / "benchmarks" / "doctor_faults.py",
    ]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]


def wilson(hits: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927)."""
    if not count:
        return 0.0, 1.0
    share, square = hits / count, z * z / count
    middle = (share + square / 2) / (1 + square)
    half = z * math.sqrt(share * (1 - share) / count + square / (4 * count)) / (1 + square)
    return max(0.0, middle - half), min(1.0, middle + half)


def crops(folder: Path, count: int = 2000, size: int = 32) -> Path:
    """Crops of the two photographs that scikit-learn ships, at places that are the same each time."""
    if not folder.is_dir():
        import numpy as np
        from PIL import Image
        from sklearn.datasets import load_sample_images

        photographs, draws = load_sample_images().images, np.random.default_rng(0)
        folder.mkdir(parents=True)
        for number in range(count):
            photograph = photographs[number % len(photographs)]
            top, left = (int(draws.integers(0, length - 2 * size)) for length in photograph.shape[:2])
            crop = Image.fromarray(photograph[top : top + 2 * size, left : left + 2 * size])
            crop.resize((size, size), Image.Resampling.BOX).save(folder / f"{number:05d}.png")
    return folder


def portrait(folder: Path, count: int = 1500, size: int = 28) -> Path:
    """Grey crops of the portrait that matplotlib ships, of two sizes, at places that are the same each time."""
    if not folder.is_dir():
        import matplotlib
        import numpy as np
        from PIL import Image

        with Image.open(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg") as image:
            whole, draws = image.convert("L"), np.random.default_rng(1)
        folder.mkdir(parents=True)
        for number in range(count):
            wide = 4 * size if number % 2 else 6 * size
            left, top = (int(draws.integers(0, length - wide)) for length in whole.size)
            crop = whole.crop((left, top, left + wide, top + wide)).resize((size, size), Image.Resampling.BOX)
            crop.save(folder / f"{number:05d}.png")
    return folder


def called(*words: str) -> tuple[int, str]:
    """The exit code of ``ganrun`` with these words, and what it said; within this process, which has torch already."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        code = app(list(words), standalone_mode=False, prog_name="ganrun") or 0
    return int(code), said.getvalue()


def run(case: Case, seed: int, common: Sequence[str], out: Path) -> dict[str, Any]:
    """Train one run, one with a fault in a process of its own; its looks, how it ended, and what the oracle counted."""
    if case.fault is None:
        return trained(case, seed, common, out)
    with ProcessPoolExecutor(1, mp_context=get_context("fork"), initializer=FAULTS[case.fault]) as pool:
        return pool.submit(trained, case, seed, common, out).result()


def trained(case: Case, seed: int, common: Sequence[str], out: Path) -> dict[str, Any]:
    """Train one run in this process."""
    folder = out / hashlib.sha256(f"{case.name} {seed}".encode()).hexdigest()[:10]
    shutil.rmtree(folder, ignore_errors=True)  # of other words by the same name, or cut short
    words = [word.replace("{crops}", str(out / "crops")).replace("{portrait}", str(out / "portrait")) for word in case.words]
    asked = [f"metric={metric}" for metric in case.oracle] or ["metric=none"]
    asked += [f"metric.modes.radius={NEAR}"] if "modes" in case.oracle else []
    asked += ["evaluation.baselines=true"] if "sliced_wasserstein" in case.oracle else []
    code, said = called("train", *common, *words, *asked, f"seed={seed}", f"output={folder}")
    row: dict[str, Any] = {"name": case.name, "seed": seed, "words": list(case.words), "code": code}
    row |= {"fault": case.fault} if case.fault else {}
    if code not in (0, 3):
        return {**row, "error": said[-500:]}
    (made,) = {path.parent for path in folder.glob("*/*/config.yaml")}
    looks = made / "signs.jsonl"
    row["looks"] = [json.loads(text) for text in looks.read_text(encoding="utf-8").splitlines()] if looks.exists() else []
    for look in row["looks"]:
        look.pop("modes", None)  # a symbol for each sample, which no condition reads
    scores = made / "scores.jsonl"
    if case.oracle and scores.exists():
        line = json.loads(scores.read_text(encoding="utf-8").splitlines()[-1])
        sides = {"": line["scores"], **{f"{side} ": found for side, found in line.get("baselines", {}).items()}}
        values = {
            side + name: entry["value"] for side, found in sides.items() for name, entry in found.items() if "value" in entry
        }
        row["covered"] = covered(values, case.oracle)
    shutil.rmtree(folder)
    return row


def covered(values: Mapping[str, float], oracle: Mapping[str, int]) -> float | None:
    """The share of the modes that a run covers, by its scores: those with 20 good samples, or exp(-KL) of the classes' shares.

    A stray sample hits a class, so classes are counted by the exponential of their entropy: 8 of 10 equal ones make 0.8.
    Where no modes are known: how far it came from noise to held-out data by the sliced Wasserstein distance, of 1.
    """
    if "sliced_wasserstein" in values:
        start, end = values["noise sliced_wasserstein"], values["held_out sliced_wasserstein"]
        return (start - values["sliced_wasserstein"]) / (start - end) if start > end else None
    if "modes_20" in values:
        return values["modes_20"] / oracle["modes"]
    return math.exp(-values["class_kl"]) if "class_kl" in values else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tune-seeds", default="1000,1001")
    parser.add_argument("--seeds", default="0,1", help="of the recipes that no threshold was moved on, and of the sweeps")
    parser.add_argument("--out", type=Path, default=ROOT / "outputs" / "doctor")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default="", help="only runs whose kind or name holds one of these texts, joined by ;")
    parser.add_argument("--page", action="store_true", help="train nothing: write the page from the rows that are there")
    given = parser.parse_args()
    specs = yaml.safe_load(SPECS.read_text(encoding="utf-8"))
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / "rows.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    rows = {(row["name"], row["seed"]): row for row in rows if "looks" in row}
    known = list(cases(specs))
    chosen = [case for case in known if any(text in case.kind or text in case.name for text in given.only.split(";"))]
    waiting = [
        (case, int(seed))
        for case in sorted(chosen, key=order)
        for seed in (given.tune_seeds if case.kind.startswith("tune") else given.seeds).split(",")
        if rows.get((case.name, int(seed)), {}).get("words") != list(case.words)
        or rows[case.name, int(seed)].get("fault") != case.fault
    ]
    os.environ["OMP_NUM_THREADS"] = "1"
    if waiting and not given.page:
        crops(given.out / "crops")
        portrait(given.out / "portrait")
        with ProcessPoolExecutor(given.jobs) as pool, path.open("a", encoding="utf-8") as file:
            for row in pool.map(functools.partial(run, common=specs["common"], out=given.out), *zip(*waiting, strict=True)):
                rows[row["name"], row["seed"]] = row
                file.write(json.dumps(row) + "\n")
                file.flush()
                said = row["error"] if "error" in row else ", ".join(judge(row)[0]) or "nothing"
                print(f"{row['name']}, seed {row['seed']}: {said}", flush=True)
    write(known, [row for row in rows.values() if "looks" in row])


def judge(row: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """(what stands at the end and nothing explains, what stood at any time), by the present rules."""
    diseases = {name: registry.build("disease", {"name": name}) for name in registry.names("disease")}
    found = examination.examine(row["looks"], diseases)
    diverged = ["diverged"] if row["code"] == 3 else []
    return [entry.disease for entry in examination.headlines(found)] + diverged, [entry.disease for entry in found] + diverged


def share(hits: int, count: int) -> str:
    """``9 of 10 (90 %, 95 % interval 60 to 98)``."""
    low, high = wilson(hits, count)
    percent = 100 * hits / count if count else 0.0
    return f"{hits} of {count} ({percent:.0f} %, 95 % interval {100 * low:.0f} to {100 * high:.0f})"


def failed(row: Mapping[str, Any]) -> bool:
    """Whether the oracle says that the run failed."""
    return row["code"] == 3 or (row.get("covered") is not None and row["covered"] < COVERED)


def blurred(row: Mapping[str, Any]) -> bool:
    """Whether a run that failed has its samples near the data all the same, as a ring without its modes is."""
    return row["code"] != 3 and median(look["gap"] for look in row["looks"][-3:]) < NEARBY


def write(known: Sequence[Case], rows: Sequence[Mapping[str, Any]]) -> None:
    """The tables of the page: what each list came to, natural failures, then run by run."""
    lines, details = ["", "| list | runs | what is counted | |", "|---|---|---|---|"], []
    natural: list[Mapping[str, Any]] = []
    judged = {(row["name"], row["seed"]): judge(row) for row in rows}
    for kind in dict.fromkeys(case.kind for case in known):
        accept = {case.name: case.accept for case in known if case.kind == kind}
        done = [row for row in rows if row["name"] in accept]
        sick = kind.endswith("sick")
        counted = done if sick else [row for row in done if not failed(row)]
        natural += [] if sick else [row for row in done if failed(row)]
        standing = [(row, *judged[row["name"], row["seed"]]) for row in counted]
        if sick:
            hits = sum(bool(accept[row["name"]] & set(now)) for row, now, _ in standing)
            live = sum(bool(accept[row["name"]] & set(past)) for row, _, past in standing)
            words = f"named rightly, standing at the end; {live} at any time"
        else:
            ever = sum(bool(past) for _, _, past in standing)
            words, hits = f"with a standing finding; {ever} had one at any time", sum(bool(now) for _, now, _ in standing)
        lines.append(f"| {LISTS[kind]} | {len(counted)} of {len(done)} | {words} | {share(hits, len(counted))} |")
        for name in accept if not kind.endswith("sweep") else ():
            mine = [row for row in done if row["name"] == name]
            said = [_said(row, judged) + (" (failed)" if not sick and failed(row) else "") for row in mine]
            if mine:
                details.append(f"| {LISTS[kind]} | {name} | {', '.join(str(row['seed']) for row in mine)} | {'; '.join(said)} |")
    for words, mine in (
        ("natural failures, far from the data", [row for row in natural if not blurred(row)]),
        ("natural failures, blurred", [row for row in natural if blurred(row)]),
    ):
        caught = sum(bool(judged[row["name"], row["seed"]][0]) for row in mine)
        live = sum(bool(judged[row["name"], row["seed"]][1]) for row in mine)
        said = f"with a standing finding; {live} had one at any time"
        lines.append(f"| {words} | {len(mine)} | {said} | {share(caught, len(mine))} |")
    lines += ["", "| natural failure | seed | modes covered | `gap` | named |", "|---|---|---|---|---|"]
    for row in natural:
        much = "diverged" if row["code"] == 3 else f"{100 * row['covered']:.0f} %"
        near = row["looks"][-1].get("gap", math.nan) if row["looks"] else math.nan
        lines.append(f"| {row['name']} | {row['seed']} | {much} | {near:.3f} | {_said(row, judged)} |")
    lines += ["", "| list | run | seeds | named, standing at the end |", "|---|---|---|---|", *details]
    machine = f"{os.cpu_count()} CPU cores, {platform.machine()}"
    head = f"{len(rows)} runs; rules and runs {rules()}; `make doctor`, one thread a run, {machine}."
    text = PAGE.read_text(encoding="utf-8")
    before, after = text.split(START)[0], text.split(END)[1]
    PAGE.write_text("\n".join([before + START, head, *lines, END + after]), encoding="utf-8")


def _said(row: Mapping[str, Any], judged: Mapping[tuple[str, int], tuple[list[str], list[str]]]) -> str:
    return " + ".join(judged[row["name"], row["seed"]][0]) or "nothing"


if __name__ == "__main__":
    main()
