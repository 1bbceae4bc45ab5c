"""What there is to choose, read from the yaml files alone: their first comment line, their keys with defaults and comments.

Imports neither torch nor Hydra, so ``ganrun list`` and TAB completion answer at once.
"""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ganrun.cli.schema.comments import comments
from ganrun.cli.schema.grammar import Rule, World
from ganrun.cli.schema.keys import Key, conf_dir, described, is_root_text, keys_of_root, root, takes_text
from ganrun.disk import yaml_files
from ganrun.disk.identity import STACKS, leaves
from ganrun.ground import registry
from ganrun.ground.errors import BadInput, suggestion

GROUPS = (
    *("model", "game", "condition", "loss", "regularizer", "dataset", "device", "metric", "disease", "optimizer"),
    "tracker",
    "experiment",
)
WRITERS = ("model", "dataset", "experiment")  # options that may choose and write in other groups; the later one wins
PACKAGE = re.compile(r"#\s*@package\s+(\S+)")
LINK = re.compile(r"\$\{.*\}")


@dataclass
class OptionFile:
    """One option of a group. ``values`` are its own keys with their defaults, ``sets`` root keys, ``chooses`` options.

    ``comments``: of its own keys, by their dotted path in it.
    """

    group: str
    name: str
    path: Path
    description: str = ""
    package: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    sets: dict[str, Any] = field(default_factory=dict)
    chooses: dict[str, Any] = field(default_factory=dict)
    comments: dict[str, str] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """Where its keys stand in a config: ``loss``, ``regularizer.r1``."""
        return self.package if self.package and not self.is_global else self.group

    @property
    def is_global(self) -> bool:
        """True for a file that may write anywhere in the config."""
        return self.package == "_global_"


def places(config_dir: Path | None) -> list[Path]:
    """The folders that hold options, the user's own first."""
    if config_dir is not None and not config_dir.is_dir():
        raise BadInput(f"--config-dir {config_dir}: there is no such folder")
    return [conf_dir()] if config_dir is None else [config_dir, conf_dir()]


def groups(folders: Sequence[Path]) -> list[str]:
    """Names of all groups: ganrun's in their usual order, then any of the user's."""
    found = {path.name for folder in folders for path in folder.iterdir() if path.is_dir() and any(path.rglob("*.yaml"))}
    return [group for group in GROUPS if group in found] + sorted(found - set(GROUPS) - {"hydra"})


def files(group: str, folders: Sequence[Path]) -> dict[str, Path]:
    """The options of ``group`` with their files, sorted by name; an option of the user's hides ours of the same name."""
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted((folder / group).rglob("*.yaml")):
            found.setdefault(path.relative_to(folder / group).with_suffix("").as_posix(), path)
    return dict(sorted(found.items()))


def entry(group: str, name: str, folders: Sequence[Path]) -> OptionFile:
    """The option ``name`` of ``group`` with what it takes over from the options that it builds on."""
    return _entry(group, name, files(group, folders))


def _entry(group: str, name: str, options: Mapping[str, Path]) -> OptionFile:
    """The same, where the group's ``options`` are known."""
    path = options[name]
    text = yaml_files.read(path)
    content, said = copy.deepcopy(_parsed(text, path))
    found = OptionFile(group, name, path, *_comments(text))
    for base in _bases(content, group):
        if base in options and base != name:
            inherited = _entry(group, base, options)
            found.values = _merge(found.values, inherited.values)
            found.comments |= inherited.comments
            found.sets = _merge(found.sets, inherited.sets)
            found.chooses |= inherited.chooses
    chooses = dict(_choices(content))
    for other in found.sets.keys() & chooses.keys() - set(STACKS):
        if chooses[other] != found.chooses.get(other):
            del found.sets[other]  # what was inherited is of another option
    found.chooses |= chooses
    place = f"{group}." if found.is_global else ""
    found.comments |= {key.removeprefix(place): words for key, words in said.items() if key.startswith(place)}
    own = {str(key): value for key, value in content.items() if key != "defaults"}
    if found.is_global:
        found.values = _merge(found.values, own.pop(group, {}))
        found.sets = _merge(found.sets, own)
    else:
        found.values = _merge(found.values, own)
    return found


@functools.lru_cache(maxsize=1024)
def _parsed(text: str, path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """(content, comments of its keys) of an option's file with this ``text``: a command asks for the same files many times."""
    return yaml_files.parse(text, path, is_root_text), comments(text)


def led_to(writer: str, name: str, folders: Sequence[Path]) -> dict[str, tuple[dict[str, Any], str]]:
    """{group: (values, option)}: what the option ``name`` of a writer writes into other groups, and for which option there.

    That is the one that it chooses, or that its data set, its model or config.yaml choose where it does not: what stands in the
    group where nobody types another one. Stacks are left out: an entry of theirs that is not chosen is idle by itself.
    """
    own = entry(writer, name, folders)
    groups = [group for group in own.sets if group in GROUPS and group not in (*STACKS, writer)]
    return {group: (own.sets[group], _leads_to(own, group, folders)) for group in groups if isinstance(own.sets[group], dict)}


def _leads_to(own: OptionFile, group: str, folders: Sequence[Path]) -> str:
    """The option of ``group`` where ``own`` is chosen and nothing else."""
    chosen = {own.group: own.name}
    for writer in reversed(WRITERS):  # the later one wins, and its choice may be the earlier one's
        name = chosen.get(writer, defaults()[writer][0])
        if name in files(writer, folders):
            for key, option in entry(writer, name, folders).chooses.items():
                chosen.setdefault(key, option)
    return str(chosen.get(group, defaults()[group][0]))


def entries(group: str, folders: Sequence[Path]) -> list[OptionFile]:
    """All options of ``group``; ``BadInput`` with the nearest names if there is no such group."""
    valid = groups(folders)
    if group not in valid:
        raise BadInput(f"there is no group {group!r}. {suggestion(group, valid)}")
    options = files(group, folders)
    return [_entry(group, name, options) for name in options]


def defaults() -> dict[str, list[str]]:
    """The options that a command without overrides stands for: {group: [option, ...]}."""
    content = root()
    chosen = {group: value for item in content["defaults"] if isinstance(item, dict) for group, value in item.items()}
    return {group: value if isinstance(value, list) else [value] for group, value in chosen.items() if " " not in group}


def details(option: OptionFile) -> str:
    """Options with defaults, root keys and choices of an entry, on one line."""
    words = [f"{key}={value}" for key, value in flat(option.values) if key != "name"]
    words += [f"{group}={text(value)}" for group, value in option.chooses.items()]
    words += [f"{key}={value}" for key, value in flat(option.sets)]
    return "  ".join(words)


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted keys with their defaults; a mapping that only points elsewhere (TTUR's per-player values) in one word."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            if all(isinstance(inner, str) and LINK.fullmatch(inner) for inner in value.values()):
                yield f"{prefix}{key}", f"{{{', '.join(value)}}}"
            else:
                yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", text(value)


def package(text: str) -> str:
    """The place that a file's first lines give its keys: ``# @package loss``; empty for none."""
    return _comments(text)[1]


def is_text(path: Sequence[str], folders: Sequence[Path]) -> bool:
    """True where the dotted key, cut at the dots, takes text: its default is text, in each option of its group that has it."""
    dotted, group = ".".join(path), path[0] if path else ""
    if group not in groups(folders):
        return is_root_text(path)
    parent = ".".join(path[:-1])
    held = [
        key if key.path == dotted else Key(dotted, key.default[0], key.rule and key.rule.entries, "")
        for option in _readable(group, folders)
        for key in keys(option)
        if key.path == dotted or (key.path == parent and path[-1].isdigit() and isinstance(key.default, list) and key.default)
    ]
    return bool(held) and all(takes_text(key.default, key.rule) for key in held)


def keys(option: OptionFile) -> Iterator[Key]:
    """The keys of an option, but for its name. What a preset does not say of them, its component's own file does."""
    component = option.values.get("name")
    ours = conf_dir() / option.group / f"{component}.yaml"
    said = option.comments
    if isinstance(component, str) and component != option.name and ours.is_file() and ours != option.path:
        said = entry(option.group, component, [conf_dir()]).comments | said
    elsewhere = {key.path: key for key in keys_of_root()}
    values = {key: value for key, value in option.values.items() if key != "name"}
    yield from described(values, said, f"{option.place}.", elsewhere.get)


def rules(chosen: Mapping[str, str], folders: Sequence[Path]) -> Callable[[str], Rule | None]:
    """What the key at a dotted path takes, where these options are chosen; of a stack, the option is part of the path."""
    of_root = {key.path: key.rule for key in keys_of_root()}
    known: dict[tuple[str, str], dict[str, Rule | None]] = {}

    def of(path: str) -> Rule | None:
        group, *inner = path.split(".")
        option = inner[0] if group in STACKS and inner else chosen.get(group, "")
        found = of_root
        if group not in of_root and option:
            if (group, option) not in known:
                known[group, option] = {key.path: key.rule for key in _keys_of(group, option, folders)}
            found = known[group, option]
        parent, _, last = path.rpartition(".")
        if path not in found and last.isdigit():
            above = found.get(parent)
            return above.entries if above is not None else None
        return found.get(path)

    return of


def _keys_of(group: str, option: str, folders: Sequence[Path]) -> Iterator[Key]:
    with suppress(BadInput, KeyError):
        yield from keys(entry(group, option, folders))


def world(folders: Sequence[Path], plugins: Any = ()) -> World:
    """What rules may refer to: the options of ``folders``, and whether ``plugins`` or installed packages may add components."""
    return World(lambda group: components(group, folders), bool(plugins) or bool(registry.installed_plugins()))


def components(group: str, folders: Sequence[Path]) -> list[str]:
    """The options of ``group`` that stand for one component: neither presets nor ``none`` nor ``all``."""
    return [option.name for option in _readable(group, folders) if option.values.get("name") == option.name]


def _readable(group: str, folders: Sequence[Path]) -> Iterator[OptionFile]:
    """The options whose files can be read: one that cannot is named when it is chosen."""
    options = files(group, folders)
    for name in options:
        with suppress(BadInput):
            yield _entry(group, name, options)


def owners(path: Sequence[str], folders: Sequence[Path]) -> list[str]:
    """The options of the group ``path[0]`` that have the key, cut at the dots; only those in which others follow it, if any do.

    So ``dataset.root`` leads to folders of images, whose content follows the root, and not to sets with a place of download.
    """
    inside = ".".join(path[1:])
    held = {option.name: dict(leaves(option.values)) for option in _readable(path[0], folders)}
    found = [name for name, values in held.items() if inside in values]
    led = [name for name in found if any(f"${{.{inside}}}" in str(value) for value in held[name].values())]
    return led or found


def _comments(text: str) -> tuple[str, str]:
    """(description, package) from the comment lines at the top."""
    description, package = "", ""
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        header = PACKAGE.match(line)
        if header:
            package = header.group(1)
        elif not description:
            description = line.lstrip("# ").strip()
    return description, package


def _bases(content: Mapping[str, Any], group: str) -> Iterator[str]:
    """The options of its own group in a file's defaults list: ``adam``, ``dcgan@model``."""
    for item in content.get("defaults") or []:
        if isinstance(item, str) and item != "_self_":
            yield item.split("@")[0].removeprefix(f"/{group}/")


def _choices(content: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What a file's defaults list chooses in other groups: ``override /loss: hinge``."""
    for item in content.get("defaults") or []:
        if isinstance(item, dict):
            for key, value in item.items():
                if key.startswith("override ") and "hydra" not in key:
                    yield key.removeprefix("override ").strip().lstrip("/").split("@")[0], value


def _merge(base: Mapping[str, Any], over: Any) -> dict[str, Any]:
    merged = dict(base)
    for key, value in (over or {}).items():
        held = merged.get(key)
        merged[key] = _merge(held, value) if isinstance(held, Mapping) and isinstance(value, Mapping) else value
    return merged


def text(value: Any) -> str:
    """A value as people type it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{', '.join(text(inner) for inner in value)}]"
    if isinstance(value, float) and 0 < abs(value) < 1e-3:  # as people write it: 2e-4
        digits, _, power = f"{value:.15e}".partition("e")
        return f"{float(digits):.12g}e{int(power)}"
    return str(value)
