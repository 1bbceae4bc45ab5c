"""Pictures of samples: grids of images, pages of text; of points see ``clouds.py``."""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from ganrun.data.base import to_pixels
from ganrun.disk import storage
from ganrun.engine import clouds
from ganrun.ground.spec import Spec

BACKGROUND = 32  # dark grey
STRIP = 3  # times as long as wide: the most that a picture may be


def grid(pixels: Tensor, columns: int, at_least: int = 512) -> Image.Image:
    """uint8 images (n, channels, size, size) as one picture, small ones enlarged by whole numbers without smoothing."""
    count, channels, size, _ = pixels.shape
    rows = math.ceil(count / columns)
    gap = 1 if size < 64 else 2
    canvas = torch.full((channels, rows * (size + gap) + gap, columns * (size + gap) + gap), BACKGROUND, dtype=torch.uint8)
    for index, image in enumerate(pixels):
        top, left = index // columns * (size + gap) + gap, index % columns * (size + gap) + gap
        canvas[:, top : top + size, left : left + size] = image
    picture = to_picture(canvas)
    factor = max(1, round(at_least / canvas.shape[2]))
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


def across(count: int, group: int = 1) -> int:
    """Columns of a picture of ``count`` images that is most nearly square.

    A multiple of ``group``, so that what comes over and over every ``group`` images stands in columns of its own; of any number
    where that would make a strip.
    """
    fitting = [columns for columns in range(group, count + 1, group) if _stretch(count, columns) <= STRIP] if group > 1 else []
    return min(fitting, key=lambda columns: _stretch(count, columns), default=math.ceil(math.sqrt(count)))


def _stretch(count: int, columns: int) -> float:
    """The longer side of a picture of ``count`` images, in images, by the shorter one."""
    rows = math.ceil(count / columns)
    return max(rows, columns) / min(rows, columns)


def folded(pixels: Tensor, columns: int) -> tuple[Tensor, int]:
    """(images, columns) of a table of images that is no strip: a long one is cut into bands, below or beside each other.

    Within a band rows and columns mean what they did. Bands of several rows, or columns, have a gap of one image between them.
    """
    rows = len(pixels) // columns
    if max(rows, columns) <= STRIP * min(rows, columns):
        return pixels, columns
    long = 0 if rows > columns else 1
    table = pixels.unflatten(0, (rows, columns)).movedim(long, 0)  # (length, breadth, channels, size, size)
    length, breadth = table.shape[:2]
    part = math.ceil(length / max(1, round(math.sqrt(length / breadth))))
    blank = table.new_full((part, 1, *table.shape[2:]), BACKGROUND)
    pieces: list[Tensor] = []
    for piece in table.split(part):
        gap = [blank] if pieces and breadth > 1 else []
        lacking = table.new_full((part - len(piece), *piece.shape[1:]), BACKGROUND)
        pieces += [*gap, torch.cat((piece, lacking))]
    whole = torch.cat(pieces, 1).movedim(0, long)
    return whole.flatten(0, 1), whole.shape[1]


def to_picture(pixels: Tensor) -> Image.Image:
    """One uint8 image (channels, height, width) with 1 or 3 channels as a picture."""
    array = pixels.permute(1, 2, 0).contiguous().numpy()
    return Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)


def picture_of(
    x: Tensor, spec: Spec, real: Tensor | None = None, columns: int | None = None, *, table: bool = False, title: str = ""
) -> Image.Image:
    """A picture of samples in the training range: a grid of images, lines of text, or a drawing of points over ``real`` ones.

    ``table``: rows and columns of images have a meaning, which a picture that is cut into bands keeps. ``title``: of a drawing.
    """
    if spec.kind == "tokens":
        return page(lines(x[:64], spec))
    if spec.kind == "image":
        columns = columns or across(len(x))
        return grid(*(folded(to_pixels(x), columns) if table else (to_pixels(x), columns)))
    return clouds.drawing(x, real, title)


def lines(x: Tensor, spec: Spec) -> list[str]:
    """Rows of tokens (n, length, vocabulary) as text: the likeliest symbol of each position."""
    alphabet = spec.alphabet or "".join(map(chr, range(0x4E00, 0x4E00 + spec.shape[1])))
    return ["".join(alphabet[code] for code in row) for row in x.argmax(-1).tolist()]


def page(text: list[str]) -> Image.Image:
    """Lines of text as a picture, in black on white."""
    picture = Image.new("RGB", (16 + 7 * max(map(len, text)), 16 + 14 * len(text)), "white")
    pen = ImageDraw.Draw(picture)
    for index, line in enumerate(text):
        pen.text((8, 8 + 14 * index), line, fill="black")
    return picture


def text_of(x: Tensor, spec: Spec) -> bytes:
    """Rows of tokens as lines of text."""
    return "".join(f"{line.rstrip()}\n" for line in lines(x, spec)).encode()


def png(picture: Image.Image, about: str = "") -> bytes:
    """A PNG file, with ``about`` as its comment."""
    buffer, notes = io.BytesIO(), PngInfo()
    if about:
        notes.add_text("Comment", about)
    picture.save(buffer, format="PNG", pnginfo=notes)
    return buffer.getvalue()


def save_picture(picture: Image.Image, path: Path, x: Tensor, spec: Spec) -> None:
    """Write the picture of the samples ``x`` as a PNG in one step, and beside one of text the lines themselves."""
    with storage.storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    storage.write(path, png(picture))
    if spec.kind == "tokens":
        storage.write(path.with_suffix(".txt"), text_of(x, spec))


def beside(x: Tensor, spec: Spec, source: Tensor, target: Tensor | None = None, title: str = "") -> Image.Image:
    """Translations ``x`` (n, ...), each between its source and, where there is one, the right answer; points over these."""
    if spec.kind != "image":
        return picture_of(x, spec, target, title=title)
    rows = [to_pixels(entry) for entry in (source, x, target) if entry is not None]
    channels = max(entry.shape[1] for entry in rows)
    rows = [entry.expand(-1, channels, -1, -1) if entry.shape[1] == 1 else entry for entry in rows]
    count, columns = len(rows) * len(x), len(rows) * min(4, len(x))
    if _stretch(count, columns) > STRIP:
        columns = across(count, len(rows))
    return grid(torch.stack(rows, 1).flatten(0, 1), columns)


def pieces(x: Tensor, spec: Spec, names: tuple[str, ...] = ()) -> dict[str, Callable[[], bytes]]:
    """Files of single samples, by name: every image as a PNG at its own size, by its number or its name; points, or lines of
    text, as one text file."""
    if spec.kind == "tokens":
        return {"lines.txt": lambda: text_of(x, spec)}
    if spec.kind == "image":
        called = [names[index] if names else f"{index:05d}" for index in range(len(x))]
        made = [functools.partial(_single, image) for image in to_pixels(x)]
        return dict(zip([f"{entry}.png" for entry in called], made, strict=True))
    rows = [" ".join(f"{value:.9g}" for value in point) + "\n" for point in x.tolist()]
    return {"points.txt": lambda: "".join(rows).encode()}


def _single(pixels: Tensor) -> bytes:
    return png(to_picture(pixels))
