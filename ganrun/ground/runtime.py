"""Where a run computes: device, precision, determinism, threads."""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ganrun.ground.errors import BadInput, suggestion

PRECISIONS = ("fp32", "bf16")


@dataclass(frozen=True)
class Runtime:
    """A resolved device and how to compute on it."""

    device: torch.device
    precision: str = "fp32"

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """bfloat16 for matrix products and convolutions where asked for; parameters stay float32."""
        if self.precision == "bf16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return contextlib.nullcontext()

    @property
    def memory_format(self) -> torch.memory_format:
        """The layout of image networks: channels last where its kernels are the faster ones."""
        return torch.contiguous_format if self.device.type == "mps" else torch.channels_last

    def describe(self) -> str:
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type
        return f"{name}, {self.precision}"


def resolve(config: Mapping[str, Any]) -> Runtime:
    """The runtime of the ``device`` group; ``BadInput`` for a device that this machine lacks."""
    name, precision, threads = config["name"], config["precision"], config["threads"]
    if precision not in PRECISIONS:
        raise BadInput(f"device.precision={precision}: {suggestion(precision, PRECISIONS)}")
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next(entry for entry in ("cuda", "mps", "cpu") if present[entry])
    if name not in present:
        raise BadInput(f"device={name}: {suggestion(name, ['auto', *present])}")
    if not present[name]:
        having = " or ".join(f"device={entry}" for entry, there in present.items() if there)
        raise BadInput(f"device={name}: this machine, or this build of torch, has none. Try {having}")
    if threads is not None:
        if threads < 1:
            raise BadInput(f"device.threads={threads}: must be at least 1, or null")
        torch.set_num_threads(threads)
    if config["deterministic"]:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(bool(config["deterministic"]))
    # filling fresh memory with NaN is no part of determinism, and costs a pass over every tensor
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    return Runtime(torch.device(name), precision)


def environment(runtime: Runtime) -> dict[str, Any]:
    """What the bits of a result depend on beside the config."""
    return {
        "torch": torch.__version__,
        "python": sys.version.split()[0],
        "device": runtime.describe(),
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }


def peak_memory_mib(runtime: Runtime) -> float:
    """The largest memory held so far: of the device for CUDA, of the process otherwise."""
    if runtime.device.type == "cuda":
        return torch.cuda.max_memory_allocated(runtime.device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
