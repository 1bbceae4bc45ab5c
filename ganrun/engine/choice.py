"""Which latents and classes a person asks for: walks, grids of classes, traversals and arithmetic, each as a table of samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ganrun.engine import latents as made_of
from ganrun.engine import rejection
from ganrun.engine.directions import factorized
from ganrun.engine.ema import EMA
from ganrun.engine.latents import COLUMNS, of_sample, of_samples, walks
from ganrun.engine.sources import translates
from ganrun.games.base import Game
from ganrun.ground.errors import BadInput, suggestion
from ganrun.ground.registry import lookup, names
from ganrun.ground.spec import Latent

ALONG = ("codes", "sefa", "axes")  # or the numbers of axes; "auto": codes where the game has some, else sefa
TABLES = ("interpolate", "class_grid", "traverse", "arithmetic")


@dataclass(frozen=True)
class Wish:
    """What is asked for, as ``Trained.sample`` takes it."""

    count: int
    seed: int
    labels: int | Sequence[int] | None = None
    truncation: float | None = None
    interpolate: str | None = None
    class_grid: bool = False
    traverse: str | None = None
    arithmetic: str | None = None
    reject: float | None = None

    def table(self) -> str | None:
        """Which of ``TABLES`` is asked for; ``BadInput`` for more than one."""
        asked = [name for name in TABLES if getattr(self, name)]
        if len(asked) > 1:
            raise BadInput(f"{', '.join(name.replace('_', '-') for name in asked)}: each makes a table of its own; choose one")
        return asked[0] if asked else None


@dataclass(frozen=True)
class Choice:
    """``count`` samples. ``latents`` (count, size) in place of drawn ones. ``labels``: one a sample, int64, or codes, float
    (count, classes). ``columns``: of a table whose rows and columns mean something, which ``note`` says."""

    count: int
    latents: Tensor | None = None
    labels: Tensor | None = None
    columns: int | None = None
    note: str = ""
    reject: float | None = None  # the share of candidates that the discriminator keeps from being samples


def choose(wish: Wish, game: Game, averages: Mapping[str, EMA]) -> Choice:
    """The samples that ``wish`` means; ``BadInput`` for what this run cannot make."""
    if wish.count < 1:
        raise BadInput(f"num={wish.count}: must be at least 1")
    table, law = wish.table(), game.latent_law
    if (wish.truncation or (table and table != "class_grid")) and all(
        port.kind != "code" for port in game.roles()["generator"][0]
    ):
        raise BadInput("truncation, interpolate, traverse, arithmetic: choose latents, and this run's generator takes none")
    if table in ("traverse", "arithmetic"):
        check_single(game, table)
    if wish.reject is not None:
        if table or wish.truncation is not None:
            raise BadInput(f"reject={wish.reject}: chooses among plain samples; no truncation, and no table of {table or 'them'}")
        rejection.check(game, wish.reject)
        return replace(_labelled(Choice(wish.count), wish.labels, game), reject=wish.reject)
    if wish.class_grid:
        return _class_grid(wish, game)
    if table == "traverse":
        return _traversal(wish, game, averages)
    if table == "arithmetic":
        return _arithmetic(wish, game)
    if wish.interpolate is not None:
        rows = max(1, wish.count // COLUMNS)
        z = walks(of_samples(law, rows + 1, wish.seed, wish.truncation), wish.interpolate)
        return _labelled(Choice(rows * COLUMNS, z, columns=COLUMNS), wish.labels, game)
    drawn = None if wish.truncation is None else of_samples(law, wish.count, wish.seed, wish.truncation)
    return _labelled(Choice(wish.count, drawn), wish.labels, game)


def check_single(game: Game, what: str) -> None:
    """Raise ``BadInput`` unless the generator makes one sample of one latent, and of nothing else but a label."""
    if translates(game):
        raise BadInput(f"{what}: reads one sample as one latent, and this run translates")
    if not game.single:
        raise BadInput(f"{what}: reads one sample as one latent, and the generators of this run share theirs")


def _class_grid(wish: Wish, game: Game) -> Choice:
    if not game.condition.uses_labels:
        raise BadInput(f"class-grid: {unlabelled()}")
    if wish.labels is not None:
        raise BadInput("class-grid: takes every class and the same latents for each; no labels")
    classes = int(game.spec.classes or 0)
    columns = max(1, wish.count // classes)
    z = of_samples(game.latent_law, columns, wish.seed, wish.truncation).repeat(classes, 1)
    return Choice(classes * columns, z, torch.arange(classes).repeat_interleave(columns), columns)


def _traversal(wish: Wish, game: Game, averages: Mapping[str, EMA]) -> Choice:
    """Rows of one direction each, all through the latent of sample 0 of the seed, of one class."""
    law, label = game.latent_law, _one_label(wish, game)
    z, rows, along = of_sample(law, 0, wish.seed, wish.truncation), max(1, wish.count // COLUMNS), str(wish.traverse)
    if along == "auto":
        along = "codes" if law.codes else "sefa"
    if along == "codes":
        if not law.codes:
            raise BadInput("along=codes: this run's latents hold no codes. Try --along sefa")
        columns = max(COLUMNS, *law.codes)
        found = made_of.code_traversal(z, law, columns)
        words = ["number" if size == 1 else f"category of {size}" for size in law.codes]
        note = f"rows: {', '.join(words)}; columns: the values of a category in turn, a number from -1 to 1"
    else:
        columns = COLUMNS
        if along == "sefa":
            directions, values = factorized(game, averages, label)
            directions, shares = directions[:rows], values[:rows] / values.sum()
            said = "directions by closed-form factorization, with " + ", ".join(f"{share:.0%}" for share in shares.tolist())
            said += " of what the first layers change"
        else:
            axes = _axes(along, law)[: rows if along == "axes" else None]
            directions = torch.eye(law.noise_size, dtype=torch.float64)[axes]
            said = f"numbers {', '.join(map(str, axes))} of the latent"
        whole = torch.cat((directions, directions.new_zeros(len(directions), law.size - law.noise_size)), 1)
        found = made_of.traversal(z, whole, law.reach, columns)
        note = f"rows: {said}; columns: the component along it from {-law.reach:g} to {law.reach:g}"
    return _labelled(Choice(len(found), found, columns=columns, note=note), label, game)


def _axes(along: str, law: Latent) -> list[int]:
    if along == "axes":
        return list(range(law.noise_size))
    words = [word.strip() for word in along.split(",")]
    if not all(word.isdecimal() for word in words):
        raise BadInput(f"along={along}: {suggestion(along, ALONG)} Numbers of the latent, such as 0,3,5, are taken too")
    beyond = [word for word in words if int(word) >= law.noise_size]
    if beyond:
        raise BadInput(f"along={along}: the latent's numbers are 0 to {law.noise_size - 1}, so there is no {', '.join(beyond)}")
    return [int(word) for word in words]


def _one_label(wish: Wish, game: Game) -> int | None:
    """The class of a table of one class: the first unless told."""
    if wish.labels is None:
        return 0 if game.condition.uses_labels else None
    given = [wish.labels] if isinstance(wish.labels, int) else list(wish.labels)
    if len(given) != 1:
        raise BadInput(f"traverse: moves one sample, of one class; labels={given} are {len(given)}")
    return int(checked(given, game)[0])


def _arithmetic(wish: Wish, game: Game) -> Choice:
    """Each row: the terms, then their sum. Of samples: one row, or one for each class that is asked for; of classes: rows of
    latents."""
    terms, of_classes = made_of.terms(str(wish.arithmetic))
    factors = torch.tensor([factor for factor, _ in terms], dtype=torch.float64)
    numbers, columns, law = [number for _, number in terms], len(terms) + 1, game.latent_law
    note = "columns: the terms, then their sum"
    if not of_classes:
        parts = torch.cat([of_sample(law, number, wish.seed, wish.truncation) for number in numbers])
        row = torch.cat((parts, (factors @ parts.double()).float()[None]))
        if not game.condition.uses_labels:
            return _labelled(Choice(columns, row, columns=columns, note=note), wish.labels, game)
        given = range(int(game.spec.classes or 0)) if wish.labels is None else wish.labels
        classes = checked([given] if isinstance(given, int) else list(given), game)
        labels = classes.repeat_interleave(columns)
        return Choice(len(labels), row.repeat(len(classes), 1), labels, columns, f"rows: classes {classes.tolist()}; {note}")
    if not game.condition.uses_labels:
        raise BadInput(f"arithmetic={wish.arithmetic}: {unlabelled()}")
    if not game.condition.mixes:
        raise BadInput(f"arithmetic={wish.arithmetic}: this run has a network for each class, and none between them")
    if wish.labels is not None:
        raise BadInput(f"arithmetic={wish.arithmetic}: says the classes itself; no labels")
    codes = torch.nn.functional.one_hot(checked(numbers, game), int(game.spec.classes or 0)).double()
    row, rows = torch.cat((codes, (factors @ codes)[None])).float(), max(1, wish.count // columns)
    z = of_samples(law, rows, wish.seed, wish.truncation).repeat_interleave(columns, 0)
    return Choice(rows * columns, z, row.repeat(rows, 1), columns, f"rows: latents; {note}")


def _labelled(choice: Choice, labels: int | Sequence[int] | None, game: Game) -> Choice:
    """``choice`` with the ``labels``, over and over, if any."""
    if labels is None:
        return choice
    if not game.condition.uses_labels:
        raise BadInput(f"labels: {unlabelled()}")
    chosen = checked([labels] if isinstance(labels, int) else list(labels), game)
    return replace(choice, labels=chosen.repeat(-(-choice.count // max(1, len(chosen))))[: choice.count])


def checked(labels: Sequence[int], game: Game) -> Tensor:
    """The labels as int64; ``BadInput`` for one that is no class."""
    chosen, classes = torch.as_tensor(labels, dtype=torch.int64).flatten(), int(game.spec.classes or 0)
    if chosen.numel() and not 0 <= int(chosen.min()) <= int(chosen.max()) < classes:
        raise BadInput(f"labels={list(labels)}: classes are 0 to {classes - 1}")
    return chosen


def unlabelled() -> str:
    """What to do about a run that has no labels to choose from."""
    found = [name for name in names("condition") if getattr(lookup("condition", name), "uses_labels", False)]
    return f"this run was trained without labels. Train with a condition that takes them: {', '.join(found)}"
