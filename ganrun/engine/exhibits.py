"""What a trained run shows of itself for a report: walks, classes, real data beside samples, nearest training images, weights.

Each exhibit stands alone: what one of them lacks (a data set that is not here, labels, a latent) is its sentence, and the others
are shown.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ganrun.data.base import Dataset, to_pixels
from ganrun.engine import clouds, pictures, rejection, sampling
from ganrun.engine.choice import Wish
from ganrun.engine.latents import COLUMNS
from ganrun.engine.sandbox import judges_of
from ganrun.engine.sources import translates
from ganrun.games.base import Game
from ganrun.ground import rng
from ganrun.ground.errors import GanrunError
from ganrun.ground.matrices import matrices

SHOWN = 64  # samples of a grid
POINTS = 1000  # of a drawing
ROWS, NEAREST = 8, 3  # samples beside so many training samples each
TRIED = 256  # samples of which it is asked whether they lie nearer to training data
SEARCHED, NUMBERS = 10_000, 2**25  # real samples of a split among which the nearest are looked for, and numbers in them


@dataclass(frozen=True)
class Exhibit:
    """``images``: {what each shows: picture}. ``curves``: {name: values by place}. ``why``: what keeps it from being shown."""

    title: str
    caption: str = ""
    images: Mapping[str, Image.Image] = field(default_factory=dict)
    curves: Mapping[str, Sequence[float]] = field(default_factory=dict)
    why: str = ""


def exhibits(target: Path, config: Mapping[str, Any]) -> Iterator[Exhibit]:
    """All that the checkpoint of ``target`` shows. Raises what loading it raises."""
    trained = sampling.Trained(target, config)
    with trained.runtime.applied():
        for title, make in MAKERS.items():
            try:
                found = make(trained)
            except GanrunError as error:
                found = Exhibit(title, why=" ".join(str(error).split()))
            if found is not None:
                yield found


def fields(run: Path, steps: Sequence[int], config: Mapping[str, Any]) -> Iterator[tuple[int, Image.Image | str, list[str]]]:
    """(step, picture, what it lacks and why) for checkpoints of a run on 2-D points: samples on the exact density with the
    discriminator's score.

    A checkpoint that cannot be used gives the sentence that says why in place of the picture.
    """
    known: Dataset | None = None
    for step in steps:
        try:
            trained = sampling.Trained(run / "checkpoints" / f"step_{step:08d}.pt", config)
            with trained.runtime.applied():
                known = known or trained.dataset
                yield step, _field(trained, known), _lacks(trained.game, known)
        except GanrunError as error:
            yield step, " ".join(str(error).split()), []


def _lacks(game: Game, dataset: Dataset) -> list[str]:
    """What a field of this run has not, and why."""
    why = why_no_score(game)
    found = [] if why is None else [f"The score is left out: {why}."]
    if getattr(dataset, "log_density", None) is None:
        found.append("The law of this data set has no density in the plane, so real points stand for it.")
    return found


def _field(trained: sampling.Trained, dataset: Dataset) -> Image.Image:
    game, said = trained.game, f"{trained.config['dataset']['name']} at step {trained.step}"
    score = None
    if why_no_score(game) is None:
        classes = range(int(game.spec.classes or 1)) if game.condition.uses_labels else [None]

        def score(x: Tensor) -> Tensor:  # of the present weights; over classes the mean
            return torch.stack([rejection.score(game, {}, x, label) for label in classes]).mean(0)

    count = min(POINTS, len(dataset))
    made = trained.make(trained.choose(Wish(count, 0)), seed=0, starts=trained.starts(count))
    return clouds.field(made, dataset.batch(torch.arange(count)).x, getattr(dataset, "log_density", None), score, said)


def why_no_score(game: Game) -> str | None:
    """Why the discriminator gives no score to a point of the plane by itself; None where it does."""
    ports = game.roles().get("discriminator", ((), ()))[0]
    if not game.judges_samples or len(ports) != 1:
        return "the discriminator of this game judges something else than single samples"
    return "the discriminator judges packs of samples" if game.pack > 1 else None


def _made(trained: sampling.Trained, wish: Wish) -> Tensor:
    starts = trained.starts(wish.count, interpolate=wish.interpolate, class_grid=wish.class_grid)
    return trained.make(trained.choose(wish), seed=wish.seed, starts=starts)


def _walk(trained: sampling.Trained) -> Exhibit | None:
    if trained.spec.kind == "points":
        return None
    x = _made(trained, Wish(SHOWN, 0, interpolate="slerp"))
    picture = pictures.picture_of(x, trained.spec, columns=COLUMNS, table=True)
    said = (
        f"Each row walks along the sphere of latents from one sample to the next, in {COLUMNS} steps. Where a generator has "
        "learned the data the change is smooth; where it repeats training samples it jumps."
    )
    return Exhibit("Latent walk", said, {f"{len(x) // COLUMNS} rows of samples, each a walk between two latents": picture})


def _classes(trained: sampling.Trained) -> Exhibit | None:
    if not trained.game.condition.uses_labels:
        return None
    classes = int(trained.spec.classes or 1)
    wish = Wish(classes * max(1, min(COLUMNS, 2 * SHOWN // classes)), 0, class_grid=True)
    x = _made(trained, wish)
    if trained.spec.kind == "points":
        return None
    picture = pictures.picture_of(x, trained.spec, columns=len(x) // classes, table=True)
    said = f"A row for each of {classes} classes; the latent is the same within a column."
    return Exhibit("Classes", said, {f"samples of {classes} classes, a row each": picture})


def _beside(trained: sampling.Trained) -> Exhibit | None:
    if trained.spec.kind == "points":
        return None  # points are drawn over real ones
    split = trained.dataset.held_out()
    word, real = ("real", trained.dataset) if split is None else ("held-out real", split)
    count = min(SHOWN, len(real))
    found = {
        f"{count} {word} samples": real.batch(torch.arange(count)).x,
        f"{count} generated samples": _made(trained, Wish(count, 0)),
    }
    images = {name: pictures.picture_of(x, trained.spec) for name, x in found.items()}
    return Exhibit("Real beside generated", f"The first {count} {word} samples, and as many generated ones.", images)


def _nearest(trained: sampling.Trained) -> Exhibit | None:
    if trained.spec.kind != "image" or translates(trained.game):
        return None
    train, held_out = trained.dataset, trained.dataset.held_out()
    made, places = _made(trained, Wish(TRIED, 0)), _places(train)
    real, flat = _flat(train, places), made.flatten(1)
    near_train = torch.cdist(flat, real)
    order = near_train[:ROWS].topk(min(NEAREST, len(real)), largest=False).indices
    beside = train.batch(places[order.flatten()]).x.unflatten(0, order.shape)
    table = torch.cat((made[:ROWS, None], beside), 1)
    near = table.shape[1] - 1
    said = f"In each row a sample, then the {near} of {len(real)} training images whose pixels are nearest to it."
    if held_out is not None and len(held_out) > 1:
        other = _flat(held_out, _places(held_out))
        share = (near_train.amin(1) < torch.cdist(flat, other).amin(1)).double().mean().item()
        said += (
            f" Of {len(flat)} samples {share:.1%} lie nearer to a training image than to any of {len(other)} held-out ones: "
            f"{len(real) / (len(real) + len(other)):.1%} are due to their numbers alone, and a generator that copies has 100 %."
        )
    picture = pictures.grid(to_pixels(table.flatten(0, 1)), near + 1, at_least=256)
    return Exhibit(
        "Nearest training images", said, {f"{len(table)} samples, each beside its {near} nearest training images": picture}
    )


def _places(dataset: Dataset) -> Tensor:
    """Which of its samples are searched: all of a small set, of a large one as many as fit into the memory meant for it."""
    count, most = len(dataset), max(NEAREST, min(SEARCHED, NUMBERS // math.prod(dataset.spec.shape)))
    return torch.arange(count) if count <= most else rng.order(0, "nearest", 0, most, count)


def _flat(dataset: Dataset, places: Tensor) -> Tensor:
    return torch.cat([dataset.batch(part).x for part in places.split(1024)]).flatten(1)


def _spectra(trained: sampling.Trained) -> Exhibit:
    title, found = "Spectra of the discriminator", {}
    judges = judges_of(trained.game)
    with torch.no_grad():
        for role, network in judges.items():
            for layer, matrix in matrices(network):
                values = torch.linalg.svdvals(matrix)
                if len(values) > 1 and values[0] > 0:
                    found[layer if len(judges) == 1 else f"{role}.{layer}"] = (values / values[0]).tolist()
    if not found:
        return Exhibit(title, why="it has no layer with a matrix of two or more singular values")
    said = (
        "Singular values of each layer as it is used, over its largest one. Where few are left the discriminator sees few "
        "directions, and the generator is free to collapse in the others."
    )
    return Exhibit(title, said, curves=found)


MAKERS: dict[str, Callable[[sampling.Trained], Exhibit | None]] = {
    "Latent walk": _walk,
    "Classes": _classes,
    "Real beside generated": _beside,
    "Nearest training images": _nearest,
    "Spectra of the discriminator": _spectra,
}
