"""Truncated latents against the moments of the truncated normal, walks against geometry."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import kstest, truncnorm

from ganrun.engine.latents import linear, slerp, truncated, walks
from ganrun.ground.errors import BadInput
from ganrun.ground.spec import Latent


def source(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("threshold", "variance"), [(1.0, 0.2911), (2.0, 0.7737), (0.5, None)])
def test_truncated_latents_have_the_law_of_the_truncated_normal(threshold: float, variance: float | None) -> None:
    z = truncated(Latent(50), threshold, 2000, source()).double().flatten()
    assert z.abs().max() <= threshold
    assert kstest(z.numpy(), truncnorm(-threshold, threshold).cdf).pvalue > 0.01
    density, mass = math.exp(-(threshold**2) / 2) / math.sqrt(2 * math.pi), math.erf(threshold / math.sqrt(2))
    exact = 1 - 2 * threshold * density / mass
    assert variance is None or exact == pytest.approx(variance, abs=1e-4)
    assert z.var().item() == pytest.approx(exact, rel=0.02)


def test_a_wide_threshold_truncates_nothing_and_a_wrong_one_is_refused() -> None:
    assert truncated(Latent(20), 8.0, 5000, source()).var().item() == pytest.approx(1, rel=0.02)
    with pytest.raises(BadInput, match="truncation=0"):
        truncated(Latent(2), 0, 1, source())
    with pytest.raises(BadInput, match="prior=uniform"):
        truncated(Latent(2, "uniform"), 1, 1, source())


def test_slerp_keeps_ends_and_lengths_and_meets_in_the_middle() -> None:
    a, b = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64), torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    made = slerp(a, b, torch.tensor([0.0, 0.25, 0.5, 1.0], dtype=torch.float64))
    torch.testing.assert_close(made[[0, 3]], torch.stack((a, b)))
    torch.testing.assert_close(made.norm(dim=1), torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close(made[2], (a + b) / math.sqrt(2))
    assert torch.arccos(made[1] @ a).item() == pytest.approx(math.pi / 8)


@pytest.mark.parametrize("factor", [1.0, 2.0, -1.0, 0.0])
def test_parallel_and_empty_ends_do_not_divide_by_zero(factor: float) -> None:
    a = torch.tensor([1.0, 2.0])
    t = torch.tensor([0.0, 0.5, 1.0])
    if factor:
        torch.testing.assert_close(slerp(a, factor * a, t), linear(a, factor * a, t))
    assert slerp(a, factor * a, t).isfinite().all()


def test_walks_go_from_end_to_end_in_rows() -> None:
    ends = Latent(4).draw(3, source())
    for rule in ("slerp", "linear"):
        made = walks(ends, rule, 5)
        assert made.shape == (10, 4)
        torch.testing.assert_close(made[[0, 4, 5, 9]], ends[[0, 1, 1, 2]])
    torch.testing.assert_close(walks(ends, "linear", 5)[2], (ends[0] + ends[1]) / 2)
    with pytest.raises(BadInput, match="'slerp'"):
        walks(ends, "slrep")
