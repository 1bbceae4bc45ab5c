"""Files that a person asks for: named by the request, and never in the place of anything that is there.

A name has words to be read and, at its end, a hash of everything that decides the content: so two requests never share one.
The same request finds its own files and leaves them as they are; where something else has the name, the next free one with a
number is taken.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ganrun.disk import storage

LONGEST = 100  # characters of the words
Files = Mapping[str, Callable[[], bytes]]  # what follows the name (".png", "/00000.png"), and how its bytes are made


def name(words: list[str], request: Mapping[str, Any]) -> str:
    """``words`` joined, of plain characters and bounded, and eight digits of a hash of ``request``."""
    text = re.sub(r"[^A-Za-z0-9._-]+", "-", "_".join(words))[:LONGEST]
    return f"{text}-{hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()[:8]}"


def write(folder: Path, stem: str, files: Files) -> str:
    """Write ``files`` as ``folder/stem...``; the stem that they got, with a number where other content had the name."""
    with storage.storage_errors(folder / stem):
        folder.mkdir(parents=True, exist_ok=True)
        number, chosen = 1, stem
        while not all(_free(folder / f"{chosen}{end}", make) for end, make in files.items()):
            number += 1
            chosen = f"{stem}-{number}"
        for end, make in files.items():
            path = folder / f"{chosen}{end}"
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                storage.write(path, make())
    return chosen


def _free(path: Path, make: Callable[[], bytes]) -> bool:
    """Whether ``path`` is not taken, or holds what would be written there."""
    if not path.exists() and not path.is_symlink():
        return not path.parent.is_symlink() and (path.parent.is_dir() or not path.parent.exists())
    return path.is_file() and not path.is_symlink() and path.read_bytes() == make()
