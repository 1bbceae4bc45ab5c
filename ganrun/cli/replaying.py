"""``ganrun replay RUN``: a stretch of a run once more, with looks as dense as wanted, and what they say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ganrun.cli import targets
from ganrun.cli.complete import ALLOWED
from ganrun.diseases import examination
from ganrun.disk import runs
from ganrun.disk.run_folder import RunFolder
from ganrun.ground import registry, spell
from ganrun.ground.errors import BadInput, suggestion

SHOWN = ("gap", "spread", "starved", "auc")  # columns, where no sign was asked for


def replay(
    target: Path,
    words: Sequence[str],
    *,
    start: int,
    stop: int | None,
    every: int,
    signs: Sequence[str],
    out: Path | None,
    console: Console,
) -> Path:
    """Replay the steps from ``start`` to ``stop``, by default to the run's last; where the rows are."""
    run, named = runs.locate(target)
    if named != run:
        raise BadInput(f"{target}: name the run folder, {spell.shown(run)}; --from says where to start")
    reached = int(RunFolder(run).facts().get("step", 0))
    stop = reached if stop is None else stop
    if not 1 <= start <= stop <= reached:
        raise BadInput(f"--from {start} --to {stop}: must be steps of the run in this order, from 1 to {reached}")
    run, config = targets.prepare(run, words, None, ALLOWED["replay"], "replay")
    _demand(signs)
    from ganrun.engine import retrace

    found = retrace.retrace(run, config, start=start, stop=stop, every=every, signs=signs or None)
    spelt = [f"{start}-{stop}", *([f"every_{every}"] if every > 1 else []), *sorted(signs)]
    path: Path = retrace.write(run, found, spelt, out)
    columns = [name for name in dict.fromkeys(name for row in found.rows for name in row) if signs or name in SHOWN]
    table = Table("step", *(name for name in columns if name not in ("step", "modes")), box=None, pad_edge=False)
    for row in found.rows:
        table.add_row(
            str(row["step"]), *(f"{row[name]:.4g}" if name in row else "-" for name in columns if name not in ("step", "modes"))
        )
    console.print(table)
    for finding in examination.examine(found.rows, examination.chosen(config, lambda sentence: None)):
        until = "" if finding.standing else f" to {finding.ended}"
        console.print(
            f"from step {finding.since}{until}: {finding.title}: {finding.evidence.words}", markup=False, soft_wrap=True
        )
    agreeing = ((found.logged, "logged row"), (found.checkpoints, "checkpoint"))
    same = [f"{len(entries)} {what}{'s' * (len(entries) != 1)}" for entries, what in agreeing if entries]
    if same:
        console.print(f"the same bits as the run's: {' and '.join(same)} of the stretch", markup=False, soft_wrap=True)
    for remark in found.remarks:
        console.print(f"note: {remark}", markup=False, soft_wrap=True)
    return path


def _demand(signs: Sequence[str]) -> None:
    known = registry.names("sign")
    wrong = [name for name in signs if name not in known]
    if wrong:
        raise BadInput("\n".join(f"--sign {name}: there is no such sign. {suggestion(name, known)}" for name in wrong))
