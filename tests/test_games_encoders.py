"""Games with a player that maps samples back to codes: VEEGAN, Reg-GAN and MDGAN, against what paper gives for linear players."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from staged import Judge, Linear, gradient, staged, turn_of
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from ganrun.ground import registry
from ganrun.ground.errors import BadInput


def flat(x: Tensor, w: Tensor) -> Tensor:
    """A score that is ``w`` for every pair."""
    return w[0] + 0 * x.sum(1)


def quadratic(x: Tensor, w: Tensor) -> Tensor:
    """Any quadratic of two numbers."""
    a, b = x[:, 0], x[:, 1]
    return torch.stack((a * a, b * b, a * b, a, b, torch.ones_like(a)), 1) @ w


def fit(objective: Any, judge: nn.Module, iterations: int = 60) -> float:
    """Minimise a discriminator's objective, which always draws the same; returns the value reached."""
    optimizer = torch.optim.LBFGS(judge.parameters(), max_iter=iterations, line_search_fn="strong_wolfe", tolerance_grad=1e-12)

    def closure() -> Tensor:
        optimizer.zero_grad()
        total: Tensor = sum(objective().values())
        total.backward()
        return total.detach()

    optimizer.step(closure)
    return float(closure())


# VEEGAN


class Noisy(nn.Module):
    """z -> a z + spread * e: always the same e."""

    def __init__(self, a: float, spread: float) -> None:
        super().__init__()
        self.a, self.spread = nn.Parameter(torch.tensor(a)), spread

    def forward(self, z: Tensor) -> Tensor:
        noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(3), dtype=z.dtype)
        return self.a * z + self.spread * noise


def veegan(a: float, b: float, *, judge: nn.Module | None = None, generator: nn.Module | None = None, **options: Any) -> Any:
    players = {
        "generator": generator or Linear(a),
        "reconstructor": Linear(b),
        "discriminator": judge or Judge(quadratic, torch.zeros(6)),
    }
    return staged("veegan", players, **{"deviation": "fixed", **options})


def test_the_discriminators_optimum_is_the_log_ratio_of_two_gaussians_of_pairs(float64: None) -> None:
    a, spread, b, noise, scale = 1.5, 0.8, 0.4, 0.7, 1.2
    source, count = torch.Generator().manual_seed(0), 100_000
    x = scale * torch.randn(count, 1, generator=source)
    game = veegan(a, b, generator=Noisy(a, spread), noise=noise, weight=0.0)
    judge = game.players["discriminator"]
    # each the joint law of (sample, code)
    generated = torch.tensor([[a * a + spread**2, a], [a, 1.0]])
    real = torch.tensor([[scale**2, b * scale**2], [b * scale**2, b * b * scale**2 + noise**2]])
    q, p = (MultivariateNormal(torch.zeros(2), entry) for entry in (generated, real))
    fit(lambda: game.discriminator_loss(turn_of(game, "discriminator", x)), judge)
    difference = (torch.linalg.inv(generated) - torch.linalg.inv(real)) / 2  # log p - log q is x' (Q^-1 - P^-1) x / 2 + ...
    wanted = torch.tensor([difference[0, 0], difference[1, 1], 2 * difference[0, 1], 0.0, 0.0, 0.0])
    wanted[5] = (torch.logdet(generated) - torch.logdet(real)) / 2
    assert torch.allclose(judge.weights.detach(), wanted, atol=0.05)
    # the paper's D = -s is large on generated pairs: its mean there, which G minimises, is KL(q | p) > 0
    kl = torch.distributions.kl_divergence(q, p)
    terms = game.generator_loss(turn_of(game, "generator", x))
    assert terms["loss"].item() == pytest.approx(float(kl), abs=0.03)
    assert float(kl) > 0.1


def test_a_perfect_pair_leaves_the_discriminator_at_two_log_two(float64: None) -> None:
    x = 2.0 * torch.randn(100_000, 1, generator=torch.Generator().manual_seed(0))
    found = {}
    for b in (0.5, 0.4):
        game = veegan(2.0, b, noise=0.0)
        objective = lambda game=game: game.discriminator_loss(turn_of(game, "discriminator", x))  # noqa: E731
        assert float(sum(objective().values()).detach()) == pytest.approx(2 * math.log(2))
        found[b] = fit(objective, game.players["discriminator"], 20)
    assert found[0.5] == pytest.approx(2 * math.log(2), abs=1e-3)
    assert found[0.4] < 0.5  # not the inverse: real pairs lie on another line
    perfect = veegan(2.0, 0.5, noise=0.0)
    terms = perfect.generator_loss(turn_of(perfect, "generator", x))
    assert terms["reconstruction"].item() == pytest.approx(0.0, abs=1e-12)


def test_the_reconstruction_and_its_gradients_are_those_on_paper(float64: None) -> None:
    a, b, weight = 1.5, 0.4, 3.0
    game = veegan(a, b, weight=weight, latent=2)
    game.players["discriminator"] = Judge(flat, torch.zeros(1))
    turn = turn_of(game, "generator", torch.zeros(5, 2))
    terms, square = game.generator_loss(turn), float(turn.latent(5).square().sum(1).mean())
    assert terms["reconstruction"].item() == pytest.approx(weight * (1 - a * b) ** 2 * square)
    of_generator, of_reconstructor = gradient(terms["reconstruction"], game.players["generator"], game.players["reconstructor"])
    assert float(of_generator) == pytest.approx(-2 * weight * b * (1 - a * b) * square)
    assert float(of_reconstructor) == pytest.approx(-2 * weight * a * (1 - a * b) * square)


@pytest.mark.parametrize("loss", ["nonsaturating", "rpgan", "wasserstein"])
@pytest.mark.parametrize("raw", [True, False])
def test_the_duel_teaches_the_reconstructor_nothing_in_either_phase(loss: str, raw: bool, float64: None) -> None:
    game = veegan(1.5, 0.4, loss=loss, raw=raw, judge=Judge(quadratic, torch.tensor([0.3, -0.2, 0.5, 0.1, 0.7, 0.0])))
    x = torch.tensor([[0.5], [-1.0], [2.0]])
    adversarial = game.generator_loss(turn_of(game, "generator", x))["loss"]
    of_generator, of_reconstructor = gradient(adversarial, game.players["generator"], game.players["reconstructor"])
    assert float(of_reconstructor) == 0.0
    assert float(of_generator) != 0.0
    judged = game.discriminator_loss(turn_of(game, "discriminator", x))["loss"]
    grads = gradient(judged, game.players["generator"], game.players["reconstructor"], game.players["discriminator"])
    assert [bool(entry.any()) for entry in grads] == [False, False, True]


def test_the_generators_term_is_the_plain_score_or_the_losss_own() -> None:
    judge = Judge(lambda x, w: w[0] * x[:, 0], torch.tensor([0.7]))
    x = torch.zeros(3, 1)
    for raw in (True, False):
        game = veegan(2.0, 0.5, judge=judge, raw=raw)
        turn = turn_of(game, "generator", x)
        score = 0.7 * 2.0 * turn.latent(3)[:, 0]
        wanted = -score.mean() if raw else nn.functional.softplus(-score).mean()
        assert game.generator_loss(turn)["loss"].item() == pytest.approx(float(wanted), rel=1e-5)


def test_noise_stands_on_the_codes_of_real_samples_alone() -> None:
    game = veegan(2.0, 0.5, noise=0.3)
    x = torch.randn(50_000, 1, generator=torch.Generator().manual_seed(1))
    duel = game.duel(turn_of(game, "generator", x))
    apart = duel.real[1] - 0.5 * x
    assert float(apart.std()) == pytest.approx(0.3, rel=0.02)
    assert abs(float((apart * x).mean())) < 0.01
    assert torch.equal(duel.fake[0], 2.0 * duel.fake[1])
    assert duel.kinds == ("data", "code")


def test_the_discriminator_is_made_for_pairs(toy: Any) -> None:
    made = toy("dcgan", "toy_images", "game=veegan", "pack=2")
    players = made.trainer.game.players
    assert players["discriminator"].layers[0].in_channels == 2 * (1 + 3)  # packs of an image and a code of three
    assert players["reconstructor"](torch.zeros(4, 1, 8, 8)).shape == (4, 6)  # a mean and a deviation each
    fixed = toy("dcgan", "toy_images", "game=veegan", "game.deviation=fixed").trainer.game.players
    assert fixed["reconstructor"](torch.zeros(4, 1, 8, 8)).shape == (4, 3)


class Gaussian(nn.Module):
    """x -> b x as the mean and, in softplus's terms, ``raw`` as the deviation of a code."""

    def __init__(self, b: float, raw: float) -> None:
        super().__init__()
        self.b, self.raw = nn.Parameter(torch.tensor(b)), nn.Parameter(torch.tensor(raw))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((self.b * x, self.raw.expand_as(x)), 1)


def learned(b: float, raw: float, **options: Any) -> Any:
    players = {"reconstructor": Gaussian(b, raw), "discriminator": Judge(flat, torch.zeros(1))}
    game = veegan(1.5, b, deviation="learned", **options)
    game.players |= players
    return game


def test_a_learned_reconstruction_is_the_likelihood_of_the_code(float64: None) -> None:
    game = learned(0.4, 0.3, weight=3.0, noise=0.05, latent=2)
    turn = turn_of(game, "generator", torch.zeros(5, 2))
    found, z = game.generator_loss(turn)["reconstruction"], turn.latent(5)
    law = torch.distributions.Normal(0.4 * 1.5 * z, 0.05 + math.log1p(math.exp(0.3)))
    constant = math.log(2 * math.pi)  # of two numbers
    assert found.item() == pytest.approx(-3.0 * float(law.log_prob(z).sum(1).mean() + constant))
    slopes = gradient(found, game.players["generator"], game.players["reconstructor"])
    assert all(float(slope) != 0 for slope in slopes)


def test_the_best_reconstructor_is_the_generators_own_posterior(float64: None) -> None:
    a, spread = 1.5, 0.8
    game = learned(0.1, 0.0, noise=0.0)
    game.players["generator"] = Noisy(a, spread)
    turn = turn_of(game, "generator", torch.zeros(200_000, 1))
    best = game.players["reconstructor"]
    fit(lambda: {"reconstruction": game.generator_loss(turn)["reconstruction"]}, best)
    total = a * a + spread**2  # of the generated samples
    assert best.b.item() == pytest.approx(a / total, abs=0.005)
    assert nn.functional.softplus(best.raw).item() == pytest.approx(spread / math.sqrt(total), abs=0.005)


def test_codes_of_real_samples_have_the_learned_deviation() -> None:
    game = learned(0.5, -0.4, noise=0.1)
    x = torch.randn(50_000, 1, generator=torch.Generator().manual_seed(1))
    duel = game.duel(turn_of(game, "generator", x))
    assert float((duel.real[1] - 0.5 * x).std()) == pytest.approx(0.1 + math.log1p(math.exp(-0.4)), rel=0.02)
    assert gradient(game.discriminator_loss(turn_of(game, "discriminator", x))["loss"], game.players["reconstructor"]) == [
        0.0,
        0.0,
    ]


# Reg-GAN


def mrgan(a: float, b: float, **options: Any) -> Any:
    judge = Judge(lambda x, w: w[0] * x[:, 0] + w[1], torch.tensor([0.6, -0.1]))
    return staged("mrgan", {"generator": Linear(a), "encoder": Linear(b), "discriminator": judge}, **options)


def test_the_terms_of_reg_gan_are_those_on_paper(float64: None) -> None:
    a, b = 1.5, 0.4
    game, x = mrgan(a, b, reconstruction=0.2, encoded=0.4), torch.tensor([[0.5], [-1.0], [2.0]])
    turn = turn_of(game, "generator", x)
    terms = game.generator_loss(turn)

    def minus_log(x: Tensor) -> float:
        return float(nn.functional.softplus(-(0.6 * x - 0.1)).mean())

    assert set(terms) == {"loss", "reconstruction", "encoded_loss"}
    assert terms["loss"].item() == pytest.approx(minus_log(a * turn.latent(3)))
    assert terms["reconstruction"].item() == pytest.approx(0.2 * (1 - a * b) ** 2 * float(x.square().mean()))
    assert terms["encoded_loss"].item() == pytest.approx(0.4 * minus_log(a * b * x))  # minus log D, not plus


def test_the_encoder_learns_from_the_bracket_alone_and_both_through_it(float64: None) -> None:
    game, x = mrgan(1.5, 0.4), torch.tensor([[0.5], [-1.0], [2.0]])
    terms = game.generator_loss(turn_of(game, "generator", x))
    of = {
        name: [float(entry) for entry in gradient(term, *map(game.players.get, ("generator", "encoder")))]
        for name, term in terms.items()
    }
    assert of["loss"][1] == 0.0
    assert of["loss"][0] != 0.0
    assert all(entry != 0.0 for name in ("reconstruction", "encoded_loss") for entry in of[name])
    assert of["reconstruction"][1] == pytest.approx(-2 * 0.2 * 1.5 * (1 - 1.5 * 0.4) * float(x.square().mean()))


def test_an_encoder_that_inverts_the_generator_loses_nothing() -> None:
    game = mrgan(2.0, 0.5)
    terms = game.generator_loss(turn_of(game, "generator", torch.tensor([[0.5], [-1.0]])))
    assert terms["reconstruction"].item() == 0.0


def test_the_discriminator_of_reg_gan_plays_the_adversarial_game() -> None:
    game = mrgan(1.5, 0.4)
    plain = staged("adversarial", {role: game.players[role] for role in ("generator", "discriminator")})
    x = torch.tensor([[0.5], [-1.0]])
    found, wanted = (entry.discriminator_loss(turn_of(entry, "discriminator", x)) for entry in (game, plain))
    assert list(found) == list(wanted) == ["loss"]
    assert torch.equal(found["loss"], wanted["loss"])


# MDGAN: two modes, -1 and 1; the code 10 x tells them apart, and G(z) = tanh(z + 5) makes 1 of nearly every z


class Collapsed(nn.Module):
    """z -> tanh(z + shift)."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.tensor(5.0))

    def forward(self, z: Tensor) -> Tensor:
        return torch.tanh(z + self.shift)


def mdgan(generator: nn.Module, encoder: nn.Module, **options: Any) -> Any:
    judges = {
        role: Judge(lambda x, w: w[0] * x[:, 0] + w[1], torch.zeros(2)) for role in ("discriminator", "diffusion_discriminator")
    }
    return staged("mdgan", {"generator": generator, "encoder": encoder, **judges}, **options)


MODES = torch.tensor([[-1.0], [1.0]]).repeat(50, 1)


def test_what_is_covered_and_not_made_the_second_discriminator_finds() -> None:
    game = mdgan(Collapsed(), Linear(10.0))
    second = game.players["diffusion_discriminator"]
    optimizer = torch.optim.SGD(second.parameters(), lr=1.0)
    for _ in range(300):
        optimizer.zero_grad()
        game.discriminator_loss(turn_of(game, "discriminator", MODES))["diffusion_loss"].backward()
        optimizer.step()
    d2 = torch.sigmoid(second(torch.tensor([[-1.0], [1.0]])).score.detach())
    assert float(d2[0]) > 0.95
    assert float(d2[1]) == pytest.approx(1 / 3, abs=0.02)  # half of the rebuilt against all that is made
    loss = game.diffuse(turn_of(game, "diffusion", MODES))["loss"]
    of_generator, of_encoder = gradient(loss, game.players["generator"], game.players["encoder"])
    assert float(of_generator) > 1e-6  # a smaller shift spreads G(z)
    assert float(of_encoder) == 0.0


def test_perfect_reconstructions_leave_the_first_discriminator_at_one_half(float64: None) -> None:
    game = mdgan(Linear(2.0), Linear(0.5))
    turn = turn_of(game, "discriminator", torch.tensor([[0.5], [-1.0], [2.0]]))
    terms = game.discriminator_loss(turn)
    assert terms["loss"].item() == pytest.approx(2 * math.log(2))
    first, second = game.players["discriminator"], game.players["diffusion_discriminator"]
    assert not any(entry.any() for entry in gradient(terms["loss"], first))  # the convex loss is least there
    assert any(entry.any() for entry in gradient(terms["diffusion_loss"], second))
    turn.phase = "generator"
    assert game.generator_loss(turn)["reconstruction"].item() == 0.0


def test_the_terms_of_both_steps_are_those_on_paper(float64: None) -> None:
    a, b = 1.5, 0.4
    game, x = mdgan(Linear(a), Linear(b), adversarial=0.05), torch.tensor([[0.5], [-1.0], [2.0]])
    with torch.no_grad():
        game.players["discriminator"].weights.copy_(torch.tensor([0.6, -0.1]))
        game.players["diffusion_discriminator"].weights.copy_(torch.tensor([-0.8, 0.3]))
    softplus = nn.functional.softplus
    turn = turn_of(game, "discriminator", x)
    terms, z = game.discriminator_loss(turn), turn.latent(3)
    assert terms["loss"].item() == pytest.approx(float((softplus(-0.6 * x + 0.1) + softplus(0.6 * a * b * x - 0.1)).mean()))
    wanted = softplus(0.8 * a * b * x - 0.3).mean() + softplus(-0.8 * a * z + 0.3).mean()
    assert terms["diffusion_loss"].item() == pytest.approx(float(wanted))
    turn.phase = "generator"
    manifold = game.generator_loss(turn)
    assert manifold["loss"].item() == pytest.approx(0.05 * float(softplus(-0.6 * a * b * x + 0.1).mean()))
    assert manifold["reconstruction"].item() == pytest.approx((1 - a * b) ** 2 * float(x.square().mean()))
    turn.phase = "diffusion"
    z = turn.latent(3)
    assert game.diffuse(turn)["loss"].item() == pytest.approx(float(softplus(0.8 * a * z - 0.3).mean()))


def test_regularizers_act_on_both_discriminators_and_each_phase_trains_its_own(toy: Any) -> None:
    made = toy("mlp", "toy_points", "game=mdgan", "regularizer=[weight_clip,spectral_norm]", "n_critic=2")
    before = {role: [entry.clone() for entry in player.parameters()] for role, player in made.trainer.game.players.items()}
    made.trainer.advance()
    for role in ("discriminator", "diffusion_discriminator"):
        player = made.trainer.game.players[role]
        assert max(float(entry.detach().abs().max()) for entry in player.parameters()) <= 0.01
        assert any("parametrizations" in name for name, _ in player.named_parameters())
    for role, entries in before.items():
        now = list(made.trainer.game.players[role].parameters())
        assert any(not torch.equal(one, other) for one, other in zip(entries, now, strict=True)), role
    assert {name.split("/")[0] for name in made.trainer.terms} == {"discriminator", "generator", "diffusion"}


# options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "veegan", "weight": -1.0}, "weight=-1"),
        ({"name": "veegan", "noise": -0.1}, "noise=-0.1"),
        ({"name": "veegan", "deviation": "learnt"}, "learned"),
        ({"name": "mrgan", "encoded": -1.0}, "encoded=-1"),
        ({"name": "mrgan", "encoded": 0.0, "reconstruction": 0.0}, "nothing to learn"),
        ({"name": "mdgan", "adversarial": -1.0}, "adversarial=-1"),
    ],
)
def test_bounds(options: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        registry.build("game", options)
