"""Two folders of images of any sizes, of which one is to be made into the other without pairs (Zhu et al. 2017).

Both lie below ``root``, as in that paper's ``trainA`` and ``trainB``, and are read by the rules of ``dataset=folder``.
"""

from __future__ import annotations

import os
from typing import Any

from ganrun.data.folder import folder
from ganrun.data.folder_reading import check_content, check_root
from ganrun.data.jitter import jittering
from ganrun.data.translation import Translation
from ganrun.data.working_size import Files, Legal, any_size, working_size
from ganrun.disk.file_names import printable
from ganrun.disk.image_folder import listing
from ganrun.ground.errors import BadInput, suggestion
from ganrun.ground.registry import register


@register("dataset", "unpaired_folder")
def unpaired_folder(
    legal_size: Legal = any_size,
    *,
    root: str | None = None,
    source: str = "trainA",
    target: str = "trainB",
    size: int | None = None,
    fit: str = "resize",
    resize: str = "crop",
    channels: int = 3,
    source_channels: int | None = None,
    jitter: float = 0.0,
    mirror: bool = False,
    held_out: float | None = None,
    on_error: str = "fail",
    memory_gib: float = 4.0,
    content: str | None = None,
) -> Translation:
    """The images below ``root/target`` and, to be translated, those below ``root/source``.

    Raises ``BadInput`` as ``dataset=folder`` does, and where one of the two is missing.
    """
    place = check_root(root, "unpaired_folder")
    check_content(root, place, content)
    sources, targets = (below(place, key, name) for key, name in (("source", source), ("target", target)))
    if sources == targets:
        raise BadInput(f"dataset.source={source}: must be another folder than dataset.target")
    every = [Files(side, [name for name, _ in listing(side).files]) for side in (sources, targets)]
    size, sized = working_size(size, fit, legal_size, every)
    options: dict[str, Any] = {
        "size": size,
        "resize": resize,
        "labels": "none",
        "held_out": held_out,
        "on_error": on_error,
        "memory_gib": memory_gib,
    }
    from_channels = channels if source_channels is None else source_channels
    made = Translation(
        folder(root=targets, channels=channels, **options), folder(root=sources, channels=from_channels, **options)
    )
    made.notes = (*sized, *made.notes)
    return made.jittered(jittering(jitter, mirror))


def below(place: str, key: str, name: str) -> str:
    """The sub-folder ``name`` of ``place``; ``BadInput`` where there is none."""
    inside = os.path.normpath(os.path.join(place, str(name)))
    if os.path.relpath(inside, place).split(os.sep)[0] in (os.pardir, os.curdir):
        raise BadInput(f"dataset.{key}={name}: must name a folder below dataset.root")
    if not os.path.isdir(inside):
        there = [printable(name) for name in listing(place).folders]
        hint = suggestion(str(name), there) if there else "It has no sub-folders"
        raise BadInput(f"dataset.{key}={name}: there is no such folder below {place}. {hint}")
    return inside
