"""Writes docs/reference/python.md: ``make docs``. Every public name of ganrun, with its types and what its docstring says.

The examples below are run by a test in the order of the page.
"""

from __future__ import annotations

import inspect
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import ganrun  # noqa: E402

PAGE = ROOT / "docs" / "reference" / "python.md"
INTRO = """# Python

What `import ganrun` offers to a program, written by `make docs` from the docstrings. `ganrun.runs` and the three readers import
no torch; `ganrun.train` leaves the program's own torch (threads, random numbers, determinism) as it was.
[The tour](../tour.ipynb) is a notebook that goes through it."""
EXAMPLES = {
    "train": """
        import ganrun

        run = ganrun.train(["dataset=ring8", "steps=20", "seed=1"])
        print(run.path, run.status, run.step)
        print(run.scores["wasserstein"], "at step", run.scores_step)
    """,
    "load": """
        trained = ganrun.load(run.path)
        images = trained.sample(64, seed=0)  # of ring8: points, float32 (64, 2)
    """,
    "load_generator": """
        # ganrun export RUN --out generator.safetensors
        import torch

        generator = ganrun.load_generator("generator.safetensors")
        images = generator(torch.randn(16, 64))  # z of model.latent numbers, images in [-1, 1]
    """,
    "read_metrics": """
        rows = ganrun.read_metrics(run.path)
        losses = [row["discriminator/loss"] for row in rows]
    """,
    "read_scores": """
        last = ganrun.read_scores(run.path)[-1]
        value, card = last["scores"]["wasserstein"]["value"], last["scores"]["wasserstein"]["card"]
    """,
    "read_signs": """
        gaps = [(row["step"], row["gap"]) for row in ganrun.read_signs(run.path)]
    """,
    "runs": """
        records = ganrun.runs("outputs")
        best = min(records, key=lambda record: record["scores.wasserstein"])  # or pandas.DataFrame(records)
    """,
    "GanrunError": """
        try:
            ganrun.train(["loss=hinges"])
        except ganrun.GanrunError as error:
            print(error)  # names the nearest valid one
    """,
}
ORDER = ("train", "load", "load_generator", "runs", "read_metrics", "read_scores", "read_signs", "register", "GanrunError")


def page() -> str:
    """The whole page."""
    names = [name for name in ganrun.__all__ if not name.startswith("__")]
    lines = [INTRO]
    for name in sorted(names, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name)):
        held = getattr(ganrun, name)
        lines += ["", f"## ganrun.{name}", "", *(signature(name, held) if not inspect.isclass(held) else []), text(held)]
        if name in EXAMPLES:
            lines += ["", "```python", textwrap.dedent(EXAMPLES[name]).strip(), "```"]
        lines += returned(name)
    return "\n".join(lines).rstrip() + "\n"


def returned(name: str) -> list[str]:
    """What is returned by ``train`` and ``load``, which has a section of its own."""
    from ganrun.disk.results import Run
    from ganrun.engine.sampling import Trained

    if name == "train":
        fields = ", ".join(f"`{key}: {kind}`" for key, kind in Run.__annotations__.items())
        return ["", "### Run", "", text(Run), "", f"Fields: {fields}."]
    if name == "load":
        return ["", "### Trained", "", text(Trained), "", *signature("sample", Trained.sample), text(Trained.sample)]
    return []


def signature(name: str, held: Any) -> list[str]:
    """The call with its types, as code."""
    said = re.sub(r"(: |-> )'([^']*)'", r"\1\2", str(inspect.signature(held))).replace("(self, ", "(")
    return ["```", f"{name}{said}", "```", ""]


def text(held: Any) -> str:
    """The docstring as Markdown."""
    return (inspect.getdoc(held) or "").replace("``", "`")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"written: {PAGE.relative_to(ROOT)}")
