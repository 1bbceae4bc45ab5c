"""``ganrun doctor`` and ``ganrun replay``: what they take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ganrun.cli import complete
from ganrun.cli.arguments import Overrides, answering, out_option
from ganrun.ground.errors import BadInput


def doctor(
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN",
            help="Run folders, or checkpoints of them. Overrides, for what trains or looks anew: device, plugins, dataset.root.",
            autocompletion=complete.at(complete.run_folders),
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Everything as JSON, on stdout.")] = False,
    attempt: Annotated[
        bool, typer.Option("--try", help="Fork from before each onset, unchanged and with the first two remedies, and compare.")
    ] = False,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="With --try: steps of each fork.")] = None,
    looks: Annotated[bool, typer.Option("--looks", help="Look at the kept checkpoints of a run without looks.")] = False,
    deep: Annotated[
        bool, typer.Option("--deep", help="Score the last checkpoint with 10000 samples: modes, repeats, memory, both players.")
    ] = False,
    out: Annotated[
        Path | None,
        out_option("DIR", "With --try: where forks go; by default RUN-try."),
    ] = None,
) -> None:
    """Say what is wrong with a run, since when, and what may help, from the looks that were taken while it trained.

    Ends with 7 if something stands, else with 0.
    """
    with answering():
        from rich.console import Console

        from ganrun.cli import diagnosis
        from ganrun.disk import signals

        if not attempt and (steps is not None or out is not None):
            raise BadInput(f"{'--steps' if steps is not None else '--out'}: goes with --try")
        if attempt:
            signals.install()  # a fork that is stopped is saved, as any run is
        asked = diagnosis.Asked(as_json=as_json, attempt=attempt, steps=steps, out=out, looks=looks, deep=deep)
        code = diagnosis.diagnose(targets, asked, Console(highlight=False))
    if code:
        raise typer.Exit(code)


def replay(
    target: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run folder.", autocompletion=complete.at(complete.run_folders))
    ],
    overrides: Overrides = None,
    start: Annotated[int, typer.Option("--from", min=1, help="The first step to look at.")] = 1,
    stop: Annotated[int | None, typer.Option("--to", min=1, help="The last step; by default the run's last.")] = None,
    every: Annotated[int, typer.Option("--every", min=1, help="Steps between looks.")] = 1,
    signs: Annotated[
        list[str] | None, typer.Option("--sign", metavar="NAME", help="Only this sign, at every look; may be repeated.")
    ] = None,
    out: Annotated[
        Path | None,
        out_option("DIR", "Where rows go; by default beside RUN."),
    ] = None,
) -> None:
    """Train a stretch of a run once more, bit for bit, with a look of the doctor at every step. The run stays as it is.

    Refuses where bits cannot be equal. Overrides: device, plugins, dataset.root.
    """
    with answering():
        from rich.console import Console

        from ganrun.cli import replaying
        from ganrun.disk import signals

        signals.install()
        path = replaying.replay(
            target,
            overrides or [],
            start=start,
            stop=stop,
            every=every,
            signs=signs or [],
            out=out,
            console=Console(stderr=True, highlight=False),
        )
        typer.echo(path)
