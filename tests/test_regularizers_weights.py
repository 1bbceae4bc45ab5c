"""Regularizers of weights and features against singular values, hand-made cases, finite differences and a game that turns."""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from test_regularizers import (
    LAYERS,
    assert_gradients_are_finite_differences,
    by_outputs,
    dirac_trainer,
    draw,
    make,
    played,
    state,
    turn,
)
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ganrun.engine.ema import EMA
from ganrun.ground import registry, traits
from ganrun.ground.duel import Duel
from ganrun.ground.errors import BadInput
from ganrun.ground.spec import DiscriminatorOutput, Port
from ganrun.regularizers.base import Regularizer


def nothing() -> Duel:
    return Duel(DiscriminatorOutput, (), ())


def spectrum(layer: nn.Module, weight: Tensor | None = None) -> Tensor:
    found = layer.weight if weight is None else weight
    assert isinstance(found, Tensor)
    return torch.linalg.svdvals(by_outputs(layer, found.detach()))


# spectral regularization


def lifted(layer: Any, **options: Any) -> tuple[Any, Regularizer]:
    regularizer = make("spectral_regularization", **options)
    regularizer.prepare({"discriminator": nn.Sequential(layer)})
    return layer, regularizer


def updated(layer: Any, regularizer: Regularizer, weight: Tensor, update: int = 0) -> None:
    """Let an update give the layer another weight."""
    with torch.no_grad():
        layer.parametrizations.weight.original.copy_(weight)
    regularizer.after_step({"discriminator": nn.Sequential(layer)}, nothing(), turn(1, update=update))


def with_values(*values: float, seed: int = 0) -> Tensor:
    """A random matrix of 6 outputs with these singular values."""
    left, right = (torch.linalg.qr(draw(size, len(values), seed=seed + size)).Q for size in (6, 4))
    return left @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ right.T


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("index", [1, 2, 3, 100, None])
def test_static_compensation_lifts_the_first_values_to_one(layer: Callable[[], Any], index: int | None, float64: None) -> None:
    torch.manual_seed(1)
    found = layer()
    before = spectrum(found)
    count = min(len(before) // 2 if index is None else index, len(before))
    found, regularizer = lifted(found, index=index)
    wanted = torch.cat((torch.ones(count), before[count:] / before[0]))
    torch.testing.assert_close(spectrum(found), wanted)
    weight = draw(*found.weight.shape, seed=5)
    updated(found, regularizer, weight)
    after = spectrum(found, weight)
    torch.testing.assert_close(spectrum(found), torch.cat((torch.ones(count), after[count:] / after[0])))
    torch.testing.assert_close(found.parametrizations.weight.original, weight)  # left alone


def test_static_two_of_a_matrix_of_six_by_four(float64: None) -> None:
    layer, _ = lifted(nn.Linear(4, 6), index=2)
    original = layer.parametrizations.weight.original.detach()
    values = torch.linalg.svdvals(original)
    torch.testing.assert_close(spectrum(layer), torch.cat((torch.ones(2), values[2:] / values[0])))
    left, _, right = torch.linalg.svd(original, full_matrices=False)  # the directions stay
    torch.testing.assert_close(left.T @ layer.weight @ right.T, torch.diag(spectrum(layer)))
    again, _ = lifted(copy.deepcopy(nn.Linear(4, 6)), index=2)
    updated(again, make("spectral_regularization", index=2), layer.weight.detach())
    torch.testing.assert_close(again.weight, layer.weight)  # what was lifted once stays as it is


def test_static_one_is_spectral_normalization_with_its_gradient(float64: None) -> None:
    torch.manual_seed(2)
    plain, g = nn.Linear(5, 7), draw(7, 5)
    one, _ = lifted(copy.deepcopy(plain), index=1)
    other: Any = copy.deepcopy(plain)
    regularizer = make("spectral_norm")
    regularizer.prepare({"discriminator": nn.Sequential(other)})
    for step in range(400):
        regularizer.after_step({"discriminator": nn.Sequential(other)}, nothing(), turn(1, step))
    torch.testing.assert_close(one.weight, other.weight, atol=1e-6, rtol=0)
    gradients = []
    for layer in (one, other):
        (layer.weight * g).sum().backward()
        gradients.append(layer.parametrizations.weight.original.grad)
    torch.testing.assert_close(*gradients, atol=1e-6, rtol=0)


@pytest.mark.parametrize("mode", ["static", "dynamic"])
def test_the_gradient_takes_the_compensation_as_constant_and_the_largest_value_as_not(mode: str, float64: None) -> None:
    layer, regularizer = lifted(nn.Linear(4, 6), mode=mode)
    updated(layer, regularizer, with_values(3.0, 1.0, 0.9, 0.2))
    g, original = draw(6, 4, seed=3), layer.parametrizations.weight.original
    (layer.weight * g).sum().backward()
    left, values, right = torch.linalg.svd(original.detach(), full_matrices=False)
    wanted = (g - (g * layer.weight.detach()).sum() * torch.outer(left[:, 0], right[0])) / values[0]
    torch.testing.assert_close(original.grad, wanted)


def test_dynamic_compensation_never_lets_a_value_fall(float64: None) -> None:
    layer: Any = nn.Linear(4, 6)
    regularizer = make("spectral_regularization", mode="dynamic")
    with torch.no_grad():
        layer.weight.copy_(with_values(1.0, 1e-3, 1e-3, 1e-3))
    regularizer.prepare({"discriminator": nn.Sequential(layer)})
    torch.testing.assert_close(spectrum(layer), torch.tensor([1.0, 1e-3, 1e-3, 1e-3]))
    updated(layer, regularizer, with_values(2.0, 1.8, 0.6, 0.002))
    torch.testing.assert_close(spectrum(layer), torch.tensor([1.0, 0.9, 0.3, 1e-3]))
    updated(layer, regularizer, with_values(5.0, 2.5, 2.0, 0.005, seed=9))  # other directions: values are kept by position
    torch.testing.assert_close(spectrum(layer), torch.tensor([1.0, 0.9, 0.4, 1e-3]))
    left, _, right = torch.linalg.svd(layer.parametrizations.weight.original.detach(), full_matrices=False)
    torch.testing.assert_close(left.T @ layer.weight @ right.T, torch.diag(spectrum(layer)))


@pytest.mark.parametrize("mode", ["static", "dynamic"])
def test_looking_and_evaluating_change_no_state(mode: str, float64: None) -> None:
    layer, _ = lifted(nn.Linear(4, 6), mode=mode)
    kept = copy.deepcopy(layer.state_dict())
    original = layer.parametrizations.weight.original
    for training in (True, False):
        layer.train(training)
        layer(draw(3, 4)).sum().backward()
        with torch.no_grad():
            found = torch.func.functional_call(  # a virtual update
                layer, {"parametrizations.weight.original": with_values(1.0, 0.99, 0.98, 0.97)}, draw(3, 4)
            )
        assert found.isfinite().all()
        assert all(torch.equal(entry, kept[name]) for name, entry in layer.state_dict().items())
    assert original.grad is not None
    torch.testing.assert_close(layer.eval().weight, layer.train().weight)


@pytest.mark.parametrize("mode", ["static", "dynamic"])
def test_the_average_of_a_lifted_player_has_a_lifted_spectrum(mode: str, float64: None) -> None:
    torch.manual_seed(4)
    layer, regularizer = lifted(nn.Linear(6, 6), mode=mode)
    player = nn.Sequential(layer)
    average = EMA(player, 0.9)
    one, other = draw(6, 6), draw(6, 6, seed=1)
    for step in range(1, 60):
        angle = 0.1 * step  # a weight that turns
        updated(layer, regularizer, one * math.cos(angle) + other * math.sin(angle))
        average.update(step)
    shadow: Any = average.network.get_submodule("0")
    own = spectrum(shadow, shadow.parametrizations.weight.original)
    wanted = torch.cat((torch.ones(3), own[3:] / own[0]))
    if mode == "dynamic":
        wanted = torch.maximum(shadow.parametrizations.weight[0].gamma, own / own[0])
        assert float(wanted[1]) > float(own[1] / own[0]) + 0.01
    torch.testing.assert_close(spectrum(shadow), wanted)


def test_between_decompositions_the_compensation_stays(float64: None) -> None:
    layer, regularizer = lifted(nn.Linear(4, 6), every=3)
    entry = layer.parametrizations.weight[0]
    kept, u, v = entry.compensation.clone(), entry.u.clone(), entry.v.clone()
    for update in (1, 2):
        weight = with_values(3.0, 2.0, 1.0, 0.5)
        updated(layer, regularizer, weight, update)
        assert torch.equal(entry.compensation, kept)
        torch.testing.assert_close(layer.weight, (weight + kept) / (u @ weight @ v))
    updated(layer, regularizer, with_values(3.0, 2.0, 1.0, 0.5), 3)
    torch.testing.assert_close(spectrum(layer), torch.tensor([1.0, 1.0, 1 / 3, 1 / 6]))


def test_a_weight_that_is_divided_already_is_lifted_as_well_and_a_shared_one_once(float64: None) -> None:
    layer: Any = nn.Linear(4, 6)
    norm, lift = make("spectral_norm"), make("spectral_regularization", index=2)
    player = nn.Sequential(layer)
    for regularizer in (norm, lift):
        regularizer.prepare({"discriminator": player})
    lift.prepare({"other": player})
    assert len(layer.parametrizations.weight) == 2
    with torch.no_grad():
        layer.parametrizations.weight.original.copy_(with_values(3.0, 2.0, 1.0, 0.5))
    for regularizer in (norm, lift):
        regularizer.after_step({"discriminator": player}, nothing(), turn(1))
    torch.testing.assert_close(spectrum(layer), torch.tensor([1.0, 1.0, 1 / 3, 1 / 6]))


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("mode", ["static", "dynamic"])
def test_the_loop_lifts_every_matrix_of_the_discriminator_after_its_own_updates(mode: str, accumulate: int, toy: Any) -> None:
    options = ("regularizer=spectral_regularization", f"regularizer.spectral_regularization.mode={mode}", "n_critic=2")
    made = toy("mlp", "toy_points", f"accumulate={accumulate}", "optimizer.lr=0.05", *options)
    players = made.parts.game.players
    assert not any(parametrize.is_parametrized(module) for module in players["generator"].modules())
    held = [module for module in players["discriminator"].modules() if parametrize.is_parametrized(module)]
    assert len(held) == 3
    first = held[0]
    before = copy.deepcopy(first.parametrizations.weight[0].state_dict())
    made.trainer.advance()
    values = spectrum(first, first.parametrizations.weight.original)
    ratios = values / values[0]
    wanted = torch.ones(len(values)) if mode == "static" else ratios
    wanted[1:] = ratios[1:] if mode == "static" else torch.maximum(before["gamma"], ratios)[1:]
    found = spectrum(first)
    assert bool((found >= wanted - 1e-5).all())  # of two updates only the last is known
    torch.testing.assert_close(found[:1], torch.ones(1))
    if mode == "static":
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mode": "statik"}, "static"),
        ({"index": 0}, "index=0"),
        ({"index": 1.5}, "index=1.5"),
        ({"mode": "dynamic", "index": 2}, "index=null"),
        ({"every": 0}, "every=0"),
    ],
)
def test_senseless_spectra_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        make("spectral_regularization", **options)


# orthogonal regularization


def of_weights(regularizer: Regularizer, *players: nn.Module) -> Tensor:
    term = regularizer.term(nothing(), {str(index): player for index, player in enumerate(players)}, turn(1))
    assert term is not None
    return term * regularizer.weight


def linear_of(rows: list[list[float]] | Tensor) -> Any:
    weight = torch.as_tensor(rows, dtype=torch.float64)
    layer = nn.Linear(weight.shape[1], len(weight)).double()
    with torch.no_grad():
        layer.weight.copy_(weight)
    return layer


def test_overlap_of_rows_by_hand() -> None:
    assert of_weights(make("orthogonal", weight=1.0), linear_of([[1, 1], [0, 1]])).item() == 2
    assert of_weights(make("orthogonal", weight=0.5), linear_of([[1, 0, 2], [0, 1, 1]])).item() == 4
    assert of_weights(make("orthogonal", weight=1.0), linear_of([[1, 5]])).item() == 0  # one output alone
    two = nn.Sequential(linear_of([[1, 1], [0, 1]]), nn.ReLU(), linear_of([[2, 0], [1, 1]]))
    assert of_weights(make("orthogonal", weight=1.0), two).item() == 2 + 8


def test_orthogonal_rows_of_any_length_cost_nothing_and_have_no_gradient() -> None:
    rows = torch.linalg.qr(draw(5, 5)).Q[:3] * torch.tensor([[1.0], [2.0], [0.1]])
    layer = linear_of(rows)
    term = of_weights(make("orthogonal", weight=1.0), layer)
    term.backward()
    assert term.item() == pytest.approx(0, abs=1e-20)
    assert layer.weight.grad is not None
    assert float(layer.weight.grad.abs().max()) < 1e-12


@pytest.mark.parametrize("layer", LAYERS[:3])
def test_its_gradient_is_that_of_finite_differences_and_of_the_formula(layer: Callable[[], Any], float64: None) -> None:
    torch.manual_seed(1)
    found, regularizer = layer(), make("orthogonal", weight=0.3)
    found.bias = None
    assert_gradients_are_finite_differences(found, lambda: of_weights(regularizer, found))
    matrix, gradient = by_outputs(found, found.weight.detach()), by_outputs(found, found.weight.grad)
    products = matrix @ matrix.T
    products.fill_diagonal_(0)
    torch.testing.assert_close(of_weights(regularizer, found), 0.3 * products.square().sum())
    torch.testing.assert_close(gradient, 0.3 * 4 * products @ matrix)


def test_a_divided_weight_counts_as_it_was_a_shared_one_once_and_an_embedding_not_at_all() -> None:
    layer, regularizer = linear_of([[3, 3], [0, 1]]), make("orthogonal", weight=1.0)
    player = nn.Sequential(layer, nn.Embedding(4, 2), nn.LayerNorm(2))
    make("spectral_norm").prepare({"generator": player})
    torch.testing.assert_close(of_weights(regularizer, player), torch.tensor(18.0, dtype=torch.float64))
    torch.testing.assert_close(of_weights(regularizer, player, layer), torch.tensor(18.0, dtype=torch.float64))
    tied = nn.Linear(2, 2).double()
    tied.weight = layer.parametrizations.weight.original
    torch.testing.assert_close(of_weights(regularizer, player, tied), torch.tensor(18.0, dtype=torch.float64))
    assert regularizer.term(nothing(), {}, turn(1)) is None  # a further duel of the phase


@pytest.mark.parametrize("sides", [["generator"], ["discriminator"], ["discriminator", "generator"]])
def test_orthogonality_joins_the_phases_of_its_sides(sides: list[str], toy: Any) -> None:
    assert make("orthogonal").sides == ("generator",)
    choice = ("regularizer=orthogonal", f"regularizer.orthogonal.sides=[{','.join(sides)}]", "regularizer.orthogonal.weight=0.5")
    made = toy("dcgan", "toy_images", *choice)
    player = made.parts.game.players[sides[0]]
    wanted = sum(
        float((products - torch.diag(products.diagonal())).square().sum())
        for module in player.modules()
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)
        for matrix in [by_outputs(module, module.weight.detach())]
        for products in [matrix @ matrix.T]
    )
    made.trainer.advance()
    for role in ("generator", "discriminator"):
        assert (f"{role}/orthogonal" in made.trainer.terms) == (role in sides)
    assert float(made.trainer.terms[f"{sides[0]}/orthogonal"]) == pytest.approx(0.5 * wanted, rel=1e-4)


# pulling away


def pulled(features: Tensor, **options: Any) -> Tensor:
    """The weighted term of fakes that are their own features."""
    return played(
        make("pulling_away", **options), Duel(lambda x: DiscriminatorOutput(x.flatten(1).sum(1), x), (features,), (features,))
    )


def rows(*values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_right_angles_cost_nothing_and_equal_or_opposite_directions_one() -> None:
    assert pulled(rows([1, 0], [0, 3]), weight=1.0).item() == pytest.approx(0)
    assert pulled(rows([1, 2], [2, 4]), weight=1.0).item() == pytest.approx(1)
    assert pulled(rows([1, 2], [-1, -2]), weight=1.0).item() == pytest.approx(1)
    assert pulled(rows([1, 0], [1, 1]), weight=1.0).item() == pytest.approx(0.5)  # 45 degrees
    assert pulled(rows([1, 0], [1, 0], [0, 1]), weight=3.0).item() == pytest.approx(1)  # one pair of three
    assert pulled(rows([1, 0])).item() == 0  # no pair


def test_the_pulling_away_term_follows_the_double_sum_and_ignores_lengths() -> None:
    s = draw(5, 7)
    total = 0.0
    for i in range(5):
        for j in range(5):
            if i != j:
                total += float(s[i] @ s[j] / (s[i].norm() * s[j].norm())) ** 2
    assert pulled(s, weight=1.0).item() == pytest.approx(total / 20)
    torch.testing.assert_close(pulled(s * draw(5, 1, seed=1).abs()), pulled(s))
    assert pulled(s.view(5, 7, 1, 1)).item() == pytest.approx(0.1 * total / 20)  # the paper's weight


def test_the_term_reaches_the_generator_through_the_fakes_alone() -> None:
    real, fake = draw(4, 3).requires_grad_(), draw(4, 3, seed=1).requires_grad_()
    regularizer = make("pulling_away")
    assert regularizer.sides == ("generator",)
    duel = Duel(lambda x: DiscriminatorOutput(x.sum(1), x.tanh()), (real,), (fake,))
    played(regularizer, duel).backward()
    assert real.grad is None
    assert fake.grad is not None
    assert torch.autograd.gradcheck(
        lambda x: played(make("pulling_away"), Duel(lambda x: DiscriminatorOutput(x.sum(1), x.tanh()), (real,), (x,))), (fake,)
    )
    dead = torch.zeros(3, 2, dtype=torch.float64, requires_grad=True)  # features that rectifiers switched off
    (slope,) = torch.autograd.grad(pulled(dead), dead)
    assert slope.isfinite().all()


def test_pulling_away_needs_features_and_joins_the_generators_phase(toy: Any) -> None:
    (found,) = traits.conflicts({"model=x": nn.Linear(1, 1), "regularizer=pulling_away": make("pulling_away")})
    assert found[1].override == "model=mlp"
    made = toy("mlp", "toy_points", "regularizer=pulling_away")
    made.trainer.advance()
    assert 0 < float(made.trainer.terms["generator/pulling_away"]) <= 0.1
    assert "discriminator/pulling_away" not in made.trainer.terms


# historical averaging


def test_a_linear_drift_costs_its_square_times_half_the_updates_past() -> None:
    """theta = c t: the mean of s = 1 ... t is c (t + 1) / 2, and ||theta - mean||^2 = c^2 ((t - 1) / 2)^2."""
    c = draw(2, 3)
    layer = linear_of(c)
    layer.bias = None
    regularizer = make("historical_averaging", weight=2.0)
    regularizer.prepare({"generator": layer})
    for t in range(1, 7):
        with torch.no_grad():
            layer.weight.copy_(t * c)
        if t > 1:
            regularizer.after_step({"generator": layer}, nothing(), turn(1))
        term = of_weights_named(regularizer, {"generator": layer})
        assert term.item() == pytest.approx(2 * float(c.square().sum()) * ((t - 1) / 2) ** 2)
        layer.zero_grad()
        term.backward()
        assert layer.weight.grad is not None
        torch.testing.assert_close(layer.weight.grad, 2 * 2 * c * (t - 1) / 2)  # no gradient through the mean


def of_weights_named(regularizer: Regularizer, players: dict[str, nn.Module]) -> Tensor:
    term = regularizer.term(nothing(), players, turn(1))
    assert term is not None
    return term * regularizer.weight


def test_constant_parameters_cost_nothing_and_players_are_counted_apart() -> None:
    one, other = linear_of([[1.0, 2.0]]), linear_of([[3.0]])
    regularizer = make("historical_averaging")
    regularizer.prepare({"generator": one, "discriminator": other})
    for _ in range(3):
        regularizer.after_step({"generator": one}, nothing(), turn(1))
    assert of_weights_named(regularizer, {"generator": one, "discriminator": other}).item() == 0
    with torch.no_grad():
        one.weight += 5
        other.weight += 1
    for name, player in (("generator", one), ("discriminator", other)):
        regularizer.after_step({name: player}, nothing(), turn(1))
    assert of_weights_named(regularizer, {"generator": one}).item() == pytest.approx(2 * 4.0**2)  # a mean of five
    assert of_weights_named(regularizer, {"discriminator": other}).item() == pytest.approx(0.5**2)  # a mean of two
    both = of_weights_named(regularizer, {"generator": one, "discriminator": other})
    assert both.item() == pytest.approx(2 * 4.0**2 + 0.5**2)
    assert regularizer.term(nothing(), {}, turn(1)) is None


def test_the_past_is_a_state_of_fixed_shape_that_is_saved_and_only_updates_change_it(toy: Any) -> None:
    options = ("regularizer=[historical_averaging,spectral_norm,spectral_regularization]", "optimizer.lr=0.01")
    made, other = (toy("mlp", "toy_points", "n_critic=2", *options) for _ in range(2))
    regularizer = made.parts.regularizers["historical_averaging"]
    first = copy.deepcopy(regularizer.state_dict())
    made.trainer.advance()
    after = copy.deepcopy(regularizer.state_dict())
    assert {name: entry.shape for name, entry in first.items()} == {name: entry.shape for name, entry in after.items()}
    assert int(after["discriminator_count"]) == 3  # the initial weights and two updates
    assert int(after["generator_count"]) == 2
    held = regularizer._parameters_of["discriminator"]
    live = {id(entry) for entry in made.parts.game.players["discriminator"].parameters()}
    assert {id(entry) for entry in held} == live  # whatever other regularizers made of the layers
    buffer = io.BytesIO()
    torch.save(made.trainer.state_dict(), buffer)
    made.trainer.advance()
    buffer.seek(0)
    other.trainer.load_state_dict(torch.load(buffer, weights_only=True))
    other.trainer.advance()
    assert len(after) == 2 + sum(len(list(player.parameters())) for player in made.parts.game.players.values())
    for name, entry in other.parts.regularizers["historical_averaging"].state_dict().items():
        assert torch.equal(entry, regularizer.state_dict()[name])
    for name, entry in other.trainer.terms.items():
        assert torch.equal(entry, made.trainer.terms[name])
    assert float(made.trainer.terms["generator/historical_averaging"]) > 0


def test_the_first_update_of_the_loop_costs_nothing_and_the_second_its_own_step(toy: Any) -> None:
    made = toy("mlp", "toy_points", "regularizer=historical_averaging", "optimizer.lr=0.01")
    player = made.parts.game.players["generator"]
    before = [entry.detach().clone() for entry in player.parameters()]
    made.trainer.advance()
    assert float(made.trainer.terms["generator/historical_averaging"]) == 0
    moved = sum(float((entry.detach() - old).square().sum()) for entry, old in zip(player.parameters(), before, strict=True))
    made.trainer.advance()
    assert float(made.trainer.terms["generator/historical_averaging"]) == pytest.approx(moved / 4, rel=1e-4)


def test_the_bilinear_game_from_two_and_three_converges_with_it_and_circles_without() -> None:
    ends = {}
    for weight in (0.0, 0.1):
        regularizer = make("historical_averaging", weight=weight)
        trainer = dirac_trainer(2.0, 3.0, 1.0, "wasserstein")
        trainer.game.regularizers = {"historical_averaging": regularizer}
        regularizer.prepare(trainer.game.players)
        for _ in range(300):
            trainer.advance()
        ends[weight] = float(state(trainer).norm())
    assert ends[0.1] < 0.02
    assert ends[0.0] == pytest.approx(math.sqrt(13), abs=1e-9)  # 300 is a multiple of its period of six


# weight normalization


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.usefixtures("float64")
def test_weight_norm_is_that_of_torch_and_leaves_the_first_weights_as_they_were(layer: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    ours, theirs = layer(), None
    theirs = copy.deepcopy(ours)
    before = ours.weight.detach().clone()
    dim = 1 if isinstance(ours, nn.ConvTranspose2d) else 0
    make("weight_norm").prepare({"discriminator": ours})
    torch.nn.utils.parametrizations.weight_norm(theirs, "weight", dim)
    assert torch.allclose(ours.weight, before)
    held, parts = ours.parametrizations.weight, theirs.parametrizations.weight
    with torch.no_grad():
        held.original.add_(torch.randn_like(held.original))
        held[0].length.mul_(1.5)
        parts.original1.copy_(held.original)
        parts.original0.copy_(held[0].length.view_as(parts.original0))
    assert torch.allclose(ours.weight, theirs.weight)
    target = torch.randn_like(before)
    found = torch.autograd.grad((ours.weight * target).sum(), [held.original, held[0].length])
    expected = torch.autograd.grad((theirs.weight * target).sum(), [parts.original1, parts.original0])
    for mine, other in zip(found, expected, strict=True):
        assert torch.allclose(mine, other.view_as(mine))
    assert (found[0] * held.original).sum().abs() < 1e-10  # a step in V is at right angles to it


def test_weight_norm_beside_spectral_norm_of_the_same_player_is_refused() -> None:
    both = {
        "regularizer.spectral_norm": make("spectral_norm", sides=["generator"]),
        "regularizer.weight_norm": make("weight_norm"),
    }
    assert traits.conflicts(both) == []
    both["regularizer.spectral_norm"] = make("spectral_norm")
    ((typed, rule),) = traits.conflicts(both)
    assert (typed, rule.override) == ("regularizer.weight_norm", "regularizer=weight_norm")


# noise in layers


def two_layers() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))


@pytest.mark.parametrize(
    ("options", "first"), [({"sigma": 0.5}, 0.5), ({"sigma": 0.5, "input": 0.2}, 0.2), ({"sigma": 0.5, "input": 0.0}, 0.0)]
)
def test_layer_noise_has_the_variance_that_two_linear_layers_make_of_it(options: dict[str, float], first: float) -> None:
    """Var = input^2 |W2 W1|^2 + sigma^2 |W2|^2, about what is there without noise; none in evaluation."""
    network, rows = two_layers(), 40_000
    make("layer_noise", **options).prepare({"discriminator": network})
    x = torch.tensor([[0.3, -1.0, 0.5]]).expand(rows, 3)
    found = network(x).detach()
    one, two = (layer.weight.detach() for layer in network)
    expected = first**2 * (two @ one).square().sum() + options["sigma"] ** 2 * two.square().sum()
    assert float(found.var()) == pytest.approx(float(expected), rel=0.03)
    network.eval()
    assert network(x).unique().numel() == 1
    assert float(found.mean()) == pytest.approx(float(network(x)[0].detach()), abs=5 * float((expected / rows).sqrt()))


def test_layer_noise_is_in_the_chosen_players_decays_and_leaves_copies_alone() -> None:
    players = {"generator": two_layers(), "inverse_discriminator": two_layers()}
    regularizer = make("layer_noise", sigma=1.0, decay=4)
    regularizer.prepare(players)
    x = torch.ones(9, 3)
    assert players["generator"](x).unique().numel() == 1
    spread = []
    for step in (0, 1, 3, 4, 9):
        regularizer.before(nothing(), turn(1, step))
        torch.manual_seed(1)
        spread.append(float((players["inverse_discriminator"](x) - players["generator"](x)).detach().std()))
    assert spread[0] > 0
    assert [entry / spread[0] for entry in spread] == pytest.approx([1, 0.75, 0.25, 0, 0], abs=1e-5)
    averaged = EMA(players["inverse_discriminator"], 0.9).network
    regularizer.before(nothing(), turn(1))
    assert averaged(x).unique().numel() == 1
    with pytest.raises(BadInput, match="players="):
        make("layer_noise", players=["critic"])


def test_dropout_of_a_discriminator_has_the_mean_and_variance_of_its_law_while_it_trains() -> None:
    """After the one hidden layer the score is linear: mean as without, variance p / (1 - p) sum (w h)^2."""
    options = {"width": 8, "depth": 1, "dropout": 0.25}
    network = registry.build("model", {"name": "mlp", "discriminator": options}).make(
        "discriminator", inputs=(Port("data", (2,)),), outputs=(Port("score", ()),)
    )
    x, rows = torch.tensor([[0.4, -2.0]]), 40_000
    scores = network(x.expand(rows, 2)).score.detach()
    hidden = network.eval().hidden(x)[0].detach() * network.output.weight[0].detach()
    expected = 0.25 / 0.75 * float(hidden.square().sum())
    assert float(scores.var()) == pytest.approx(expected, rel=0.03)
    assert float(scores.mean()) == pytest.approx(float(network(x).score.detach()), abs=5 * math.sqrt(expected / rows))
    assert network(x.expand(9, 2)).score.unique().numel() == 1


@pytest.mark.parametrize("family", ["mlp", "dcgan", "resnet"])
def test_dropout_of_a_discriminator_is_in_every_family_that_offers_it(family: str) -> None:
    options = {"width": 4, "dropout": 0.5}
    network = registry.build("model", {"name": family, "discriminator": options}).make(
        "discriminator", inputs=(Port("data", (1, 8, 8)),), outputs=(Port("score", ()),)
    )
    x = torch.randn(1, 1, 8, 8).expand(6, 1, 8, 8)
    assert network(x).score.unique().numel() > 1
    assert network.eval()(x).score.detach().std() < 1e-6
    with pytest.raises(BadInput, match="below 1"):
        registry.build("model", {"name": family, "discriminator": {"dropout": 1.0}})
