"""Pictures of finished runs for the page: docs/reproductions/NAME.png.

- ``sheet``: the last picture of each arm's first seed, side by side;
- ``spectra``: the singular values of the first seeds' discriminators, layer by layer, over the largest of each layer, and the
  course of their mean and of the other score that the target reads first;
- ``curves``: a discriminator's loss beside FID, step by step, for each arm's first seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from reproduce import reads

Folders = Mapping[str, Path]  # {arm: run folder}
TILE, TITLE, COLUMNS = 320, 24, 4


def sheet(folders: Folders, path: Path, scores: Sequence[str] = ()) -> None:
    """The arms' last pictures in rows of four, names above."""
    from PIL import Image, ImageDraw

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
        pen.text((x + 6, y + 6), arm, fill="black")
        whole.paste(tile, (x + 4, y + TITLE))
    whole.quantize(64).save(path, optimize=True)


def spectra(folders: Folders, path: Path, scores: Sequence[str]) -> None:
    """Singular values at the end above; below, over training, their mean and the first other of ``scores``."""
    import ganrun
    from ganrun.ground.matrices import matrices

    plt = _plotter()
    figure, axes = plt.subplots(2, max(2, len(folders)), figsize=(5 * max(2, len(folders)), 7), squeeze=False)
    for column, (arm, folder) in enumerate(folders.items()):
        judge = ganrun.load(folder, device="cpu", average=False).game.players["discriminator"]
        for layer, matrix in matrices(judge):
            values = matrix.svd().S
            if len(values) > 1:
                axes[0][column].plot(range(1, len(values) + 1), (values / values[0]).numpy(), marker=".", label=layer)
        axes[0][column].set(title=arm, xlabel="index", ylabel="singular value over the largest", ylim=(0, 1.05))
        axes[0][column].legend(fontsize=7)
    for column, score in enumerate(("spectra", next(score for score in scores if score != "spectra"))):
        for arm, folder in folders.items():
            steps, values = zip(*reads.series(folder, score), strict=True)
            axes[1][column].plot(steps, values, label=arm)
        axes[1][column].set(xlabel="step", ylabel={"spectra": "mean singular value over the largest"}.get(score, score))
        axes[1][column].legend(fontsize=8)
    _save(plt, figure, path)


def curves(folders: Folders, path: Path, scores: Sequence[str] = ()) -> None:
    """Loss and FID on two axes, a panel an arm."""
    plt = _plotter()
    figure, axes = plt.subplots(1, len(folders), figsize=(5.5 * len(folders), 3.6), squeeze=False)
    for panel, (arm, folder) in zip(axes[0], folders.items(), strict=True):
        logged = [(row["step"], row["discriminator/loss"]) for row in reads.rows(folder, "metrics.jsonl")]
        panel.plot(*zip(*logged, strict=True), color="tab:blue", linewidth=0.8)
        panel.set(title=arm, xlabel="step")
        panel.set_ylabel("discriminator's loss", color="tab:blue")
        other = panel.twinx()
        other.plot(*zip(*reads.series(folder, "fid"), strict=True), color="tab:red", marker=".")
        other.set_ylabel("FID, classifier", color="tab:red")
    _save(plt, figure, path)


def _plotter():  # type: ignore[no-untyped-def]
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def _save(plt, figure, path: Path) -> None:  # type: ignore[no-untyped-def]
    figure.tight_layout()
    figure.savefig(path, dpi=70)
    plt.close(figure)


DRAWINGS: dict[str, Callable[[Folders, Path, Sequence[str]], None]] = {"sheet": sheet, "spectra": spectra, "curves": curves}
