"""Generated samples. Sample i is a function of (seed, i), however many are asked for."""

from __future__ import annotations

import functools
import itertools
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganrun.data.base import Dataset, to_pixels
from ganrun.disk import checkpoint, runs
from ganrun.disk.run_folder import RunFolder
from ganrun.engine import assemble, rejection
from ganrun.engine.choice import Choice, Wish, choose
from ganrun.engine.ema import EMA
from ganrun.engine.latents import BLOCK, COLUMNS, Given
from ganrun.engine.sources import Sources, load, translates
from ganrun.engine.standing import stand
from ganrun.games.base import Game
from ganrun.ground import rng
from ganrun.ground.errors import BadInput, NoCheckpoint
from ganrun.ground.runtime import Runtime, resolve
from ganrun.ground.spec import Spec
from ganrun.ground.turn import Turn

PARTS = 8  # of a block of sources
LARGEST = 2**26  # numbers in a sample, or classes: more is a damaged run.json


def generate(
    game: Game,
    count: int,
    *,
    seed: int,
    runtime: Runtime,
    averages: Mapping[str, EMA],
    labels: Tensor | None = None,
    sources: Tensor | None = None,
    latents: Tensor | None = None,
    standing: int = 0,
) -> Tensor:
    """``count`` samples in the training range: float32 of shape (count, *spec.shape), on the CPU.

    Latents come in blocks of 256, each a function of (seed, block): the first n samples are the same for every count.
    ``labels``: int64 of shape (count,), or codes, float (count, classes), for a game that uses them; by default the classes in
    turn. ``sources``: the images to translate, in the training range, of shape (count, *spec.source), for a game that does; a
    block of them is worked on in parts, since whole images go in. ``latents``: (count, size), in place of drawn ones.
    ``standing``: batches of 256 from which batch normalizations take their statistics, or 0 for those of training.
    """
    if game.condition.uses_labels and labels is None:
        labels = torch.arange(count) % int(game.spec.classes or 1)
    rows = []
    with assemble.performing(game, averages):
        parts = 1 if sources is None else PARTS
        if standing:
            let_stand(game, standing, seed=seed, runtime=runtime, labels=labels, sources=sources)
        for block, part in itertools.product(range(math.ceil(count / BLOCK)), range(parts)):
            if block * BLOCK + part * (BLOCK // parts) >= count:
                break
            turn = Turn(
                seed=seed,
                step=block,
                phase="sample",
                repeat=0,
                batch_size=BLOCK,
                latent_law=game.latent_law if latents is None else Given(latents.shape[1], rows=_block(latents, block)),
                device=runtime.device,
                micro_batch=(part, parts),
            )
            rng.seed_default(turn.generator(f"default {part}" if part else "default").initial_seed(), runtime.device)
            condition, source = (
                None if entry is None else _block(entry, block).chunk(parts)[part].to(runtime.device)
                for entry in (labels, sources)
            )
            with runtime.autocast():
                rows.append(game.sample(BLOCK, turn, condition, source).float().cpu())
    return torch.cat(rows)[:count]


def let_stand(
    game: Game, batches: int, *, seed: int, runtime: Runtime, labels: Tensor | None = None, sources: Tensor | None = None
) -> None:
    """Put copies in the place of the performing players, with statistics of ``batches`` batches of samples of ``seed``."""
    size = BLOCK if sources is None else BLOCK // PARTS
    stand(game, batches, lambda batch: _one_batch(game, batch, size, seed, runtime, labels, sources))


def _one_batch(
    game: Game, batch: int, size: int, seed: int, runtime: Runtime, labels: Tensor | None, sources: Tensor | None
) -> Tensor:
    """Samples for standing statistics: of latents of their own, and of the given labels and sources in turn."""
    rows = torch.arange(batch * size, (batch + 1) * size)
    condition, source = (None if held is None else held[rows % len(held)].to(runtime.device) for held in (labels, sources))
    turn = Turn(
        seed=seed,
        step=batch,
        phase="standing statistics",
        repeat=0,
        batch_size=size,
        latent_law=game.latent_law,
        device=runtime.device,
    )
    rng.seed_default(turn.generator("default").initial_seed(), runtime.device)
    with runtime.autocast():
        return game.sample(size, turn, condition, source)


def _block(rows: Tensor, block: int) -> Tensor:
    """The rows of one block, filled up with zeros to its size."""
    part = rows[block * BLOCK : (block + 1) * BLOCK]
    return torch.cat((part, part.new_zeros(BLOCK - len(part), *part.shape[1:])))


class Trained:
    """A trained run, from its folder: its components, its players at a checkpoint and, when asked for, its data.

    Each is made once, whatever is done with the run. Sampling needs no data set. ``step`` and ``digest`` are the checkpoint's;
    ``spec`` is the shape of what it makes. Torch's threads, determinism and generators are the run's while it builds and
    samples, and the caller's again afterwards. ``with_metrics``: ``parts`` has the config's metrics.
    """

    def __init__(self, target: Path, config: Mapping[str, Any], *, raw: bool = False, with_metrics: bool = False) -> None:
        self.target, self.config, self.runtime = target, config, resolve(config["device"])
        with self.runtime.applied():
            self.parts = assemble.build(config, with_metrics=with_metrics)
            self._load(raw)

    def _load(self, raw: bool) -> None:
        self.folder = runs.locate(self.target)[0]
        self.spec = load_spec(self.folder)
        whole = assemble.holder(self.parts, self.spec, self.runtime)
        state = load_state(self.target, whole.demand_fits)[1]
        self.step, self.digest, self.game = int(state["step"]), checkpoint.digest(state), self.parts.game
        self.averages = {} if raw else whole.averages
        wanted: dict[str, Any] = {f"players/{role}": player for role, player in self.game.players.items()}
        wanted |= {f"averages/{role}": average for role, average in self.averages.items()}
        wanted |= {"game": self.game, "loss": self.parts.loss}  # what metrics that play on start from; sampling needs none of it
        wanted |= {f"regularizers/{name}": entry for name, entry in self.parts.regularizers.items()}
        held = whole.with_averages(state)[0]
        for path, part in wanted.items():
            part.load_state_dict(held[path])

    @functools.cached_property
    def dataset(self) -> Dataset:
        """The data set of the run's config, read when first asked for."""
        with self.runtime.applied():
            return assemble.load_data(self.config, self.parts.family)

    def sample(
        self,
        count: int,
        *,
        seed: int = 0,
        labels: int | Sequence[int] | None = None,
        truncation: float | None = None,
        interpolate: str | None = None,
        class_grid: bool = False,
        traverse: str | None = None,
        arithmetic: str | None = None,
        reject: float | None = None,
        sources: Tensor | None = None,
    ) -> Tensor:
        """``count`` samples on the CPU.

        Images are float32 (count, channels, height, width) in [0, 1], points float32 (count, d) as they are. Sample i depends on
        ``seed`` and i alone. ``labels`` (one class, or one a sample) needs a conditional run. ``truncation``: no |z_i| is above
        it. ``interpolate``: "slerp" or "linear", rows of 8 that walk from one sample to the next. ``class_grid``: a row for each
        class, with the same latents in every row. ``traverse``: sample 0 moved along a direction a row, "codes", "sefa"
        (closed-form factorization), "axes" or such as "0,3,5", or "auto". ``arithmetic``: a sum such as "3 - 5 + 8" of samples
        of the seed, or "label 3 - label 5" of classes; each row shows the terms and the sum. ``reject``: the share of candidates
        that the discriminator keeps from being samples. ``sources``, for a run that translates, are like its own, images in [0,
        1]; by default those that lie in the run folder. Sample i is made from source i, which come over and over; in walks and
        grids of classes each row, or column, from one.
        """
        given = None
        if sources is not None:
            given = Sources(sources * 2 - 1 if self.spec.kind == "image" else sources)
        starts = self.starts(count, given, interpolate=interpolate, class_grid=class_grid)
        wish = Wish(count, seed, labels, truncation, interpolate, class_grid, traverse, arithmetic, reject)
        x = self.make(self.choose(wish), seed=seed, starts=starts)
        return to_pixels(x).float() / 255 if self.spec.kind == "image" else x

    def starts(
        self, count: int, sources: Sources | None = None, *, interpolate: str | None = None, class_grid: bool = False
    ) -> Sources | None:
        """What the samples are made from, row by row: ``sources``, or those of the run folder; None where there are none."""
        if not translates(self.game):
            if sources is not None:
                raise BadInput("input: this run makes samples from noise and translates nothing; leave the input out")
            return None
        found = load(self.folder, self.spec) if sources is None else sources
        if tuple(found.source.shape[1:]) != self.spec.source:
            raise BadInput(f"sources of {tuple(found.source.shape[1:])}: this run translates {self.spec.source}")
        if class_grid:
            classes = int(self.spec.classes or 1)
            return found.rows(torch.arange(max(1, count // classes)).repeat(classes) % len(found.source))
        if interpolate is not None:
            return found.rows(torch.arange(max(1, count // COLUMNS)).repeat_interleave(COLUMNS) % len(found.source))
        return found.repeated(max(1, count))

    def choose(self, wish: Wish) -> Choice:
        """The latents and classes that ``wish`` means; ``BadInput`` for what this run cannot make."""
        with self.runtime.applied():
            return choose(wish, self.game, self.averages)

    def make(self, choice: Choice, *, seed: int, starts: Sources | None = None) -> Tensor:
        """The samples of ``choice``, in the training range, from the rows of ``starts`` where the run translates."""
        labels = choice.labels
        if labels is None and starts is not None and self.game.condition.uses_labels:
            if starts.labels is None:
                raise BadInput("labels: this run translates by class, and the sources come without: say which class")
            labels = starts.labels
        standing = int(self.config["evaluation"].get("standing", 0))
        common: dict[str, Any] = {"runtime": self.runtime, "averages": self.averages, "standing": standing}
        with self.runtime.applied():
            if choice.reject is not None:
                if self.game.condition.uses_labels and labels is None:
                    labels = torch.arange(choice.count) % int(self.spec.classes or 1)
                make = lambda count, seed, labels: generate(self.game, count, seed=seed, labels=labels, **common)  # noqa: E731
                return rejection.kept(self.game, self.averages, make, labels, choice.count, seed, choice.reject)
            source = None if starts is None else starts.source
            chosen: dict[str, Any] = {"labels": labels, "sources": source, "latents": choice.latents}
            return generate(self.game, choice.count, seed=seed, **chosen, **common)


def load_state(target: Path, accept: Callable[[dict[str, Any]], Any] = checkpoint.demand_sound) -> tuple[Path, dict[str, Any]]:
    """(run folder, state) for a run folder, whose newest usable state it is, or for one checkpoint file in it.

    ``accept`` raises ``NoCheckpoint`` for a state that is not usable.
    """
    folder, target = runs.locate(target)
    facts = RunFolder(folder).facts()

    def demand_usable(state: dict[str, Any]) -> None:
        accept(state)
        checkpoint.demand_kept(state, facts)

    if target != folder:
        state = checkpoint.read(target, facts.get("identity"))
        try:
            demand_usable(state)
        except NoCheckpoint as error:
            raise NoCheckpoint(f"{target}: {error}") from error
        return folder, state
    said: list[str] = []

    def warn(line: str) -> None:
        said.append(line)
        print_warning(line)

    found = checkpoint.newest(folder / "checkpoints", warn, run=facts.get("identity"), accept=demand_usable)
    if found is None:
        raise NoCheckpoint(f"{folder}: has no checkpoint yet")
    if facts.get("step", 0) > found["step"] and not said:
        print_warning(
            f"warning: {folder}: run.json tells of step {facts['step']}, but the newest checkpoint is of step {found['step']}"
        )
    return folder, found


def print_warning(line: str) -> None:
    """A word on stderr."""
    print(line, file=sys.stderr)


def load_spec(folder: Path) -> Spec:
    """What the run's data looks like, from its run.json."""
    try:
        found = RunFolder(folder).facts()["data"]["spec"]
        source = found.get("source")
        spec = Spec(
            found["kind"],
            tuple(int(entry) for entry in found["shape"]),
            found["classes"],
            None if source is None else tuple(int(entry) for entry in source),
            found.get("alphabet"),
        )
        legal = len(spec.shape) == {"image": 3, "points": 1, "tokens": 2}[spec.kind] and min(spec.shape) > 0
        legal &= spec.source is None or (
            len(spec.source) == len(spec.shape) and min(spec.source) > 0 and math.prod(spec.source) <= LARGEST
        )
        if not legal or math.prod(spec.shape) > LARGEST or not 0 <= (spec.classes or 0) <= LARGEST:
            raise ValueError("no such data")
        return spec
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{folder / 'run.json'}: is missing or damaged: it holds the shape of the data") from error
