"""``ganrun list regularizer=r1``: every key of one option with its meaning, default and values, and the option's source."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from ganrun.cli import published
from ganrun.cli.schema import catalog, grammar
from ganrun.cli.schema.keys import Key, keys_of_root
from ganrun.ground import registry
from ganrun.ground.errors import BadInput, suggestion

AUTHORS = r"(?:[A-Z][\w'\-]+(?:, [A-Z][\w'\-]+)*(?: and [A-Z][\w'\-]+| et al\.)?)"
SOURCE = re.compile(rf"({AUTHORS}),? \(?((?:19|20)\d\d)(?:, (\"[^\"]+\"))?")


def option(group: str, name: str, config_dir: Path | None, columns: int) -> Iterator[str]:
    """The lines of one option, none longer than ``columns`` but for a single longer word. ``BadInput`` if there is none such."""
    folders = catalog.places(config_dir)
    entries = {entry.name: entry for entry in catalog.entries(group, folders)}
    if name not in entries:
        raise BadInput(f"{group}={name}: there is no {group} {name!r}. {suggestion(name, entries)}")
    found = entries[name]
    yield f"{group}={name}"
    differs = published.differences(name) if group == "experiment" and is_ours(found.path) else ""
    said = f"{found.description} Differs from the paper in: {differs}." if differs else found.description
    yield from _wrapped(said, columns)
    chosen = [f"{other}={catalog.text(value)}" for other, value in found.chooses.items()]
    written = [f"{key}={value}" for key, value in catalog.flat(found.sets)]
    for words, title in ((chosen, "Chooses"), (written, "Sets")):
        if words:
            yield from _wrapped(f"{title} {', '.join(words)}", columns)
    known = list(catalog.keys(found))
    yield from of_keys(known, columns) if known or found.sets or found.chooses else ["", "It has no keys of its own."]
    values = published.sources(name) if group == "experiment" and is_ours(found.path) else ""
    named = [*sources(found), *([f"values: {values}"] if values else [])]
    if named:
        yield ""
        yield from _wrapped(f"Source: {'; '.join(named)}", columns)


def root(word: str, columns: int) -> list[str]:
    """The lines of the root key ``word`` and of those inside it; none if there is no such key."""
    return list(of_keys([key for key in keys_of_root() if key.path == word or key.path.startswith(f"{word}.")], columns))[1:]


def of_keys(found: Sequence[Key], columns: int) -> Iterator[str]:
    """``key = default   [values]`` and the sentence below it."""
    for key in found:
        yield ""
        yield from _wrapped(f"{key.path} = {shown(key)}{takes(key)}", columns)
        yield from _wrapped(key.help or "(no comment in its file)", columns, "    ")


def shown(key: Key) -> str:
    """The default; of one that follows another key, that key."""
    text = catalog.text(key.default)
    link = re.fullmatch(r"\$\{(\.*)([\w.]+)\}", text)
    if link is None:
        return text
    above = key.path.split(".")[: -len(link[1])] if link[1] else []
    return f"that of {'.'.join([*above, link[2]])}"


def takes(key: Key) -> str:
    """What its values may be, in brackets; nothing where the default says it all."""
    values = grammar.values(key.rule, None if "${" in str(key.default) else key.default)
    return f"   [{values}]" if values else ""


def sources(found: catalog.OptionFile) -> list[str]:
    """Authors, years and titles that the component's module names in its first words, and its yaml file."""
    package = registry.PACKAGES.get(found.group, "")
    place = Path(__file__).resolve().parents[1].joinpath(*package.split(".")[1:], f"{found.values.get('name')}.py")
    text = found.description
    if package and place.is_file() and is_ours(found.path):
        text = f"{ast.get_docstring(ast.parse(place.read_text(encoding='utf-8'))) or ''} {text}"
    return named_sources(text)


def named_sources(text: str, titles: bool = True) -> list[str]:
    """``Lim and Ye 2017, "Geometric GAN"``: what a text cites, each paper once, without those that it names in short as well."""
    found: dict[str, str] = {}
    for who, year, title in SOURCE.findall(re.sub(r"\s+", " ", text)):
        found.setdefault(f"{who} {year}", f", {title}" if title and titles else "")
    whole = {(who.split(",")[0], who[-4:]) for who in found if "," in who}
    return [f"{who}{title}" for who, title in found.items() if (who.partition(" et al.")[0], who[-4:]) not in whole]


def is_ours(path: Path) -> bool:
    """True for an option file of ganrun's own."""
    return path.is_relative_to(catalog.conf_dir())


def _wrapped(text: str, columns: int, indent: str = "") -> list[str]:
    after = indent or "  "
    return textwrap.wrap(
        text, max(columns, 20), initial_indent=indent, subsequent_indent=after, break_long_words=False, break_on_hyphens=False
    )
