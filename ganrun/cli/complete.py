"""TAB completion of overrides: groups, their options, keys with their defaults. Read from the yaml files, so it is quick.

Bash splits words at ``=``, other shells do not: ``model=w`` arrives as one word, or as ``model``, ``=``, ``w``; then
only the part after ``=`` is wanted back.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import typer

from ganrun.cli.schema import catalog, grammar
from ganrun.cli.schema.keys import root_keys
from ganrun.disk import runs
from ganrun.ground.errors import GanrunError
from ganrun.metrics import declared

PLACES = ("output", "dataset.root", "dataset.source", "dataset.target")  # keys that name a folder
EXPERIMENT = re.compile(r'@experiment\("(\w+)"')

# What may differ from the run's own config, by command.
ALLOWED: dict[str, tuple[str, ...]] = {"eval": ("metric", "evaluation", "device", "plugins", "dataset.root")}
ALLOWED |= {
    "sample": ("device", "plugins", "evaluation.standing"),
    "export": ("device", "plugins", "dataset.root"),
    "probe": ("device", "plugins", "dataset.root"),
}
ALLOWED |= {"doctor": ALLOWED["probe"], "replay": ALLOWED["probe"], "invert": ALLOWED["probe"], "report": ALLOWED["probe"]}


def words(context: typer.Context, incomplete: str) -> list[str]:
    """What ``incomplete`` may become; Typer calls it with what stands before it in ``context``."""
    before = [str(word) for word in context.params.get("overrides") or []]
    config_dir = context.params.get("config_dir")
    allowed = ALLOWED.get(str(context.info_name))
    try:
        found = complete(before, incomplete, Path(config_dir) if config_dir else None)
    except (GanrunError, OSError):  # a shell waiting for TAB is no place for an error
        return []
    return _for_shell([word for word in found if allowed is None or "=" not in word or is_allowed(word, allowed)])


def at(found: Callable[[str], list[str]]) -> Callable[[str], list[str]]:
    """``found`` for an argument or an option, spelt for the shell that asks."""

    def complete_word(incomplete: str) -> list[str]:
        return _for_shell(found(incomplete))

    return complete_word


def _for_shell(words: list[str]) -> list[str]:
    """Bash takes what it gets as typed, so what would end or change a word gets a backslash there, unless a quote is open.

    Other shells quote for themselves.
    """
    if os.environ.get("_GANRUN_COMPLETE") != "complete_bash":
        return words
    try:
        shlex.split(os.environ.get("COMP_WORDS", ""))
    except ValueError:  # an open quote
        return words
    return [re.sub(r"""([\s'"\\()&;|<>$`*?#!])""", r"\\\1", word) for word in words]


def run_folders(incomplete: str) -> list[str]:
    """Run folders below ``outputs``, or below what is typed, that begin so; of one that is typed whole, its checkpoints too."""
    found: list[str] = []
    above = incomplete.rpartition("/")[0]
    for place in {"outputs", above} - {""}:
        home = runs.place(place)
        for pattern in ("config.yaml", "*/config.yaml", "*/*/config.yaml"):
            found += [_as_begun(path.parent, home, place) for path in home.glob(pattern)]
    for place in {above, incomplete.rstrip("/"), above.removesuffix("/checkpoints")} - {""}:
        home = runs.place(place)
        if (home / "config.yaml").is_file():
            found += [_as_begun(path, home, place) for path in home.glob("checkpoints/step_*.pt")]
    return sorted({entry for entry in found if entry.startswith(incomplete)})


def compared(incomplete: str) -> list[str]:
    """What ``ganrun diff`` takes and begins so: experiments, and run folders."""
    try:
        named = [name for name in catalog.files("experiment", catalog.places(None)) if name.startswith(incomplete)]
    except GanrunError:
        named = []
    return [*named, *run_folders(incomplete)]


def _as_begun(path: Path, home: Path, typed: str) -> str:
    """``path`` inside ``home`` with the beginning that was typed, such as ``~``."""
    inner = path.relative_to(home).as_posix()
    return typed if inner == "." else f"{typed}/{inner}"


def folders_at(incomplete: str) -> list[str]:
    """The folders that begin so, each with a slash behind it to go on from."""
    above, slash, begun = incomplete.rpartition("/")
    try:
        home = runs.place(f"{above}{slash}" or ".")
        found = sorted(path.name for path in home.iterdir() if path.is_dir() and path.name.startswith(begun))
    except OSError:
        return []
    return [f"{above}{slash}{name}/" for name in found if begun.startswith(".") or not name.startswith(".")]


def files_at(incomplete: str) -> list[str]:
    """Files and folders that begin so; folders with a slash behind them."""
    above, slash, begun = incomplete.rpartition("/")
    try:
        home = runs.place(f"{above}{slash}" or ".")
        found = sorted(f"{path.name}/" if path.is_dir() else path.name for path in home.iterdir() if path.name.startswith(begun))
    except OSError:
        return []
    return [f"{above}{slash}{name}" for name in found if begun.startswith(".") or not name.startswith(".")]


def theory_names(incomplete: str) -> list[str]:
    """The experiments of ``ganrun theory`` that begin so. Read from their source: importing them takes seconds."""
    package = Path(__file__).resolve().parent.parent / "theory"
    found = {name for path in package.glob("*.py") for name in EXPERIMENT.findall(path.read_text(encoding="utf-8"))}
    return sorted(name for name in found if name.startswith(incomplete))


def group_names(incomplete: str) -> list[str]:
    """The words of ``ganrun list`` that begin so: groups, their options as ``loss=hinge``, and ``runs``."""
    try:
        folders = catalog.places(None)
        group, equals, _ = incomplete.partition("=")
        words = [*catalog.groups(folders), "runs"]
        if equals:
            words = [f"{group}={name}" for name in catalog.files(group, folders)]
        return [word for word in words if word.startswith(incomplete)]
    except GanrunError:
        return []


def is_allowed(override: str, allowed: Sequence[str]) -> bool:
    """True for an override of one of the keys ``allowed`` or of a key inside them."""
    key = override.lstrip("+~").split("=")[0].split("@")[0]
    return any(key == name or key.startswith(f"{name}.") for name in allowed)


def complete(before: Sequence[str], incomplete: str, config_dir: Path | None = None) -> list[str]:
    """The completions of ``incomplete`` after the words ``before``, sorted."""
    folders = catalog.places(config_dir)
    before = " ".join(before).replace(" = ", "=").removesuffix(" =").split()
    # with bash, ``loss=<TAB>`` arrives as an empty word after ``loss``
    split = bool(before) and "=" not in before[-1]
    if split:
        before, incomplete = before[:-1], f"{before[-1]}={incomplete.lstrip('=')}"
    found = sorted(set(_candidates(before, incomplete, folders)))
    return [word.split("=", 1)[1] for word in found if "=" in word] if split else found


def _candidates(before: Sequence[str], incomplete: str, folders: Sequence[Path]) -> Iterator[str]:
    groups = catalog.groups(folders)
    key, equals, start = incomplete.partition("=")
    if equals and (key in groups or key.startswith("hydra/")):
        yield from _options(key, start, groups, folders)
        return
    if equals:
        yield from (f"{key}={value}" for value in _values(key, start, before, folders))
        return
    if incomplete.startswith("hydra"):
        yield from (f"hydra/{group}=" for group in ("launcher", "sweeper") if f"hydra/{group}=".startswith(incomplete))
        return
    matching = [group for group in groups if group.startswith(incomplete)]
    if len(matching) == 1 and incomplete:
        yield from _options(matching[0], "", groups, folders)
    else:
        yield from (f"{group}=" for group in matching)
    for path, default in keys(before, folders):
        deep = "." in path
        wanted = not deep or "." in incomplete or (incomplete and path.split(".")[0] not in groups)
        if wanted and path.startswith(incomplete):
            yield f"{path}={default}" if _is_value(default) else f"{path}="


def _is_value(text: str) -> bool:
    """False for what only shows where a default comes from, and for null, which nobody types: then the key alone is offered."""
    return text != "null" and "{" not in text and "???" not in text


def _values(key: str, start: str, before: Sequence[str], folders: Sequence[Path]) -> Iterator[str]:
    """What the value of ``key``, no group, may be."""
    quote = start[:1] if start[:1] in ("'", '"') else ""
    if key in ("resume", "init_from"):
        yield from run_folders(start)
    elif key in PLACES:
        yield from (f"{quote}{place}" for place in folders_at(start[len(quote) :]))
    elif key in ("objective", "keep_best"):
        metrics = _chosen(before, folders).get("metric", [])
        yield from (name for metric in metrics for name in scores_of(metric) if name.startswith(start))
    else:
        yield from _choices(key, start, before, folders)


def _choices(key: str, start: str, before: Sequence[str], folders: Sequence[Path]) -> Iterator[str]:
    """The values that the yaml files name for ``key``; within a list, further ones."""
    chosen = _chosen(before, folders)
    rule = catalog.rules({group: options[0] for group, options in chosen.items() if options}, folders)(key)
    default = next((text for path, text in keys(before, folders) if path == key), "")
    kept = start[: max(start.rfind(","), start.rfind("[")) + 1]
    taken = kept.strip("[,").split(",")
    for value in grammar.choices(rule, default in ("true", "false") or default, catalog.world(folders)):
        if value.startswith(start[len(kept) :]) and value not in taken:
            yield f"{kept}{value}"


def scores_of(metric: str) -> list[str]:
    """The values of a metric that have a direction, the first one first; of a metric of a person's own, its name."""
    return [name for name, higher in declared.directions(metric).items() if higher is not None] or [metric]


def _options(group: str, start: str, groups: Sequence[str], folders: Sequence[Path]) -> Iterator[str]:
    """``group=option``; within a list, ``group=[one,option``."""
    if group in groups:
        valid = list(catalog.files(group, folders))
    else:
        from ganrun.cli.compose import composer

        with composer(folders[0] if len(folders) > 1 else None) as found:
            valid = found.options(group)
    place = max(start.rfind(","), start.rfind("[")) + 1
    kept, begun = start[:place], start[place:]
    taken = kept.strip("[,").split(",")
    yield from (f"{group}={kept}{option}" for option in valid if option.startswith(begun) and option not in taken)


def keys(before: Sequence[str], folders: Sequence[Path]) -> Iterator[tuple[str, str]]:
    """Root keys and the keys of the options that are chosen, by the words before or by default."""
    for key, default in root_keys().items():
        yield from catalog.flat({key: default})
    for group, options in _chosen(before, folders).items():
        for option in options:
            if option in catalog.files(group, folders):
                entry = catalog.entry(group, option, folders)
                prefix = f"{group}.{option}" if entry.package == f"{group}.{option}" else group
                for path, text in catalog.flat(entry.values, f"{prefix}."):
                    if path != f"{prefix}.name":
                        yield path, text


def _chosen(before: Sequence[str], folders: Sequence[Path]) -> dict[str, list[str]]:
    """{group: options} by the words before, else by default."""
    groups = catalog.groups(folders)
    typed = {}
    for word in before:
        group, equals, value = word.partition("=")
        if equals and group in groups:
            typed[group] = value.strip("'\"[]").split(",")
    chosen = {group: list(options) for group, options in catalog.defaults().items()} | typed
    for group in ("model", "dataset", "experiment"):  # in this order, what they choose in other groups
        for option in chosen.get(group, []):
            if option in catalog.files(group, folders):
                for inner, value in catalog.entry(group, option, folders).chooses.items():
                    if inner not in typed:
                        chosen[inner] = [str(entry) for entry in (value if isinstance(value, list) else [value])]
    return chosen
