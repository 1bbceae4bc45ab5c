"""Scores from features, ganrun's against torch-fidelity's: seconds in turns within one process, ratios, differences of values.

Run it with `make bench`, or alone: `python benchmarks/scores.py --rows 10000 --threads 1`. Features are synthetic, of 2048
dimensions with variances that fall as those of a network do. Both sides get the same tensors and take turns, so that what other
processes do hits both; a ratio is of the processor seconds of one turn each, and the median counts. Both are also given as a
multiple of a float32 matrix product of this machine at that moment, which is what neither can be faster than.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

from ganrun.ground.registry import build
from ganrun.metrics.base import Sample, Stage

DIMENSION = 2048
SUBSETS = 100


def features(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(real, generated) float32 (rows, 2048), not negative, as pooled activations are."""
    source = torch.Generator().manual_seed(0)
    decay = torch.exp(-torch.arange(DIMENSION) / 500)
    sides = [torch.randn(rows, DIMENSION, generator=source) for _ in range(2)]
    return (decay * sides[0] + 0.3).relu(), (0.95 * decay * sides[1] + 0.32).relu()


def ours(name: str, real: Sample, generated: Sample, stage: Stage | None = None, **options: Any) -> dict[str, float]:
    """The values of a metric as a run has them, its deviations with them."""
    metric = build("metric", {"name": name, **options})
    if stage is not None:
        metric.enter(stage)
    metric.update(real, real=True)
    metric.update(generated, real=False)
    found: dict[str, float] = metric.compute()
    return found


def sides(x: torch.Tensor, y: torch.Tensor, subsets: int) -> list[tuple[str, Callable[[], Any], Callable[[], Any] | None]]:
    """(what, ganrun's, torch-fidelity's or None) of each row of the table."""
    kept, generated = Sample(features=x), Sample(features=y)
    ours("fid", kept, generated)  # the moments of the real side are there from now on
    stage = [Stage(lambda split: None)]

    def frechet() -> Any:
        return fid_statistics_to_metric(fid_features_to_statistics(x), fid_features_to_statistics(y), verbose=False)

    def near() -> Any:
        stage[0] = Stage(lambda split: None)
        return ours("precision_recall", kept, generated, stage[0])

    kid = {"kid_subsets": subsets, "kid_subset_size": 1000, "rng_seed": 2020, "verbose": False}
    prc = {"prc_neighborhood": 3, "prc_batch_size": 1000, "save_cpu_ram": False, "verbose": False}
    return [
        ("FID with its std", lambda: ours("fid", Sample(features=x), generated), frechet),
        ("the same, moments of real data kept", lambda: ours("fid", kept, generated), frechet),
        (
            f"KID {subsets} x 1000",
            lambda: ours("kid", kept, generated, subsets=subsets),
            lambda: kid_features_to_metric(x, y, **kid),
        ),
        ("precision, recall", near, lambda: prc_features_to_metric(y, x, **prc)),
        ("density, coverage after these", lambda: ours("density_coverage", kept, generated, stage[0]), None),
    ]


def product() -> float:
    """Float32 GFLOP in a processor second of a matrix product of 2048 rows and columns, now."""
    a = torch.randn(DIMENSION, DIMENSION)
    start = time.process_time()
    for _ in range(4):
        a @ a
    return 4 * 2 * DIMENSION**3 / (time.process_time() - start) / 1e9


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    found = run()
    return time.process_time() - start, found


def table(rows: int, rounds: int, subsets: int) -> Table:
    x, y = features(rows)
    found = Table(
        "score", "ganrun, s", "torch-fidelity, s", "ratio", "its range", "ganrun, in products of matrices", "values differ by",
        title=f"{rows} x {DIMENSION} features a side: processor seconds, medians of {rounds} turns",
    )  # fmt: skip
    for what, mine, other in sides(x, y, subsets):
        turns, peaks, values = [], [], ({}, {})
        for turn in range(rounds):
            order = [mine, other] if turn % 2 == 0 else [other, mine]
            taken = {run: timed(run) for run in order if run is not None}
            turns.append((taken[mine][0], taken[other][0] if other else float("nan")))
            peaks.append(product())
            values = taken[mine][1], taken[other][1] if other else {}
        own, theirs = (statistics.median(side) for side in zip(*turns, strict=True))
        ratios = sorted(one / two for one, two in turns)
        pairs = zip(values[0].values(), values[1].values(), strict=False)  # in the same order on both sides
        compared = [abs(one - two) / max(abs(two), 1e-12) for one, two in pairs]
        found.add_row(
            what,
            f"{own:.2f}",
            f"{theirs:.2f}" if other else "-",
            f"{statistics.median(ratios):.2f}" if other else "-",
            f"{ratios[0]:.2f} to {ratios[-1]:.2f}" if other else "",
            f"{own * statistics.median(peaks) * 1e9 / (2 * DIMENSION**3):.0f}",
            f"{max(compared):.0e}" if other else "",
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000, help="features of a side")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each side")
    parser.add_argument("--subsets", type=int, default=SUBSETS, help="subsets of KID")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    show(Console(width=140).print, options.rows, options.rounds, options.subsets)


def show(say: Callable[[Any], None], rows: int, rounds: int, subsets: int) -> None:
    say(f"float32 product of matrices: {product():.0f} GFLOP in a processor second")
    say(table(rows, rounds, subsets))


if __name__ == "__main__":
    main()
