"""Random numbers as a function of what they are for, never of what was drawn before.

Every draw names its seed, step, phase, repeat and purpose; a hash of these seeds a fresh generator. So a resumed run
needs no generator state, evaluating or logging more often cannot change training, and two runs that differ in one
option see the same batches and the same noise (the idea: Karras et al. 2024, EDM2, who re-seed each step).

Draws are made on the CPU, for the whole batch, and sliced by rank and micro-batch, so that neither the device nor the
number of processes changes them.
"""

from __future__ import annotations

import functools
import hashlib

import torch
from torch import Tensor


def derive(*keys: object) -> int:
    """A 63-bit seed from ``keys`` by SHA-256: equal keys give equal seeds, any other keys an unrelated one."""
    digest = hashlib.sha256(repr(keys).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def seed_default(seed: int, device: torch.device | str = "cpu") -> None:
    """Seed torch's default generator: of the CPU alone, unless on another device, since ``torch.manual_seed`` asks them all."""
    if torch.device(device).type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def generator(*keys: object) -> torch.Generator:
    """A fresh CPU generator seeded by ``derive(*keys)``."""
    return torch.Generator().manual_seed(derive(*keys))


@functools.lru_cache(maxsize=4)
def permutation(seed: int, stream: str, epoch: int, length: int) -> Tensor:
    """The order of the ``length`` samples of ``stream`` in ``epoch``: int64 of shape (length,)."""
    return torch.randperm(length, generator=generator(seed, "order", stream, epoch))


def order(seed: int, stream: str, start: int, count: int, length: int) -> Tensor:
    """Sample indices at positions ``start .. start + count`` of an endless pass over ``length`` samples.

    Each epoch is a permutation of its own, and batches run across its end. Returns int64 of shape (count,).
    """
    pieces = []
    while count > 0:
        epoch, offset = divmod(start, length)
        piece = permutation(seed, stream, epoch, length)[offset : offset + count]
        pieces.append(piece)
        start += len(piece)
        count -= len(piece)
    return torch.cat(pieces)
