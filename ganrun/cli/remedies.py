"""What to try against a finding: each remedy as overrides that say all that changes, and the command that tries it."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import ganrun.diseases
from ganrun.cli.schema import catalog
from ganrun.diseases.base import Disease
from ganrun.disk import identity, runs
from ganrun.ground import spell
from ganrun.ground.finding import Finding, Remedy

RECORDS = Path(ganrun.diseases.__file__).with_name("records.json")


def fitting(finding: Finding, disease: Disease, config: Mapping[str, Any]) -> list[Remedy]:
    """The remedies for a run of ``config``, the best first, with the values that the run's own options keep."""
    found = disease.remedies(config, finding.evidence) if config else []
    measured = _records().get(finding.disease, {})
    return [
        replace(remedy, overrides=(*remedy.overrides, *_kept(remedy, config)), record=measured.get(remedy.why, remedy.record))
        for remedy in found
    ]


@functools.cache
def _records() -> dict[str, dict[str, str]]:
    """What was measured of remedies, by disease and reason; ``make doctor-remedies`` writes it."""
    found: dict[str, dict[str, str]] = json.loads(RECORDS.read_text(encoding="utf-8"))
    return found


def _kept(remedy: Remedy, config: Mapping[str, Any]) -> Iterator[str]:
    """A stack that is chosen anew begins with its defaults: the run's own values of what stays in it, as overrides."""
    said = {word.partition("=")[0] for word in remedy.overrides}
    for word in remedy.overrides:
        group, _, stack = word.partition("=")
        if group not in identity.STACKS:
            continue
        for name in stack.strip("[]").split(","):
            held = identity.entry(config, f"{group}.{name}")
            if not isinstance(held, Mapping) or "name" not in held:
                continue  # it is new
            known = catalog.files(group, catalog.places(None))
            default = catalog.entry(group, name, catalog.places(None)).values if name in known else {}
            for key, value in held.items():
                path = f"{group}.{name}.{key}"
                if key != "name" and path not in said and not identity.same(value, default.get(key)):
                    yield f"{path}={spell.value(value)}"


def start(run: Path, finding: Finding) -> Path | None:
    """The checkpoint to fork from: the newest of before the onset, else the oldest that is kept; None where there is none."""
    kept = [runs.step_of(path) for path in (run / "checkpoints").glob("step_*.pt") if runs.CHECKPOINT.fullmatch(path.name)]
    return run / "checkpoints" / f"step_{runs.at_or_before(kept, finding.before):08d}.pt" if kept else None


def command(run: Path, finding: Finding, remedy: Remedy, config: Mapping[str, Any]) -> str:
    """The command that tries a remedy: a fork from before the onset; where that cannot be, what a new run needs."""
    place = start(run, finding)
    if not remedy.fork or place is None:
        return f"a new run with {' '.join(map(spell.pasted, remedy.overrides))}"
    words = ("train", f"resume={spell.value(str(spell.shown(place)))}", "fork=true", *remedy.overrides)
    return spell.command(*words, plugins=config.get("plugins") or [])
