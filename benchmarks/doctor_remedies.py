"""Whether the doctor's remedies help, in paired forks: ``make doctor-remedies``.

For each disease of ``remedies`` in benchmarks/doctor.yaml and each seed a sick run is trained through the command line, and
``ganrun doctor RUN --try`` forks it. Outcomes go to ``--out``/remedies.jsonl as they come; pairs that are there are not repeated.
The table stands in docs/doctor.md, and in ganrun/diseases/records.json for the words of ``ganrun doctor``.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from doctor import PAGE, ROOT, SPECS, called, share

RECORDS = ROOT / "ganrun" / "diseases" / "records.json"
START, END = "<!-- remedies: written by make doctor-remedies -->\n", "<!-- end of remedies -->\n"
STEPS = 300


def pair(disease: str, words: Sequence[str], seed: int, out: Path) -> dict[str, Any]:
    """What became of the forks of one sick run; no arm where the disease was not named."""
    folder = out / f"{disease}-{seed}"
    row = {"disease": disease, "seed": seed, "words": list(words)}
    common = ["metric=none", "device.threads=1", "doctor.every=25", "every.sample=0", "every.checkpoint=50", "keep=1"]
    code, said = called("train", *common, *words, f"seed={seed}", f"output={folder}")
    if code not in (0, 3):
        return {**row, "error": said[-500:]}
    (run,) = {path.parent for path in folder.glob("default/*/config.yaml") if not path.parent.name.endswith("-try")}
    code, said = called("doctor", "--json", "--try", "--steps", str(STEPS), str(run), "device.threads=1")
    if code not in (0, 7):
        return {**row, "error": said[-500:]}
    (case,) = json.loads(said[said.index("[\n  {") :])
    standing = [entry for entry in case["findings"] if entry["ended"] is None and entry["disease"] == disease]
    why = {tuple(remedy["overrides"]): remedy["why"] for entry in standing for remedy in entry["remedies"]}
    trials = [trial for trial in case["trials"] if trial["disease"] == disease]
    arms = [{**arm, "why": why.get(tuple(arm["overrides"]), "")} for trial in trials for arm in trial["arms"]]
    return {**row, "outcome": trials[0]["outcome"] if trials else None, "arms": arms}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="20,21,22,23,24")
    parser.add_argument("--out", type=Path, default=ROOT / "outputs" / "doctor")
    parser.add_argument("--only", default="")
    parser.add_argument("--page", action="store_true", help="train nothing: write the table from the pairs that are there")
    given = parser.parse_args()
    specs = yaml.safe_load(SPECS.read_text(encoding="utf-8"))["remedies"]
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / "remedies.jsonl"
    held = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    rows = {(row["disease"], row["seed"]): row for row in held if "error" not in row}
    os.environ["OMP_NUM_THREADS"] = "1"
    seeds = [int(seed) for seed in given.seeds.split(",")]
    waiting = [(name, words, seed) for seed in seeds for name, words in specs.items() if given.only in name]
    for name, words, seed in [] if given.page else waiting:
        if rows.get((name, seed), {}).get("words") == list(words):
            continue
        row = pair(name, words, seed, given.out / "remedies")
        rows[name, seed] = row
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        said = row.get("error") or "; ".join(f"{arm['value']} {arm['verdict'] or 'unchanged'}" for arm in row["arms"])
        print(f"{name}, seed {seed}: {said or 'not named'}", flush=True)
    write([row for row in rows.values() if row["disease"] in specs and "error" not in row], specs)


def write(rows: Iterable[Mapping[str, Any]], specs: Mapping[str, Sequence[str]]) -> None:
    """The table of the page, and the records that ``ganrun doctor`` quotes."""
    lines = [
        "| disease and run | remedy | outcome, unchanged -> with it, by seed | helps | helps or better |",
        "|---|---|---|---|---|",
    ]
    records: dict[str, dict[str, str]] = {}
    rows = sorted(rows, key=lambda row: (list(specs).index(row["disease"]), row["seed"]))
    for disease, words in specs.items():
        tried: dict[str, list[tuple[Any, Any, str, list[str]]]] = {}
        mine = [row for row in rows if row["disease"] == disease]
        for row in mine:
            base, *arms = row["arms"] or [None]
            for arm in arms:
                tried.setdefault(arm["why"], []).append((base["value"], arm["value"], arm["verdict"], arm["overrides"]))
        unnamed = sum(not row["arms"] for row in mine)
        for why, pairs in tried.items():
            helps = sum(verdict == "helps" for *_, verdict, _ in pairs)
            better = sum(verdict in ("helps", "better") for *_, verdict, _ in pairs)
            values = ", ".join(f"{_number(base)} -> {_number(value)}" for base, value, *_ in pairs)
            overrides = f"`{' '.join(pairs[0][3])}`: {why}"
            counts = f"{helps} of {len(pairs)} | {share(better, len(pairs))}"
            lines.append(f"| {disease} (`{' '.join(words)}`) | {overrides} | {values} | {counts} |")
            said = f"in {helps} of {len(pairs)} paired forks on {_data(words)} it was gone, with a better {mine[0]['outcome']}"
            records.setdefault(disease, {})[why] = said
        if unnamed:
            lines.append(
                f"| {disease} (`{' '.join(words)}`) | | not named, so nothing was tried, on {unnamed} of {len(mine)} seeds | | |"
            )
    RECORDS.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
    text = PAGE.read_text(encoding="utf-8")
    before, after = text.split(START)[0], text.split(END)[1]
    PAGE.write_text("\n".join([before + START, *lines, "", END + after]), encoding="utf-8")


def _number(value: float | None) -> str:
    return "diverged" if value is None else f"{value:.3g}"


def _data(words: Sequence[str]) -> str:
    return next(word.partition("=")[2] for word in words if word.startswith(("dataset=", "experiment=")))


if __name__ == "__main__":
    main()
