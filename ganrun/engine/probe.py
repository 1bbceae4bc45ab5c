"""The trained discriminator as a feature extractor, judged by a linear probe (Radford, Metz and Chintala 2016, section 5).

The activations of every hidden layer, maps pooled to 4x4 by their maxima, are flattened and joined; a multinomial logistic
regression with an L2 penalty, fitted on ``labels`` training images, names the class. Controls: the same with raw pixels
and with a discriminator of the same form that was never trained. A probe of frozen features; nothing of the run changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ganrun.data.base import Dataset
from ganrun.disk import earlier
from ganrun.engine import assemble
from ganrun.engine.sampling import Trained
from ganrun.ground import rng
from ganrun.ground.errors import BadInput

POOLED = 4
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)


def probe(target: Path, config: Mapping[str, Any], *, labels: int = 1000, seed: int = 0) -> dict[str, dict[str, float]]:
    """``{"discriminator" | "random discriminator" | "raw pixels": {"accuracy", "features", "penalty"}}`` on held-out images."""
    trained = Trained(target, config, raw=True)
    dataset = trained.dataset
    if not dataset.spec.classes or dataset.spec.classes < 2:
        raise BadInput("probe: needs a data set with at least two classes")
    condition = earlier.condition_name(config["game"]["condition"])
    if trained.game.condition.uses_labels and trained.game.condition.judges_labels:
        raise BadInput(f"probe: a discriminator with condition={condition} is told the label that it should name")
    if not trained.game.judges_samples:
        raise BadInput("probe: this run's discriminator judges codes, and never a sample")
    if len(trained.game.roles()["discriminator"][0]) > 1:
        raise BadInput("probe: this run's discriminator judges a sample together with another input, and never a sample alone")
    with trained.runtime.applied():
        fresh = assemble.build({**config, "seed": rng.derive(int(config["seed"]), "probe") % 2**31}, with_metrics=False)
        assemble.build_players(fresh, dataset.spec, trained.runtime)
        train, test = splits(dataset, labels, seed)
        judges = {
            "discriminator": trained.game.players["discriminator"],
            "random discriminator": fresh.game.players["discriminator"],
        }
        found = {}
        for name, judge in judges.items():
            views = [activations(judge, x, trained.game.pack) for x, _ in (train, test)]
            found[name] = accuracy(views[0], train[1], views[1], test[1])
        found["raw pixels"] = accuracy(train[0].flatten(1), train[1], test[0].flatten(1), test[1])
        return found


def splits(dataset: Dataset, labels: int, seed: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """((x, y) of ``labels`` training samples, (x, y) of all held-out ones); a fifth of the training data if none is held out."""
    order = torch.randperm(len(dataset), generator=rng.generator(seed, "probe"))
    held_out = dataset.held_out()
    if held_out is None:
        aside, order = order[: len(dataset) // 5], order[len(dataset) // 5 :]
        test = dataset.batch(aside)
    else:
        test = held_out.batch(torch.arange(min(len(held_out), 10_000)))
    train = dataset.batch(order[:labels])
    assert train.y is not None
    assert test.y is not None
    return (train.x, train.y), (test.x, test.y)


@torch.no_grad()
def activations(judge: nn.Module, x: Tensor, pack: int = 1) -> Tensor:
    """Activations of all hidden layers of ``judge`` at ``x`` (n, ...), pooled and flattened: (n, features)."""
    hidden = [module for module in judge.modules() if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear)]
    caught: list[Tensor] = []
    hooks = [module.register_forward_hook(lambda _module, _inputs, output: caught.append(output)) for module in hidden]
    mode, pieces = judge.training, []
    judge.eval()
    device = next(judge.parameters()).device
    try:
        for piece in x.split(256):
            caught.clear()
            judge(piece.to(device).repeat(1, pack, *[1] * (x.ndim - 2)))
            vectors = [_vector(entry, len(piece)) for entry in caught if entry.numel() // len(piece) > 1]
            pieces.append(torch.cat([functional.leaky_relu(entry, 0.2) for entry in vectors], 1).cpu())
    finally:
        judge.train(mode)
        for hook in hooks:
            hook.remove()
    return torch.cat(pieces)


def _vector(entry: Tensor, count: int) -> Tensor:
    if entry.ndim == 4:
        entry = functional.adaptive_max_pool2d(entry, min(POOLED, *entry.shape[2:]))
    return entry.reshape(count, -1)


def accuracy(x: Tensor, y: Tensor, x_test: Tensor, y_test: Tensor) -> dict[str, float]:
    """Held-out accuracy of logistic regression; the penalty is chosen on a fifth of the training samples."""
    x, x_test = x.double(), x_test.double()
    mean, std = x.mean(0), x.std(0).clamp_min(1e-6)
    x, x_test = (x - mean) / std, (x_test - mean) / std
    fifth = max(1, len(x) // 5)
    scores = [(right(fit(x[fifth:], y[fifth:], int(y.max()) + 1, weight), x[:fifth], y[:fifth]), weight) for weight in PENALTIES]
    weight = max(scores)[1]
    return {"accuracy": right(fit(x, y, int(y.max()) + 1, weight), x_test, y_test), "features": x.shape[1], "penalty": weight}


def fit(x: Tensor, y: Tensor, classes: int, penalty: float) -> Tensor:
    """Weights (features + 1, classes) that minimise mean cross-entropy + penalty / 2 ||W||^2, the last row being the bias."""
    x = torch.cat((x, x.new_ones(len(x), 1)), 1)
    weight = x.new_zeros(x.shape[1], classes).requires_grad_()
    optimizer = torch.optim.LBFGS([weight], max_iter=200, history_size=20, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        optimizer.zero_grad()
        value = functional.cross_entropy(x @ weight, y) + penalty / 2 * weight[:-1].square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(objective)
    return weight.detach()


def right(weight: Tensor, x: Tensor, y: Tensor) -> float:
    """Share of samples whose likeliest class is their own."""
    scores = x @ weight[:-1] + weight[-1]
    return (scores.argmax(1) == y).double().mean().item()
