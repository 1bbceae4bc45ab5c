"""The latent whose sample is nearest to an image (Zhu et al. 2016; Lipton and Tripathi 2017; Creswell and Bharath 2019).

    z* = argmin over z of |G(z) - x|^2,

by Adam from several starts, the latents of the first samples of a seed, with a rate that falls to zero; the best point of all
counts. Of a conditional run every class is tried unless one is named. Numbers of a uniform law stay in [-1, 1], categories among
the codes as they were drawn; normal numbers are free. The error is the mean over an image's numbers of the squared difference,
for images as shares of the range from black to white. It is what the generator cannot make of x, as far as the search finds the
minimum. How far it does is told by the error of the generator's own samples, whose minimum is 0.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganrun.data.base import to_pixels, to_range
from ganrun.disk import checkpoint
from ganrun.engine import assemble, handout, pictures, sources
from ganrun.engine.choice import Choice, check_single
from ganrun.engine.ema import EMA
from ganrun.engine.latents import BLOCK, of_samples
from ganrun.engine.sampling import Trained
from ganrun.games.base import Game
from ganrun.ground.errors import BadInput
from ganrun.ground.runtime import Runtime

OWN = 8  # samples of the generator itself that are looked for
HELD_OUT = 16  # images of the data set, where none are given


@dataclass(frozen=True)
class Found:
    """Of each image: the latent (n, size), the class int64 (n,) or None, the sample there and its ``error`` float64 (n,)."""

    latents: Tensor
    labels: Tensor | None
    samples: Tensor
    error: Tensor

    def rows(self, rows: Tensor) -> Found:
        """Some of them."""
        labels = None if self.labels is None else self.labels[rows]
        return Found(self.latents[rows], labels, self.samples[rows], self.error[rows])


def search(
    game: Game,
    averages: Mapping[str, EMA],
    runtime: Runtime,
    x: Tensor,
    *,
    labels: Sequence[int] | None = None,
    starts: int = 8,
    steps: int = 300,
    lr: float = 0.1,
    seed: int = 0,
) -> Found:
    """The best latent for each of ``x`` (n, *spec.shape), in the training range. ``labels``: the classes to try, or all."""
    check_single(game, "invert")
    classes: list[int | None] = [None]
    if game.condition.uses_labels:
        classes = list(range(int(game.spec.classes or 0)) if labels is None else labels)
    z = of_samples(game.latent_law, starts, seed).repeat(len(classes), 1)
    tried = None if classes == [None] else torch.tensor(classes).repeat_interleave(starts)
    pieces = [_nearest(game, averages, runtime, part, z, tried, steps, lr) for part in x.split(max(1, BLOCK // len(z)))]
    found = [torch.cat([getattr(piece, name) for piece in pieces]) for name in ("latents", "samples", "error")]
    named = None if tried is None else torch.cat([piece.labels for piece in pieces if piece.labels is not None])
    return Found(found[0], named, found[1], found[2])


def _nearest(
    game: Game, averages: Mapping[str, EMA], runtime: Runtime, x: Tensor, z: Tensor, tried: Tensor | None, steps: int, lr: float
) -> Found:
    count, device = len(x), runtime.device
    free = free_numbers(game).to(device)
    point = z.repeat(count, 1).to(device).requires_grad_()
    labels = None if tried is None else tried.repeat(count).to(device)
    wanted = x.repeat_interleave(len(z), 0).to(device)
    optimizer = torch.optim.Adam([point], lr=lr)
    half = 2.0 if game.spec.kind == "image" else 1.0  # the training range of images is two wide
    best = Found(point.detach().clone(), labels, wanted.clone(), torch.full((len(point),), torch.inf, device=device))
    with assemble.performing(game, averages), torch.enable_grad():
        for step in range(steps + 1):
            made = game.generate(point, labels)
            error = ((made - wanted) / half).square().flatten(1).mean(1)
            better = error < best.error
            best.latents[better], best.samples[better] = point.detach()[better], made.detach()[better]
            best.error[better] = error.detach()[better]
            if step == steps:
                break
            optimizer.param_groups[0]["lr"] = lr * (1 + math.cos(math.pi * step / steps)) / 2
            point.grad = torch.autograd.grad(error.sum(), point)[0] * free
            optimizer.step()
            if game.latent_law.reach == 1:
                point.data.clamp_(-1, 1)
            elif game.latent_law.codes:
                point.data[:, game.latent_law.noise_size :].clamp_(-1, 1)
    chosen = best.error.view(count, -1).argmin(1).cpu() + torch.arange(count) * len(z)
    on_cpu = Found(best.latents.cpu(), None if labels is None else labels.cpu(), best.samples.cpu(), best.error.double().cpu())
    return on_cpu.rows(chosen)


def free_numbers(game: Game) -> Tensor:
    """1 for each number of the latent that may move, 0 for those of categories: (size,)."""
    law = game.latent_law
    return torch.cat([torch.ones(law.noise_size), *(torch.full((size,), float(size == 1)) for size in law.codes)])


def invert(
    target: Path,
    places: Sequence[Path],
    config: Mapping[str, Any],
    *,
    labels: list[int] | None,
    num: int | None,
    starts: int,
    steps: int,
    seed: int,
    out: Path | None,
    raw: bool,
) -> dict[str, Any]:
    """Look for the images at ``places``, or for ``num`` held-out ones of the run's data, and write a picture and a JSON file.

    Returns {"path", "images": one record each, "mean", "own": the mean error of the generator's own samples}.
    """
    trained = Trained(target, config, raw=raw)
    spec = trained.spec
    if spec.kind != "image":
        raise BadInput(f"invert: takes images, and this run was trained on {spec.kind}")
    check_single(trained.game, "invert")
    if places:
        if num is not None:
            raise BadInput(f"--num {num}: is for the data set's own images; leave it out, or leave out the images")
        given = sources.read_images(places, spec.shape, config["dataset"])
        x, names = given.source, list(given.names)
    else:
        held = trained.dataset.held_out() or trained.dataset
        rows = torch.arange(min(num or HELD_OUT, len(held)))
        x, names = held.batch(rows).x, [f"held out {row}" for row in rows.tolist()]
    if labels and not trained.game.condition.uses_labels:
        raise BadInput("label: this run was trained without labels, so there is no class to name")
    if labels and max(labels) >= int(spec.classes or 0):
        raise BadInput(f"label={max(labels)}: classes are 0 to {int(spec.classes or 0) - 1}")
    options: dict[str, Any] = {"labels": labels, "starts": starts, "steps": steps, "seed": seed}
    with trained.runtime.applied():
        found = search(trained.game, trained.averages, trained.runtime, x, **options)
        asked = None if not labels else torch.tensor(labels).repeat(OWN)[:OWN]
        own = trained.make(Choice(OWN, labels=asked), seed=seed + 1)
        floor = search(trained.game, trained.averages, trained.runtime, to_range(to_pixels(own)), **options)
    records = [
        {
            "image": name,
            "error": float(f"{error:.6g}"),
            **({} if found.labels is None else {"class": int(found.labels[place])}),
            "latent": [float(f"{entry:.6g}") for entry in found.latents[place].tolist()],
        }
        for place, (name, error) in enumerate(zip(names, found.error.tolist(), strict=True))
    ]
    result: dict[str, Any] = {
        "run": trained.folder.resolve().name,
        "step": trained.step,
        **{key: entry for key, entry in options.items() if entry is not None},
        "mean": found.error.mean().item(),
        "own": floor.error.mean().item(),
        "images": records,
    }
    exact = {"weights": trained.digest, "x": x, "raw": raw, **{key: str(entry) for key, entry in options.items()}}
    stem = handout.name([f"inverted_{trained.step:08d}", f"num_{len(x)}"], {"exact": checkpoint.digest(exact)})
    folder = out or trained.folder / "samples"
    title = f"{len(x)} points, and the samples nearest to them, at step {trained.step}"
    files = {
        ".png": functools.partial(pictures.png, pictures.beside(found.samples, spec, x, title=title)),
        ".json": functools.partial(str.encode, json.dumps(result, indent=1) + "\n"),
    }
    return {**result, "path": folder / f"{handout.write(folder, stem, files)}.png"}
