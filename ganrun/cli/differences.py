"""``ganrun diff A B``: in which keys two experiments, command lines, config files or run folders differ.

Imports no torch. A key that follows another one, as a player's learning rate follows the optimizer's, is shown where it says
something else. What cannot change a result stands apart.
"""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from ganrun.cli import published, signature
from ganrun.cli.compose import composer, errors_for_people
from ganrun.cli.overrides import readable
from ganrun.cli.schema import catalog, check
from ganrun.disk import earlier, identity, runs, yaml_files
from ganrun.ground import terminal_text
from ganrun.ground.errors import BadInput, nearest

Row = tuple[str, str, str]  # a key, its value in A, its value in B
ABSENT = "-"
OF_A_FOLDER = ("name", "output", "fresh")  # where a run lies, which is in its path
LINEAGE = ("init_from", "resume", "fork", "at")  # neutral where they are null on both sides; else what a run started from


@dataclass(frozen=True)
class Side:
    """One of the two: its ``title``, its resolved config, and the experiments that it names."""

    title: str
    config: Mapping[str, Any]
    experiments: tuple[str, ...] = ()


def show(one: str, other: str, config_dir: Path | None, columns: int) -> Iterator[str]:
    """The lines of the comparison, none longer than ``columns``."""
    signature.forget()
    sides = (side(one, config_dir), side(other, config_dir))
    for letter, entry in zip("AB", sides, strict=True):
        yield from _heading(letter, entry, columns)
    counting, neutral = rows(sides[0].config, sides[1].config)
    yield ""
    if counting:
        yield from _table(counting, columns)
    else:
        yield "They are the same run: nothing differs that can change a result."
    if neutral:
        yield from ("", "Without an effect on the result:", *_table(neutral, columns))


def side(word: str, config_dir: Path | None) -> Side:
    """What ``word`` stands for: a run folder or a checkpoint of it, a yaml file, overrides, or an experiment's name.

    Raises ``BadInput`` for what is none of these, and for whatever is wrong with what it is.
    """
    path = runs.place(word)
    if path.suffix in (".yaml", ".yml") and path.is_file():
        if not (path.parent / "run.json").exists():
            return _of_file(word, path, config_dir)
        path = path.parent  # the config of a run folder
    if (path / "config.yaml").is_file() or (path.is_file() and "=" not in word):
        return _of_run(word, path)
    if "=" in word:
        return _of_overrides(word, _split(word), config_dir)
    known = list(catalog.files("experiment", catalog.places(config_dir)))
    if word in known:
        return _of_overrides(f"experiment={word}", [f"experiment={word}"], config_dir)
    if path.is_dir():
        raise BadInput(f"{word}: is no run folder: it has no config.yaml")
    if "/" in word:
        runs.locate(path)  # says what is there instead
    close = nearest(word, known, count=2)
    meant = f"Did you mean {' or '.join(f'experiment={name}' for name in close)}?" if close else "See: ganrun list experiment"
    raise BadInput(f"{word}: is no run folder, no yaml file, no experiment and no override KEY=VALUE. {meant}")


def rows(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[list[Row], list[Row]]:
    """All that differs: what counts, and what cannot change a result."""
    flat = [dict(identity.flat(config)) for config in (one, other)]
    keys = [key for key in dict.fromkeys([*flat[0], *flat[1]]) if key not in OF_A_FOLDER]
    found = {key: (_text(flat[0], key), _text(flat[1], key)) for key in keys if not _same(key, flat)}
    lines = [(key, *pair) for key, pair in found.items() if not any(found.get(led) == pair for led in identity.leaders(key))]
    counting = [line for line in lines if not _is_neutral(line[0])]
    return counting, [line for line in lines if _is_neutral(line[0])]


def _of_run(word: str, path: Path) -> Side:
    folder, target = runs.locate(path)
    config = runs.read_config(folder)
    typed = folder / "overrides.txt"
    words = typed.read_text(encoding="utf-8", errors="replace").split() if typed.is_file() else []
    named = tuple(text.removeprefix("experiment=") for text in words if text.startswith("experiment="))
    step = f", step {runs.step_of(target)}" if target != folder else ""
    return Side(f"{word}{step}", config, named)


def _of_file(word: str, path: Path, config_dir: Path | None) -> Side:
    """A config as ``--cfg job`` shows it, or an experiment's file, which is composed."""
    if path.resolve() == catalog.conf_dir() / "config.yaml":
        return _of_overrides(word, [], config_dir)
    content = yaml_files.load(path, lambda key: ".".join(key) in yaml_files.ROOT_TEXT)
    if "defaults" in content or catalog.package(yaml_files.read(path)) == "_global_":
        if path.parent.name != "experiment":
            raise BadInput(f"{word}: an experiment's file stands in a folder DIR/experiment, for --config-dir DIR")
        folder = None if path.parent.parent.resolve() == catalog.conf_dir() else path.parent.parent
        return _of_overrides(word, [f"experiment={path.stem}"], folder or config_dir)
    if not all(isinstance(content.get(group), dict) and "name" in content[group] for group in ("model", "loss", "game")):
        raise BadInput(f"{word}: is no config of a run; one is written by: ganrun train ... --cfg job > FILE")
    with errors_for_people():
        return Side(word, earlier.completed(signature.plain(OmegaConf.create(content))))


def _of_overrides(title: str, overrides: Sequence[str], config_dir: Path | None) -> Side:
    with errors_for_people(), composer(config_dir) as found:
        typed = readable(overrides, found)
        if any(entry.key == "resume" for entry in typed):
            raise BadInput(f"{title}: resume=RUN is a run; give its folder alone")
        report = check.verify(overrides, found, catalog.places(config_dir), multirun=False)
        if report.mistakes:
            raise BadInput("\n".join(report.mistakes))
        config = signature.plain(found.compose([entry.spelt for entry in typed]))
    return Side(title, config, tuple(str(entry.override.value()) for entry in typed if entry.key == "experiment"))


def _split(word: str) -> list[str]:
    """The overrides in one word, parted by blanks outside quotes: ``"model=wgan loss=hinge"``."""
    reader = shlex.shlex(word, posix=False)
    reader.whitespace_split, reader.commenters = True, ""
    try:
        return list(reader)
    except ValueError:
        return [word]


def _text(entry: Mapping[str, Any], key: str) -> str:
    return catalog.text(entry[key]) if key in entry else ABSENT


def _same(key: str, flat: Sequence[Mapping[str, Any]]) -> bool:
    return all(key in entry for entry in flat) and identity.same(flat[0][key], flat[1][key])


def _is_neutral(key: str) -> bool:
    daily = ("n_critic", "condition", "pack")  # their games' own keys follow them
    named = [name for name in identity.NEUTRAL if name not in (*daily, *LINEAGE)]
    return any(key == name or key.startswith(f"{name}.") for name in named)


def _heading(letter: str, entry: Side, columns: int) -> Iterator[str]:
    """What the side is; of an experiment of ours its paper, and where its published values are from."""
    yield from textwrap.wrap(f"{letter}  {entry.title}", columns, subsequent_indent="   ", break_on_hyphens=False)
    ours = catalog.files("experiment", [catalog.conf_dir()])
    for name in entry.experiments:
        if name in ours and name != "none":
            said = [catalog.entry("experiment", name, [catalog.conf_dir()]).description]
            said += [f"Published values: {published.sources(name)}." if published.sources(name) else ""]
            for line in filter(None, said):
                yield from textwrap.wrap(line, columns, initial_indent="   ", subsequent_indent="   ", break_on_hyphens=False)


def _table(lines: Sequence[Row], columns: int) -> list[str]:
    """Three columns, each value in as many lines as it takes."""
    table = [("key", "A", "B"), *lines]
    first = max(len(key) for key, _, _ in table)
    room = max(8, (columns - first - 4) // 2)
    cells = [[[key], *(textwrap.wrap(value, room, break_on_hyphens=False) or [""] for value in pair)] for key, *pair in table]
    return terminal_text.blocks(cells, columns)
