"""Every loss x stack of regularizers x family x condition trains and resumes exactly, or is refused with a remedy that works.

All is found in conf/ and the registry, so a new component joins unasked. The whole product is classified; a part of it
that holds every pair of choices (loss, stack, players on their data, condition) is trained, the rest in the long suite.
"""

from __future__ import annotations

import functools
import io
import itertools
import json
import random
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import yaml
from conftest import CONF, compose_config, make_trainer

from ganrun.engine import assemble, checkpoint
from ganrun.ground import registry, traits
from ganrun.ground.traits import Rule

BASE = ("batch_size=8", "steps=20", "device=cpu")
NORMS = ("batch", "none")
DATA = ("toy_points", "toy_unlabelled", "toy_images")


# what there is


def option_names(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


@functools.cache
def composed(*overrides: str) -> dict[str, Any]:
    return compose_config(*BASE, *overrides)


def families() -> dict[str, dict[str, Any]]:
    """One config of the smallest networks for each distinct family: recipes over the same networks count once."""
    found: dict[Any, tuple[str, dict[str, Any]]] = {}
    for name in sorted(option_names("model"), key=lambda name: "_global_" in (CONF / "model" / f"{name}.yaml").read_text()):
        config = composed(f"model={name}")["model"]
        small = {**config, "latent": 3}
        for key, value in small.items():
            if isinstance(value, dict):
                small[key] = {**value, **({"width": 4} if "width" in value else {})}
        found.setdefault(registry.lookup("model", config["name"]), (name, small))
    return dict(found.values())


def regularizer_variants() -> dict[str, dict[str, Any]]:
    """Each option of the group, once for each choice of sides where it has the choice."""
    found: dict[str, dict[str, Any]] = {}
    for name in option_names("regularizer"):
        stack = composed(f"regularizer={name}")["regularizer"]
        with_sides = [entry for entry, options in stack.items() if "sides" in options]
        if not stack:
            continue
        if not with_sides:
            found[name] = stack
            continue
        for sides in (["discriminator"], ["generator"], ["discriminator", "generator"]):
            changed = {entry: {**stack[entry], "sides": sides} for entry in with_sides}
            found[f"{name}@{'+'.join(sides)}"] = {**stack, **changed}
    return found


def stacks() -> dict[str, dict[str, Any]]:
    """All sets of at most two regularizers."""
    variants = regularizer_variants()
    found: dict[str, dict[str, Any]] = {"none": {}}
    for size in (1, 2):
        for names in itertools.combinations(variants, size):
            if len({name.split("@")[0] for name in names}) == size:
                found["+".join(names)] = {key: value for name in names for key, value in variants[name].items()}
    return found


def players() -> dict[str, dict[str, Any]]:
    """Every family with every norm on every data set that it fits."""
    found = {}
    for (name, model), norm, data in itertools.product(families().items(), NORMS, DATA):
        normed = {key: {**value, "norm": norm} if isinstance(value, dict) else value for key, value in model.items()}
        if "dataset.image" in registry.build("model", normed).needs and data != "toy_images":
            continue
        found[f"{name}-{norm}-{data}"] = {"model": normed, "dataset": {"name": data}}
    return found


@dataclass(frozen=True)
class Case:
    """One combination, by the names of its parts."""

    loss: str
    stack: str
    players: str
    game: str
    condition: str

    def pairs(self) -> set[tuple[str, ...]]:
        parts = [(f"{key}={value}",) for key, value in self.__dict__.items()]
        return {one + other for one, other in itertools.combinations(parts, 2)}


@dataclass
class Product:
    """The whole product, classified."""

    legal: list[Case]
    refused: dict[Case, list[tuple[str, Rule]]]
    configs: dict[Case, dict[str, Any]]
    trained: list[Case]
    remedied: list[Case]


def config_of(case: Case) -> dict[str, Any]:
    base = composed(f"loss={case.loss}", f"game={case.game}")
    game = {**base["game"], "condition": case.condition}
    return {**base, **PLAYERS[case.players], "game": game, "regularizer": STACKS[case.stack], "metric": {}}


@functools.cache
def built(group: str, text: str) -> Any:
    return registry.build(group, json.loads(text))


def conflicts(config: dict[str, Any]) -> list[tuple[str, Rule]]:
    """What the rules say of a config, with each component built once only."""
    parts = {group: built(group, json.dumps(config[group])) for group in ("model", "game", "loss", "dataset")}
    parts |= {name: built("regularizer", json.dumps(options)) for name, options in config["regularizer"].items()}
    return traits.conflicts(parts)


def apply(config: dict[str, Any], override: str) -> dict[str, Any]:
    """What typing ``override`` as well would have made of ``config``."""
    key, _, text = override.split(" ", maxsplit=1)[0].partition("=")
    first, *inner = key.split(".")
    if not inner:
        return {**config, key: composed(override.split(" ", maxsplit=1)[0])[key]}
    changed: dict[str, Any] = json.loads(json.dumps(config))
    place = changed[first]
    for entry in inner[:-1]:
        place = place[entry]
    assert inner[-1] in place, f"{override}: there is no such key"
    place[inner[-1]] = yaml.safe_load(text)
    return changed


@functools.cache
def product() -> Product:
    names = (option_names("loss"), STACKS, PLAYERS, option_names("game"), registry.names("condition"))
    found = Product([], {}, {}, [], [])
    for case in itertools.starmap(Case, itertools.product(*names)):
        config = found.configs[case] = config_of(case)
        rules = conflicts(config)
        if rules:
            found.refused[case] = rules
        else:
            found.legal.append(case)
    found.trained = covering(found.legal)
    seen: set[tuple[str, ...]] = set()
    for case, rules in found.refused.items():
        reasons = {(case.players, typed, rule.why) for typed, rule in rules}
        if not reasons <= seen:
            seen |= reasons
            found.remedied.append(case)
    return found


def covering(cases: list[Case]) -> list[Case]:
    """Few cases that hold every pair of choices that any of ``cases`` holds."""
    order = random.Random(0).sample(cases, len(cases))
    wanted, chosen = set().union(*(case.pairs() for case in cases)), []
    for least in (8, 4, 2, 1):  # those that bring most first
        for case in order:
            if len(case.pairs() & wanted) >= least:
                chosen.append(case)
                wanted -= case.pairs()
    return chosen


STACKS = stacks()
PLAYERS = players()


def with_remedies(config: dict[str, Any]) -> dict[str, Any]:
    """``config`` with the suggested overrides applied until nothing is refused."""
    for _ in range(4):
        rules = conflicts(config)
        if not rules:
            return config
        for _, rule in rules:
            config = apply(config, rule.override)
    raise AssertionError(f"still refused after the suggested overrides: {conflicts(config)}")


def train_and_resume(config: dict[str, Any]) -> None:
    """Two steps, a checkpoint, a third step; a fresh trainer takes the third from the checkpoint: the same bits."""
    first = make_trainer(config).trainer
    first.advance()
    first.advance()
    checkpoint.check_types(first.state_dict())
    buffer = io.BytesIO()
    torch.save(first.state_dict(), buffer)
    first.advance()
    first.check()
    first.check_weights()
    second = make_trainer(config).trainer
    buffer.seek(0)
    second.load_state_dict(torch.load(buffer, weights_only=True))
    second.advance()
    assert checkpoint.digest(second.state_dict()) == checkpoint.digest(first.state_dict())


# the tests


def test_every_combination_is_legal_or_refused_with_a_remedy_that_makes_it_legal(capsys: pytest.CaptureFixture[str]) -> None:
    found = product()
    for case in found.refused:
        with_remedies(found.configs[case])
    total = len(found.legal) + len(found.refused)
    reasons = Counter(f"{typed}: {rule.override}" for rules in found.refused.values() for typed, rule in rules)
    with capsys.disabled():
        print(
            f"\nmatrix: {total} combinations of {len(option_names('loss'))} losses, {len(STACKS)} stacks of regularizers, "
            f"{len(PLAYERS)} players on data, {len(option_names('game'))} game(s), "
            f"{len(registry.names('condition'))} conditions: {len(found.legal)} legal, "
            f"{len(found.refused)} refused and made legal by the suggested override; "
            f"trained here: {len(found.trained)} legal, {len(found.remedied)} remedied"
        )
        for reason, count in sorted(reasons.items()):
            print(f"  refused {count:4d} times by {reason}")
    assert {case.loss for case in found.trained} == set(option_names("loss"))
    assert {case.stack for case in found.trained} == set(STACKS)
    assert {case.players for case in found.trained} == set(PLAYERS)


def test_every_loss_is_legal_with_every_fitting_family() -> None:
    plain = {(case.loss, case.players) for case in product().legal if case.stack == "none" and case.condition == "none"}
    assert plain == set(itertools.product(option_names("loss"), PLAYERS))
    assert {name.split("-")[0] for name in PLAYERS} == set(families())


def test_every_regularizer_is_legal_with_at_least_three_losses_in_every_family() -> None:
    legal = product().legal
    for name, family in itertools.product(regularizer_variants(), families()):
        losses = {case.loss for case in legal if case.stack == name and case.players.startswith(f"{family}-")}
        assert len(losses) >= 3, (name, family, losses)


def test_the_rules_hold_where_a_run_is_assembled() -> None:
    found = product()
    for case in found.remedied:
        with pytest.raises(Exception, match="Try") as caught:
            make_trainer(found.configs[case])
        for _, rule in found.refused[case]:
            assert rule.override in str(caught.value)
    for case in found.trained[:10]:
        parts = assemble.build(found.configs[case], with_metrics=False)
        assemble.verify(parts, assemble.load_data(found.configs[case], parts.family))


@pytest.mark.parametrize("name", PLAYERS)
def test_legal_combinations_train_and_resume_bit_for_bit(name: str) -> None:
    cases = [case for case in product().trained if case.players == name]
    assert cases
    for case in cases:
        try:
            train_and_resume(product().configs[case])
        except Exception as error:
            raise AssertionError(f"{case}: {error}") from error


def test_refused_combinations_train_after_the_suggested_override() -> None:
    found = product()
    assert found.remedied
    for case in found.remedied:
        try:
            train_and_resume(with_remedies(found.configs[case]))
        except Exception as error:
            raise AssertionError(f"{case}: {error}") from error


def test_a_suggested_override_is_one_that_hydra_takes() -> None:
    found = product()
    for override in sorted({rule.override.split(" ", maxsplit=1)[0] for rules in found.refused.values() for _, rule in rules}):
        key, _, value = override.partition("=")
        place: Any = composed("model=mlp", override)
        for entry in key.split("."):
            place = place[entry]
        assert place == yaml.safe_load(value)


@pytest.mark.long
@pytest.mark.parametrize("name", PLAYERS)
def test_all_legal_combinations_train_and_resume_bit_for_bit(name: str) -> None:
    for case in product().legal:
        if case.players == name:
            train_and_resume(product().configs[case])
