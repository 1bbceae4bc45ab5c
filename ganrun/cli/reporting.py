"""``ganrun report``: what it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ganrun.cli.arguments import ConfigDir, Reference, answering, file_option, out_option, runs_argument


def report(
    paths: Annotated[
        list[str],
        runs_argument(
            "PATH", "Run folders, or folders of runs. Overrides, for what is drawn anew: device, plugins, dataset.root."
        ),
    ],
    out: Annotated[
        Path | None, out_option("FILE", "Where the page goes; by default report.html in PATH, of several in the current folder.")
    ] = None,
    gif: Annotated[
        Path | None, file_option("--gif", "FILE", "Of one run: its pictures over training as a moving one, too.")
    ] = None,
    files_only: Annotated[
        bool,
        typer.Option("--files-only", help="Show what lies in the folder alone: no checkpoint is loaded, nothing is generated."),
    ] = False,
    reference: Reference = None,
    config_dir: ConfigDir = None,
) -> None:
    """Write one page that shows a run, a sweep or several runs: curves, pictures, scores, findings, and what to type next.

    It opens from disk, without a network, also while the run trains. Prints where it is.
    """
    with answering():
        from ganrun.cli.report import command

        for path in command.report(paths, out=out, gif=gif, files_only=files_only, reference=reference, config_dir=config_dir):
            typer.echo(path)
