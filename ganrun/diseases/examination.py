"""From rows to findings: which conditions persisted, since when, what is over, and what explains what.

A condition must hold in k of the last n looks (the disease's ``patience``). ``since`` goes back along the looks at
which it held, with at most one gap. A finding is over once the condition held in fewer than 2 of the last 3 looks. A
finding that another standing one explains is reported under it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ganrun.diseases.base import Disease
from ganrun.ground import registry
from ganrun.ground.finding import Evidence, Finding, Row

STANDING = (2, 3)


def chosen(config: Mapping[str, Any], say: Callable[[str], None]) -> dict[str, Disease]:
    """The diseases that a run's config names; all with their defaults for a config of before there were any.

    A disease, or a threshold, of a version that had another set is left out, and that is said: a rule that was taken back
    must not keep a run from going on.
    """
    if "disease" not in config:
        return {name: registry.build("disease", {"name": name}) for name in registry.names("disease")}
    found, known = {}, registry.names("disease")
    for key, entry in config["disease"].items():
        if not isinstance(entry, Mapping) or "name" not in entry:
            continue  # a threshold of one that is not looked for
        if entry["name"] not in known:
            say(f"disease.{key}: this ganrun has no such disease, so it is not looked for")
            continue
        options = inspect.signature(registry.lookup("disease", entry["name"])).parameters
        for gone in [option for option in entry if option != "name" and option not in options]:
            say(f"disease.{key}.{gone}: this ganrun has no such threshold, so it is not used")
        found[key] = registry.build(
            "disease", {name: value for name, value in entry.items() if name == "name" or name in options}
        )
    return found


def examine(rows: Sequence[Row], diseases: Mapping[str, Disease]) -> list[Finding]:
    """Every finding of the rows, standing or over, by the step at which it was named; of each disease the last one."""
    found = [finding for name, disease in diseases.items() for finding in _of(name, disease, rows)]
    standing = {finding.disease for finding in found if finding.standing}
    explained = {}
    for finding in found:
        causes = sorted(cause for cause in standing if finding.disease in diseases[cause].explains)
        explained[finding.disease] = causes[0] if finding.standing and causes else None
    found = [replace(finding, explained_by=explained[finding.disease]) for finding in found]
    return sorted(found, key=lambda finding: (finding.named, finding.disease))


def headlines(findings: Sequence[Finding]) -> list[Finding]:
    """Those that stand and that nothing else explains."""
    return [finding for finding in findings if finding.standing and finding.explained_by is None]


def consequences(finding: Finding, findings: Sequence[Finding]) -> list[Finding]:
    """What is reported under ``finding``, its consequences' consequences too."""
    direct = [other for other in findings if other.standing and other.explained_by == finding.disease]
    return direct + [further for other in direct for further in consequences(other, findings)]


def watches(rows: Sequence[Row], diseases: Mapping[str, Disease]) -> dict[str, Evidence]:
    """Conditions that hold at the last look without having persisted yet."""
    named = {finding.disease for finding in examine(rows, diseases) if finding.standing}
    found = {}
    for name, disease in diseases.items():
        if rows and name not in named and (evidence := _evidence(disease, rows, len(rows) - 1)) is not None:
            found[name] = evidence
    return found


def onsets(rows: Sequence[Row], diseases: Mapping[str, Disease]) -> list[int]:
    """The last look before each condition that stands or held at one of the last two looks; 0 where there was none before."""
    found = [finding.before for finding in examine(rows, diseases) if finding.standing]
    for disease in diseases.values():
        held = [_evidence(disease, rows, place) for place in range(len(rows))]
        for place in range(len(rows) - 1, max(-1, len(rows) - 3), -1):
            if held[place] is not None:
                found.append(_before(rows, _since(held, place)))
                break
    return sorted(set(found))


def _before(rows: Sequence[Row], place: int) -> int:
    """The step of the look before ``rows[place]``, or 0."""
    return int(rows[place - 1]["step"]) if place else 0


def silent(rows: Sequence[Row], diseases: Mapping[str, Disease]) -> dict[str, str]:
    """Why a disease was not looked for, by its name: the numbers that no row holds, or too few looks."""
    found = {}
    for name, disease in diseases.items():
        missing = [word for word in disease.watches if not any(word in row for row in rows)]
        if missing:
            found[name] = f"no look has {' and '.join(missing)}"
        elif len(rows) <= disease.grace + disease.patience[0] - 1:
            found[name] = f"{len(rows)} looks: too few for persistence"
    return found


def _of(name: str, disease: Disease, rows: Sequence[Row]) -> Iterator[Finding]:
    """The last finding of one disease, if it ever persisted."""
    held = [_evidence(disease, rows, place) for place in range(len(rows))]
    needed, among = disease.patience
    start: int | None = None
    finding: Finding | None = None
    last_held = 0
    for place in range(len(rows)):
        if held[place] is not None:
            last_held = place
        recent = held[max(0, place - among + 1) : place + 1]
        if start is None:
            if sum(entry is not None for entry in recent) < needed or held[place] is None:
                continue
            start = _since(held, place)
            named = int(rows[place]["step"])
        now = held[max(0, place - STANDING[1] + 1) : place + 1]
        over = sum(entry is not None for entry in now) < STANDING[0]
        evidence = held[last_held]
        assert evidence is not None
        finding = Finding(
            disease=name,
            title=disease.title,
            since=int(rows[start]["step"]),
            before=_before(rows, start),
            named=named,
            ended=int(rows[place]["step"]) if over else None,
            looks=(sum(entry is not None for entry in held[start : place + 1]), place + 1 - start),
            evidence=evidence,
            thresholds=disease.thresholds(),
        )
        if over:
            start = None
    if finding is not None:
        yield finding


def _evidence(disease: Disease, rows: Sequence[Row], place: int) -> Evidence | None:
    if place < disease.grace or any(word not in rows[_latest(rows, place, word)] for word in disease.watches):
        return None
    merged = [*rows[:place], _filled(rows, place, disease.watches)]
    return disease.holds(merged, place)


def _latest(rows: Sequence[Row], place: int, word: str) -> int:
    """The last look up to ``place`` that has ``word``; some signs are not taken at every look."""
    return next((back for back in range(place, max(-1, place - 4), -1) if word in rows[back]), place)


def _filled(rows: Sequence[Row], place: int, words: Sequence[str]) -> Row:
    """The row with what it watches, from a look shortly before where it was not taken at this one."""
    return {**{word: rows[_latest(rows, place, word)][word] for word in words}, **rows[place]}


def _since(held: Sequence[Evidence | None], place: int) -> int:
    """Back from ``place`` along looks at which it held, with at most one gap."""
    first, gaps = place, 0
    for back in range(place - 1, -1, -1):
        if held[back] is not None:
            first = back
        else:
            gaps += 1
            if gaps > 1:
                break
    return first
