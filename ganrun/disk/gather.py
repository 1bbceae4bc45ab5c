"""Runs as people name them: run folders, checkpoints, folders of runs, patterns with ``*`` and ``?``."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ganrun.disk import runs
from ganrun.ground.errors import BadInput, nearest

MARKS = ("config.yaml", "run.json", "checkpoints")  # two of them make a run folder: one may be lost
ASIDE = re.compile(r".+\.aside-\d+")


@dataclass
class Gathered:
    """Run folders and checkpoints, each once, in the order named. ``named``: those that were named themselves.

    ``aside``: run folders below a named one that ``fresh=true`` set aside; they are not among the targets.
    """

    targets: list[Path] = field(default_factory=list)
    named: set[Path] = field(default_factory=set)
    aside: list[Path] = field(default_factory=list)


def below(above: Path) -> list[Path]:
    """The run folders at or below ``above``, sorted."""
    return survey(above)[0]


def survey(above: Path) -> tuple[list[Path], list[str]]:
    """(run folders at or below ``above``, sorted; the topmost folders without one, each with why).

    Hidden folders, links and empty folders are passed over, and so is what lies inside a run.
    """
    found: list[Path] = []
    others: list[str] = []

    def visit(folder: Path) -> str | None:
        """Why ``folder`` holds no run; None where it does, "" where it holds nothing."""
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            return f"cannot be read ({error.strerror})"
        if is_run({entry.name for entry in entries}):
            found.append(folder)
            return None
        inner = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")]
        said = {name: visit(folder / name) for name in inner}
        if any(why is None for why in said.values()):
            others.extend(f"{folder / name}: {why}" for name, why in said.items() if why)
            return None
        return next(filter(None, said.values()), "no run folder" if len(entries) > len(inner) else "")

    why = visit(above)
    return sorted(found), [f"{above}: {why}"] if why else sorted(others)


def is_run(names: set[str]) -> bool:
    """Whether a folder with entries of these names is a run folder, which may be damaged."""
    return sum(mark in names for mark in MARKS) > 1


def gather(words: Sequence[str]) -> Gathered:
    """What ``words`` mean. ``BadInput`` names all that mean no run."""
    found, mistakes = Gathered(), []
    for word in words:
        try:
            _add(word, found)
        except BadInput as error:
            mistakes.append(str(error))
    if mistakes:
        raise BadInput("\n".join(mistakes))
    return found


def _add(word: str, found: Gathered) -> None:
    path = runs.place(word)
    if path.exists():
        places = [path]
    elif any(mark in word for mark in "*?["):
        places = [Path(text) for text in sorted(glob.glob(str(path), recursive=True))]
        places = [place for place in places if place.is_dir() or runs.CHECKPOINT.fullmatch(place.name)]
        if not places:
            raise BadInput(f"{word}: no run folder and no checkpoint fits this pattern")
    else:
        known = [entry.name for entry in path.parent.glob("[!.]*")] if path.parent.is_dir() else []
        close = [str(Path(word).parent / name) for name in nearest(path.name, known)]
        raise BadInput(
            f"{word}: there is no such folder or checkpoint" + (f". Did you mean {' or '.join(close)}?" if close else "")
        )
    before = len(found.targets) + len(found.aside)
    for place in places:
        if place.is_file() or is_run({entry.name for entry in place.iterdir()}):
            _keep(runs.locate(place)[1], found, named=True)
            continue
        if place.parent.name == ".sweep":  # what Hydra keeps of a sweep; its runs lie in the folder of the same name
            place = place.parent.parent / place.name
        inside = below(place)
        for run in [run for run in inside if not ASIDE.fullmatch(run.name)]:
            _keep(run.absolute(), found, named=False)
        found.aside += [run for run in inside if ASIDE.fullmatch(run.name)]
    if not places or (len(found.targets) + len(found.aside) == before and not any(_is_known(place, found) for place in places)):
        raise BadInput(f"{word}: holds no run folder")


def _keep(target: Path, found: Gathered, *, named: bool) -> None:
    known = {entry.resolve() for entry in found.targets}
    if target.resolve() not in known:
        found.targets.append(target)
    if named:
        found.named.add(target)


def _is_known(place: Path, found: Gathered) -> bool:
    """Whether a target that is there already lies at or below ``place``."""
    return any(target.resolve().is_relative_to(place.resolve()) for target in found.targets)
