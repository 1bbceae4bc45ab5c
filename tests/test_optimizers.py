"""The optimizers against their formulas on one parameter, the schedules at their ends, a player's own values."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from ganrun.disk import checkpoint, identity
from ganrun.ground import registry
from ganrun.ground.errors import BadInput, NoCheckpoint
from ganrun.optimizers.base import for_player, move, schedule

GRADIENTS = (0.5, -2.0, 3.0)
START = 1.5

Rule = Callable[[float, float, int, dict[str, float]], float]


def run(name: str, **options: Any) -> list[float]:
    """The parameter after each of three steps."""
    parameter = nn.Parameter(torch.tensor([START], dtype=torch.float64))
    optimizer = registry.build("optimizer", {"name": name, **options}, [parameter])
    found = []
    for gradient in GRADIENTS:
        parameter.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
        found.append(parameter.item())
    return found


def by_hand(rule: Rule, decay: float = 0.0) -> list[float]:
    """``rule(x, gradient, step, memory)`` gives the next x; ``decay`` adds decay * x to the gradient."""
    x, memory, found = START, {}, []
    for step, gradient in enumerate(GRADIENTS, 1):
        x = rule(x, gradient + decay * x, step, memory)
        found.append(x)
    return found


@pytest.mark.parametrize("betas", [[0.5, 0.999], [0.0, 0.9], [0.9, 0.0]])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_adam_follows_its_formula(betas: list[float], decay: float) -> None:
    def rule(x: float, g: float, t: int, memory: dict[str, float]) -> float:
        memory["m"] = betas[0] * memory.get("m", 0) + (1 - betas[0]) * g
        memory["v"] = betas[1] * memory.get("v", 0) + (1 - betas[1]) * g * g
        m, v = memory["m"] / (1 - betas[0] ** t), memory["v"] / (1 - betas[1] ** t)
        return x - 0.3 * m / (math.sqrt(v) + 0.01)

    assert run("adam", lr=0.3, betas=betas, eps=0.01, weight_decay=decay) == pytest.approx(by_hand(rule, decay), abs=1e-12)


@pytest.mark.parametrize("momentum", [0.0, 0.7])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_rmsprop_follows_its_formula(momentum: float, decay: float) -> None:
    def rule(x: float, g: float, t: int, memory: dict[str, float]) -> float:
        memory["v"] = 0.8 * memory.get("v", 0) + 0.2 * g * g
        memory["b"] = momentum * memory.get("b", 0) + g / (math.sqrt(memory["v"]) + 0.01)
        return x - 0.3 * memory["b"]

    found = run("rmsprop", lr=0.3, alpha=0.8, eps=0.01, momentum=momentum, weight_decay=decay)
    assert found == pytest.approx(by_hand(rule, decay), abs=1e-12)


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.7, False), (0.7, True)])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_sgd_follows_its_formula(momentum: float, nesterov: bool, decay: float) -> None:
    def rule(x: float, g: float, t: int, memory: dict[str, float]) -> float:
        memory["b"] = momentum * memory.get("b", 0) + g
        return x - 0.3 * (g + momentum * memory["b"] if nesterov else memory["b"])

    found = run("sgd", lr=0.3, momentum=momentum, nesterov=nesterov, weight_decay=decay)
    assert found == pytest.approx(by_hand(rule, decay), abs=1e-12)


@pytest.mark.parametrize(
    ("name", "options", "word"),
    [
        ("adam", {"lr": -1.0}, "lr=-1.0"),
        ("adam", {"betas": [0.5]}, "betas="),
        ("adam", {"betas": [0.5, 1.0]}, "betas="),
        ("adam", {"eps": -1.0}, "eps=-1.0"),
        ("rmsprop", {"alpha": 1.0}, "alpha=1.0"),
        ("rmsprop", {"momentum": -0.1}, "momentum=-0.1"),
        ("sgd", {"nesterov": True}, "momentum"),
        ("sgd", {"weight_decay": -0.1}, "weight_decay=-0.1"),
    ],
)
def test_values_out_of_bounds_are_refused_by_name(name: str, options: dict[str, Any], word: str) -> None:
    with pytest.raises(BadInput, match=word):
        run(name, **options)


# schedules


@pytest.mark.parametrize("name", registry.names("schedule"))
def test_every_schedule_starts_at_one_ends_at_final_and_never_rises(name: str) -> None:
    fall = registry.lookup("schedule", name)
    assert fall(0.0, 0.2) == pytest.approx(1)
    assert fall(1.0, 0.2) == pytest.approx(1.0 if name == "constant" else 0.2)
    values = [fall(index / 50, 0.2) for index in range(51)]
    assert all(later <= earlier for earlier, later in zip(values, values[1:], strict=False))


def test_schedules_half_way() -> None:
    half = {name: registry.lookup("schedule", name)(0.5, 0.25) for name in registry.names("schedule")}
    assert half == pytest.approx({"constant": 1.0, "linear": 0.625, "cosine": 0.625, "exponential": 0.5})
    assert registry.lookup("schedule", "cosine")(0.25, 0.0) == pytest.approx((1 + math.sqrt(0.5)) / 2)


@pytest.mark.parametrize("name", [name for name in registry.names("schedule") if name != "constant"])
@pytest.mark.parametrize("final", [0.5, 1e-3, 1e-5, 1e-12])
def test_every_final_factor_is_reached(name: str, final: float) -> None:
    rate = schedule({"name": name, "warmup": 0, "start": 0.5, "final": final}, 10)
    assert rate(10) == pytest.approx(final, rel=1e-9)
    assert rate(5) == 1
    assert rate(9) == pytest.approx(registry.lookup("schedule", name)(0.8, final), rel=1e-9)


def test_the_rate_of_conditional_gans_falls_to_a_millionth(compose: Any) -> None:
    options = compose("experiment=cgan")["optimizer"]
    assert options["lr"] * schedule(options["schedule"], 1000)(1000) == pytest.approx(1e-6)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "exponential", "final": 0.0}, r"optimizer.schedule.final=0.0: .* never reaches zero. Try .*final=1e-3"),
        ({"name": "constant", "final": 0.5}, r"final=0.5: the schedule constant never falls"),
        ({"name": "constant", "start": 0.5}, r"start=0.5, .* the schedule constant never falls"),
    ],
)
def test_what_a_schedule_would_not_heed_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        schedule({"warmup": 0, "start": 0.0, "final": 0.0, **options}, 10)


def factors(steps: int, **options: Any) -> list[float]:
    rate = schedule({"name": "linear", "warmup": 0, "start": 0.0, "final": 0.0, **options}, steps)
    return [rate(step) for step in range(steps)]


def test_the_rate_of_a_linear_fall_is_exact_at_every_step() -> None:
    assert factors(4) == pytest.approx([1, 0.75, 0.5, 0.25])
    assert factors(4, final=0.2) == pytest.approx([1, 0.8, 0.6, 0.4])


def test_the_fall_starts_at_its_fraction_of_the_run() -> None:
    assert factors(10, start=0.5) == pytest.approx([1] * 6 + [0.8, 0.6, 0.4, 0.2])


def test_the_warmup_rises_in_equal_steps_to_one() -> None:
    assert factors(8, warmup=4, start=0.5) == pytest.approx([0.25, 0.5, 0.75, 1, 1, 0.75, 0.5, 0.25])
    assert factors(4, name="constant", warmup=2) == pytest.approx([0.5, 1, 1, 1])


@pytest.mark.parametrize("options", [{"warmup": -1}, {"start": 1.0}, {"start": -0.1}, {"final": 1.1}, {"final": -0.1}])
def test_schedules_out_of_bounds_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(BadInput, match=r"optimizer\.schedule"):
        factors(4, **options)


def test_an_unknown_schedule_is_refused_with_the_nearest() -> None:
    with pytest.raises(BadInput, match="'cosine'"):
        factors(4, name="cosinus")


# a player's own values


def parameter() -> list[nn.Parameter]:
    return [nn.Parameter(torch.zeros(1))]


def test_a_player_has_its_own_value_where_given_then_its_kins_then_the_common_one(compose: Any) -> None:
    config = compose(
        "optimizer=adam", "optimizer.lr=1e-3", "optimizer.discriminator.lr=4e-3", "optimizer.generator.betas=[0,0.5]"
    )
    groups = {
        role: for_player(config["optimizer"], role, parameter()).param_groups[0]
        for role in ("generator", "discriminator", "encoder")
    }
    assert {role: group["lr"] for role, group in groups.items()} == {
        "generator": 1e-3,
        "discriminator": 4e-3,
        "encoder": 1e-3,
    }
    assert {role: group["betas"] for role, group in groups.items()} == {
        "generator": (0, 0.5),
        "discriminator": (0.5, 0.999),
        "encoder": (0, 0.5),
    }


def test_a_player_may_have_another_kind_of_optimizer() -> None:
    config = {"name": "adam", "lr": 1.0, "schedule": {"name": "constant"}, "discriminator": {"name": "sgd", "lr": 2.0}}
    assert isinstance(for_player(config, "generator", parameter()), torch.optim.Adam)
    other = for_player(config, "discriminator", parameter())
    assert isinstance(other, torch.optim.SGD)
    assert other.param_groups[0]["lr"] == 2.0


def test_an_unknown_option_of_a_player_is_refused_with_the_nearest() -> None:
    with pytest.raises(BadInput, match="'lr'"):
        for_player({"name": "adam", "discriminator": {"lrr": 2.0}}, "discriminator", parameter())


def test_the_papers_settings_are_options(compose: Any) -> None:
    rmsprop = for_player(compose("optimizer=rmsprop")["optimizer"], "discriminator", parameter()).param_groups[0]
    assert (rmsprop["lr"], rmsprop["alpha"], rmsprop["momentum"]) == (5e-5, 0.99, 0)
    sngan = compose("experiment=sngan")["optimizer"]
    adam = for_player(sngan, "generator", parameter()).param_groups[0]
    assert (adam["lr"], adam["betas"]) == (2e-4, (0.0, 0.9))
    assert schedule(sngan["schedule"], 100)(50) == pytest.approx(0.5)
    dcgan = for_player(compose()["optimizer"], "generator", parameter()).param_groups[0]
    assert (dcgan["lr"], dcgan["betas"]) == (2e-4, (0.5, 0.999))


@pytest.mark.parametrize(
    ("role", "lr"), [("inverse", 0.5), ("reconstructor", 0.5), ("inverse_discriminator", 0.25), ("critic", 0.5)]
)
def test_players_without_a_key_follow_their_kin(role: str, lr: float) -> None:
    config = {"name": "sgd", "lr": 0.1, "generator": {"lr": 0.5}, "discriminator": {"lr": 0.25}}
    made = for_player(config, role, [torch.nn.Parameter(torch.zeros(1))])
    assert made.param_groups[0]["lr"] == lr
    assert for_player({**config, role: {"lr": 2.0}}, role, [torch.nn.Parameter(torch.zeros(1))]).param_groups[0]["lr"] == 2.0


# a player's own kind

SGD = ("optimizer.discriminator.name=sgd", "optimizer.discriminator.momentum=0.9")


@pytest.mark.usefixtures("float64")
def test_adam_for_one_player_and_sgd_for_the_other_make_the_steps_of_torch(toy: Any) -> None:
    """Twins of the players get the gradients of the run and step with torch's own optimizers, at rates that fall to a half."""
    options = ("optimizer.schedule.name=linear", "optimizer.schedule.final=0.5", "steps=4", "ema=0", "n_critic=2")
    trainer = toy("mlp", "toy_points", *SGD, *options).trainer
    make = {
        "generator": lambda entries: torch.optim.Adam(entries, lr=2e-4, betas=(0.5, 0.999)),
        "discriminator": lambda entries: torch.optim.SGD(entries, lr=1e-2, momentum=0.9),
    }
    twins = {role: [nn.Parameter(entry.detach().clone()) for entry in trainer.game.players[role].parameters()] for role in make}
    steps = []
    for role, optimizer in trainer.optimizers.items():
        own = make[role](twins[role])
        rate = own.param_groups[0]["lr"]

        def follow(made: Any, *_: Any, role: str = role, own: Any = own, rate: float = rate) -> None:
            own.param_groups[0]["lr"] = rate * (1 - 0.5 * trainer.step / 4)
            for twin, entry in zip(twins[role], made.param_groups[0]["params"], strict=True):
                twin.grad = entry.grad.clone()
            own.step()
            steps.append(role)

        optimizer.register_step_pre_hook(follow)
    for _ in range(4):
        trainer.advance()
    assert steps == ["discriminator", "discriminator", "generator"] * 4
    for role, entries in twins.items():
        for twin, entry in zip(entries, trainer.game.players[role].parameters(), strict=True):
            assert entry.dtype == torch.float64
            assert torch.allclose(twin, entry, rtol=1e-12, atol=1e-14), role


def test_a_run_with_two_kinds_goes_on_bit_for_bit_from_moments_of_each_kind(toy: Any) -> None:
    whole, first, second = (toy("mlp", "toy_points", *SGD).trainer for _ in range(3))
    for trainer, steps in ((whole, 6), (first, 3)):
        for _ in range(steps):
            trainer.advance()
    state = copy.deepcopy(first.state_dict())
    held = {role: {key for entry in state[f"optimizers/{role}"].values() for key in entry} for role in first.optimizers}
    assert held == {"generator": {"step", "exp_avg", "exp_avg_sq"}, "discriminator": {"momentum_buffer"}}
    second.load_state_dict(state)
    for _ in range(3):
        second.advance()
    assert checkpoint.digest(second.state_dict()) == checkpoint.digest(whole.state_dict())
    with pytest.raises(NoCheckpoint, match=r"optimizers/discriminator: .*exp_avg is missing"):
        toy("mlp", "toy_points").trainer.load_state_dict(state)


def test_a_player_of_another_kind_has_the_keys_and_defaults_of_that_kind(compose: Any) -> None:
    usual = {"momentum": 0.0, "nesterov": False, "weight_decay": 0.0, "momentum_final": None}
    alone, given = {"name": "sgd", "lr": 1e-2, **usual}, {"name": "sgd", "lr": 0.5, **usual, "momentum": 0.9}
    name = "optimizer.discriminator.name=sgd"
    assert compose(name)["optimizer"]["discriminator"] == alone
    assert compose(name, "optimizer=ttur", "optimizer.weight_decay=0.1")["optimizer"]["discriminator"] == alone
    for typed in (
        ("optimizer.discriminator.lr=0.5", SGD[1], name),
        ("optimizer.discriminator={name: sgd, momentum: 0.9, lr: 0.5}",),
    ):
        assert compose(*typed)["optimizer"]["discriminator"] == given
    assert compose(*SGD)["optimizer"]["generator"] == compose()["optimizer"]["generator"]
    other = compose("optimizer=sgd", "optimizer.generator.name=rmsprop")["optimizer"]["generator"]
    assert other == {"name": "rmsprop", "lr": 5e-5, "alpha": 0.99, "eps": 1e-8, "momentum": 0.0, "weight_decay": 0.0}


def test_players_without_a_kind_of_their_own_are_the_runs_that_they_were(compose: Any) -> None:
    for typed in ((), ("optimizer=ttur",), ("optimizer=rmsprop",), ("experiment=sngan",)):
        config = compose(*typed)
        own = config["optimizer"]["name"]
        assert not {"name"} & {*config["optimizer"]["generator"], *config["optimizer"]["discriminator"]}
        assert compose(*typed, f"optimizer.discriminator.name={own}") == config
    kinds = [compose(f"optimizer.discriminator.name={kind}", "optimizer.discriminator.lr=1e-3") for kind in ("adam", "sgd")]
    assert identity.identity(kinds[0]) != identity.identity(kinds[1])
    assert identity.identity(kinds[0]) == identity.identity(compose("optimizer.discriminator.lr=1e-3"))


def test_a_value_that_changes_over_the_run_counts_for_a_player_of_another_kind_too(compose: Any) -> None:
    assert identity.over_the_run(compose(*SGD)) == ""
    assert identity.over_the_run(compose(*SGD, "optimizer.discriminator.momentum_final=0.5")).endswith("momentum_final=0.5")


# values that change over the run


def test_betas_and_momentum_go_to_their_last_values_over_the_run() -> None:
    adam = for_player({"name": "adam", "betas": [0.0, 0.9], "betas_final": [0.5, 0.99]}, "generator", parameter())
    sgd = for_player({"name": "sgd", "momentum": 0.5, "momentum_final": 0.7}, "generator", parameter())
    for progress, betas, momentum in ((0.0, (0.0, 0.9), 0.5), (0.5, (0.25, 0.945), 0.6), (1.0, (0.5, 0.99), 0.7)):
        move(adam, progress)
        move(sgd, progress)
        assert adam.param_groups[0]["betas"] == pytest.approx(betas)
        assert sgd.param_groups[0]["momentum"] == pytest.approx(momentum)
    move(adam, 0.25)
    move(sgd, 0.25)
    assert adam.param_groups[0]["betas"][1] == pytest.approx(0.99 - 0.09 * (1 + math.sqrt(0.5)) / 2)
    assert sgd.param_groups[0]["momentum"] == pytest.approx(0.55)


def test_momentum_that_changes_gives_the_steps_of_its_formula(toy: Any) -> None:
    """v <- m_t v + g, w <- w - lr v with m_t = 0.5 + 0.2 t / 4, from the gradients that the run itself had."""
    options = ("optimizer=sgd", "optimizer.lr=0.1", "optimizer.momentum=0.5", "optimizer.momentum_final=0.7", "steps=4")
    trainer = toy("mlp", "toy_points", *options).trainer
    weight = trainer.game.players["generator"].output.weight
    gradients: list[torch.Tensor] = []
    weight.register_post_accumulate_grad_hook(lambda entry: gradients.append(entry.grad.clone()))
    expected, speed = weight.detach().clone(), torch.zeros_like(weight)
    for step in range(4):
        trainer.advance()
        speed = (0.5 + 0.2 * step / 4) * speed + gradients[-1]
        expected -= 0.1 * speed
        assert torch.allclose(weight, expected, atol=1e-6), step


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "adam", "betas_final": [0.5, 1.0]}, "betas_final"),
        ({"name": "adam", "betas_final": [0.5]}, "betas_final"),
        ({"name": "sgd", "momentum": 0.5, "momentum_final": -0.1}, "momentum_final"),
        ({"name": "sgd", "momentum_final": 0.5}, "needs momentum above 0"),
    ],
)
def test_last_values_that_cannot_be_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        for_player(options, "generator", parameter())


@pytest.mark.parametrize(
    "typed",
    [
        ("optimizer.betas_final=[0.5,0.9]",),
        ("optimizer=sgd", "optimizer.momentum=0.1", "optimizer.discriminator.momentum_final=0.5"),
    ],
)
def test_a_run_whose_optimizer_changes_over_it_is_another_one_with_more_steps(typed: tuple[str, ...], compose: Any) -> None:
    longer, shorter = compose(*typed, "steps=20"), compose(*typed, "steps=10")
    assert identity.identity(longer) != identity.identity(shorter)
    assert "_final=" in identity.scheduled("x", longer, shorter)
