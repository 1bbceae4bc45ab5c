"""ganrun's formulas beside the libraries that have them too: prints the table of docs/agreement.md.

    python benchmarks/libraries.py > docs/agreement.md

Everything is computed in float64 on seeded normal samples, so the difference is of method, not of chance.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import platform
from typing import Any

import numpy as np
import ot
import torch
from prdc import compute_prdc
from scipy.stats import truncnorm, wasserstein_distance
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss
from torch.nn.utils.parametrizations import spectral_norm
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric

from ganrun.engine import latents, probe
from ganrun.ground import registry
from ganrun.ground.duel import Duel
from ganrun.ground.spec import DiscriminatorOutput, Latent
from ganrun.metrics.base import Sample
from ganrun.metrics.wasserstein import exact
from ganrun.regularizers.spectral_norm import Divided


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def scored(name: str, real: Sample, fake: Sample, **options: Any) -> dict[str, float]:
    metric = registry.build("metric", {"name": name, **options})
    metric.update(real, real=True)
    metric.update(fake, real=False)
    found: dict[str, float] = metric.compute()
    return found


def rows() -> list[tuple[str, str, float, float]]:
    """(what, library, here, there)."""
    real, fake = draw(600, 8), 0.8 * draw(600, 8, seed=1) + 0.3
    logits = 2 * draw(500, 10, seed=2)
    features = (Sample(None, real), Sample(None, fake))
    found = []
    statistics = [fid_features_to_statistics(entry) for entry in (real, fake)]
    theirs = float(fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"])
    found.append(("FID", "torch-fidelity", scored("fid", *features)["fid"], theirs))
    inception = isc_features_to_metric(logits, splits=1, shuffle=False)["inception_score_mean"]
    found.append(("IS", "torch-fidelity", scored("is", Sample(None, None, logits), Sample(None, None, logits))["is"], inception))
    theirs = kid_features_to_metric(real, fake, kid_subsets=20, kid_subset_size=90, rng_seed=2020, verbose=False)[
        "kernel_inception_distance_mean"
    ]
    found.append(("KID", "torch-fidelity", scored("kid", *features, subsets=20, subset_size=90)["kid"], float(theirs)))
    with contextlib.redirect_stdout(io.StringIO()):  # it talks
        prdc = compute_prdc(real.numpy(), fake.numpy(), nearest_k=5)
    ours = {**scored("precision_recall", *features, neighbours=5), **scored("density_coverage", *features, neighbours=5)}
    found += [
        (f"{name}, k = 5", "prdc", ours[name], float(prdc[name])) for name in ("precision", "recall", "density", "coverage")
    ]
    x, y = draw(200, 2), draw(200, 2, seed=3) + 1
    found.append(
        ("W1 in the plane", "POT", exact(x, y), float(ot.emd2([], [], ot.dist(x.numpy(), y.numpy(), metric="euclidean"))))
    )
    line = wasserstein_distance(x[:, 0].numpy(), y[:, 0].numpy())
    found.append(("W1 on a line", "scipy", exact(x[:, :1], y[:, :1]), float(line)))
    found += spectral()
    score, target = draw(400, seed=4), torch.rand(400, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    duel = Duel(lambda entry: DiscriminatorOutput(entry[:, 0]), (score[:200, None],), (score[200:, None],))
    duel.real_target, duel.fake_target = target[:200], target[200:]
    pairs = ((score[:200], target[:200]), (score[200:], target[200:]))
    entropy = sum(binary_cross_entropy_with_logits(*pair) for pair in pairs)
    found.append(
        (
            "logistic loss with soft targets",
            "torch",
            float(registry.build("loss", {"name": "nonsaturating"}).d(duel)),
            float(entropy),
        )
    )
    squares = sum(mse_loss(*pair) for pair in pairs) / 2
    found.append(("least squares", "torch", float(registry.build("loss", {"name": "lsgan"}).d(duel)), float(squares)))
    z = latents.truncated(Latent(1000), 1.0, 2000, torch.Generator().manual_seed(0)).double()
    found.append(("variance of latents truncated at 1 (2 million)", "scipy", float(z.var()), float(truncnorm(-1, 1).var())))
    labels = (real @ draw(8, 3, seed=6)).argmax(1)
    weight = probe.fit(real, labels, 3, 0.01)
    regression = LogisticRegression(C=1 / (0.01 * len(real)), tol=1e-12, max_iter=10_000).fit(real.numpy(), labels.numpy())
    ours_share = probe.right(weight, real, labels)
    found.append(
        ("accuracy of the probe's regression", "scikit-learn", ours_share, float(regression.score(real.numpy(), labels.numpy())))
    )
    return found


def spectral() -> list[tuple[str, str, float, float]]:
    weight = draw(7, 5, seed=8)
    ours, theirs = Divided(weight, 0).double(), nn.Linear(5, 7, bias=False).double()
    theirs.weight.data = weight.clone()
    spectral_norm(theirs)
    ours.iterate(weight, 200)
    for _ in range(200):
        _ = theirs.weight  # torch iterates in every look while training
    top = float(np.linalg.svd(weight.numpy())[1][0])
    mine, other = weight.clone().requires_grad_(), theirs.parametrizations.weight.original
    direction = draw(7, 5, seed=9)
    (gradient,) = torch.autograd.grad((ours(mine) * direction).sum(), mine)
    (their_gradient,) = torch.autograd.grad((theirs.weight * direction).sum(), other)
    return [
        ("largest singular value by power iteration", "numpy", float((weight / ours(weight)).mean()), top),
        ("spectral norm: norm of the divided weight", "torch", float(ours(weight).norm()), float(theirs.weight.norm().detach())),
        ("spectral norm: norm of its gradient", "torch", float(gradient.norm()), float(their_gradient.norm())),
    ]


def main() -> None:
    packages = ("torch", "torch-fidelity", "prdc", "POT", "scipy", "scikit-learn", "numpy")
    versions = ", ".join(f"{name} {importlib.metadata.version(name).split('+')[0]}" for name in packages)
    print("# Agreement with other libraries\n")
    print("Written by `python benchmarks/libraries.py > docs/agreement.md`: the same inputs, seeded normal samples in float64,")
    print("through ganrun and through a library that has the formula too.")
    print(f"{versions}; {platform.machine()}.")
    print("The tests hold most of these, and torch-fidelity's Inception network on equal weights besides.\n")
    print("| what | library | here | there | difference |\n|---|---|---|---|---|")
    for what, library, here, there in rows():
        print(f"| {what} | {library} | {here:.10g} | {there:.10g} | {abs(here - there):.1e} |")


if __name__ == "__main__":
    main()
