"""Instance noise against closed forms, and the pool of old fakes against what it must conserve."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from ganrun.disk import checkpoint
from ganrun.ground import registry
from ganrun.ground.duel import Duel
from ganrun.ground.errors import BadInput
from ganrun.ground.replay_pool import Pool
from ganrun.ground.spec import DiscriminatorOutput, Latent, Port
from ganrun.ground.turn import Turn
from ganrun.regularizers.base import Regularizer


def make(name: str, **options: Any) -> Any:
    return registry.build("regularizer", {"name": name, **options})


def loss_of(name: str) -> Any:
    return registry.build("loss", {"name": name})


def turn(count: int, step: int = 0, micro_batch: tuple[int, int] = (0, 1), phase: str = "discriminator") -> Turn:
    return Turn(0, step, phase, 0, count, Latent(2), torch.device("cpu"), micro_batch=micro_batch)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def same_bits(one: Any, other: Any, parts: tuple[str, ...] = ("players", "optimizers", "averages")) -> bool:
    def kept(made: Any) -> dict[str, Any]:
        return {path: value for path, value in made.trainer.state_dict().items() if path.split("/")[0] in parts}

    return checkpoint.digest(kept(one)) == checkpoint.digest(kept(other))


# instance noise


def test_real_and_fake_get_independent_gaussian_noise_of_the_asked_size() -> None:
    noise, found = make("instance_noise", sigma=0.3), []
    for step, phase in ((0, "discriminator"), (0, "generator"), (1, "discriminator")):
        duel = Duel(DiscriminatorOutput, (draw(2000, 5),), (draw(2000, 5, seed=1),))
        noise.before(duel, turn(2000, step, phase=phase))
        found += [(duel.real[0] - draw(2000, 5)).flatten(), (duel.fake[0] - draw(2000, 5, seed=1)).flatten()]
    for values in found:
        counts = torch.histc(Normal(0.0, 0.3).cdf(values.sort().values), bins=10, min=0, max=1)
        assert float((counts - 1000).square().sum() / 1000) < 27.9  # chi-square with 9 degrees of freedom at 0.001
    assert float((torch.corrcoef(torch.stack(found)) - torch.eye(6)).abs().max()) < 0.05


def test_two_point_masses_have_the_divergence_of_two_gaussians() -> None:
    sigma, distance = 0.5, 1.0

    def best(x: Tensor) -> DiscriminatorOutput:
        x = x.squeeze(1)
        return DiscriminatorOutput(Normal(0.0, sigma).log_prob(x) - Normal(distance, sigma).log_prob(x))

    count = 200_000
    duel = Duel(best, (torch.zeros(count, 1),), (torch.full((count, 1), distance),))
    make("instance_noise", sigma=sigma).before(duel, turn(count))
    found = math.log(2) - loss_of("nonsaturating").d(duel).item() / 2
    assert found == pytest.approx(0.3368308, abs=0.004)  # JS(N(0, 1), N(2, 1)) by quadrature; log 2 without noise


def test_the_dirac_gan_turns_inward_at_a_quarter_of_the_noises_variance() -> None:
    sigma, count = 0.8, 20_000
    noise, loss = make("instance_noise", sigma=sigma), loss_of("nonsaturating")

    def field(at: Tensor) -> Tensor:
        theta, psi = at

        def played(phase: str) -> Duel:
            fake = theta.expand(count, 1)
            duel = Duel(lambda x: DiscriminatorOutput(psi * x.squeeze(1)), (torch.zeros(count, 1, dtype=torch.float64),), (fake,))
            noise.before(duel, turn(count, phase=phase))
            return duel

        down = torch.autograd.grad(loss.g(played("generator")), theta, create_graph=True)[0]
        up = torch.autograd.grad(loss.d(played("discriminator")), psi, create_graph=True)[0]
        return -torch.stack((down, up))

    values = torch.linalg.eigvals(torch.autograd.functional.jacobian(field, torch.zeros(2, dtype=torch.float64)))
    wanted = complex(-(sigma**2) / 4, math.sqrt(1 / 4 - sigma**4 / 16))
    assert abs(complex(values[values.imag.argmax()]) - wanted) < 0.01


def test_noise_fades_linearly_to_none() -> None:
    noise = make("instance_noise", sigma=0.4, decay=10)
    real = torch.zeros(4000, 2, dtype=torch.float64)
    for step, wanted in ((0, 0.4), (5, 0.2), (9, 0.04), (10, 0.0), (1000, 0.0)):
        duel = Duel(DiscriminatorOutput, (real,), (real,))
        noise.before(duel, turn(4000, step))
        assert float(duel.real[0].std()) == pytest.approx(wanted, rel=0.05)
        assert float(duel.fake[0].std()) == pytest.approx(wanted, rel=0.05)
    stays = make("instance_noise", sigma=0.4)
    assert stays.sigma_at(0) == stays.sigma_at(10**6) == 0.4


def test_the_generators_gradient_passes_the_noise_and_codes_have_none() -> None:
    fake, code = draw(3, 2, seed=1).requires_grad_(), draw(3, 4)
    duel = Duel(DiscriminatorOutput, (draw(3, 2), code), (fake, code), kinds=("data", "code"))
    make("instance_noise").before(duel, turn(3, phase="generator"))
    assert duel.real[1] is code
    assert duel.fake[1] is code
    weights = draw(3, 2, seed=5)
    torch.testing.assert_close(torch.autograd.grad((duel.fake[0] * weights).sum(), fake)[0], weights)
    assert not torch.equal(duel.fake[0], fake)


@pytest.mark.parametrize("options", [("sigma=0",), ("sigma=2", "decay=1")])
def test_no_noise_is_bit_identical_to_no_technique(options: tuple[str, ...], toy: Callable[..., Any]) -> None:
    noised = toy("mlp", "toy_points", "regularizer=instance_noise", *(f"regularizer.instance_noise.{o}" for o in options))
    plain = toy("mlp", "toy_points")
    if len(options) > 1:  # past the end of the decay
        noised.trainer.step = plain.trainer.step = 1
    for _ in range(3):
        noised.trainer.advance()
        plain.trainer.advance()
    assert same_bits(noised, plain)


def test_noise_in_both_phases_changes_both_players_losses(toy: Callable[..., Any]) -> None:
    plain, noised = (toy("mlp", "toy_points", "optimizer.lr=0", *more) for more in ((), ("regularizer=instance_noise",)))
    plain.trainer.advance()
    noised.trainer.advance()
    for name in ("discriminator/loss", "generator/loss"):
        assert float(plain.trainer.terms[name]) != float(noised.trainer.terms[name])


def test_micro_batches_get_their_part_of_the_noise_of_the_batch() -> None:
    def noised(count: int, share: tuple[int, int]) -> Tensor:
        duel = Duel(DiscriminatorOutput, (torch.zeros(count, 3),), (torch.zeros(count, 3),))
        make("instance_noise").before(duel, turn(6, micro_batch=share))
        return torch.cat((duel.real[0], duel.fake[0]), 1)

    torch.testing.assert_close(torch.cat([noised(2, (index, 3)) for index in range(3)]), noised(6, (0, 1)), atol=0, rtol=0)


@pytest.mark.parametrize("option", [{"sigma": -0.1}, {"decay": -1}])
def test_senseless_noise_is_refused(option: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=f"{next(iter(option))}="):
        make("instance_noise", **option)


# the pool


def fresh(count: int, step: int) -> tuple[Tensor, Tensor]:
    """Samples that no other step makes, all numbers of a sample alike, and labels that follow from them."""
    values = torch.arange(count, dtype=torch.float32) + 100 * step + 1
    return values[:, None].expand(count, 2).clone(), (values % 7).long()


def values_of(x: Tensor) -> list[float]:
    assert torch.equal(x[:, 0], x[:, 1])
    return sorted(x[:, 0].tolist())


def pool_of(capacity: int, **options: Any) -> Pool:
    return Pool(capacity, (Port("data", (2,)),), **options)


def test_a_full_pool_and_a_batch_only_trade_places() -> None:
    pool, swapped = pool_of(12), 0
    for step in range(60):
        x, labels = fresh(4, step)
        held = values_of(pool.kept_0)
        (mixed,), mixed_labels = pool.exchange((x,), labels, turn(4, step))
        pool.store((x,), labels, turn(4, step))
        assert mixed_labels is not None
        assert torch.equal(mixed_labels, (mixed[:, 0] % 7).long())  # each with its own label
        assert torch.equal(pool.labels, (pool.kept_0[:, 0] % 7).long())
        if step >= 3:
            assert sorted(held + values_of(x)) == sorted(values_of(pool.kept_0) + values_of(mixed))
            swapped += int((mixed != x).any(1).sum())
    assert abs(swapped / (57 * 4) - 0.5) < 0.13


def test_a_pool_takes_in_everything_until_it_is_full_and_shows_only_what_it_holds() -> None:
    pool, seen = pool_of(10), 0
    for step in range(2):
        x, labels = fresh(4, step)
        (mixed,), _ = pool.exchange((x,), labels, turn(4, step))
        known = set(values_of(x)) | set(pool.kept_0[: int(pool.filled), 0].tolist())
        assert set(values_of(mixed)) <= known
        seen += int((mixed != x).any(1).sum())
        if step == 0:
            assert torch.equal(mixed, x)  # it held nothing
        pool.store((x,), labels, turn(4, step))
    assert seen > 0
    assert values_of(pool.kept_0[:8]) == values_of(torch.cat((fresh(4, 0)[0], fresh(4, 1)[0])))
    pool.store((fresh(4, 2)[0],), None, turn(4, 2))
    assert int(pool.filled) == 10
    assert set(fresh(4, 2)[0][:2, 0].tolist()) <= set(pool.kept_0[:, 0].tolist())  # as many as there was room for


def test_a_pool_that_waits_shows_nothing_before_it_is_full() -> None:
    pool, shown = pool_of(5, least=5, chance=1.0), []
    for step in range(7):
        x, labels = fresh(1, step)
        (mixed,), _ = pool.exchange((x,), labels, turn(1, step))
        pool.store((x,), labels, turn(1, step))
        shown.append(bool((mixed != x).any()))
    assert shown == [False] * 5 + [True] * 2


def test_only_storing_changes_a_pool_and_the_choice_does_not_depend_on_when() -> None:
    pool = pool_of(8)
    for step in range(3):
        pool.store((fresh(4, step)[0],), None, turn(4, step))
    before = {name: entry.clone() for name, entry in pool.state_dict().items()}
    x, labels = fresh(4, 9)
    first, second = (pool.exchange((x,), labels, turn(4, 9)) for _ in range(2))
    torch.testing.assert_close(first, second, atol=0, rtol=0)
    assert all(torch.equal(before[name], entry) for name, entry in pool.state_dict().items())


def test_the_choice_of_a_batch_is_that_of_its_micro_batches() -> None:
    pool = pool_of(9)
    pool.store((fresh(9, 0)[0],), None, turn(9, 0))
    x, labels = fresh(6, 1)
    whole = pool.exchange((x,), labels, turn(6, 1))
    parts = [pool.exchange((x[2 * i : 2 * i + 2],), labels[2 * i : 2 * i + 2], turn(6, 1, micro_batch=(i, 3))) for i in range(3)]
    torch.testing.assert_close(torch.cat([part[0][0] for part in parts]), whole[0][0], atol=0, rtol=0)
    assert whole[1] is not None
    torch.testing.assert_close(torch.cat([part[1] for part in parts if part[1] is not None]), whole[1], atol=0, rtol=0)


def test_every_slot_is_shown_equally_often() -> None:
    pool, counts = pool_of(10, chance=1.0), torch.zeros(10)
    pool.store((fresh(10, 0)[0],), None, turn(10, 0))
    for step in range(1, 501):
        (mixed,), _ = pool.exchange((fresh(2, step)[0],), None, turn(2, step))
        counts += torch.bincount(mixed[:, 0].long() - 1, minlength=10)
        assert mixed[0, 0] != mixed[1, 0]  # never the same slot twice while there are others
    assert float((counts - 100).square().sum() / 100) < 27.9  # chi-square with 9 degrees of freedom at 0.001


def test_a_batch_larger_than_the_pool_is_no_trouble() -> None:
    pool = pool_of(3, chance=1.0)
    for step in range(3):
        x, labels = fresh(8, step)
        (mixed,), _ = pool.exchange((x,), labels, turn(8, step))
        pool.store((x,), labels, turn(8, step))
        assert len(set(pool.kept_0[:, 0].tolist())) == 3
        if step:
            assert set(values_of(mixed)) <= set(values_of(fresh(8, step - 1)[0]))
        assert torch.equal(pool.labels, (pool.kept_0[:, 0] % 7).long())


def test_all_inputs_of_a_sample_stay_together() -> None:
    pool = Pool(6, (Port("data", (1, 2, 2)), Port("code", (3,))))
    moved = 0
    for step in range(8):
        x = fresh(3, step)[0][:, 0]
        inputs = (x.view(-1, 1, 1, 1).expand(3, 1, 2, 2), x.view(-1, 1).expand(3, 3))
        (image, code), labels = pool.exchange(inputs, None, turn(3, step))
        pool.store(inputs, None, turn(3, step))
        assert labels is None
        assert torch.equal(image.flatten(1)[:, :3], code)
        moved += int((code[:, 0] != x).sum())
    assert moved > 3


@pytest.mark.parametrize("options", [{"capacity": 0}, {"capacity": 4, "least": 5}, {"capacity": 4, "least": 0}])
def test_a_senseless_pool_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        pool_of(**options)


# replay


def watched(made: Any, rows: list[tuple[Tensor, Tensor]]) -> None:
    """Note the fakes of each discriminator phase as the generator made them and as the discriminator judged them."""
    game, replay = made.trainer.game, made.trainer.game.regularizers["replay"]
    before, d = replay.before, game.loss.d

    def noting(duel: Duel, at: Turn) -> None:
        rows.append((duel.fake[0].clone(), Tensor()))
        before(duel, at)

    def judged(duel: Duel) -> Any:
        rows[-1] = (rows[-1][0], duel.fake[0].clone())
        return d(duel)

    replay.before, game.loss.d = noting, judged


def test_the_discriminator_meets_fakes_of_earlier_steps_and_no_others(toy: Callable[..., Any]) -> None:
    made, rows, known = (
        toy("mlp", "toy_points", "batch_size=8", "regularizer=replay", "regularizer.replay.capacity=16"),
        [],
        set(),
    )
    watched(made, rows)
    for _ in range(12):
        made.trainer.advance()
    old = 0
    for step, (made_now, judged) in enumerate(rows):
        now = {tuple(row) for row in made_now.tolist()}
        shown = {tuple(row) for row in judged.tolist()}
        assert len(shown) == 8
        assert shown <= now | known
        assert (shown <= now) if step == 0 else True
        old += len(shown - now)
        known |= now
    assert abs(old / (11 * 8) - 0.5) < 0.22


@pytest.mark.parametrize(("share", "wanted"), [(0.0, 0.0), (1.0, 1.0)])
def test_the_share_of_old_fakes_is_as_asked(share: float, wanted: float, toy: Callable[..., Any]) -> None:
    made, rows = toy("mlp", "toy_points", "regularizer=replay", f"regularizer.replay.share={share}"), []
    watched(made, rows)
    for _ in range(4):
        made.trainer.advance()
    for made_now, judged in rows[1:]:
        assert float((made_now != judged).any(1).float().mean()) == wanted


def test_no_old_fakes_is_bit_identical_to_no_technique_and_the_generator_never_meets_one(toy: Callable[..., Any]) -> None:
    plain, none = toy("mlp", "toy_points"), toy("mlp", "toy_points", "regularizer=replay", "regularizer.replay.share=0.0")
    still, full = (toy("mlp", "toy_points", "optimizer.lr=0", *more) for more in ((), ("regularizer=replay",)))
    for _ in range(3):
        for made in (plain, none, still, full):
            made.trainer.advance()
    assert same_bits(plain, none)
    assert torch.equal(still.trainer.terms["generator/loss"], full.trainer.terms["generator/loss"])
    assert not torch.equal(still.trainer.terms["discriminator/loss"], full.trainer.terms["discriminator/loss"])


@pytest.mark.parametrize("condition", ["none", "concat"])
def test_a_run_with_old_fakes_is_resumed_exactly(condition: str, toy: Callable[..., Any]) -> None:
    options = ("regularizer=replay", "regularizer.replay.capacity=6", f"game.condition={condition}")
    first, second = toy("mlp", "toy_points", *options), toy("mlp", "toy_points", *options)
    for _ in range(3):
        first.trainer.advance()
    buffer = io.BytesIO()
    torch.save(first.trainer.state_dict(), buffer)
    buffer.seek(0)
    second.trainer.load_state_dict(torch.load(buffer, weights_only=True))
    for made in (first, second):
        made.trainer.advance()
    assert checkpoint.digest(first.trainer.state_dict()) == checkpoint.digest(second.trainer.state_dict())
    labels = first.trainer.game.regularizers["replay"].pool.labels
    assert bool(labels.any()) == (condition == "concat")


def test_an_old_fake_comes_with_its_own_label() -> None:
    replay, old = make("replay", capacity=6), 0
    replay.allocate((Port("data", (2,)),))
    for step in range(8):
        x, labels = fresh(4, step)
        duel = Duel(DiscriminatorOutput, (x,), (x,), real_condition=labels, fake_condition=labels)
        replay.before(duel, turn(4, step))
        assert duel.fake_condition is not None
        assert torch.equal(duel.fake_condition, (duel.fake[0][:, 0] % 7).long())
        assert duel.real_condition is labels
        old += int((duel.fake_condition != labels).sum())
        replay.after_step({}, duel, turn(4, step))
    assert old > 5


def test_the_pool_is_the_same_whatever_the_micro_batches(toy: Callable[..., Any], float64: None) -> None:
    options = ("regularizer=replay", "regularizer.replay.capacity=10", "optimizer.lr=0")
    norms = ("model.generator.norm=none", "model.discriminator.norm=none")
    pools = []
    for accumulate in (1, 2, 4):
        made = toy("mlp", "toy_points", f"accumulate={accumulate}", *options, *norms)
        for _ in range(5):
            made.trainer.advance()
        pools.append(made.trainer.game.regularizers["replay"].pool.state_dict())
    for other in pools[1:]:
        torch.testing.assert_close(other, pools[0])
    assert int(pools[0]["filled"]) == 10
    assert len(pools[0]["kept_0"].unique(dim=0)) == 10


def test_only_real_updates_of_the_main_duel_fill_the_pool() -> None:
    replay = make("replay", capacity=4, share=1.0)
    replay.allocate((Port("data", (2,)),))

    def played(step: int, main: bool = True, phase: str = "discriminator") -> Duel:
        x, _ = fresh(2, step)
        duel = Duel(DiscriminatorOutput, (x,), (x,), main=main)
        replay.before(duel, turn(2, step, phase=phase))
        return duel

    duel = played(0)
    assert int(replay.pool.filled) == 0  # nothing changes before the update
    replay.after_step({}, duel, turn(2, 0))
    assert values_of(replay.pool.kept_0[:2]) == [1.0, 2.0]
    played(1, phase="imagined")  # an update that never happens
    duel = played(2)
    other = played(5, main=False)
    assert torch.equal(other.fake[0], fresh(2, 5)[0])
    replay.after_step({}, duel, turn(2, 2))
    assert values_of(replay.pool.kept_0) == [1.0, 2.0, 201.0, 202.0]
    replay.after_step({}, duel, turn(2, 2))
    assert values_of(replay.pool.kept_0) == [1.0, 2.0, 201.0, 202.0]


@pytest.mark.skipif(not hasattr(Regularizer, "rank"), reason="hooks run by name alone")
def test_the_pool_holds_fakes_without_noise(toy: Callable[..., Any]) -> None:
    made, rows = toy("mlp", "toy_points", "regularizer=[instance_noise,replay]", "regularizer.replay.capacity=16"), []
    watched(made, rows)
    generator, made_by = made.trainer.game.players["generator"], []
    generator.register_forward_hook(lambda module, inputs, output: made_by.append(output.detach().clone()))
    for _ in range(2):
        made.trainer.advance()
    for (found, judged), wanted in zip(rows, made_by[::2], strict=True):
        assert torch.equal(found, wanted)
        assert not torch.isin(judged, wanted).any()  # all of them noised afterwards, old ones too


@pytest.mark.parametrize("option", [{"share": -0.1}, {"share": 1.1}, {"capacity": 0}])
def test_senseless_replay_is_refused(option: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=f"{next(iter(option))}="):
        make("replay", **option)


def test_the_pool_never_looks_at_its_numbers_so_no_step_waits_for_the_device() -> None:
    pool = pool_of(4).to("meta")  # has shapes and no numbers: looking at one raises
    x, labels = (entry.to("meta") for entry in fresh(3, 0))
    (mixed,), mixed_labels = pool.exchange((x,), labels, turn(3))
    pool.store((x,), labels, turn(3))
    assert mixed.shape == (3, 2)
    assert mixed_labels is not None
