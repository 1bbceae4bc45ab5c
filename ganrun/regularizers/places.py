"""Where the penalties on slopes at samples take them."""

from __future__ import annotations

from ganrun.ground.errors import BadInput, suggestion

PLACES = ("sample", "input")
BEFORE_CHANGES = -1  # the rank of whoever must see samples before noise and augmentations change them


def check_place(at: str) -> str:
    """``at`` if it is one of the places; ``BadInput`` otherwise."""
    if at not in PLACES:
        raise BadInput(f"at={at}: there is no such place. {suggestion(at, PLACES)}")
    return at
