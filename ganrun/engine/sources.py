"""What a game that translates starts from: sources of the data set, those kept in the run folder, or a person's own images.

The first held-out sources stay in the run folder, so that pictures always show the same ones and sampling needs no data set.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganrun.data.base import Dataset, padding, to_pixels, to_range
from ganrun.data.decode import ResizeRule, Unreadable, decode_all
from ganrun.data.folder_names import images_of
from ganrun.data.folder_reading import named
from ganrun.disk import storage
from ganrun.disk.image_folder import expand, listing
from ganrun.games.base import Game
from ganrun.ground.errors import BadInput
from ganrun.ground.spec import Spec

FILE = "sources.pt"
IMAGES, POINTS = 32, 1000  # kept in the run folder


@dataclass(frozen=True)
class Sources:
    """``source`` (n, *spec.source) in the training range, and of pairs the right answers; labels int64 (n,), if any.

    ``names``: what the files were called, for a person's own.
    """

    source: Tensor
    target: Tensor | None = None
    labels: Tensor | None = None
    names: tuple[str, ...] = ()

    def rows(self, chosen: Tensor) -> Sources:
        """The sources at ``chosen``."""
        target, labels = (None if entry is None else entry[chosen] for entry in (self.target, self.labels))
        return replace(self, source=self.source[chosen], target=target, labels=labels)

    def repeated(self, count: int) -> Sources:
        """``count`` of them, from the first on, over and over."""
        return self.rows(torch.arange(count) % len(self.source))


def translates(game: Game) -> bool:
    """Whether the game's generator starts from a source."""
    return "game.translates" in game.traits


def of_dataset(dataset: Dataset, count: int | None = None) -> Sources:
    """The first ``count`` sources, over and over if need be (as many as there are unless told): held-out ones if there are."""
    supply, paired = _supply(dataset), "dataset.paired" in dataset.traits
    rows = torch.arange(min(len(supply), len(supply) if count is None else count))
    batches = [supply.batch(piece) for piece in rows.split(256)]
    x = torch.cat([batch.x for batch in batches])
    labels = [batch.y for batch in batches if batch.y is not None]
    known = torch.cat(labels) if labels else None
    if paired:
        given = torch.cat([batch.source for batch in batches if batch.source is not None])
        found = Sources(given, x, known)
    else:
        found = Sources(x, None, known)
    return found if count is None else found.repeated(count)


def keep(folder: Path, game: Game, dataset: Dataset) -> Sources | None:
    """The sources that the run's pictures show, written to its folder at the first call; None for a game that has none."""
    if not translates(game):
        return None
    if not (folder / FILE).exists():
        image = dataset.spec.kind == "image"
        found = of_dataset(dataset, min(IMAGES if image else POINTS, len(_supply(dataset))))
        held = {"source": found.source, "target": found.target, "labels": found.labels}
        plain = {
            key: to_pixels(entry) if image and key != "labels" else entry for key, entry in held.items() if entry is not None
        }
        buffer = io.BytesIO()
        torch.save(plain, buffer)
        storage.write(folder / FILE, buffer.getvalue())
    return load(folder, dataset.spec)


def _supply(dataset: Dataset) -> Dataset:
    """Where sources come from: the held-out part, if any; its pairs, or its sources alone."""
    split = dataset.held_out() or dataset
    found = split if "dataset.paired" in dataset.traits else split.sources()
    assert found is not None
    return found


def load(folder: Path, spec: Spec) -> Sources:
    """The sources that lie in a run folder; ``BadInput`` where they are gone or damaged."""
    try:
        held = torch.load(folder / FILE, weights_only=True, map_location="cpu")
        found = {key: held.get(key) for key in ("source", "target", "labels")}
        shapes = {"source": spec.source, "target": spec.shape, "labels": ()}
        for key, entry in found.items():
            if entry is not None and (tuple(entry.shape[1:]) != shapes[key] or len(entry) != len(held["source"])):
                raise ValueError(f"{key} has the shape {tuple(entry.shape)}")
        if not len(held["source"]):
            raise ValueError("it is empty")
        image = spec.kind == "image"
        source, target = (
            to_range(found[key]) if image and found[key] is not None else found[key] for key in ("source", "target")
        )
        return Sources(source, target, found["labels"])
    except Exception as error:
        raise BadInput(f"{folder / FILE}: is missing or damaged; it holds the images to translate. Use --input DIR") from error


def read_folder(place: str | Path, spec: Spec, options: Mapping[str, Any]) -> Sources:
    """A person's own images, read as the sources of the data set with ``options`` were; their names without suffixes.

    Raises ``BadInput`` for a folder that is missing, empty or holds a file that cannot be read.
    """
    if spec.kind != "image" or spec.source is None:
        raise BadInput(f"--input {place}: takes images, and this run was trained on {spec.kind}")
    where = expand(place)
    if not os.path.isdir(where):
        what = "it is a file, not a folder" if os.path.exists(where) else "there is no such folder"
        raise BadInput(f"--input {place}: {what} (looked for {os.path.abspath(where)})")
    return read_images([place], spec.source, options)


def read_images(places: Sequence[str | Path], shape: tuple[int, ...], options: Mapping[str, Any]) -> Sources:
    """Image files, and all images of folders, as (n, *shape), read as the data set with ``options`` reads; their names.

    Raises ``BadInput`` for a place that is missing, a folder without images and a file that cannot be read.
    """
    files: dict[str, str] = {}  # by name
    troubles: dict[str, str] = {}
    for place in places:
        where = expand(place)
        if not os.path.exists(where):
            raise BadInput(f"--input {place}: there is no such file or folder (looked for {os.path.abspath(where)})")
        if not os.path.isdir(where):
            files[os.path.basename(where) if len(places) == 1 else str(place)] = where
            continue
        found = listing(where)
        try:
            inside, _ = images_of(found, where)
        except BadInput as error:
            raise BadInput(str(error).replace("dataset.root=", "--input ", 1)) from error
        troubles |= found.troubles
        files |= {name if len(places) == 1 else os.path.join(str(place), name): os.path.join(where, name) for name in inside}
    channels, size = shape[0], shape[1]
    own, padded = options.get("size"), options.get("fit", "pad") == "pad"
    inner = own if padded and isinstance(own, int) and own <= size else size
    rule = ResizeRule(inner, str(options.get("resize", "crop")), channels)
    rows = []
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        for name, result in zip(files, decode_all(list(files.values()), rule), strict=True):
            if isinstance(result, Unreadable):
                troubles[name] = str(result)
            else:
                rows.append(torch.from_numpy(result.pixels))
    if troubles:
        raise BadInput(f"--input {', '.join(map(str, places))}: {named(troubles)}")
    before, after = padding(inner, size)
    pixels = torch.nn.functional.pad(torch.stack(rows), (0, 0, before, after, before, after)).permute(0, 3, 1, 2)
    return Sources(to_range(pixels), names=_stems(list(files)))


def _stems(files: list[str]) -> tuple[str, ...]:
    """Names without suffixes, where that tells them apart."""
    stems = [os.path.splitext(file)[0] for file in files]
    return tuple(stem if stems.count(stem) == 1 else file for stem, file in zip(stems, files, strict=True))
