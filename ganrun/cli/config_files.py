"""The yaml files as Hydra reads them: of the user's folder before ganrun's own, and values that hold for one option alone.

An experiment, a recipe and a data set choose options in other groups and may write values into these groups, so that a paper's
settings stand in one file. Such values belong to the option that the file itself leads to: ``experiment=dcgan`` makes
``model=dcgan`` wider, and ``experiment=dcgan model=mlp`` must not hand a width to the mlp. Hydra merges whatever a file holds, so
the values are taken out of the file and offered as a config of their own, ``only_with/WRITER/OPTION:GROUP:CHOICE:...``, which the
defaults list asks for by the choices of the job, right behind the writer. It holds the values for each group whose CHOICE is the
one that OPTION leads to, and no others: in a run, in each job of a sweep, and in a launcher's processes.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

from ganrun.cli.schema import catalog
from ganrun.cli.schema.keys import is_root_text
from ganrun.disk import runs, yaml_files
from ganrun.ground.errors import BadInput

ONLY_WITH = "only_with"
OURS, USERS = "ganrun", "user"  # names of the two places in Hydra's search path


class ConfFolder(ConfigSource):
    """The yaml files of a folder of options, read as ``ganrun.disk.yaml_files`` reads them."""

    def __init__(self, provider: str, path: str) -> None:
        super().__init__(provider, path)
        self._led_to: dict[tuple[str, str], dict[str, tuple[dict[str, Any], str]]] = {}

    @staticmethod
    def scheme() -> str:
        return "ganrun"

    @property
    def folders(self) -> list[Path]:
        """All folders with options, the user's first."""
        folder = Path(self.path)
        return [folder] if self.provider == OURS else [folder, catalog.conf_dir()]

    def load_config(self, config_path: str) -> ConfigResult:
        if config_path.startswith(f"{ONLY_WITH}/"):
            found = OmegaConf.create(self._only_with(config_path))
            return ConfigResult(self.provider, self.full_path(), found, {"package": "_global_"})
        name = Path(self._normalize_file_name(config_path))
        path, group = Path(self.path) / name, "/".join(name.parts[:-1])
        text = yaml_files.read(path)
        place = catalog.package(text) or group.replace("/", ".")
        prefix = [] if place == "_global_" else place.replace("_group_", group.replace("/", ".")).split(".") if place else []
        content = self._parsed(text, path, tuple(prefix))
        try:
            header = self._get_header_dict(text)
        except ValueError as error:
            raise BadInput(f"{path}: {error}") from error
        if not group:
            content = with_requests(content)
            if places := searched(content):
                content["hydra"]["searchpath"] = [source(str(entry), f"{path}: hydra.searchpath")[0] for entry in places]
        elif place == "_global_" and group in catalog.WRITERS:
            option = name.relative_to(group).with_suffix("").as_posix()
            taken = self._of_writer(group, option)
            content = {key: value for key, value in content.items() if key not in taken}
        return ConfigResult(self.provider, self.full_path(), OmegaConf.create(content), header)

    def available(self) -> bool:
        return self.is_group("")

    def is_group(self, config_path: str) -> bool:
        return (Path(self.path) / config_path).is_dir()

    def is_config(self, config_path: str) -> bool:
        if config_path.startswith(f"{ONLY_WITH}/"):
            return bool(self._only_with(config_path))
        return (Path(self.path) / self._normalize_file_name(config_path)).is_file()

    def _parsed(self, text: str, path: Path, prefix: tuple[str, ...]) -> dict[str, Any]:
        if self.provider == OURS:  # where the keys that take text are known once and for all
            return copy.deepcopy(_parsed_ours(text, path, prefix))
        return yaml_files.parse(text, path, lambda key: catalog.is_text(key, self.folders), prefix)

    def _only_with(self, config_path: str) -> dict[str, Any]:
        """The values that a request of ``with_requests`` is for; empty where none hold, or the writer is no file here."""
        _, writer, said = config_path.removesuffix(".yaml").split("/", 2)
        option, *others = said.split(":")
        path = catalog.files(writer, self.folders).get(option)
        if path is None or not path.is_relative_to(self.path):
            return {}
        choices = dict(zip(others[::2], others[1::2], strict=True))
        return {
            group: values for group, (values, wanted) in self._of_writer(writer, option).items() if choices.get(group) == wanted
        }

    def _of_writer(self, writer: str, option: str) -> dict[str, tuple[dict[str, Any], str]]:
        """``catalog.led_to``, found once: Hydra asks for each config several times."""
        if (writer, option) not in self._led_to:
            self._led_to[writer, option] = catalog.led_to(writer, option, self.folders)
        return self._led_to[writer, option]

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        found: list[str] = []
        for path in sorted((Path(self.path) / config_path).iterdir()):
            self._list_add_result(found, str(Path(config_path) / path.name), path.name, results_filter)
        return sorted(set(found))


@functools.lru_cache(maxsize=1024)
def _parsed_ours(text: str, path: Path, prefix: tuple[str, ...]) -> dict[str, Any]:
    return yaml_files.parse(text, path, is_root_text, prefix)


def source(place: str, said: str) -> tuple[str, Path | None]:
    """(an entry of ``hydra.searchpath`` as Hydra gets it, its folder): files on the disk are read as all of a person's are.

    ``BadInput``, which begins with what was ``said``, for a folder that is not there.
    """
    scheme, colon, rest = place.partition("://")
    if colon and scheme not in ("file", ConfFolder.scheme()):
        return place, None
    folder = runs.place(rest if colon else place)
    if not folder.is_dir():
        raise BadInput(f"{said}: there is no such folder as {folder}")
    return f"{ConfFolder.scheme()}://{folder.absolute()}", folder


def searched(root: Mapping[str, Any]) -> list[Any]:
    """The entries of ``hydra.searchpath`` in a root config."""
    hydras = root.get("hydra")
    found = hydras.get("searchpath") if isinstance(hydras, dict) else None
    return found if isinstance(found, list) else []


def with_requests(root: Mapping[str, Any]) -> dict[str, Any]:
    """A root config whose defaults list asks, behind each writer, for what holds with the options of the other groups."""
    listed = list(root.get("defaults") or [])
    groups = [group for item in listed if isinstance(item, dict) for group in item if group in catalog.GROUPS]
    found: list[Any] = []
    for item in listed:
        found.append(item)
        for writer in item if isinstance(item, dict) else ():
            if writer in catalog.WRITERS:
                others = [f"{group}:${{{group}}}" for group in groups if group not in (*catalog.STACKS, writer)]
                found.append({f"optional {ONLY_WITH}/{writer}": ":".join([f"${{{writer}}}", *others])})
    return {**root, "defaults": found} if listed else dict(root)


class Places(SearchPathPlugin):
    """Puts the user's folder first and then ours: Hydra's own --config-dir would put it behind, and ours would win."""

    folder: Path | None = None

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        search_path.prepend(OURS, f"{ConfFolder.scheme()}://{catalog.conf_dir()}", anchor="main")
        if Places.folder is not None:
            search_path.prepend(USERS, f"{ConfFolder.scheme()}://{Places.folder.absolute()}", anchor=OURS)
