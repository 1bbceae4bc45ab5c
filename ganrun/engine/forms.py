"""The formats that a generator, or its training, is exported in: suffixes and what they need. Imports no torch."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from ganrun.ground.errors import BadInput, suggestion


@dataclass(frozen=True)
class Form:
    """``packages``: what it needs beside torch, all of them in ganrun's extra ``extra``."""

    suffix: str
    packages: tuple[str, ...] = ()
    extra: str = ""


DEFAULT, SCRIPT = "safetensors", "script"
ROLE = "generator"
FORMS = {
    DEFAULT: Form(".safetensors"),
    "torchscript": Form(".pt"),
    "torch_export": Form(".pt2"),
    "onnx": Form(".onnx", ("onnx", "onnxscript", "onnxruntime"), "onnx"),
    SCRIPT: Form(".py"),
}


def chosen(name: str | None, out: Path | None, *, raw: bool = False, role: str = ROLE) -> str:
    """The format that ``--format`` names, the default for None. ``BadInput`` with all that stands against it."""
    form = DEFAULT if name is None else name
    if form not in FORMS:
        raise BadInput(f"--format {form}: there is no such format. {suggestion(form, FORMS)}")
    mistakes = []
    lacking = [package for package in FORMS[form].packages if importlib.util.find_spec(package) is None]
    if lacking:
        mistakes.append(f'--format {form}: needs {", ".join(lacking)}: pip install "ganrun[{FORMS[form].extra}]"')
    meant = [other for other, entry in FORMS.items() if out is not None and out.suffix == entry.suffix]
    if out is not None and meant and form not in meant and not out.is_dir():
        mistakes.append(f"--out {out}: {form} would be written into a file named as {meant[0]} is. Add --format {meant[0]}")
    if form == SCRIPT:
        idle = {"--raw": raw, f"--role {role}": role != ROLE}
        mistakes += [f"{word}: a script trains all players from the start. Leave it out" for word, there in idle.items() if there]
    if mistakes:
        raise BadInput("\n".join(mistakes))
    return form
