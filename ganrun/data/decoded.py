"""Decoded images of a folder, kept in the cache: a second start reads their bytes instead of decoding every file again.

What is kept is found by the files' names, sizes, times of change and places on the disk (inodes), the resize rule, the labels,
the code of the decoder and Pillow's version: a file that is written again, even with as many bytes and its old date, has
another time of change. The bytes are hashed at each use, which the fingerprint of the data needs anyway, and a few images are
decoded anew and compared. What fails any of this is said, and made again. Files that were not used for longest are deleted
where all together would take more than ``MOST`` bytes. Of images that are streamed their hashes are kept, and no pixels.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import PIL
import torch
from torch import Tensor

from ganrun.data import decode
from ganrun.data.base import ContentHash
from ganrun.data.decode import ResizeRule, Unreadable
from ganrun.disk import cache

MOST = 4 * 2**30  # bytes
LEAST = 256  # images of a folder that is worth a file
COMPARED = 8  # images that are decoded anew


@dataclass
class Pixels:
    """What decoding the files gave: the places of the ``kept`` ones, their pixels unless they are streamed, the rest in words.

    ``fingerprint``: of the pixels and labels of the kept ones. ``hashes``: of each kept image, where there are no pixels.
    """

    kept: list[int]
    pixels: Tensor | None
    fingerprint: str
    hashes: list[str] = field(default_factory=list)
    troubles: dict[str, str] = field(default_factory=dict)
    remarks: Counter[str] = field(default_factory=Counter)


class Store:
    """The file in the cache for the images ``names`` below ``place``, by ``rule``, with ``labels``, with their pixels or without.

    ``said``: takes sentences on what was wrong with it.
    """

    def __init__(
        self, place: str, names: Sequence[str], rule: ResizeRule, labels: Sequence[int] | None, said: list[str], *, keep: bool
    ) -> None:
        self.place, self.names, self.rule, self.labels, self.said, self.keeps = place, names, rule, labels, said, keep
        self.path = self._path() if len(names) >= LEAST else None

    def _path(self) -> Path | None:
        folder, total = cache.cache_folder(), hashlib.sha256()
        if folder is None:
            return None
        code = hashlib.sha256(Path(str(decode.__file__)).read_bytes()).hexdigest()
        total.update(json.dumps([asdict(self.rule), code, PIL.__version__, self.keeps, self.labels]).encode())
        try:
            for name in self.names:
                facts = os.stat(os.path.join(self.place, name))
                total.update(os.fsencode(name) + b"\0")
                total.update(b"%d %d %d %d\0" % (facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino))
        except OSError:
            return None  # a file that is gone is the decoder's to name
        return folder / f"decoded-{total.hexdigest()[:32]}.bin"

    def load(self) -> Pixels | None:
        """What was kept, if it is whole and as the files are; None where there is nothing of the kind."""
        if self.path is None or not self.path.is_file():
            return None
        try:
            with open(self.path, "rb") as file:
                checksum, head = file.readline().strip(), file.readline()
                if hashlib.sha256(head).hexdigest().encode() != checksum:
                    raise ValueError("its head is not what it was")
                facts = json.loads(head)
                found = Pixels(
                    facts["kept"], None, facts["fingerprint"], facts["hashes"], facts["troubles"], Counter(facts["remarks"])
                )
                if self.keeps:
                    found.pixels = torch.empty((len(found.kept), *self._shape()), dtype=torch.uint8)
                    if file.readinto(found.pixels.numpy().data.cast("B")) != found.pixels.nbytes or file.read(1):
                        raise ValueError("it is not as long as it was")
            if found.pixels is not None and self.fingerprint(found.pixels, found.kept) != found.fingerprint:
                raise ValueError("its content is not what it was")
            self._compare(found)
        except (OSError, ValueError, KeyError, TypeError) as error:
            self.said.append(f"warning: {self.path}: damaged, so the images were decoded again ({error})")
            return None
        with contextlib.suppress(OSError):
            os.utime(self.path)  # used now: the last to make room for others
        return found

    def fingerprint(self, pixels: Tensor, kept: Sequence[int]) -> str:
        digest = ContentHash()
        digest.add(pixels)
        return digest.close(pixels.shape, self.labels_of(kept))

    def labels_of(self, kept: Sequence[int]) -> Tensor | None:
        return None if self.labels is None else torch.tensor([self.labels[index] for index in kept], dtype=torch.int64)

    def _shape(self) -> tuple[int, int, int]:
        return self.rule.size, self.rule.size, self.rule.channels

    def _compare(self, found: Pixels) -> None:
        """Raise ``ValueError`` where one of a few images, others each time, is not in its file as it is here."""
        for row in random.SystemRandom().sample(range(len(found.kept)), min(COMPARED, len(found.kept))):
            name = self.names[found.kept[row]]
            try:
                pixels = torch.from_numpy(decode.decode(os.path.join(self.place, name), self.rule).pixels)
            except Unreadable as error:
                raise ValueError(f"{name} cannot be read any more: {error}") from error
            same = hash_of(pixels) == found.hashes[row] if found.pixels is None else torch.equal(pixels, found.pixels[row])
            if not same:
                raise ValueError(f"{name} is another image")

    def keep(self, found: Pixels) -> None:
        """Put ``found`` into the cache, in one step; one that cannot be written is said and does no harm."""
        if self.path is None or not found.kept or (found.pixels is not None and found.pixels.nbytes > MOST):
            return
        facts = {key: getattr(found, key) for key in ("kept", "fingerprint", "hashes", "troubles", "remarks")}
        head = json.dumps(facts).encode() + b"\n"
        temporary = self.path.with_name(f"{self.path.name}.tmp.{os.getpid()}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, "wb") as file:
                file.write(hashlib.sha256(head).hexdigest().encode() + b"\n" + head)
                if found.pixels is not None:
                    file.write(found.pixels.numpy().data)
            os.replace(temporary, self.path)
            cache.make_room(self.path, "decoded-*.bin", MOST)
        except OSError as error:
            self.said.append(f"note: the decoded images could not be kept for the next time: {error}")
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def hash_of(pixels: Tensor) -> str:
    """Sixteen digits of the SHA-256 of one image's bytes."""
    return hashlib.sha256(pixels.numpy().data).hexdigest()[:16]
