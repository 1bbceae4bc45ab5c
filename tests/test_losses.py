"""The losses against closed forms: values, gradients, best critics and the divergences they stand for."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ganrun.ground import registry
from ganrun.ground.duel import Duel
from ganrun.ground.spec import DiscriminatorOutput
from ganrun.losses.base import Loss

LOSSES = ("minimax", "nonsaturating", "wasserstein", "lsgan", "hinge")
LOGISTIC = ("minimax", "nonsaturating")

# three points with p = (.5, .3, .2) and q = (.2, .2, .6), as batches in which each point has its share
P, Q = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64), torch.tensor([0.2, 0.2, 0.6], dtype=torch.float64)
REAL = torch.tensor([0] * 5 + [1] * 3 + [2] * 2)
FAKE = torch.tensor([0] * 2 + [1] * 2 + [2] * 6)
KL_QP, JS, LOG2 = 0.3948162, 0.0905658, math.log(2)


def make(name: str, **options: float) -> Loss:
    loss = registry.build("loss", {"name": name, **options})
    assert isinstance(loss, Loss)
    return loss


def of_scores(real: Tensor, fake: Tensor) -> Duel:
    """A duel in which every input is its own score."""
    return Duel(DiscriminatorOutput, (real,), (fake,))


def scores(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def of_table(table: Tensor) -> Duel:
    """The three points, judged by a free score each."""
    return Duel(lambda x: DiscriminatorOutput(table[x]), (REAL,), (FAKE,))


def fit(objective: Callable[[Tensor], Tensor], size: int = 3) -> Tensor:
    """The scores that minimise ``objective``, by L-BFGS in float64."""
    table = torch.zeros(size, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [table], max_iter=500, tolerance_grad=1e-12, tolerance_change=1e-15, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = objective(table)
        value.backward()
        return value

    optimizer.step(closure)
    return table.detach()


def gradients(value: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(value, inputs, allow_unused=True)


# what holds for all


@pytest.mark.parametrize("name", LOSSES)
def test_the_critic_wants_real_scores_up_and_fake_ones_down_and_the_generator_fake_ones_up(name: str) -> None:
    real, fake = scores(0.3, -0.2, 0.1), scores(-0.4, 0.2, 0.6)
    loss = make(name)
    up, down = gradients(loss.d(of_scores(real, fake)), real, fake)
    assert (up < 0).all()
    if name != "lsgan":  # least squares pulls scores below its label a = 0 up
        assert (down > 0).all()
    else:
        torch.testing.assert_close(down, fake.detach() / 3)
    (better,) = gradients(loss.g(of_scores(real, fake)), fake)
    assert (better < 0).all()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_no_score_overflows(name: str, size: float) -> None:
    real, fake = torch.tensor([size, -size], requires_grad=True), torch.tensor([-size, size], requires_grad=True)
    loss = make(name)
    for value in (loss.d(of_scores(real, fake)), loss.g(of_scores(real, fake))):
        assert value.isfinite()
        assert all(slope.isfinite().all() for slope in gradients(value, real, fake) if slope is not None)


@pytest.mark.parametrize("name", LOSSES)
def test_a_map_of_patches_counts_as_the_mean_over_its_positions(name: str) -> None:
    source = torch.Generator().manual_seed(1)
    real, fake = (torch.randn(3, dtype=torch.float64, generator=source) for _ in range(2))
    flat, maps = of_scores(real, fake), of_scores(*(entry.view(3, 1, 1, 1).expand(3, 1, 4, 5) for entry in (real, fake)))
    targets = torch.tensor([0.9, 0.5, 0.7], dtype=torch.float64)
    for duel in (flat, maps):
        duel.real_target, duel.fake_target = targets, 1 - targets
    loss = make(name)
    torch.testing.assert_close(loss.d(maps), loss.d(flat))
    torch.testing.assert_close(loss.g(maps), loss.g(flat))


@pytest.mark.parametrize("name", LOSSES)
def test_the_loss_of_a_batch_of_three_is_the_mean_of_the_losses_of_its_samples(name: str) -> None:
    real, fake, targets = torch.tensor([0.7, -1.3, 2.0]), torch.tensor([-0.2, 0.4, -1.5]), torch.tensor([0.9, 0.6, 1.0])
    loss = make(name)

    def one(index: slice) -> tuple[Tensor, Tensor]:
        duel = of_scores(real[index], fake[index])
        duel.real_target = targets[index]
        return loss.d(duel), loss.g(duel)

    whole, alone = one(slice(None)), [one(slice(index, index + 1)) for index in range(3)]
    for side in range(2):
        assert whole[side].shape == ()
        torch.testing.assert_close(whole[side], torch.stack([entry[side] for entry in alone]).mean())


@pytest.mark.parametrize("name", LOSSES)
def test_the_fake_weight_multiplies_the_fake_side_only(name: str) -> None:
    real, fake = scores(0.3, -0.2, 0.1), scores(-0.4, 0.2, 0.6)
    loss = make(name)
    plain, heavy = of_scores(real, fake), of_scores(real, fake)
    heavy.fake_weight = 3.0
    (real_slope, fake_slope), (real_heavy, fake_heavy) = (gradients(loss.d(duel), real, fake) for duel in (plain, heavy))
    torch.testing.assert_close(real_heavy, real_slope)
    torch.testing.assert_close(fake_heavy, 3 * fake_slope)
    torch.testing.assert_close(loss.g(heavy), 3 * loss.g(plain))


@pytest.mark.parametrize(
    ("name", "d", "g"),
    [
        ("minimax", 2 * LOG2, -LOG2),
        ("nonsaturating", 2 * LOG2, LOG2),
        ("hinge", 2.0, 0.0),
        ("wasserstein", 0.0, 0.0),
        ("lsgan", 0.5, 0.5),
    ],
)
def test_values_at_score_zero(name: str, d: float, g: float) -> None:
    duel = of_scores(torch.zeros(3), torch.zeros(3))
    loss = make(name)
    assert float(loss.d(duel)) == pytest.approx(d, abs=1e-6)
    assert float(loss.g(duel)) == pytest.approx(g, abs=1e-6)


# logistic losses


@pytest.mark.parametrize("name", LOGISTIC)
def test_the_logistic_critic_has_the_gradients_of_cross_entropy(name: str) -> None:
    real, fake = scores(-3.0, 0.0, 2.0), scores(-1.0, 0.5, 4.0)
    real_slope, fake_slope = gradients(make(name).d(of_scores(real, fake)), real, fake)
    torch.testing.assert_close(real_slope, -(1 - real.sigmoid()) / 3)
    torch.testing.assert_close(fake_slope, fake.sigmoid() / 3)


def test_the_generators_gradients_are_minus_sigma_and_minus_one_minus_sigma() -> None:
    fake = scores(-10.0, 0.0, 3.0)
    (saturating,) = gradients(make("minimax").g(of_scores(fake, fake)), fake)
    (other,) = gradients(make("nonsaturating").g(of_scores(fake, fake)), fake)
    torch.testing.assert_close(saturating, -fake.sigmoid() / 3)
    torch.testing.assert_close(other, -(1 - fake.sigmoid()) / 3)
    torch.testing.assert_close(saturating + other, torch.full_like(fake, -1 / 3))
    assert float(-3 * saturating[0]) == pytest.approx(4.54e-5, rel=1e-3)


@pytest.mark.parametrize("name", LOGISTIC)
def test_the_best_critic_is_p_over_p_plus_q_and_its_value_is_jensen_shannon(name: str) -> None:
    loss = make(name)
    table = fit(lambda free: loss.d(of_table(free)))
    torch.testing.assert_close(table.sigmoid(), P / (P + Q), atol=1e-6, rtol=0)
    torch.testing.assert_close(table, P.log() - Q.log(), atol=1e-5, rtol=0)
    value = -float(loss.d(of_table(table)))
    assert value == pytest.approx(2 * JS - 2 * LOG2, abs=1e-6)
    assert value == pytest.approx(-1.2051627, abs=1e-6)


def test_the_generators_values_at_the_best_critic() -> None:
    table = P.log() - Q.log()
    log_d_real = float((P * table.sigmoid().log()).sum())
    nonsaturating = float(make("nonsaturating").g(of_table(table)))
    assert nonsaturating == pytest.approx(KL_QP - 2 * JS + 2 * LOG2 + log_d_real, abs=1e-6)
    assert nonsaturating == pytest.approx(1.0012362, abs=1e-6)
    # the zero-sum game: the generator's value is V without its real half
    assert float(make("minimax").g(of_table(table))) == pytest.approx(2 * JS - 2 * LOG2 - log_d_real, abs=1e-6)


def test_the_nonsaturating_gradient_is_that_of_kl_minus_two_js() -> None:
    """With D* frozen, for q = N(theta, 1) and p = N(0, 1); Arjovsky and Bottou 2017, theorem 2.5."""
    now = 1.0
    count = 400_001
    z = torch.linspace(-9, 9, count, dtype=torch.float64)
    mass = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi) * (18 / (count - 1))

    def divergence(theta: float) -> float:
        x = z + theta / 2
        log_p, log_q = -x.square() / 2, -(x - theta).square() / 2
        p, q = (entry.exp() / math.sqrt(2 * math.pi) * (18 / (count - 1)) for entry in (log_p, log_q))
        log_m = torch.logaddexp(log_p, log_q) - LOG2
        kl, js = (q * (log_q - log_p)).sum(), ((p * (log_p - log_m)).sum() + (q * (log_q - log_m)).sum()) / 2
        return float(kl - 2 * js)

    wanted = (divergence(now + 1e-4) - divergence(now - 1e-4)) / 2e-4

    theta = torch.tensor(now, dtype=torch.float64, requires_grad=True)
    loss = make("nonsaturating")
    # per-sample derivatives of the loss, then weighted by the normal law: the mean over a batch has equal weights
    score = (-now * (z + theta) + now**2 / 2).detach().requires_grad_()
    (slope,) = gradients(loss.g(of_scores(score, score)), score)
    found = float((slope * count * mass * -now).sum())
    assert found == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("name", LOGISTIC)
@pytest.mark.parametrize(("alpha", "beta"), [(0.9, 0.0), (0.8, 0.3), (1.0, 0.0)])
def test_targets_move_the_best_score(name: str, alpha: float, beta: float) -> None:
    loss = make(name)

    def smoothed(free: Tensor) -> Tensor:
        duel = of_table(free)
        duel.real_target, duel.fake_target = alpha, beta
        return loss.d(duel)

    torch.testing.assert_close(fit(smoothed).sigmoid(), (alpha * P + beta * Q) / (P + Q), atol=1e-6, rtol=0)
    zero = torch.zeros(3, dtype=torch.float64)
    assert float(smoothed(zero)) == pytest.approx(2 * LOG2)


@pytest.mark.parametrize("name", LOGISTIC)
def test_targets_on_one_point_give_the_logit_of_their_mean(name: str) -> None:
    loss = make(name)

    def alike(free: Tensor) -> Tensor:
        duel = of_scores(free.expand(4), free.expand(4))
        duel.real_target, duel.fake_target = 0.9, 0.0
        return loss.d(duel)

    assert float(fit(alike, 1)) == pytest.approx(-0.2006707, abs=1e-6)


@pytest.mark.parametrize("name", LOGISTIC)
def test_the_best_critic_with_a_fake_weight_is_p_over_p_plus_weighted_q(name: str) -> None:
    loss = make(name)

    def weighted(free: Tensor) -> Tensor:
        duel = of_table(free)
        duel.fake_weight = 3.0
        return loss.d(duel)

    torch.testing.assert_close(fit(weighted).sigmoid(), P / (P + 3 * Q), atol=1e-6, rtol=0)


# least squares


@pytest.mark.parametrize(("a", "b", "c"), [(0.0, 1.0, 1.0), (-1.0, 1.0, 0.0), (0.5, 2.0, 3.0)])
def test_the_best_least_squares_critic_is_a_mean_of_the_labels(a: float, b: float, c: float) -> None:
    loss = make("lsgan", a=a, b=b, c=c)
    table = fit(lambda free: loss.d(of_table(free)))
    torch.testing.assert_close(table, (b * P + a * Q) / (P + Q), atol=1e-6, rtol=0)
    assert float(loss.g(of_table(table))) == pytest.approx(float((Q * (table - c).square()).sum()) / 2, abs=1e-9)


def test_least_squares_with_minus_one_one_zero_is_half_the_pearson_chi_square() -> None:
    """C(G) = E_p (s* - c)^2 / 2 + E_q (s* - c)^2 / 2 = chi^2(p + q || 2 q) / 2  (Mao et al. 2017, section 3.2)."""
    loss = make("lsgan", a=-1.0, b=1.0, c=0.0)
    table = (P - Q) / (P + Q)  # the best critic
    swapped = Duel(lambda x: DiscriminatorOutput(table[x]), (FAKE,), (REAL,))
    cost = float(loss.g(of_table(table)) + loss.g(swapped))
    assert 2 * cost == pytest.approx(float(((2 * Q - (P + Q)).square() / (P + Q)).sum()), abs=1e-9)


def test_least_squares_at_equal_laws() -> None:
    half = torch.full((3,), 0.5)
    loss = make("lsgan")
    assert float(loss.d(of_scores(half, half))) == pytest.approx(1 / 4)
    assert float(loss.g(of_scores(half, half))) == pytest.approx(1 / 8)
    assert float(fit(lambda free: loss.d(of_scores(free.expand(3), free.expand(3))), 1)) == pytest.approx(0.5)


def test_a_least_squares_target_stands_between_its_labels() -> None:
    loss = make("lsgan", a=-1.0, b=1.0, c=0.0)

    def smoothed(free: Tensor) -> Tensor:
        duel = of_scores(free.expand(4), free.expand(4))
        duel.real_target, duel.fake_target = 0.9, 0.2  # labels 0.8 and -0.6
        return loss.d(duel)

    assert float(fit(smoothed, 1)) == pytest.approx(0.1, abs=1e-6)


def test_equal_labels_are_refused() -> None:
    with pytest.raises(Exception, match="must differ"):
        make("lsgan", a=1.0, b=1.0)


# hinge and Wasserstein


def test_the_best_hinge_critic_is_the_sign_of_p_minus_q_and_its_loss_two_minus_twice_the_variation() -> None:
    loss = make("hinge")
    table = torch.sign(P - Q)
    best = float(loss.d(of_table(table)))
    variation = float((P - Q).abs().sum()) / 2
    assert best == pytest.approx(2 * (1 - variation))
    for offset in torch.eye(3, dtype=torch.float64):
        for size in (-0.3, 0.3):
            assert float(loss.d(of_table(table + size * offset))) >= best - 1e-12
    assert float(loss.d(of_table(0.9 * table))) > best
    assert float(loss.d(of_table(1.1 * table))) > best
    # the generator has no margin: E_q s is E_p s - 2 TV
    assert float(loss.g(of_table(table))) == pytest.approx(-float((P * table).sum()) + 2 * variation)


def test_the_hinge_is_flat_beyond_its_margins_for_the_critic_only() -> None:
    real, fake = scores(1.5, 0.5), scores(-1.5, -0.5)
    loss = make("hinge")
    real_slope, fake_slope = gradients(loss.d(of_scores(real, fake)), real, fake)
    assert real_slope.tolist() == [0, -0.5]
    assert fake_slope.tolist() == [0, 0.5]
    assert gradients(loss.g(of_scores(real, fake)), fake)[0].tolist() == [-0.5, -0.5]


def test_the_wasserstein_critic_is_the_difference_of_means() -> None:
    real, fake = torch.tensor([1.0, 2.0, 6.0]), torch.tensor([0.0, -1.0, -2.0])
    loss = make("wasserstein")
    assert float(loss.d(of_scores(real, fake))) == -4.0
    assert float(loss.g(of_scores(real, fake))) == 1.0
    assert float(loss.d(of_scores(2 * real + 5, 2 * fake + 5))) == -8.0  # scales with the critic, ignores its offset


def test_the_wasserstein_critic_of_slope_one_measures_the_distance_of_sorted_samples() -> None:
    source = torch.Generator().manual_seed(2)
    fake = torch.randn(500, generator=source, dtype=torch.float64)
    real = fake + 3  # W1 of a shift is the shift
    distance = float((real.sort().values - fake.sort().values).abs().mean())
    assert -float(make("wasserstein").d(of_scores(real, fake))) == pytest.approx(distance)
