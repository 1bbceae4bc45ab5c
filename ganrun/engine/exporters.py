"""The formats of an exported generator, by torch's own exporters: TorchScript, torch.export and ONNX.

Each writes the module and what is said of it into one file, for any number of samples at once. What was written is read back
and compared with the module before anybody gets it.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ganrun.engine.portable import Portable
from ganrun.ground.errors import BadInput

KEY = "ganrun"  # of what is said of the module, as JSON
FILE = "ganrun.json"  # the same in an archive
TOLERANCE = 1e-5  # largest difference from the module
TRACED, COMPARED = 3, (1, 2, 7)  # samples
LARGEST = 2**31 - 2**20  # bytes of one ONNX file, whose encoding ends there
Callable_ = Callable[..., Tensor]


@dataclass(frozen=True)
class Exporter:
    """``write``: a module to bytes; ``read``: bytes to a function of the same inputs.

    ``noise``: random numbers come out the same. ``largest``: the most bytes that a file may have.
    """

    write: Callable[[Portable], bytes]
    read: Callable[[bytes, Portable], Callable_]
    noise: bool = True
    largest: int | None = None


def write_torchscript(made: Portable) -> bytes:
    traced = torch.jit.trace(made.network, made.tried(TRACED), check_trace=False)
    buffer = io.BytesIO()
    torch.jit.save(traced, buffer, _extra_files={FILE: json.dumps(made.about)})
    return buffer.getvalue()


def read_torchscript(data: bytes, made: Portable) -> Callable_:
    found: Callable_ = torch.jit.load(io.BytesIO(data))
    return found


def _dynamic(made: Portable) -> tuple[Any, ...]:
    """The first dimension of every input is the same, and free."""
    batch = torch.export.Dim("batch")
    return (tuple({0: batch} for _ in made.inputs),)


def write_torch_export(made: Portable) -> bytes:
    program = torch.export.export(made.network, made.tried(TRACED), dynamic_shapes=_dynamic(made))
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={FILE: json.dumps(made.about)})
    return buffer.getvalue()


def read_torch_export(data: bytes, made: Portable) -> Callable_:
    return torch.export.load(io.BytesIO(data)).module()


def write_onnx(made: Portable) -> bytes:
    program = torch.onnx.export(
        made.network,
        made.tried(TRACED),
        input_names=[entry.name for entry in made.inputs],
        output_names=["samples"],
        dynamic_shapes=_dynamic(made),
        dynamo=True,
        verbose=False,
        external_data=False,
    )
    assert program is not None
    program.model.metadata_props[KEY] = json.dumps(made.about)
    data: bytes = program.model_proto.SerializeToString()
    return data


def read_onnx(data: bytes, made: Portable) -> Callable_:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in made.inputs]

    def run(*inputs: Tensor) -> Tensor:
        fed = {name: entry.numpy() for name, entry in zip(names, inputs, strict=True)}
        return torch.from_numpy(session.run(None, fed)[0])

    return run


EXPORTERS = {
    "torchscript": Exporter(write_torchscript, read_torchscript),
    "torch_export": Exporter(write_torch_export, read_torch_export),
    "onnx": Exporter(write_onnx, read_onnx, noise=False, largest=LARGEST),
}


def written(name: str, made: Portable) -> bytes:
    """The file of the format ``name``. ``BadInput`` with another format where this one cannot hold the generator."""
    exporter = EXPORTERS[name]
    others = [other for other, entry in EXPORTERS.items() if other != name and (entry.noise or not made.noisy)]
    instead = f"Try --format {' or '.join([*others, 'safetensors'])}"
    if made.noisy and not exporter.noise:
        raise BadInput(
            f"--format {name}: this generator draws random numbers of its own (dropout or noise at sampling), which would come "
            f"out differently there, so its samples could not be had again. {instead}"
        )
    size = sum(entry.nbytes for entry in made.network.state_dict().values())
    if exporter.largest is not None and size > exporter.largest:
        raise BadInput(
            f"--format {name}: holds at most 2 GiB, and this generator's weights are {size / 2**30:.1f} GiB. {instead}"
        )
    with _quietly(), torch.no_grad():
        try:
            data = exporter.write(made)
        except Exception as error:  # exporters raise whatever they meet
            reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise BadInput(f"--format {name}: torch's exporter cannot write this generator ({reason}). {instead}") from error
        gap = _difference(exporter.read(data, made), made)
    if not gap <= TOLERANCE:
        raise BadInput(f"--format {name}: samples of what was written differ from ganrun's by {gap:.2g}. {instead}")
    return data


def _difference(read: Callable_, made: Portable) -> float:
    """The largest difference between what was read back and the module, for several numbers of samples."""
    found = []
    for count in COMPARED:
        inputs = made.tried(count)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(count)
            wanted = made.network(*inputs)
            torch.manual_seed(count)
            found.append((read(*inputs) - wanted).abs().max())
    return float(torch.stack(found).max())


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without the exporters' own reports, which are for those who write exporters."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
