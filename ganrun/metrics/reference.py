"""Features of the real data, kept on disk: the same data, extractor and code are looked at once on a machine.

The name of a file holds a hash of what its content follows from: the fingerprint of the preprocessed data, the rows used,
the extractor's card, which holds the hash of its weights, and the code that turns images into features, with the version of
torch and the kind of device; of moments, that of the features, the code that makes them, numpy's version and the threads, on
which their last bits depend. It also holds the SHA-256 of the content, so a damaged file is noticed, said, and not used. Files
that were not used for longest are deleted when all together would take more than ``MOST`` bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor

from ganrun.disk import cache, storage
from ganrun.ground.errors import BadInput, StorageFailed
from ganrun.metrics import base, images, weights
from ganrun.metrics.base import Extractor, Sample

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


def is_kept(name: str) -> bool:
    """Whether there is a file under ``name``, sound or not."""
    folder = cache.cache_folder()
    return folder is not None and next(folder.glob(f"{name}-*.pt"), None) is not None


def load(name: str, count: int, say: Callable[[str], None]) -> Found | None:
    """(features, logits or None) of ``count`` samples kept under ``name``; None, and why, where there is nothing usable."""
    for path, (features, logits) in _sound(name, say, lambda found: _is_of(found, count)):
        say(f"features of {count} real samples: read from {path}")
        return features, logits
    say(f"features of {count} real samples: not kept yet, extracted now")
    return None


def _is_of(found: Any, count: int) -> None:
    features, _ = found
    if len(features) != count:
        raise BadInput(f"it holds {len(features)} samples, not {count}")


def _sound(name: str, say: Callable[[str], None], check: Callable[[Any], None]) -> Iterator[tuple[Path, Any]]:
    """The files under ``name`` whose content is what their names say and passes ``check``, decoded."""
    folder = cache.cache_folder()
    for path in sorted(folder.glob(f"{name}-*.pt")) if folder is not None else []:
        try:
            data, digest = weights.read(path, "cache")
            if path.stem != f"{name}-{digest}":
                raise BadInput("its content is not what its name says")
            found = weights.decode(data, str(path))
            check(found)
        except (BadInput, TypeError, ValueError) as error:
            say(f"{path}: damaged, not used ({error})")
            continue
        with contextlib.suppress(OSError):
            os.utime(path)  # used now: the last to make room for others
        yield path, found


class KeptSample(Sample):
    """A real sample whose features and logits are on disk under ``name``, and are read when they are first asked for.

    What metrics compute from its features alone is kept beside them where it is smaller than they are; then nobody may ask.
    ``make`` extracts the features anew, where what is on disk turns out to be damaged; ``found``: them, if they are at hand.
    """

    def __init__(
        self,
        name: str,
        count: int,
        make: Callable[[], Found],
        say: Callable[[str], None],
        found: Found | None = None,
        *,
        x: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> None:
        self.name, self.count, self.make, self.say, self._read = name, count, make, say, found
        super().__init__(x=x, labels=labels)

    def _found_features(self) -> Found:
        if self._read is None:
            self._read = load(self.name, self.count, self.say)
        if self._read is None:
            self._read = self.make()
            keep(self.name, self._read, self.say)
        return self._read

    @property
    def features(self) -> Tensor:  # type: ignore[override]
        return self._found_features()[0]

    @features.setter
    def features(self, value: Tensor | None) -> None:
        """Set by the base class, to nothing."""

    @property
    def logits(self) -> Tensor | None:  # type: ignore[override]
        return self._found_features()[1]

    @logits.setter
    def logits(self, value: Tensor | None) -> None:
        """Set by the base class, to nothing."""

    def once(self, what: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        return super().once(what, lambda: self._kept(what, make))

    def _kept(self, what: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What ``make`` gives: read where it is on disk, else made and kept there."""
        code = hashlib.sha256(Path(str(sys.modules[make.__module__].__file__)).read_bytes()).hexdigest()
        held = json.dumps([self.name, code, numpy.__version__, torch.get_num_threads()])
        name = f"reference-{what}-{hashlib.sha256(held.encode()).hexdigest()[:16]}"
        for path, found in _sound(name, self.say, lambda found: None):
            self.say(f"{what} of {self.count} real samples: read from {path}")
            return dict(found)
        made = make()
        if sum(entry.nbytes for entry in made.values() if isinstance(entry, Tensor)) < self.features.nbytes:
            keep(name, made, self.say)
        return made


def keep(name: str, found: Any, say: Callable[[str], None]) -> None:
    """Put features under ``name``, or what follows from them; a cache that cannot be written is said and does no harm."""
    data, folder = weights.encode(found), cache.cache_folder()
    if folder is None:
        return say(f"what follows from the real data could not be kept for the next time: {cache.NO_CACHE}")
    path = folder / f"{name}-{hashlib.sha256(data).hexdigest()}.pt"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        storage.write(path, data)
        cache.make_room(path, "reference-*.pt", MOST)
    except (StorageFailed, OSError) as error:
        say(f"what follows from the real data could not be kept for the next time: {error}")
