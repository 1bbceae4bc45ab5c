"""``ganrun export``: a generator, or the training of it, in a file of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ganrun.cli.arguments import Best, ConfigDir, Overrides, Target, answering, out_option
from ganrun.engine import forms


def complete_formats(incomplete: str) -> list[str]:
    """The formats that begin with ``incomplete``."""
    return [name for name in forms.FORMS if name.startswith(incomplete)]


def export(
    target: Target,
    overrides: Overrides = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            "-f",
            metavar="|".join(forms.FORMS),
            autocompletion=complete_formats,
            help="safetensors, the default, is for ganrun.load_generator; the others need no ganrun; script trains.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        out_option("FILE|DIR", "By default RUN/generator, with the suffix of the format."),
    ] = None,
    raw: Annotated[bool, typer.Option("--raw", help="The generator's present weights, not their running average.")] = False,
    role: Annotated[str, typer.Option("--role", help="Which generator, as CycleGAN's inverse.")] = forms.ROLE,
    best: Best = False,
    config_dir: ConfigDir = None,
) -> None:
    """Write the generator alone to a file, and with --format show how to use it. Overrides: device, plugins, dataset.root.

    [bold]ganrun export RUN[/bold]                 weights, for ganrun.load_generator
    [bold]ganrun export RUN -f onnx[/bold]         the whole computation, for programs without ganrun
    [bold]ganrun export RUN -f script[/bold]       a Python file that trains this run, without ganrun
    """
    with answering():
        from ganrun.cli import targets

        chosen = forms.chosen(form, out, raw=raw, role=role)
        path, example = targets.export(targets.chosen(target, best), overrides or [], config_dir, out, raw, role, chosen)
        typer.echo(path)
        if form is not None:
            typer.echo(f"\n{example}")
