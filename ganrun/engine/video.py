"""A latent walk as a moving picture: ``ganrun sample RUN --video FILE.mp4|gif``.

The walk goes through the samples 0 .. num - 1 of the seed and back to the first, so that it can be played over and over. A GIF is
written by Pillow; an MP4 by ffmpeg (H.264), which the package imageio-ffmpeg brings.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from ganrun.data.base import to_pixels
from ganrun.disk import storage
from ganrun.engine import choice, latents, pictures, sampling
from ganrun.engine.choice import Choice
from ganrun.games.base import Game
from ganrun.ground.errors import BadInput, GanrunError

MOST = 64  # images side by side
QUALITY = 8  # of 10, as imageio-ffmpeg counts
EVEN = 2  # H.264 halves the resolution of colours, so sides must be even


def video(
    target: Path,
    file: Path,
    config: Mapping[str, Any],
    *,
    num: int,
    seed: int,
    frames: int,
    fps: int,
    raw: bool = False,
    labels: list[int] | None = None,
    truncation: float | None = None,
    interpolate: str | None = None,
) -> tuple[Path, str]:
    """Write the walk through ``num`` samples, in ``frames`` pictures shown ``fps`` a second; (the file, what it shows).

    ``interpolate``: by default slerp for normal latents, linear for others. Images of a run with labels walk side by side, one
    for each class of ``labels``, by default of all, with the same latents. Raises ``BadInput`` for a run that makes no images
    from latents alone.
    """
    trained = sampling.Trained(target, config, raw=raw)
    if trained.spec.kind != "image":
        raise BadInput(
            f"--video {file}: is for images, and this run makes {trained.spec.kind}. "
            "--interpolate slerp shows its walks as a picture"
        )
    rule = interpolate or ("slerp" if trained.game.latent_law.prior == "normal" else "linear")
    chosen = walk(trained.game, num=num, seed=seed, frames=frames, labels=labels, truncation=truncation, rule=rule)
    side = chosen.columns or 1
    pixels = to_pixels(trained.make(chosen, seed=seed)).unflatten(0, (frames, side))
    columns = pictures.across(side)
    made = (even(pictures.grid(tiles, columns)) for tiles in pixels)
    with storage.storage_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
    storage.write(file, WRITERS[file.suffix.lower()](made, fps))
    return file, chosen.note


def walk(
    game: Game, *, num: int, seed: int, frames: int, labels: list[int] | None, truncation: float | None, rule: str
) -> Choice:
    """The samples of a walk, frame by frame; ``columns`` of them side by side."""
    if all(port.kind != "code" for port in game.roles()["generator"][0]):
        raise BadInput("video: walks from latent to latent, and this run's generator takes none")
    choice.check_single(game, "video")
    ends = latents.of_samples(game.latent_law, num, seed, truncation)
    z = latents.loop(ends, rule, frames)
    said = f"{rule} through {num} samples of seed {seed} and back, {frames} frames"
    if not game.condition.uses_labels:
        if labels is not None:
            raise BadInput(f"labels: {choice.unlabelled()}")
        return Choice(frames, z, columns=1, note=said)
    classes = choice.checked(range(int(game.spec.classes or 1)) if labels is None else labels, game)
    if len(classes) > MOST:
        raise BadInput(f"video: {len(classes)} classes are too many to be seen side by side; choose some: --label 0 --label 1")
    said += f"; side by side, each within its class: {', '.join(map(str, classes.tolist()))}"
    return Choice(frames * len(classes), z.repeat_interleave(len(classes), 0), classes.repeat(frames), len(classes), said)


def even(picture: Image.Image) -> Image.Image:
    """``picture`` with sides of even length: where one is odd, a line of the background is added."""
    size = (picture.width + picture.width % EVEN, picture.height + picture.height % EVEN)
    if size == picture.size:
        return picture
    grey = pictures.BACKGROUND if picture.mode == "L" else (pictures.BACKGROUND,) * 3
    larger = Image.new(picture.mode, size, grey)
    larger.paste(picture)
    return larger


def as_gif(made: Iterator[Image.Image], fps: int) -> bytes:
    """The pictures as a GIF that plays for ever. It counts in hundredths of a second."""
    first, *others = made
    buffer = io.BytesIO()
    first.save(buffer, format="GIF", save_all=True, append_images=others, duration=10 * hundredths(fps), loop=0)
    return buffer.getvalue()


def hundredths(fps: int) -> int:
    """How long a GIF shows a picture."""
    return max(2, round(100 / fps))


def as_mp4(made: Iterator[Image.Image], fps: int) -> bytes:
    """The pictures as an MP4 of H.264."""
    import imageio_ffmpeg

    with tempfile.TemporaryDirectory(prefix="ganrun-video-") as folder:
        path = Path(folder) / "walk.mp4"
        first = next(made)
        writer = imageio_ffmpeg.write_frames(
            str(path), first.size, fps=fps, codec="libx264", quality=QUALITY, macro_block_size=EVEN, ffmpeg_log_level="error"
        )
        try:
            writer.send(None)
            writer.send(first.convert("RGB").tobytes())
            for picture in made:
                writer.send(picture.convert("RGB").tobytes())
            writer.close()
        except OSError as error:
            raise GanrunError(f"ffmpeg could not write the video ({' '.join(str(error).split())[:200]}); try FILE.gif") from error
        return path.read_bytes()


WRITERS = {".mp4": as_mp4, ".gif": as_gif}
