"""Games whose latents can be read back from samples, against information and divergences that are known."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from staged import staged, turn_of
from torch import Tensor, nn

from ganrun.engine.latents import of_samples
from ganrun.ground import registry
from ganrun.ground.errors import BadInput
from ganrun.ground.spec import Latent, Verdict

# InfoGAN


class Reader(nn.Module):
    """A free reading of each of a few atoms, which are points 0, 1, 2 ..."""

    num_features = 0

    def __init__(self, atoms: int, codes: int) -> None:
        super().__init__()
        self.readings = nn.Parameter(torch.zeros(atoms, codes))

    def forward(self, x: Tensor) -> Verdict:
        return Verdict(0 * x.squeeze(1), x, {"codes": self.readings[x.squeeze(1).round().long()]})


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
    terms = game.judge_fakes(turn)
    assert float(terms["categories"].detach()) == pytest.approx(0, abs=1e-12)  # a reading that knows nothing
    reader: Any = game.players["discriminator"]
    wanted = 0.8 * torch.eye(3) + 0.2 * torch.eye(3).roll(1, 0)  # p(c | x), row by row
    optimizer = torch.optim.SGD(reader.parameters(), lr=6.0)
    for _ in range(40):
        optimizer.zero_grad()
        value = game.judge_fakes(turn)["categories"]
        value.backward()
        optimizer.step()
    reached = -float(value.detach())
    noise = -0.8 * math.log(0.8) - 0.2 * math.log(0.2)
    assert reached == pytest.approx(math.log(3) - noise, abs=0.05)
    torch.testing.assert_close(reader.readings.softmax(1), wanted, atol=0.05, rtol=0)


def test_a_number_that_can_be_read_exactly_is_worth_its_entropy_and_the_reading_s() -> None:
    class Exact(nn.Module):
        num_features = 0

        def forward(self, x: Tensor) -> Verdict:
            return Verdict(0 * x[:, 0], x, {"codes": x})

    class Codes(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return z[:, 1:]

    for deviation in (1.0, 0.1):
        game = informed(Codes(), Exact(), categories=[], continuous=2, continuous_weight=1.0, deviation=deviation, weight=0.0)
        terms = game.make_fakes(turn_of(game, "generator", torch.zeros(50, 2)))
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
