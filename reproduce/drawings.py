"""Pictures of finished runs for the page: docs/reproductions/NAME.png.

- ``sheet``: the last picture of each arm's first seed, side by side;
- ``spectra``: the singular values of the first seeds' discriminators, layer by layer, over the largest of each layer, and the
  course of their mean and of the other score that the target reads first;
- ``curves``: a discriminator's loss beside FID, step by step, for each arm's first seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganrun.ground import figures
from reproduce import reads

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Folders = Mapping[str, Path]  # {arm: run folder}
TILE, TITLE, COLUMNS = 320, 24, 4


def sheet(folders: Folders, path: Path, scores: Sequence[str] = ()) -> None:
    """The arms' last pictures in rows of four, names above."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(14)
    columns, tiles = min(COLUMNS, len(folders)), {}
    for arm, folder in folders.items():
        with Image.open(max((folder / "samples").glob("step_*.png"))) as picture:
            tiles[arm] = picture.convert("RGB")
        tiles[arm].thumbnail((TILE - 8, TILE - 8))
    rows, height = -(-len(folders) // columns), TITLE + 4 + max(tile.height for tile in tiles.values())
    whole = Image.new("RGB", (columns * TILE, rows * height), "white")
    pen = ImageDraw.Draw(whole)
    for place, (arm, tile) in enumerate(tiles.items()):
        x, y = place % columns * TILE, place // columns * height
        pen.text((x + 6, y + 4), arm, fill="black", font=font)
        whole.paste(tile, (x + 4, y + TITLE))
    whole.quantize(64).save(path, optimize=True)


def spectra(folders: Folders, path: Path, scores: Sequence[str]) -> None:
    """Singular values at the end above; below, over training, their mean and the first other of ``scores``."""
    with figures.style():
        figure = figures.figure(4.2 * max(2, len(folders)), 6.4)
        _spectra(figure.subplots(2, max(2, len(folders)), squeeze=False), folders, scores)
        _save(figure, "Singular values of the discriminator: at the end, and their mean over training", path)


def _spectra(axes: Any, folders: Folders, scores: Sequence[str]) -> None:
    import ganrun
    from ganrun.ground.matrices import matrices

    for column, (arm, folder) in enumerate(folders.items()):
        judge = ganrun.load(folder, device="cpu", average=False).game.players["discriminator"]
        for layer, matrix in matrices(judge):
            values = matrix.svd().S
            if len(values) > 1:
                axes[0][column].plot(range(1, len(values) + 1), (values / values[0]).numpy(), marker=".", label=layer)
        axes[0][column].set(title=arm, xlabel="index", ylabel="singular value over the largest", ylim=(0, 1.05))
        _legend(axes[0][column])
    for column, score in enumerate(("spectra", next(score for score in scores if score != "spectra"))):
        for arm, folder in folders.items():
            steps, values = zip(*reads.series(folder, score), strict=True)
            axes[1][column].plot(steps, values, label=arm)
        axes[1][column].set(xlabel="step", ylabel={"spectra": "mean singular value over the largest"}.get(score, score))
        _legend(axes[1][column])


def curves(folders: Folders, path: Path, scores: Sequence[str] = ()) -> None:
    """Loss and FID on two axes, a panel an arm."""
    with figures.style():
        figure = figures.figure(4.6 * len(folders), 3.6)
        _curves(figure.subplots(1, len(folders), squeeze=False), folders)
        _save(figure, "The discriminator's loss, and FID, over training", path)


def _curves(axes: Any, folders: Folders) -> None:
    for panel, (arm, folder) in zip(axes[0], folders.items(), strict=True):
        logged = [(row["step"], row["discriminator/loss"]) for row in reads.rows(folder, "metrics.jsonl")]
        panel.plot(*zip(*logged, strict=True), color="C0", linewidth=0.8)
        panel.set(title=arm, xlabel="step")
        panel.set_ylabel("discriminator's loss (solid)", color="C0")
        other = panel.twinx()
        other.plot(*zip(*reads.series(folder, "fid"), strict=True), color="C1", linestyle="--", marker="s")
        other.set_ylabel("FID, classifier (dashed, squares)", color="C1")
        other.grid(False)


def _legend(axes: Any) -> None:
    """Below the axes, off the data."""
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.18), ncols=2)


def _save(figure: Figure, title: str, path: Path) -> None:
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    path.write_bytes(figures.png(figure))


DRAWINGS: dict[str, Callable[[Folders, Path, Sequence[str]], None]] = {"sheet": sheet, "spectra": spectra, "curves": curves}
