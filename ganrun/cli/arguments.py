"""What several commands take, and how each answers."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from ganrun.cli import complete
from ganrun.disk import current_folder
from ganrun.ground import terminal_text
from ganrun.ground.errors import GanrunError


def hydra_option(*flags: str, **said: Any) -> Any:
    return typer.Option(*flags, rich_help_panel="Hydra", **said)


def home(path: Path | None) -> Path | None:
    """A shell leaves the ``~`` of ``--out=~/x`` as it stands."""
    return None if path is None else Path(os.path.expanduser(path))


def out_option(metavar: str, said: str) -> Any:
    """``--out``, whose ``metavar`` says what it takes: TAB offers files where FILE is among it, else folders."""
    places = complete.files_at if "FILE" in metavar else complete.folders_at
    return typer.Option("--out", "-o", metavar=metavar, callback=home, autocompletion=complete.at(places), help=said)


def file_option(flag: str, metavar: str, said: str) -> Any:
    """The option ``flag``, which takes a file to write."""
    return typer.Option(flag, metavar=metavar, callback=home, autocompletion=complete.at(complete.files_at), help=said)


def runs_argument(metavar: str, said: str) -> Any:
    """Several run folders, or folders of runs."""
    return typer.Argument(metavar=metavar, help=said, autocompletion=complete.at(complete.run_folders))


Reference = Annotated[
    str | None,
    typer.Option(
        "--reference",
        metavar="RUN|N",
        autocompletion=complete.at(complete.run_folders),
        help="Of several runs: which setting the others are compared with, as one of its runs or a number; by default 1.",
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="OVERRIDES",
        help="KEY=VALUE or GROUP=OPTION, such as loss=hinge batch_size=128 'regularizer=\\[r1,spectral_norm]'",
        autocompletion=complete.words,
    ),
]
ConfigDir = Annotated[
    Path | None,
    hydra_option(
        "--config-dir",
        "-cd",
        metavar="DIR",
        callback=home,
        help="A folder of your own options; they win over ganrun's.",
        autocompletion=complete.at(complete.folders_at),
    ),
]
Target = Annotated[
    Path,
    typer.Argument(
        metavar="RUN", help="A run folder, or one checkpoint of it.", autocompletion=complete.at(complete.run_folders)
    ),
]
Best = Annotated[
    bool, typer.Option("--best", help="The checkpoint with the best score, which keep_best=SCORE kept, not the last one.")
]


@contextmanager
def answering() -> Iterator[None]:
    """Errors meant for a person as their message, anything else as a traceback; the exit code that errors.py lists."""
    try:
        current_folder.stand_somewhere()
        yield
    except (typer.Exit, typer.Abort):
        raise
    except GanrunError as error:
        said = terminal_text.wrapped(str(error), terminal_text.width()) if sys.stderr.isatty() else str(error)
        sys.stderr.write(f"{said}\n")
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except Exception:
        from rich.console import Console

        Console(stderr=True).print_exception()
        raise typer.Exit(1) from None
