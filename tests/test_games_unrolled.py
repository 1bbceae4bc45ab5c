"""Unrolling: the bilinear game on paper, finite differences of the whole map, and a discriminator that never notices."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conftest import one_in
from staged import Judge, Rows, gradient, staged, turn_of
from torch import Tensor, nn

from ganrun.disk import checkpoint
from ganrun.games.unrolled import EPSILON, Descent
from ganrun.ground import registry
from ganrun.ground.errors import BadInput
from ganrun.ground.turn import Turn


def digest(player: nn.Module) -> str:
    return checkpoint.digest(player.state_dict())


# the bilinear game: with a constant generator x and the critic s(g) = y g against real zeros, G's loss is -x y and D's x y


def bilinear(x: float, y: float, **options: Any) -> Any:
    players = {"generator": Rows(torch.tensor([[x]])), "discriminator": Judge(lambda g, w: g[:, 0] * w[0], torch.tensor([y]))}
    return staged("unrolled", players, loss="wasserstein", inner="sgd", **options)


@pytest.mark.parametrize("steps", [0, 1, 3])
@pytest.mark.parametrize("first_order", [False, True])
def test_the_gradient_of_the_bilinear_game_is_the_one_on_paper(steps: int, first_order: bool) -> None:
    game = bilinear(2.0, 3.0, steps=steps, inner_lr=0.1, first_order=first_order)
    terms = game.generator_loss(turn_of(game, "generator", torch.zeros(1, 1)))
    (found,) = gradient(terms["loss"], game.players["generator"])
    # with f = -x y, D descends on x y: y_K = y - K eta x
    assert terms["loss"].item() == pytest.approx(-2 * (3 - steps * 0.1 * 2))
    assert float(found) == pytest.approx(-(3 - (1 if first_order else 2) * steps * 0.1 * 2))


def test_the_unrolled_game_converges_where_the_plain_one_goes_round_and_round() -> None:
    def radius(steps: int) -> tuple[float, float]:
        game = bilinear(2.0, 3.0, steps=steps, inner_lr=0.1)
        radii = []
        for step in range(300):
            for phase, objective in (("discriminator", game.discriminator_loss), ("generator", game.generator_loss)):
                (found,) = gradient(objective(turn_of(game, phase, torch.zeros(1, 1), step=step))["loss"], game.players[phase])
                with torch.no_grad():
                    next(game.players[phase].parameters()).sub_(0.1 * found)
            radii.append(
                float(sum(entry.detach().square().sum() for player in game.players.values() for entry in player.parameters()))
            )
        return min(radii[-40:]) ** 0.5, max(radii[-40:]) ** 0.5

    assert radius(0)[0] > 3.0
    assert radius(5)[1] < 1e-3


# the whole map


class Bent(nn.Module):
    """x -> tanh(a x)."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor([0.7]))

    def forward(self, z: Tensor) -> Tensor:
        return torch.tanh(self.a * z)


def bent(**options: Any) -> Any:
    judge = Judge(lambda x, w: w[2] * torch.tanh(w[0] * x[:, 0] + w[1]), torch.tensor([0.8, -0.3, 1.1]))
    return staged("unrolled", {"generator": Bent(), "discriminator": judge}, **options)


@pytest.mark.parametrize("inner", ["sgd", "adam"])
@pytest.mark.parametrize("zero_sum", [False, True])
@pytest.mark.parametrize("penalised", [False, True])
def test_finite_differences_of_the_whole_map(inner: str, zero_sum: bool, penalised: bool, float64: None) -> None:
    penalties = {"r1": registry.build("regularizer", {"name": "r1", "weight": 2.0})} if penalised else {}
    game = bent(steps=3, inner=inner, inner_lr=0.2, zero_sum=zero_sum, regularizers=penalties)
    x = torch.tensor([[0.3], [-0.5], [0.9]])

    def objective() -> Tensor:
        total: Tensor = sum(game.generator_loss(turn_of(game, "generator", x)).values())  # type: ignore[assignment]
        return total

    (found,) = gradient(objective(), game.players["generator"])
    weight, h = game.players["generator"].a, 1e-5
    with torch.no_grad():
        ahead, behind = [(weight.add_(step), objective())[1] for step in (h, -2 * h)]
    assert float(found) == pytest.approx(float(ahead - behind) / (2 * h), rel=1e-6)


def test_without_the_second_term_the_gradient_is_that_of_a_frozen_later_discriminator(float64: None) -> None:
    full, first = bent(steps=4, inner="sgd", inner_lr=0.5), bent(steps=4, inner="sgd", inner_lr=0.5, first_order=True)
    turn = turn_of(full, "generator", torch.tensor([[0.3], [-0.5]]))
    whole, half = (game.generator_loss(turn)["loss"] for game in (full, first))
    assert whole.item() == pytest.approx(half.item(), rel=1e-12)
    weights, _ = full.foresee(full.duel(turn), turn)
    plain = bent(steps=0)
    with torch.no_grad():
        plain.players["discriminator"].weights.copy_(weights["weights"])
    wanted = gradient(plain.generator_loss(turn)["loss"], plain.players["generator"])
    assert torch.allclose(gradient(half, first.players["generator"])[0], wanted[0], rtol=1e-12)
    assert not torch.allclose(gradient(whole, full.players["generator"])[0], wanted[0], rtol=1e-3)


def test_zero_sum_counts_what_the_look_ahead_changes_on_real_samples_too(float64: None) -> None:
    game = bent(steps=2, inner="sgd", inner_lr=0.5, zero_sum=True)
    turn = turn_of(game, "generator", torch.tensor([[0.3], [-0.5]]))
    weights, _ = game.foresee(game.duel(turn), turn)
    plain = bent(steps=0)
    with torch.no_grad():
        plain.players["discriminator"].weights.copy_(weights["weights"])
    duel = plain.duel(turn)
    assert game.generator_loss(turn)["loss"].item() == pytest.approx(-float(plain.loss.d(duel)))


# the inner rule


def test_the_inner_adam_is_adam_but_for_its_epsilon(float64: None) -> None:
    start, gradients = torch.tensor([1.0, -2.0]), [torch.tensor([0.5, -0.1]), torch.tensor([-0.3, 0.2]), torch.tensor([0.1, 0.4])]
    weight = nn.Parameter(start.clone())
    optimizer, rule, held = torch.optim.Adam([weight], lr=0.01, betas=(0.5, 0.999), eps=0.0), Descent("adam", 0.01), {"w": start}
    for entry in gradients:
        weight.grad = entry
        optimizer.step()
        held = rule.step(held, {"w": entry})
    assert torch.allclose(held["w"], weight.detach(), atol=1e-8)


def test_the_inner_adam_has_a_slope_where_gradients_vanish(float64: None) -> None:
    zero = torch.zeros(1, requires_grad=True)
    moved = Descent("adam", 1.0).step({"w": torch.zeros(1)}, {"w": zero})["w"]
    (slope,) = torch.autograd.grad(moved, zero)
    assert float(slope) == pytest.approx(-1 / EPSILON**0.5)


# virtual updates are those of the discriminator's phase


def game_and_turn(made: Any, phase: str = "generator") -> tuple[Any, Turn]:
    game, streams = made.parts.game, made.trainer.streams
    return game, Turn(0, 0, phase, 0, 4, game.latent_law, torch.device("cpu"), streams)


@pytest.mark.parametrize(
    "regularizer",
    [
        ("regularizer=none",),
        ("regularizer=r1",),
        ("regularizer=gradient_penalty",),
        ("regularizer=orthogonal", "regularizer.orthogonal.sides=[discriminator]", "regularizer.orthogonal.weight=0.5"),
        ("regularizer=spectral_norm",),
    ],
    ids=lambda words: words[0],
)
def test_a_virtual_update_descends_on_all_of_the_discriminators_objective(
    regularizer: tuple[str, ...], toy: Any, float64: None
) -> None:
    overrides = (*regularizer, "game=unrolled", "game.steps=1", "game.inner=sgd", "game.inner_lr=0.3")
    game, turn = game_and_turn(toy("mlp", "toy_points", *overrides))
    player = game.players["discriminator"]
    found, _ = game.foresee(game.duel(turn), turn)
    duel = game.duel(turn)
    terms = game.compute_terms(game.against(duel.real, duel.fake, duel.real_condition), game._ahead(turn, 0), "discriminator")
    assert len(terms) == (1 if regularizer[0].endswith(("none", "spectral_norm")) else 2)
    grads = gradient(torch.stack(list(terms.values())).sum(), player)
    for (name, entry), one in zip(player.named_parameters(), grads, strict=True):
        assert torch.allclose(found[name], entry - 0.3 * one, atol=1e-12), name


def test_virtual_updates_draw_as_further_updates_of_the_discriminator_would() -> None:
    game = bent(steps=3, n_critic=2)
    turn = turn_of(game, "generator", torch.zeros(2, 1), step=5)
    found = [game._ahead(turn, step) for step in range(3)]
    assert [(entry.phase, entry.step, entry.repeat, entry.update) for entry in found] == [
        ("discriminator", 5, 2, 12),
        ("discriminator", 5, 3, 13),
        ("discriminator", 5, 4, 14),
    ]


# nothing moves


PLAYERS = [
    ("mlp", "toy_points", ("regularizer=spectral_norm",)),
    ("mlp", "toy_points", ("model.discriminator.norm=batch",)),
    ("mlp", "toy_points", ("regularizer=[weight_clip,replay,historical_averaging]",)),
    ("dcgan", "toy_images", ()),
    ("dcgan", "toy_images", ("regularizer=[gradient_penalty,spectral_norm]", "model.discriminator.norm=layer")),
    ("resnet", "toy_images", ("regularizer=[spectral_norm,ada]", "condition=projection")),
    ("dcgan", "toy_images", ("condition=acgan", "model.discriminator.minibatch=discrimination")),
]


@pytest.mark.parametrize(("model", "data", "overrides"), one_in(3, PLAYERS))
@pytest.mark.parametrize("first_order", ["true", "false"])
def test_the_discriminator_and_all_state_beside_it_stay_as_they_are(
    model: str, data: str, overrides: tuple[str, ...], first_order: str, toy: Any
) -> None:
    made = toy(model, data, "game=unrolled", "game.steps=2", "game.inner_lr=0.01", f"game.first_order={first_order}", *overrides)
    made.trainer.advance()
    made.trainer._open(("generator",))
    game, turn = game_and_turn(made)
    judged = [game.players["discriminator"], game, game.loss, *game.regularizers.values()]
    before, moments = (
        [digest(entry) for entry in judged],
        checkpoint.digest(made.trainer.state_dict()["optimizers/discriminator"]),
    )
    terms = game.generator_loss(turn)
    sum(terms.values()).backward()
    assert [digest(entry) for entry in judged] == before
    assert checkpoint.digest(made.trainer.state_dict()["optimizers/discriminator"]) == moments
    assert all(entry.grad is None for entry in game.players["discriminator"].parameters())
    assert all(entry.grad is not None and entry.grad.isfinite().all() for entry in game.players["generator"].parameters())


def test_with_no_step_it_is_the_adversarial_game_bit_for_bit(toy: Any) -> None:
    states = []
    for game in (["game=adversarial"], ["game=unrolled", "game.steps=0"]):
        trainer = toy("dcgan", "toy_images", "n_critic=2", "regularizer=spectral_norm", *game).trainer
        for _ in range(3):
            trainer.advance()
        states.append(checkpoint.digest(trainer.state_dict()))
    assert states[0] == states[1]


# second derivatives of real networks, with their operations in place and their memory formats


@pytest.mark.parametrize(
    ("model", "overrides"),
    [
        ("dcgan", ("model.discriminator.norm=batch",)),
        ("dcgan", ("model.discriminator.norm=layer", "regularizer=[r1,spectral_norm]")),
        ("resnet", ("regularizer=spectral_norm",)),
    ],
)
def test_finite_differences_through_networks_of_images(model: str, overrides: tuple[str, ...], toy: Any, float64: None) -> None:
    made = toy(model, "toy_images", "game=unrolled", "game.steps=2", "game.inner=sgd", "game.inner_lr=0.05", *overrides)
    game, turn = game_and_turn(made)
    player = game.players["generator"]
    source = torch.Generator().manual_seed(1)
    direction = [torch.randn(entry.shape, generator=source) for entry in player.parameters()]

    def objective() -> Tensor:
        total: Tensor = sum(game.generator_loss(turn).values())  # type: ignore[assignment]
        return total

    found = sum(float((one * other).sum()) for one, other in zip(gradient(objective(), player), direction, strict=True))
    h, values = 1e-6, []
    for step in (h, -2 * h):
        with torch.no_grad():
            for entry, one in zip(player.parameters(), direction, strict=True):
                entry.add_(step * one)
        values.append(float(objective()))
    assert found == pytest.approx((values[0] - values[1]) / (2 * h), rel=1e-4)
    assert abs(found) > 1e-6


# options


@pytest.mark.parametrize(
    ("options", "words"), [({"steps": -1}, "steps=-1"), ({"inner_lr": 0.0}, "inner_lr=0"), ({"inner": "adm"}, "'adam'")]
)
def test_bounds(options: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        registry.build("game", {"name": "unrolled", **options})
