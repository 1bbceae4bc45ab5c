"""Images that do not fit in memory: decoded from their files batch by batch, ahead of time where the loop says what is next.

A batch is bit for bit what the same files in memory would give: the same decoder, the same order, the same conversion.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from ganrun.data.base import ContentHash, Dataset, as_batch, check_labels, padding, padding_note
from ganrun.data.decode import ResizeRule, Unreadable, decode, workers
from ganrun.ground.errors import BadInput
from ganrun.ground.spec import Batch, Spec

Pixels = dict[int, "Future[Tensor]"]


class StreamedImages(Dataset):
    """The images at ``paths``, decoded by ``rule``; ``labels`` int64 (n,) or None.

    ``fingerprint`` equals that of the same images in memory; where it is not given, finding it reads every file.
    """

    def __init__(
        self,
        paths: Sequence[str],
        rule: ResizeRule,
        labels: Tensor | None = None,
        *,
        class_names: tuple[str, ...] | None = None,
        held_out: StreamedImages | None = None,
        notes: tuple[str, ...] = (),
        fingerprint: str = "",
    ) -> None:
        check_labels(labels, len(paths), class_names)
        self.paths, self.rule, self.labels = paths, rule, labels
        self.class_names, self.notes = class_names, notes
        self._held_out, self._fingerprint = held_out, fingerprint
        self._size = rule.size
        self.spec = self._spec()
        self._pool = ThreadPoolExecutor(workers(), thread_name_prefix="stream")  # starts no thread before its first task
        self._expected: deque[Pixels] = deque()

    def __len__(self) -> int:
        return len(self.paths)

    def batch(self, indices: Tensor, device: torch.device | str = "cpu") -> Batch:
        wanted = indices.tolist()
        coming = [self._coming(index) for index in wanted]
        pixels = torch.zeros(len(wanted), self._size, self._size, self.rule.channels, dtype=torch.uint8)
        before = padding(self.rule.size, self._size)[0]
        inner = pixels[:, before : before + self.rule.size, before : before + self.rule.size]
        for row, future in enumerate(coming):
            inner[row] = future.result()
        return as_batch(pixels, None if self.labels is None else self.labels[indices], device)

    def expect(self, indices: Tensor) -> None:
        """Start decoding ``indices``. What the last two calls named is kept until it is fetched."""
        while len(self._expected) > 1:
            for future in self._expected.popleft().values():
                future.cancel()
        held = {index for expected in self._expected for index in expected}
        self._expected.append({index: self._start(index) for index in dict.fromkeys(indices.tolist()) if index not in held})

    def held_out(self) -> StreamedImages | None:
        return self._held_out

    def fitted(self, size: int) -> StreamedImages:
        if size == self._size:
            return self
        padding(self._size, size)
        other = copy.copy(self)
        other._size, other._fingerprint, other._expected = size, "", deque()
        other._held_out = None if self._held_out is None else self._held_out.fitted(size)
        other.notes = (*self.notes, padding_note(self._size, size))
        other.spec = other._spec()
        return other

    def fingerprint(self) -> str:
        if not self._fingerprint:
            digest = ContentHash()
            for pixels in self._in_order():
                digest.add(pixels)
            self._fingerprint = digest.close((len(self), self._size, self._size, self.rule.channels), self.labels)
        return self._fingerprint

    def _spec(self) -> Spec:
        classes = len(self.class_names) if self.class_names and self.labels is not None else None
        return Spec("image", (self.rule.channels, self._size, self._size), classes)

    def _in_order(self) -> Iterable[Tensor]:
        before, after = padding(self.rule.size, self._size)
        for start in range(0, len(self), 256):
            for future in [self._start(index) for index in range(start, min(start + 256, len(self)))]:
                yield torch.nn.functional.pad(future.result(), (0, 0, before, after, before, after)).contiguous()

    def _coming(self, index: int) -> Future[Tensor]:
        for expected in self._expected:
            if index in expected:
                return expected.pop(index)
        return self._start(index)

    def _start(self, index: int) -> Future[Tensor]:
        return self._pool.submit(self._decode, index)

    def _decode(self, index: int) -> Tensor:
        path = self.paths[index]
        try:
            return torch.from_numpy(decode(path, self.rule).pixels)
        except Unreadable as error:
            raise BadInput(
                f"{path}: the file could be read at the start and now cannot ({error}). Put it back and run again."
            ) from error
