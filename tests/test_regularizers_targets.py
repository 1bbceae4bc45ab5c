"""Label smoothing and label flips against closed-form best discriminators."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ganrun.ground import registry, traits
from ganrun.ground.duel import Duel
from ganrun.ground.errors import BadInput
from ganrun.ground.spec import DiscriminatorOutput, Latent
from ganrun.ground.turn import Turn

P, Q, STRATA = (0.5, 0.3, 0.2), (0.2, 0.2, 0.6), 20


def make(name: str, **options: Any) -> Any:
    return registry.build("regularizer", {"name": name, **options})


def loss_of(name: str) -> Any:
    return registry.build("loss", {"name": name})


def turn(count: int, step: int = 0, micro_batch: tuple[int, int] = (0, 1)) -> Turn:
    return Turn(0, step, "discriminator", 0, count, Latent(2), torch.device("cpu"), micro_batch=micro_batch)


def rows(law: tuple[float, ...]) -> Tensor:
    """Atoms in exact proportion to ``law``, each of them ``STRATA`` times: shape (10 * STRATA, 1)."""
    atoms = [atom for atom, weight in enumerate(law) for _ in range(round(10 * weight))]
    return torch.tensor(atoms).repeat_interleave(STRATA)[:, None]


def stratified() -> Turn:
    """A turn whose uniforms run through the strata of (0, 1) in turn, so that every mean over an atom's rows is exact."""
    found = turn(10 * STRATA)
    grid = (torch.arange(STRATA, dtype=torch.float64) + 0.5) / STRATA
    found.uniform = lambda purpose, like=None: grid.repeat(10)  # type: ignore[method-assign]
    return found


def atoms(logits: Tensor) -> Duel:
    """The three-atom game with a free logit an atom."""
    return Duel(lambda x: DiscriminatorOutput(logits[x[:, 0]]), (rows(P),), (rows(Q),))


def grad_norm_sq_at(probabilities: Tensor, *regularizers: Any, loss: str = "nonsaturating") -> Tensor:
    """The gradient of D's loss in the logits where D is ``probabilities``: zero at the best D alone, the loss being convex."""
    logits = probabilities.logit() if loss != "lsgan" else probabilities.clone()
    logits.requires_grad_()
    duel, at = atoms(logits), stratified()
    for regularizer in regularizers:
        regularizer.before(duel, at)
    return torch.autograd.grad(loss_of(loss).d(duel), logits)[0]


def mixed(a: float, b: float) -> Tensor:
    """(a p + b q) / (p + q)."""
    p, q = torch.tensor(P, dtype=torch.float64), torch.tensor(Q, dtype=torch.float64)
    return (a * p + b * q) / (p + q)


ZERO = torch.zeros(3, dtype=torch.float64)


# smoothing


@pytest.mark.parametrize("loss", ["nonsaturating", "minimax", "lsgan"])
@pytest.mark.parametrize(("a", "b"), [(0.9, 0.0), (0.8, 0.1), (1.0, 0.3)])
def test_the_best_discriminator_mixes_the_targets(loss: str, a: float, b: float) -> None:
    smooth = make("label_smoothing", real=a, fake=b)
    torch.testing.assert_close(grad_norm_sq_at(mixed(a, b), smooth, loss=loss), ZERO)
    assert grad_norm_sq_at(mixed(1.0, 0.0), smooth, loss=loss).abs().max() > 1e-3


def test_a_range_has_the_best_discriminator_of_its_mean() -> None:
    ranged = make("label_smoothing", real=0.7, real_high=1.2, fake=0.0, fake_high=0.3)
    torch.testing.assert_close(grad_norm_sq_at(mixed(0.95, 0.15), ranged), ZERO)
    around_one = make("label_smoothing", real=0.8, real_high=1.2)
    torch.testing.assert_close(grad_norm_sq_at(mixed(1.0, 0.0), around_one), ZERO)  # no smoothing in expectation


def test_one_atom_and_one_side_have_the_logits_of_the_textbook() -> None:
    for score, with_fakes in ((math.log(0.45 / 0.55), True), (math.log(9.0), False)):
        logit = torch.tensor(score, dtype=torch.float64, requires_grad=True)
        duel = Duel(lambda x, logit=logit: DiscriminatorOutput(logit.expand(len(x))), (torch.zeros(4, 1),), (torch.zeros(4, 1),))
        make("label_smoothing").before(duel, turn(4))
        duel.fake_weight = float(with_fakes)
        assert torch.autograd.grad(loss_of("nonsaturating").d(duel), logit)[0].item() == pytest.approx(0.0, abs=1e-12)
    assert math.log(0.45 / 0.55) == pytest.approx(-0.2006707, abs=1e-7)


@pytest.mark.parametrize("options", [{}, {"real": 0.7, "real_high": 1.2, "fake": 0.1, "fake_high": 0.3}])
def test_an_undecided_discriminator_pays_two_log_two_whatever_the_targets(options: dict[str, float]) -> None:
    duel = Duel(lambda x: DiscriminatorOutput(torch.zeros(len(x))), (torch.zeros(6, 1),), (torch.zeros(6, 1),))
    make("label_smoothing", **options).before(duel, turn(6))
    assert loss_of("nonsaturating").d(duel).item() == pytest.approx(2 * math.log(2), abs=1e-6)


def test_a_fixed_target_is_a_number_and_one_sided_by_default() -> None:
    duel = Duel(DiscriminatorOutput, (torch.zeros(6, 1),), (torch.zeros(6, 1),))
    make("label_smoothing").before(duel, turn(6))
    assert (duel.real_target, duel.fake_target) == (0.9, 0.0)


def test_drawn_targets_are_uniform_one_a_sample_and_new_at_each_step_and_side() -> None:
    smooth, found = make("label_smoothing", real=0.7, real_high=1.2, fake=0.0, fake_high=0.5), []
    for step in (0, 1):
        duel = Duel(DiscriminatorOutput, (torch.zeros(2000, 1),), (torch.zeros(2000, 1),))
        smooth.before(duel, turn(2000, step))
        assert isinstance(duel.real_target, Tensor)
        assert isinstance(duel.fake_target, Tensor)
        found += [(duel.real_target - 0.7) / 0.5, duel.fake_target / 0.5]
    for uniform in found:
        assert uniform.shape == (2000,)
        counts = torch.histc(uniform, bins=10, min=0, max=1)
        assert int(counts.sum()) == 2000
        assert float((counts - 200).square().sum() / 200) < 27.9  # chi-square with 9 degrees of freedom at 0.001
    correlations = torch.corrcoef(torch.stack(found)) - torch.eye(4)
    assert float(correlations.abs().max()) < 0.1


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"real": 0.8, "real_high": 2.0}, "1.4 and must be at most 1"),  # "1" replaced by 0.8 to 2.0
        ({"real": 1.4}, "without bound"),
        ({"fake": -0.1}, "at least 0"),
        ({"real": 0.5, "fake": 0.5}, "above fake"),
        ({"real": 0.9, "real_high": 0.8}, "real_high=0.8 must not be below"),
        ({"fake": 0.1, "fake_high": 0.0}, "fake_high=0.0"),
        ({"real_high": "wide"}, "real_high=wide must be a number"),
        ({"fake_high": True}, "fake_high=True must be a number"),
    ],
)
def test_senseless_targets_are_refused_with_the_reason(options: dict[str, Any], why: str) -> None:
    with pytest.raises(BadInput, match=why):
        make("label_smoothing", **options)


def test_a_mean_target_above_one_really_has_no_best_discriminator() -> None:
    logit = torch.tensor([0.0, 5.0, 50.0], dtype=torch.float64, requires_grad=True)
    duel = Duel(lambda x: DiscriminatorOutput(logit), (rows(P),), (rows(Q),))
    duel.real_target, duel.fake_weight = 1.4, 0.0
    assert (torch.autograd.grad(loss_of("nonsaturating").d(duel), logit)[0] < -0.1).all()


# flips


@pytest.mark.parametrize("loss", ["nonsaturating", "lsgan"])
def test_the_best_discriminator_under_flips_mixes_both_sides(loss: str) -> None:
    flip = make("label_flip", probability=0.1)  # two of the twenty strata
    torch.testing.assert_close(grad_norm_sq_at(mixed(0.9, 0.1), flip, loss=loss), ZERO)


def test_flips_come_before_smoothing_so_a_flipped_sample_has_the_other_sides_smooth_target() -> None:
    flip, smooth = make("label_flip", probability=0.1), make("label_smoothing", real=0.8, fake=0.1)
    a, b, pi = 0.8, 0.1, 0.1
    wanted = mixed((1 - pi) * a + pi * b, pi * a + (1 - pi) * b)
    torch.testing.assert_close(grad_norm_sq_at(wanted, flip, smooth), ZERO)


def test_the_two_stack_in_a_game_in_this_order(toy: Callable[..., Any]) -> None:
    made = toy(
        "mlp",
        "toy_points",
        "batch_size=64",
        "regularizer=[label_smoothing,label_flip]",
        "regularizer.label_flip.probability=0.25",
    )
    found, loss = [], made.trainer.game.loss

    def noting(objective: Callable[[Duel], Tensor]) -> Callable[[Duel], Tensor]:
        def noted(duel: Duel) -> Tensor:
            found.append((duel.real_target, duel.fake_target))
            return objective(duel)

        return noted

    loss.d, loss.g = noting(loss.d), noting(loss.g)
    made.trainer.advance()
    (real, fake), generators = found
    assert generators == (1.0, 0.0)  # never the generator's
    for target, most in ((real, 0.9), (fake, 0.0)):
        assert {round(value, 6) for value in target.tolist()} == {0.9, 0.0}
        assert 0.5 < float(((target - most).abs() < 1e-6).float().mean()) < 0.95
    assert not torch.equal(real + fake, torch.full_like(real, 0.9))  # each side has flips of its own


def test_a_share_of_the_targets_is_flipped_on_each_side_and_anew_at_each_step() -> None:
    found = []
    for step in (0, 1):
        duel = Duel(DiscriminatorOutput, (torch.zeros(4000, 1),), (torch.zeros(4000, 1),))
        make("label_flip", probability=0.2).before(duel, turn(4000, step))
        assert isinstance(duel.real_target, Tensor)
        assert isinstance(duel.fake_target, Tensor)
        assert set(duel.real_target.tolist()) | set(duel.fake_target.tolist()) == {0.0, 1.0}
        found += [1 - duel.real_target, duel.fake_target]
    for flipped in found:
        assert abs(float(flipped.mean()) - 0.2) < 4 * math.sqrt(0.2 * 0.8 / 4000)
    assert float((torch.corrcoef(torch.stack(found)) - torch.eye(4)).abs().max()) < 0.08


@pytest.mark.parametrize("probability", [-0.1, 0.5, 1.0])
def test_a_senseless_share_of_flips_is_refused(probability: float) -> None:
    with pytest.raises(BadInput, match="probability="):
        make("label_flip", probability=probability)


# both


BOTH = [
    ("label_smoothing", {"real": 0.7, "real_high": 1.2, "fake": 0.0, "fake_high": 0.3}),
    ("label_flip", {"probability": 0.4}),
]


@pytest.mark.parametrize(("name", "options"), BOTH)
def test_micro_batches_get_their_part_of_the_targets_of_the_batch(name: str, options: dict[str, float]) -> None:
    def targets(count: int, share: tuple[int, int]) -> Tensor:
        duel = Duel(DiscriminatorOutput, (torch.zeros(count, 1),), (torch.zeros(count, 1),))
        make(name, **options).before(duel, turn(12, micro_batch=share))
        return torch.stack((torch.as_tensor(duel.real_target), torch.as_tensor(duel.fake_target)))

    parts = torch.cat([targets(4, (index, 3)) for index in range(3)], 1)
    torch.testing.assert_close(parts, targets(12, (0, 1)), atol=0, rtol=0)


@pytest.mark.parametrize(("name", "options"), BOTH)
def test_a_pack_has_one_target(name: str, options: dict[str, float]) -> None:
    duel = Duel(lambda x: DiscriminatorOutput(x.sum(1)), (torch.zeros(12, 2),), (torch.zeros(12, 2),), pack=3)
    make(name, **options).before(duel, turn(12))
    assert loss_of("nonsaturating").d(duel).isfinite()
    assert isinstance(duel.real_target, Tensor)
    assert duel.real_target.shape == (4,)


@pytest.mark.parametrize("name", ["label_smoothing", "label_flip"])
def test_the_discriminators_loss_changes_and_the_generators_does_not(name: str, toy: Callable[..., Any]) -> None:
    def terms(*overrides: str) -> dict[str, Tensor]:
        made = toy("mlp", "toy_points", "batch_size=64", "optimizer.lr=0", *overrides)
        made.trainer.advance()
        found: dict[str, Tensor] = made.trainer.terms
        return found

    plain, changed = terms(), terms(f"regularizer={name}")
    assert torch.equal(plain["generator/loss"], changed["generator/loss"])
    assert not torch.equal(plain["discriminator/loss"], changed["discriminator/loss"])


@pytest.mark.parametrize("name", ["label_smoothing", "label_flip"])
def test_losses_without_targets_are_refused_with_a_loss_that_has_them(name: str) -> None:
    for loss in registry.names("loss"):
        if not registry.lookup("loss", loss).__module__.startswith("ganrun."):
            continue
        found = traits.conflicts({f"regularizer={name}": make(name), f"loss={loss}": loss_of(loss)})
        ours = [rule.override.split()[0] for typed, rule in found if typed == f"regularizer={name}"]
        assert ours == ([] if "loss.reads_targets" in loss_of(loss).traits else ["loss=lsgan"]), loss
