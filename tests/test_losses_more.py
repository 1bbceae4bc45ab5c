"""Relativistic, energy and feature-matching losses against closed forms, best critics and identities."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import compose_config
from test_losses import FAKE, LOG2, REAL, P, Q, fit, gradients, of_scores, of_table, scores
from test_regularizers import assert_gradients_are_finite_differences, draw, field
from torch import Tensor, nn
from torch.nn.functional import softplus

from ganrun.ground import registry, traits
from ganrun.ground.duel import Duel
from ganrun.ground.errors import BadInput
from ganrun.ground.spec import DiscriminatorOutput

RELATIVISTIC = ("rpgan", "ragan")


def make(name: str, **options: Any) -> Any:
    return registry.build("loss", {"name": name, **options})


# relativistic losses


@pytest.mark.parametrize(("name", "value"), [("rpgan", LOG2), ("ragan", 2 * LOG2)])
def test_a_constant_critic_costs_log_two_a_term_whatever_the_constant(name: str, value: float) -> None:
    loss = make(name)
    for constant in (-3.0, 0.0, 5.0):
        duel = of_scores(torch.full((4,), constant), torch.full((4,), constant))
        assert float(loss.d(duel)) == pytest.approx(value, abs=1e-6)
        assert float(loss.g(duel)) == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize("name", RELATIVISTIC)
def test_only_differences_count_and_the_generators_loss_is_the_critics_with_the_sides_exchanged(name: str) -> None:
    real, fake, loss = draw(5), draw(5, seed=1), make(name)
    duel, raised, swapped = of_scores(real, fake), of_scores(real + 2.5, fake + 2.5), of_scores(fake, real)
    torch.testing.assert_close(loss.d(raised), loss.d(duel))
    torch.testing.assert_close(loss.g(raised), loss.g(duel))
    torch.testing.assert_close(loss.g(duel), loss.d(swapped))
    torch.testing.assert_close(loss.d(duel), loss.g(swapped))
    assert not torch.isclose(loss.d(duel), loss.g(duel))


@pytest.mark.parametrize("name", RELATIVISTIC)
def test_both_sides_pull_real_and_fake_scores_apart_or_together(name: str) -> None:
    real, fake, loss = scores(0.3, -0.2, 0.1), scores(-0.4, 0.2, 0.6), make(name)
    for side, sign in ((loss.d, 1), (loss.g, -1)):
        up, down = gradients(side(of_scores(real, fake)), real, fake)
        assert (sign * up < 0).all()
        assert (sign * down > 0).all()
        torch.testing.assert_close(up.sum(), -down.sum())  # nothing moves all scores together


@pytest.mark.parametrize("name", RELATIVISTIC)
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_no_relativistic_score_overflows(name: str, size: float) -> None:
    real, fake = torch.tensor([size, -size], requires_grad=True), torch.tensor([-size, size], requires_grad=True)
    for side in (make(name).d, make(name).g):
        value = side(of_scores(real, fake))
        assert value.isfinite()
        assert all(slope.isfinite().all() for slope in gradients(value, real, fake))


def test_pairs_follow_the_formula() -> None:
    real, fake, loss = draw(4), draw(4, seed=1), make("rpgan")
    pairs = [float(r) - float(f) for r, f in zip(real, fake, strict=True)]
    assert float(loss.d(of_scores(real, fake))) == pytest.approx(sum(math.log1p(math.exp(-gap)) for gap in pairs) / 4)
    assert float(loss.g(of_scores(real, fake))) == pytest.approx(sum(math.log1p(math.exp(gap)) for gap in pairs) / 4)
    other = of_scores(real, fake.flip(0))  # who meets whom matters
    assert abs(float(loss.d(other) - loss.d(of_scores(real, fake)))) > 1e-3


def test_averages_follow_the_formula() -> None:
    real, fake, loss = draw(4), draw(3, seed=1), make("ragan")

    def log_sigmoid(score: Tensor) -> Tensor:
        return (1 / (1 + torch.exp(-score))).log()

    above, below = real - fake.sum() / 3, fake - real.sum() / 4
    torch.testing.assert_close(loss.d(of_scores(real, fake)), -log_sigmoid(above).mean() - log_sigmoid(-below).mean())
    torch.testing.assert_close(loss.g(of_scores(real, fake)), -log_sigmoid(below).mean() - log_sigmoid(-above).mean())


@pytest.mark.parametrize("name", RELATIVISTIC)
def test_relativistic_gradients_are_finite_differences(name: str) -> None:
    """The mean of the other side is differentiated too."""
    real, fake, loss = scores(0.3, -0.9, 1.4), scores(-0.4, 0.2, 0.7), make(name)
    for side in (loss.d, loss.g):
        assert torch.autograd.gradcheck(lambda r, f, side=side: side(of_scores(r, f)), (real, fake))


def test_averaging_over_one_sample_a_side_is_pairing_twice() -> None:
    real, fake = draw(1), draw(1, seed=1)
    torch.testing.assert_close(make("ragan").d(of_scores(real, fake)), 2 * make("rpgan").d(of_scores(real, fake)))


def test_the_best_pairing_critic_is_the_log_ratio_of_the_densities_up_to_a_constant() -> None:
    loss = make("rpgan")
    every_real, every_fake = REAL.repeat_interleave(len(FAKE)), FAKE.repeat(len(REAL))
    table = fit(lambda free: loss.d(Duel(lambda x: DiscriminatorOutput(free[x]), (every_real,), (every_fake,))))
    ratio = P.log() - Q.log()
    torch.testing.assert_close(table - table[0], ratio - ratio[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("name", "wanted"), [("rpgan", 0.5j), ("ragan", 1j)])
def test_the_dirac_gan_has_the_eigenvalues_of_the_relativistic_field(name: str, wanted: complex) -> None:
    offset = 1e-4
    columns = [
        (field(*(offset * unit).tolist(), name, 0.0) - field(*(-offset * unit).tolist(), name, 0.0)) / (2 * offset)
        for unit in torch.eye(2, dtype=torch.float64)
    ]
    found = torch.linalg.eigvals(torch.stack(columns, 1))
    assert min(abs(complex(value) - wanted) for value in found) < 1e-6


def test_maps_of_patches_are_paired_place_by_place_and_averaged_over_all_places() -> None:
    real, fake = draw(3, 1, 2, 4), draw(3, 1, 2, 4, seed=1)
    paired, averaged = make("rpgan"), make("ragan")
    torch.testing.assert_close(paired.d(of_scores(real, fake)), softplus(fake - real).mean())
    for side in ("d", "g"):  # a patch is a sample
        flat = getattr(averaged, side)(of_scores(real.flatten(), fake.flatten()))
        torch.testing.assert_close(getattr(averaged, side)(of_scores(real, fake)), flat)


@pytest.mark.parametrize(("reals", "fakes"), [(3, 6), (6, 3), (5, 3)])
def test_rows_are_paired_in_turn_where_one_side_has_more(reals: int, fakes: int) -> None:
    real, fake = draw(reals), draw(fakes, seed=1)
    count = max(reals, fakes)
    gaps = torch.stack([real[index % reals] - fake[index % fakes] for index in range(count)])
    torch.testing.assert_close(make("rpgan").d(of_scores(real, fake)), softplus(-gaps).mean())
    torch.testing.assert_close(make("rpgan").g(of_scores(real, fake)), softplus(gaps).mean())


def test_k_generators_are_k_games_of_pairs() -> None:
    real, one, other, loss = draw(4), draw(4, seed=1), draw(4, seed=2), make("rpgan")
    both = of_scores(real, torch.cat((one, other)))
    both.fake_weight = 2.0
    torch.testing.assert_close(loss.d(both), loss.d(of_scores(real, one)) + loss.d(of_scores(real, other)))
    torch.testing.assert_close(loss.g(both), loss.g(of_scores(real, one)) + loss.g(of_scores(real, other)))


def test_the_fake_weight_of_averages_multiplies_the_critics_fake_term_and_the_generators_loss() -> None:
    real, fake, loss = draw(4), draw(4, seed=1), make("ragan")
    plain, heavy = of_scores(real, fake), of_scores(real, fake)
    heavy.fake_weight = 3.0
    torch.testing.assert_close(loss.d(heavy) - loss.d(plain), 2 * softplus(fake - real.mean()).mean())
    torch.testing.assert_close(loss.g(heavy), 3 * loss.g(plain))


def test_averages_read_targets_and_pairs_do_not() -> None:
    assert make("ragan").traits == {"loss.reads_targets", "loss.signless"}
    assert make("rpgan").traits == {"loss.signless"}
    assert make("hinge").traits == frozenset()
    assert "loss.signless" in make("lsgan").traits
    assert "loss.signless" not in make("lsgan", a=-1.0, b=1.0, c=0.0).traits
    real, fake, targets = draw(3), draw(3, seed=1), torch.tensor([0.9, 0.5, 1.0], dtype=torch.float64)
    duel = of_scores(real, fake)
    duel.real_target, duel.fake_target = targets, 0.2
    d, f = torch.sigmoid(real - fake.mean()), torch.sigmoid(fake - real.mean())
    wanted = -(targets * d.log() + (1 - targets) * (1 - d).log()).mean() - (0.2 * f.log() + 0.8 * (1 - f).log()).mean()
    torch.testing.assert_close(make("ragan").d(duel), wanted)
    torch.testing.assert_close(make("ragan").g(duel), make("ragan").g(of_scores(real, fake)))


# energies


def energies(real: Tensor, fake: Tensor) -> Duel:
    """Every input is its own energy; scores are minus that."""
    return Duel(lambda x: DiscriminatorOutput(-x), (real,), (fake,))


def test_energies_by_hand_and_no_force_on_fakes_above_the_margin() -> None:
    real, fake, loss = scores(1.0, 3.0), scores(0.5, 6.0), make("energy", margin=5.0)
    value = loss.d(energies(real, fake))
    assert float(value.detach()) == pytest.approx(2 + 4.5 / 2)
    up, down = gradients(value, real, fake)
    assert up.tolist() == [0.5, 0.5]
    assert down.tolist() == [-0.5, 0]
    found = loss.g(energies(real, fake))
    assert float(found.detach()) == pytest.approx(3.25)
    assert gradients(found, fake)[0].tolist() == [0.5, 0.5]  # the generator has no margin


def test_the_best_energy_is_zero_where_data_prevail_and_the_margin_elsewhere() -> None:
    margin = 2.5
    loss = make("energy", margin=margin)

    def cost(energy: Tensor) -> float:
        return float(loss.d(of_table(-energy)))

    best = torch.where(P > Q, 0.0, margin).to(torch.float64)
    variation = float((P - Q).abs().sum()) / 2
    assert cost(best) == pytest.approx(margin * (1 - variation))
    source = torch.Generator().manual_seed(0)
    for _ in range(50):
        other = 2 * margin * torch.rand(3, dtype=torch.float64, generator=source)
        assert cost(other) > cost(best)


@pytest.mark.parametrize("level", [0.0, 1.0, 2.5])
def test_at_the_equilibrium_the_energy_game_is_worth_its_margin(level: float) -> None:
    flat = torch.full((4,), level, dtype=torch.float64)
    assert float(make("energy", margin=2.5).d(energies(flat, flat))) == pytest.approx(2.5)


def test_a_margin_of_one_is_the_hinge_less_one() -> None:
    real, fake = draw(5).abs(), 2 * draw(5, seed=1).abs()
    duel = energies(real, fake)
    duel.fake_weight = 3.0
    torch.testing.assert_close(make("energy", margin=1.0).d(duel), make("hinge").d(duel) - 1)
    torch.testing.assert_close(make("energy", margin=1.0).g(duel), make("hinge").g(duel))


class Autoencoder(nn.Module):
    """A stub whose energy is a squared reconstruction error and whose features are the code."""

    traits = frozenset({"energy", "discriminator.features"})

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.code, self.back = nn.Linear(4, 2).double(), nn.Linear(2, 4).double()

    def forward(self, x: Tensor) -> DiscriminatorOutput:
        code = self.code(x).tanh()
        return DiscriminatorOutput(-(self.back(code) - x).square().sum(1), code)


def test_the_energy_loss_of_an_autoencoder_has_the_gradients_of_finite_differences() -> None:
    critic, loss = Autoencoder(), make("energy", margin=3.0)
    duel = Duel(critic, (draw(3, 4),), (draw(3, 4, seed=1),))
    fakes = -duel.fake_output.score
    assert (fakes > 3).any()
    assert (fakes < 3).any()  # both sides of the margin
    assert_gradients_are_finite_differences(critic, lambda: loss.d(Duel(critic, (draw(3, 4),), (draw(3, 4, seed=1),))))
    fake = draw(3, 4, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss.g(Duel(critic, (draw(3, 4),), (x,))), (fake,))


@pytest.mark.parametrize("margin", [0.0, -1.0])
def test_a_margin_that_is_not_positive_is_refused(margin: float) -> None:
    with pytest.raises(BadInput, match="margin="):
        make("energy", margin=margin)


def test_energies_go_with_a_loss_that_can_read_them() -> None:
    energy, plain = Autoencoder(), nn.Linear(1, 1)
    refused = ("minimax", "nonsaturating", "feature_matching")
    for name in (*refused, "energy", "hinge", "wasserstein", "lsgan", *RELATIVISTIC):
        found = traits.conflicts({"model=autoencoder": energy, f"loss={name}": make(name)})
        assert [rule.override for _, rule in found] == (["loss=energy"] if name in refused else [])
    (shared,) = {id(make(name).refuses["energy"]) for name in refused}
    assert shared
    ((typed, rule),) = traits.conflicts({"model=mlp": plain, "loss=energy": make("energy")})
    assert (typed, rule.override) == ("loss=energy", "model=autoencoder")


# feature matching


def featured(network: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor) -> Duel:
    return Duel(lambda x: DiscriminatorOutput(x.flatten(1).sum(1), network(x)), (real,), (fake,))


def test_matched_features_of_a_linear_layer_are_those_of_the_means() -> None:
    w = draw(5, 3, seed=7)
    real, fake = draw(6, 3), draw(4, 3, seed=1).requires_grad_()
    loss, gap = make("feature_matching"), real.mean(0) - fake.detach().mean(0)
    value = loss.g(featured(lambda x: x @ w.T, real, fake))
    torch.testing.assert_close(value.detach(), (w @ gap).square().sum())
    torch.testing.assert_close(gradients(value, fake)[0], (-2 / 4 * w.T @ w @ gap).expand(4, 3))
    absolute = make("feature_matching", distance="absolute").g(featured(lambda x: x @ w.T, real, fake))
    torch.testing.assert_close(absolute.detach(), (w @ gap).abs().sum())


def test_equal_batches_match_in_any_order_and_without_force() -> None:
    real = draw(5, 3)
    fake = real.flip(0).requires_grad_()
    for distance in ("squared", "absolute"):
        loss = make("feature_matching", distance=distance)
        value = loss.g(featured(torch.tanh, real, fake))
        assert float(value.detach()) == pytest.approx(0, abs=1e-12)
    assert float(gradients(make("feature_matching").g(featured(torch.tanh, real, fake)), fake)[0].abs().max()) < 1e-12
    other = draw(5, 3, seed=3)
    values = [make("feature_matching").g(featured(torch.tanh, real, rows)) for rows in (other, other.flip(0))]
    torch.testing.assert_close(*values)


def test_features_of_maps_count_number_by_number_and_the_weight_multiplies() -> None:
    real, fake, loss = draw(4, 2, 3, 3), draw(4, 2, 3, 3, seed=1), make("feature_matching")
    duel = featured(torch.tanh, real, fake)
    torch.testing.assert_close(loss.g(duel), loss.g(featured(lambda x: x.tanh().flatten(1), real, fake)))
    heavy = featured(torch.tanh, real, fake)
    heavy.fake_weight = 3.0
    torch.testing.assert_close(loss.g(heavy), 3 * loss.g(duel))


def test_real_features_are_constants_and_fake_ones_are_not() -> None:
    critic = Autoencoder()
    real, fake = draw(3, 4).requires_grad_(), draw(3, 4, seed=1).requires_grad_()
    make("feature_matching").g(Duel(critic, (real,), (fake,))).backward()
    assert real.grad is None
    assert fake.grad is not None
    assert float(fake.grad.abs().max()) > 0


def test_the_critic_of_feature_matching_is_the_logistic_one() -> None:
    duel = of_scores(draw(4), draw(4, seed=1))
    duel.real_target, duel.fake_weight = 0.9, 2.0
    torch.testing.assert_close(make("feature_matching").d(duel), make("nonsaturating").d(duel))
    assert make("feature_matching").traits == {"loss.reads_targets", "loss.reads_features"}


def test_feature_matching_needs_features_and_a_known_distance() -> None:
    (found,) = traits.conflicts({"model=x": nn.Linear(1, 1), "loss=feature_matching": make("feature_matching")})
    assert found[1].override == "model=mlp"
    with pytest.raises(BadInput, match="squared"):
        make("feature_matching", distance="square")


# in the loop


def test_the_pearson_labels_are_an_option_of_their_own() -> None:
    assert compose_config("loss=lsgan_pearson")["loss"] == {"name": "lsgan", "a": -1.0, "b": 1.0, "c": 0.0}
    assert compose_config("loss=lsgan_pearson", "loss.c=0.5")["loss"]["c"] == 0.5
    assert compose_config("loss=lsgan")["loss"] == {"name": "lsgan", "a": 0.0, "b": 1.0, "c": 1.0}


@pytest.mark.parametrize("name", [*RELATIVISTIC, "feature_matching"])
@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_both_players_learn_from_it_in_single_and_double_precision(name: str, precision: torch.dtype, toy: Any) -> None:
    torch.set_default_dtype(precision)
    try:
        made = toy("mlp", "toy_points", f"loss={name}")
        players = made.parts.game.players
        before = {role: [entry.detach().clone() for entry in player.parameters()] for role, player in players.items()}
        made.trainer.advance()
    finally:
        torch.set_default_dtype(torch.float32)
    for role, player in players.items():
        assert not all(torch.equal(*pair) for pair in zip(before[role], player.parameters(), strict=True))
        assert made.trainer.terms[f"{role}/loss"].dtype == precision
        assert made.trainer.terms[f"{role}/loss"].isfinite()
