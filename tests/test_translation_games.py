"""Translation: what the discriminators see, the weights of the terms, medians and identities, the pool, exact resume."""

from __future__ import annotations

import copy
import dataclasses
import io
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from conftest import compose_config, make_trainer, one_in
from torch import Tensor, nn

from ganrun.disk import checkpoint
from ganrun.engine.latents import Given
from ganrun.games.base import Game
from ganrun.games.cyclegan import CycleGAN
from ganrun.ground import registry
from ganrun.ground.duel import Duel
from ganrun.ground.errors import BadInput
from ganrun.ground.spec import Batch, DiscriminatorOutput, Spec
from ganrun.ground.turn import Stream, Turn

MLP = {
    "name": "mlp",
    "latent": 2,
    "generator": {"width": 8, "depth": 1, "norm": "none"},
    "discriminator": {"width": 8, "depth": 1},
}
POINTS = Spec("points", (2,), None, (2,))


def cast(name: str, spec: Spec = POINTS, family: Mapping[str, Any] = MLP, loss: str = "lsgan", **options: Any) -> Any:
    game = registry.build("game", {"name": name, **options})
    game.build_players(registry.build("model", family), spec, registry.build("loss", {"name": loss}), {}, 0)
    return game


def supply(x: Tensor, source: Tensor | None = None) -> Stream:
    return Stream(len(x), lambda rows: Batch(x[rows], None, None if source is None else source[rows]))


def turn_of(game: Game, phase: str, streams: Mapping[str, Stream], size: int = 6, **more: Any) -> Turn:
    return Turn(0, more.pop("step", 0), phase, 0, size, game.latent_law, torch.device("cpu"), streams, **more)


def noted(game: Game) -> list[Duel]:
    """The duels that ``game`` plays from now on."""
    duels: list[Duel] = []
    original = game.compute_terms
    game.compute_terms = lambda duel, turn, side: duels.append(copy.copy(duel)) or original(duel, turn, side)  # type: ignore
    return duels


class Map(nn.Module):
    """x to scale * x + shift, whatever else it is given."""

    def __init__(self, scale: float, shift: float = 0.0) -> None:
        super().__init__()
        self.scale, self.shift = scale, shift

    def forward(self, x: Tensor, *more: Tensor) -> Tensor:
        return self.scale * x + self.shift


class Constant(nn.Module):
    """A discriminator that always gives one score."""

    def __init__(self, score: float) -> None:
        super().__init__()
        self.score = nn.Parameter(torch.tensor(score))

    def forward(self, *inputs: Tensor) -> DiscriminatorOutput:
        return DiscriminatorOutput(self.score.expand(len(inputs[0])), None)


def draw(seed: int, count: int = 40) -> Tensor:
    return torch.randn(count, 2, generator=torch.Generator().manual_seed(seed))


# from pairs


@pytest.mark.parametrize("conditional", [True, False])
def test_the_discriminator_sees_pairs_with_one_and_the_same_source(conditional: bool) -> None:
    game = cast("pix2pix", conditional=conditional)
    x, source = draw(1), draw(2)
    duels = noted(game)
    game.discriminator_loss(turn_of(game, "discriminator", {"data": supply(x, source)}))
    (duel,) = duels
    assert duel.kinds == (("data", "data") if conditional else ("data",))
    place = [int((x == row).all(1).nonzero()) for row in duel.real[-1]]
    if conditional:
        assert torch.equal(duel.real[0], source[place])
        assert torch.equal(duel.fake[0], source[place])
    assert not torch.equal(duel.fake[-1], duel.real[-1])
    assert not duel.fake[-1].requires_grad
    assert len(game.roles()["discriminator"][0]) == 1 + conditional


@pytest.mark.parametrize(("kind", "wanted"), [("l1", 2.0), ("l2", 4.25)])
def test_the_terms_have_their_weights(kind: str, wanted: float) -> None:
    game = cast("pix2pix", distance=kind, weight=7.0, adversarial=3.0, d_weight=0.25)
    game.players = {"generator": Map(1.0), "discriminator": Constant(0.4)}
    source = draw(2)
    stream = {"data": supply(source + torch.tensor([2.5, -1.5]), source)}
    judged = game.discriminator_loss(turn_of(game, "discriminator", stream))
    made = game.generator_loss(turn_of(game, "generator", stream))
    assert judged["loss"].item() == pytest.approx(0.25 * (0.6**2 + 0.4**2) / 2)
    assert made["loss"].item() == pytest.approx(3 * 0.6**2 / 2)
    assert made["distance"].item() == pytest.approx(7 * wanted, rel=1e-5)


@pytest.mark.parametrize(("kind", "left", "right"), [("l1", 0.0, 1.0), ("l2", 1.2, 0.25)])
def test_without_the_adversary_the_best_answer_is_the_conditional_median_or_mean(kind: str, left: float, right: float) -> None:
    spec = Spec("points", (1,), None, (1,))
    family = {**MLP, "latent": 1, "generator": {"width": 16, "depth": 1, "norm": "none"}}
    game = cast("pix2pix", spec, family, "nonsaturating", distance=kind, adversarial=0.0, weight=1.0)
    # of s = -1 three in five are 0 and two 3; of s = 1 three in four 1 and one -2
    source = torch.cat((-torch.ones(20), torch.ones(20)))[:, None]
    x = torch.cat((torch.tensor([0.0, 0.0, 0.0, 3.0, 3.0]).repeat(4), torch.tensor([1.0, 1.0, 1.0, -2.0]).repeat(5)))[:, None]
    stream, generator = {"data": supply(x, source)}, game.players["generator"]
    optimizer = torch.optim.Adam(generator.parameters(), lr=0.02)
    averaged = torch.zeros(2)
    for step in range(400):
        for group in optimizer.param_groups:
            group["lr"] = 0.02 * (1 - step / 400)
        optimizer.zero_grad()
        sum(game.generator_loss(turn_of(game, "generator", stream, 40, step=step, batch_index=step)).values()).backward()
        optimizer.step()
    with torch.no_grad():
        at = torch.tensor([[-1.0]] * 200 + [[1.0]] * 200)
        averaged = generator(at, torch.randn(400, 1, generator=torch.Generator().manual_seed(0))).view(2, 200).mean(1)
    assert averaged.tolist() == pytest.approx([left, right], abs=0.12)


def test_a_game_that_translates_samples_from_its_sources() -> None:
    game = cast("pix2pix")
    turn = turn_of(game, "sample", {})
    source = draw(3, 6)
    assert torch.equal(game.sample(6, turn, None, source), game.players["generator"](source, turn.latent(6)))
    chosen = torch.full((6, 2), 0.7)
    given = dataclasses.replace(turn, latent_law=Given(2, rows=chosen))
    assert torch.equal(game.sample(6, given, None, source), game.players["generator"](source, chosen))
    with pytest.raises(BadInput, match="without sources"):
        game.sample(6, turn)


# without pairs


def cycle(game: CycleGAN, forth: Map, back: Map, scores: tuple[float, float] = (0.0, 0.0)) -> None:
    judges = {"discriminator": Constant(scores[0]), "inverse_discriminator": Constant(scores[1])}
    game.players = {"generator": forth, "inverse": back, **judges}


def test_two_identities_between_equal_sets_lose_nothing() -> None:
    game = cast("cyclegan")
    cycle(game, Map(1.0), Map(1.0))
    same = supply(draw(1))
    terms = game.generator_loss(turn_of(game, "generator", {"data": same, "source": same}))
    assert terms["cycle"].item() == 0
    assert terms["identity"].item() == 0


def test_cycle_and_identity_have_the_published_form() -> None:
    game = cast("cyclegan", cycle=10.0, identity=5.0, adversarial=2.0, pool=0)
    cycle(game, Map(2.0), Map(0.5, 1.0), (0.3, -0.2))
    x, source = draw(1), draw(2)
    streams = {"data": supply(x), "source": supply(source)}
    turn = turn_of(game, "generator", streams)
    terms = game.generator_loss(turn)
    real, given = turn.real().x, turn.real(stream="source").x
    # F(G(s)) = s + 1, G(F(x)) = x + 2, G(x) = 2 x, F(s) = s / 2 + 1
    assert terms["cycle"].item() == pytest.approx(10 * (1 + 2), rel=1e-5)
    wanted = 5 * (real.abs().mean() + (1 - given / 2).abs().mean())
    assert terms["identity"].item() == pytest.approx(float(wanted), rel=1e-5)
    assert terms["loss"].item() == pytest.approx(2 * 0.7**2 / 2, rel=1e-5)
    assert terms["inverse_loss"].item() == pytest.approx(2 * 1.2**2 / 2, rel=1e-5)
    assert "identity" not in cast("cyclegan", identity=0.0).generator_loss(turn)


def test_each_generator_faces_its_own_discriminator() -> None:
    game = cast("cyclegan", pool=0)
    cycle(game, Map(1.0, 5.0), Map(1.0, -7.0))
    x, source = draw(1), draw(2)
    duels = noted(game)
    turn = turn_of(game, "discriminator", {"data": supply(x), "source": supply(source)})
    terms = game.discriminator_loss(turn)
    assert {"loss", "inverse_loss"} <= set(terms)
    main, other = duels
    assert (main.main, other.main) == (True, False)
    assert main.discriminator is game.players["discriminator"]
    assert other.discriminator is game.players["inverse_discriminator"]
    real, given = turn.real().x, turn.real(stream="source").x
    assert torch.equal(main.real[0], real)
    assert torch.equal(main.fake[0], given + 5)
    assert torch.equal(other.real[0], given)
    assert torch.equal(other.fake[0], real - 7)


def test_the_pool_gives_old_fakes_to_the_discriminators_alone_and_grows_once_an_update() -> None:
    game = cast("cyclegan", pool=12)
    x, source = draw(1), draw(2)
    streams = {"data": supply(x), "source": supply(source)}
    old = 0
    for step in range(60):
        cycle(game, Map(0.0, float(step)), Map(0.0, -float(step)))
        duels = noted(game)
        turn = turn_of(game, "discriminator", streams, step=step, batch_index=step)
        before = copy.deepcopy(game.state_dict())
        game.discriminator_loss(turn)
        game.generator_loss(turn_of(game, "generator", streams, step=step, batch_index=step))
        assert all(torch.equal(before[key], entry) for key, entry in game.state_dict().items())
        game.after_step(game.phases()[0], turn)
        game.after_step(game.phases()[1], turn)
        filled = int(game.pools["generator"].filled)
        assert filled == min(12, 6 * (step + 1))
        judged, judged_inverse, made, made_inverse = duels
        assert (made.fake[0] == step).all()
        assert (made_inverse.fake[0] == -step).all()
        aged = (judged.fake[0] != step).all(1)
        assert (judged.fake[0] <= step).all()
        assert (judged_inverse.fake[0] >= -step).all()
        if step < 2:
            assert not aged.any()  # the pool is not yet full
        else:
            old += int(aged.sum())
        game.__dict__.pop("compute_terms")
    assert old / (58 * 6) == pytest.approx(0.5, abs=0.08)


def tiny(*overrides: str) -> dict[str, Any]:
    return compose_config("batch_size=6", "steps=20", "device=cpu", "metric=none", *overrides)


RING = ("dataset=rotated_ring", "dataset.num=40", "model.latent=2", "model.generator.width=4", "model.discriminator.width=4")
DIGITS = ("dataset.size=8", "model.generator.width=2", "model.discriminator.width=2")
RUNS = {
    "ring": RING,
    "ring, no pairs": (*RING, "game=cyclegan", "game.pool=4", "loss=lsgan"),
    "digits": ("dataset=paired_digits", *DIGITS),
    "digits, penalty, packs": ("dataset=paired_digits", *DIGITS, "regularizer=gradient_penalty", "pack=2", "accumulate=3"),
    "digits, no pairs": ("dataset=unpaired_digits", *DIGITS, "game.pool=5", "n_critic=2", "model.noise=input", "ema=0"),
    "digits, labels": ("dataset=paired_digits", *DIGITS, "condition=projection", "model.generator.norm=batch"),
    "digits, labels, no pairs": ("dataset=unpaired_digits", *DIGITS, "condition=acgan", "regularizer=r1"),
    "shared": ("dataset=paired_digits", *DIGITS, "condition=shared", "model.noise=input"),
    "one a class": ("dataset=unpaired_digits", *DIGITS, "condition=per_class", "batch_size=20", "accumulate=1"),
    "another family": ("dataset=paired_digits", "model=dcgan", *DIGITS, "model.latent=2"),
    "dcgan, no pairs": ("dataset=paired_digits", "game=cyclegan", "model=dcgan", *DIGITS, "model.latent=2", "loss=hinge"),
}


@pytest.mark.parametrize("name", one_in(3, RUNS))
def test_translation_trains_and_resumes_bit_for_bit(name: str) -> None:
    config = tiny(*RUNS[name])
    first = make_trainer(config).trainer
    for _ in range(2):
        first.advance()
    checkpoint.check_types(first.state_dict())
    buffer = io.BytesIO()
    torch.save(first.state_dict(), buffer)
    first.advance()
    first.check()
    second = make_trainer(config).trainer
    buffer.seek(0)
    second.load_state_dict(torch.load(buffer, weights_only=True))
    second.advance()
    assert checkpoint.digest(second.state_dict()) == checkpoint.digest(first.state_dict())


@pytest.mark.parametrize("data", ["dataset=rotated_ring", "dataset=unpaired_digits"])
def test_micro_batches_fill_the_pool_as_the_whole_batch_does(data: str) -> None:
    options = RING if "ring" in data else DIGITS
    run = (data, *options, "game=cyclegan", "game.pool=8", "optimizer=sgd", "model.generator.norm=none", "loss=lsgan")
    run = (*run, "model.discriminator.norm=none", *(() if "ring" in data else ("model.noise=none",)))
    whole, parts = (make_trainer(tiny(*run, f"accumulate={count}")).trainer for count in (1, 3))
    for trainer in (whole, parts):
        for _ in range(3):
            trainer.advance()
    for key, entry in whole.game.state_dict().items():
        assert torch.allclose(entry, parts.game.state_dict()[key], atol=1e-5), key
    assert int(whole.game.pools["generator"].filled) == 8


@pytest.mark.parametrize(
    ("game", "model", "data", "match"),
    [
        ("pix2pix", "mlp", "ring8", "dataset=paired_digits"),
        ("pix2pix", "mlp", "unpaired_digits", "dataset=paired_digits"),
        ("cyclegan", "mlp", "ring8", "dataset=unpaired_digits"),
        ("adversarial", "unet", "paired_digits", "game=pix2pix"),
    ],
)
def test_what_cannot_be_translated_is_refused_with_a_remedy(game: str, model: str, data: str, match: str) -> None:
    with pytest.raises(BadInput, match=f"Try {match}"):
        make_trainer(tiny(f"dataset={data}", f"game={game}", f"model={model}"))


def test_sources_of_another_shape_need_the_identity_loss_off() -> None:
    spec = Spec("points", (2,), None, (3,))
    with pytest.raises(BadInput, match=r"game\.identity=0"):
        cast("cyclegan", spec)
    game = cast("cyclegan", spec, identity=0.0)
    streams = {"data": supply(draw(1)), "source": supply(torch.randn(40, 3))}
    assert torch.isfinite(sum(game.generator_loss(turn_of(game, "generator", streams)).values()))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"name": "pix2pix", "distance": "l3"}, "'l"),
        ({"name": "pix2pix", "weight": -1.0}, "weight=-1.0"),
        ({"name": "cyclegan", "pool": -1}, "pool=-1"),
        ({"name": "cyclegan", "cycle": -1.0}, "cycle=-1.0"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], match: str) -> None:
    with pytest.raises(BadInput, match=match):
        registry.build("game", options)
