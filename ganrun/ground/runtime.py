"""Where a run computes: device, precision, determinism, threads."""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ganrun.ground.errors import BadInput, suggestion

PRECISIONS = ("fp32", "bf16")
WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"  # without it, cuBLAS has no deterministic mode


@dataclass(frozen=True)
class Runtime:
    """A resolved device and how to compute on it."""

    device: torch.device
    precision: str = "fp32"
    deterministic: bool = False
    threads: int | None = None  # None: as many as the process has

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """bfloat16 for matrix products and convolutions where asked for; parameters stay float32."""
        if self.precision == "bf16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return contextlib.nullcontext()

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Within, torch computes as this runtime says, whatever the program around it has chosen.

        Afterwards all is as it was: threads, determinism, default generators, modes, and the environment.
        """
        cuda = range(torch.cuda.device_count()) if torch.cuda.is_initialized() or self.device.type == "cuda" else []
        with contextlib.ExitStack() as stack:
            stack.callback(torch.set_num_threads, torch.get_num_threads())
            stack.callback(torch.set_deterministic_debug_mode, torch.get_deterministic_debug_mode())
            stack.callback(torch.set_default_dtype, torch.get_default_dtype())
            stack.callback(setattr, torch.backends.cudnn, "benchmark", torch.backends.cudnn.benchmark)
            filling: Any = torch.utils.deterministic
            stack.callback(setattr, filling, "fill_uninitialized_memory", filling.fill_uninitialized_memory)
            stack.enter_context(torch.random.fork_rng(cuda))
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.enable_grad())
            for kind in {"cpu", self.device.type}:
                stack.enter_context(torch.autocast(kind, enabled=False))
            if torch.get_default_device().type != "cpu":
                stack.enter_context(torch.device("cpu"))
            torch.set_default_dtype(torch.float32)
            if self.threads is not None:
                torch.set_num_threads(self.threads)
            if self.deterministic:
                if WORKSPACE not in os.environ:
                    stack.callback(os.environ.pop, WORKSPACE, None)
                    os.environ[WORKSPACE] = ":4096:8"
                torch.backends.cudnn.benchmark = False
            torch.use_deterministic_algorithms(self.deterministic)
            filling.fill_uninitialized_memory = False  # no part of determinism, and a pass over every fresh tensor
            yield

    @property
    def memory_format(self) -> torch.memory_format:
        """The layout of image networks: channels last where its kernels are the faster ones."""
        return torch.contiguous_format if self.device.type == "mps" else torch.channels_last

    def describe(self) -> str:
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type
        return f"{name}, {self.precision}"


def resolve(config: Mapping[str, Any]) -> Runtime:
    """The runtime of the ``device`` group; ``BadInput`` for a device that this machine lacks. Changes nothing by itself."""
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
    if threads is not None and threads < 1:
        raise BadInput(f"device.threads={threads}: must be at least 1, or null")
    return Runtime(torch.device(name), precision, bool(config["deterministic"]), threads)


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
