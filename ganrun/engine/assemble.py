"""The one place that knows all groups: turns a config into the parts of a run.

Order matters. Components are built first, which is cheap and checks their options; then their traits are compared;
only then are networks made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from ganrun.data.base import Dataset
from ganrun.engine.ema import EMA
from ganrun.engine.loop import Trainer
from ganrun.games.base import Game
from ganrun.ground import registry, traits
from ganrun.ground.errors import BadInput
from ganrun.ground.runtime import Runtime
from ganrun.ground.spec import Spec
from ganrun.ground.turn import Stream
from ganrun.losses.base import Loss
from ganrun.networks.base import Family
from ganrun.optimizers.base import for_player, move, schedule
from ganrun.regularizers.base import Regularizer


@dataclass
class Parts:
    """What a config stands for, before there is any network."""

    config: Mapping[str, Any]
    family: Family
    game: Game
    loss: Loss
    regularizers: dict[str, Regularizer]
    metrics: dict[str, Any]
    plugins: dict[str, str]
    warnings: list[str] = field(default_factory=list)


def build(config: Mapping[str, Any], *, with_metrics: bool = True) -> Parts:
    """Every component of ``config``, its options checked against its signature."""
    plugins = registry.load_plugins(config.get("plugins") or [])
    family = registry.build("model", config["model"])
    game = registry.build("game", config["game"])
    loss = registry.build("loss", config["loss"])
    # an option left over from an experiment whose technique was replaced has no name: it is idle
    stack = {name: options for name, options in config["regularizer"].items() if "name" in options}
    regularizers = {name: registry.build("regularizer", options) for name, options in sorted(stack.items())}
    chosen = config["metric"].items() if with_metrics else ()
    metrics = {name: registry.build("metric", options) for name, options in chosen if "name" in options}
    return Parts(config, family, game, loss, regularizers, metrics, plugins)


def load_data(config: Mapping[str, Any], family: Family) -> Dataset:
    """The data set of ``config``, its images of a size that the family can make: resized by the set itself, else padded."""
    told = {"legal_size": family.legal_size}
    dataset: Dataset = registry.build("dataset", config["dataset"], *registry.asked(config["dataset"], told))
    if dataset.spec.kind == "image":
        dataset = dataset.fitted(family.legal_size(dataset.spec.shape[1]))
    return dataset


def verify(parts: Parts, dataset: Dataset) -> None:
    """Compare all traits: ``BadInput`` with every conflict and its remedy; warnings go to ``parts.warnings``."""
    parts.warnings += traits.verify(components(parts, dataset))


def leave_out_misfits(parts: Parts, dataset: Dataset) -> list[str]:
    """Take out of ``parts`` the metrics that the run's other components do not allow; why, for each."""
    said = []
    for typed, rule in traits.conflicts(components(parts, dataset)):
        group, _, name = typed.partition("=")
        if group == "metric" and parts.metrics.pop(name, None) is not None:
            said.append(f"{typed}: {rule.why}; left out")
    return said


def components(parts: Parts, dataset: Dataset) -> dict[str, object]:
    """Everything that the rules compare, by what a person typed."""
    config = parts.config
    found: dict[str, object] = {f"{group}={config[group]['name']}": getattr(parts, part) for group, part in _SINGLE.items()}
    found[f"dataset={config['dataset']['name']}"] = dataset
    found |= {f"regularizer={name}": entry for name, entry in parts.regularizers.items()}
    if config.get("init_from"):
        found["init_from"] = _Inherited()
    return found | {f"metric={name}": entry for name, entry in parts.metrics.items()}


class _Inherited:
    """What follows from players that start with another run's weights."""

    traits = frozenset({"players.inherited"})


_SINGLE = {"model": "family", "game": "game", "loss": "loss"}


def build_players(parts: Parts, spec: Spec, runtime: Runtime) -> None:
    """Make the players and put them on the device."""
    parts.game.build_players(parts.family, spec, parts.loss, parts.regularizers, int(parts.config["seed"]))
    for module in (*parts.game.players.values(), parts.game, parts.loss, *parts.regularizers.values()):
        module.to(runtime.device)
        if spec.kind == "image":
            module.to(memory_format=runtime.memory_format)  # type: ignore[call-overload]


def averages(parts: Parts) -> dict[str, EMA]:
    """The running averages of the players that the game samples with; none with ``ema=0``."""
    decay = float(parts.config["ema"])
    if not 0 <= decay < 1:
        raise BadInput(f"ema={decay}: must be in [0, 1); 0 means no average")
    return {role: EMA(parts.game.players[role], decay) for role in parts.game.averaged} if decay else {}


def trainer(parts: Parts, dataset: Dataset, runtime: Runtime) -> Trainer:
    """Players, optimizers, averages and data, ready for the first step."""
    config = parts.config
    batch_size, accumulate = int(config["batch_size"]), int(config["accumulate"])
    if batch_size < 1 or accumulate < 1 or batch_size % accumulate:
        raise BadInput(f"accumulate={accumulate}: must divide batch_size={batch_size}")
    build_players(parts, dataset.spec, runtime)
    modules = [module for player in parts.game.players.values() for module in player.modules()]
    if batch_size == accumulate and any(isinstance(module, torch.nn.BatchNorm1d) for module in modules):
        alone = f"batch_size={batch_size}, accumulate={accumulate}: one sample at a time cannot be normalized as a batch"
        raise BadInput(f"{alone}. Try batch_size={2 * accumulate}, or model.discriminator.norm=layer")
    parts.game.check_batch(batch_size // accumulate)
    generated = config.get("generator_batch")
    if generated is not None:
        if generated < 1 or generated % accumulate:
            raise BadInput(f"accumulate={accumulate}: must divide generator_batch={generated}")
        parts.game.check_batch(generated // accumulate)
    return _trainer(parts, {name: supply(source, runtime) for name, source in parts.game.streams(dataset).items()}, runtime)


def holder(parts: Parts, spec: Spec, runtime: Runtime) -> Trainer:
    """The whole training state of a run and no data: it judges and takes over a checkpoint as training does."""
    build_players(parts, spec, runtime)
    return _trainer(parts, {}, runtime)


def _trainer(parts: Parts, streams: dict[str, Stream], runtime: Runtime) -> Trainer:
    config = parts.config
    return Trainer(
        game=parts.game,
        optimizers={
            role: for_player(config["optimizer"], role, player.parameters()) for role, player in parts.game.players.items()
        },
        factor=schedule(config["optimizer"]["schedule"], int(config["steps"])),
        averages=averages(parts),
        streams=streams,
        runtime=runtime,
        seed=int(config["seed"]),
        batch_size=int(config["batch_size"]),
        accumulate=int(config["accumulate"]),
        generator_batch=config.get("generator_batch"),
        move=lambda optimizer, step: move(optimizer, min(1.0, step / int(config["steps"]))),
    )


def supply(dataset: Dataset, runtime: Runtime) -> Stream:
    """An endless stream of ``dataset``'s samples, on the device."""
    return Stream(
        len(dataset),
        lambda indices: dataset.batch(indices, runtime.device),
        dataset.expect if type(dataset).expect is not Dataset.expect else None,
        dataset.change,
    )


def check_consulted(parts: Parts) -> None:
    """After the first step: a regularizer that the game never asks is a mistake, not a silent nothing."""
    idle = sorted(set(parts.regularizers) - parts.game.consulted)
    if idle:
        raise BadInput(f"regularizer={','.join(idle)}: game={parts.config['game']['name']} never consults it. Take it out")


@contextmanager
def performing(game: Game, average: Mapping[str, EMA]) -> Iterator[None]:
    """Within: the players in evaluation mode, those with an average replaced by it. Nothing of the training state moves."""
    players, modes = game.players, {role: player.training for role, player in game.players.items()}
    game.players = {role: average[role].network if role in average else player.eval() for role, player in players.items()}
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            yield
    finally:
        game.players = players
        for role, player in players.items():
            player.train(modes[role])
