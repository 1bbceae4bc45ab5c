"""A few lines of Python that use an exported generator, as they are printed after an export."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from ganrun.engine.exporters import FILE, KEY
from ganrun.engine.portable import Input, Portable

COUNT = 16  # samples


def example(form: str, path: str, made: Portable) -> str:
    """Python text that reads the file ``path`` of the format ``form`` and makes ``COUNT`` samples."""
    array = form == "onnx"
    drawn = [f"{entry.name} = {(numpy_input if array else torch_input)(entry)}" for entry in made.inputs]
    names = ", ".join(entry.name for entry in made.inputs)
    shape = (COUNT, *made.about["output"]["shape"][1:])
    comment = f"  # float32 {shape}; {MEANINGS[made.about['output']['kind']]}"
    lines = [*EXAMPLES[form](drawn, names, comment, made), 'print(samples.shape, about["run"], about["step"])']
    first = next(place for place, line in enumerate(lines) if not line.startswith(("import ", "from ")))
    return "\n".join([*lines[:first], "", f"file = {quoted(path)}", *lines[first:]])


MEANINGS = {"image": "pixels in [-1, 1]", "points": "points", "tokens": "a row of probabilities for each position"}


def _torch(lines: list[str], drawn: list[str], names: str, comment: str, made: Portable) -> list[str]:
    seeded = ["torch.manual_seed(0)"]
    return [*lines, *seeded, *drawn, "with torch.no_grad():", f"    samples = generator({names}){comment}"]


def _torchscript(drawn: list[str], names: str, comment: str, made: Portable) -> list[str]:
    lines = [
        "import json",
        "import torch",
        f'extra = {{"{FILE}": ""}}',
        'generator = torch.jit.load(file, map_location="cpu", _extra_files=extra)',
        f'about = json.loads(extra["{FILE}"])',
    ]
    return _torch(lines, drawn, names, comment, made)


def _torch_export(drawn: list[str], names: str, comment: str, made: Portable) -> list[str]:
    lines = [
        "import json",
        "import torch",
        f'extra = {{"{FILE}": ""}}',
        "generator = torch.export.load(file, extra_files=extra).module()",
        f'about = json.loads(extra["{FILE}"])',
    ]
    return _torch(lines, drawn, names, comment, made)


def _onnx(drawn: list[str], names: str, comment: str, made: Portable) -> list[str]:
    fed = ", ".join(f'"{entry.name}": {entry.name}' for entry in made.inputs)
    return [
        "import json",
        "import numpy",
        "import onnxruntime",
        'session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])',
        f'about = json.loads(session.get_modelmeta().custom_metadata_map["{KEY}"])',
        "random = numpy.random.default_rng(0)",
        *drawn,
        f"samples = session.run(None, {{{fed}}})[0]{comment}",
    ]


def _safetensors(drawn: list[str], names: str, comment: str, made: Portable) -> list[str]:
    lines = [
        "import json",
        "import torch",
        "import ganrun",
        "from safetensors import safe_open",
        "generator = ganrun.load_generator(file)",
        f'about = json.loads(safe_open(file, "pt").metadata()["{KEY}"])',
    ]
    named = ", ".join(f"{entry.keyword}={entry.name}" if entry.keyword else entry.name for entry in made.inputs)
    return _torch(lines, drawn, named, comment, made)


EXAMPLES: Mapping[str, Callable[..., list[str]]] = {
    "torchscript": _torchscript,
    "torch_export": _torch_export,
    "onnx": _onnx,
    "safetensors": _safetensors,
}


def quoted(text: str) -> str:
    """``text`` as a Python string in double quotes."""
    return json.dumps(text, ensure_ascii=False)


def torch_input(entry: Input) -> str:
    """An expression in torch that makes ``COUNT`` of the input."""
    if entry.values is not None:
        return f"torch.arange({COUNT}) % {entry.values}"
    if not entry.law:
        return f"torch.rand({', '.join(map(str, (COUNT, *entry.shape)))}) * 2 - 1  # put your own here"
    pieces = {
        "normal": f"torch.randn({COUNT}, {{numbers}})",
        "uniform": f"torch.rand({COUNT}, {{numbers}}) * 2 - 1",
        "one_hot": f"torch.eye({{numbers}})[torch.randint({{numbers}}, ({COUNT},))]",
    }
    return _joined("torch.cat", entry, pieces)


def numpy_input(entry: Input) -> str:
    """The same in numpy."""
    if entry.values is not None:
        return f"numpy.arange({COUNT}) % {entry.values}"
    uniform = 'random.random({}, dtype="float32") * 2 - 1'
    if not entry.law:
        return f"{uniform.format((COUNT, *entry.shape))}  # put your own here"
    pieces = {
        "normal": f'random.standard_normal(({COUNT}, {{numbers}}), dtype="float32")',
        "uniform": uniform.format(f"({COUNT}, {{numbers}})"),
        "one_hot": f'numpy.eye({{numbers}}, dtype="float32")[random.integers({{numbers}}, size={COUNT})]',
    }
    return _joined("numpy.concatenate", entry, pieces)


def _joined(join: str, entry: Input, pieces: Mapping[str, str]) -> str:
    made: list[Any] = [pieces[piece["law"]].format(**piece) for piece in entry.law]
    return made[0] if len(made) == 1 else f"{join}([{', '.join(made)}], 1)"
