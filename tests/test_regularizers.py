"""The regularizers against closed forms, finite differences, singular values and the Dirac-GAN."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ganrun.engine.ema import EMA
from ganrun.engine.loop import Trainer
from ganrun.games.adversarial import Adversarial
from ganrun.ground import registry
from ganrun.ground.duel import Duel, gradient_norm_squared
from ganrun.ground.errors import BadInput
from ganrun.ground.runtime import Runtime
from ganrun.ground.spec import Batch, DiscriminatorOutput, Latent, Port, Spec
from ganrun.ground.turn import Stream, Turn
from ganrun.losses.base import Loss
from ganrun.networks.base import Family
from ganrun.regularizers.base import Regularizer
from ganrun.regularizers.between import interpolate


def make(name: str, **options: Any) -> Regularizer:
    found = registry.build("regularizer", {"name": name, **options})
    assert isinstance(found, Regularizer)
    return found


def loss_of(name: str) -> Loss:
    found = registry.build("loss", {"name": name})
    assert isinstance(found, Loss)
    return found


def turn(count: int, step: int = 0, update: int = 0, micro_batch: tuple[int, int] = (0, 1)) -> Turn:
    device = torch.device("cpu")
    return Turn(0, step, "discriminator", 0, count, Latent(2), device, update=update, micro_batch=micro_batch)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def linear(w: Tensor) -> Callable[[Tensor], DiscriminatorOutput]:
    return lambda x: DiscriminatorOutput((x * w).flatten(1).sum(1) + 3)


def quadratic(a: float) -> Callable[[Tensor], DiscriminatorOutput]:
    return lambda x: DiscriminatorOutput(a / 2 * x.flatten(1).square().sum(1))


def played(regularizer: Regularizer, duel: Duel, at: Turn | None = None) -> Tensor:
    """The weighted term, as a game asks for it."""
    at = at or turn(len(duel.real[0]))
    regularizer.before(duel, at)
    duel.forward_both()
    term = regularizer.term(duel, {}, at)
    assert term is not None
    return term * regularizer.weight


class Smooth(nn.Module):
    """A critic of one hidden layer without kinks, in float64, with or without a label."""

    def __init__(self, numbers: int, classes: int = 0, hidden: int = 4) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first, self.last = nn.Linear(numbers, hidden).double(), nn.Linear(hidden, 1).double()
        self.label = nn.Embedding(classes, hidden).double() if classes else None

    def forward(self, x: Tensor, condition: Tensor | None = None) -> DiscriminatorOutput:
        hidden = self.first(x.flatten(1))
        if self.label is not None:
            assert condition is not None
            hidden = hidden + self.label(condition)
        return DiscriminatorOutput(self.last(hidden.tanh()).squeeze(1))


def assert_gradients_are_finite_differences(network: nn.Module, objective: Callable[[], Tensor]) -> None:
    network.zero_grad()
    objective().backward()
    for name, weight in network.named_parameters():
        flat = weight.data.view(-1)
        for index in range(flat.numel()):
            here, values = float(flat[index]), []
            for offset in (1e-5, -1e-5):
                flat[index] = here + offset
                values.append(float(objective().detach()))
            flat[index] = here
            wanted = (values[0] - values[1]) / 2e-5
            assert weight.grad is not None
            assert float(weight.grad.view(-1)[index]) == pytest.approx(wanted, abs=1e-7, rel=1e-5), name


# gradient penalty


@pytest.mark.parametrize("shape", [(5,), (2, 3, 4)])
def test_the_gradient_penalty_of_a_linear_critic_and_its_own_gradient_are_exact(shape: tuple[int, ...]) -> None:
    w = draw(*shape, seed=1).requires_grad_()
    term = played(make("gradient_penalty", weight=7.0), Duel(linear(w), (draw(3, *shape),), (draw(3, *shape, seed=2),)))
    norm = w.detach().norm()
    torch.testing.assert_close(term.detach(), 7 * (norm - 1).square())
    torch.testing.assert_close(torch.autograd.grad(term, w)[0], 14 * (norm - 1) * w.detach() / norm)


def test_the_target_of_the_gradient_penalty_moves_its_minimum() -> None:
    w = draw(4, seed=1)
    duel = Duel(linear(w), (draw(3, 4),), (draw(3, 4, seed=2),))
    torch.testing.assert_close(played(make("gradient_penalty", weight=1.0, target=0.0), duel), w.square().sum())
    torch.testing.assert_close(played(make("gradient_penalty", weight=1.0, target=2.5), duel), (w.norm() - 2.5).square())


def test_only_slopes_above_the_target_cost_when_one_sided() -> None:
    for size, wanted in ((0.5, 0.0), (3.0, 4.0)):
        w = torch.tensor([size, 0.0], dtype=torch.float64)
        duel = Duel(linear(w), (draw(3, 2),), (draw(3, 2, seed=2),))
        found = played(make("gradient_penalty", weight=1.0, one_sided=True), duel)
        torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float64))


def test_the_gradient_penalty_looks_once_a_sample_on_the_segment_between_real_and_fake() -> None:
    real, fake, seen = draw(6, 3, 4, 4), draw(6, 3, 4, 4, seed=2), []

    def critic(x: Tensor) -> DiscriminatorOutput:
        seen.append(x.detach())
        return DiscriminatorOutput(x.flatten(1).square().sum(1) / 2)

    regularizer = make("gradient_penalty", weight=1.0)
    term = regularizer.term(Duel(critic, (real,), (fake,)), {}, turn(6))
    (between,) = seen
    places = ((between - fake) / (real - fake)).flatten(1)  # the same place on the segment for all numbers of a sample
    alpha = places[:, 0]
    torch.testing.assert_close(places, alpha[:, None].expand_as(places))
    assert ((alpha > 0) & (alpha < 1)).all()
    assert len(alpha.unique()) == 6
    # a (x^) = slope a |x^| of the quadratic critic at these places, over all numbers of the sample
    assert term is not None
    torch.testing.assert_close(term, (between.flatten(1).norm(dim=1) - 1).square().mean())


def test_the_interpolation_starts_at_the_fake_and_ends_at_the_real_sample() -> None:
    real, fake = draw(2, 3), draw(2, 3, seed=2)
    torch.testing.assert_close(interpolate(real, fake, torch.tensor([0.0, 1.0])), torch.stack((fake[0], real[1])))


def test_the_places_on_the_segment_are_uniform_and_change_with_every_step() -> None:
    real, fake = torch.ones(2000, 1, dtype=torch.float64), torch.zeros(2000, 1, dtype=torch.float64)
    places = []

    def critic(x: Tensor) -> DiscriminatorOutput:
        places.append(x.detach())
        return DiscriminatorOutput(x.flatten(1).sum(1))

    for step in (0, 1):
        make("gradient_penalty").term(Duel(critic, (real,), (fake,)), {}, turn(2000, step))
    assert not torch.equal(*places)
    counts = torch.histc(places[0], bins=10, min=0, max=1)
    assert float((counts - 200).square().sum() / 200) < 27.9  # chi-square with 9 degrees of freedom at 0.001


def test_the_norm_runs_over_all_inputs_of_a_pair_together() -> None:
    def critic(x: Tensor, code: Tensor) -> DiscriminatorOutput:
        return DiscriminatorOutput(3 * x[:, 0] + 4 * code[:, 1])

    duel = Duel(critic, (draw(3, 2), draw(3, 2)), (draw(3, 2, seed=2), draw(3, 2, seed=3)), kinds=("data", "code"))
    torch.testing.assert_close(played(make("gradient_penalty", weight=1.0), duel), torch.tensor(16.0, dtype=torch.float64))


@pytest.mark.parametrize("name", ["gradient_penalty", "r1"])
@pytest.mark.parametrize("loss", ["wasserstein", "nonsaturating"])
@pytest.mark.parametrize("classes", [0, 3])
def test_the_penalised_loss_has_the_gradients_of_finite_differences(name: str, loss: str, classes: int) -> None:
    critic, regularizer, base = Smooth(4, classes), make(name, weight=3.0), loss_of(loss)
    labels = torch.tensor([0, 2, 1, 1, 0]) if classes else None

    def objective() -> Tensor:
        duel = Duel(
            critic, (draw(5, 2, 2),), (draw(5, 2, 2, seed=2),), real_condition=labels, fake_condition=labels, together=True
        )
        penalty = played(regularizer, duel)
        return base.d(duel) + penalty

    assert_gradients_are_finite_differences(critic, objective)


@pytest.mark.parametrize("name", ["gradient_penalty", "r1"])
def test_no_penalty_reaches_the_generator(name: str) -> None:
    fake = draw(3, 4, seed=2).requires_grad_()
    real = draw(3, 4).requires_grad_()
    critic = Smooth(4)
    played(make(name), Duel(critic, (real,), (fake,))).backward()
    assert fake.grad is None
    assert real.grad is None
    assert critic.first.weight.grad is not None


@pytest.mark.parametrize("name", ["gradient_penalty", "r1"])
def test_a_penalty_is_a_mean_over_samples(name: str) -> None:
    critic, real, fake = Smooth(4), draw(3, 4), draw(3, 4, seed=2)

    def same_places(count: int) -> Turn:
        found = turn(count)
        found.uniform = lambda purpose, count=None: torch.full((found.batch_size,), 0.25)  # type: ignore[method-assign]
        return found

    once = played(make(name), Duel(critic, (real,), (fake,)), same_places(3))
    twice = played(make(name), Duel(critic, (real.repeat(2, 1),), (fake.repeat(2, 1),)), same_places(6))
    torch.testing.assert_close(twice, once)


def test_the_slope_of_a_flat_critic_has_no_nan() -> None:
    w = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    term = played(make("gradient_penalty", weight=1.0), Duel(linear(w), (draw(3, 4),), (draw(3, 4, seed=2),)))
    assert torch.autograd.grad(term, w)[0].isfinite().all()
    assert float(term.detach()) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(("distance", "weight"), [(2.0, 10.0), (1.0, 0.5)])
def test_between_two_point_masses_the_penalised_critic_is_steeper_than_one_by_half_the_distance_over_the_weight(
    distance: float, weight: float
) -> None:
    w = torch.tensor([0.3], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=0.25 / weight)
    loss, regularizer = loss_of("wasserstein"), make("gradient_penalty", weight=weight)
    real, fake = torch.full((4, 1), distance, dtype=torch.float64), torch.zeros(4, 1, dtype=torch.float64)
    for step in range(100):
        duel = Duel(linear(w), (real,), (fake,))
        optimizer.zero_grad()
        (loss.d(duel) + played(regularizer, duel, turn(4, step))).backward()
        optimizer.step()
    assert w.item() == pytest.approx(1 + distance / (2 * weight), abs=1e-6)


# R1


@pytest.mark.parametrize("shape", [(5,), (2, 3, 4)])
def test_r1_of_a_linear_critic_is_half_gamma_times_its_squared_slope(shape: tuple[int, ...]) -> None:
    w = draw(*shape, seed=1).requires_grad_()
    term = played(make("r1", weight=7.0), Duel(linear(w), (draw(3, *shape),), (draw(3, *shape, seed=2),)))
    torch.testing.assert_close(term.detach(), 3.5 * w.detach().square().sum())
    torch.testing.assert_close(torch.autograd.grad(term, w)[0], 7 * w.detach())


def test_r1_of_a_quadratic_critic_is_taken_at_the_real_samples() -> None:
    real, fake = draw(4, 3), 100 * draw(4, 3, seed=2)
    term = played(make("r1", weight=2.0), Duel(quadratic(1.5), (real,), (fake,)))
    torch.testing.assert_close(term.detach(), 1.5**2 * real.square().sum(1).mean())


def test_r1_does_not_change_the_verdicts_and_needs_no_further_look() -> None:
    critic, real, fake, looks = Smooth(4), draw(3, 4), draw(3, 4, seed=2), []

    def counted(x: Tensor) -> DiscriminatorOutput:
        looks.append(len(x))
        return critic(x)  # type: ignore[no-any-return]

    plain, watched = Duel(counted, (real,), (fake,), together=True), Duel(counted, (real,), (fake,), together=True)
    plain.forward_both()
    assert looks == [6]
    played(make("r1"), watched)
    assert looks == [6, 3, 3]
    torch.testing.assert_close(watched.real_output.score, plain.real_output.score)
    torch.testing.assert_close(watched.fake_output.score, plain.fake_output.score)
    torch.testing.assert_close(
        watched.grad_norm_sq("real"), plain.grad_norm_sq("real")
    )  # through the main verdict or by a further look


def test_r1_asks_for_nothing_in_updates_without_its_term() -> None:
    regularizer = make("r1", every=4)
    for update, asked in ((3, False), (4, True)):
        duel = Duel(Smooth(4), (draw(3, 4),), (draw(3, 4, seed=2),), together=True)
        regularizer.before(duel, turn(3, update=update))
        duel.finalize_inputs()
        assert duel.real[0].requires_grad == asked


# the rhythm of lazy terms


@pytest.mark.parametrize("name", ["gradient_penalty", "r1"])
def test_a_lazy_term_appears_in_every_third_update_three_times_as_heavy(name: str, toy: Any) -> None:
    def terms(every: int) -> list[float | None]:
        made = toy("mlp", "toy_points", f"regularizer={name}", f"regularizer.{name}.every={every}", "optimizer.lr=0")
        found = []
        for _ in range(7):
            made.trainer.advance()
            term = made.trainer.terms.get(f"discriminator/{name}")
            found.append(None if term is None else float(term))
        return found

    always, lazy = terms(1), terms(3)
    for step, value in enumerate(lazy):
        every_time = always[step]
        assert every_time is not None
        assert value is None if step % 3 else value == pytest.approx(3 * every_time)


def test_a_lazy_rhythm_counts_updates_of_its_side_and_not_steps(toy: Any) -> None:
    made = toy("mlp", "toy_points", "regularizer=r1", "regularizer.r1.every=4", "n_critic=3")
    due = []
    objective = made.trainer.game.regularizers["r1"].term

    def term(duel: Duel, players: Any, at: Turn) -> Tensor:
        due.append((at.step, at.repeat))
        found: Tensor = objective(duel, players, at)
        return found

    made.trainer.game.regularizers["r1"].term = term
    for _ in range(4):
        made.trainer.advance()
    assert due == [(0, 0), (1, 1), (2, 2)]  # updates 0, 4 and 8 of 12


@pytest.mark.parametrize("name", ["gradient_penalty", "r1"])
@pytest.mark.parametrize("option", [{"weight": -1.0}, {"every": 0}])
def test_senseless_weights_and_rhythms_are_refused(name: str, option: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=f"{next(iter(option))}="):
        make(name, **option)


# weight clipping


def test_weights_are_clipped_after_each_update_of_the_critic_and_nowhere_else(toy: Any) -> None:
    made = toy("mlp", "toy_points", "regularizer=weight_clip", "regularizer.weight_clip.clip=0.05", "optimizer.lr=0.2")
    players = made.parts.game.players
    made.trainer.advance()
    largest = max(float(entry.detach().abs().max()) for entry in players["discriminator"].parameters())
    assert largest == pytest.approx(0.05)
    assert max(float(entry.detach().abs().max()) for entry in players["generator"].parameters()) > 0.1
    signs = players["discriminator"].output.weight.sign().unique().tolist()
    assert set(signs) == {-1, 1}  # clipped to both ends, not to their absolute values


def test_clipping_keeps_small_weights_and_counts_biases_and_scales() -> None:
    player = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))
    with torch.no_grad():
        player[0].weight.copy_(torch.tensor([[-2.0, 0.01, 2.0]] * 3))
        player[0].bias.fill_(-3)
    make("weight_clip", clip=0.5).after_step({"discriminator": player}, Duel(DiscriminatorOutput, (), ()), turn(1))
    assert player[0].weight[0].tolist() == pytest.approx([-0.5, 0.01, 0.5])
    assert player[0].bias.tolist() == [-0.5] * 3
    assert player[1].weight.tolist() == [0.5] * 3


def test_the_clipped_linear_critic_estimates_c_times_the_distance_of_two_point_masses() -> None:
    critic = nn.Linear(1, 1).double()
    optimizer = torch.optim.RMSprop(critic.parameters(), lr=5e-3)
    loss, regularizer = loss_of("wasserstein"), make("weight_clip", clip=0.01)
    real, fake = torch.full((4, 1), 7.0, dtype=torch.float64), torch.full((4, 1), 4.0, dtype=torch.float64)
    for step in range(30):
        duel = Duel(lambda x: DiscriminatorOutput(critic(x).squeeze(1)), (real,), (fake,))
        optimizer.zero_grad()
        value = loss.d(duel)
        value.backward()
        optimizer.step()
        regularizer.after_step({"discriminator": critic}, duel, turn(4, step))
    assert -value.item() == pytest.approx(0.01 * 3, rel=1e-6)


# spectral normalization

LAYERS: list[Callable[[], nn.Module]] = [
    lambda: nn.Linear(5, 7),
    lambda: nn.Conv2d(3, 5, 3),
    lambda: nn.ConvTranspose2d(3, 5, 4),
    lambda: nn.Embedding(6, 4),
]


def normed(layer: nn.Module, iterations: int = 1) -> tuple[nn.Module, Regularizer]:
    regularizer = make("spectral_norm", iterations=iterations)
    regularizer.prepare({"discriminator": nn.Sequential(layer)})
    return layer, regularizer


def iterate(layer: nn.Module, regularizer: Regularizer, times: int) -> None:
    for step in range(times):
        regularizer.after_step({"discriminator": nn.Sequential(layer)}, Duel(DiscriminatorOutput, (), ()), turn(1, step))


def by_outputs(layer: nn.Module, weight: Tensor) -> Tensor:
    """The weight as a matrix with a row for each output."""
    if isinstance(layer, nn.ConvTranspose2d):
        weight = weight.transpose(0, 1)
    return weight.reshape(len(weight), -1)


@pytest.mark.parametrize("layer", LAYERS)
def test_the_divided_weight_has_the_largest_singular_value_one(layer: Callable[[], nn.Module], float64: None) -> None:
    torch.manual_seed(1)
    found, regularizer = normed(layer())
    original = found.parametrizations.weight.original.detach().clone()
    iterate(found, regularizer, 400)
    values = torch.linalg.svdvals(by_outputs(found, found.weight.detach()))
    assert float(values[0]) == pytest.approx(1.0, abs=1e-5)
    torch.testing.assert_close(found.parametrizations.weight.original, original)  # the weight itself is left alone
    largest = torch.linalg.svdvals(by_outputs(found, original))[0]
    torch.testing.assert_close(found.weight, original / largest, atol=1e-5, rtol=1e-5)


def test_the_norm_of_a_transposed_convolution_is_that_of_its_outputs(float64: None) -> None:
    torch.manual_seed(1)
    layer, regularizer = normed(nn.ConvTranspose2d(2, 9, 3))
    original = layer.parametrizations.weight.original.detach()
    right = torch.linalg.svdvals(original.transpose(0, 1).flatten(1))[0]
    wrong = torch.linalg.svdvals(original.flatten(1))[0]
    assert abs(float(right / wrong) - 1) > 0.02
    iterate(layer, regularizer, 400)
    torch.testing.assert_close(layer.weight, original / right, atol=1e-6, rtol=1e-6)


def test_one_power_iteration_follows_the_formula(float64: None) -> None:
    layer, regularizer = normed(nn.Linear(5, 7))
    entry = layer.parametrizations.weight[0]
    matrix, u = layer.parametrizations.weight.original.detach(), draw(7)
    entry.u.copy_(u / u.norm())
    iterate(layer, regularizer, 1)
    v = matrix.T @ u
    v /= v.norm()
    new = matrix @ v
    sigma = new.norm()
    torch.testing.assert_close(entry.v, v)
    torch.testing.assert_close(entry.u, new / sigma)
    torch.testing.assert_close(layer.weight, matrix / sigma)  # u' W v with the new u
    three, more = normed(nn.Linear(5, 7), iterations=3)
    other, few = normed(copy.deepcopy(nn.Linear(5, 7)))
    with torch.no_grad():
        for layer in (three, other):
            layer.parametrizations.weight.original.copy_(matrix)
            layer.parametrizations.weight[0].u.copy_(u / u.norm())
    iterate(three, more, 1)
    iterate(other, few, 3)
    torch.testing.assert_close(three.weight, other.weight)


def test_the_scale_of_a_divided_weight_does_not_matter(float64: None) -> None:
    layer, _ = normed(nn.Linear(5, 7))
    before = layer.weight.detach().clone()
    with torch.no_grad():
        layer.parametrizations.weight.original.mul_(3.7)
    torch.testing.assert_close(layer.weight, before)


def test_the_gradient_of_a_divided_weight_is_orthogonal_to_it_and_follows_the_formula(float64: None) -> None:
    torch.manual_seed(2)
    layer, _ = normed(nn.Linear(5, 7))
    entry, original, g = layer.parametrizations.weight[0], layer.parametrizations.weight.original, draw(7, 5)
    (layer.weight * g).sum().backward()
    assert original.grad is not None
    assert float((original.grad * original.detach()).sum()) == pytest.approx(0.0, abs=1e-12)
    sigma = float(entry.u @ original.detach() @ entry.v)
    divided = original.detach() / sigma
    wanted = (g - (g * divided).sum() * torch.outer(entry.u, entry.v)) / sigma
    torch.testing.assert_close(original.grad, wanted)


def test_a_normed_network_of_fully_connected_layers_is_lipschitz(float64: None) -> None:
    torch.manual_seed(3)
    network = nn.Sequential(nn.Linear(6, 9), nn.LeakyReLU(0.2), nn.Linear(9, 9), nn.ReLU(), nn.Linear(9, 1))
    with torch.no_grad():
        for entry in network.parameters():
            entry.mul_(5)
    regularizer = make("spectral_norm")
    regularizer.prepare({"discriminator": network})
    for step in range(200):
        regularizer.after_step({"discriminator": network}, Duel(DiscriminatorOutput, (), ()), turn(1, step))
    x, y = draw(500, 6), draw(500, 6, seed=2)
    ratios = (network(x) - network(y)).detach().abs().squeeze(1) / (x - y).norm(dim=1)
    assert float(ratios.max()) <= 1 + 1e-6
    assert float(ratios.max()) > 0.05


@pytest.mark.parametrize("sides", [["discriminator"], ["generator"], ["discriminator", "generator"]])
def test_every_weight_matrix_of_the_named_sides_is_divided_and_no_other(sides: list[str], toy: Any) -> None:
    made = toy("dcgan", "toy_images", "regularizer=spectral_norm", f"regularizer.spectral_norm.sides=[{','.join(sides)}]")
    for role, player in made.parts.game.players.items():
        for module in player.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                assert hasattr(module, "parametrizations") == (role in sides)


@pytest.mark.parametrize("accumulate", [1, 2, 4])
@pytest.mark.parametrize("side", ["discriminator", "generator"])
def test_there_is_one_power_iteration_an_update_whatever_the_micro_batches(accumulate: int, side: str, toy: Any) -> None:
    options = ("regularizer=[spectral_norm,gradient_penalty]", f"regularizer.spectral_norm.sides=[{side}]", "n_critic=2")
    norms = ("model.generator.norm=none", "model.discriminator.norm=none")
    made = toy("mlp", "toy_points", f"accumulate={accumulate}", "optimizer.lr=0", *norms, *options)
    player = made.parts.game.players[side]
    entries = [(module.original.detach(), module[0]) for module in player.modules() if hasattr(module, "original")]
    assert len(entries) >= 3
    wanted = []
    for weight, entry in entries:
        u = entry.u.clone()
        for _ in range(2 if side == "discriminator" else 1):
            v = weight.T @ u
            u = weight @ (v / v.norm())
            u /= u.norm()
        wanted.append(u)
    made.trainer.advance()
    for (_, entry), u in zip(entries, wanted, strict=True):
        torch.testing.assert_close(entry.u, u)


def test_the_average_of_a_normed_player_is_normed(float64: None) -> None:
    torch.manual_seed(4)
    layer, regularizer = normed(nn.Linear(6, 6))
    player = nn.Sequential(layer)
    average = EMA(player, 0.9)
    for step in range(1, 200):
        with torch.no_grad():  # a weight that turns
            angle = torch.tensor(0.05 * step)
            layer.parametrizations.weight.original.copy_(draw(6, 6) * angle.cos() + draw(6, 6, seed=1) * angle.sin())
        regularizer.after_step({"discriminator": player}, Duel(DiscriminatorOutput, (), ()), turn(1))
        average.update(step)
    assert float(average.network[0].parametrizations.weight[0].u.norm()) < 0.97  # not of length one any more
    assert float(torch.linalg.svdvals(average.network[0].weight)[0]) == pytest.approx(1.0, abs=0.02)


def test_unknown_sides_are_refused_with_the_nearest_name() -> None:
    with pytest.raises(BadInput, match="discriminator"):
        make("spectral_norm", sides=["diskriminator"])
    with pytest.raises(BadInput, match="at least one"):
        make("spectral_norm", sides=[])


# the Dirac-GAN (Mescheder et al. 2018): data at 0, a generator at theta, s(x) = psi x


class Point(nn.Module):
    def __init__(self, theta: float) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(theta, dtype=torch.float64))

    def forward(self, z: Tensor) -> Tensor:
        return self.theta.expand(len(z), 1)


class Line(nn.Module):
    def __init__(self, psi: float) -> None:
        super().__init__()
        self.psi = nn.Parameter(torch.tensor(psi, dtype=torch.float64))

    def forward(self, x: Tensor) -> DiscriminatorOutput:
        return DiscriminatorOutput((x * self.psi).squeeze(1))


class Dirac(Family):
    """One number for each player."""

    latent = Latent(1)

    def __init__(self, theta: float, psi: float) -> None:
        self.theta, self.psi = theta, psi

    def generator(self, inputs: tuple[Port, ...], outputs: tuple[Port, ...]) -> nn.Module:
        return Point(self.theta)

    def discriminator(self, inputs: tuple[Port, ...], outputs: tuple[Port, ...]) -> nn.Module:
        return Line(self.psi)


def dirac_trainer(theta: float, psi: float, rate: float, loss: str, gamma: float = 0.0) -> Trainer:
    """The real loop on the Dirac-GAN, with plain gradient descent; the critic moves first."""
    game = Adversarial()
    regularizers = {"r1": make("r1", weight=gamma)} if gamma else {}
    game.build_players(Dirac(theta, psi), Spec("points", (1,)), loss_of(loss), regularizers, 0)
    read = Stream(2, lambda indices: Batch(torch.zeros(len(indices), 1, dtype=torch.float64)))
    return Trainer(
        game=game,
        optimizers={role: torch.optim.SGD(player.parameters(), lr=rate) for role, player in game.players.items()},
        factor=lambda step: 1.0,
        averages={},
        streams={"data": read},
        runtime=Runtime(torch.device("cpu")),
        seed=0,
        batch_size=2,
        accumulate=1,
    )


def state(trainer: Trainer) -> Tensor:
    players = trainer.game.players
    return torch.stack((players["generator"].theta.detach(), players["discriminator"].psi.detach()))


def field(theta: float, psi: float, loss: str, gamma: float) -> Tensor:
    """(-dL_G / dtheta, -dL_D / dpsi): the direction in which both players move."""
    line, place = Line(psi), torch.tensor([[theta]], dtype=torch.float64, requires_grad=True)
    real, base = torch.zeros(1, 1, dtype=torch.float64), loss_of(loss)
    duel = Duel(line, (real,), (place.detach(),))
    objective = played(make("r1", weight=gamma), duel) + base.d(duel)
    (down,) = torch.autograd.grad(objective, line.psi)
    (along,) = torch.autograd.grad(base.g(Duel(line, (real,), (place,))), place)
    return -torch.stack((along[0, 0], down))


@pytest.mark.parametrize(
    ("loss", "gamma", "wanted"),
    [
        ("minimax", 0.0, 0.5j),
        ("nonsaturating", 0.0, 0.5j),
        ("wasserstein", 0.0, 1j),
        ("nonsaturating", 0.4, -0.2 + 1j * math.sqrt(0.21)),
        ("minimax", 3.0, -1.5 + math.sqrt(2.0)),
    ],
)
def test_the_dirac_gan_has_the_eigenvalues_of_theory(loss: str, gamma: float, wanted: complex) -> None:
    offset = 1e-4
    columns = [
        (field(*(offset * unit).tolist(), loss, gamma) - field(*(-offset * unit).tolist(), loss, gamma)) / (2 * offset)
        for unit in torch.eye(2, dtype=torch.float64)
    ]
    found = torch.linalg.eigvals(torch.stack(columns, 1))
    assert min(abs(complex(value) - wanted) for value in found) < 1e-6


@pytest.mark.parametrize("gamma", [0.0, 0.7])
def test_a_step_of_the_loop_on_the_dirac_gan_has_the_jacobian_of_alternating_descent(gamma: float) -> None:
    rate, offset = 0.3, 1e-4
    columns = []
    for unit in torch.eye(2, dtype=torch.float64):
        ends = []
        for sign in (1, -1):
            theta, psi = (sign * offset * unit).tolist()
            trainer = dirac_trainer(theta, psi, rate, "nonsaturating", gamma)
            trainer.advance()
            ends.append(state(trainer))
        columns.append((ends[0] - ends[1]) / (2 * offset))
    critic = torch.tensor([[1.0, 0.0], [-rate / 2, 1 - rate * gamma]], dtype=torch.float64)
    generator = torch.tensor([[1.0, rate / 2], [0.0, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(torch.stack(columns, 1), generator @ critic, atol=1e-6, rtol=0)


def test_the_dirac_gan_converges_with_r1_and_circles_without() -> None:
    ends = {}
    for gamma in (0.0, 1.0):
        trainer = dirac_trainer(1.0, 0.5, 0.3, "minimax", gamma)
        for _ in range(200):
            trainer.advance()
        ends[gamma] = float(state(trainer).norm())
    assert ends[1.0] < 1e-6
    assert ends[0.0] > 0.7


def test_the_slope_of_a_map_of_patches_is_that_of_its_mean() -> None:
    x = draw(3, 2).unflatten(1, (2, 1, 1)).expand(3, 2, 2, 2).contiguous().requires_grad_()
    weight = torch.tensor([3.0, -1.0], dtype=x.dtype)
    score = (x * weight[:, None, None]).sum(1, keepdim=True)  # (3, 1, 2, 2), each place with the slope of its own pixel
    torch.testing.assert_close(gradient_norm_squared(score, (x,)), torch.full((3,), 10.0 / 4, dtype=x.dtype))
