"""Which parameters count as a layer's weight matrix, for every family under every condition and every technique that asks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from conftest import make_trainer
from matrix import NONE, config_of, families, is_legal
from test_regularizers import make, turn
from torch import nn
from torch.nn.utils import parametrize

from ganrun.games.conditions.projection import ConditionalNorm, FreeNorm, conditional_norms
from ganrun.games.conditions.shared import Shared
from ganrun.ground import registry
from ganrun.ground.duel import Duel
from ganrun.ground.errors import BadInput
from ganrun.ground.matrices import free_weight, is_embedding, is_weighted, matrices, weighted_modules
from ganrun.ground.spec import DiscriminatorOutput

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d)
BOTH = ["discriminator", "generator"]
NOTHING = Duel(DiscriminatorOutput, (), ())


def legal_pairs() -> Iterator[Any]:
    """(family, condition) with data and a game that they can have."""
    for family in families():
        for condition in registry.names("condition"):
            for data, game in (
                ("images", "adversarial"),
                ("points", "adversarial"),
                ("tokens", "adversarial"),
                ("paired", "pix2pix"),
            ):
                cell = {"data": data, "family": family, "part": "as it is", "pack": "1", "condition": condition, "game": game}
                cell |= {"loss": "hinge", "one": NONE, "other": NONE}
                if is_legal(cell):
                    yield pytest.param(cell, id=f"{family}-{condition}")
                    break


PAIRS = list(legal_pairs())


def players_of(cell: dict[str, str], **regularizers: Any) -> dict[str, nn.Module]:
    config = config_of(cell)
    config["regularizer"] = {name: {"name": name, **options} for name, options in regularizers.items()}
    return dict(make_trainer(config).parts.game.players)


def of_normalizations(player: nn.Module) -> set[int]:
    """The parameters of gains, shifts and of the embedding that they read, found without the seam."""
    norms = {id(entry) for norm in conditional_norms(player) for entry in norm.parameters()}
    return norms | {id(part.embedding.weight) for part in player.modules() if isinstance(part, Shared)}


@pytest.mark.parametrize("cell", PAIRS)
def test_matrices_are_the_weights_of_layers_and_nothing_of_a_normalization(cell: dict[str, str]) -> None:
    players = players_of(cell)
    for player in players.values():
        apart = of_normalizations(player)
        wanted = {id(layer.weight) for layer in player.modules() if isinstance(layer, LAYERS)} - apart
        assert {id(free_weight(module)) for module in weighted_modules(player)} == wanted
        assert [id(free_weight(player.get_submodule(name))) for name, _ in matrices(player)] == [
            id(free_weight(module)) for module in weighted_modules(player)
        ]

    orthogonal = make("orthogonal", sides=BOTH)
    term = orthogonal.term(NOTHING, players, turn(4))
    entries = [entry for player in players.values() for entry in player.parameters()]
    slopes = torch.autograd.grad(term, entries, allow_unused=True)
    touched = {id(entry) for entry, slope in zip(entries, slopes, strict=True) if slope is not None}
    embedded = {id(part.weight) for player in players.values() for part in player.modules() if is_embedding(part)}
    everything = {id(free_weight(module)) for player in players.values() for module in weighted_modules(player)}
    assert touched == everything - embedded


@pytest.mark.parametrize("cell", PAIRS)
def test_divided_players_start_with_gains_near_one(cell: dict[str, str]) -> None:
    players = players_of(cell, spectral_norm={"sides": BOTH}, spectral_regularization={})
    for role, player in players.items():
        divided = {name for name, module in player.named_modules() if parametrize.is_parametrized(module, "weight")}
        assert divided == {name for name, module in player.named_modules() if isinstance(module, LAYERS) and is_weighted(module)}
        stages = conditional_norms(player)
        assert bool(stages) <= (role == "generator")
        for norm in stages:
            assert not any(parametrize.is_parametrized(module) for module in norm.modules())
            code = torch.eye(norm.gain.in_features)
            factor = norm.factor(code).detach()
            assert float((factor - 1).abs().max()) < 0.1
            assert float((factor != 1).float().mean()) > 0.99  # and learns from there on; a draw may round to 1


def test_clipping_and_averaging_act_on_every_parameter(toy: Any) -> None:
    players = toy("mlp", "toy_points", "condition=shared").parts.game.players
    averaging = make("historical_averaging")
    averaging.prepare(players)
    with torch.no_grad():
        for player in players.values():
            for entry in player.parameters():
                entry.add_(1)
    entries = [entry for player in players.values() for entry in player.parameters()]
    slopes = torch.autograd.grad(averaging.term(NOTHING, players, turn(1)), entries)
    assert all(torch.allclose(slope, torch.full_like(slope, 2.0), atol=1e-4) for slope in slopes)
    make("weight_clip", clip=0.5).after_step(players, NOTHING, turn(1))
    assert all(float(entry.detach().abs().max()) <= 0.5 for entry in entries)


def test_a_scale_with_the_shape_of_a_matrix_is_none() -> None:
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.LayerNorm([3, 6, 6]), nn.Embedding(4, 5), nn.Bilinear(2, 2, 3), nn.PReLU(3))
    assert [type(module) for module in weighted_modules(network)] == [nn.Conv2d, nn.Embedding, nn.Bilinear]


# the gain as it was at first


@pytest.mark.parametrize("condition", ["projection", "shared"])
def test_a_free_gain_is_a_layer_like_any_other(condition: str, toy: Any) -> None:
    options = ("regularizer=spectral_norm", "regularizer.spectral_norm.sides=[discriminator,generator]")
    player = toy("mlp", "toy_points", f"condition={condition}", "game.gain=free", *options).parts.game.players["generator"]
    stages = conditional_norms(player)
    assert stages
    for norm in stages:
        assert isinstance(norm, FreeNorm)
        assert parametrize.is_parametrized(norm.scale, "weight")
        code = torch.eye(norm.scale.in_features)
        assert torch.equal(norm.factor(code), norm.scale(code))
        if condition == "projection":
            assert torch.equal(free_weight(norm.scale), torch.ones_like(norm.scale.weight))
        else:
            assert torch.equal(norm.scale.bias, torch.ones_like(norm.scale.bias))


def test_the_two_gains_have_no_name_in_common_so_that_neither_is_taken_for_the_other() -> None:
    torch.manual_seed(0)
    one = ConditionalNorm(nn.BatchNorm1d(3, affine=False), 3, 2)
    other = FreeNorm(nn.BatchNorm1d(3, affine=False), 3, 2, bias=False)
    assert set(one.state_dict()) - set(other.state_dict()) == {"gain.weight"}
    assert set(other.state_dict()) - set(one.state_dict()) == {"scale.weight"}


def test_an_unknown_gain_is_refused_with_the_nearest() -> None:
    with pytest.raises(BadInput, match=r"gain=frei.*free"):
        registry.build("game", {"name": "adversarial", "gain": "frei"})
