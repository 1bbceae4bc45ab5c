"""Configs from before an option was there, said in today's words, so that an old run goes on as it began.

A folder of images without ``dataset.fit`` was padded to a size that the model can make, now called ``pad``.
A config whose ``condition`` is a name is from before conditions had options: it gets those that they had then.
A config without ``game.gain``, which all of ganrun's games have, is from before these changes of what training does:

- ``game.gain``: conditional normalizations had the gain A y, now called ``free``.
- ``regularizer.r1.at``, ``regularizer.r2.at``: slopes were taken at what the discriminator saw, now called ``input``; where
  nothing augments samples that is the same as today's ``sample``.
- ``optimizer.schedule``: an exponential one ended at 1e-3 where less was asked for; a constant one took no notice of ``start``
  and ``final``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

GAMES = ("adversarial", "cyclegan", "madgan", "mdgan", "mrgan", "pix2pix", "semi_supervised", "unrolled", "veegan")
GAINED = ("projection", "shared")
PENALTIES = ("r1", "r2")
STILL = (
    *("consistency", "dragan", "gradient_penalty", "historical_averaging", "instance_noise", "label_flip", "label_smoothing"),
    *("lecam", "orthogonal", "pulling_away", "r1", "r2", "replay", "spectral_norm", "spectral_regularization", "top_k"),
    "weight_clip",
)
"""The regularizers of ganrun that do not come between a sample and the slope at it."""
LATER: dict[str, Any] = {
    "generator_batch": None,
    "model.discriminator.dropout": 0,
    "dataset.jitter": 0,
    "dataset.mirror": False,
    **{
        f"optimizer.{player}{key}": None
        for player in ("", "generator.", "discriminator.")
        for key in ("betas_final", "momentum_final")
    },
    **{f"regularizer.{name}.final": None for name in ("r1", "r2", "gradient_penalty")},
    **{f"regularizer.{name}.decay": 0 for name in ("r1", "r2", "gradient_penalty")},
}
"""Options that came later, as dotted keys, each with the value that is off, of whole floats as integers."""
LEAST_FINAL = 1e-3
FOLDERS = ("folder", "paired_folder", "unpaired_folder")
CONDITIONS: dict[str, dict[str, Any]] = {
    "acgan": {"weight": 1.0},
    "reacgan": {"weight": 0.5, "temperature": 0.5, "margin": 0.98},
    "shared": {"width": 128},
}
"""The options of conditions as they were before they could be chosen."""


def completed(config: Mapping[str, Any]) -> dict[str, Any]:
    """``config`` (plain, resolved) with what it leaves unsaid because it is from before there was a choice; else as it is."""
    found = _with_options(config)
    dataset = _mapping(config, "dataset")
    if dataset.get("name") in FOLDERS and "fit" not in dataset:
        found["dataset"] = {**dataset, "fit": "pad"}
    game, stack, optimizer = (_mapping(found, key) for key in ("game", "regularizer", "optimizer"))
    if game.get("name") not in GAMES or "gain" in game:
        return found
    found["game"] = {**game, "gain": "free" if condition_name(game.get("condition")) in GAINED else "offset"}
    named = [name for name in stack if "name" in _mapping(stack, name)]
    at = "sample" if all(name in STILL for name in named) else "input"
    slopes = {name: {"at": at, **_mapping(stack, name)} for name in PENALTIES if name in named}
    if slopes:
        found["regularizer"] = {**stack, **slopes}
    if "name" in _mapping(optimizer, "schedule"):
        found["optimizer"] = {**optimizer, "schedule": _scheduled(_mapping(optimizer, "schedule"))}
    return found


def without_what_is_off(config: Mapping[str, Any]) -> dict[str, Any]:
    """``config`` without the options of ``LATER`` that are off: it does what it did before there were any, and is that run."""
    found = dict(config)
    for path, off in LATER.items():
        *above, key = path.split(".")
        holder = found
        for part in above:
            inner = holder.get(part)
            if not isinstance(inner, Mapping):
                break
            holder[part] = holder = dict(inner)
        else:
            if key in holder and holder[key] == off and type(holder[key]) is type(off):
                del holder[key]
    return found


def condition_name(condition: Any) -> Any:
    """The name of a condition, which a config of before holds alone."""
    return condition.get("name") if isinstance(condition, Mapping) else condition


def condition_as_then(condition: Any) -> Any:
    """A condition as a config of before held it: its name, where its options are those of then."""
    if isinstance(condition, Mapping) and _options_of(condition) == CONDITIONS.get(str(condition.get("name")), {}):
        return condition["name"]
    return condition


def _options_of(condition: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in condition.items() if key != "name"}


def _with_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """``config`` with a condition that is a name written out, in its own place and in the game, which counts."""
    found, game = dict(config), _mapping(config, "game")
    if isinstance(game.get("condition"), str):
        name = game["condition"]
        found["game"] = {**game, "condition": {"name": name, **CONDITIONS.get(name, {})}}
        found["condition"] = found["game"]["condition"]
    return found


def as_then(config: Mapping[str, Any]) -> dict[str, Any]:
    """``config`` as versions before these options wrote it, where it does what they did: the way back from ``completed``."""
    then, stack = dict(config), _mapping(config, "regularizer")
    if "gain" in _mapping(config, "game"):
        then["game"] = _without(_mapping(config, "game"), "gain")
    if stack:
        then["regularizer"] = {
            name: _without(entry, "at") if name in PENALTIES and isinstance(entry, Mapping) else entry
            for name, entry in stack.items()
        }
    return then if completed(then) == _with_options(config) else dict(config)


def _scheduled(schedule: Mapping[str, Any]) -> dict[str, Any]:
    """What an old schedule did."""
    final = schedule.get("final")
    if schedule["name"] == "exponential" and isinstance(final, int | float) and final < LEAST_FINAL:
        return {**schedule, "final": LEAST_FINAL}
    if schedule["name"] == "constant":
        return {**schedule, **{key: 0.0 for key in ("start", "final") if schedule.get(key)}}
    return dict(schedule)


def _without(entry: Mapping[str, Any], left_out: str) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key != left_out}


def _mapping(holder: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = holder.get(key)
    return found if isinstance(found, Mapping) else {}
