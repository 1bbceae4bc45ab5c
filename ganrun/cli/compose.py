"""Hydra's public compose API on ganrun's conf/ and the user's own folder before it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import hydra
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from packaging.version import Version

from ganrun.cli import signature  # noqa: F401  (tells OmegaConf the resolvers that config.yaml uses)
from ganrun.cli.catalog import conf_dir
from ganrun.ground.errors import BadInput, GanrunError


class _UserConf(SearchPathPlugin):
    """Puts the user's folder before ours: Hydra's own --config-dir would put it behind, and ours would win."""

    folder: Path | None = None

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if _UserConf.folder is not None:
            search_path.prepend("user", f"file://{_UserConf.folder.absolute()}", anchor="main")


@contextmanager
def searching(folder: Path | None) -> Iterator[None]:
    """Look into ``folder`` before ganrun's own conf/, where one is given."""
    Plugins.instance().register(_UserConf)
    before, _UserConf.folder = _UserConf.folder, folder
    try:
        yield
    finally:
        _UserConf.folder = before


def hydra_base() -> dict[str, str]:
    """The ``version_base`` argument: wanted by Hydra 1.3, deprecated from 1.4 on."""
    return {"version_base": "1.3"} if Version(hydra.__version__) < Version("1.4.0rc0") else {}


class Composer:
    """Composes configs; ``groups`` are the names a person can choose options of."""

    def __init__(self, config_name: str) -> None:
        self.config_name = config_name
        self.loader = GlobalHydra.instance().config_loader()
        self.parser = OverridesParser.create(config_loader=self.loader)
        self.groups = sorted(group for group in self.loader.list_groups("") if group != "hydra")

    def compose(self, overrides: list[str]) -> DictConfig:
        """The config, Hydra's own part included, unresolved."""
        return compose(self.config_name, overrides=overrides, return_hydra_config=True)

    def parse(self, text: str) -> Override:
        return self.parser.parse_overrides([text])[0]

    def options(self, group: str) -> list[str]:
        """The options of ``group``, those in sub-folders as ``folder/option``."""
        found = list(self.loader.get_group_options(group))
        for inner in self.loader.list_groups(group):
            found += [f"{inner}/{option}" for option in self.options(f"{group}/{inner}")]
        return sorted(set(found))


@contextmanager
def composer(config_dir: Path | None = None, config_name: str = "config") -> Iterator[Composer]:
    """A ``Composer`` whose folders are searched as ``ganrun train`` searches them."""
    with searching(config_dir), initialize_config_dir(config_dir=str(conf_dir()), job_name="ganrun", **hydra_base()):
        yield Composer(config_name)


@contextmanager
def errors_for_people() -> Iterator[None]:
    """Hydra's and OmegaConf's errors as ``BadInput`` on one line, or as the ganrun error that a resolver raised."""
    try:
        yield
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        raise _cause(error) or BadInput(one_line(error)) from error


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
