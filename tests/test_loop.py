"""What the loop promises: untouched players, exact resume, accumulation, averages, rates, and an alarm that waits for nothing."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from conftest import one_in
from torch import Tensor, nn

from ganrun.disk import checkpoint
from ganrun.engine import assemble, sampling
from ganrun.engine.ema import EMA
from ganrun.engine.loop import Trainer
from ganrun.engine.nan_guard import NaNGuard, demand_finite
from ganrun.games.base import Phase
from ganrun.ground import rng
from ganrun.ground.duel import Duel
from ganrun.ground.errors import BadInput, Diverged, NoCheckpoint
from ganrun.ground.runtime import Runtime
from ganrun.ground.turn import Turn

STACK = ("regularizer=[spectral_norm,r1]", "regularizer.r1.every=2", "model.discriminator.norm=none")


def digest(trainer: Trainer) -> str:
    return checkpoint.digest(trainer.state_dict())


def taken(trainer: Trainer) -> dict[str, Any]:
    """The state as a checkpoint holds it: a copy."""
    return copy.deepcopy(trainer.state_dict())


def play(trainer: Trainer, steps: int) -> None:
    for _ in range(steps):
        trainer.advance()


def whole(player: nn.Module) -> str:
    """A digest of everything that a player holds, in the state dict or not."""
    return checkpoint.digest({**dict(player.named_parameters()), **dict(player.named_buffers())})


# a phase changes its own players only


@pytest.mark.parametrize("model", ["mlp", "dcgan", "resnet"])
@pytest.mark.parametrize("regularizer", ["none", "spectral_norm"])
def test_a_phase_leaves_the_players_that_it_does_not_train_bit_identical(model: str, regularizer: str, toy: Any) -> None:
    norms = ("model.discriminator.norm=batch", "model.generator.norm=batch")
    made = toy(model, "toy_images", *norms, f"regularizer={regularizer}", "n_critic=2")
    trainer, players = made.trainer, made.parts.game.players
    assert any(buffer.is_floating_point() for player in players.values() for buffer in player.buffers())
    moved: list[tuple[str, str]] = []
    update = trainer._update

    def watched(phase: Phase, *where: Any) -> None:
        before = {role: whole(player) for role, player in players.items()}
        update(phase, *where)
        moved.extend((phase.name, role) for role, player in players.items() if whole(player) != before[role])

    trainer._update = watched
    play(trainer, 2)
    assert moved == [("discriminator", "discriminator")] * 2 + [("generator", "generator")] + moved[:3]


def test_the_buffers_of_the_trained_player_do_move(toy: Any) -> None:
    made = toy("dcgan", "toy_images", "regularizer=spectral_norm")
    before = {role: copy.deepcopy(dict(player.named_buffers())) for role, player in made.parts.game.players.items()}
    play(made.trainer, 1)
    for role, player in made.parts.game.players.items():
        for name, buffer in player.named_buffers():
            # u of a layer with one output is 1 or -1 for ever
            assert buffer.shape == (1,) or not torch.equal(buffer, before[role][name]), f"{role} {name}"


def test_gradients_reach_the_players_of_the_phase_only_and_none_are_left_over(toy: Any) -> None:
    made = toy("mlp", "toy_points")
    trainer, players = made.trainer, made.parts.game.players
    seen = []
    for role, optimizer in trainer.optimizers.items():

        def step(role: str = role, original: Callable[[], Any] = optimizer.step) -> None:
            with_gradient = {name for name, player in players.items() for entry in player.parameters() if entry.grad is not None}
            open_ones = {name for name, player in players.items() for entry in player.parameters() if entry.requires_grad}
            seen.append((role, with_gradient, open_ones))
            original()

        optimizer.step = step  # type: ignore[method-assign]
    play(trainer, 2)
    assert seen == [(role, {role}, {role}) for role in ("discriminator", "generator")] * 2
    assert all(entry.grad is None for player in players.values() for entry in player.parameters())


def test_the_gradient_norm_is_that_of_all_gradients_of_the_player(toy: Any) -> None:
    made = toy("mlp", "toy_points")
    norms = {}
    for role, optimizer in made.trainer.optimizers.items():

        def step(role: str = role, original: Callable[[], Any] = optimizer.step) -> None:
            entries = made.parts.game.players[role].parameters()
            norms[role] = torch.cat([entry.grad.flatten() for entry in entries if entry.grad is not None]).norm()
            original()

        optimizer.step = step  # type: ignore[method-assign]
    play(made.trainer, 1)
    for role, norm in norms.items():
        torch.testing.assert_close(made.trainer.terms[f"{role}/gradient_norm"], norm)


# micro-batches

EQUAL = [
    ("loss=nonsaturating", "regularizer=none"),
    ("loss=wasserstein", "regularizer=gradient_penalty"),
    ("loss=hinge", "regularizer=[r1,weight_clip]"),
    (
        "loss=lsgan",
        "regularizer=[r1,gradient_penalty,spectral_norm]",
        "regularizer.spectral_norm.sides=[discriminator,generator]",
    ),
]


@pytest.mark.parametrize(("model", "options"), one_in(3, itertools.product(["mlp", "dcgan", "resnet"], EQUAL)))
def test_a_batch_cut_into_micro_batches_trains_as_the_whole_batch(
    options: tuple[str, ...], model: str, toy: Any, float64: None
) -> None:
    common = (
        "batch_size=8",
        "n_critic=2",
        "model.generator.norm=none",
        "model.discriminator.norm=none",
        "optimizer=sgd",
        "optimizer.lr=1e-3",
    )
    states = []
    for accumulate in (1, 2, 4):
        made = toy(model, "toy_images", *common, *options, f"accumulate={accumulate}")
        play(made.trainer, 3)
        assert next(made.parts.game.players["generator"].parameters()).dtype == torch.float64
        states.append((dict(checkpoint.leaves(made.trainer.state_dict())), made.trainer.terms))
    for state, terms in states[1:]:
        for name, value in states[0][0].items():
            if isinstance(value, Tensor):
                torch.testing.assert_close(
                    state[name], value, atol=1e-10, rtol=1e-10, msg=lambda text, name=name: f"{name}: {text}"
                )
        for name, value in states[0][1].items():
            torch.testing.assert_close(terms[name], value, atol=1e-10, rtol=1e-10)


def test_micro_batches_must_divide_the_batch(toy: Any) -> None:
    with pytest.raises(BadInput, match="accumulate=3: must divide batch_size=4"):
        toy("mlp", "toy_points", "accumulate=3")


@pytest.mark.parametrize("accumulate", [1, 4])
def test_a_batch_norm_over_one_sample_is_refused_before_the_first_step(accumulate: int, toy: Any) -> None:
    options = (f"batch_size={accumulate}", f"accumulate={accumulate}", "model.discriminator.norm=batch")
    with pytest.raises(BadInput, match=f"batch_size={accumulate}, .* Try batch_size={2 * accumulate}"):
        toy("mlp", "toy_points", *options)
    play(toy("mlp", "toy_points", *options, "model.generator.norm=layer", "model.discriminator.norm=layer").trainer, 1)
    play(toy("dcgan", "toy_images", *options).trainer, 1)  # maps have positions to normalize over


# everything follows from the seed and the step


@pytest.mark.parametrize("model", ["mlp", "dcgan"])
def test_the_same_seed_gives_the_same_bits_and_another_seed_others(model: str, toy: Any) -> None:
    digests = []
    for seed in (0, 0, 1):
        made = toy(model, "toy_images", f"seed={seed}", *STACK)
        torch.manual_seed(123 * len(digests))  # what was drawn before does not matter
        play(made.trainer, 4)
        digests.append(digest(made.trainer))
    assert digests[0] == digests[1] != digests[2]


def test_runs_that_differ_in_the_loss_see_the_same_batches_and_latents(toy: Any) -> None:
    def seen(*options: str) -> list[str]:
        made = toy("mlp", "toy_points", "model.discriminator.norm=none", *options)
        found = []
        real, latent = Turn.real, Turn.latent

        def noted_real(turn: Turn, *rest: Any, **named: Any) -> Any:
            batch = real(turn, *rest, **named)
            found.append(checkpoint.digest([batch.x, batch.y]))
            return batch

        def noted_latent(turn: Turn, *rest: Any) -> Tensor:
            z = latent(turn, *rest)
            found.append(checkpoint.digest([z]))
            return z

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Turn, "real", noted_real)
            patch.setattr(Turn, "latent", noted_latent)
            play(made.trainer, 5)
        assert len(set(found)) == 15  # five real batches, seen twice, and ten latents
        return found

    assert seen("loss=hinge") == seen("loss=wasserstein", "regularizer=gradient_penalty", "ema=0")


def test_every_sample_is_seen_once_an_epoch(toy: Any) -> None:
    made = toy("mlp", "toy_points", "n_critic=2")
    drawn = []
    stream = made.trainer.streams["data"]
    object.__setattr__(stream, "read", lambda indices, read=stream.read: drawn.append(indices) or read(indices))
    play(made.trainer, 12)  # 96 draws from 23 points
    found = torch.cat(drawn)
    assert len(found) == 96
    for epoch in range(4):
        assert torch.equal(found[epoch * 23 : (epoch + 1) * 23].sort().values, torch.arange(23))
    assert not torch.equal(found[:23], found[23:46])


def test_a_data_set_that_reads_from_disk_is_told_the_next_batch(toy: Any) -> None:
    made = toy("mlp", "toy_points", "n_critic=2", "accumulate=2")
    stream, told, drawn = made.trainer.streams["data"], [], []
    object.__setattr__(stream, "expect", told.append)
    object.__setattr__(stream, "read", lambda indices, read=stream.read: drawn.append(indices) or read(indices))
    play(made.trainer, 3)
    assert len(told) == 6
    assert torch.equal(torch.cat(told[:-1]), torch.cat(drawn)[4:])


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_generator_update_may_have_a_batch_of_its_own(accumulate: int, toy: Any) -> None:
    """The generator's term is minus the mean score of its own number of fakes; the discriminator's is as it was."""
    options = ("loss=wasserstein", "model.generator.norm=none", "optimizer=sgd", f"accumulate={accumulate}")
    usual, made = toy("mlp", "toy_points", *options), toy("mlp", "toy_points", *options, "generator_batch=12")
    generator = copy.deepcopy(made.parts.game.players["generator"])
    for entry in (usual, made):
        play(entry.trainer, 1)
    players, law = made.parts.game.players, made.parts.game.latent_law
    assert whole(players["discriminator"]) == whole(usual.parts.game.players["discriminator"])
    z = law.draw(12, rng.generator(made.trainer.seed, 0, "generator", 0, "latent"))
    with torch.no_grad():
        scores = players["discriminator"](generator(z)).score
    assert float(made.trainer.terms["generator/loss"]) == pytest.approx(-float(scores.mean()), rel=1e-5)
    assert not torch.equal(made.trainer.terms["generator/loss"], usual.trainer.terms["generator/loss"])


def test_a_generators_batch_that_cannot_be_cut_is_refused(toy: Any) -> None:
    with pytest.raises(BadInput, match="generator_batch=3"):
        toy("mlp", "toy_points", "accumulate=2", "generator_batch=3")
    with pytest.raises(BadInput, match="pack=2"):
        toy("mlp", "toy_points", "pack=2", "generator_batch=3")


# resume


RESUMED = [
    ("mlp", "toy_points", "optimizer=adam", "regularizer=[r1,spectral_norm]", "regularizer.r1.every=3"),
    (
        "mlp",
        "toy_points",
        "optimizer=rmsprop",
        "optimizer.momentum=0.5",
        "loss=wasserstein",
        "regularizer=weight_clip",
        "n_critic=3",
    ),
    (
        "mlp",
        "toy_points",
        "regularizer=spectral_norm",
        "regularizer.spectral_norm.sides=[generator]",
        "accumulate=2",
        "optimizer=sgd",
        "optimizer.momentum=0.9",
    ),
    ("dcgan", "toy_images", "condition=concat", "optimizer.schedule.name=linear", "optimizer.schedule.warmup=3"),
    (
        "mlp",
        "toy_points",
        "regularizer=[layer_noise,weight_norm]",
        "regularizer.layer_noise.players=[discriminator,generator]",
        "regularizer.layer_noise.decay=4",
        "model.discriminator.dropout=0.5",
    ),
    ("resnet", "toy_images", "generator_batch=6", "loss=hinge", "regularizer=spectral_norm", "model.generator.norm=batch"),
]


@pytest.mark.parametrize("options", RESUMED)
def test_a_resumed_run_goes_on_bit_for_bit_logs_included(options: tuple[str, ...], toy: Any) -> None:
    straight = toy(*options)
    rows = []
    for _ in range(5):
        play(straight.trainer, 1)
        rows.append({name: float(value) for name, value in straight.trainer.terms.items()})
    for stop in (0, 1, 3):
        first = toy(*options)
        play(first.trainer, stop)
        state = taken(first.trainer)
        second = toy(*options)
        assert second.trainer.load_state_dict(state) == []
        assert digest(second.trainer) == digest(first.trainer)
        for step in range(stop, 5):
            play(second.trainer, 1)
            assert {name: float(value) for name, value in second.trainer.terms.items()} == rows[step]
        assert digest(second.trainer) == digest(straight.trainer)


@pytest.mark.parametrize("options", RESUMED)
def test_sampling_evaluating_and_saving_leave_the_training_state_alone(options: tuple[str, ...], toy: Any) -> None:
    plain, busy = toy(*options), toy(*options)
    for _ in range(3):
        play(plain.trainer, 1)
        play(busy.trainer, 1)
        game, averages = busy.parts.game, busy.trainer.averages
        before = torch.random.get_rng_state()
        sampling.generate(game, 5, seed=1, runtime=busy.trainer.runtime, averages=averages)
        sampling.generate(game, 5, seed=1, runtime=busy.trainer.runtime, averages={})
        assert torch.equal(torch.random.get_rng_state(), before)
        checkpoint.check_types(busy.trainer.state_dict())
        busy.trainer.check()
        busy.trainer.check_weights()
        assert game.players["discriminator"].training
        assert game.players["generator"].training
    assert digest(busy.trainer) == digest(plain.trainer)


def test_every_entry_of_the_state_matters_for_what_comes(toy: Any) -> None:
    """Put any entry back to its first value: the run ends elsewhere."""
    options = ("dcgan", "toy_images", *STACK, "model.generator.norm=batch")
    start, run = toy(*options), toy(*options)
    play(start.trainer, 1)
    play(run.trainer, 3)
    first, state = dict(checkpoint.leaves(taken(start.trainer))), taken(run.trainer)

    made = toy(*options)

    def end(changed: dict[str, Any]) -> str:
        made.trainer.load_state_dict(changed)
        play(made.trainer, 2)
        return digest(made.trainer)

    straight = end(copy.deepcopy(state))
    play(run.trainer, 2)
    assert straight == digest(run.trainer)
    for where, value in checkpoint.leaves(state):
        if where.endswith("output.parametrizations.weight.0.u"):
            continue  # 1 or -1 for ever: the layer has one output
        changed = copy.deepcopy(state)
        *path, leaf = _path(changed, where)
        inner = changed
        for key in path:
            inner = inner[key]
        assert not (torch.equal(value, first[where]) if isinstance(value, Tensor) else value == first[where]), where
        inner[leaf] = first[where]
        assert end(changed) != straight, where


def _path(state: dict[str, Any], where: str) -> list[str]:
    """The keys that lead to the leaf ``where``: keys hold slashes themselves."""
    if not isinstance(state, dict):
        assert where == ""
        return []
    for key, inner in state.items():
        if where == f"/{key}" or where.startswith(f"/{key}/"):
            return [key, *_path(inner, where[len(key) + 1 :])]
    raise KeyError(where)


def damaged(state: dict[str, Any], how: str) -> dict[str, Any]:
    weights = state["players/generator"]
    if how == "missing section":
        del state["averages/generator"]
    elif how == "missing entry":
        del weights[next(iter(weights))]
    elif how == "unexpected section":
        state["players/encoder"] = {}
    elif how == "other shape":
        weights[next(iter(weights))] = torch.zeros(1, 1)
    elif how == "other type":
        weights[next(iter(weights))] = weights[next(iter(weights))].double()
    elif how == "missing moment":
        moments = state["optimizers/generator"]
        del moments[next(iter(moments))]
    elif how == "missing number of a moment":
        moments = state["optimizers/generator"]
        del next(iter(moments.values()))["exp_avg"]
    return state


DAMAGES = (
    "missing section",
    "missing entry",
    "unexpected section",
    "other shape",
    "other type",
    "missing moment",
    "missing number of a moment",
)


@pytest.mark.parametrize("how", DAMAGES)
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(how: str, toy: Any) -> None:
    made = toy("mlp", "toy_points")
    play(made.trainer, 1)
    state = damaged(taken(made.trainer), how)
    play(made.trainer, 1)
    before = digest(made.trainer)
    with pytest.raises(NoCheckpoint, match="does not fit"):
        made.trainer.load_state_dict(state)
    assert digest(made.trainer) == before


def test_a_lenient_load_says_what_starts_anew(toy: Any) -> None:
    one, other = toy("mlp", "toy_points", "optimizer=adam"), toy("mlp", "toy_points", "optimizer=rmsprop", "ema=0")
    play(one.trainer, 2)
    left = other.trainer.load_state_dict(taken(one.trainer), lenient=("optimizers", "averages"))
    assert [sentence.split(":")[1].split("(")[0].strip() for sentence in left] == [
        "averages/generator",
        "optimizers/discriminator",
        "optimizers/generator",
    ]
    assert other.trainer.step == 2
    assert whole(other.parts.game.players["generator"]) == whole(one.parts.game.players["generator"])
    play(other.trainer, 1)


# the running average


def test_the_average_of_a_constant_player_follows_its_closed_form(float64: None) -> None:
    player = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        player.weight.fill_(0)
    average = EMA(player, 0.9)
    with torch.no_grad():
        player.weight.fill_(1)
    remaining = 1.0
    for step in range(1, 201):
        average.update(step)
        remaining *= min(0.9, (1 + step) / (10 + step))
        assert float(average.network.weight) == pytest.approx(1 - remaining, abs=1e-12)
    # from step 80 on (1 + t) / (10 + t) > 0.9: the plain decay
    assert min(0.9, 81 / 90) == 0.9


def test_the_first_update_of_an_average_has_the_decay_two_elevenths() -> None:
    player = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        player.weight.fill_(0)
        average = EMA(player, 0.999)
        player.weight.fill_(11)
    average.update(1)
    assert average.network.weight.item() == pytest.approx(9)


def test_the_average_takes_in_running_statistics_and_copies_counters() -> None:
    player = nn.BatchNorm1d(2)
    average = EMA(player, 0.5)
    player(torch.randn(8, 2) + 5)
    average.update(90)
    torch.testing.assert_close(average.network.running_mean, player.running_mean / 2)
    assert average.network.num_batches_tracked == 1
    assert not average.network.training
    assert not any(entry.requires_grad for entry in average.network.parameters())


def test_the_trainer_averages_after_each_step_of_the_generator(toy: Any) -> None:
    made = toy("mlp", "toy_points", "ema=0.75", "n_critic=3", "optimizer.lr=0.01")
    player, shadow = made.parts.game.players["generator"], None
    shadow = {name: entry.detach().clone() for name, entry in player.named_parameters()}
    for step in range(1, 8):
        play(made.trainer, 1)
        decay = min(0.75, (1 + step) / (10 + step))
        for name, entry in player.named_parameters():
            shadow[name] = decay * shadow[name] + (1 - decay) * entry.detach()
    for name, entry in made.trainer.averages["generator"].network.named_parameters():
        torch.testing.assert_close(entry, shadow[name])
    assert list(made.trainer.averages) == ["generator"]


def test_no_average_is_kept_with_ema_zero_and_decays_out_of_bounds_are_refused(toy: Any) -> None:
    assert toy("mlp", "toy_points", "ema=0").trainer.averages == {}
    for decay in ("1.0", "-0.1"):
        with pytest.raises(BadInput, match="ema="):
            toy("mlp", "toy_points", f"ema={decay}")


def test_samples_come_from_the_average_unless_told_otherwise(toy: Any) -> None:
    made = toy("mlp", "toy_points", "optimizer.lr=0.01")
    play(made.trainer, 3)
    game, averages, runtime = made.parts.game, made.trainer.averages, made.trainer.runtime
    averaged = sampling.generate(game, 4, seed=1, runtime=runtime, averages=averages)
    raw = sampling.generate(game, 4, seed=1, runtime=runtime, averages={})
    assert not torch.equal(averaged, raw)
    with assemble.performing(game, averages):
        assert game.players["generator"] is averages["generator"].network
        assert not game.players["discriminator"].training
    again = sampling.generate(game, 700, seed=1, runtime=runtime, averages=averages)
    assert torch.equal(again[:4], averaged)  # sample i does not depend on how many there are


# rates


def test_the_rates_follow_from_the_step_alone_and_keep_each_players_own(toy: Any) -> None:
    options = ("optimizer.lr=1.0", "optimizer.discriminator.lr=4.0", "optimizer.schedule.name=linear", "steps=4")
    made = toy("mlp", "toy_points", "optimizer=sgd", *options)
    rates = {"generator": [], "discriminator": []}
    for role, optimizer in made.trainer.optimizers.items():

        def step(role: str = role, optimizer: Any = optimizer) -> None:
            rates[role].append(optimizer.param_groups[0]["lr"])

        optimizer.step = step
    play(made.trainer, 4)
    assert rates == {"generator": [1.0, 0.75, 0.5, 0.25], "discriminator": [4.0, 3.0, 2.0, 1.0]}
    resumed = toy("mlp", "toy_points", "optimizer=sgd", *options)
    resumed.trainer.step = 2
    play(resumed.trainer, 1)
    assert resumed.trainer.optimizers["generator"].param_groups[0]["lr"] == 0.5


# the alarm


@pytest.mark.parametrize("phase", ["discriminator", "generator"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_the_alarm_names_the_term_and_the_step_that_broke_first(phase: str, value: float, toy: Any) -> None:
    made = toy("mlp", "toy_points", "n_critic=2", "regularizer=r1")
    loss, side = made.parts.game.loss, phase[0]
    original = getattr(loss, side)

    def broken(duel: Duel) -> Tensor:
        return original(duel) + (value if made.trainer.step == 6 else 0)  # the seventh step

    setattr(loss, side, broken)
    play(made.trainer, 6)
    made.trainer.check()
    play(made.trainer, 4)
    with pytest.raises(Diverged, match=f"the {phase} phase's term 'loss' was not finite at step 7$"):
        made.trainer.check()


def test_the_alarm_names_a_penalty_by_its_name(toy: Any) -> None:
    made = toy("mlp", "toy_points", "regularizer=[r1,gradient_penalty]")
    regularizer = made.parts.game.regularizers["r1"]
    original = regularizer.term
    regularizer.term = lambda duel, players, turn: original(duel, players, turn) / (0.0 if turn.step == 2 else 1.0)
    play(made.trainer, 5)
    with pytest.raises(Diverged, match=r"the discriminator phase's term 'r1' was not finite at step 3$"):
        made.trainer.check()


def test_the_alarm_notices_a_gradient_where_all_terms_are_finite(toy: Any) -> None:
    made = toy("mlp", "toy_points")
    loss = made.parts.game.loss
    original = loss.g

    def broken(duel: Duel) -> Tensor:
        value = original(duel)
        return value + (value - value.detach()).abs().sqrt() if made.trainer.step == 1 else value  # an infinite slope at zero

    loss.g = broken
    play(made.trainer, 3)
    with pytest.raises(Diverged, match=r"the gradient of the generator phase was not finite at step 2$"):
        made.trainer.check()


def test_a_fault_of_one_micro_batch_is_not_lost(toy: Any) -> None:
    made = toy("mlp", "toy_points", "accumulate=2")
    loss, calls = made.parts.game.loss, []
    original = loss.d
    loss.d = lambda duel: calls.append(1) or original(duel) * (float("nan") if len(calls) == 3 else 1)
    play(made.trainer, 3)
    with pytest.raises(Diverged, match=r"at step 2$"):
        made.trainer.check()


def test_the_alarm_keeps_the_earliest_tick_of_many_groups() -> None:
    nan_guard = NaNGuard()
    fine, bad = torch.tensor(1.0), torch.tensor(float("nan"))
    assert nan_guard.first() is None
    nan_guard.watch(1, {"a": fine, "b": fine})
    nan_guard.watch(2, {"c": fine})
    assert nan_guard.first() is None
    nan_guard.watch(5, {"c": bad})
    nan_guard.watch(4, {"a": fine, "b": bad})
    nan_guard.watch(6, {"a": bad, "b": fine})
    assert nan_guard.first() == (4, "b")


def test_the_alarm_holds_many_ticks_without_waiting(request: pytest.FixtureRequest) -> None:
    nan_guard, waiting = NaNGuard(), request.getfixturevalue("no_waiting")
    for update_index in range(300):
        nan_guard.watch(update_index, {"a": torch.tensor(1.0), "b": torch.tensor(float("inf") if update_index > 140 else 1.0)})
    waiting.undo()
    assert nan_guard.first() == (141, "b")
    nan_guard.watch(300, {"a": torch.tensor(float("nan")), "b": torch.tensor(1.0)})
    assert nan_guard.first() == (141, "b")


def test_weights_that_are_not_finite_are_never_saved(toy: Any) -> None:
    made = toy("mlp", "toy_points")
    play(made.trainer, 1)
    made.trainer.check_weights()
    weight = next(made.parts.game.players["discriminator"].parameters())
    with torch.no_grad():
        weight.view(-1)[0] = float("inf")
    with pytest.raises(Diverged, match="the weights of the discriminator are not finite after step 1"):
        made.trainer.check_weights()
    with pytest.raises(Diverged, match="averaged generator"):
        demand_finite({"averaged generator": [torch.tensor([1]), torch.tensor([float("nan")])]}, 3)
    demand_finite({"counters": [torch.tensor([1])], "none": []}, 3)


# nothing waits for the device


@pytest.fixture
def no_waiting() -> Iterator[pytest.MonkeyPatch]:
    """Whatever would read a value back from a GPU raises."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("item", "tolist", "__bool__", "__float__", "__int__", "__index__", "numpy", "cpu"):

            def refuse(self: Tensor, *rest: Any, name: str = name, **more: Any) -> Any:
                raise AssertionError(f"Tensor.{name} waits for the device")

            patch.setattr(Tensor, name, refuse)
        for name in ("nonzero", "allclose", "equal", "is_nonzero"):
            patch.setattr(torch, name, lambda *rest, name=name, **more: pytest.fail(f"torch.{name} waits for the device"))
        yield patch


@pytest.mark.parametrize(
    "options",
    [
        ("dcgan", "toy_images", "loss=hinge", "condition=concat", "accumulate=2"),
        ("mlp", "toy_points", "loss=wasserstein", "regularizer=[gradient_penalty,spectral_norm]", "n_critic=2"),
        ("resnet", "toy_images", "regularizer=[r1,weight_clip]", "optimizer=rmsprop", "model.discriminator.norm=layer"),
        ("mlp", "toy_points", "loss=lsgan", "optimizer=sgd"),
        ("mlp", "toy_points", "loss=minimax", "device.precision=bf16"),
    ],
)
def test_no_step_waits_for_the_device(options: tuple[str, ...], toy: Any, request: pytest.FixtureRequest) -> None:
    made = toy(*options)
    play(made.trainer, 1)
    request.getfixturevalue("no_waiting")
    play(made.trainer, 2)


# precision


@pytest.mark.parametrize("model", ["mlp", "dcgan", "resnet"])
def test_bf16_computes_in_bf16_and_keeps_everything_in_float32(model: str, toy: Any) -> None:
    # group norm in bf16 is not at hand on every processor
    made = toy(
        model,
        "toy_images",
        "device.precision=bf16",
        "regularizer=[gradient_penalty,r1,spectral_norm]",
        "model.discriminator.norm=none",
    )
    kinds = set()
    for player in made.parts.game.players.values():
        for module in player.modules():
            if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                module.register_forward_hook(lambda module, inputs, output: kinds.add(output.dtype))
    play(made.trainer, 3)
    assert torch.bfloat16 in kinds
    for where, value in checkpoint.leaves(made.trainer.state_dict()):
        if isinstance(value, Tensor):
            assert value.dtype in (torch.float32, torch.int64), where
    assert all(value.dtype == torch.float32 for value in made.trainer.terms.values())
    made.trainer.check()
    made.trainer.check_weights()


def test_bf16_is_near_float32(toy: Any) -> None:
    losses = {}
    for precision in ("fp32", "bf16"):
        made = toy("mlp", "toy_points", f"device.precision={precision}", "regularizer=r1")
        play(made.trainer, 1)
        losses[precision] = {name: float(value) for name, value in made.trainer.terms.items()}
    assert losses["bf16"] != losses["fp32"]
    assert losses["bf16"]["discriminator/loss"] == pytest.approx(losses["fp32"]["discriminator/loss"], rel=0.02)
    # penalties are taken in float32 whatever the precision
    assert losses["bf16"]["discriminator/r1"] == pytest.approx(losses["fp32"]["discriminator/r1"], rel=1e-5)


def test_the_runtime_of_a_trainer_is_the_one_of_its_config(toy: Any) -> None:
    assert toy("mlp", "toy_points", "device.precision=bf16").trainer.runtime == Runtime(torch.device("cpu"), "bf16", True)


# phases of any game


def test_phases_that_are_not_due_draw_nothing_and_move_nothing(toy: Any) -> None:
    made = toy("mlp", "toy_points")
    game, trainer = made.parts.game, made.trainer
    seen: list[tuple[int, int, int]] = []

    def noted(turn: Turn) -> dict[str, Tensor]:
        seen.append((turn.step, turn.batch_index, turn.update))
        return game.discriminator_loss(turn)

    trainer.phases = [
        Phase("discriminator", "discriminator", ("discriminator",), noted, repeat=2, every=3),
        Phase("generator", "generator", ("generator",), game.generator_loss, fresh=False),
    ]
    trainer.batches_per_step, trainer.updates_per_step = 2, 3
    weights = []
    for _ in range(5):
        play(trainer, 1)
        weights.append(whole(game.players["discriminator"]))
    # the place in the data follows from the step: phases that rest leave their batches out
    assert seen == [(0, 0, 0), (0, 1, 1), (3, 6, 2), (3, 7, 3)]
    assert weights[0] == weights[1] == weights[2] != weights[3] == weights[4]


def test_the_state_holds_no_clock_no_score_and_no_name(toy: Any) -> None:
    made = toy("mlp", "toy_points", *STACK)
    play(made.trainer, 1)
    assert sorted(made.trainer.state_dict()) == [
        "averages/generator",
        "game",
        "loss",
        "optimizers/discriminator",
        "optimizers/generator",
        "players/discriminator",
        "players/generator",
        "regularizers/r1",
        "regularizers/spectral_norm",
        "step",
    ]
