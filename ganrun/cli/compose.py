"""Hydra's public compose API on ganrun's conf/ and the user's own folder before it."""

from __future__ import annotations

import re
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import hydra
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from packaging.version import Version

from ganrun.cli import signature  # noqa: F401  (tells OmegaConf the resolvers that config.yaml uses)
from ganrun.cli.config_files import ConfFolder, Places, searched, source
from ganrun.cli.schema import catalog
from ganrun.disk import yaml_files
from ganrun.ground.errors import BadInput, GanrunError


@contextmanager
def searching(folder: Path | None) -> Iterator[None]:
    """Look into ``folder`` before ganrun's own conf/, where one is given."""
    plugins = _hydras_plugins()
    for plugin in (Places, ConfFolder):
        plugins.register(plugin)
    before, Places.folder = Places.folder, folder
    try:
        yield
    finally:
        Places.folder = before


def _hydras_plugins() -> Plugins:
    """Hydra's registry, for which it imports every plug-in that is installed; one that is broken is named."""
    try:
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            found = Plugins.instance()
    except Exception as error:
        raise BadInput(
            f"{culprit(error) or 'a Hydra plug-in'} cannot be imported ({in_words(error)}). Repair or uninstall it"
        ) from error
    for warning in heard:
        if "Error importing" in str(warning.message):
            sys.stderr.write(f"warning: {' '.join(str(warning.message).split())}\n")
    return found


def culprit(error: BaseException) -> str | None:
    """The Hydra plug-in in whose code ``error`` came up."""
    places = [re.search(r"hydra_plugins[/.](\w+)", frame.filename) for frame in traceback.extract_tb(error.__traceback__)]
    return next((f"the Hydra plug-in {place[1]}" for place in reversed(places) if place), None)


def in_words(error: BaseException) -> str:
    """What kind of error it is and what it says; of one that says nothing, the line that raised it."""
    said = " ".join(str(error).split())
    frames = traceback.extract_tb(error.__traceback__)
    if not said and frames:
        said = f"{frames[-1].line}, in {frames[-1].filename} line {frames[-1].lineno}"
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def known_cause(error: BaseException) -> str:
    """What to do about an error that is known to come from two packages which do not fit; empty for any other."""
    frames = traceback.extract_tb(error.__traceback__)
    if any("/optuna/storages/" in frame.filename or "/sqlalchemy/" in frame.filename for frame in frames):
        optuna, sqlalchemy = _version("optuna"), _version("sqlalchemy")
        if optuna < Version("3") and sqlalchemy >= Version("2"):
            return (
                f'. Optuna {optuna} cannot keep a study with SQLAlchemy {sqlalchemy}: pip install "ganrun[optuna]", '
                "or leave hydra.sweeper.storage out"
            )
    return ""


def _version(package: str) -> Version:
    """The installed version; 0 for none."""
    try:
        return Version(metadata.version(package))
    except metadata.PackageNotFoundError:
        return Version("0")


def hydra_base() -> dict[str, str]:
    """The ``version_base`` argument: wanted by Hydra 1.3, deprecated from 1.4 on."""
    return {"version_base": "1.3"} if Version(hydra.__version__) < Version("1.4.0rc0") else {}


class Composer:
    """Composes configs; ``groups`` are the names a person can choose options of."""

    def __init__(self, config_name: str, folders: Sequence[Path]) -> None:
        self.config_name, self.folders = config_name, folders
        self.multirun = False  # whether what is typed may be a sweep
        self.search: list[str] = []  # the override of hydra.searchpath, where one is typed
        self.loader = GlobalHydra.instance().config_loader()
        self.parser = OverridesParser.create(config_loader=self.loader)
        self._composed: dict[tuple[str, ...], DictConfig] = {}
        self._options: dict[str, list[str]] = {}
        self.groups = self._groups()

    def look_into(self, override: str, folders: Sequence[Path]) -> None:
        """Find options in ``folders``, too, which the ``override`` of hydra.searchpath names."""
        self.search, self.folders = [override], [*self.folders, *folders]
        self._options.clear()
        self.groups = self._groups()

    def compose(self, overrides: list[str]) -> DictConfig:
        """The config, Hydra's part included, unresolved. Composed once for the same overrides: whoever changes it copies it."""
        key = tuple(overrides)
        if key not in self._composed:
            self._composed[key] = compose(self.config_name, overrides=overrides, return_hydra_config=True)
        return self._composed[key]

    def parse(self, text: str) -> Override:
        return self.parser.parse_overrides([text])[0]

    def options(self, group: str) -> list[str]:
        """The options of ``group``, those in sub-folders as ``folder/option``."""
        if group not in self._options:
            found = self._listed(group, ObjectType.CONFIG)
            for inner in self._listed(group, ObjectType.GROUP):
                found += [f"{inner}/{option}" for option in self.options(f"{group}/{inner}")]
            self._options[group] = sorted(set(found))
        return self._options[group]

    def _groups(self) -> list[str]:
        return sorted(group for group in self._listed("", ObjectType.GROUP) if group != "hydra")

    def _listed(self, group: str, kind: ObjectType) -> list[str]:
        if self.config_name == "config" and not self.search:  # the usual places: asked here, since Hydra copies them each time
            known = [source for source in self.loader.get_sources() if source.is_group(group)]
            return sorted({option for source in known for option in source.list(group, kind)})
        name = None if self.config_name == "config" else self.config_name  # a root config of one's own may name folders
        return list(self.loader.get_group_options(group, kind, config_name=name, overrides=self.search))


def refuse_half_a_link(place: Path, said: str) -> None:
    """``BadInput`` for a folder that Hydra cannot write into its own config: its name has a ``${`` that no ``}`` ends.

    ``said``: what names the folder, and what to do.
    """
    try:
        OmegaConf.create({"place": str(place.absolute())})
    except OmegaConfBaseException as error:
        raise BadInput(f"{said}: Hydra takes '${{' in {place.absolute()} for the beginning of an interpolation") from error


@contextmanager
def composer(config_dir: Path | None = None, config_name: str = "config") -> Iterator[Composer]:
    """A ``Composer`` whose folders are searched as ``ganrun train`` searches them."""
    refuse_half_a_link(Path.cwd(), "rename the current folder, or cd to another one and give paths from there")
    if config_dir is not None:
        refuse_half_a_link(config_dir, f"--config-dir {config_dir}: rename this folder")
    with searching(config_dir), initialize_config_dir(config_dir=str(catalog.conf_dir()), job_name="ganrun", **hydra_base()):
        yield Composer(config_name, [*catalog.places(config_dir), *_named_by(config_dir, config_name)])


def _named_by(config_dir: Path | None, config_name: str) -> list[Path]:
    """The folders that a root config of a person's own names in ``hydra.searchpath``."""
    path = (config_dir or catalog.conf_dir()) / f"{config_name.removesuffix('.yaml')}.yaml"
    if config_name == "config" or not path.is_file():
        return []
    found = [source(str(entry), f"{path}: hydra.searchpath")[1] for entry in searched(yaml_files.load(path, lambda key: False))]
    return [folder for folder in found if folder is not None]


@contextmanager
def errors_for_people() -> Iterator[None]:
    """Hydra's and OmegaConf's errors as ``BadInput`` on one line, or as the ganrun error that a resolver raised."""
    try:
        yield
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        key = getattr(error, "full_key", None)
        raise _cause(error) or BadInput(f"{key}: {one_line(error)}" if key else one_line(error)) from error


def one_line(error: BaseException) -> str:
    """The error's own words on one line, with its cause's."""
    text = re.sub(r"\s*(See https?://\S+.*|full_key: .*)$", "", " ".join(str(error).split()))
    cause = one_line(error.__cause__) if error.__cause__ else ""
    if cause and cause not in text:
        text = f"{text} ({cause})" if text else cause
    return text or type(error).__name__


def _cause(error: BaseException) -> GanrunError | None:
    """The ganrun error that a resolver raised, which OmegaConf wraps."""
    held: BaseException | None = error
    while held is not None:
        if isinstance(held, GanrunError):
            return held
        held = held.__cause__ or held.__context__
    return None
