"""Commands and overrides as they are shown: spelt so that they run when pasted into a shell.

Three readers follow each other. The shell takes its quotes away, Hydra's grammar reads what is left of an override, and in its
value OmegaConf reads ``${...}`` as an interpolation, unless a backslash stands before it.
"""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

PLAIN = re.compile(r"[A-Za-z_./][A-Za-z0-9_./-]*")  # text that Hydra's grammar reads as itself
WORDS = ("null", "true", "false", "nan", "inf")  # and these it reads as something else
OVERRIDE = re.compile(r"[~+]*[A-Za-z_][\w./-]*(=\S*)?")


def value(entry: Any) -> str:
    """``entry`` as Hydra's override grammar writes it, so that reading gives it back; text in quotes where it needs them."""
    if isinstance(entry, str) and PLAIN.fullmatch(entry) and entry.lower() not in WORDS and not _number(entry):
        return entry
    return quoted(entry, mark='"')  # the shell's own are single ones


def quoted(entry: Any, *, links: bool = False, mark: str = "'") -> str:
    """The same with all text in quotes. ``links``: ``${`` begins an interpolation, as where a person has typed it."""
    if entry is None:
        return "null"
    if isinstance(entry, bool):
        return "true" if entry else "false"
    if isinstance(entry, list):
        return f"[{','.join(quoted(inner, links=links, mark=mark) for inner in entry)}]"
    if isinstance(entry, Mapping):
        return "{" + ",".join(f"{key}:{quoted(inner, links=links, mark=mark)}" for key, inner in entry.items()) + "}"
    if isinstance(entry, str):
        text = entry if links else escaped(entry)
        mark = {'"': "'", "'": '"'}[mark] if mark in text else mark
        body = re.sub(rf"(\\*)({mark}|\Z)", lambda found: found[1] * 2 + (f"\\{mark}" if found[2] else ""), text)
        return f"{mark}{body}{mark}"  # backslashes count only before the mark
    return repr(entry)


def escaped(entry: Any) -> Any:
    """``entry`` with a backslash before each ``${`` in it, so that OmegaConf gives back the text itself."""
    if isinstance(entry, str):
        return re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + "\\${", entry)
    if isinstance(entry, list):
        return [escaped(inner) for inner in entry]
    return {key: escaped(inner) for key, inner in entry.items()} if isinstance(entry, Mapping) else entry


def names(entries: Iterable[str]) -> str:
    """A list of names as an override has it: ``[r1,spectral_norm]``."""
    return f"[{','.join(value(entry) for entry in entries)}]"


def pasted(text: str) -> str:
    """An override as a shell takes it; where ``text`` goes on in words ("loss=lsgan (or minimax)"), they stay."""
    found = re.fullmatch(r"(\S+)( \(or .*\))", text)
    return shlex.quote(found[1]) + found[2] if found else shlex.quote(text)


def override(key: str, entry: Any) -> str:
    """``key=entry`` as a person types it in a shell; a path as text."""
    return shlex.quote(f"{key}={value(str(entry) if isinstance(entry, Path) else entry)}")


def path(place: str | Path) -> str:
    """A path as one word of a command, which no flag and no override begins with."""
    text = str(place)
    return f"./{text}" if text.startswith(("-", "~", "+")) else text


def command(*words: str | Path, plugins: Iterable[str] = (), config_dir: str | Path | None = None) -> str:
    """``ganrun`` with these words, quoted for a shell, with what a run needs that uses ``plugins`` and a folder of options."""
    found = [path(word) if isinstance(word, Path) else word for word in words]
    modules = list(plugins)
    if modules:
        found.append(f"plugins={names(modules)}")
    if config_dir is not None:
        found += ["--config-dir", path(Path(config_dir))]
    return f"{program()} {shlex.join(found)}"


def shown(place: Path) -> Path:
    """``place`` as a person in the current folder would type it."""
    try:
        here = Path.cwd()
    except FileNotFoundError:  # the current folder has been removed
        return place
    return place.relative_to(here) if place.is_absolute() and place.is_relative_to(here) else place


def program() -> str:
    """How ganrun is called here: by its name where that is on the PATH, else by its place beside this Python."""
    beside = Path(sys.executable).with_name("ganrun")
    if shutil.which("ganrun") or not beside.exists():
        return "ganrun" if shutil.which("ganrun") else f"{shlex.quote(sys.executable)} -m ganrun"
    return shlex.quote(path(shown(beside)))


def _number(text: str) -> bool:
    try:
        float(text.replace("_", ""))
    except ValueError:
        return False
    return True
