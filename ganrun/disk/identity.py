"""What makes a run the run that it is, and whether a folder holds it.

``result_keys(config)`` is the resolved config without its neutral keys. ``identity(config)`` is the SHA-256 of the sorted JSON of
what counts: the result keys, and what the run started from. Its first ten digits name the folder, run.json holds it whole, and so
does the manifest of every checkpoint: a folder, its config and its checkpoints belong together or are refused.

The number of steps does not count as long as nothing depends on it: a run can be prolonged, and is then bit for bit the longer
run. A learning-rate schedule that falls over the run depends on it, so there it counts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ganrun.disk import earlier, image_folder, runs
from ganrun.disk.run_folder import RunFolder
from ganrun.ground.errors import BadInput
from ganrun.ground.spell import override

NEUTRAL = (
    "hydra",
    "name",
    "resume",
    "at",
    "fresh",
    "fork",
    "every",
    "keep",
    "keep_best",
    "output",
    "evaluation",
    "metric",
    "objective",
    "disease",
    "doctor",
    "tracker",
    "n_critic",  # daily keys: what counts is the game's own, which follow them
    "condition",
    "pack",
    "init_from",  # a run counts by what made it
    "init_from_partial",
    "device.name",
    "device.threads",
    "dataset.root",  # a folder counts by its content
    "dataset.download",
    "dataset.memory_gib",
)
STACKS = ("regularizer", "metric", "disease", "tracker")
STEADY = "constant"  # the one schedule that does not ask how long the run is
NAMED = 5  # differing keys in a message


def result_keys(config: Mapping[str, Any]) -> dict[str, Any]:
    """What can change the result: ``config`` (resolved) without neutral keys, idle stack entries and empty plugins.

    Whole floats become integers, so that ``lr=1`` and ``lr=1.0`` are one run.
    """
    kept = {key: entry for key, entry in _without(config, "").items() if key != "plugins" or entry}
    if "plugins" in kept:
        kept["plugins"] = sorted(kept["plugins"])
    for stack in STACKS:
        if isinstance(kept.get(stack), Mapping):
            kept[stack] = {key: entry for key, entry in kept[stack].items() if isinstance(entry, Mapping) and "name" in entry}
    if entry(kept, "dataset.fit") == "pad":  # as all did before there was a choice: such runs keep their names
        kept["dataset"] = {key: value for key, value in kept["dataset"].items() if key != "fit"}
    if isinstance(kept.get("game"), Mapping) and "condition" in kept["game"]:  # likewise, where its options are those of then
        kept["game"] = {**kept["game"], "condition": earlier.condition_as_then(kept["game"]["condition"])}
    whole: dict[str, Any] = _whole(kept)
    return earlier.without_what_is_off(whole)


def depends_on_steps(config: Mapping[str, Any]) -> bool:
    """Whether a step is another one in a longer run: the optimizer's values follow a schedule over the whole run."""
    return bool(over_the_run(config))


def over_the_run(config: Mapping[str, Any]) -> str:
    """What of the optimizer changes over the whole run, as a person types it; empty for nothing."""
    name = entry(config, "optimizer.schedule.name")
    if name not in (None, STEADY):
        return f"optimizer.schedule.name={name}"
    held = config.get("optimizer")
    final = [(path, value) for path, value in leaves(held or {}, "optimizer.") if path.endswith("_final") and value is not None]
    return f"{final[0][0]}={final[0][1]}" if final else ""


def leaves(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names with what they hold."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys with their values; a group by the name of its option, a stack by those of its entries.

    These are the keys as a person types them: ``loss``, ``optimizer.lr``, ``regularizer`` with a list of names.
    """
    for key, value in config.items():
        path = f"{prefix}{key}"
        if path in STACKS and isinstance(value, Mapping):
            named = {name: entry for name, entry in value.items() if isinstance(entry, Mapping) and "name" in entry}
            yield path, sorted(named)
            for name, entry in named.items():
                yield from flat({inner: held for inner, held in entry.items() if inner != "name"}, f"{path}.{name}.")
        elif isinstance(value, Mapping):
            yield from flat(value, f"{path}.")
        else:
            yield path.removesuffix(".name"), value


def leaders(key: str) -> Iterator[str]:
    """Keys that ``key`` may follow: those of its name further up, ``optimizer.lr`` of ``optimizer.generator.lr``."""
    *above, _, name = ["", *key.split(".")]
    while above:
        yield ".".join([*above[1:], name])
        above.pop()


def counted(config: Mapping[str, Any]) -> dict[str, Any]:
    """The result keys without ``steps``, where nothing depends on them."""
    kept = result_keys(config)
    if not depends_on_steps(config):
        kept.pop("steps", None)
    return kept


def identity(config: Mapping[str, Any]) -> str:
    """64 hexadecimal digits. A fork's hold its parent's config too: it is not the run that starts from nothing."""
    return _digest({"science": counted(config), **_lineage(config)})


def family(config: Mapping[str, Any]) -> str:
    """As ``identity``, for runs that may differ in the number of steps alone, whatever depends on it."""
    kept = {key: value for key, value in result_keys(config).items() if key != "steps"}
    return _digest({"science": kept, **_lineage(config)})


def _lineage(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a run starts from: nothing, its parent (at a step, where one is named), or another run's weights."""
    if config.get("fork") and config.get("resume"):
        parent = runs.read_config(runs.place(config["resume"]))
        found = {"science": counted(parent), "fork": bool(parent.get("fork"))}
        return {"parent": found if config.get("at") is None else {**found, "at": int(config["at"])}}
    if config.get("init_from"):
        origin, step = _origin(config["init_from"])
        return {"init_from": counted(origin) if step is None else {"science": counted(origin), "at": step}}
    return {}


def of_earlier_versions(config: Mapping[str, Any]) -> str:
    """The identity as it was before the number of steps stood apart: run folders of that time are named by it."""
    held: dict[str, Any] = {"science": result_keys(earlier.as_then(config))}
    if config.get("fork") and config.get("resume"):
        parent = runs.read_config(runs.place(config["resume"]))
        held["parent"] = {"science": result_keys(earlier.as_then(parent)), "fork": bool(parent.get("fork"))}
    if config.get("init_from"):
        held["init_from"] = result_keys(earlier.as_then(_origin(config["init_from"])[0]))
    return _digest(held)


def differing(one: Mapping[str, Any], other: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of the entries that differ, sorted."""
    found: list[str] = []
    for key in sorted({*one, *other}):
        mine, yours = one.get(key), other.get(key)
        if isinstance(mine, Mapping) and isinstance(yours, Mapping):
            found += differing(mine, yours, f"{prefix}{key}.")
        elif (key in one) != (key in other) or not same(mine, yours):
            found.append(f"{prefix}{key}")
    return found


def changed(config: Mapping[str, Any], held: Mapping[str, Any]) -> list[str]:
    """Dotted names of what counts and differs from the config ``held`` of a run; files that are the same count as the same."""
    found = differing(counted(config), counted(held))
    root = entry(config, "dataset.root")
    if (
        "dataset.content" in found
        and root is not None
        and image_folder.earlier_digest(str(root)) == entry(held, "dataset.content")
    ):
        found.remove("dataset.content")
    return found


def same(one: Any, other: Any) -> bool:
    """Equal values: 1 and 1.0 are, 1 and true are not."""
    return json.dumps(_whole(one), sort_keys=True) == json.dumps(_whole(other), sort_keys=True)


def entry(config: Mapping[str, Any], path: str) -> Any:
    """The entry under a dotted name; None where there is none."""
    found: Any = config
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def verify(config: Mapping[str, Any], folder: Path) -> None:
    """Raise ``BadInput`` unless ``folder`` is new, or holds the run of ``config``, which may go on there.

    A config.yaml that is gone or damaged is no reason to refuse the command whose identity run.json holds: it is written again.
    """
    record = RunFolder(folder)
    if not folder.is_dir():
        return
    facts = record.facts()
    begun = runs.has_begun(folder)
    if config.get("fresh"):
        if not (begun or facts or record.config.exists()) and any(not path.name.startswith(".") for path in folder.iterdir()):
            raise BadInput(f"fresh=true: {folder} holds no run, so it is not set aside; choose another folder")
        return
    if not begun and not record.config.exists():
        return
    in_place = bool(config.get("resume")) and not config.get("fork")
    known = facts.get("identity")
    own = None if in_place else identity(config)
    try:
        held = runs.read_config(folder)
    except BadInput:
        if own is None or known != own:
            raise
    else:
        others = changed(config, held)
        if others:
            raise BadInput(_another(folder, others, config, held))
        if not in_place and _lineage_differs(config, held, known, own):
            raise BadInput(
                f"{folder}: holds a run that started from elsewhere (resume={held.get('resume')}, fork={held.get('fork')}, "
                f"init_from={held.get('init_from')}). {_choose(folder)}"
            )
    if in_place and int(config["steps"]) < facts.get("step", 0):
        raise BadInput(f"steps={config['steps']}: this run is already at step {facts['step']}")


def scheduled(folder: object, config: Mapping[str, Any], held: Mapping[str, Any]) -> str:
    """The sentence for a run that cannot be prolonged."""
    return (
        f"steps={config['steps']}: the optimizer of {folder} follows a schedule over its {held['steps']} steps "
        f"({over_the_run(held)}), so a run of {config['steps']} is another one from "
        f"its first step on. Go on from its checkpoint under the new schedule: {override('resume', str(folder))} "
        f"steps={config['steps']} fork=true"
    )


def _another(folder: Path, changed: list[str], config: Mapping[str, Any], held: Mapping[str, Any]) -> str:
    if changed == ["steps"]:
        return scheduled(folder, config, held)
    listed = [f"{key} is {_shown(entry(held, key))} there and {_shown(entry(config, key))} here" for key in changed[:NAMED]]
    more = f", and {len(changed) - NAMED} more" if len(changed) > NAMED else ""
    return f"{folder}: holds another run: {', '.join(listed)}{more}. {_choose(folder)}"


def _choose(folder: Path) -> str:
    resumed = override("resume", folder)
    return f"Choose another folder; {resumed} goes on with that run; fresh=true sets it aside and starts this one"


def _shown(value: Any) -> str:
    return "not set" if value is None else str(value.get("name", "set")) if isinstance(value, Mapping) else str(value)


def _lineage_differs(config: Mapping[str, Any], held: Mapping[str, Any], known: str | None, own: str | None) -> bool:
    """By identity; for a folder of an earlier version, which holds none, by what its config says of its start."""
    if known is not None:
        return known != own
    keys = ("resume", "fork") if held.get("fork") or config.get("fork") else ("init_from",)
    return any(bool(config.get(key)) != bool(held.get(key)) for key in keys)


def _origin(target: Any) -> tuple[dict[str, Any], int | None]:
    """(config, step where a checkpoint file is named) of the run whose weights another one starts with."""
    try:
        folder, file = runs.locate(Path(str(target)))
        return runs.read_config(folder), None if file == folder else runs.step_of(file)
    except BadInput as error:
        raise BadInput(f"init_from={target}: {error}") from error


def _digest(held: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(held, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _without(config: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    kept = {}
    for key, value in config.items():
        path = f"{prefix}{key}"
        if path not in NEUTRAL:
            kept[str(key)] = _without(value, f"{path}.") if isinstance(value, Mapping) else value
    return kept


def _whole(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _whole(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_whole(inner) for inner in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
