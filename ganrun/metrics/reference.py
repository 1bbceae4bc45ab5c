"""Features of the real data, kept on disk: the same data, extractor and code are looked at once on a machine.

The name of a file holds a hash of what its content follows from: the fingerprint of the preprocessed data, the rows used,
the extractor's card, which holds the hash of its weights, and the code that turns images into features, with the version of
torch and the kind of device. It also holds the SHA-256 of the content, so a damaged file is noticed, said, and not used. Files
that were not used for longest are deleted when all together would take more than ``MOST`` bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ganrun.disk import storage
from ganrun.ground.errors import BadInput, StorageFailed
from ganrun.metrics import base, images, weights
from ganrun.metrics.base import Extractor

MOST = 4 * 2**30  # bytes; 50000 images take 400 MB with Inception

Found = tuple[Tensor, Tensor | None]


def name_of(extractor: Extractor, fingerprint: str, rows: Tensor, chunk: int, device: torch.device) -> str:
    """The beginning of the file's name for the features of ``rows`` (int64) of the data of ``fingerprint``."""
    code = hashlib.sha256()
    for module in (base, images, sys.modules[type(extractor).__module__]):
        code.update(Path(str(module.__file__)).read_bytes())
    held = {
        "data": fingerprint,
        "rows": hashlib.sha256(rows.numpy().tobytes()).hexdigest(),
        "extractor": dict(extractor.card()),
        "code": code.hexdigest(),
        "torch": torch.__version__,
        "device": device.type,
        "chunk": chunk,
    }
    return f"reference-{hashlib.sha256(json.dumps(held, sort_keys=True).encode()).hexdigest()[:16]}"


def load(name: str, count: int, say: Callable[[str], None]) -> Found | None:
    """(features, logits or None) of ``count`` samples kept under ``name``; None, and why, where there is nothing usable."""
    folder = weights.cache_folder()
    for path in sorted(folder.glob(f"{name}-*.pt")) if folder is not None else []:
        try:
            data, digest = weights.read(path, "cache")
            if path.stem != f"{name}-{digest}":
                raise BadInput("its content is not what its name says")
            features, logits = weights.decode(data, str(path))
            if len(features) != count:
                raise BadInput(f"it holds {len(features)} samples, not {count}")
        except (BadInput, TypeError, ValueError) as error:
            say(f"{path}: damaged, not used ({error})")
            continue
        with contextlib.suppress(OSError):
            os.utime(path)  # used now: the last to make room for others
        say(f"features of {count} real samples: read from {path}")
        return features, logits
    say(f"features of {count} real samples: not kept yet, extracted now")
    return None


def keep(name: str, found: Found, say: Callable[[str], None]) -> None:
    """Put features under ``name``; a cache that cannot be written is said and does no harm."""
    data, folder = weights.encode(found), weights.cache_folder()
    if folder is None:
        return say(f"the features could not be kept for the next time: {weights.NO_CACHE}")
    path = folder / f"{name}-{hashlib.sha256(data).hexdigest()}.pt"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        storage.write(path, data)
        _make_room(path)
    except (StorageFailed, OSError) as error:
        say(f"the features could not be kept for the next time: {error}")


def _make_room(newest: Path) -> None:
    """Delete the files that were not used for longest, never ``newest``, until all take at most ``MOST`` bytes."""
    facts = {}
    for path in newest.parent.glob("reference-*.pt"):
        with contextlib.suppress(FileNotFoundError):  # another process makes room too
            facts[path] = path.stat()
    total = sum(entry.st_size for entry in facts.values())
    for path in sorted(facts.keys() - {newest}, key=lambda path: facts[path].st_mtime_ns):
        if total <= MOST:
            return
        path.unlink(missing_ok=True)
        total -= facts[path].st_size
