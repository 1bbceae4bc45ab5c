"""Weight files: hashed before they are decoded, decoded without running anything in them."""

from __future__ import annotations

import hashlib
import io
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ganrun.ground.errors import BadInput


def read(path: Path, key: str) -> tuple[bytes, str]:
    """The bytes of the regular file ``path`` and their SHA-256 (hex); ``BadInput`` naming ``key`` if there is none."""
    if not path.is_file():
        raise BadInput(f"{key}={path}: there is no such file")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{key}={path}: cannot be read ({error.strerror})") from error
    return data, hashlib.sha256(data).hexdigest()


def decode(data: bytes, where: str) -> Any:
    """What ``torch.save`` wrote, tensors and plain values only: a pickle that would run code is ``BadInput`` and never run."""
    try:
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, AttributeError, TypeError, IndexError) as error:
        raise BadInput(f"{where}: not a file of plain weights ({_first_line(error)})") from error


def encode(value: Any) -> bytes:
    """``torch.save`` into memory."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def digest(module: nn.Module) -> str:
    """SHA-256 (hex) over the names and bytes of all parameters and buffers."""
    total = hashlib.sha256()
    for name, entry in module.state_dict().items():
        total.update(f"{name} {entry.dtype} {tuple(entry.shape)}".encode())
        total.update(entry.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:160]
