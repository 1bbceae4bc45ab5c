"""R2, DRAGAN and the gradient penalty's places against closed forms and finite differences."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from staged import Rows, staged, turn_of
from test_regularizers import (
    Smooth,
    assert_gradients_are_finite_differences,
    draw,
    linear,
    loss_of,
    make,
    played,
    quadratic,
    turn,
)
from torch import Tensor

from ganrun.ground import registry, traits
from ganrun.ground.duel import Duel
from ganrun.ground.errors import BadInput
from ganrun.ground.spec import DiscriminatorOutput
from ganrun.ground.turn import Turn

SHAPES = [(5,), (2, 3, 4)]


def places(regularizer: Any, duel: Duel, at: Turn) -> tuple[Tensor, ...]:
    """Where a penalty looks."""
    seen: list[tuple[Tensor, ...]] = []

    def noting(*inputs: Tensor, **condition: Tensor) -> DiscriminatorOutput:
        seen.append(tuple(entry.detach() for entry in inputs))
        return DiscriminatorOutput(torch.stack([entry.flatten(1).sum(1) for entry in inputs]).sum(0))

    duel.discriminator = noting
    regularizer.term(duel, {}, at)
    (found,) = seen
    return found


# R2


@pytest.mark.parametrize("shape", SHAPES)
def test_r2_of_a_linear_critic_is_half_gamma_times_its_squared_slope(shape: tuple[int, ...]) -> None:
    w = draw(*shape, seed=1).requires_grad_()
    term = played(make("r2", weight=7.0), Duel(linear(w), (draw(3, *shape),), (draw(3, *shape, seed=2),)))
    torch.testing.assert_close(term.detach(), 3.5 * w.detach().square().sum())
    torch.testing.assert_close(torch.autograd.grad(term, w)[0], 7 * w.detach())


def test_r2_of_a_quadratic_critic_is_taken_at_the_fakes_of_which_there_may_be_more() -> None:
    real, fake = 100 * draw(4, 3), draw(8, 3, seed=2)
    term = played(make("r2", weight=2.0), Duel(quadratic(1.5), (real,), (fake,)))
    torch.testing.assert_close(term.detach(), 1.5**2 * fake.square().sum(1).mean())


def test_r2_is_r1_with_the_sides_exchanged() -> None:
    critic, real, fake = Smooth(4), draw(3, 4), draw(3, 4, seed=2)
    one, other = Duel(critic, (real,), (fake,)), Duel(critic, (fake,), (real,))
    torch.testing.assert_close(played(make("r2"), one), played(make("r1"), other))


def test_r2_uses_the_main_verdict_and_asks_for_nothing_when_idle() -> None:
    critic, looks = Smooth(4), []

    def counted(x: Tensor) -> DiscriminatorOutput:
        looks.append(len(x))
        return critic(x)  # type: ignore[no-any-return]

    played(make("r2"), Duel(counted, (draw(3, 4),), (draw(3, 4, seed=2),), together=True))
    assert looks == [3, 3]
    for update, asked in ((3, False), (4, True)):
        duel = Duel(critic, (draw(3, 4),), (draw(3, 4, seed=2),))
        make("r2", every=4).before(duel, turn(3, update=update))
        duel.finalize_inputs()
        assert duel.fake[0].requires_grad == asked
        assert not duel.real[0].requires_grad


# DRAGAN


@pytest.mark.parametrize("shape", SHAPES)
def test_dragan_of_a_linear_critic_and_its_own_gradient_are_exact_whatever_the_noise(shape: tuple[int, ...]) -> None:
    w = draw(*shape, seed=1).requires_grad_()
    duel = Duel(linear(w), (draw(3, *shape),), (draw(3, *shape, seed=2),))
    term = played(make("dragan", weight=7.0, target=0.5, scale=3.0), duel)
    norm = w.detach().norm()
    torch.testing.assert_close(term.detach(), 7 * (norm - 0.5).square())
    torch.testing.assert_close(torch.autograd.grad(term, w)[0], 14 * (norm - 0.5) * w.detach() / norm)


class Full(Turn):
    """A turn whose every draw is one."""

    def uniform(self, purpose: str, like: Tensor | None = None) -> Tensor:
        assert like is not None
        return torch.ones(len(like))

    def noise(self, purpose: str, like: Tensor, law: str = "normal") -> Tensor:
        assert law == "uniform"
        return torch.ones_like(like)


def test_the_shift_is_at_most_half_of_one_population_deviation_of_the_whole_batch() -> None:
    at = turn(2)
    full = Full(at.seed, at.step, at.phase, 0, 2, at.latent_law, at.device)
    x = torch.tensor([[1.0, 11.0], [3.0, 9.0]], dtype=torch.float64)  # mean 6, squares 25, 25, 9, 9: deviation sqrt 17
    (around,) = places(make("dragan"), Duel(linear(x[0]), (x,), (x,)), full)
    torch.testing.assert_close(around - x, torch.full_like(x, 0.5 * 17**0.5))
    (around,) = places(make("dragan", scale=2.0), Duel(linear(x[0]), (x,), (x,)), full)
    torch.testing.assert_close(around - x, torch.full_like(x, 2 * 17**0.5))


def test_the_shift_has_one_length_a_sample_and_one_draw_a_number_and_none_is_negative() -> None:
    x = draw(300, 2, 10, 10)
    (around,) = places(make("dragan"), Duel(linear(x[0]), (x,), (x,)), turn(300))
    shift = ((around - x) / (0.5 * x.std(correction=0))).flatten(1)
    assert float(shift.min()) >= 0
    lengths = shift.max(1).values / 0.995  # the largest of 200 uniform numbers is all but one
    assert float(lengths.mean()) == pytest.approx(0.5, abs=0.05)
    assert float(lengths.std()) == pytest.approx(12**-0.5, abs=0.03)  # uniform in (0, 1)
    inner = shift / lengths[:, None]
    assert float(inner.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(inner.std()) == pytest.approx(12**-0.5, abs=0.01)


def test_a_batch_of_equal_numbers_is_not_shifted_and_fakes_never_matter() -> None:
    x = torch.full((4, 3), 2.0, dtype=torch.float64)
    (around,) = places(make("dragan"), Duel(linear(x[0]), (x,), (draw(4, 3),)), turn(4))
    torch.testing.assert_close(around, x)
    critic, real = Smooth(4), draw(3, 4)
    found = [played(make("dragan"), Duel(critic, (real,), (draw(count, 4, seed=2),))) for count in (3, 5)]
    assert torch.equal(*found)
    wanted = (critic_slope(critic, real) - 1).square().mean() * 10
    torch.testing.assert_close(played(make("dragan", scale=0.0), Duel(critic, (real,), (real,))), wanted)


def critic_slope(critic: Smooth, x: Tensor) -> Tensor:
    """Norms of the gradients, one sample at a time."""
    rows = [row[None].requires_grad_() for row in x.clone()]
    return torch.stack([torch.autograd.grad(critic(row).score.sum(), row)[0].norm() for row in rows])


def test_codes_are_not_shifted_but_their_slope_counts() -> None:
    def critic(x: Tensor, code: Tensor) -> DiscriminatorOutput:
        return DiscriminatorOutput(3 * x[:, 0] + 4 * code[:, 1])

    duel = Duel(critic, (draw(3, 2), draw(3, 2)), (draw(3, 2, seed=2), draw(3, 2, seed=3)), kinds=("data", "code"))
    torch.testing.assert_close(played(make("dragan", weight=1.0), duel), torch.tensor(16.0, dtype=torch.float64))
    x, code = places(make("dragan"), duel, turn(3))
    assert not torch.equal(x, duel.real[0])
    assert torch.equal(code, duel.real[1])


def test_dragans_draws_are_those_of_the_whole_batch_in_micro_batches() -> None:
    x = draw(6, 3)

    def shift(rows: slice, share: tuple[int, int]) -> Tensor:
        part = x[rows]
        (around,) = places(make("dragan"), Duel(linear(x[0]), (part,), (part,)), turn(6, micro_batch=share))
        return (around - part) / part.std(correction=0)

    parts = torch.cat([shift(slice(0, 3), (0, 2)), shift(slice(3, 6), (1, 2))])
    torch.testing.assert_close(parts, shift(slice(None), (0, 1)))


# what holds for both


@pytest.mark.parametrize("name", ["r2", "dragan"])
@pytest.mark.parametrize("classes", [0, 3])
def test_the_slope_penalised_loss_has_the_gradients_of_finite_differences(name: str, classes: int) -> None:
    critic, regularizer, base = Smooth(4, classes), make(name, weight=3.0), loss_of("rpgan")
    labels = torch.tensor([0, 2, 1, 1, 0]) if classes else None
    real, fake = draw(5, 2, 2), draw(5, 2, 2, seed=2)

    def objective() -> Tensor:
        duel = Duel(critic, (real,), (fake,), real_condition=labels, fake_condition=labels, together=True)
        penalty = played(regularizer, duel)
        return base.d(duel) + penalty

    assert_gradients_are_finite_differences(critic, objective)


@pytest.mark.parametrize("name", ["r2", "dragan"])
def test_slope_penalties_stop_at_the_inputs(name: str) -> None:
    real, fake, critic = draw(3, 4).requires_grad_(), draw(3, 4, seed=2).requires_grad_(), Smooth(4)
    played(make(name), Duel(critic, (real,), (fake,))).backward()
    assert fake.grad is None
    assert real.grad is None
    assert critic.first.weight.grad is not None


@pytest.mark.parametrize("name", ["gradient_penalty", "dragan"])
def test_a_flat_critic_has_no_nan(name: str) -> None:
    w = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    term = played(make(name, weight=1.0), Duel(linear(w), (draw(3, 4),), (draw(3, 4, seed=2),)))
    assert torch.autograd.grad(term, w)[0].isfinite().all()
    assert float(term.detach()) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("name", ["r2", "dragan"])
@pytest.mark.parametrize("option", [{"weight": -1.0}, {"every": 0}])
def test_senseless_options_are_refused(name: str, option: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=f"{next(iter(option))}="):
        make(name, **option)


def test_a_negative_scale_of_the_noise_is_refused() -> None:
    with pytest.raises(BadInput, match="scale=-1"):
        make("dragan", scale=-1.0)


# the gradient penalty where the sides differ in size


@pytest.mark.parametrize(("reals", "fakes"), [(3, 6), (6, 3), (5, 3)])
def test_the_gradient_penalty_uses_the_smaller_sides_rows_in_turn(reals: int, fakes: int) -> None:
    real, fake, count = draw(reals, 4), draw(fakes, 4, seed=2), max(reals, fakes)
    (between,) = places(make("gradient_penalty"), Duel(linear(real[0]), (real,), (fake,)), turn(reals))
    assert len(between) == count
    shares = []
    for index, place in enumerate(between):
        x, g = real[index % reals], fake[index % fakes]
        share = (place - g) / (x - g)
        torch.testing.assert_close(share, share[:1].expand(4))
        shares.append(float(share[0]))
    assert all(0 < share < 1 for share in shares)
    assert len(set(shares)) == count


def test_interpolates_have_the_labels_of_their_real_ends() -> None:
    critic, seen = Smooth(4, 3), []

    def noting(x: Tensor, condition: Tensor) -> DiscriminatorOutput:
        seen.append(condition)
        return critic(x, condition)  # type: ignore[no-any-return]

    labels = torch.tensor([2, 0, 1])
    duel = Duel(noting, (draw(3, 4),), (draw(6, 4, seed=2),), real_condition=labels, fake_condition=labels.repeat(2))
    make("gradient_penalty").term(duel, {}, turn(3))
    assert seen[0].tolist() == [2, 0, 1, 2, 0, 1]


def test_the_places_of_micro_batches_are_those_of_the_whole_batch() -> None:
    real, fake = torch.ones(6, 1, dtype=torch.float64), torch.zeros(6, 1, dtype=torch.float64)

    def shares(rows: slice, share: tuple[int, int]) -> Tensor:
        return places(make("gradient_penalty"), Duel(linear(real[0]), (real[rows],), (fake[rows],)), turn(6, micro_batch=share))[
            0
        ]

    parts = torch.cat([shares(slice(0, 3), (0, 2)), shares(slice(3, 6), (1, 2))])
    torch.testing.assert_close(parts, shares(slice(None), (0, 1)))


@pytest.mark.parametrize("name", ["gradient_penalty", "dragan", "r2"])
def test_the_penalty_of_a_pack_is_that_of_one_sample_of_all_its_numbers(name: str) -> None:
    w = draw(4, 3, seed=1)
    real, fake = draw(6, 2, 3), draw(6, 2, 3, seed=2)
    packs = Duel(linear(w), (real,), (fake,), pack=2)
    found = played(make(name), packs, turn(6))
    whole = Duel(linear(w), (real.reshape(3, 4, 3),), (fake.reshape(3, 4, 3),))
    torch.testing.assert_close(found, played(make(name), whole, turn(3)))
    size = float(w.norm())
    assert float(found) == pytest.approx(10 * (size**2 / 2 if name == "r2" else (size - 1) ** 2))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_packs_train_with_every_slope_penalty(accumulate: int, toy: Any) -> None:
    stack = "regularizer=[dragan,gradient_penalty,r1,r2]"
    made = toy("mlp", "toy_points", stack, "game.pack=2", f"accumulate={accumulate}")
    for _ in range(2):
        made.trainer.advance()
    for name in ("dragan", "gradient_penalty", "r1", "r2"):
        assert float(made.trainer.terms[f"discriminator/{name}"]) > 0
        assert f"generator/{name}" not in made.trainer.terms


# clipping


@pytest.mark.parametrize(("name", "refused"), [("gradient_penalty", True), ("dragan", True), ("r1", False), ("r2", False)])
def test_clipped_weights_and_a_slope_of_one_are_refused_together(name: str, refused: bool) -> None:
    found = traits.conflicts({"regularizer=weight_clip": make("weight_clip"), f"regularizer={name}": make(name)})
    assert [(typed, rule.override) for typed, rule in found] == (
        [("regularizer=weight_clip", "regularizer=gradient_penalty")] if refused else []
    )


def test_r2_at_fakes_that_a_generator_makes_reaches_that_generator() -> None:
    """As in unrolled play: the virtual discriminators' penalty moves with the fakes."""
    shift = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    noise = draw(6, 2)
    term = played(make("r2", weight=2.0), Duel(quadratic(1.0), (draw(6, 2, seed=3),), (noise + shift,)))
    (slope,) = torch.autograd.grad(term, shift)  # of the mean of ||z + shift||^2
    torch.testing.assert_close(slope, 2 * (noise + shift.detach()).sum(1).mean())


# R1 and R2 beside augmentations


def beside(name: str) -> Any:
    """An augmentation, at a chance between none and all."""
    found = make(name, policy=["flip", "color", "translation", "cutout"])
    if name == "ada":
        found.p.fill_(0.7)
    return found


def penalised(penalty: str, augmentation: str, pack: int, **options: Any) -> tuple[Tensor, Tensor]:
    """(the term that a game computes, half the mean squared slope at x of x -> s(T(x)) by central differences)."""
    x, fake = (draw(4, 1, 4, 4, seed=seed) for seed in (1, 2))
    critic, changed = Smooth(16 * pack), beside(augmentation)
    regularizers = {penalty: make(penalty, weight=1.0, **options), augmentation: changed}
    players = {"generator": Rows(fake), "discriminator": critic}
    game = staged("adversarial", players, regularizers=regularizers, size=16, pack=pack)
    at = turn_of(game, "discriminator", x)

    def scores(samples: Tensor) -> Tensor:
        duel = Duel(critic, (samples,), (samples,), pack=pack)
        changed.before(duel, at)
        return duel.real_output.score if penalty == "r1" else duel.fake_output.score

    samples = x if penalty == "r1" else fake
    squares = torch.zeros(4 // pack)
    with torch.no_grad():
        for place in range(16):
            step = torch.zeros(16)
            step[place] = 1e-5
            for row in range(pack):  # of every pack
                moved = torch.zeros(4, 1, 4, 4)
                moved[row::pack] = step.view(1, 4, 4)
                squares += ((scores(samples + moved) - scores(samples - moved)) / 2e-5).square()
    return game.discriminator_loss(at)[penalty].detach(), squares.mean() / 2


@pytest.mark.parametrize("pack", [1, 2])
@pytest.mark.parametrize("augmentation", ["diffaugment", "ada"])
@pytest.mark.parametrize("penalty", ["r1", "r2"])
def test_slopes_at_samples_run_through_the_augmentation(penalty: str, augmentation: str, pack: int, float64: None) -> None:
    found, wanted = penalised(penalty, augmentation, pack)
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-10)
    seen, _ = penalised(penalty, augmentation, pack, at="input")
    assert float((seen / wanted).log().abs()) > 1e-3  # at what the critic sees it is another


@pytest.mark.parametrize("penalty", ["r1", "r2"])
def test_the_gradient_of_a_slope_through_an_augmentation_is_that_of_finite_differences(penalty: str, float64: None) -> None:
    x, fake, critic = draw(3, 1, 4, 4, seed=1), draw(3, 1, 4, 4, seed=2), Smooth(16)
    regularizers = {penalty: make(penalty, weight=3.0), "diffaugment": beside("diffaugment")}
    game = staged("adversarial", {"generator": Rows(fake), "discriminator": critic}, regularizers=regularizers, size=16)
    assert_gradients_are_finite_differences(
        critic, lambda: sum(game.discriminator_loss(turn_of(game, "discriminator", x)).values())
    )


@pytest.mark.parametrize("at", ["sample", "input"])
def test_slopes_without_an_augmentation_do_not_ask_where(at: str, float64: None) -> None:
    x, critic = draw(4, 4), Smooth(8)
    noise = make("instance_noise")
    found = {}
    for place in ("sample", at):
        regularizers = {"r1": make("r1", at=place), "r2": make("r2", at=place), "instance_noise": noise}
        players = {"generator": Rows(draw(4, 4, seed=2)), "discriminator": critic}
        game = staged("adversarial", players, regularizers=regularizers, size=4, pack=2)
        terms = game.discriminator_loss(turn_of(game, "discriminator", x))
        found[place] = [terms[name].detach() for name in ("r1", "r2")]
    assert found["sample"] == found[at]


def test_a_slope_at_a_sample_is_taken_in_full_precision(float64: None) -> None:
    x, critic = draw(4, 1, 4, 4), Smooth(16).float()
    duel = Duel(critic, (x.float(),), (x.float(),))
    r1, changed, at = make("r1"), beside("diffaugment"), turn(4)
    for regularizer in (r1, changed):
        regularizer.before(duel, at)
    exact = r1.term(duel, {}, at).detach()
    duel = Duel(critic, (x.float(),), (x.float(),))
    with torch.autocast("cpu", torch.bfloat16):
        for regularizer in (r1, changed):
            regularizer.before(duel, at)
        duel.forward_both()
        coarse = r1.term(duel, {}, at).detach()
    torch.testing.assert_close(coarse, exact, rtol=1e-5, atol=0)


def test_old_fakes_come_first_then_the_places_of_slopes_then_augmentations() -> None:
    ranks = [make(name).rank for name in ("replay", "r1", "r2", "diffaugment", "ada", "instance_noise")]
    assert ranks[0] < ranks[1] == ranks[2] < min(ranks[3:])


@pytest.mark.parametrize("penalty", ["r1", "r2"])
def test_an_unknown_place_is_refused_with_the_nearest(penalty: str) -> None:
    with pytest.raises(BadInput, match=r"at=sampel: .*sample"):
        make(penalty, at="sampel")


@pytest.mark.parametrize("name", ["r1", "r2", "gradient_penalty"])
def test_a_penaltys_weight_goes_to_its_last_along_half_a_cosine(name: str, toy: Any) -> None:
    """Its term over that of the same run with one weight throughout is the share that the formula says, at every step."""
    usual = (
        "model.discriminator.norm=none",
        f"regularizer={name}",
        f"regularizer.{name}.weight=2",
        "optimizer=sgd",
        "optimizer.lr=0",
    )
    steady = toy("mlp", "toy_points", *usual).trainer
    falling = toy("mlp", "toy_points", *usual, f"regularizer.{name}.final=0.5", f"regularizer.{name}.decay=3").trainer
    for share in (2.0, 0.5 + 1.5 * 0.75, 0.5 + 1.5 * 0.25, 0.5, 0.5):
        steady.advance()
        falling.advance()
        key = f"discriminator/{name}"
        assert float(falling.terms[key]) == pytest.approx(float(steady.terms[key]) * share / 2, rel=1e-5)


@pytest.mark.parametrize("options", [{"final": 1.0}, {"decay": 3}, {"final": -1.0, "decay": 3}, {"final": 1.0, "decay": -1}])
def test_a_last_weight_and_the_steps_to_it_belong_together(options: dict[str, Any]) -> None:
    for name in ("r1", "r2", "gradient_penalty"):
        with pytest.raises(BadInput, match=r"final=|decay="):
            registry.build("regularizer", {"name": name, **options})
