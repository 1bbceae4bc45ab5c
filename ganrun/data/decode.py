"""One image file to a square of bytes, by rules that are stated and never guessed.

========================  ===================================================================================
file                      must be a regular file (anything else is never opened), PNG, JPEG, WEBP or BMP by content
size                      more than 64 megapixels is refused from the header, before any pixel is decoded
animation                 the first frame
orientation               as EXIF says
transparency              composited on black, the colour of padding
palette, bilevel          as the colours that they stand for
metadata                  text and profiles of any size are left unread; a PNG's orientation is that of its EXIF chunk then
CMYK                      to RGB by Pillow's formula; colour profiles are not applied
16-bit grey               round(v / 257); Pillow itself keeps the high byte of 16-bit colour
32-bit, float, others     refused
RGB to grey               luma of ITU-R 601
========================  ===================================================================================

Resize rules, all with Pillow's antialiased Lanczos filter: ``crop`` takes the largest centred square, ``pad`` keeps the
whole image and centres it on black, ``stretch`` ignores the proportions. A JPEG that is at least four times too large is
first scaled down by its decoder, to no less than twice the size wanted.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import BinaryIO, TypeVar

import numpy as np
from PIL import Image

from ganrun.disk.image_folder import why_not_regular

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
SMALL = 16_384  # bytes of a file
LOOKED_AT = 100  # files whose sizes are asked for
MAX_PIXELS = 64_000_000
PNG = b"\x89PNG\r\n\x1a\n"
WORDS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")  # chunks that no pixel depends on
FILTER = Image.Resampling.LANCZOS
ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Unreadable(Exception):
    """A file that is no image we accept; the message says why."""


Found = TypeVar("Found")


@dataclass(frozen=True)
class ResizeRule:
    """How images become squares: ``size`` pixels, ``resize`` crop | pad | stretch, ``channels`` 1 | 3.

    ``half`` left | right: of a file that shows two pictures side by side, that one.
    """

    size: int
    resize: str
    channels: int
    half: str = "whole"


@dataclass(frozen=True)
class Decoded:
    """``pixels`` uint8 (size, size, channels), and what had to be done to the image, in words."""

    pixels: np.ndarray
    remarks: tuple[str, ...]


def workers() -> int:
    """Threads that decode: one a processor, at most 8."""
    return min(8, os.cpu_count() or 1)


def decode_all(paths: Iterable[str], rule: ResizeRule) -> Iterator[Decoded | Unreadable]:
    """Decode ``paths``, large files in parallel; results come in their order, an ``Unreadable`` in the place of a bad file."""

    def attempt(path: str) -> Decoded | Unreadable:
        try:
            return decode(path, rule)
        except Unreadable as error:
            return error

    paths = list(paths)
    if _are_small(paths):  # threads would wait for one another longer than they decode
        yield from map(attempt, paths)
        return
    with ThreadPoolExecutor(workers(), thread_name_prefix="decode") as pool:
        for start in range(0, len(paths), 256):  # so that no more than this many images wait in memory
            yield from pool.map(attempt, paths[start : start + 256])


def _are_small(paths: Sequence[str]) -> bool:
    """Whether most of the first files hold too little for a thread of their own."""
    sizes = []
    for path in paths[:LOOKED_AT]:
        with suppress(OSError):
            sizes.append(os.stat(path).st_size)
    return bool(sizes) and sorted(sizes)[len(sizes) // 2] < SMALL


def decode(path: str, rule: ResizeRule) -> Decoded:
    """The image at ``path`` by ``rule``. Raises ``Unreadable``, whatever is wrong with the file."""
    found, is_plain = _read(path, lambda image: _prepare(image, rule))
    if is_plain:
        return Decoded(found.pixels, (*found.remarks, "read without its text and colour profile, which are too large"))
    return found


def dimensions(path: str, half: str = "whole") -> tuple[int, int]:
    """(width, height) of the image at ``path``, or of a half of it, by its header alone. Raises ``Unreadable``.

    Whether EXIF turns it does not count: neither side matters more than the other.
    """
    (width, height), _ = _read(path, lambda image: image.size)
    return (width, height) if half == "whole" else (max(1, width // 2), height)


def _read(path: str, use: Callable[[Image.Image], Found]) -> tuple[Found, bool]:
    """What ``use`` makes of the image at ``path``, and whether its text had to be left out for that."""
    with read_errors():
        why = why_not_regular(os.stat(path).st_mode)
        if why is not None:
            raise Unreadable(why)
        with open(path, "rb") as file:
            try:
                with Image.open(file, formats=FORMATS) as image:
                    return use(image), False
            except ValueError:  # Pillow reads text before pixels, and gives up where there is much of it
                plain = without_text(file)
                if plain is None:
                    raise
                with Image.open(plain, formats=FORMATS) as image:
                    return use(image), True


def without_text(file: BinaryIO) -> BinaryIO | None:
    """The PNG in ``file`` without the chunks that hold text or a colour profile; None where it is no PNG or has none of them.

    Nothing of those chunks is read or decompressed, so however large they claim to be, they cost nothing.
    """
    file.seek(0)
    if file.read(len(PNG)) != PNG:
        return None
    kept, dropped = [PNG], False
    while len(head := file.read(8)) == 8:
        length = int.from_bytes(head[:4], "big")
        if head[4:] in WORDS:
            file.seek(length + 4, os.SEEK_CUR)
            dropped = True
        else:
            kept += [head, file.read(length + 4)]
    return io.BytesIO(b"".join(kept)) if dropped else None


@contextmanager
def read_errors() -> Iterator[None]:
    """Whatever reading an image raises as ``Unreadable``, with why in a few words."""
    try:
        yield
    except Unreadable:
        raise
    except Image.DecompressionBombError:
        raise Unreadable(f"more than {MAX_PIXELS // 10**6} megapixels") from None
    except Image.UnidentifiedImageError:
        raise Unreadable("no image of the formats " + ", ".join(FORMATS)) from None
    except Exception as error:  # Pillow's plugins raise OSError, SyntaxError, ValueError, struct.error, zlib.error ...
        raise Unreadable(" ".join(str(error).split()) or type(error).__name__) from error


def _prepare(image: Image.Image, rule: ResizeRule) -> Decoded:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise Unreadable(f"{width}x{height} is more than {MAX_PIXELS // 10**6} megapixels")
    remarks = []
    if getattr(image, "is_animated", False):
        remarks.append("animated, first frame taken")
    turn = _turn(image)
    image.draft(None, (4 * rule.size, 4 * rule.size) if rule.half != "whole" else (2 * rule.size, 2 * rule.size))
    plain, done = to_mode(image, "L" if rule.channels == 1 else "RGB")
    remarks += done
    if turn is not None:
        plain = plain.transpose(turn)
        remarks.append("turned as EXIF says")
    if rule.half != "whole":
        plain = half_of(plain, rule.half)
        width, height = plain.size
    if (max if rule.resize == "pad" else min)(width, height) < rule.size:
        remarks.append("smaller than the working size, enlarged")
    pixels = np.array(fit(plain, rule)).reshape(rule.size, rule.size, rule.channels)
    return Decoded(pixels, tuple(remarks))


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What EXIF asks for; nothing where the EXIF block itself is broken, since the pixels may be good."""
    try:
        return TURNS.get(image.getexif().get(ORIENTATION, 1))
    except Exception:
        return None


def to_mode(image: Image.Image, mode: str) -> tuple[Image.Image, list[str]]:
    """``image`` in ``mode`` ("L" or "RGB") by the policy above, and remarks. Raises ``Unreadable`` for other modes."""
    if image.mode in ("I;16", "I;16L", "I;16B", "I"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise Unreadable("32-bit pixels are not accepted: convert them to 8 bits")
        return Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert(mode), ["16-bit grey scaled by 1/257"]
    if image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or (
        "transparency" in image.info and image.mode in ("1", "L", "P", "RGB")
    ):
        seen = image.convert("RGBA")
        if seen.getchannel("A").getextrema()[0] == 255:
            return seen.convert(mode), []
        seen = Image.alpha_composite(Image.new("RGBA", seen.size, (0, 0, 0, 255)), seen)
        return seen.convert("RGB").convert(mode), ["transparent, composited on black"]
    if image.mode == "CMYK":
        return image.convert("RGB").convert(mode), ["CMYK converted to RGB"]
    if image.mode in ("P", "1"):
        return image.convert("RGB").convert(mode), []
    if image.mode in ("L", "RGB"):
        return image.convert(mode), []
    raise Unreadable(f"pixels of mode {image.mode} are not accepted: convert them to 8-bit grey or RGB")


def half_of(image: Image.Image, side: str) -> Image.Image:
    """The left or the right of two pictures of one size side by side. Raises ``Unreadable`` where they cannot be that."""
    width, height = image.size
    if width < 2 or width % 2:
        raise Unreadable(f"{width}x{height} does not divide into two pictures side by side")
    return image.crop((0, 0, width // 2, height) if side == "left" else (width // 2, 0, width, height))


def fit(image: Image.Image, rule: ResizeRule) -> Image.Image:
    """``image`` as a square of ``rule.size`` pixels. Never makes an intermediate image larger than that."""
    width, height = image.size
    square = (rule.size, rule.size)
    if rule.resize == "crop":
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        return image.resize(square, FILTER, box=(left, top, left + side, top + side))
    if rule.resize == "stretch":
        return image.resize(square, FILTER)
    scale = rule.size / max(width, height)
    inner = (max(1, round(width * scale)), max(1, round(height * scale)))
    canvas = Image.new(image.mode, square)
    canvas.paste(image.resize(inner, FILTER), ((rule.size - inner[0]) // 2, (rule.size - inner[1]) // 2))
    return canvas
