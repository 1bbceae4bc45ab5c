"""The readable part of a run folder's name: its choices, and what of it differs from the defaults.

``dcgan-hinge-digits-concat-r1-batch_size_128-lr_0.0001-r1.weight_5``. Read from the resolved config and ganrun's own option files
alone, so that the name is the same in every process and on every machine. It is bounded and says how many differences
it leaves out; what tells runs apart is the signature behind it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ganrun.cli import kinds
from ganrun.cli.schema import catalog
from ganrun.cli.schema.keys import root_keys
from ganrun.ground.errors import BadInput
from ganrun.ground.spell import escaped

LONGEST = 80  # characters
WIDEST = 24  # characters of a word
ALWAYS = ("model", "loss", "dataset")
CHOICES = ("game", "condition", "regularizer", "optimizer")
SILENT = ("steps", "seed", "plugins", "fork", "resume", "name")  # said elsewhere, or no setting
FOLLOWED = ("game", "condition")  # follows the group, whose options are compared
RESOLVER = re.compile(r"\$\{\w+:")


def words(config: Mapping[str, Any], counted: Mapping[str, Any]) -> list[str]:
    """Words for ``config``; of its values, those in ``counted``, a part of it, are compared with the defaults."""
    chosen = {group: _named(config.get(group)) for group in (*ALWAYS, *CHOICES)}
    usual = _usual(*(chosen[group][0] if chosen[group] else "" for group in ("model", "dataset")))
    found = [name for group in ALWAYS for name in chosen[group]]
    for group in CHOICES:
        if chosen[group] != usual.get(group, chosen[group]):
            found += chosen[group] or [f"no_{group}"]
    if config.get("init_from"):
        found.append("init_from")
    if config.get("fork") and config.get("resume"):
        found.append("fork")
    return _bounded([_plain(word) for word in [*found, *_values(config, counted, usual)]])


@functools.lru_cache(maxsize=64)
def _usual(model: str, dataset: str) -> dict[str, Any]:
    """Choices and root values that stand where nobody says otherwise: config.yaml's, then the model's, then the data set's.

    A choice is the names that it leaves in a config, and under ``options`` the option: ``optimizer=ttur`` is an adam. What they
    write into other groups stands under ``written``, for the options there that they lead to.
    """
    found: dict[str, Any] = catalog.defaults() | root_keys()
    written: dict[str, Any] = {}
    for group, name in (("model", model), ("dataset", dataset)):
        entry = _entry(group, name)
        if entry is not None:
            found |= entry.chooses | {key: value for key, value in entry.sets.items() if key not in catalog.GROUPS}
            written |= {key: value for key, value in entry.sets.items() if key in catalog.GROUPS}
    options = {group: _listed(found[group]) for group in (*ALWAYS, *CHOICES)}
    names = {group: sorted(_own_name(group, option) for option in listed) for group, listed in options.items()}
    return found | names | {"options": options, "written": written}


def _own_name(group: str, option: str) -> str:
    entry = _entry(group, option)
    return option if entry is None else str(entry.values.get("name", option))


def _values(config: Mapping[str, Any], counted: Mapping[str, Any], usual: Mapping[str, Any]) -> Iterator[str]:
    """``key_value`` for each value that is not what its option's file, or the root, says."""
    leaves = list(_leaves({**{key: config.get(key) for key in ("n_critic", "pack", "condition")}, **counted}))
    leaves = [(path, value) for path, value in leaves if path[0] not in SILENT and path[:2] != FOLLOWED]
    leaves = [(path, value) for path, value in leaves if path[-1] != "name" or kinds.player_of(".".join(path))]
    defaults = {path: _default(path, config, usual) for path, _ in leaves}
    links = {path: entry for path, entry in defaults.items() if isinstance(entry, str) and "${" in entry}
    defaults |= _followed(config, links)
    for path, value in leaves:
        if defaults[path] is not ... and not _same(value, defaults[path]):
            yield f"{_key(path).removesuffix('.name')}_{_text(value)}"


def _default(path: tuple[str, ...], config: Mapping[str, Any], usual: Mapping[str, Any]) -> Any:
    """The value that a file gives to ``path``; Ellipsis where none does."""
    group, inner = path[0], path[1:]
    if not inner:
        return usual.get(group, ...)
    if group == "regularizer":
        name, inner = inner[0], inner[1:]
    else:
        name = next(iter(_named(config.get(group))), "")
        if len(inner) > 1 and inner[-1] != kinds.NAME:  # a player's optimizer of another kind has that kind's defaults
            kind = kinds.others(config.get(group)).get(inner[0]) if group == kinds.GROUP else None
            name, inner = (kind, inner[1:]) if kind is not None else (name, inner)
        if usual.get(group) == [name]:
            name = usual["options"].get(group, [name])[0]
    entry = _entry(group, name)
    written = usual["written"] if usual.get(group) == [name] else {}
    for values, keys in ((written, path), ({} if entry is None else entry.values, inner)):
        held: Any = values
        for key in keys:
            held = held.get(key, ...) if isinstance(held, Mapping) else ...
        if held is not ...:
            return held
    return ...


@functools.lru_cache(maxsize=256)
def _entry(group: str, name: str) -> catalog.OptionFile | None:
    """ganrun's own option; None for a person's."""
    try:
        return catalog.entry(group, name, [catalog.conf_dir()])
    except (KeyError, BadInput):
        return None


def _followed(config: Mapping[str, Any], links: Mapping[tuple[str, ...], str]) -> dict[tuple[str, ...], Any]:
    """What each link stands for at its place in ``config``; Ellipsis where that cannot be said."""
    tree = escaped({key: entry for key, entry in config.items() if key != "hydra"})
    for path, link in links.items():
        held = tree
        for key in path[:-1]:
            held = held.setdefault(key, {})
        held[path[-1]] = None if RESOLVER.search(link) else link
    made, found = OmegaConf.create(tree), {}
    for path, link in links.items():
        try:
            value = ... if RESOLVER.search(link) else OmegaConf.select(made, ".".join(path))
        except (OmegaConfBaseException, ValueError):
            value = ...
        found[path] = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
    return found


def _leaves(entry: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in entry.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*path, str(key)))
        else:
            yield (*path, str(key)), value


def _named(entry: Any) -> list[str]:
    """The option, or the options of a stack, that a group's part of a config holds."""
    if not isinstance(entry, Mapping):
        return _listed(entry)
    if "name" in entry:
        return _listed(str(entry["name"]))
    return sorted(str(key) for key, inner in entry.items() if isinstance(inner, Mapping) and "name" in inner)


def _listed(option: Any) -> list[str]:
    options = option if isinstance(option, list) else [option]
    return sorted(str(entry) for entry in options if entry not in (None, "none"))


def _same(one: Any, other: Any) -> bool:
    """Equal values; YAML 1.1 reads 1e-4 as text."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, bool) or isinstance(other, bool) or one is None or other is None:
        return one is other
    try:
        return float(one) == float(other)
    except (TypeError, ValueError):
        return bool(one == other)


def _key(path: tuple[str, ...]) -> str:
    """``lr`` for optimizer.lr, ``generator.width`` for model.generator.width, ``r1.weight`` for regularizer.r1.weight."""
    return ".".join(path[1:] if len(path) > 1 else path)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "_".join(map(_text, value))
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _plain(word: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "_", word)[:WIDEST].strip("-.")


def _bounded(found: list[str]) -> list[str]:
    """As many words as fit, and how many more there are."""
    found = [word for word in found if word]
    for count in range(len(found), 0, -1):
        kept = [*found[:count], *([f"and-{len(found) - count}-more"] if count < len(found) else [])]
        if len("-".join(kept)) <= LONGEST or count <= len(ALWAYS):
            return kept
    return found
