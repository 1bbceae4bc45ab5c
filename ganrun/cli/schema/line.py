"""A command line as it was typed, sorted: choices, values and what is Hydra's own; and what is wrong with a choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ganrun.cli.compose import Composer
from ganrun.cli.overrides import Typed
from ganrun.disk.identity import STACKS
from ganrun.ground.errors import suggestion

# launchers and sweepers of Hydra's own family, by the package that brings them
PLUGINS = {
    "joblib": "ganrun[sweep]",
    "submitit_": "ganrun[submitit]",
    "ray": "hydra-ray-launcher",
    "rq": "hydra-rq-launcher",
    "optuna": "ganrun[optuna]",
    "ax": "hydra-ax-sweeper",
    "nevergrad": "hydra-nevergrad-sweeper",
}


@dataclass
class Report:
    """``mistakes``: one sentence each, in the order typed; ``notes``: what a person should know all the same.

    ``sweep``: the overrides of a sweep that stands in a file. ``multirun``: whether this is a sweep; a file may say so, too.
    """

    mistakes: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sweep: list[str] = field(default_factory=list)
    multirun: bool = False

    def add(self, *sentences: str) -> None:
        self.mistakes += [sentence for sentence in dict.fromkeys(sentences) if sentence not in self.mistakes]


@dataclass
class Line:
    """A command line, sorted: choices of options, values, Hydra's own; and ganrun's ``given`` overrides before them."""

    typed: list[Typed]
    given: Sequence[str]
    multirun: bool
    composer: Composer
    folders: Sequence[Path]
    origin: str
    choices: dict[str, Typed] = field(default_factory=dict)
    values: list[Typed] = field(default_factory=list)
    hydra_choices: list[Typed] = field(default_factory=list)
    hydra_values: list[Typed] = field(default_factory=list)
    wrong: set[str] = field(default_factory=set)


def sort(entry: Typed, line: Line, report: Report) -> None:
    """Put ``entry`` into the line's lists; what is wrong with an option's name is said here."""
    key, text = entry.key, entry.text
    if entry.override.is_hydra_override() and "/" not in key:
        line.hydra_values.append(entry)
    elif entry.override.is_hydra_override():
        groups = [f"hydra/{group}" for group in line.composer.loader.list_groups("hydra")]
        if key not in groups:
            report.add(f"{text}: there is no group {key!r}. {suggestion(key, groups)}")
        elif options_exist(entry, line.composer, report):
            line.hydra_choices.append(entry)
    elif key not in line.composer.groups:
        line.values.append(entry)
    elif entry.adds:
        report.add(f"{text}: write {f'{key}=[...] with all that it shall hold' if key in STACKS else f'{key}=...'}")
    elif entry.override.is_delete():
        if key not in STACKS:
            report.add(f"{text}: a run needs a {key}; choose another one with {key}=...")
    elif key in line.choices:
        report.add(f"{text}: {key} is chosen twice, by {line.choices[key].text} too")
    else:
        line.choices[key] = entry
        if entry.override.is_sweep_override() and not line.multirun:
            listed = f"; both in one run: '{key}=[{','.join(value for value, _ in entry.values)}]'" if key in STACKS else ""
            report.add(f"{text}: several values need -m, one run each{listed}")
        if not options_exist(entry, line.composer, report):
            line.wrong.add(key)


def options_exist(entry: Typed, composer: Composer, report: Report) -> bool:
    key, valid, before = entry.key, composer.options(entry.key), len(report.mistakes)
    if not entry.values:
        report.add(f"{entry.text}: no {key} matches. {suggestion('', valid)}")
    for _, value in entry.values:
        if isinstance(value, Mapping) or (isinstance(value, list) and key not in STACKS):
            report.add(f"{entry.text}: takes the name of one {key}; its options are set by {key}.KEY=VALUE")
        elif value is None and not key.startswith("hydra/"):
            report.add(f"{entry.text}: {f'write {key}=none' if 'none' in valid else f'a run needs a {key}'}")
        elif value is not None:
            for name in value if isinstance(value, list) else [value]:
                if str(name) not in valid:
                    package = next((found for word, found in PLUGINS.items() if str(name).startswith(word)), None)
                    needs = suggestion(str(name), valid)
                    if key != "experiment" and str(name) in composer.options("experiment"):
                        needs = f"The settings of a paper are an experiment: experiment={name}"
                    if package and key.startswith("hydra/"):
                        needs = f'It needs a plug-in: pip install "{package}"'
                    report.add(f"{entry.text}: there is no {key} {str(name)!r}. {needs}")
    return len(report.mistakes) == before
