"""Plants the faults of tests/mutations.yaml one by one and shows that a test fails for each: ``make mutate``.

An entry names a symbol, a piece of it, what it becomes, and the tests that must notice (scripts/planted.py). Every fault is
planted in a copy of its own, so the checkout is never touched. Exit code 1 if a fault goes unnoticed or does not apply any
more, 2 if no entry is meant.

    python scripts/mutate.py [WORD ...]      only the entries whose name or file holds one of the words
    python scripts/mutate.py --pin           rewrite entries with `file:` and pieces of its text, the easy way to add one
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml
from planted import NotPlanted, pin, plant
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
LIST = ROOT / "tests" / "mutations.yaml"
COPIED = ("ganrun", "conf", "tests", "pyproject.toml", "README.md", "LICENSE")
PARALLEL = 2


def planted(fault: dict[str, Any], folder: Path) -> str:
    """Make a copy of the project in ``folder`` with the fault in it; a word on why that cannot be done, or nothing."""
    for name in COPIED:
        source = ROOT / name
        ignore = shutil.ignore_patterns("__pycache__")
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=ignore)
        else:
            shutil.copy(source, folder / name)
    try:
        path, text = plant(pin(fault, folder) if "file" in fault else fault, folder)
    except NotPlanted as error:
        return str(error)
    (folder / path).write_text(text, encoding="utf-8")
    return ""


def place(fault: dict[str, Any]) -> str:
    return str(fault.get("symbol") or fault["file"])


def rewrite() -> None:
    """Give every entry a symbol in place of a file."""
    head = "".join(line for line in LIST.read_text(encoding="utf-8").splitlines(keepends=True) if line.startswith("#"))
    faults = [pin(fault) if "file" in fault else fault for fault in yaml.safe_load(LIST.read_text(encoding="utf-8"))]
    LIST.write_text(head + yaml.safe_dump(faults, sort_keys=False, width=130, allow_unicode=True), encoding="utf-8")


def verdict(fault: dict[str, Any]) -> str:
    """ "caught", or what went wrong."""
    with tempfile.TemporaryDirectory(prefix="mutate-") as name:
        folder = Path(name)
        wrong = planted(fault, folder)
        if wrong:
            return wrong
        tests = fault["tests"] if isinstance(fault["tests"], list) else [fault["tests"]]
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
        environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode == 1:
            return "caught"
        return "survived" if done.returncode == 0 else f"pytest gave {done.returncode}: {done.stdout[-300:]}{done.stderr[-300:]}"


def main(words: list[str]) -> int:
    if words == ["--pin"]:
        rewrite()
        return 0
    faults = yaml.safe_load(LIST.read_text(encoding="utf-8"))
    faults = [entry for entry in faults if not words or any(word in entry["name"] + place(entry) for word in words)]
    if not faults:
        print(f"no planted fault whose name or file holds {' or '.join(words)}", file=sys.stderr)
        return 2
    verdicts = []
    with ThreadPoolExecutor(PARALLEL) as pool:
        for fault, found in zip(faults, pool.map(verdict, faults), strict=True):
            print(f"{found.splitlines()[0]:9} {fault['name']}", flush=True)
            verdicts.append(found)
    table = Table("fault", "place", "verdict")
    for fault, found in zip(faults, verdicts, strict=True):
        table.add_row(fault["name"], place(fault), found)
    caught = verdicts.count("caught")
    console = Console(width=150)
    console.print(table)
    console.print(f"{caught} of {len(faults)} planted faults caught")
    return 0 if caught == len(faults) else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
