"""One look for every figure: ``ganrun.mplstyle`` beside this file. Importing this module does not import matplotlib."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE = Path(__file__).with_name("ganrun.mplstyle")
GENERATED, REAL = "#0072B2", "#8A8A8A"  # samples, and the data beneath them
DOTS = 100  # an inch


@contextmanager
def style(**changed: Any) -> Iterator[None]:
    """What is drawn and saved within looks as every figure does, but for ``changed`` (matplotlib's rc parameters, ``_`` for ``.``
    where none of their names has one)."""
    import matplotlib

    with matplotlib.rc_context(fname=STYLE), matplotlib.rc_context(dict(changed)):  # type: ignore[arg-type]
        yield


def figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches, which no window and no global state knows. Call it, draw and save within ``style()``."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DOTS)


def png(drawn: Figure, colours: int = 0) -> bytes:
    """The figure as a PNG without dates or versions in it; of so many ``colours``, which makes it smaller, if any."""
    from PIL import Image

    buffer = io.BytesIO()
    drawn.savefig(buffer, format="png", metadata={"Software": None})
    if not colours:
        return buffer.getvalue()
    small = io.BytesIO()
    image = Image.open(io.BytesIO(buffer.getvalue())).convert("RGB").quantize(colours, dither=Image.Dither.NONE)
    image.save(small, format="PNG", optimize=True)
    return small.getvalue()
