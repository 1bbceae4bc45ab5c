"""What the checkpoints of a run show, for its page. Torch is imported here alone, and only where a checkpoint is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ganrun.cli import complete, targets
from ganrun.cli.report import page
from ganrun.cli.report.curves import Line, Panel
from ganrun.cli.report.held import Held
from ganrun.cli.report.images import Shown, embedded, spaced
from ganrun.disk import runs
from ganrun.ground.errors import GanrunError

ROOM, FIELD_ROOM = 150_000, 900_000  # bytes of a picture, and of all frames of the field
FRAMES = 16
CURVES = 8  # in one panel
LEFT_OUT = "Left out, as --files-only asks."


@dataclass
class Exhibits:
    """As the template has them. ``why``, ``fields_why``: what is to be said first, such as what keeps them from being shown."""

    exhibits: list[dict[str, Any]] = field(default_factory=list)
    fields: list[Shown] = field(default_factory=list)
    why: str = ""
    fields_why: str = ""


def exhibited(held: Held, overrides: Sequence[str], config_dir: Path | None, *, files_only: bool = False) -> Exhibits:
    """What can be shown of ``held`` from its checkpoints; a sentence for what cannot."""
    found = Exhibits()
    flat = _is_flat(held)
    if files_only:
        found.why, found.fields_why = LEFT_OUT, LEFT_OUT if flat else ""
        return found
    try:
        target, config = targets.prepare(held.path, overrides, config_dir, complete.ALLOWED["report"], "report")
    except GanrunError as error:
        found.why = f"Not shown: {' '.join(str(error).split())}"
        return found
    steps = runs.committed(held.path)
    if not steps:
        found.why = "Not shown: there is no checkpoint in the folder."
        found.fields_why = found.why if flat else ""
        return found
    from ganrun.engine import exhibits as engine

    try:
        found.exhibits = [_shown(entry) for entry in engine.exhibits(target, config)]
        found.why = f"Of the checkpoint of step {steps[-1]}, by the generator's running average where there is one."
    except GanrunError as error:
        found.why = f"Not shown: {' '.join(str(error).split())}"
    if flat:
        _fields(found, engine.fields, held, steps, config)
    return found


def _is_flat(held: Held) -> bool:
    """Whether the run is on points of the plane."""
    data = held.facts.get("data")
    spec = data.get("spec") if isinstance(data, Mapping) else None
    return isinstance(spec, Mapping) and spec.get("kind") == "points" and spec.get("shape") == [2]


def _shown(entry: Any) -> dict[str, Any]:
    names = list(entry.curves)
    panels = []
    for start in range(0, len(names), CURVES):
        part = names[start : start + CURVES]
        lines = [Line(name, range(1, len(entry.curves[name]) + 1), entry.curves[name]) for name in part]
        title = f"layers {start + 1} to {start + len(part)} of {len(names)}" if len(names) > CURVES else "all layers"
        panels.append(Panel(title, lines, x="singular value, by size"))
    pictures = [embedded(picture, alt, alt, ROOM) for alt, picture in entry.images.items()]
    caption = f"Not shown: {entry.why}" if entry.why else entry.caption
    return {"title": entry.title, "caption": caption, "pictures": pictures, "panels": page.drawn(panels)}


def _fields(found: Exhibits, make: Any, held: Held, steps: Sequence[int], config: Mapping[str, Any]) -> None:
    """The frames of the checkpoints that are kept, and which moments of the run that leaves out."""
    chosen = spaced(steps, FRAMES)
    lost, lacks = [], []
    for step, drawn, said in make(held.path, chosen, config):
        lacks += said
        if isinstance(drawn, str):
            lost.append(f"step {step}: {drawn}")
        else:
            alt = f"generated points on the density of the data, with the discriminator's score, at step {step}"
            found.fields.append(embedded(drawn, alt, f"step {step}", FIELD_ROOM // len(chosen)))
    words = [
        f"From the checkpoints that are kept, of steps {', '.join(map(str, chosen))}; of other steps there is none. "
        "every.keep=N keeps one every N steps for good."
    ]
    words += list(dict.fromkeys(lacks))
    words += [f"Not shown: {entry}." for entry in lost]
    found.fields_why = " ".join(words)
