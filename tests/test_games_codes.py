"""Games whose latents can be read back from samples, against information and divergences that are known."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from conftest import compose_config, make_trainer
from staged import Judge, Linear, gradient, staged, turn_of
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence
from torch.nn.functional import softplus

from ganrun.data.base import to_pixels
from ganrun.engine.latents import of_samples
from ganrun.engine.sampling import generate
from ganrun.ground import registry
from ganrun.ground.errors import BadInput
from ganrun.ground.spec import DiscriminatorOutput, Latent
from ganrun.metrics.classifier import Classifier

# InfoGAN


class Reader(nn.Module):
    """A free reading of each of a few atoms, which are points 0, 1, 2 ..."""

    num_features = 0

    def __init__(self, atoms: int, codes: int) -> None:
        super().__init__()
        self.readings = nn.Parameter(torch.zeros(atoms, codes))

    def forward(self, x: Tensor) -> DiscriminatorOutput:
        return DiscriminatorOutput(0 * x.squeeze(1), x, {"codes": self.readings[x.squeeze(1).round().long()]})


class Channel(nn.Module):
    """Latents with a category of three to an atom of three: it is the category's with probability 0.8, else the next one."""

    def forward(self, z: Tensor) -> Tensor:
        wrong = (torch.special.ndtr(z[:, :1]) < 0.2).long()
        return ((z[:, 1:4].argmax(1, keepdim=True) + wrong) % 3).to(z.dtype)


def informed(generator: nn.Module, judge: nn.Module, **options: Any) -> Any:
    game = staged("infogan", {"generator": generator, "discriminator": judge}, **options)
    game.latent_law = game.law(Latent(1))
    return game


def test_the_best_reading_reaches_the_information_of_a_noisy_channel(float64: None) -> None:
    game = informed(Channel(), Reader(3, 3), categories=[3], continuous=0)
    turn = turn_of(game, "discriminator", torch.zeros(3_000, 1))
    terms = game.discriminator_loss(turn)
    assert float(terms["categories"].detach()) == pytest.approx(0, abs=1e-12)  # a reading that knows nothing
    reader: Any = game.players["discriminator"]
    wanted = 0.8 * torch.eye(3) + 0.2 * torch.eye(3).roll(1, 0)  # p(c | x), row by row
    optimizer = torch.optim.SGD(reader.parameters(), lr=6.0)
    for _ in range(40):
        optimizer.zero_grad()
        value = game.discriminator_loss(turn)["categories"]
        value.backward()
        optimizer.step()
    reached = -float(value.detach())
    noise = -0.8 * math.log(0.8) - 0.2 * math.log(0.2)
    assert reached == pytest.approx(math.log(3) - noise, abs=0.05)
    torch.testing.assert_close(reader.readings.softmax(1), wanted, atol=0.05, rtol=0)


def test_a_number_that_can_be_read_exactly_is_worth_its_entropy_and_the_reading_s() -> None:
    class Exact(nn.Module):
        num_features = 0

        def forward(self, x: Tensor) -> DiscriminatorOutput:
            return DiscriminatorOutput(0 * x[:, 0], x, {"codes": x})

    class Codes(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return z[:, 1:]

    for deviation in (1.0, 0.1):
        game = informed(Codes(), Exact(), categories=[], continuous=2, continuous_weight=1.0, deviation=deviation, weight=0.0)
        terms = game.generator_loss(turn_of(game, "generator", torch.zeros(50, 2)))
        wanted = 2 * (math.log(2) - math.log(2 * math.pi * deviation**2) / 2)
        assert float(terms["numbers"]) == pytest.approx(-wanted, rel=1e-5)
        reading, latent = torch.zeros(50_000, 2), game.latent_law.draw(50_000, torch.Generator().manual_seed(0))
        blind = float(game.information(reading, latent)[1])
        assert blind == pytest.approx(wanted - 2 / 3 / (2 * deviation**2), rel=0.02)  # U(-1, 1) has the variance 1/3


def test_codes_have_their_own_laws_and_samples_take_them_along() -> None:
    game: Any = registry.build("game", {"name": "infogan", "categories": [3, 2], "continuous": 2})
    law = game.law(Latent(4, "uniform"))
    rows = law.draw(6000, torch.Generator().manual_seed(1))
    assert rows.shape == (6000, law.size) == (6000, 4 + 3 + 2 + 2)
    torch.testing.assert_close(rows[:, 4:9].mean(0), torch.tensor([1 / 3] * 3 + [1 / 2] * 2), atol=0.02, rtol=0)
    assert torch.equal(rows[:, 4:7].sum(1), torch.ones(6000))
    assert rows[:, 9:].min() < -0.99
    assert rows[:, 9:].max() > 0.99
    with pytest.raises(BadInput, match="with codes"):
        of_samples(law, 4, 0, truncation=0.5)


def test_both_players_gain_by_readable_codes_whatever_happens_to_the_fakes(toy: Any) -> None:
    for more, steps in (("none", 60), ("[instance_noise,replay]", 3), ("top_k", 8), ("r2", 2)):
        made = toy(
            "mlp",
            "toy_points",
            "game=infogan",
            "game.categories=[3]",
            "game.continuous=1",
            f"regularizer={more}",
            "optimizer.lr=0.02",
        )
        seen = []
        original = made.parts.game.information

        def information(reading: Tensor, latent: Tensor, original: Any = original, seen: Any = seen, made: Any = made) -> Any:
            with torch.no_grad():
                fakes = made.parts.game.generate(latent, None)
                again = made.parts.game.players["discriminator"](fakes).heads["codes"]
            seen.append(torch.allclose(again, reading, atol=1e-5))
            return original(reading, latent)

        made.parts.game.information = information
        first = None
        for _ in range(steps):
            made.trainer.advance()
            first = made.trainer.terms if first is None else first
        assert all(seen), more
        assert {"discriminator/categories", "discriminator/numbers", "generator/categories"} <= first.keys()
        if more == "none":
            assert float(made.trainer.terms["discriminator/categories"]) < -0.03


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"categories": [1]}, "at least 2"),
        ({"categories": [], "continuous": 0}, "nothing to be read"),
        ({"deviation": 0.0}, "must be positive"),
        ({"weight": -1.0}, "must not be negative"),
    ],
)
def test_impossible_codes_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises((BadInput, ValueError), match=message):
        registry.build("game", {"name": "infogan", **options})


# BiGAN and ALI


def pairs(stochastic: bool = False, **options: Any) -> Any:
    """G(z) = 2 z, E(x) = 3 x or its two numbers, s(x, z) = w_0 x + w_1 z + w_2 x z."""
    players = {
        "generator": Linear(2.0),
        "encoder": Twofold() if stochastic else Linear(3.0),
        "discriminator": Judge(lambda x, w: x @ w[:2] + w[2] * x[:, 0] * x[:, 1], torch.tensor([0.5, -0.3, 0.2])),
    }
    return staged("bigan", players, stochastic=stochastic, **options)


class Twofold(nn.Module):
    """x to the mean 3 x and the deviation 1/2."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(3.0))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((self.a * x, torch.full_like(x, math.log(0.5))), 1)


def test_generator_and_encoder_learn_from_the_discriminators_loss_with_the_sides_exchanged(float64: None) -> None:
    x = torch.randn(9, 1, generator=torch.Generator().manual_seed(0))
    game = pairs()
    turn = turn_of(game, "generator", x)
    z, w = turn.latent(9).double(), game.players["discriminator"].weights.detach()
    score = lambda x, z: (w[0] * x + w[1] * z + w[2] * x * z).squeeze(1)  # noqa: E731
    a, b = torch.tensor(2.0, requires_grad=True), torch.tensor(3.0, requires_grad=True)
    wanted = softplus(score(x, b * x)).mean() + softplus(-score(a * z, z)).mean()
    terms = game.generator_loss(turn)
    torch.testing.assert_close(terms["loss"], wanted)
    found = gradient(terms["loss"], game.players["generator"], game.players["encoder"])
    torch.testing.assert_close(found, list(torch.autograd.grad(wanted, (a, b))))
    judged = game.discriminator_loss(turn_of(game, "generator", x))["loss"]
    with torch.no_grad():
        torch.testing.assert_close(judged, softplus(-score(x, b * x)).mean() + softplus(score(a * z, z)).mean())
    assert not any(entry.any() for entry in gradient(judged, game.players["generator"], game.players["encoder"]))


def test_an_encoder_of_ali_draws_its_codes(float64: None) -> None:
    x = torch.linspace(-1, 1, 4000)[:, None]
    game = pairs(stochastic=True)
    code = game.duel(turn_of(game, "discriminator", x)).real[1]
    rest = (code - 3 * x).detach()
    assert float(rest.mean()) == pytest.approx(0, abs=0.03)
    assert float(rest.std()) == pytest.approx(0.5, rel=0.03)
    assert gradient(code.sum(), game.players["encoder"])[0].shape == ()


def test_a_run_of_bigan_trains_the_encoder_beside_the_generator(toy: Any) -> None:
    made = toy("mlp", "toy_points", "game=bigan", "optimizer.lr=0.003", "batch_size=16", "model.generator.norm=none")
    for _ in range(3):
        made.trainer.advance()
    assert {"discriminator/loss", "generator/loss", "generator/encoder_gradient_norm"} <= made.trainer.terms.keys()
    assert float(made.trainer.terms["generator/encoder_gradient_norm"]) > 0


# VAE/GAN


def variational(**options: Any) -> Any:
    players = {"generator": Linear(2.0), "encoder": Twofold(), "discriminator": Judge(lambda x, w: x @ w, torch.tensor([0.7]))}
    return staged("vaegan", players, **options)


def test_codes_cost_their_divergence_and_the_encoder_hears_of_features_alone(float64: None) -> None:
    x = torch.randn(11, 1, generator=torch.Generator().manual_seed(0))
    game = variational(prior=0.5)
    turn = turn_of(game, "encoder", x)
    terms = game.encode_well(turn)
    wanted = kl_divergence(Normal(3 * x, 0.5), Normal(0.0, 1.0)).sum(1).mean()
    torch.testing.assert_close(terms["prior"], 0.5 * wanted)
    a = torch.tensor(3.0, requires_grad=True)
    again = 2 * (a * x + 0.5 * turn.noise("encoder", x))  # D's features are the sample itself
    likelihood = (x - again).square().sum(1).mean() / 2
    torch.testing.assert_close(terms["likelihood"], likelihood)
    torch.testing.assert_close(gradient(terms["likelihood"], game.players["encoder"])[0], torch.autograd.grad(likelihood, a)[0])
    assert game.phases()[1].trains == ("encoder",)


def test_both_kinds_of_fakes_count_once_each_and_the_generator_hears_of_features_by_its_weight(float64: None) -> None:
    x = torch.randn(11, 1, generator=torch.Generator().manual_seed(0))
    game = variational(reconstruction=0.3)
    for phase, act in (("discriminator", game.discriminator_loss), ("generator", game.generator_loss)):
        turn = turn_of(game, phase, x)
        terms = act(turn)
        made, rebuilt = 2 * turn.latent(11).double(), 2 * (3 * x + 0.5 * turn.noise("encoder", x))
        s = lambda x: 0.7 * x.squeeze(1)  # noqa: E731
        if phase == "discriminator":
            wanted = softplus(-s(x)).mean() + softplus(s(made)).mean() + softplus(s(rebuilt)).mean()
        else:
            wanted = softplus(-s(made)).mean() + softplus(-s(rebuilt)).mean()
            torch.testing.assert_close(terms["likelihood"], 0.3 * (x - rebuilt).square().sum(1).mean() / 2)
        torch.testing.assert_close(terms["loss"], wanted)


def test_a_uniform_prior_is_refused(toy: Any) -> None:
    with pytest.raises(BadInput, match=r"model\.prior=normal"):
        toy("mlp", "toy_points", "game=vaegan", "model.prior=uniform")


@pytest.mark.long
def test_the_shipped_classifier_reads_the_category_of_digits() -> None:
    config = compose_config(
        "model=mlp", "steps=2000", "ema=0.995", "regularizer=[r1]", "regularizer.r1.weight=0.1", "game=infogan", "metric=none"
    )
    made, count = make_trainer(config), 100
    for _ in range(2000):
        made.trainer.advance()
    game = made.parts.game
    latents = game.latent_law.draw(10 * count, torch.Generator().manual_seed(0))
    first = game.latent_law.size - 12
    latents[:, first : first + 10] = torch.eye(10).repeat_interleave(count, 0)
    x = generate(game, len(latents), seed=0, runtime=made.trainer.runtime, averages=made.trainer.averages, latents=latents)
    reader = Classifier()
    reader.prepare(made.dataset, torch.device("cpu"), print)
    seen = reader(to_pixels(x))[1].argmax(1)
    joint = torch.stack([torch.bincount(rows, minlength=10) for rows in seen.split(count)]).double() / len(seen)
    information = torch.special.xlogy(joint, joint / (joint.sum(0) * joint.sum(1, keepdim=True))).nansum()
    assert float(information) > 1.2  # of log 10 = 2.30 nats


# AAE


@pytest.mark.parametrize("phase", ["discriminator", "generator"])
def test_codes_play_against_the_prior_and_samples_are_rebuilt(phase: str, float64: None) -> None:
    judge = Judge(lambda x, w: w[0] * x.squeeze(1), torch.tensor([0.7]))
    players = {"generator": Linear(2.0), "encoder": Linear(3.0), "discriminator": judge}
    game, x = staged("aae", players, reconstruction=0.4), torch.linspace(-1, 1, 11)[:, None]
    turn = turn_of(game, phase, x)
    prior = turn.latent(11).double()
    if phase == "discriminator":
        terms = game.discriminator_loss(turn)
        wanted = softplus(-0.7 * prior).mean() + softplus(0.7 * 3 * x).mean()
        torch.testing.assert_close(terms["loss"], wanted)
        return
    terms = game.generator_loss(turn)
    torch.testing.assert_close(terms["loss"], softplus(-0.7 * 3 * x).mean())
    torch.testing.assert_close(terms["reconstruction"], 0.4 * (x - 6 * x).square().mean())
    terms["loss"].backward(retain_graph=True)
    assert players["generator"].a.grad is None  # what D says of codes is the encoder's alone
    assert players["encoder"].a.grad != 0
    terms["reconstruction"].backward()
    torch.testing.assert_close(players["generator"].a.grad, 0.4 * (2 * (6 * x - x) * 3 * x).mean())


def test_the_encoder_ends_at_the_law_of_the_prior() -> None:
    """Data of standard deviation 4 through a linear autoencoder: codes of standard deviation 1, up to their sign."""
    torch.manual_seed(0)
    judge = Judge(lambda x, w: w[0] - w[1].square() * x.squeeze(1) ** 2, torch.tensor([0.0, 0.3]))
    players = {"generator": Linear(1.0), "encoder": Linear(1.0), "discriminator": judge}
    game = staged("aae", players, reconstruction=0.01)
    x, source = torch.empty(0), torch.Generator().manual_seed(1)
    rates = {"discriminator": 0.02, "generator": 0.01}
    optimizers = {
        phase.name: torch.optim.Adam(
            [p for role in phase.trains for p in players[role].parameters()], rates[phase.name], (0.0, 0.9)
        )
        for phase in game.phases()
    }
    for step in range(350):
        x = 4 * torch.randn(200, 1, generator=source)
        for phase in game.phases():
            optimizers[phase.name].zero_grad()
            sum(phase.objective(turn_of(game, phase.name, x, step=step)).values()).backward()
            optimizers[phase.name].step()
    assert abs(float(players["encoder"].a.detach())) * 4 == pytest.approx(1, abs=0.2)
    assert float((players["encoder"].a * players["generator"].a).detach()) == pytest.approx(1, abs=0.2)


def test_a_discriminator_of_codes_is_there_for_images_and_refused_where_it_is_asked_for_samples(toy: Any) -> None:
    made = toy("dcgan", "toy_images", "game=aae", "condition=concat")
    assert made.parts.game.players["discriminator"](torch.randn(2, 3), condition=torch.tensor([0, 1])).score.shape == (2,)
    for other in ("condition=acgan", "condition=matching_aware"):
        with pytest.raises(BadInput, match="codes of the prior"):
            toy("dcgan", "toy_images", "game=aae", other)
    with pytest.raises(BadInput, match="game=adversarial"):
        toy("mlp", "toy_points", "game=aae", "model=autoencoder", "loss=energy")
