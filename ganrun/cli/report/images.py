"""Pictures inside a page: read from files that may be anything, made small enough, as data addresses with a text beside them."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ganrun.ground.errors import BadInput
from ganrun.ground.spell import shown

if TYPE_CHECKING:
    from PIL.Image import Image

LARGEST = 40_000_000  # pixels of a picture that is opened
WIDEST = 1024  # pixels of a picture that is shown
Item = TypeVar("Item")


@dataclass(frozen=True)
class Shown:
    """A picture as a page has it: its address ``data:...``, what stands for it where it cannot be seen, and its size."""

    source: str
    alt: str
    width: int
    height: int
    caption: str = ""


def opened(path: Path) -> Image:
    """The PNG in ``path``, whole; ``BadInput`` where it is none, damaged, or larger than any that a run draws."""
    from PIL import Image

    try:
        with Image.open(path, formats=("PNG",)) as picture:
            if picture.width * picture.height > LARGEST:
                raise BadInput(f"{shown(path)}: a picture of {picture.width} x {picture.height} pixels, which no run draws")
            picture.load()
            return picture.convert("L" if picture.mode in ("1", "L") else "RGB")
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError) as error:
        raise BadInput(f"{shown(path)}: is no whole PNG, so it is not shown") from error


def embedded(picture: Image, alt: str, caption: str = "", room: int = 400_000) -> Shown:
    """``picture`` as a PNG where that takes at most ``room`` bytes, else as a WebP of the best quality that does."""
    if max(picture.size) > WIDEST:
        picture = picture.copy()
        picture.thumbnail((WIDEST, WIDEST))
    kind, data = "png", _saved(picture, format="PNG", optimize=True)
    for quality in (90, 75, 50, 25):
        if len(data) <= room:
            break
        kind, data = "webp", _saved(picture, format="WEBP", quality=quality, method=4)
    while len(data) > room and min(picture.size) > 64:
        picture = picture.resize((picture.width * 2 // 3, picture.height * 2 // 3))
        data = _saved(picture, format="WEBP", quality=50, method=4)
    address = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return Shown(address, alt, picture.width, picture.height, caption)


def _saved(picture: Image, **how: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, **how)  # type: ignore[arg-type]
    return buffer.getvalue()


def spaced(items: Sequence[Item], most: int) -> list[Item]:
    """At most ``most`` of ``items``, evenly, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[round(place * (len(items) - 1) / (most - 1))] for place in range(most)]
