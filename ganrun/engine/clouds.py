"""Points as pictures: histograms on the line, scatter plots in the plane, beyond it their shadows on a plane, each with axes.

Drawn by matplotlib, which is imported at the first drawing: whatever has no points to draw never does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from ganrun.ground import figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = 5.6  # inches, across and down
BINS = 64
REACH = 1.5  # half the width of the frame, over that of the real data
CELLS = 160  # of a field, along each axis


def drawing(points: Tensor, real: Tensor | None = None, title: str = "") -> Image.Image:
    """Points (n, d): a histogram for d = 1, else a scatter plot, beyond the plane along the real data's principal directions."""
    return _picture(lambda axes: draw(axes, points, real), title)


def draw(axes: Axes, points: Tensor, real: Tensor | None = None) -> None:
    """The points on ``axes``, over real ones in grey; the frame is half as wide again as the real data."""
    if points.shape[1] == 1:
        return _bars(axes, points, real)
    names = ["x", "y"]
    if points.shape[1] > 2:
        middle, directions = plane(points if real is None else real)
        points, real = (points - middle) @ directions, None if real is None else (real - middle) @ directions
        names = [f"{word} principal direction of the {'samples' if real is None else 'data'}" for word in ("first", "second")]
    for cloud, colour, name in ((real, figures.REAL, "real"), (points, figures.GENERATED, "generated")):
        if cloud is not None:
            shown = cloud[torch.isfinite(cloud).all(1)].numpy()
            axes.plot(shown[:, 0], shown[:, 1], ".", ms=3.2, mew=0, color=colour, alpha=0.75, label=f"{len(cloud)} {name}")
    (left, right), (low, high) = frame(points if real is None else real)
    axes.set(xlim=(left, right), ylim=(low, high), xlabel=names[0], ylabel=names[1], aspect="equal")
    _legend(axes)


def frame(points: Tensor) -> tuple[tuple[float, float], tuple[float, float]]:
    """The ends of a square around ``points`` (n, 2), half as wide again, across and up."""
    held = points[torch.isfinite(points).all(1)]
    held = held if len(held) else torch.zeros(1, 2)
    middle = (held.amax(0) + held.amin(0)) / 2
    reach = max(float((held - middle).abs().max()), 1e-6) * REACH
    x, y = middle.tolist()
    return (x - reach, x + reach), (y - reach, y + reach)


def plane(points: Tensor) -> tuple[Tensor, Tensor]:
    """(mean (d,), the first two principal directions (d, 2)) of ``points`` (n, d), each with its largest entry positive."""
    points = points[torch.isfinite(points).all(1)]
    if len(points) < 2:
        return torch.zeros(points.shape[1]), torch.eye(points.shape[1])[:, :2]
    middle = points.mean(0)
    directions = torch.linalg.svd(points - middle, full_matrices=False)[2][:2].T
    signs = directions.gather(0, directions.abs().argmax(0, keepdim=True)).sign()
    return middle, directions * signs


def field(
    points: Tensor,
    real: Tensor,
    density: Callable[[Tensor], Tensor] | None,
    score: Callable[[Tensor], Tensor] | None,
    title: str,
) -> Image.Image:
    """Points (n, 2) on the exact density (grey) and the discriminator's score (contours), in the frame of the real ones.

    ``density``: float64 (n, 2) to log p; ``score``: float32 (n, 2) to scores. One that is None is left out; without a density the
    real points stand for it.
    """

    def fill(axes: Axes) -> None:
        across, up = frame(real)
        xs, ys = (torch.linspace(*ends, CELLS, dtype=torch.float64) for ends in (across, up))
        cells = torch.stack(torch.meshgrid(xs, ys, indexing="xy"), -1).reshape(-1, 2)
        if density is not None:
            held = density(cells).reshape(CELLS, CELLS)
            shade = (held - held.max()).exp().sqrt().numpy()
            axes.imshow(shade, extent=(*across, *up), origin="lower", cmap="Greys", vmax=1.3, interpolation="bilinear")
        if score is not None:
            levels = axes.contourf(
                xs.numpy(), ys.numpy(), score(cells.float()).reshape(CELLS, CELLS).numpy(), 14, cmap="PuOr_r", alpha=0.35
            )
            left, low, wide, high = axes.get_position().bounds
            bar = axes.figure.colorbar(levels, cax=axes.figure.add_axes((left + wide + 0.015, low, 0.02, high)))
            bar.set_label("discriminator's score")
        draw(axes, points, None if density is not None else real)
        axes.set(xlim=across, ylim=up)

    return _picture(fill, title, width=SIZE + (0.8 if score is not None else 0.0))


def _bars(axes: Axes, points: Tensor, real: Tensor | None) -> None:
    """Shares of 1-D points (n, 1) in equal bins, in outline over those of real ones in grey.

    What lies outside the frame is not shown, but counts.
    """
    framed = points if real is None else real
    framed = framed[torch.isfinite(framed)]
    low, high = (float(framed.min()), float(framed.max())) if len(framed) else (0.0, 0.0)
    middle, reach = (low + high) / 2, max((high - low) / 2, 1e-6) * REACH
    ends = (middle - reach, middle + reach)
    edges = torch.linspace(*ends, BINS + 1).numpy()
    if real is not None:
        axes.stairs(_shares(real, ends), edges, fill=True, color=figures.REAL, alpha=0.6, label=f"{len(real)} real")
    axes.stairs(_shares(points, ends), edges, color=figures.GENERATED, linewidth=1.6, label=f"{len(points)} generated")
    axes.set(xlim=ends, xlabel="x", ylabel=f"share of the samples in each of {BINS} bins")
    _legend(axes)


def _shares(points: Tensor, ends: tuple[float, float]) -> Any:
    return (torch.histc(points[torch.isfinite(points)].float(), BINS, *ends) / max(1, len(points))).numpy()


def _legend(axes: Axes) -> None:
    """Below the axes, off the data."""
    axes.legend(loc="upper left", bbox_to_anchor=(-0.02, -0.09), ncols=2, markerscale=2.5, borderaxespad=0.2)


def _picture(fill: Callable[[Axes], None], title: str, width: float = SIZE) -> Image.Image:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with figures.style(**{"figure.constrained_layout.use": False}):  # a layout that is computed takes as long as all the rest
        drawn = figures.figure(width, SIZE)
        axes = drawn.add_axes((0.125 * SIZE / width, 0.135, 0.845 * SIZE / width, 0.805))
        fill(axes)
        axes.set_title(title, parse_math=False)
        canvas = FigureCanvasAgg(drawn)
        canvas.draw()
        return Image.frombuffer("RGBA", canvas.get_width_height(), canvas.buffer_rgba()).convert("RGB")
