"""Later remedies against closed forms: LeCam, top-k, latent consistency, the Wasserstein divergence, FreezeD and BEGAN."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from conftest import compose_config, make_trainer, toy_config
from test_losses import P, Q, fit, of_table, scores
from test_regularizers import draw, make, played, turn
from torch import Tensor, nn
from torch.nn.functional import softplus

from ganrun.disk import checkpoint
from ganrun.ground import registry
from ganrun.ground.duel import Duel
from ganrun.ground.errors import BadInput
from ganrun.ground.spec import Batch, DiscriminatorOutput, Latent
from ganrun.ground.turn import Stream, Turn

# LeCam


class Itself(nn.Module):
    """A discriminator to which every input is its own score."""

    def forward(self, x: Tensor) -> DiscriminatorOutput:
        return DiscriminatorOutput(x)


def anchored(real: float, fake: float, **options: Any) -> Any:
    """The regularizer after an update with these mean scores, which it keeps, and its discriminator."""
    regularizer: Any = make("lecam", decay=0.0, **options)
    judge = Itself()
    regularizer.prepare({"discriminator": judge})
    update(regularizer, judge, torch.tensor([real]), torch.tensor([fake]))
    return regularizer, judge


def update(regularizer: Any, judge: nn.Module, real: Tensor, fake: Tensor) -> None:
    duel = Duel(judge, (real,), (fake,))
    regularizer.term(duel, {"discriminator": judge}, turn(len(real)))
    regularizer.after_step({"discriminator": judge}, duel, turn(len(real)))


def test_lecam_costs_the_squared_distance_of_each_side_from_the_others_mean(float64: None) -> None:
    real, fake = scores(1.0, 3.0, -2.0), scores(0.5, 4.0)
    for one_sided, above, below in ((False, [2.0, 4.0, -1.0], [1.5, -2.0]), (True, [2.0, 4.0, 0.0], [1.5, 0.0])):
        regularizer, judge = anchored(2.0, -1.0, one_sided=one_sided)
        term = regularizer.term(Duel(judge, (real,), (fake,)), {}, turn(3))
        assert term.item() == pytest.approx(sum(x * x for x in above) / 3 + sum(x * x for x in below) / 2)
        up, down = torch.autograd.grad(term, (real, fake))
        torch.testing.assert_close(up, 2 * torch.tensor(above) / 3)  # the means are constants
        torch.testing.assert_close(down, -2 * torch.tensor(below) / 2)


def test_with_the_wasserstein_critic_it_leaves_the_generator_a_lecam_divergence(float64: None) -> None:
    weight, a = 0.4, 0.25
    regularizer, _ = anchored(a, -a, weight=weight)
    loss: Any = registry.build("loss", {"name": "wasserstein"})

    def objective(table: Tensor) -> Tensor:
        duel = of_table(table)
        regularizer._owners["discriminator"] = duel.discriminator
        found: Tensor = loss.d(duel) + weight * regularizer.term(duel, {}, turn(10))
        return found

    best = fit(objective)
    torch.testing.assert_close(best, (P - Q) * (1 - 2 * weight * a) / (2 * weight * (P + Q)))
    divergence = float(((P - Q).square() / (P + Q)).sum())
    assert -float(loss.d(of_table(best))) == pytest.approx((1 / (2 * weight) - a) * divergence)


def test_running_means_are_those_of_the_scores_so_far_and_only_updates_move_them(float64: None) -> None:
    regularizer: Any = make("lecam", decay=0.9)
    judge = Itself()
    regularizer.prepare({"discriminator": judge})
    means = torch.tensor([[3.0, -1.0], [5.0, 0.0], [-2.0, 2.0]])
    for t in range(1, 4):
        update(regularizer, judge, means[t - 1, :1], means[t - 1, 1:])
        shares = 0.9 ** torch.arange(t - 1, -1, -1.0)
        wanted = (shares[:, None] * means[:t]).sum(0) / shares.sum()
        torch.testing.assert_close(torch.stack(regularizer.anchors("discriminator")), wanted)
    before = copy.deepcopy(regularizer.state_dict())
    regularizer.term(of_scores_before(judge, 7.0, 7.0), {}, turn(1))
    assert all(torch.equal(entry, before[name]) for name, entry in regularizer.state_dict().items())


def of_scores_before(judge: nn.Module, real: float, fake: float) -> Duel:
    return Duel(judge, (torch.tensor([real]),), (torch.tensor([fake]),))


def test_nothing_is_asked_before_there_is_a_mean(float64: None) -> None:
    regularizer: Any = make("lecam", start=2)
    judge = Itself()
    regularizer.prepare({"discriminator": judge})
    for wanted in (0.0, 0.0, 4.0 + 4.0):
        assert float(regularizer.term(of_scores_before(judge, 1.0, -1.0), {}, turn(1))) == pytest.approx(wanted)
        update(regularizer, judge, torch.tensor([1.0]), torch.tensor([-1.0]))


def test_every_discriminator_has_means_of_its_own_and_micro_batches_count_together(toy: Any, float64: None) -> None:
    options = ("regularizer=lecam", "game=mdgan", "optimizer.lr=0.01")
    found = []
    for accumulate in (1, 2):
        made = toy("mlp", "toy_points", *options, f"accumulate={accumulate}", "model.generator.norm=none")
        for _ in range(3):
            made.trainer.advance()
        found.append(made.parts.regularizers["lecam"])
    for name, entry in found[0].state_dict().items():
        torch.testing.assert_close(entry, found[1].state_dict()[name])
    assert int(found[0].diffusion_discriminator_count) == 3
    assert not torch.equal(found[0].diffusion_discriminator_means, found[0].discriminator_means)


def test_the_scores_of_an_imagined_update_are_not_taken_in(toy: Any) -> None:
    made = toy("mlp", "toy_points", "regularizer=lecam", "regularizer.lecam.decay=0", "game=unrolled", "game.steps=2")
    seen = []
    original = made.parts.game.compute_terms

    def compute_terms(duel: Duel, *where: Any, **said: Any) -> Any:
        terms = original(duel, *where, **said)
        if where[1] == "discriminator" and not said.get("virtual"):
            seen.append(float(duel.real_output.score.detach().mean()))
        return terms

    made.parts.game.compute_terms = compute_terms
    for _ in range(3):
        made.trainer.advance()
    assert float(made.parts.regularizers["lecam"].anchors("discriminator")[0]) == pytest.approx(seen[-1], rel=1e-5)


# top-k


def generators_turn(count: int, batch_index: int = 0, length: int = 100) -> Turn:
    streams = {"data": Stream(length, Batch)}
    return Turn(0, 0, "generator", 0, count, Latent(2), torch.device("cpu"), streams, batch_index=batch_index)


def chosen(duel: Duel, share: float, turn: Turn) -> Duel:
    regularizer = make("top_k", gamma=0.0, share=share)
    duel.finalize_inputs()
    regularizer.judged(duel, turn)
    return duel


def test_only_the_best_fakes_lead_the_generator(float64: None) -> None:
    loss: Any = registry.build("loss", {"name": "wasserstein"})
    fake = scores(0.3, -2.0, 1.5, 0.1, -0.2)
    duel = chosen(Duel(DiscriminatorOutput, (scores(9.0, 9.0, 9.0),), (fake,)), 0.4, generators_turn(5, batch_index=20))
    value = loss.g(duel)
    assert value.item() == pytest.approx(-(0.3 + 1.5) / 2)
    torch.testing.assert_close(torch.autograd.grad(value, fake)[0], -torch.tensor([0.5, 0.0, 0.5, 0.0, 0.0]))
    torch.testing.assert_close(duel.whole_fake_output.score, fake)
    assert len(duel.real_output.score) == 3  # as they met no fake of their own, all stay


def test_a_real_sample_keeps_the_fake_that_it_met_and_both_their_labels(float64: None) -> None:
    loss: Any = registry.build("loss", {"name": "rpgan"})
    real, fake, labels = scores(1.0, 2.0, 3.0, 4.0), scores(0.1, 0.9, -0.5, 0.3), torch.tensor([0, 1, 2, 3])
    judge = lambda x, condition: DiscriminatorOutput(x + 0 * condition)  # noqa: E731
    duel = Duel(judge, (real,), (fake,), real_condition=labels, fake_condition=labels)
    chosen(duel, 0.5, generators_turn(4, batch_index=25))
    assert loss.g(duel).item() == pytest.approx(
        float((softplus(torch.tensor(2.0 - 0.9)) + softplus(torch.tensor(4.0 - 0.3))) / 2)
    )
    assert duel.real_condition is not None
    assert duel.fake_condition is not None
    assert duel.real_condition.tolist() == duel.fake_condition.tolist() == [1, 3]


def test_packs_and_maps_of_patches_are_chosen_whole(float64: None) -> None:
    maps = torch.tensor([[5.0, -9.0], [1.0, 1.0]])[:, None, None, :]
    duel = chosen(Duel(DiscriminatorOutput, (maps,), (maps,)), 0.5, generators_turn(2, batch_index=50))
    torch.testing.assert_close(duel.fake_output.score, maps[1:])
    rows = torch.arange(8.0).view(4, 2)
    packs = Duel(lambda x: DiscriminatorOutput(-x.sum(1)), (rows,), (rows,), pack=2)
    chosen(packs, 0.5, generators_turn(4, batch_index=25))
    torch.testing.assert_close(packs.fake_output.score, torch.tensor([-6.0]))


def test_the_kept_part_falls_by_gamma_every_epoch_down_to_its_share() -> None:
    regularizer: Any = make("top_k", gamma=0.8, share=0.5)
    kept = [
        regularizer.kept(generators_turn(10, batch_index=batch_index, length=40)) for batch_index in (0, 3, 4, 8, 12, 16, 400)
    ]
    assert kept == pytest.approx([1.0, 1.0, 0.8, 0.64, 0.512, 0.5, 0.5])
    duel = Duel(DiscriminatorOutput, (torch.zeros(5),), (torch.arange(5.0),))
    regularizer.judged(duel, generators_turn(5, batch_index=8, length=40))
    assert duel.fake_output.score.tolist() == [1.0, 2.0, 3.0, 4.0]  # 5 * 0.8


def test_the_discriminator_learns_from_all_fakes_and_all_kept_is_no_top_k(toy: Any) -> None:
    options = ("regularizer=top_k", "regularizer.top_k.gamma=0", "model.generator.norm=none")
    plain, all_kept, half = (
        toy("mlp", "toy_points", *more)
        for more in ((options[2],), (*options, "regularizer.top_k.share=1"), (*options, "regularizer.top_k.share=0.5"))
    )
    losses = []
    for made in (plain, all_kept, half):
        made.trainer.step = 6  # the second epoch
        made.trainer.advance()
        losses.append(made.trainer.terms["discriminator/loss"])
    assert torch.equal(losses[0], losses[2])
    state = [checkpoint.digest({"players": made.trainer.state_dict()["players/generator"]}) for made in (plain, all_kept, half)]
    assert state[0] == state[1] != state[2]


def test_generators_that_are_kept_unlike_are_compared_whole(toy: Any) -> None:
    found = []
    for options in ((), ("regularizer=top_k", "regularizer.top_k.gamma=0", "regularizer.top_k.share=0.3")):
        made = toy("mlp", "toy_points", "game=madgan", "game.variant=similarity", *options)
        made.trainer.step = 100
        made.trainer.advance()
        found.append(made.trainer.terms["generator/similarity"])
    assert torch.equal(*found)


# latent consistency


def remade(sigma: float = 0.1, **options: Any) -> tuple[Any, Duel, Tensor, Tensor, Turn]:
    """The regularizer, and a duel whose fakes are (2 z, z^2) before the critic 3 a - b."""
    z, w = draw(6, 1), torch.tensor([3.0, -1.0])
    judge = Linear2(w)
    generator_loss = lambda latent: (torch.cat((2 * latent, latent.square()), 1),)  # noqa: E731
    duel = Duel(judge, (draw(6, 2),), generator_loss(z))
    duel.remake = lambda move: generator_loss(move(z))
    regularizer: Any = make("zcr", sigma=sigma, **options)
    regularizer.before(duel, turn(6))
    return regularizer, duel, z, z + sigma * turn(6).noise("zcr", z), turn(6)


class Linear2(nn.Module):
    def __init__(self, w: Tensor) -> None:
        super().__init__()
        self.w = nn.Parameter(w)

    def forward(self, x: Tensor) -> DiscriminatorOutput:
        return DiscriminatorOutput(x @ self.w)


def test_a_latent_step_costs_the_critic_its_change_and_rewards_the_samples(float64: None) -> None:
    regularizer, duel, z, near, at = remade(discriminator=5.0, generator=0.5)
    change = 3 * 2 * (near - z) - (near.square() - z.square())
    cost = regularizer.term(duel, {"discriminator": duel.discriminator}, at)
    torch.testing.assert_close(cost, 5 * change.square().mean())
    reward = regularizer.term(duel, {"generator": nn.Identity()}, at)
    moved = torch.cat((2 * (near - z), near.square() - z.square()), 1)
    torch.testing.assert_close(reward, -0.5 * moved.square().mean())
    assert float((near - z).std()) == pytest.approx(0.1, rel=0.6)


def test_latent_consistency_is_of_fakes_as_they_were_made_and_of_whole_packs(float64: None) -> None:
    regularizer, duel, z, near, at = remade()
    wanted = regularizer.term(duel, {"discriminator": duel.discriminator}, at)
    noisy_regularizer, noisy, *_ = remade()
    noisy.fake = (noisy.fake[0] + 7,)
    torch.testing.assert_close(noisy_regularizer.term(noisy, {"discriminator": noisy.discriminator}, at), wanted)
    pairs_regularizer, pairs, *_ = remade()
    pairs.pack, pairs.discriminator = 2, Linear2(torch.tensor([3.0, -1.0, 3.0, -1.0]))
    pairs.finalize_inputs()
    change = (3 * 2 * (near - z) - (near.square() - z.square())).view(3, 2).sum(1)
    term = pairs_regularizer.term(pairs, {"discriminator": pairs.discriminator}, at)
    torch.testing.assert_close(term, 5 * change.square().mean())


@pytest.mark.parametrize("game", ["adversarial", "veegan", "madgan", "unrolled", "mrgan"])
def test_games_make_the_fakes_again_from_the_latents_they_came_from(game: str, toy: Any) -> None:
    made = toy("mlp", "toy_points", "regularizer=zcr", f"game={game}", "model.generator.norm=none", "condition=concat")
    duels = []
    original = made.parts.game.compute_terms

    def compute_terms(duel: Duel, *where: Any, **said: Any) -> Any:
        if duel.remake is not None:
            with torch.no_grad():
                again, moved = duel.remake(lambda z: z), duel.remake(lambda z: z + 1)
            duels.append(all(torch.allclose(one, other) for one, other in zip(duel.fake, again, strict=True)))
            assert not torch.allclose(duel.fake[0], moved[0])
        return original(duel, *where, **said)

    made.parts.game.compute_terms = compute_terms
    made.trainer.advance()
    assert len(duels) >= 2
    assert all(duels)
    assert {"discriminator/zcr", "generator/zcr"} <= made.trainer.terms.keys()


# the Wasserstein divergence


def test_the_divergence_costs_a_power_of_the_slope(float64: None) -> None:
    w = draw(3).requires_grad_()
    duel = lambda: Duel(lambda x: DiscriminatorOutput(x @ w), (draw(5, 3),), (draw(5, 3, seed=1),))  # noqa: E731
    for at in ("between", "ends"):
        term = played(make("wgan_div", at=at), duel())
        torch.testing.assert_close(term, 2 * w.norm() ** 6)
        torch.testing.assert_close(torch.autograd.grad(term, w)[0], 2 * 6 * w.detach().norm() ** 4 * w.detach())
    real, fake = draw(400, 2), draw(400, 2, seed=1) + 3
    bowl = lambda x: DiscriminatorOutput(x.square().sum(1) / 2)  # noqa: E731  # a slope of ||x||
    ends = played(make("wgan_div", power=2.0, weight=1.0, at="ends"), Duel(bowl, (real,), (fake,)))
    torch.testing.assert_close(ends, (real.square().sum(1).mean() + fake.square().sum(1).mean()) / 2)
    between = played(make("wgan_div", power=2.0, weight=1.0), Duel(bowl, (real,), (fake,)))
    # a and 1 - a have the mean square 1/3 and the mean product 1/6
    wanted = (real.square().sum(1) / 3 + fake.square().sum(1) / 3 + (real * fake).sum(1) / 3).mean()
    assert float(between.detach()) == pytest.approx(float(wanted), rel=0.1)


def test_a_linear_critic_before_two_masses_has_the_slope_of_the_paper_formula(float64: None) -> None:
    weight, power, distance = 2.0, 6.0, 3.0
    loss: Any = registry.build("loss", {"name": "wasserstein"})
    a = torch.tensor(0.5, requires_grad=True)
    optimizer = torch.optim.LBFGS([a], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        duel = Duel(lambda x: DiscriminatorOutput(a * x.squeeze(1)), (torch.zeros(4, 1),), (torch.full((4, 1), distance),))
        total: Tensor = loss.d(duel) + played(make("wgan_div", weight=weight, power=power), duel)
        total.backward()
        return total.detach()

    optimizer.step(closure)
    assert float(a.detach()) == pytest.approx(-((distance / (weight * power)) ** (1 / (power - 1))), rel=1e-5)


# frozen layers


@pytest.mark.parametrize(
    "others", ["", ",spectral_norm", ",spectral_regularization,weight_clip", ",historical_averaging,orthogonal"]
)
@pytest.mark.parametrize("model", ["mlp", "dcgan"])
def test_the_first_layers_of_the_discriminator_keep_their_bits_and_the_others_learn(model: str, others: str, toy: Any) -> None:
    options = ("optimizer=sgd", "optimizer.weight_decay=0.1", "optimizer.lr=0.1", "model.discriminator.norm=layer")
    data = "toy_points" if model == "mlp" else "toy_images"
    made = toy(model, data, f"regularizer=[freeze_d{others}]", *options)
    twin = toy(model, data, f"regularizer=[{others[1:]}]" if others else "regularizer=none", *options)
    player = made.parts.game.players["discriminator"]
    before = {name: entry.clone() for name, entry in player.state_dict().items()}
    assert before.keys() == twin.parts.game.players["discriminator"].state_dict().keys()
    for _ in range(2):
        made.trainer.advance()
    after = player.state_dict()
    learned = {name for name, _ in player.named_parameters()}
    kept = [name for name in before if name not in learned and name.rsplit(".", 1)[1] not in ("u", "v", "compensation")]
    assert len([name for name in kept if before[name].ndim > 1]) == 2
    assert all(torch.equal(before[name], after[name]) for name in kept)
    assert all(not torch.equal(before[name], after[name]) for name in learned)
    assert any(name.endswith("bias") for name in learned)


def test_with_one_gan_a_class_the_layers_of_each_are_frozen(toy: Any) -> None:
    made = toy("mlp", "toy_points", "regularizer=freeze_d", "condition=per_class", "batch_size=6")
    player = made.parts.game.players["discriminator"]
    assert sorted(name.split(".")[1] for name, _ in player.named_parameters()) == ["0"] * 2 + ["1"] * 2 + ["2"] * 2


def test_all_layers_cannot_be_frozen_and_frozen_random_ones_are_said(toy: Any) -> None:
    with pytest.raises(BadInput, match="layers=3: the discriminator has 3"):
        toy("mlp", "toy_points", "regularizer=freeze_d", "regularizer.freeze_d.layers=3")
    made = toy("mlp", "toy_points", "regularizer=freeze_d")
    assert any("random initial weights" in line for line in made.parts.warnings)
    made = toy("mlp", "toy_points", "regularizer=freeze_d", "init_from=somewhere")
    assert not any("random initial weights" in line for line in made.parts.warnings)


# the boundary equilibrium


def test_the_boundary_equilibrium_weighs_the_fakes_error_by_k_and_moves_k_to_the_balance(float64: None) -> None:
    loss: Any = registry.build("loss", {"name": "began", "gamma": 0.5, "lambda_k": 0.1})
    real, fake = scores(-2.0, -4.0), scores(-0.5, -0.7)
    duel = Duel(DiscriminatorOutput, (real,), (fake,))
    k = 0.0
    for _ in range(4):
        torch.testing.assert_close(loss.d(duel), torch.tensor(3.0 - k * 0.6))
        torch.testing.assert_close(loss.g(duel), torch.tensor(0.6))
        loss.after_step(duel)
        k = min(1.0, k + 0.1 * (0.5 * 3.0 - 0.6))
        assert float(loss.readings()["k"]) == pytest.approx(k)
        assert float(loss.readings()["convergence"]) == pytest.approx(3.0 + 0.9)
    for _ in range(20):
        loss.after_step(Duel(DiscriminatorOutput, (real,), (torch.tensor([-100.0]),)))
    assert float(loss.k) == 0
    up, down = torch.autograd.grad(loss.d(duel), (real, fake))
    torch.testing.assert_close(up, torch.tensor([-0.5, -0.5]))
    assert not down.any()


def test_a_run_moves_k_once_for_each_real_update_of_the_discriminator(toy: Any) -> None:
    config = toy_config("mlp", "toy_points", "loss=began", "loss.lambda_k=0.01", "n_critic=2")
    model = compose_config("model=autoencoder")["model"]
    made = make_trainer({**config, "model": {**model, "discriminator": {**model["discriminator"], "code": 1}}})
    calls = []
    original = made.parts.loss.after_step
    made.parts.loss.after_step = lambda duel: (calls.append(made.trainer.step), original(duel))[1]  # type: ignore[method-assign, func-returns-value]
    for _ in range(2):
        made.trainer.advance()
    assert calls == [0, 0, 1, 1]
    assert float(made.parts.loss.readings()["k"]) > 0
