"""``ganrun compare``: the scores that runs have, as a table for a paper, and as a figure. Imports no torch."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ganrun.cli import settings
from ganrun.cli.arguments import Reference, answering, file_option, runs_argument
from ganrun.ground import terminal_text
from ganrun.ground.errors import BadInput

if TYPE_CHECKING:
    from ganrun.engine.compare import Comparison

KINDS = ("csv", "json", "latex", "markdown")
WIDE = 160  # columns where there is no terminal


def compare(
    targets: Annotated[
        list[str],
        runs_argument("RUN", "Run folders, checkpoints of them, folders of runs, or patterns such as 'outputs/*/*hinge*'."),
    ],
    as_csv: Annotated[bool, typer.Option("--csv", help="A line for each setting and score, in full precision.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, with the cards, in full precision.")] = False,
    as_latex: Annotated[bool, typer.Option("--latex", help="Tables for LaTeX, with booktabs.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Tables for Markdown.")] = False,
    scores: Annotated[
        list[str] | None, typer.Option("--score", metavar="NAME", help="Only this score, such as fid; may be repeated.")
    ] = None,
    figure: Annotated[
        Path | None,
        file_option("--figure", "FILE.pdf|png|svg", "A figure, too: a point for each seed, means with intervals."),
    ] = None,
    reference: Reference = None,
) -> None:
    """Compare the scores that runs have: mean and interval over seeds by setting, differences, and which are decided.

    Nothing is scored or loaded; ganrun eval RUN RUN ... scores what is missing.
    """
    with answering():
        chosen = [word for word, asked in zip(KINDS, (as_csv, as_json, as_latex, as_markdown), strict=True) if asked]
        if len(chosen) > 1:
            raise BadInput(f"{' '.join(f'--{word}' for word in chosen)}: one of them at a time")
        show(targets, chosen[0] if chosen else None, figure, reference, scores or [])


def show(
    words: Sequence[str], kind: str | None, figure: Path | None, reference: str | None = None, scores: Sequence[str] = ()
) -> None:
    """Print the comparison of the runs that ``words`` mean, as ``kind``, by default for a terminal; draw ``figure``."""
    from ganrun.engine import compare as engine
    from ganrun.engine import paper_figure, paper_table

    if figure is not None:
        paper_figure.verify(figure)
    found = compared(words, reference, scores)
    if figure is not None:
        paper_figure.draw(found, figure)
        sys.stderr.write(f"figure: {figure}\n")
    columns = terminal_text.width() if sys.stdout.isatty() else WIDE
    notes = [terminal_text.wrapped(f"note: {note}", columns) for note in found.notes]
    if kind is None:
        typer.echo("\n".join([*engine.table(found, columns=columns), "", *notes]))
        return
    made = {
        "csv": paper_table.as_csv,
        "json": paper_table.as_json,
        "latex": paper_table.as_latex,
        "markdown": paper_table.as_markdown,
    }
    typer.echo(made[kind](found), nl=kind == "json")
    if kind == "csv":  # the others hold the notes
        sys.stderr.write("".join(f"{note}\n" for note in notes))


def compared(words: Sequence[str], reference: str | None = None, scores: Sequence[str] = ()) -> Comparison:
    """The comparison of the runs that ``words`` mean, by the scores that they have, or by those named in ``scores``.

    A run that was found below a folder, and cannot be read, is left out and named; one that was named itself is an error.
    """
    from ganrun.disk.gather import gather
    from ganrun.engine import compare as engine
    from ganrun.engine import held_scores

    gathered = gather(words)
    entries: list[engine.Entry] = []
    said: list[str] = []
    mistakes: list[str] = []
    for target in gathered.targets:
        try:
            entry, remarks = held_scores.read(target)
        except BadInput as error:
            (mistakes if target in gathered.named else said).append(str(error))
            continue
        entries.append(entry)
        said += remarks
    if mistakes:
        raise BadInput("\n".join(mistakes))
    held_scores.choose(entries, scores)
    found, groups = settings.grouped([entry.config for entry in entries])
    groups_of_entries = [
        [entry for entry, group in zip(entries, groups, strict=True) if group == place] for place in range(len(found))
    ]
    kept, left_out = held_scores.one_step(groups_of_entries)
    said += left_out
    places = [place for place, held in enumerate(kept) if held]
    if not places:
        raise BadInput("\n".join(["there is nothing to compare", *said]))
    of_entries = [(entry.target, number) for number, place in enumerate(places) for entry in kept[place]]
    names = [found[place] for place in places]
    chosen = settings.reference_of(
        reference, [target for target, _ in of_entries], [group for _, group in of_entries], len(places)
    )
    made = engine.summarise([kept[place] for place in places], settings.titles(names), chosen, settings.differing(names))
    left = [f"left out: {len(gathered.aside)} set aside by fresh=true, such as {gathered.aside[0]}"] if gathered.aside else []
    every = [entry for held in made.settings for entry in held]
    made.notes = [*engine.steps_in_words(every), *made.notes, *engine.remarks_of(every), *said, *left]
    return made
