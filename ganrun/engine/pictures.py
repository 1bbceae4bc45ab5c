"""Pictures of samples: grids of images, scatter plots of points."""

from __future__ import annotations

import io
import math
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ganrun.data.base import to_pixels
from ganrun.ground import storage
from ganrun.ground.spec import Spec


def grid(pixels: Tensor, columns: int, at_least: int = 512) -> Image.Image:
    """uint8 images (n, channels, size, size) as one picture, small ones enlarged by whole numbers without smoothing."""
    count, channels, size, _ = pixels.shape
    rows = math.ceil(count / columns)
    gap = 1 if size < 64 else 2
    canvas = torch.full((channels, rows * (size + gap) + gap, columns * (size + gap) + gap), 32, dtype=torch.uint8)
    for index, image in enumerate(pixels):
        top, left = index // columns * (size + gap) + gap, index % columns * (size + gap) + gap
        canvas[:, top : top + size, left : left + size] = image
    picture = to_picture(canvas)
    factor = max(1, round(at_least / canvas.shape[2]))
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


def to_picture(pixels: Tensor) -> Image.Image:
    """One uint8 image (channels, height, width) with 1 or 3 channels as a picture."""
    array = pixels.permute(1, 2, 0).contiguous().numpy()
    return Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)


def scatter(points: Tensor, real: Tensor | None = None, size: int = 512) -> Image.Image:
    """2-D points (n, 2) in blue, over real ones in grey; the frame is half as wide again as the real data."""
    framed = points if real is None else real
    framed = framed[torch.isfinite(framed).all(1)]
    middle = (framed.amax(0) + framed.amin(0)) / 2
    reach = max(float((framed - middle).abs().max()), 1e-6) * 1.5
    picture = Image.new("RGB", (size, size), "white")
    pen = ImageDraw.Draw(picture)
    for cloud, colour in ((real, (190, 190, 190)), (points, (31, 90, 180))):
        if cloud is not None:
            for x, y in (((cloud[torch.isfinite(cloud).all(1)] - middle) / reach + 1) / 2 * size).tolist():
                pen.ellipse((x - 1, size - y - 1, x + 1, size - y + 1), fill=colour)
    return picture


def picture_of(x: Tensor, spec: Spec, real: Tensor | None = None, columns: int | None = None) -> Image.Image:
    """A picture of samples in the training range: a grid of images, or a scatter plot of the first two coordinates."""
    if spec.kind == "tokens":
        return page(lines(x[:64], spec))
    if spec.kind == "image":
        return grid(to_pixels(x), columns or spec.classes or math.ceil(math.sqrt(len(x))))
    return scatter(x[:, :2], None if real is None else real[:, :2])


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


def save_text(x: Tensor, spec: Spec, path: Path) -> None:
    """Rows of tokens as lines of a text file, written in one step."""
    with storage.storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    storage.write(path, "".join(f"{line.rstrip()}\n" for line in lines(x, spec)))


def save_picture(picture: Image.Image, path: Path) -> None:
    """Write a PNG in one step."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    with storage.storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    storage.write(path, buffer.getvalue())


def save_each(x: Tensor, spec: Spec, folder: Path) -> None:
    """Every image as a PNG of its own, at its own size; points as one text file of numbers."""
    with storage.storage_errors(folder / "00000.png"):
        folder.mkdir(parents=True, exist_ok=True)
        if spec.kind == "image":
            for index, image in enumerate(to_pixels(x)):
                to_picture(image).save(folder / f"{index:05d}.png")
        elif spec.kind == "tokens":
            save_text(x, spec, folder / "lines.txt")
        else:
            rows = (" ".join(f"{value:.9g}" for value in point) for point in x.tolist())
            (folder / "points.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")
