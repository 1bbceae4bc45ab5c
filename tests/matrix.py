"""The product of everything that composes, classified by the rules alone.

loss x up to two regularizers x game x condition x pack x family x part x data. Options come from conf/ and the registry, so a
new component joins unasked; parts and data sets are listed here. A component's traits, needs and refusals are bits of three
whole numbers, those of a cell the bitwise or of its components', and a cell is legal if no needed bit is missing and no
refused bit is there: the same comparison as ``ground/traits.py`` makes, for millions of cells in seconds.
"""

from __future__ import annotations

import functools
import itertools
import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import yaml
from allpairspy import AllPairs
from conftest import CONF, compose_config
from omegaconf import OmegaConf

from ganrun.engine import assemble
from ganrun.ground import registry
from ganrun.ground.errors import BadInput
from ganrun.ground.traits import Rule

BASE = ("batch_size=8", "steps=20", "device=cpu", "n_critic=1")
DATA: dict[str, dict[str, Any]] = {
    "points": {"name": "toy_points"},
    "unlabelled": {"name": "toy_unlabelled"},
    "images": {"name": "toy_images"},
    "tokens": {"name": "toy_tokens"},
    "paired": {"name": "toy_paired"},
    "unpaired": {"name": "toy_unpaired"},
}
# What a family may be made of, by the keys of its options; a part exists for the families that have all its keys.
PARTS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "batch norm in D": {"discriminator.norm": "batch"},
    "no norm": {"generator.norm": "none", "discriminator.norm": "none"},
    "minibatch discrimination": {"discriminator.minibatch": "discrimination", "discriminator.norm": "none"},
    "minibatch standard deviation": {"discriminator.minibatch": "stddev", "discriminator.norm": "none"},
    "virtual norm": {"generator.norm": "virtual"},
    "attention in G": {"generator.attention": 4},
    "attention in D": {"discriminator.attention": {"dcgan": 4}},
    "dropout": {"generator.dropout": 0.5},
    "nearest": {"generator.upsample": "nearest"},
    "pixel shuffle": {"generator.upsample": "pixel_shuffle"},
    "orthogonal": {"generator.init": "orthogonal", "discriminator.init": "orthogonal"},
    "gumbel": {"output": "gumbel"},
    "straight through": {"output": "straight_through"},
}
GAMES = {"unrolled": {"steps": 2}, "semi_supervised": {"labels": 6}, "madgan": {"generators": 2}, "cyclegan": {"pool": 8}}
FACTORS = ("data", "family", "part", "pack", "condition", "game", "loss", "one", "other")
NONE = "none"


@dataclass(frozen=True)
class Bits:
    """Traits, needs and refusals of one or many components together."""

    has: int = 0
    needs: int = 0
    refuses: int = 0

    def __or__(self, other: Bits) -> Bits:
        return Bits(self.has | other.has, self.needs | other.needs, self.refuses | other.refuses)

    @property
    def legal(self) -> bool:
        return not (self.needs & ~self.has or self.refuses & self.has)


@dataclass
class Product:
    """``values``: names of each factor's values; ``found``: counts; ``pairs``: every pair of choices that a legal cell holds."""

    values: dict[str, list[str]]
    legal: int = 0
    refused: int = 0
    pairs: set[frozenset[tuple[str, str]]] = field(default_factory=set)


Cell = dict[str, str]


# what there is


def option_names(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


@functools.cache
def composed(*overrides: str) -> dict[str, Any]:
    return compose_config(*BASE, *overrides)


@functools.cache
def option(group: str, name: str) -> dict[str, Any]:
    """An option's own values as Hydra would compose them, without the time that Hydra takes."""
    config = OmegaConf.load(CONF / group / f"{name}.yaml")
    bases = [entry for entry in config.pop("defaults", []) if isinstance(entry, str) and entry != "_self_"]
    below = [option(group, entry.split("@")[0]) for entry in bases]
    own = config[group] if group in config and not isinstance(config[group], str) else config
    root = OmegaConf.create({**{key: composed()[key] for key in ("n_critic", "condition", "pack")}, "own": own})
    merged = OmegaConf.merge(*below, OmegaConf.to_container(root, resolve=True)["own"])  # type: ignore[index, call-overload]
    return dict(OmegaConf.to_container(merged))  # type: ignore[arg-type]


@functools.cache
def families() -> dict[str, dict[str, Any]]:
    """The smallest options of each distinct family: recipes over the same networks count once."""
    found: dict[Any, tuple[str, dict[str, Any]]] = {}
    for name in sorted(option_names("model"), key=lambda name: "_global_" in (CONF / "model" / f"{name}.yaml").read_text()):
        config = option("model", name)
        component = registry.lookup("model", config["name"])
        if component not in found:
            found[component] = (name, smallest(config))
    return {**dict(found.values()), "toy_bare": {"name": "toy_bare"}}


SIZES = {"latent": 4, "width": 4, "code": 3, "depth": 2, "blocks": 1, "group": 2}


def smallest(options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: smallest(value) if isinstance(value, Mapping) else SIZES[key] if key in SIZES and value is not None else value
        for key, value in options.items()
    }


@functools.cache
def model_of(family: str, part: str) -> dict[str, Any] | None:
    """The family's options with the part; None if it has no such part, or cannot have it."""
    options = json.loads(json.dumps(families()[family]))
    for key, value in PARTS[part].items():
        place = options
        *outer, last = key.split(".")
        for entry in outer:
            place = place.get(entry)
            if not isinstance(place, dict):
                return None
        if last not in place or (isinstance(value, dict) and family not in value):
            return None
        place[last] = value[family] if isinstance(value, dict) else value
    try:
        registry.build("model", options)
    except BadInput:
        return None
    return options if part == "as it is" or options != families()[family] else None


@functools.cache
def regularizers() -> dict[str, dict[str, Any]]:
    """Each option of the group, and once more on the generator where it has the choice."""
    found: dict[str, dict[str, Any]] = {}
    for name in option_names("regularizer"):
        options = option("regularizer", name)
        if not options:
            continue
        found[name] = {name: options}
        if "sides" in options:
            found[f"{name}@generator"] = {name: {**options, "sides": ["generator"]}}
    return found


# bits

_words: dict[str, int] = {}


def bits_of(component: object) -> Bits:
    def mask(words: Any) -> int:
        return sum(1 << _words.setdefault(word, len(_words)) for word in words)

    return Bits(*(mask(getattr(component, name, ())) for name in ("traits", "needs", "refuses")))


@functools.cache
def built(group: str, text: str) -> Any:
    return registry.build(group, json.loads(text))


def small_game(name: str) -> dict[str, Any]:
    return {**option("game", name), **GAMES.get(name, {})}


@functools.cache
def game_of(game: str, condition: str, pack: str) -> Any:
    return built("game", json.dumps({**small_game(game), "condition": condition, "pack": int(pack)}))


@functools.cache
def dataset_of(data: str) -> Any:
    return built("dataset", json.dumps(DATA[data]))


@functools.cache
def component_bits(factor: str, value: str) -> Bits:
    if factor == "data":
        return bits_of(dataset_of(value))
    if factor == "loss":
        return bits_of(built("loss", json.dumps(option("loss", value))))
    assert factor in ("one", "other"), factor
    entries = {} if value == NONE else regularizers()[value]
    return functools.reduce(Bits.__or__, (bits_of(built("regularizer", json.dumps(entry))) for entry in entries.values()), Bits())


@functools.cache
def family_bits(family: str, part: str) -> Bits | None:
    model = model_of(family, part)
    return None if model is None else bits_of(built("model", json.dumps(model)))


@functools.cache
def game_bits(game: str, condition: str, pack: str) -> Bits:
    return bits_of(game_of(game, condition, pack))


def values() -> dict[str, list[str]]:
    stack = [NONE, *regularizers()]
    return {
        "data": [name for name in DATA if DATA[name]["name"] in registry.names("dataset")],
        "family": list(families()),
        "part": [part for part in PARTS if any(model_of(family, part) is not None for family in families())],
        "pack": ["1", "2"],
        "condition": registry.names("condition"),
        "game": option_names("game"),
        "loss": option_names("loss"),
        "one": stack,
        "other": stack,
    }


def exists(cell: Mapping[str, str]) -> bool:
    """Whether a cell, or the beginning of one, names things that there are, each stack once."""
    if "part" in cell and family_bits(cell["family"], cell["part"]) is None:
        return False
    if "other" in cell and cell["other"] != NONE:
        first, second = (name.split("@")[0] for name in (cell["one"], cell["other"]))
        return cell["one"] != NONE and first < second
    return True


def bits_of_cell(cell: Mapping[str, str]) -> Bits:
    """Of a cell, or of the beginning of one in the order of ``FACTORS``."""
    total = Bits()
    if "part" in cell:
        total |= family_bits(cell["family"], cell["part"]) or Bits()
    if "game" in cell:
        total |= game_bits(cell["game"], cell["condition"], cell["pack"])
    for factor in ("data", "loss", "one", "other"):
        if factor in cell:
            total |= component_bits(factor, cell[factor])
    return total


def is_legal(cell: Mapping[str, str]) -> bool:
    return exists(cell) and bits_of_cell(cell).legal


# the product


@functools.cache
def product() -> Product:
    """Every cell classified, and every pair of choices that a legal cell holds."""
    found = Product(values())
    pairs = itertools.product(found.values["one"], found.values["other"])
    stacks = [(one, other) for one, other in pairs if exists({"one": one, "other": other})]
    players = [
        (data, family, part)
        for data, family, part in itertools.product(*(found.values[factor] for factor in ("data", "family", "part")))
        if exists({"family": family, "part": part})
    ]
    of_players = arrays([component_bits("data", data) | (family_bits(family, part) or Bits()) for data, family, part in players])
    of_stacks = arrays([component_bits("one", one) | component_bits("other", other) for one, other in stacks])
    joint = tuple(p[:, None] | s[None, :] for p, s in zip(of_players, of_stacks, strict=True))
    anywhere = np.zeros((len(players), len(stacks)), bool)
    with_players: dict[tuple[str, str], np.ndarray] = {}
    with_stacks: dict[tuple[str, str], np.ndarray] = {}
    outer = ("game", "condition", "pack", "loss")
    for game, condition, pack, loss in itertools.product(*(found.values[factor] for factor in outer)):
        more = game_bits(game, condition, pack) | component_bits("loss", loss)
        has, needs, refuses = joint[0] | more.has, joint[1] | more.needs, joint[2] | more.refuses
        legal = ((needs & ~has) | (refuses & has)) == 0
        count = int(legal.sum())
        found.legal += count
        found.refused += legal.size - count
        if not count:
            continue
        anywhere |= legal
        chosen = list(zip(outer, (game, condition, pack, loss), strict=True))
        found.pairs |= {frozenset(pair) for pair in itertools.combinations(chosen, 2)}
        for choice in chosen:
            with_players[choice] = with_players.get(choice, np.zeros(len(players), bool)) | legal.any(1)
            with_stacks[choice] = with_stacks.get(choice, np.zeros(len(stacks), bool)) | legal.any(0)
    names = ("data", "family", "part")
    for choice, fitting in with_players.items():
        for place in np.flatnonzero(fitting):
            found.pairs |= {frozenset((choice, entry)) for entry in zip(names, players[place], strict=True)}
        for place in np.flatnonzero(with_stacks[choice]):
            found.pairs |= {frozenset((choice, entry)) for entry in zip(("one", "other"), stacks[place], strict=True)}
    for row, place in enumerate(players):
        chosen = list(zip(names, place, strict=True))
        if anywhere[row].any():
            found.pairs |= {frozenset(pair) for pair in itertools.combinations(chosen, 2)}
        for column in np.flatnonzero(anywhere[row]):
            stack = list(zip(("one", "other"), stacks[column], strict=True))
            found.pairs |= {frozenset(pair) for pair in itertools.product(chosen, stack)} | {frozenset(stack)}
    return found


def arrays(entries: list[Bits]) -> tuple[np.ndarray, ...]:
    return tuple(np.array([getattr(entry, name) for entry in entries], np.int64) for name in ("has", "needs", "refuses"))


def pairs_of(cell: Cell) -> set[frozenset[tuple[str, str]]]:
    return {frozenset(pair) for pair in itertools.combinations(cell.items(), 2)}


@functools.cache
def covering() -> list[Cell]:
    """Legal cells that together hold every pair of choices that any legal cell holds."""
    wanted, options = set(product().pairs), list(product().values.values())

    def fits(row: list[str]) -> bool:
        return is_legal(dict(zip(FACTORS, row, strict=False)))

    rows = [dict(zip(FACTORS, row, strict=True)) for row in AllPairs(options, filter_func=fits)]
    for row in rows:
        wanted -= pairs_of(row)
    chance = random.Random(0)
    while wanted:  # a rule can leave a pair no way out that is seen from the front
        pair = min(wanted, key=sorted)
        best = max(itertools.islice(legal_cells(dict(pair), chance), 8), key=lambda cell: len(pairs_of(cell) & wanted))
        rows.append(best)
        wanted -= pairs_of(best)
    return rows


@functools.cache
def smoke() -> list[Cell]:
    """About fifty rows of the covering array in which every choice of every factor occurs twice, where two rows hold it."""
    left = list(covering())
    counts = Counter(choice for row in left for choice in row.items())
    wanted = {choice: min(2, count) for choice, count in counts.items()}
    chosen: list[Cell] = []
    while any(wanted.values()):
        best = max(left, key=lambda row: sum(wanted[choice] > 0 for choice in row.items()))
        chosen.append(best)
        left.remove(best)
        wanted |= {choice: wanted[choice] - 1 for choice in best.items() if wanted[choice]}
    return chosen


def legal_cells(fixed: Mapping[str, str], chance: random.Random, tries: int = 200_000) -> Iterator[Cell]:
    """Random legal cells that hold the choices ``fixed``."""
    options = product().values
    for _ in range(tries):
        cell = {factor: fixed.get(factor) or chance.choice(options[factor]) for factor in FACTORS}
        if is_legal(cell):
            yield cell


# configs


def config_of(cell: Cell) -> dict[str, Any]:
    """What typing the cell's choices composes to."""
    base = composed()
    stack = {key: value for name in (cell["one"], cell["other"]) if name != NONE for key, value in regularizers()[name].items()}
    game = {**small_game(cell["game"]), "condition": cell["condition"], "pack": int(cell["pack"])}
    classes = dataset_of(cell["data"]).spec.classes or 0
    return {
        **base,
        "batch_size": max(base["batch_size"], 2 * classes) if cell["condition"] == "per_class" else base["batch_size"],
        "loss": option("loss", cell["loss"]),
        "dataset": DATA[cell["data"]],
        "model": model_of(cell["family"], cell["part"]),
        "game": game,
        "condition": cell["condition"],
        "pack": int(cell["pack"]),
        "regularizer": stack,
        "metric": {},
    }


def conflicts(config: dict[str, Any]) -> list[tuple[str, Rule]]:
    """What the rules say of a config, as a run would be told."""
    parts = assemble.build(config, with_metrics=False)
    dataset = built("dataset", json.dumps(config["dataset"]))
    from ganrun.ground import traits

    return traits.conflicts(assemble.components(parts, dataset))


def apply(config: dict[str, Any], override: str) -> dict[str, Any]:
    """What typing ``override`` as well would have made of ``config``, at the smallest sizes."""
    word = override.split(" ", maxsplit=1)[0]
    key, _, text = word.partition("=")
    first, *inner = key.split(".")
    value = yaml.safe_load(text)
    if not inner and first in ("condition", "pack"):
        return {**config, first: value, "game": {**config["game"], first: value}}
    if not inner and first == "model":
        return {**config, "model": families()[text] if text in families() else smallest(option("model", text))}
    if not inner and first == "dataset":
        kinds = {entry["name"]: entry for entry in DATA.values()}
        stand_ins = {"ring8": DATA["points"], "digits": DATA["images"]}
        stand_ins |= {"paired_digits": DATA["paired"], "unpaired_digits": DATA["unpaired"], "number_names": DATA["tokens"]}
        return {**config, "dataset": kinds.get(text) or stand_ins[text]}
    if not inner and first == "game":
        return {**config, "game": {**small_game(text), "condition": config["condition"], "pack": config["pack"]}}
    if not inner and key == "regularizer":
        return {**config, key: {text: option(key, text)}}
    if not inner:
        return {**config, key: option(key, text)}
    changed: dict[str, Any] = json.loads(json.dumps(config))
    place = changed[first]
    for entry in inner[:-1]:
        place = place[entry]
    assert inner[-1] in place, f"{override}: there is no such key"
    place[inner[-1]] = value
    return changed
