"""``resume=RUN``: the run's own config, written as the overrides that compose it, before what a person types.

So Hydra composes what runs: ``--cfg job`` shows it, sweeps and launchers work, and the check is the usual one. A typed
option of a group replaces the run's whole group; a typed value replaces one key. Keys that follow another one (a
player's learning rate follows the optimizer's) go on following it, and what is read from the data is read again.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from ganrun.cli import kinds
from ganrun.cli.compose import Composer
from ganrun.cli.overrides import Typed, value_of
from ganrun.disk import identity, image_folder, runs
from ganrun.disk.identity import STACKS
from ganrun.ground.errors import BadInput, suggestion
from ganrun.ground.spell import command as spelt
from ganrun.ground.spell import escaped, names
from ganrun.ground.spell import quoted as quote

OWN = ("resume", "at", "fresh", "fork", "plugins")  # never taken from the run: each command says them itself
READ_AGAIN = "${content:"


@dataclass(frozen=True)
class Origin:
    """A run that a command starts from: its folder, its config, and the overrides that compose it."""

    folder: Path
    config: dict[str, Any]
    overrides: list[str]


def origin(
    folder: Path, typed: Sequence[Typed], composer: Composer, command: Sequence[str | Path], *, exact: bool = True
) -> Origin:
    """Read the run in ``folder``; ``typed`` are a person's overrides, which come after.

    ``command``: the words after ``ganrun`` that name the run.
    ``exact`` removes keys that the run does not have (an older run, a newer ganrun).
    Raises ``BadInput`` where its config is unusable or its plugins are not typed.
    """
    folder = folder.absolute()
    config = runs.read_config(folder)
    for sentence in runs.lacking_plugins(folder):
        sys.stderr.write(f"{sentence}\n")
    chosen = {entry.key for entry in typed if entry.key in composer.groups}
    _ask_for_plugins(config, typed, f"{folder}: this run used", command)
    choices = ["experiment=none"]
    for group in composer.groups:
        if group not in chosen and group != "experiment":
            choices += _choice(group, config.get(group), folder, composer)
    replaced = [entry.spelt for entry in typed if entry.key in chosen and _is_plain(entry, composer)]
    optimizer = config.get(kinds.GROUP)
    if kinds.GROUP not in chosen:  # a player's kind is chosen as an option of a group is
        chosen |= {f"{kinds.GROUP}.{found[0]}" for entry in typed if (found := _kinds(entry))}
        for player, kind in kinds.others(optimizer).items():
            if f"{kinds.GROUP}.{player}" not in chosen and kind in composer.options(kinds.GROUP):
                choices.append(f"{kinds.GROUP}.{player}.{kinds.NAME}={quote(kind)}")
    composed = copy.deepcopy(composer.compose([*choices, *replaced]))
    for key in config:
        if key not in composed or key == "hydra":
            raise BadInput(f"{folder / 'config.yaml'}: {key!r} is not a key of a run. {suggestion(key, map(str, composed))}")
    overrides = list(choices)
    taken = {key: value for key, value in config.items() if key not in chosen and key not in OWN}
    for links in (False, True):  # what follows another key comes last: by then, most of it has the run's value
        for key, value in taken.items():
            overrides += _differences(composed, key, value, key, links, exact, chosen)
    return Origin(folder, config, overrides)


def architecture(typed: Sequence[Typed], composer: Composer) -> list[str]:
    """The overrides that give a new run the model of the run that ``init_from`` names, whose weights it starts with.

    None where a person chooses a model, or an experiment, which does. Typed keys of the model come after and win.
    """
    named = [entry for entry in typed if entry.key == "init_from"]
    if any(entry.key in ("model", "experiment", "resume") for entry in typed) or any(
        entry.override.is_sweep_override() for entry in named
    ):
        return []
    target = value_of("init_from", typed)
    if target is None:
        return []
    try:
        folder = runs.locate(runs.place(str(target)))[0]
        model = runs.read_config(folder).get("model")
    except BadInput as error:
        raise BadInput(f"init_from={target}: {error}") from error
    others = [entry.spelt for entry in typed if entry.key in composer.groups and _is_plain(entry, composer)]
    found = list(_choice("model", model, folder, composer))
    composed = composer.compose([*found, *others])
    for links in (False, True):
        found += _differences(composed, "model", model, "model", links, True, set())
    return found


def refused_in_place(start: Origin, config: Mapping[str, Any]) -> str | None:
    """Why ``config`` cannot go on in the run's own folder, or None."""
    changed = identity.changed(config, start.config)
    if not changed:
        return None
    root = identity.entry(config, "dataset.root")
    gone = image_folder.why_not_there(str(root)) if "dataset.content" in changed and root is not None else None
    if gone is not None:
        return f"resume={start.folder}: dataset.root={root}: {gone}. Put it back, or say where it is: dataset.root=DIR"
    if changed == ["steps"]:
        return identity.scheduled(start.folder, config, start.config)
    files = " (the files of the data set are not those of the run)" if changed == ["dataset.content"] else ""
    return f"resume={start.folder}: would change {', '.join(changed)}{files}; add fork=true to go on in a folder of its own"


def _kinds(entry: Typed) -> tuple[str, list[Any]] | None:
    return None if entry.override.is_delete() else kinds.chosen_by(entry.key, [value for _, value in entry.values])


def _is_plain(entry: Typed, composer: Composer) -> bool:
    """True for a choice of existing options that is no sweep; anything else is the check's to refuse."""
    override = entry.override
    if override.is_sweep_override() or override.is_delete() or entry.adds:
        return False
    value = override.value()
    return all(str(name) in composer.options(entry.key) for name in (value if isinstance(value, list) else [value]))


def _ask_for_plugins(config: Mapping[str, Any], typed: Sequence[Typed], who: str, command: Sequence[str | Path]) -> None:
    """A run folder never imports anything: its plugins must be typed again by a person."""
    wanted = config.get("plugins") or []
    if not isinstance(wanted, list):
        raise BadInput(f"{who} plugins={wanted}, which is not a list")
    value = value_of("plugins", typed)
    given = [str(module) for module in value] if isinstance(value, list) else []
    if not {str(module) for module in wanted} <= set(given):
        text = f"plugins={names(map(str, wanted))}"
        again = spelt(*command, plugins=map(str, wanted))
        raise BadInput(f"{who} {text}; a run folder imports nothing by itself, so type it again: {again}")


def _choice(group: str, held: Any, folder: Path, composer: Composer) -> Iterator[str]:
    """The override that chooses the run's option of ``group``; nothing where its yaml is not there (a user's own)."""
    if held is None and group in ("disease", "condition", "tracker"):
        return  # the run is from before there were any
    if not isinstance(held, Mapping):
        raise BadInput(f"{folder / 'config.yaml'}: {group!r} must be a mapping of keys to values")
    options = composer.options(group)
    if group in STACKS:
        named = [str(name) for name, entry in held.items() if isinstance(entry, Mapping) and "name" in entry]
        yield f"{group}={quote([name for name in named if name in options])}"
    elif str(held.get("name")) in options:
        yield f"{group}={quote(str(held['name']))}"


def _differences(
    composed: DictConfig, key: str, value: Any, path: str, links: bool, exact: bool, chosen: Set[str]
) -> Iterator[str]:
    """Overrides that turn ``composed[key]`` into ``value``, applied to ``composed`` on the way.

    Only of keys that follow another one (``links``), or only of the others. A key that follows a group which is ``chosen`` anew
    goes on following it.
    """
    if path in chosen:
        return
    if key not in composed:
        if not links:
            OmegaConf.update(composed, key, escaped(value), force_add=True)
            yield f"++{path}={quote(value)}"
        return
    is_link = OmegaConf.is_interpolation(composed, key)
    if is_link and (_raw(composed, key).startswith(READ_AGAIN) or _raw(composed, key)[2:-1] in chosen):
        return
    held = _resolved(composed, key)
    if isinstance(value, Mapping) and isinstance(held, DictConfig):
        gone = [str(name) for name in held if name not in value] if exact and not links and path not in identity.NEUTRAL else []
        for inner in gone:
            # Hydra finds nothing to delete in a null, nor in what follows a key that is gone
            if OmegaConf.is_interpolation(held, inner) or OmegaConf.select(held, inner) is None:
                yield f"++{path}.{inner}=0"
            with open_dict(held):
                del held[inner]
            yield f"~{path}.{inner}"
        for inner in value:
            yield from _differences(held, inner, value[inner], f"{path}.{inner}", links, exact, chosen)
    elif is_link == links and not identity.same(OmegaConf.to_container(held) if OmegaConf.is_config(held) else held, value):
        OmegaConf.update(composed, key, escaped(value), merge=False)
        yield f"{path}={quote(value)}"


def _raw(composed: DictConfig, key: str) -> str:
    held = OmegaConf.to_container(composed, resolve=False)
    assert isinstance(held, dict)
    return str(held[key])


def _resolved(composed: DictConfig, key: str) -> Any:
    """The entry, or a value that equals nothing where it follows a key that is gone."""
    try:
        return composed[key]
    except OmegaConfBaseException:
        return "???"
