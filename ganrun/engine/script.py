"""A run as one readable Python file that trains the very same, without ganrun.

What a component looks like there stands beside this module in ``script_parts/GROUP/NAME.yaml``, which knows what this module does
not: every technique. A part says

- ``code``: its text, put in with Jinja2; ``imports``: modules of the standard library that the text needs;
- ``reads``: options that the text takes in; ``only``: options that it has text for at these values alone. An option that is
  neither is refused. ``reads_of_players``: the same of each player's options;
- of a technique beside the loss: ``prepare``, ``after``, ``term``: what is done before the first step, after each update of the
  discriminator, and added to its loss; ``watches``: slopes at real samples are wanted;
- ``same``: the part of another name; ``uses``: groups whose parts the values of some options name.

``script_parts/script.py.j2`` is the file into which all is put.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

import ganrun
from ganrun.data.base import Dataset, to_pixels
from ganrun.disk import runs, storage
from ganrun.engine import assemble, handout
from ganrun.ground.errors import BadInput
from ganrun.ground.runtime import Runtime

PARTS = Path(__file__).with_name("script_parts")
OF_THE_RUN: dict[str, list[Any]] = {
    "accumulate": [1],
    "plugins": [[]],
    "init_from": [None],
    "fork": [False],
    "device.precision": ["fp32"],
    "doctor.stop": [[]],
}
"""Keys of the run beside its components that the file has text for at these values alone."""
TYPED = {"game.condition.name": "condition", "game.pack": "pack"}  # keys that follow one of the root
LARGEST = 2**30  # bytes of the data beside the file
KINDS = {"image": "images as bytes (n, height, width, channels)", "points": "points (n, dimensions)"}


def write(target: Path, out: Path | None, config: Mapping[str, Any]) -> Path:
    """Write the file, and its data beside it with the ending .data.pt: to ``out``, or as gan.py to the folder ``out``, or to RUN.

    ``BadInput`` with everything of ``config`` that there is no text for.
    """
    folder = runs.locate(target)[0]
    found = parts_of(config)
    runtime = Runtime(torch.device("cpu"))
    with runtime.applied():
        built = assemble.build(config, with_metrics=False)
        dataset = assemble.load_data(config, built.family)
        assemble.build_players(built, dataset.spec, runtime)
    data = samples(dataset, config)
    name = out.name if out is not None and not out.is_dir() else "gan.py"
    facts = {"together": built.game.together, "law": built.game.latent_law, "spec": dataset.spec}
    text = rendered(found, config, facts, folder.resolve().name, name).encode()
    if out is None or out.is_dir():
        place = out or folder
        return place / f"{handout.write(place, 'gan', {'.py': lambda: text, '.data.pt': lambda: data})}.py"
    with storage.storage_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    storage.write(out.with_suffix(".data.pt"), data)
    storage.write(out, text)
    return out


# what there is text for


def part(group: str, name: str) -> dict[str, Any] | None:
    """The part of one component, or None."""
    path = PARTS / group / f"{name}.yaml"
    if not path.is_file():
        return None
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return part(group, found["same"]) if "same" in found else found


def parts_of(config: Mapping[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """The parts of every component of ``config`` by (group, name). ``BadInput`` with all that there is none for."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    mistakes = list(_refused("", OF_THE_RUN, _flat(config)))
    for group, options in _components(config):
        name, above = options["name"], group.partition(".")[0]
        own = part(above, name)
        if own is None:
            have = ", ".join(sorted(path.stem for path in (PARTS / above).glob("*.yaml")))
            mistakes.append(f"{_typed(group)}={name}: it has no text for this; it has for {have}")
            continue
        found[above, name] = own
        mistakes += _unread(group, options, own)
        for other, keys in own.get("uses", {}).items():
            flat = _flat(options)
            for key in keys:
                more = part(other, flat[key])
                if more is None:
                    mistakes.append(f"{group}.{key}={flat[key]}: it has no text for this")
                else:
                    found[other, flat[key]] = more
    if mistakes:
        raise BadInput("\n".join(["--format script cannot write this run:", *(f"  {entry}" for entry in mistakes)]))
    return found


def _components(config: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for group in ("game", "model", "loss"):
        yield group, config[group]
    for _, options in sorted(config["regularizer"].items()):
        if "name" in options:
            yield "regularizer", options
    optimizer = {key: entry for key, entry in config["optimizer"].items() if key != "schedule"}
    yield "optimizer", {key: entry for key, entry in optimizer.items() if not _is_other(entry)}
    for role, entry in optimizer.items():
        if _is_other(entry):
            yield f"optimizer.{role}", entry
    yield "schedule", config["optimizer"]["schedule"]


def _is_other(entry: Any) -> bool:
    """Whether these are the options of a player whose optimizer is of another kind."""
    return isinstance(entry, Mapping) and "name" in entry


def _unread(group: str, options: Mapping[str, Any], own: Mapping[str, Any]) -> Iterator[str]:
    """What of ``options`` the part ``own`` takes no notice of."""
    prefix = {"schedule": "optimizer.schedule.", "regularizer": f"regularizer.{options['name']}."}.get(group, f"{group}.")
    players = ("generator", "discriminator")
    of_players = [*own.get("reads_of_players", ()), *(own.get("reads", ()) if group == "optimizer" else ())]
    known = {*own.get("reads", ()), *(f"{player}.{key}" for player in players for key in of_players)}
    known |= {key for keys in own.get("uses", {}).values() for key in keys}
    only = dict(own.get("only", {}))
    if group == "optimizer":
        only |= {f"{player}.{key}": allowed for player in players for key, allowed in own.get("only", {}).items()}
    flat = {key: entry for key, entry in _flat(options).items() if key != "name"}
    yield from _refused(prefix, only, flat)
    for key in sorted(flat.keys() - known - only.keys()):
        if not key.startswith("condition."):
            yield f"{prefix}{key}={_spelt(flat[key])}: it has no text for this"


def _refused(prefix: str, only: Mapping[str, list[Any]], flat: Mapping[str, Any]) -> Iterator[str]:
    for key, allowed in only.items():
        shared = key.partition(".")[2]
        follows = shared in only and flat.get(shared) == flat.get(key)
        if key in flat and flat[key] not in allowed and not follows:
            typed = TYPED.get(prefix + key, prefix + key)
            yield f"{typed}={_spelt(flat[key])}: it has text for {' or '.join(map(_spelt, allowed))} alone"


def _flat(options: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, entry in options.items():
        inner = isinstance(entry, Mapping)
        found |= _flat(entry, f"{before}{key}.") if inner else {f"{before}{key}": entry}
    return found


def _typed(group: str) -> str:
    return "optimizer.schedule.name" if group == "schedule" else f"{group}.name" if "." in group else group


def _spelt(value: Any) -> str:
    """As in an override."""
    if isinstance(value, list):
        return f"[{','.join(map(_spelt, value))}]"
    return {None: "null", True: "true", False: "false"}[value] if value is None or isinstance(value, bool) else str(value)


# the data


def samples(dataset: Dataset, config: Mapping[str, Any]) -> bytes:
    """All samples that a run trains on, in order: images as bytes, other data as numbers."""
    spec, name = dataset.spec, config["dataset"]["name"]
    if spec.kind not in KINDS or dataset.change is not None:
        raise BadInput(f"--format script cannot write this run:\n  dataset={name}: it has text for images and points alone")
    each = torch.empty(spec.shape).numel() * (1 if spec.kind == "image" else 4)
    if len(dataset) * each > LARGEST:
        raise BadInput(
            f"--format script cannot write this run:\n  dataset={name}: its {len(dataset)} samples are "
            f"{len(dataset) * each / 2**30:.1f} GiB, and the data beside the file are at most 1 GiB"
        )
    rows = []
    for piece in torch.arange(len(dataset)).split(1024):
        x = dataset.batch(piece).x
        rows.append(to_pixels(x).permute(0, 2, 3, 1) if spec.kind == "image" else x)
    buffer = io.BytesIO()
    torch.save(torch.cat(rows).contiguous(), buffer)
    return buffer.getvalue()


# the text


def rendered(
    found: Mapping[tuple[str, str], Mapping[str, Any]], config: Mapping[str, Any], facts: Mapping[str, Any], run: str, file: str
) -> str:
    """The file's text. ``facts``: whether both sides are judged in one pass, the latents' law and the data's spec."""
    law, spec = facts["law"], facts["spec"]
    jinja = Environment(loader=FileSystemLoader(PARTS), undefined=StrictUndefined, keep_trailing_newline=True)
    jinja.trim_blocks = jinja.lstrip_blocks = True
    jinja.filters["py"] = repr
    common = {"shape": spec.shape, "numbers": torch.empty(spec.shape).numel(), "image": spec.kind == "image"}

    def put(text: str, options: Mapping[str, Any], **more: Any) -> str:
        return jinja.from_string(text).render(o=options, **common, **more).strip("\n")

    def code(group: str, name: str, options: Mapping[str, Any]) -> str:
        return put(found[group, name].get("code", ""), options)

    stack = [(options, found["regularizer", options["name"]]) for group, options in _components(config) if group == "regularizer"]
    optimizer, schedule = config["optimizer"], config["optimizer"]["schedule"]
    shared = {key: entry for key, entry in optimizer.items() if not isinstance(entry, Mapping)}
    held = {role: optimizer.get(role, {}) for role in ("generator", "discriminator")}
    of_player = {role: entry if _is_other(entry) else {**shared, **entry} for role, entry in held.items()}
    fall = put(found["schedule", schedule["name"]]["fall"], schedule)
    starts = [put(own["code"], {}) for (group, _), own in found.items() if group == "init" and own["code"]]
    networks = [*starts, code("model", config["model"]["name"], config["model"])]
    texts = [put(own.get("code", ""), options) for options, own in stack]
    loss = code("loss", config["loss"]["name"], config["loss"])
    makes = {role: found["optimizer", options["name"]]["make"] for role, options in of_player.items()}
    whole = jinja.get_template("script.py.j2").render(
        **common,
        version=ganrun.__version__,
        sentences=_sentences(config, run),
        file=file,
        imports=sorted({name for own in found.values() for name in own.get("imports", ())}),
        functional=any("functional." in text for text in (*networks, *texts, loss)),
        **{key: config[key] for key in ("seed", "steps", "batch_size", "n_critic", "ema")},
        generator_batch="BATCH" if config["generator_batch"] is None else "GENERATOR_BATCH",
        generator_size=config["generator_batch"],
        latent=law.size,
        prior=law.noise_law,
        rates={role: repr(options["lr"]) for role, options in of_player.items()},
        scheduled=fall != "1.0" or schedule["warmup"] > 0,
        schedule=schedule,
        fall=fall,
        log=config["every"]["log"] or config["steps"],
        threads=config["device"].get("threads"),
        data=KINDS[spec.kind],
        networks=networks,
        loss=loss,
        regularizers=[text for text in texts if text],
        together=facts["together"],
        watched=next((options["every"] for options, own in stack if own.get("watches")), 0),
        prepare=[(options["name"], own["prepare"]) for options, own in stack if "prepare" in own],
        terms=[
            (options["name"], repr(options["weight"] * options["every"]), options["every"], put(own["term"], options))
            for options, own in stack
            if "term" in own
        ],
        after=[own["after"] for _, own in stack if "after" in own],
        optimizers={role: put(makes[role], options, player=role).replace("\n", "\n    ") for role, options in of_player.items()},
    )
    return whole.strip("\n") + "\n"


def _sentences(config: Mapping[str, Any], run: str) -> str:
    """What the run is."""
    chosen = [f"{group} {options['name']}" for group, options in _components(config)]
    return "\n".join([f"The run {run}", *(f"  {entry}" for entry in (*chosen, f"dataset {config['dataset']['name']}"))])
