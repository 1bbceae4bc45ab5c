"""What stands where in a composed config: the schema of the chosen options, and which file wrote a value.

Recipes, data sets and experiments may write anywhere. So that a misspelt key of theirs does not pass for an option, the schema of
a group that they write into is what its own file says; where that file is a person's, the group is composed once more without
them. What they write for one option alone is gone by then where another one is chosen (see ``config_files``), and that is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ganrun.cli import kinds
from ganrun.cli.compose import Composer
from ganrun.cli.schema import catalog, compare, grammar
from ganrun.cli.schema.compare import Rules
from ganrun.disk.identity import STACKS, leaves
from ganrun.ground.spell import quoted as quote

ONLY_TYPED = ("plugins", "resume", "at", "fork", "fresh")  # what is imported and which folder is touched, a person says each time


@dataclass
class Layers:
    """A composed ``config`` (plain), the options ``chosen``, the ``base`` that values are compared with, and authors.

    ``written``: the config as it is compared with the base.
    ``writes``: {option as typed: top-level keys that its file writes outside its own group}, experiment first.
    """

    config: dict[str, Any]
    chosen: dict[str, str]
    written: dict[str, Any] = field(default_factory=dict)
    base: dict[str, Any] = field(default_factory=dict)
    writes: dict[str, list[str]] = field(default_factory=dict)
    typed_groups: frozenset[str] = frozenset()
    origin: str = "conf"
    rules: Rules = lambda path: None
    world: grammar.World = grammar.ALONE

    def author(self, path: str) -> str:
        """Who wrote the value at the dotted ``path``, as a person would type it."""
        head = path.partition(".")[0]
        return next((option for option, keys in self.writes.items() if head in keys), self.origin)


def analyse(
    composed: DictConfig,
    composer: Composer,
    folders: Sequence[Path],
    typed_groups: frozenset[str],
    origin: str,
    *,
    values_are_typed: bool = False,
) -> Layers:
    """Take a composed config apart; where ``values_are_typed``, it holds what a person typed, too, which is no schema.

    Keys that follow a typed one are then no values of a file.
    """
    choices = composed.hydra.runtime.choices
    chosen = {str(group): str(option) for group, option in choices.items() if group in composer.groups and option is not None}
    layers = Layers(plain(composed, skip=("hydra",)), chosen, typed_groups=typed_groups, origin=origin)
    raw: Any = OmegaConf.to_container(composed, resolve=False)
    layers.written = {str(key): value for key, value in raw.items() if key != "hydra"} if values_are_typed else layers.config
    layers.rules = rules(chosen, kinds.others(layers.config.get(kinds.GROUP)), folders)
    layers.world = catalog.world(folders, layers.config.get("plugins"))
    for group in sorted(chosen, key=lambda group: (group != "experiment", group)):
        if group not in STACKS and chosen[group] in catalog.files(group, folders):
            layers.writes[f"{group}={chosen[group]}"] = list(catalog.entry(group, chosen[group], folders).sets)
    layers.base = {key: value for key, value in catalog.root().items() if key not in ("defaults", "hydra", *composer.groups)}
    layers.base |= {key: value for key, value in layers.config.items() if key in composer.groups and key != "experiment"}
    written = {group for option, keys in layers.writes.items() for group in keys if group != option.split("=")[0]}
    for group in layers.base.keys() & (set(composer.groups) if values_are_typed else written):
        if group in composer.groups:
            of_file = _of_file(group, layers, folders)
            layers.base[group] = _pure(group, layers, composer) if of_file is None else of_file
    if chosen.get(kinds.GROUP) in catalog.files(kinds.GROUP, folders):
        own = catalog.entry(kinds.GROUP, chosen[kinds.GROUP], folders).values
        said = {player: {kinds.NAME: "", **layers.base[kinds.GROUP][player]} for player in kinds.players(own)}
        layers.base[kinds.GROUP] = {**layers.base[kinds.GROUP], **said}
    for player, kind in kinds.others(layers.config.get(kinds.GROUP)).items():
        layers.base[kinds.GROUP] = {**layers.base[kinds.GROUP], player: _of_kind(kind, folders)}
    return layers


def ours_alone(chosen: Mapping[str, str], folders: Sequence[Path]) -> bool:
    """True where each of these options is one of ganrun's own files, which say all of their keys themselves."""
    return all(
        name in (files := catalog.files(group, folders)) and files[name].is_relative_to(catalog.conf_dir())
        for group, name in chosen.items()
        if group not in STACKS
    )


def rules(chosen: Mapping[str, str], others: Mapping[str, str], folders: Sequence[Path]) -> Rules:
    """What the key at a dotted path takes; of a player with an optimizer of another kind, what that kind's own key takes."""
    usual = catalog.rules(chosen, folders)
    of_kind = {player: catalog.rules({**chosen, kinds.GROUP: str(kind)}, folders) for player, kind in others.items()}

    def of(path: str) -> grammar.Rule | None:
        group, _, inner = path.partition(".")
        player, _, key = inner.partition(".")
        if group == kinds.GROUP and player in of_kind and key != kinds.NAME:
            return of_kind[player](f"{group}.{key}")
        return usual(path)

    return of


def _of_kind(kind: Any, folders: Sequence[Path]) -> dict[str, Any]:
    """The keys of a player whose optimizer is of this kind; those of all kinds where there is none such."""
    valid = catalog.components(kinds.GROUP, folders)
    found: dict[str, Any] = {kinds.NAME: ""}
    for name in [kind] if kind in valid else valid:
        found |= {
            key: entry.example if kind in valid else compare.Anything for key, entry in kinds.keys_of(name, folders).items()
        }
    return found


def _of_file(group: str, layers: Layers, folders: Sequence[Path]) -> dict[str, Any] | None:
    """The keys of ``group`` as the chosen options' own files have them; None where one of these is not ganrun's."""
    held, files = layers.config[group], catalog.files(group, folders)
    named = [name for name, entry in held.items() if isinstance(entry, Mapping) and "name" in entry]
    found: dict[str, Any] = {}
    for name in named if group in STACKS else [layers.chosen.get(group, "")]:
        if name not in files or not files[name].is_relative_to(catalog.conf_dir()):
            return None
        option = catalog.entry(group, name, folders)
        found |= nested([(f"{option.place}.name", option.values.get("name")), *_examples(option)]).get(group, {})
    return found


def _examples(option: catalog.OptionFile) -> Iterator[tuple[str, Any]]:
    for key in catalog.keys(option):
        yield key.path, key.example


def nested(found: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Dotted keys as mappings in mappings."""
    tree: dict[str, Any] = {}
    for path, value in found:
        *above, last = path.split(".")
        holder = tree
        for part in above:
            holder = holder.setdefault(part, {})
        holder[last] = value
    return tree


def mistakes(layers: Layers, typed: set[str]) -> Iterator[str]:
    """What is wrong with what the files say, and not with the ``typed`` keys, which are looked at one by one."""
    config = dict(layers.written)
    if config.pop("experiment", None):
        yield f"experiment={layers.chosen.get('experiment')}: its first line must be '# @package _global_'"
    for place in _targets(config, ""):
        yield f"{layers.author(place)}: writes {place}; ganrun names components, it never runs a class path"
    for key in ONLY_TYPED:
        if config.get(key) and key not in typed:
            yield f"{layers.author(key)}: {key} belongs on the command line, not into a file"
    for mistake in compare.compare(layers.base, config, "", layers.rules, layers.world):
        path = mistake.path.split(".")
        if (
            any(mistake.path == key or mistake.path.startswith(f"{key}.") for key in typed)
            or _idle(path, config)
            or path[-1] == "_target_"
        ):
            continue
        author = layers.author(mistake.path)
        if mistake.unknown:
            yield f"{author}: writes {mistake.path}={mistake.value}, there is no such key. {compare.advice(layers.base, path)}"
        else:
            yield f"{author}: {mistake.path}={quote(mistake.value)} {mistake.why}"


def left_out(layers: Layers, folders: Sequence[Path]) -> Iterator[str]:
    """Values of a file that do not count, because a person chose another option of their group."""
    for writer in catalog.WRITERS:
        name = layers.chosen.get(writer, "")
        if name not in catalog.files(writer, folders):
            continue
        for group, (values, option) in catalog.led_to(writer, name, folders).items():
            if layers.chosen.get(group, option) != option and layers.typed_groups & {group, writer}:
                keys = ", ".join(f"{group}.{key}" for key, _ in leaves(values))
                here = f"{group}={layers.chosen[group]}"
                yield f"note: {writer}={name} sets {keys} for {group}={option}; with {here} that is left out"


def plain(config: Any, skip: Sequence[str] = ()) -> Any:
    """Plain containers, resolved leaf by leaf; what cannot be resolved by itself fits ``Anything``."""
    if isinstance(config, DictConfig):
        return {str(key): _resolved(config, key) for key in config if key not in skip}
    return [_resolved(config, place) for place in range(len(config))]


def _resolved(config: DictConfig | ListConfig, key: Any) -> Any:
    if OmegaConf.is_missing(config, key):
        return "???"
    try:
        entry = config[key]
    except OmegaConfBaseException:
        return compare.Anything
    return plain(entry) if OmegaConf.is_config(entry) else entry


def holds_link(value: Any) -> bool:
    """True where an interpolation stands in ``value`` or in what it holds."""
    if isinstance(value, Mapping):
        return any(holds_link(entry) for entry in value.values())
    if isinstance(value, list):
        return any(holds_link(entry) for entry in value)
    return isinstance(value, str) and "${" in value


def _pure(group: str, layers: Layers, composer: Composer) -> Any:
    """``group`` as its own option file has it, without what recipes and experiments write into it."""
    if group in STACKS:
        names = [name for name, entry in layers.config[group].items() if isinstance(entry, Mapping) and "name" in entry]
        option = quote([name for name in names if name in composer.options(group)])
    else:
        option = quote(layers.chosen[group])
    return plain(composer.compose([f"{group}={option}", "experiment=none"])).get(group, {})


def _targets(entry: Any, where: str) -> Iterator[str]:
    if isinstance(entry, Mapping):
        for key, value in entry.items():
            if key == "_target_":
                yield f"{where}{key}"
            else:
                yield from _targets(value, f"{where}{key}.")
    elif isinstance(entry, list):
        for place, value in enumerate(entry):
            yield from _targets(value, f"{where}{place}.")


def _idle(path: list[str], config: Mapping[str, Any]) -> bool:
    """True within a stack entry without a name: left over from an experiment whose choice was replaced."""
    if path[0] not in STACKS or len(path) < 2:
        return False
    held = config[path[0]].get(path[1])
    return isinstance(held, Mapping) and "name" not in held
