"""What ``ganrun report`` does: read, draw, write."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from ganrun.cli import complete
from ganrun.cli.report import exhibited, held, moving, page, run_page, several_page
from ganrun.disk import runs
from ganrun.ground.errors import BadInput
from ganrun.ground.spell import shown

NAME = "report.html"


def report(
    words: Sequence[str],
    *,
    out: Path | None = None,
    gif: Path | None = None,
    files_only: bool = False,
    reference: str | None = None,
    config_dir: Path | None = None,
) -> Iterator[Path]:
    """Write the page of the runs among ``words``, and the moving picture; where they are. Overrides: for what is drawn anew."""
    paths = [word for word in words if runs.is_meant(word)]
    overrides = [word for word in words if not runs.is_meant(word)]
    allowed = complete.ALLOWED["report"]
    wrong = [f"{text}: ganrun report takes {', '.join(allowed)}" for text in overrides if not complete.is_allowed(text, allowed)]
    if not paths and not wrong:
        wrong.append("PATH: name a run folder, or a folder of runs")
    if wrong:
        raise BadInput("\n".join(wrong))
    folders = held.under(paths)
    several = len(folders) > 1
    if gif is not None and several:
        raise BadInput(f"--gif {gif}: is of one run, and {' '.join(paths)} is {len(folders)}")
    if reference is not None and not several:
        raise BadInput(f"--reference {reference}: is for several runs")
    place = out or (runs.place(paths[0]) if len(paths) == 1 else Path()) / NAME
    page.demand_ours(place, page.MARK.encode())
    if gif is not None:
        moving.demand_ours(gif)
    if several:
        text = several_page.written(paths, [held.read(folder) for folder in folders], reference)
    else:
        found = held.read(folders[0])
        for note in found.notes:
            sys.stderr.write(f"note: {note}\n")
        text = run_page.written(found, exhibited.exhibited(found, overrides, config_dir, files_only=files_only))
    page.write(place, text)
    yield shown(place)
    if gif is not None:
        moving.write(held.read(folders[0]), gif)
        yield shown(gif)
