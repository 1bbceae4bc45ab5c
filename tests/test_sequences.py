"""Discrete sequences: names of numbers, the sequence family, what carries a gradient, n-grams."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor

from ganrun.data.number_names import name_of, number_names
from ganrun.ground.errors import BadInput
from ganrun.ground.registry import build
from ganrun.ground.spec import Latent, Port
from ganrun.metrics.base import Sample
from ganrun.metrics.ngrams import divergence
from ganrun.networks.sequence import rows


def small(**options: Any) -> Any:
    return build("model", {"name": "sequence", "latent": 5, "generator": {"width": 6, "depth": 1}, **options})


# the data


def test_numbers_have_their_names() -> None:
    assert [name_of(number) for number in (0, 13, 40, 58, 100, 307, 999)] == [
        "zero", "thirteen", "forty", "fifty eight", "one hundred", "three hundred and seven", "nine hundred and ninety nine",
    ]  # fmt: skip
    assert len({name_of(number) for number in range(1000)}) == 1000


def test_all_names_are_there_once_one_hot_and_labelled_by_their_hundreds() -> None:
    data = number_names()
    held_out = data.held_out()
    assert held_out is not None
    assert (len(data), len(held_out), data.spec.shape[0]) == (900, 100, 32)
    seen = []
    for part in (data, held_out):
        batch = part.batch(torch.arange(len(part)))
        assert torch.equal(batch.x.sum(-1), torch.ones(len(part), 32))
        assert set(batch.x.unique().tolist()) == {0.0, 1.0}
        names = ["".join(str(data.spec.alphabet)[code] for code in row).rstrip() for row in batch.x.argmax(-1).tolist()]
        hundreds = {name_of(number): number // 100 for number in range(1000)}
        assert batch.y is not None
        assert [hundreds[name] for name in names] == batch.y.tolist()
        seen += names
    assert sorted(seen) == sorted(name_of(number) for number in range(1000))
    assert data.fingerprint() == number_names().fingerprint() != held_out.fingerprint()


def test_a_length_that_cannot_be_is_refused() -> None:
    with pytest.raises(BadInput, match=r"dataset\.length=3"):
        number_names(length=3)
    assert len(number_names(length=8)) < 100


# what carries a gradient


def logits() -> Tensor:
    return torch.randn(4, 6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()


def test_argmax_carries_no_gradient_because_its_derivative_is_zero_almost_everywhere() -> None:
    at = logits()
    weight = torch.randn(5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad((rows(at, "argmax", 1.0) @ weight).sum(), at)
    assert torch.equal(gradient, torch.zeros_like(gradient))
    step = 1e-6  # and so do finite differences, there being no tie
    for place in ((0, 0, 0), (3, 5, 4), (1, 2, at[1, 2].argmax().item())):
        moved = [at.detach().clone() for _ in range(2)]
        moved[0][place] += step
        moved[1][place] -= step
        values = [(rows(entry, "argmax", 1.0) @ weight).sum() for entry in moved]
        assert values[0] == values[1]


@pytest.mark.parametrize("output", ["softmax", "gumbel", "straight_through"])
def test_the_other_outputs_carry_one_and_give_rows_that_sum_to_one(output: str) -> None:
    at = logits()
    torch.manual_seed(0)
    made = rows(at, output, 0.75)
    torch.testing.assert_close(made.sum(-1), torch.ones(4, 6, dtype=torch.float64))
    (gradient,) = torch.autograd.grad((made * torch.arange(5)).sum(), at)
    assert (gradient.abs().sum(-1) > 0).all()


def test_straight_through_is_one_hot_with_the_gradient_of_gumbel_softmax() -> None:
    at, weight, gradients, made = logits(), torch.arange(5, dtype=torch.float64), [], []
    for output in ("gumbel", "straight_through"):
        torch.manual_seed(3)
        made.append(rows(at, output, 0.5))
        gradients.append(torch.autograd.grad((made[-1] @ weight).sum(), at)[0])
    torch.testing.assert_close(gradients[0], gradients[1])
    assert torch.equal(made[1].argmax(-1), made[0].argmax(-1))
    assert ((made[1] < 1e-12) | (made[1] > 1 - 1e-12)).all()


@pytest.mark.parametrize("temperature", [0.1, 2.0])
def test_gumbel_samples_have_the_softmax_frequencies_at_every_temperature(temperature: float) -> None:
    law = torch.tensor([0.5, 1.5, -1.0, 0.0])
    torch.manual_seed(5)
    drawn = rows(law.expand(20_000, 1, 4), "gumbel", temperature).argmax(-1).flatten()
    expected = law.softmax(0).double().numpy() * 20_000
    assert chisquare(drawn.bincount(minlength=4).numpy(), expected, sum_check=False).pvalue > 0.001


def test_low_temperatures_are_near_one_hot_and_high_ones_near_uniform() -> None:
    torch.manual_seed(1)
    cold, hot = (rows(logits().detach(), "gumbel", temperature) for temperature in (1e-3, 1e3))
    assert (cold.amax(-1) > 0.999).float().mean() > 0.95
    torch.testing.assert_close(hot, torch.full_like(hot, 0.2), atol=5e-3, rtol=0)


# the family


def test_players_have_the_shapes_that_they_are_asked_for() -> None:
    family = small()
    data, code, score = Port("data", (7, 4)), Port("code", (5,)), Port("score", ())
    z = Latent(5).draw(3, torch.Generator().manual_seed(0))
    x = family.make("generator", inputs=(code,), outputs=(data,))(z)
    assert x.shape == (3, 7, 4)
    torch.testing.assert_close(x.sum(-1), torch.ones(3, 7))
    judge = family.make("discriminator", inputs=(data, code), outputs=(score,))
    output = judge(x, z)
    assert output.score.shape == (3,)
    assert output.features.shape == (3, judge.num_features)
    assert (judge(x, z + 1).score != output.score).all()
    assert family.make("encoder", inputs=(data,), outputs=(code,))(x).shape == (3, 5)


def test_wrong_options_are_refused_with_the_nearest() -> None:
    with pytest.raises(BadInput, match="'gumbel'"):
        small(output="gumble")
    with pytest.raises(BadInput, match="temperature=0"):
        small(temperature=0)


# n-grams


def entropy(law: dict[Any, float]) -> float:
    return -sum(value * math.log(value) for value in law.values() if value)


def grams(texts: list[str], n: int) -> dict[str, float]:
    counts = Counter(text[start : start + n] for text in texts for start in range(len(text) - n + 1))
    return {gram: count / counts.total() for gram, count in counts.items()}


@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_divergence_is_that_of_counted_strings(n: int) -> None:
    one, other = ["abca", "bbcd", "aaaa"], ["abdd", "dcba"]
    p, q = grams(one, n), grams(other, n)
    middle = {gram: (p.get(gram, 0) + q.get(gram, 0)) / 2 for gram in {*p, *q}}
    expected = entropy(middle) - entropy(p) / 2 - entropy(q) / 2
    codes = [torch.tensor([["abcd".index(letter) for letter in text] for text in texts]) for texts in (one, other)]
    assert divergence(*codes, n, 4) == pytest.approx(expected, abs=1e-12)
    assert divergence(codes[0], codes[0], n, 4) == pytest.approx(0, abs=1e-12)


def test_rows_without_a_shared_symbol_are_log_2_apart() -> None:
    assert divergence(torch.zeros(2, 5, dtype=torch.int64), torch.ones(3, 5, dtype=torch.int64), 2, 2) == pytest.approx(
        math.log(2)
    )


def test_grams_longer_than_the_rows_are_said_to_be_missing() -> None:
    metric = build("metric", {"name": "ngrams", "longest": 5})
    for real in (True, False):
        metric.update(Sample(torch.eye(4).expand(6, 4, 4)), real=real)
    assert next(iter(metric.compute())) == "ngrams_4"
    assert "no n-grams of 5: the rows are 4 symbols long" in metric.remarks


def test_the_metric_reads_likeliest_symbols_and_counts_distinct_rows() -> None:
    data = number_names()
    metric = build("metric", {"name": "ngrams", "longest": 2})
    real = data.batch(torch.arange(200)).x
    fake = real[:2].repeat(5, 1, 1) * 0.6 + 0.4 / real.shape[-1]
    metric.update(Sample(real), real=True)
    metric.update(Sample(fake), real=False)
    found = metric.compute()
    assert list(found) == ["ngrams_2", "ngrams_1", "distinct"]
    assert found["distinct"] == 0.2
    assert not [remark for remark in metric.remarks if remark.startswith("no n-grams")]
    assert found["ngrams_2"] == pytest.approx(divergence(real.argmax(-1), real[:2].argmax(-1), 2, real.shape[-1]))
