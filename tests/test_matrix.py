"""Everything that the rules allow trains and resumes exactly; everything that they refuse has a remedy that works."""

from __future__ import annotations

import io
import itertools
import json
import random
from collections import Counter
from typing import Any

import pytest
import torch
import yaml
from conftest import make_trainer
from matrix import (
    FACTORS,
    NONE,
    Cell,
    apply,
    composed,
    config_of,
    conflicts,
    covering,
    exists,
    is_legal,
    legal_cells,
    option_names,
    pairs_of,
    product,
    regularizers,
    smoke,
    values,
)

from ganrun.disk import checkpoint
from ganrun.engine import assemble
from ganrun.ground import registry
from ganrun.ground.traits import Rule

CHUNKS = 16  # of the covering array, so that several processes share it
SMOKE_CHUNKS = 4
MOST_RULES = 26


def train_and_resume(config: dict[str, Any]) -> None:
    """Two steps, a checkpoint, two more; a fresh trainer takes the last two from the checkpoint: the same bits."""
    first = make_trainer(config).trainer
    for _ in range(2):
        first.advance()
    checkpoint.check_types(first.state_dict())
    buffer = io.BytesIO()
    torch.save(first.state_dict(), buffer)
    for _ in range(2):
        first.advance()
    first.check()
    first.check_weights()
    second = make_trainer(config).trainer
    buffer.seek(0)
    second.load_state_dict(torch.load(buffer, weights_only=True))
    for _ in range(2):
        second.advance()
    assert checkpoint.digest(second.state_dict()) == checkpoint.digest(first.state_dict())


def train_all(cells: list[Cell]) -> None:
    failed = []
    for cell in cells:
        try:
            train_and_resume(config_of(cell))
        except Exception as error:  # all of them at once: one by one would take a day
            failed.append(f"{' '.join(cell.values())}: {type(error).__name__}: {error}")
    assert not failed, f"{len(failed)} of {len(cells)}:\n" + "\n".join(failed)


def refused_cells() -> list[tuple[Cell, Rule]]:
    """For each rule of the project a cell that it refuses, with as little else wrong as there is: few families make tokens."""
    chance, options = random.Random(1), product().values
    wanted = {rule.why: rule for rule in rules()}
    found: dict[str, tuple[float, Cell, Rule]] = {}
    plain = {"part": "as it is", "pack": "1", "condition": "none", "game": "adversarial", "one": NONE, "other": NONE}
    for attempt in range(6000):
        cell = {factor: chance.choice(options[factor]) for factor in FACTORS}
        cell |= {factor: value for factor, value in plain.items() if attempt % 2 and chance.random() < 0.7}
        broken = conflicts(config_of(cell)) if exists(cell) and not is_legal(cell) else []
        wrong = len(broken) + (cell["data"] == "tokens") / 2
        for _, rule in broken:
            if rule.why in wanted and (rule.why not in found or found[rule.why][0] > wrong):
                found[rule.why] = (wrong, cell, rule)
    return [(cell, rule) for _, cell, rule in found.values()]


def rules() -> list[Rule]:
    """Every rule that some component of a run states, once."""
    found: dict[str, Rule] = {}
    for group in ("model", "game", "condition", "loss", "regularizer"):
        for name in registry.names(group):
            component = registry.lookup(group, name)
            if not component.__module__.startswith("ganrun."):
                continue
            made = component() if group in ("condition",) else registry.build(group, {"name": name})
            for kind in ("needs", "refuses"):
                found |= {rule.why: rule for rule in getattr(made, kind).values()} if hasattr(made, kind) else {}
    return list(found.values())


def with_remedies(config: dict[str, Any]) -> dict[str, Any]:
    """``config`` with the suggested overrides applied until nothing is refused."""
    for _ in range(6):
        broken = conflicts(config)
        if not broken:
            return config
        config = apply(config, broken[0][1].override)
    raise AssertionError(f"still refused after the suggested overrides: {conflicts(config)}")


# the tests


def test_the_whole_product_is_classified(capsys: pytest.CaptureFixture[str]) -> None:
    found, rows = product(), covering()
    held = set().union(*(pairs_of(row) for row in rows))
    with capsys.disabled():
        sizes = ", ".join(f"{len(names)} {factor}" for factor, names in found.values.items() if factor != "other")
        print(
            f"\nmatrix: {sizes} (up to two regularizers): {found.legal + found.refused} cells, {found.legal} legal, "
            f"{found.refused} refused; {len(rows)} run, which hold all {len(found.pairs)} pairs"
        )
    assert held >= found.pairs
    assert all(is_legal(row) for row in rows)


def test_the_fast_classification_agrees_with_what_a_run_is_told() -> None:
    chance, options = random.Random(2), product().values
    seen: Counter[bool] = Counter()
    while sum(seen.values()) < 120:
        cell = {factor: chance.choice(options[factor]) for factor in FACTORS}
        if exists(cell):
            seen[is_legal(cell)] += 1
            assert is_legal(cell) == (not conflicts(config_of(cell))), cell
    assert min(seen[True], seen[False]) > 10, seen


def test_there_are_few_rules_and_each_ends_with_an_override() -> None:
    found = rules()
    assert 5 < len(found) <= MOST_RULES, [rule.why for rule in found]
    for rule in found:
        assert "=" in rule.override.split(" ")[0], rule


def test_every_loss_is_legal_with_the_adversarial_game_in_every_fitting_family() -> None:
    pairs, found = product().pairs, values()
    plain = {"part": "as it is", "pack": "1", "condition": "none", "game": "adversarial", "one": NONE, "other": NONE}
    for loss, family in itertools.product(found["loss"], found["family"]):
        cells = [{"data": data, "family": family, **plain, "loss": loss} for data in found["data"]]
        fits = frozenset((("loss", loss), ("family", family))) in pairs
        adversarial = frozenset((("game", "adversarial"), ("family", family))) in pairs
        if fits and adversarial:
            assert any(is_legal(cell) for cell in cells), (loss, family)
    for loss in found["loss"]:
        assert any(frozenset((("loss", loss), ("family", family))) in pairs for family in found["family"])


def test_every_regularizer_is_legal_with_at_least_three_losses() -> None:
    for name in regularizers():
        losses = [loss for loss in values()["loss"] if frozenset((("one", name), ("loss", loss))) in product().pairs]
        assert len(losses) >= 3, (name, losses)


def test_every_game_is_legal_with_at_least_three_losses_and_three_regularizers() -> None:
    for game in values()["game"]:
        for factor in ("loss", "one"):
            partners = [name for name in values()[factor] if frozenset((("game", game), (factor, name))) in product().pairs]
            assert len(partners) >= 3 + (factor == "one"), (game, factor, partners)


@pytest.mark.parametrize("chunk", range(SMOKE_CHUNKS))
def test_every_choice_trains_and_resumes_bit_for_bit_in_some_cell(chunk: int) -> None:
    train_all(smoke()[chunk::SMOKE_CHUNKS])


@pytest.mark.matrix
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_a_pairwise_covering_array_trains_and_resumes_bit_for_bit(chunk: int) -> None:
    train_all(covering()[chunk::CHUNKS])


def test_each_rule_refuses_a_cell_that_trains_after_the_suggested_override() -> None:
    found = refused_cells()
    assert {rule.why for _, rule in found} == {rule.why for rule in rules()}
    for cell, rule in found:
        config = config_of(cell)
        with pytest.raises(Exception, match="Try") as caught:
            make_trainer(config)
        assert rule.override in str(caught.value)
        try:
            train_and_resume(with_remedies(config))
        except Exception as error:
            raise AssertionError(f"{cell}, refused by: {rule.why}: {error}") from error


def test_a_suggested_override_is_one_that_hydra_takes() -> None:
    for rule in rules():
        word = rule.override.split(" ", maxsplit=1)[0]
        key, _, value = word.partition("=")
        if "." not in key:
            assert value in option_names(key) or key in ("condition", "pack"), rule
            continue
        stack = [f"regularizer={key.split('.')[1]}"] if key.startswith("regularizer.") else []
        place: Any = composed("model=dcgan", *stack, word)
        for entry in key.split("."):
            place = place[entry]
        assert place == yaml.safe_load(value)


def test_the_rules_hold_where_a_run_is_assembled() -> None:
    for cell in covering()[:10]:
        config = config_of(cell)
        parts = assemble.build(config, with_metrics=False)
        assemble.verify(parts, assemble.load_data(config, parts.family))
        assert json.dumps(config["regularizer"]) is not None


@pytest.mark.long
@pytest.mark.parametrize("chunk", range(4 * CHUNKS))
def test_triples_train_and_resume_bit_for_bit(chunk: int) -> None:
    """Random legal cells until nearly every triple of a loss, a game and a regularizer, and as many others, has been run."""
    chance = random.Random(chunk)
    fixed = itertools.product(values()["game"], values()["loss"], values()["one"])
    for game, loss, one in itertools.islice(fixed, chunk, None, 4 * CHUNKS):
        train_all(list(itertools.islice(legal_cells({"game": game, "loss": loss, "one": one}, chance, tries=2000), 1)))
