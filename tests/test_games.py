"""The base game: who is cast, in which phases, on which batches, and what a duel is made of."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from ganrun.games.adversarial import Adversarial
from ganrun.ground import registry
from ganrun.ground.duel import Duel
from ganrun.ground.errors import BadInput
from ganrun.ground.spec import Batch, Spec
from ganrun.ground.turn import Stream, Turn
from ganrun.networks.mlp import MLP, LayerOptions
from ganrun.regularizers.base import Regularizer

SPEC = Spec("points", (2,), 3)


def cast(
    regularizers: dict[str, Regularizer] | None = None, family: MLP | None = None, seed: int = 0, **options: Any
) -> Adversarial:
    game = Adversarial(**options)
    family = family or MLP(latent=3, generator=LayerOptions(width=6), discriminator=LayerOptions(width=6))
    game.build_players(family, SPEC, registry.build("loss", {"name": "nonsaturating"}), regularizers or {}, seed)
    return game


def weights(game: Adversarial, role: str) -> Tensor:
    return torch.cat([entry.detach().flatten() for entry in game.players[role].parameters()])


# casting


def test_each_player_is_made_from_a_random_stream_of_its_own() -> None:
    small, large = MLP(latent=3, generator=LayerOptions(width=6)), MLP(latent=3, generator=LayerOptions(width=60, norm="batch"))
    one, other = cast(family=small), cast(family=large)
    assert torch.equal(weights(one, "discriminator"), weights(other, "discriminator"))
    assert torch.equal(weights(one, "generator"), weights(cast(family=small), "generator"))
    assert not torch.equal(weights(one, "generator"), weights(cast(family=small, seed=1), "generator"))


def test_a_regularizer_that_draws_numbers_does_not_change_the_players_weights() -> None:
    divided = cast({"spectral_norm": registry.build("regularizer", {"name": "spectral_norm", "sides": ["generator"]})})
    plain = cast()
    assert torch.equal(weights(divided, "discriminator"), weights(plain, "discriminator"))
    originals = [entry for name, entry in divided.players["generator"].named_parameters() if name.endswith("original")]
    matrices = [entry for entry in plain.players["generator"].parameters() if entry.ndim == 2]
    assert all(torch.equal(one, other) for one, other in zip(originals, matrices, strict=True))


class Watcher(Regularizer):
    """Notes when it is asked for what."""

    def __init__(self, name: str, calls: list[str], sides: tuple[str, ...] = ("discriminator", "generator")) -> None:
        super().__init__()
        self.name, self.calls, self.sides = name, calls, sides
        self.weight = 2.0

    def prepare(self, players: Any) -> None:
        self.calls.append(f"{self.name} prepares {'+'.join(sorted(players))}")

    def before(self, duel: Duel, turn: Turn) -> None:
        self.calls.append(f"{self.name} before {turn.phase}")
        assert not duel._outputs

    def term(self, duel: Duel, players: Any, turn: Turn) -> Tensor:
        self.calls.append(f"{self.name} term {turn.phase} {'+'.join(players)}")
        assert duel.fake_output
        return torch.tensor(5.0)

    def after_step(self, players: Any, duel: Duel, turn: Turn) -> None:
        self.calls.append(f"{self.name} after {turn.phase} {'+'.join(players)}")


@pytest.mark.parametrize("typed", [["b", "a"], ["a", "b"]])
def test_regularizers_are_asked_in_an_order_of_their_own_and_only_on_their_sides(typed: list[str], toy: Any) -> None:
    calls: list[str] = []
    watchers = {"a": Watcher("a", calls), "b": Watcher("b", calls, ("generator",))}
    trainer = toy("mlp", "toy_points").trainer
    game = cast({name: watchers[name] for name in typed})
    assert calls == ["a prepares discriminator+generator", "b prepares generator"]
    assert game.consulted == {"a", "b"}
    game.players = trainer.game.players
    trainer.game = game
    calls.clear()
    trainer.phases = game.phases()
    trainer.advance()
    assert calls == [
        "a before discriminator",
        "a term discriminator discriminator",
        "a after discriminator discriminator",
        "a before generator",
        "b before generator",
        "a term generator generator",
        "b term generator generator",
        "a after generator generator",
        "b after generator generator",
    ]
    assert float(trainer.terms["discriminator/a"]) == 10.0  # times its weight
    assert "discriminator/b" not in trainer.terms


def test_a_regularizer_of_no_phase_is_not_consulted() -> None:
    assert cast({"a": Watcher("a", [], ("encoder",))}).consulted == set()


# phases and batches


@pytest.mark.parametrize("n_critic", [1, 3])
def test_the_critic_plays_n_critic_times_on_fresh_batches_and_the_generator_sees_the_last(n_critic: int, toy: Any) -> None:
    made = toy("mlp", "toy_points", f"n_critic={n_critic}")
    trace: list[tuple[str, int, int, int, Tensor, Tensor]] = []
    original = made.parts.game.duel

    def duel(turn: Turn) -> Duel:
        found = original(turn)
        trace.append((turn.phase, turn.step, turn.repeat, turn.update, found.real[0], found.fake[0]))
        return found

    made.parts.game.duel = duel
    for _ in range(4):
        made.trainer.advance()
    wanted = []
    for step in range(4):
        wanted += [("discriminator", step, repeat, step * n_critic + repeat) for repeat in range(n_critic)]
        wanted.append(("generator", step, 0, step))
    assert [entry[:4] for entry in trace] == wanted
    for index, (phase, _, _, _, real, fake) in enumerate(trace):
        if phase == "generator":
            assert torch.equal(real, trace[index - 1][4])
        assert not torch.equal(fake, trace[index - 1][5])  # latents are always new
    critic_batches = torch.cat([entry[4] for entry in trace if entry[0] == "discriminator"])
    for start in range(0, len(critic_batches) - 22, 23):  # each pass holds each of the 23 points once
        assert len(critic_batches[start : start + 23].unique(dim=0)) == 23
    assert made.trainer.images == 4 * n_critic * 4


def test_n_critic_must_be_at_least_one(compose: Any) -> None:
    with pytest.raises(BadInput, match="n_critic=0"):
        registry.build("game", {"name": "adversarial", "n_critic": 0})


def test_no_graph_is_built_through_the_generator_in_the_critics_phase(toy: Any) -> None:
    game = toy("mlp", "toy_points").parts.game
    duels: list[Duel] = []
    original = game.compute_terms
    game.compute_terms = lambda duel, turn, side: duels.append(duel) or original(duel, turn, side)
    trainer = toy("mlp", "toy_points").trainer
    game.players, trainer.game, trainer.phases = trainer.game.players, game, game.phases()
    trainer.advance()
    critic, generator = duels
    assert not critic.fake[0].requires_grad
    assert generator.fake[0].requires_grad
    assert critic.fake_output.score.requires_grad


def test_the_critics_objective_reaches_no_generator_even_one_that_is_open() -> None:
    game = cast()
    stream = Stream(9, lambda indices: Batch(torch.randn(len(indices), 2)))
    turn = Turn(0, 0, "discriminator", 0, 5, game.latent_law, torch.device("cpu"), {"data": stream})
    sum(game.discriminator_loss(turn).values()).backward()
    assert all(entry.grad is None for entry in game.players["generator"].parameters())
    assert all(entry.grad is not None for entry in game.players["discriminator"].parameters())
    turn.phase = "generator"
    game.generator_loss(turn)["loss"].backward()
    assert all(entry.grad is not None for entry in game.players["generator"].parameters())


# conditions


def test_fakes_are_made_with_the_labels_of_the_real_batch(toy: Any) -> None:
    made = toy("mlp", "toy_points", "condition=concat")
    duels: list[Duel] = []
    original = made.parts.game.compute_terms
    made.parts.game.compute_terms = lambda duel, turn, side: duels.append(duel) or original(duel, turn, side)
    made.trainer.advance()
    centres = torch.tensor([[1.0, 0.0], [-1.0, 1.0], [0.0, -1.0]])
    for duel in duels:
        nearest = torch.cdist(duel.real[0].float(), centres).argmin(1)
        assert torch.equal(duel.real_condition, nearest)
        assert duel.fake_condition is duel.real_condition


def test_a_condition_needs_labels_and_says_what_to_do_without(toy: Any) -> None:
    with pytest.raises(BadInput, match=r"needs labels.*Try condition=none"):
        toy("mlp", "toy_unlabelled", "condition=concat")


def test_an_unknown_condition_is_refused_with_the_nearest() -> None:
    with pytest.raises(BadInput, match="'concat'"):
        registry.build("game", {"name": "adversarial", "condition": "concatt"})


# sampling


def test_a_sample_is_what_the_generator_makes_of_the_turns_latents(toy: Any) -> None:
    made = toy("mlp", "toy_points", "condition=concat")
    game = made.parts.game
    turn = Turn(0, 0, "sample", 0, 5, game.latent_law, torch.device("cpu"))
    labels = torch.tensor([0, 1, 2, 0, 1])
    with torch.no_grad():
        wanted = game.players["generator"](turn.latent(), condition=labels)
        assert torch.equal(game.sample(5, turn, labels), wanted)


def test_hooks_see_single_samples_before_and_packs_after_the_verdict() -> None:
    shapes: list[tuple[int, ...]] = []

    class Shapes(Regularizer):
        def before(self, duel: Duel, turn: Turn) -> None:
            shapes.append((*duel.real[0].shape, *duel.fake[0].shape))

        def term(self, duel: Duel, players: Any, turn: Turn) -> Tensor:
            shapes.append((*duel.real[0].shape, *duel.fake[0].shape))
            return duel.real_output.score.mean() * 0

    game = cast({"shapes": Shapes()}, pack=2)
    x = torch.randn(6, 2)
    stream = Stream(6, lambda rows: Batch(x[rows], rows % 3))
    at = Turn(0, 0, "discriminator", 0, 6, game.latent_law, torch.device("cpu"), {"data": stream})
    game.discriminator_loss(at)
    assert shapes == [(6, 2, 6, 2), (3, 4, 3, 4)]
