"""An optimizer of its own kind for a player: ``optimizer.discriminator.name=sgd`` beside ``optimizer=adam``.

A player's keys of the optimizer follow the optimizer's own. Where the player has another kind, they are that kind's: those of its
yaml file, with the defaults there. Hydra merges and takes nothing away, so the player's keys are put in place between Hydra's two
steps, after the files and before what is typed: in a run, in each job of a sweep, and in a launcher's processes, all of which
import this module. What files say of the player's other kind is left out then, as with an option of a group that is not chosen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from ganrun.cli.config_files import ConfFolder
from ganrun.cli.schema import catalog
from ganrun.cli.schema.keys import Key

GROUP, SCHEDULE, NAME = "optimizer", "schedule", "name"
OWN = "${..name}"  # a player's kind where nobody chooses one


def player_of(key: str) -> str | None:
    """The player whose kind the dotted ``key`` says: ``discriminator`` for optimizer.discriminator.name."""
    parts = key.split(".")
    return parts[1] if len(parts) == 3 and (parts[0], parts[2]) == (GROUP, NAME) and parts[1] != SCHEDULE else None


def chosen_by(key: str, values: Sequence[Any]) -> tuple[str, list[Any]] | None:
    """(the player, its kinds) where one of ``values`` at ``key`` chooses a kind, by itself or in a mapping; of a sweep, all."""
    player = player_of(key)
    if player is not None:
        return player, list(values)
    player, named = player_of(f"{key}.{NAME}"), [value[NAME] for value in values if isinstance(value, Mapping) and NAME in value]
    return (player, named) if player is not None and named else None


def others(optimizer: Any) -> dict[str, Any]:
    """{player: its kind} of the players whose kind is not the optimizer's; ``optimizer`` is that part of a config, plain."""
    if not isinstance(optimizer, Mapping):
        return {}
    kinds = {str(player): held.get(NAME, OWN) for player, held in optimizer.items() if isinstance(held, Mapping)}
    return {player: kind for player, kind in kinds.items() if player != SCHEDULE and kind not in (OWN, optimizer.get(NAME))}


def players(optimizer: Mapping[str, Any]) -> list[str]:
    """The players of that part of a config, or of an option's file, whose kind it says."""
    return [key for key, held in optimizer.items() if isinstance(held, Mapping) and NAME in held and key != SCHEDULE]


def keys_of(kind: str, folders: Sequence[Path]) -> dict[str, Key]:
    """{key: the same key of the group} that a player of this kind has, but for its name."""
    found = {key.path.removeprefix(f"{GROUP}."): key for key in catalog.keys(catalog.entry(GROUP, kind, folders))}
    return {name: key for name, key in found.items() if "." not in name}


def install() -> None:
    """Let Hydra put the keys of players in place wherever it composes; a second call changes nothing."""
    if getattr(ConfigLoaderImpl, "_ganrun_kinds", False):
        return
    merge, apply = ConfigLoaderImpl._compose_config_from_defaults_list, ConfigLoaderImpl._apply_overrides_to_config

    def merged(self: Any, defaults: Any, repo: Any) -> DictConfig:
        _Searched.folders = [Path(source.path) for source in repo.get_sources() if source.scheme() == ConfFolder.scheme()]
        return merge(self, defaults, repo)

    def applied(overrides: list[Override], cfg: DictConfig) -> None:
        _put_in_place(overrides, cfg, _Searched.folders)
        apply(overrides, cfg)
        _leave_out(cfg)

    ConfigLoaderImpl._compose_config_from_defaults_list = merged  # type: ignore[method-assign]
    ConfigLoaderImpl._apply_overrides_to_config = staticmethod(applied)  # type: ignore[method-assign, assignment]
    ConfigLoaderImpl._ganrun_kinds = True  # type: ignore[attr-defined]


class _Searched:
    """The folders of options that the composition under way has looked into."""

    folders: Sequence[Path] = ()


def _put_in_place(overrides: Sequence[Override], cfg: DictConfig, folders: Sequence[Path]) -> None:
    """Give each player the keys of its kind, whether a file or one of ``overrides`` chooses it."""
    optimizer: Any = OmegaConf.to_container(cfg[GROUP], resolve=False) if OmegaConf.is_dict(cfg.get(GROUP)) else {}
    options = catalog.files(GROUP, folders)
    chosen = dict(_typed(overrides))
    for player in players(optimizer):
        held, own = optimizer[player], optimizer.get(NAME)
        before = own if held[NAME] == OWN else held[NAME]
        kind = own if chosen.get(player) == OWN else chosen.get(player, before)
        if kind != before:
            kept: dict[str, Any] = {}
        elif kind != own:
            kept = {key: value for key, value in held.items() if value != f"${{..{key}}}"}
        else:
            continue
        if isinstance(kind, str) and kind in options:
            keys = keys_of(kind, folders)
            named = {NAME: OWN if kind == own else kind}
            found = {key: f"${{..{key}}}" if kind == own else entry.default for key, entry in keys.items()}
            cfg[GROUP][player] = named | found | kept


def _leave_out(cfg: DictConfig) -> None:
    """Take out the kinds that are the optimizer's own, which go without saying, so that such a config is as ever."""
    optimizer: Any = OmegaConf.to_container(cfg[GROUP], resolve=False) if OmegaConf.is_dict(cfg.get(GROUP)) else {}
    for player in set(players(optimizer)) - others(optimizer).keys():
        with open_dict(cfg):
            del cfg[GROUP][player][NAME]


def _typed(overrides: Sequence[Override]) -> Iterator[tuple[str, Any]]:
    """(player, kind) of each override that chooses one, by itself or in a mapping of the player's keys."""
    for entry in overrides:
        if entry.is_delete() or entry.is_sweep_override():
            continue
        found = chosen_by(entry.key_or_group, [entry.value()])
        if found is not None:
            yield found[0], _settled(found[1][-1])


def _settled(value: Any) -> Any:
    """The value with what the environment gives."""
    if not isinstance(value, str) or value == OWN:
        return value
    try:
        return OmegaConf.create({"value": value}).value
    except OmegaConfBaseException:
        return value


install()
