"""The pictures of a run over training as a GIF, each with its step above: what every browser and mail program shows."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from ganrun.cli.report import page
from ganrun.cli.report.held import Held
from ganrun.cli.report.images import opened, spaced
from ganrun.disk import storage
from ganrun.ground.errors import BadInput
from ganrun.ground.spell import shown

if TYPE_CHECKING:
    from PIL.Image import Image

MARK = b"ganrun report"  # the GIF's comment
FRAMES, HEAD, WIDEST = 100, 28, 640  # pictures, pixels of the line above them, pixels across
MILLISECONDS, LAST = 250, 2000  # of a frame, of the last one


def demand_ours(path: Path) -> None:
    """``BadInput`` for a name that is no GIF's, or that something else has."""
    if path.suffix.lower() != ".gif":
        raise BadInput(f"--gif {path}: must end in .gif")
    page.demand_ours(path, MARK)


def write(held: Held, path: Path) -> None:
    """Write the GIF; ``BadInput`` where the run has no picture that can be read."""
    frames, wrong = [], []
    for step, file in spaced(list(held.pictures.items()), FRAMES):
        try:
            frames.append(_titled(opened(file), f"step {step}"))
        except BadInput as error:
            wrong.append(str(error))
    if not frames:
        raise BadInput(f"{shown(held.path)}: has no picture of its training" + (f": {wrong[0]}" if wrong else ""))
    size = (max(frame.width for frame in frames), max(frame.height for frame in frames))
    whole = [_placed(frame, size).quantize(128) for frame in frames]
    buffer = io.BytesIO()
    whole[0].save(
        buffer,
        format="GIF",
        save_all=True,
        append_images=whole[1:],
        duration=[MILLISECONDS] * (len(whole) - 1) + [LAST],
        loop=0,
        optimize=True,
        comment=MARK,
    )
    with storage.storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    storage.write(path, buffer.getvalue())


def _titled(picture: Image, words: str) -> Image:
    from PIL import Image, ImageDraw, ImageFont

    picture = picture.convert("RGB")
    if picture.width > WIDEST:
        picture.thumbnail((WIDEST, 2 * WIDEST))
    whole = Image.new("RGB", (picture.width, picture.height + HEAD), "white")
    whole.paste(picture, (0, HEAD))
    ImageDraw.Draw(whole).text((6, 4), words, fill="black", font=ImageFont.load_default(16))
    return whole


def _placed(frame: Image, size: tuple[int, int]) -> Image:
    """``frame`` at the upper left of a white picture of ``size``."""
    from PIL import Image

    if frame.size == size:
        return frame
    whole = Image.new("RGB", size, "white")
    whole.paste(frame, (0, 0))
    return whole
