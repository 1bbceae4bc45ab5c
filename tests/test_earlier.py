"""Runs from before an option was there go on as they began: their configs read in today's words."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import compose_config
from safetensors.torch import save

from ganrun.disk import runs
from ganrun.disk.earlier import LATER, as_then, completed
from ganrun.disk.identity import entry, identity, result_keys
from ganrun.engine import export
from ganrun.optimizers.base import schedule

MODELS, DATA = (
    [f"{group}={name}" for name in names]
    for group, names in (("model", ("mlp",)), ("dataset", ("paired_digits", "paired_folder")))
)


def holds(config: dict[str, Any], path: str) -> bool:
    above, _, key = path.rpartition(".")
    return key in (entry(config, above) or {} if above else config)


def old(*overrides: str) -> dict[str, Any]:
    """A config as it was written before ``game.gain`` was there."""
    config = compose_config(*overrides)
    del config["game"]["gain"]
    for options in config["regularizer"].values():
        options.pop("at", None)
    return config


@pytest.mark.parametrize("condition", ["projection", "shared"])
@pytest.mark.parametrize("game", ["adversarial", "madgan"])
def test_an_old_conditional_run_keeps_its_gain(condition: str, game: str) -> None:
    config = completed(old(f"condition={condition}", f"game={game}"))
    assert config["game"]["gain"] == "free"
    assert completed(config) == config
    assert completed(old(f"game={game}"))["game"]["gain"] == "offset"


@pytest.mark.parametrize(
    ("overrides", "same"),
    [
        ((), True),
        (("condition=projection",), False),
        (("condition=projection", "game.gain=free"), True),
        (("condition=concat", "regularizer=[r1,r2,replay]"), True),
        (("regularizer=[r1,diffaugment]",), False),
        (("regularizer=[r1,diffaugment]", "regularizer.r1.at=input"), True),
        (("optimizer.schedule.name=exponential", "optimizer.schedule.final=1e-2"), True),
        (("optimizer.schedule.name=exponential", "optimizer.schedule.final=1e-5"), False),
    ],
)
def test_a_command_finds_its_old_run_where_it_does_what_it_did(overrides: tuple[str, ...], same: bool) -> None:
    today = compose_config(*overrides)
    then = as_then(today)
    assert (then == old(*overrides)) == same
    assert completed(then) == today


def test_a_config_of_today_and_one_of_a_users_own_game_stay_as_they_are() -> None:
    today = compose_config("condition=projection")
    assert completed(today) == today
    own = {**today, "game": {"name": "mine", "condition": {"name": "projection"}}}
    assert completed(own) == own
    assert completed({"game": None, "loss": 3}) == {"game": None, "loss": 3}


def test_an_option_that_came_later_and_is_off_makes_no_other_run() -> None:
    """Each key of ``LATER`` stands in a file of ours, off; without it a config is the same run, and on it is another one."""
    for path, off in LATER.items():
        group, _, inner = path.partition(".")
        options = {"model": MODELS, "dataset": DATA}.get(group, [""]) if inner else [""]
        named = [f"regularizer={inner.split('.')[0]}"] if group == "regularizer" else []
        named += ["optimizer=sgd"] if "momentum" in path else []
        holders = [compose_config(*filter(None, [option]), *named) for option in options]
        holders = [config for config in holders if holds(config, path)]
        assert holders, path
        for config in holders:
            assert entry(config, path) == off, path
            without, other = copy.deepcopy(config), copy.deepcopy(config)
            *above, key = path.split(".")
            del (entry(without, ".".join(above)) if above else without)[key]
            (entry(other, ".".join(above)) if above else other)[key] = "on"
            assert identity(without) == identity(config) != identity(other)


@pytest.mark.parametrize(
    "condition", ["none", "concat", "projection", "shared", "acgan", "reacgan", "matching_aware", "per_class"]
)
def test_a_condition_that_was_a_name_gets_the_options_that_it_had_and_is_the_same_run(condition: str) -> None:
    today = compose_config(f"condition={condition}")
    then = {**today, "condition": condition, "game": {**today["game"], "condition": condition}}
    assert completed(then) == today
    assert completed(today) == today
    assert result_keys(today) == result_keys(then)  # under the name that it had: such runs are found by the same command
    assert result_keys(today)["game"]["condition"] == condition
    for key, value in today["condition"].items():
        if key != "name":
            other = compose_config(f"condition={condition}", f"condition.{key}={value / 2:g}")
            assert identity(other) != identity(today)


@pytest.mark.parametrize("name", ["folder", "paired_folder", "unpaired_folder"])
def test_an_old_folder_of_images_is_padded_as_it_was_and_keeps_its_name(name: str) -> None:
    today = compose_config(f"dataset={name}", "dataset.root=x", "dataset.size=50", "dataset.fit=pad")
    old = {**today, "dataset": {key: value for key, value in today["dataset"].items() if key != "fit"}}
    assert completed(old) == today
    assert identity(old) == identity(today)
    resized = {**today, "dataset": {**today["dataset"], "fit": "resize"}}
    assert completed(resized) == resized
    assert identity(resized) != identity(today)


def test_an_old_run_folder_and_an_old_export_are_read_in_todays_words(tmp_path: Path, toy: Any) -> None:
    made = toy("mlp", "toy_points", "condition=projection", "game.gain=free")
    config = made.config
    del config["game"]["gain"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    assert runs.read_config(tmp_path)["game"]["gain"] == "free"

    generator = made.parts.game.players["generator"].eval()
    kept = {"config": {key: config[key] for key in export.KEPT}, "spec": asdict(made.dataset.spec)}
    (tmp_path / "old.safetensors").write_bytes(save(generator.state_dict(), metadata={"ganrun": json.dumps(kept)}))
    z, labels = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0, 1])
    loaded = export.load(tmp_path / "old.safetensors")
    assert torch.equal(loaded(z, condition=labels), generator(z, condition=labels))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ({"name": "exponential", "final": 1e-5}, {"final": 1e-3}),
        ({"name": "exponential", "final": 0.0}, {"final": 1e-3}),
        ({"name": "exponential", "final": 0.2}, {"final": 0.2}),
        ({"name": "constant", "final": 0.2, "start": 0.5}, {"final": 0.0, "start": 0.0}),
        ({"name": "linear", "final": 1e-5, "start": 0.5}, {"final": 1e-5, "start": 0.5}),
    ],
)
def test_an_old_schedule_ends_where_it_did(written: dict[str, Any], meant: dict[str, float]) -> None:
    config = old()
    config["optimizer"]["schedule"] |= written
    found = completed(config)
    assert found["optimizer"]["schedule"] == {**config["optimizer"]["schedule"], **meant}
    schedule(found["optimizer"]["schedule"], 10)  # is one that can be
    assert completed(found) == found


@pytest.mark.parametrize(("beside", "at"), [("diffaugment", "input"), ("ada", "input"), ("replay,instance_noise", "sample")])
def test_old_penalties_take_their_slopes_where_they_did(beside: str, at: str) -> None:
    config = completed(old(f"regularizer=[r1,r2,{beside}]", "regularizer.r1.weight=3"))
    assert {name: entry.get("at") for name, entry in config["regularizer"].items()} == {
        **{"r1": at, "r2": at},
        **dict.fromkeys(beside.split(",")),
    }
    assert config["regularizer"]["r1"]["weight"] == 3
