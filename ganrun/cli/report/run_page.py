"""The page of one run: what it is, where it stands, what it made, and what to type next."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from ganrun.cli import diagnosis, logged
from ganrun.cli.report import exhibited, page
from ganrun.cli.report.curves import Line, Panel, Span, by_stem, series, timeline
from ganrun.cli.report.held import Held, text_of
from ganrun.cli.report.images import Shown, embedded, opened, spaced
from ganrun.cli.report.page import Command
from ganrun.cli.schema import catalog
from ganrun.diseases import examination
from ganrun.disk import identity, runs
from ganrun.engine import answers
from ganrun.engine.progress import REAL, duration, measured_with, with_spread
from ganrun.ground import spell
from ganrun.ground.errors import BadInput, GanrunError

FRAMES, ROOM = 40, 1_500_000  # pictures of the slider, and bytes for all of them
NORMAL = 1.96  # standard deviations of a 95 % interval
OPEN = ("running", "interrupted", "stopped", "unknown")
PARTS = {
    "samples": "Samples",
    "fields": "Discriminator's field",
    "scores": "Scores",
    "findings": "Findings",
    "losses": "Losses",
    "signs": "Signs",
    "shown": "Last checkpoint",
    "is": "What it is",
}


def written(held: Held, shown: exhibited.Exhibits) -> str:
    """The page of ``held``, with what its last checkpoint shows."""
    notes = list(held.notes)
    frames = _frames(held, notes)
    spans = [Span(found.title, found.since, found.ended) for found in _findings(held) if found.explained_by is None]
    losses, signs = page.drawn(_losses(held, spans)), page.drawn(_signs(held, spans))
    scores, findings = _scores(held), [_finding(held, found) for found in _findings(held)]
    doctor_words = _doctor_words(held)
    filled = {
        "samples": frames,
        "fields": shown.fields or shown.fields_why,
        "scores": scores,
        "findings": findings or doctor_words,
        "losses": losses,
        "signs": signs,
        "shown": shown.exhibits or shown.why,
        "is": True,
    }
    return page.rendered(
        "run.html",
        title=held.path.name,
        path=str(held.path),
        what=what(held),
        status=_status(held),
        notes=notes,
        contents=page.contents(PARTS, filled),
        next=list(_next(held)),
        frames=frames,
        frames_why=_missing_frames(held),
        fields=shown.fields,
        fields_why=shown.fields_why,
        scores=scores,
        findings=findings,
        timeline=Markup(timeline(spans, max(held.step, 1))) if spans else "",
        doctor_words=doctor_words,
        losses=losses,
        signs=signs,
        exhibits=shown.exhibits,
        exhibits_why=shown.why,
        command=_command(held),
        options=list(_options(held.config)),
        facts=list(_facts(held)),
        keys=[(key, catalog.text(value)) for key, value in identity.leaves(held.config)],
    )


# what it is


def what(held: Held) -> str:
    """The run in a sentence."""
    if not held.config:
        return "Its config is lost, so what it was is not known."
    name = {group: _named(held.config, group) for group in ("model", "game", "loss", "dataset")}
    stack = _stack(held.config, "regularizer")
    with_terms = f" and {', '.join(stack)}" if stack else ""
    held_data = _mapping(held.facts.get("data"))
    spec, count = _mapping(held_data.get("spec")), held_data.get("samples")
    shape = " x ".join(map(str, _listed(spec.get("shape"))))
    data = ", ".join(
        [f"{count or ''} samples{f' of {shape} numbers' if shape else ''}".lstrip()]
        + ([f"{spec['classes']} classes"] if spec.get("classes") else [])
    )
    steps = f"{held.config.get('steps')} steps of batches of {held.config.get('batch_size')}, seed {held.config.get('seed')}"
    return (
        f"Networks {name['model']} in the game {name['game']}, by the loss {name['loss']}{with_terms}, on {name['dataset']}"
        f"{f' ({data})' if data else ''}; {steps}."
    )


def _mapping(entry: Any) -> Mapping[str, Any]:
    """What a file from anywhere holds under a key, if it is a mapping."""
    return entry if isinstance(entry, Mapping) else {}


def _listed(entry: Any) -> list[Any]:
    return entry if isinstance(entry, list) else []


def _named(config: Mapping[str, Any], group: str) -> str:
    entry = config.get(group)
    return str(entry.get("name", "?") if isinstance(entry, Mapping) else entry)


def _stack(config: Mapping[str, Any], group: str) -> list[str]:
    held = config.get(group)
    return [str(entry["name"]) for entry in (held or {}).values() if isinstance(entry, Mapping) and "name" in entry]


def _options(config: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(group, choice, what the choice is) of each group."""
    known = catalog.places(None)
    for group in ("model", "game", "condition", "loss", "regularizer", "dataset", "optimizer", "metric"):
        held: Any = config.get("game", {}).get("condition") if group == "condition" else config.get(group)
        names = _stack(config, group) if group in identity.STACKS else [_named({group: held}, group)] if held else []
        for name in names:
            there = name in catalog.files(group, known)
            yield group, name, catalog.entry(group, name, known).description if there else "an option of its own"


def _facts(held: Held) -> Iterator[tuple[str, str]]:
    facts = held.facts
    for name, key in (("begun", "created"), ("ended", "ended")):
        if facts.get(key):
            yield name, str(facts[key])
    if facts.get("seconds"):
        yield "wall-clock", duration(float(facts["seconds"]))
    if facts.get("peak_memory_mib"):
        yield "peak memory", f"{facts['peak_memory_mib']} MiB"
    for key, value in _mapping(facts.get("environment")).items():
        yield str(key), text_of(value)
    for note in _listed(_mapping(facts.get("data")).get("notes")):
        yield "data", str(note)
    for name, key in (("identity", "identity"), ("digest of the last state", "digest")):
        if facts.get(key):
            yield name, str(facts[key])


def _command(held: Held) -> Command | None:
    if not held.words:
        return None
    return Command("The command that began it:", spell.command("train", *held.words))


# where it stands


def _status(held: Held) -> dict[str, str]:
    said, steps = held.status, held.config.get("steps")
    kind = "good" if said == "done" else "open" if said in OPEN or said.startswith("stopped") else "bad"
    where = f"at step {held.step}" + (f" of {steps}" if steps else "")
    if held.status == "done" and _standing(held):
        where += ", with findings that stand"
    ended = "" if said in ("done", "running") else held.ended
    head = "Its last words:" if ended else ""
    return {"word": said, "kind": kind, "where": where, "why": ended, "why_head": head}


def _standing(held: Held) -> list[Any]:
    return examination.headlines(held.case.findings) if held.case else []


def _next(held: Held) -> Iterator[Command]:
    """What fits where the run stands, the most useful first."""
    run, plugins = spell.shown(held.path), held.config.get("plugins") or []
    again = (
        spell.command("train", *held.words)
        if held.words
        else spell.command("train", f"resume={spell.value(str(run))}", plugins=plugins)
    )

    def on_run(word: str, *more: str) -> str:
        return spell.command(word, run, *more, plugins=plugins if word in ("sample", "eval") else ())

    status = held.status
    if status == "running":
        yield Command("A process trains it now. This page shows what is written so far; write it again later:", on_run("report"))
    elif status == "interrupted":
        yield Command(
            "No process works in this folder, and run.json still says running: it was killed (out of memory, power, kill -9), or "
            "this is a copy that was taken while it trained. The same command goes on from the last checkpoint:",
            again,
        )
    elif status == "stopped":
        yield Command("It was stopped by a signal and saved. The same command goes on, bit for bit:", again)
    elif status == "stopped by doctor":
        yield Command(
            "It ended early, as doctor.stop asks, and was saved. To train on all the same:", f"{again} 'doctor.stop=[]'"
        )
    elif status == "storagefailed":
        yield Command("The disk was full or the folder not writable. Make room; then the same command goes on:", again)
    elif status == "diverged":
        kept = [step for step in runs.committed(held.path) if step < max(held.step, 1)] or [0]
        yield Command("A loss, a penalty or a gradient was NaN or Inf. The findings and what may help:", on_run("doctor"))
        yield Command("Its last stretch once more, with a look at every step:", on_run("replay", "--from", str(max(1, kept[-1]))))
    elif status not in ("done", "unknown"):
        yield Command("It ended with an error. Mend what its last words name; then the same command goes on:", again)
    if status == "unknown":
        yield Command(
            "run.json is lost, so where it stands is not known. What is left of it may be scored or sampled:", on_run("sample")
        )
    if held.case is not None and _standing(held):
        yield Command("What stands, its evidence, and what to try:", on_run("doctor"))
        yield Command("Whether the first remedies help, in forks from before the onset:", on_run("doctor", "--try"))
    if status == "done":
        yield Command("Samples of it:", on_run("sample", "--num", "100"))
        yield Command("Scores by more samples, with an interval each:", on_run("eval"))
        steps = held.config.get("steps")
        if isinstance(steps, int) and not identity.depends_on_steps(held.config):
            longer = spell.command("train", f"resume={spell.value(str(run))}", f"steps={2 * steps}", plugins=plugins)
            yield Command("Twice as long; it goes on from its last step:", longer)


# pictures over training


def _frames(held: Held, notes: list[str]) -> list[Shown]:
    chosen = spaced(list(held.pictures.items()), FRAMES)
    found = []
    for step, path in chosen:
        try:
            picture = opened(path)
        except BadInput as error:
            notes.append(str(error))
            continue
        found.append(embedded(picture, f"samples from the same noise at step {step}", f"step {step}", ROOM // len(chosen)))
    return found


def _missing_frames(held: Held) -> str:
    if not held.pictures:
        return "No picture is in the folder samples/: every.sample=0 draws one at the end alone, or they were removed."
    left = len(held.pictures) - FRAMES
    return f"{FRAMES} of {len(held.pictures)} pictures are shown, evenly." if left > 0 else ""


# curves


def _losses(held: Held, spans: Sequence[Span]) -> list[Panel]:
    """A panel for each quantity that is logged, with a line for each side that has it."""
    names = [name for name in dict.fromkeys(key for row in held.losses for key in row) if "/" in name]
    found = []
    for stem, members in by_stem(names, lambda name: name.partition("/")[2]).items():
        lines = [_called(series(held.losses, name), name.partition("/")[0]) for name in members]
        said = list(dict.fromkeys(filter(None, map(logged.meaning, members))))
        found.append(Panel(stem, lines, " ".join(said[:2]), spans=spans))
    return [panel for panel in found if any(line.xs for line in panel.lines)]


def _called(line: Line, name: str) -> Line:
    return Line(name, line.xs, line.ys, line.low, line.high)


SIDES = re.compile(r"_?(generator|discriminator)_?")


def _signs(held: Held, spans: Sequence[Span]) -> list[Panel]:
    """A panel for each kind of sign: those that begin alike, sides aside, share one."""
    names = [name for name in dict.fromkeys(key for row in held.looks for key in row) if name not in ("step", "time")]
    lines = {name: series(held.looks, name) for name in names}
    stems = by_stem([name for name in names if lines[name].xs], lambda name: SIDES.sub("", name).partition("_")[0])
    return [Panel(stem, [lines[name] for name in members], spans=spans) for stem, members in stems.items()]


# scores


def _scores(held: Held) -> dict[str, Any] | None:
    steps = held.scores()
    if not steps:
        return None
    step, entries = steps[-1]
    beside = held.baselines(step)
    rows = [
        {
            "name": name,
            "value": with_spread(entry),
            "interval": _interval(entry),
            "beside": [with_spread(kind.get(name, {})) for kind in beside.values()],
            "way": measured_with(entry),
        }
        for name, entry in entries.items()
    ]
    texts = {name: answers.plain(entry["card"]) for name, entry in entries.items()}
    cards = [
        {"names": ", ".join(names), "fields": list(texts[names[0]].items())}
        for names in by_stem(entries, lambda name: repr(texts[name])).values()
    ]
    remarks = [str(said) for entry in entries.values() for said in [*entry.get("remarks", []), *_list(entry.get("missing"))]]
    panels = []
    for name in dict.fromkeys(name for _, held_then in steps for name in held_then):
        points = [(then, found[name]) for then, found in steps if found.get(name, {}).get("value") is not None]
        if len(points) > 1:
            spread = [NORMAL * float(entry.get("std") or 0) for _, entry in points]
            ys = [float(entry["value"]) for _, entry in points]
            low, high = ([y + sign * half for y, half in zip(ys, spread, strict=True)] for sign in (-1, 1))
            levels = {
                REAL[kind]: float(found[name]["value"])
                for kind, found in beside.items()
                if kind in REAL and found.get(name, {}).get("value") is not None
            }
            line = Line(name, [then for then, _ in points], ys, low if any(spread) else (), high if any(spread) else ())
            panels.append(Panel(name, [line], levels=levels))
    said = "The interval is the value plus and minus 1.96 standard deviations; how these were estimated stands on the card."
    return {
        "step": step,
        "said": said,
        "beside": [REAL.get(kind, kind) for kind in beside],
        "rows": rows,
        "cards": cards,
        "remarks": list(dict.fromkeys(remarks)),
        "panels": page.drawn(panels),
    }


def _list(entry: Any) -> list[Any]:
    return [] if entry is None else [entry]


def _interval(entry: Mapping[str, Any]) -> str:
    if entry.get("value") is None or not isinstance(entry.get("std"), int | float):
        return "none"
    half = NORMAL * float(entry["std"])
    return f"{entry['value'] - half:.4g} to {entry['value'] + half:.4g}"


# findings


def _findings(held: Held) -> list[Any]:
    return held.case.findings if held.case else []


def _finding(held: Held, found: Any) -> dict[str, Any]:
    assert held.case is not None
    held_in, looks = found.looks
    since = f"Since step {found.since}" + (f", after {found.before}" if found.before else "") + f"; named at {found.named}"
    when = f"{since}; {'it stands' if found.standing else f'over since step {found.ended}'}."
    below = [entry.title for entry in examination.consequences(found, held.case.findings)]
    remedies = []
    if found.standing and held.case.config:
        try:
            remedies = [
                Command(f"{remedy.why} ({remedy.record})", text) for remedy, text in diagnosis.commands(held.case, found)[:3]
            ]
        except GanrunError:
            remedies = []
    return {
        "title": found.title,
        "kind": "stands" if found.standing else "over",
        "when": when,
        "evidence": f"{found.evidence.words}; held in {held_in} of {looks} looks since.",
        "below": "; ".join(dict.fromkeys(below)),
        "remedies": remedies,
    }


def _doctor_words(held: Held) -> list[str]:
    case = held.case
    if case is None:
        return []
    found = [
        f"To watch, not yet persistent: {case.diseases[name].title}: {evidence.words}"
        for name, evidence in examination.watches(case.rows, case.diseases).items()
    ]
    if case.rows and not _standing(held) and case.status != "diverged":
        found.insert(0, f"Of {len(case.diseases)} diseases that were looked for in {len(case.rows)} looks, none stands.")
    return found
