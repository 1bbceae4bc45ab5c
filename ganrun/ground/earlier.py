"""Configs from before an option was there, said in today's words, so that an old run goes on as it began.

A config without ``game.gain``, which all of ganrun's games have, is from before these changes of what training does:

- ``game.gain``: conditional normalizations had the gain A y, now called ``free``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

GAMES = ("adversarial", "cyclegan", "madgan", "mdgan", "mrgan", "pix2pix", "semi_supervised", "unrolled", "veegan")
GAINED = ("projection", "shared")


def completed(config: Mapping[str, Any]) -> dict[str, Any]:
    """``config`` (plain, resolved) with what it leaves unsaid because it is from before there was a choice; else as it is."""
    found = dict(config)
    game = _mapping(config, "game")
    if game.get("name") not in GAMES or "gain" in game:
        return found
    if game.get("condition") in GAINED:
        found["game"] = {**game, "gain": "free"}
    return found


def as_then(config: Mapping[str, Any]) -> dict[str, Any]:
    """``config`` as versions before these options wrote it, where it does what they did: the way back from ``completed``."""
    found, game = dict(config), _mapping(config, "game")
    then = "free" if game.get("condition") in GAINED else game.get("gain")
    if game.get("name") in GAMES and game.get("gain") == then:
        found["game"] = {key: value for key, value in game.items() if key != "gain"}
    return found


def _mapping(holder: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = holder.get(key)
    return found if isinstance(found, Mapping) else {}
