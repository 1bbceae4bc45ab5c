"""Writes docs/reference/options.md from the files of conf/: ``make docs``. A test holds that it is up to date."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference" / "options.md"
INTRO = """# Options

What there is to choose, by group. This table is written by `make docs` from the files of conf/. `ganrun list` shows the same with
a line on each, `ganrun list loss` one group, `ganrun list loss=hinge` the keys of one option; [Keys](../keys.md) has them all."""
OUTRO = """[Techniques](../techniques.md) has a row for each, with its source, its tests and what a short run showed, and the
parts of networks: packing (`pack=2`), minibatch discrimination, self-attention, virtual batch normalization and more.
Whatever does not exclude each other composes: losses, stacks of regularizers, games, conditions, families. What does
exclude each other is said before anything is built, with an override that makes the run legal.

[Tips](../tips.md) goes through the known tips and tricks, each with the option that does it. Data are images, points in a
few dimensions, and rows of symbols. Audio and video are out of scope, and so is the description of an image by words: its words
are chosen one by one, which takes language models and not the networks that are here.

Keys you type every day: `steps batch_size seed name n_critic condition pack ema accumulate init_from resume fresh fork` and
`every.log every.sample every.eval every.checkpoint` (steps; 0 = only at the end). On the CPU, networks as small as
the demo's run fastest with `device.threads=1`."""
GROUPS = {  # what is said beside the names
    "model": "",
    "game": "",
    "condition": "",
    "loss": "",
    "regularizer": "any list of them",
    "dataset": "points, images, pairs for translation, tokens: `ganrun list dataset` says which",
    "optimizer": "per player, e.g. `optimizer.discriminator.lr=4e-4`, or `.name=sgd`: of another kind; schedules",
    "metric": "any list of them",
    "tracker": "any list of them",
    "device": "`device.precision=fp32\\|bf16`",
}


def table() -> str:
    """The Markdown table: a row for each group, with the names of its files."""
    lines = ["| group | options |", "|---|---|"]
    others = sorted({path.parent.name for path in (ROOT / "conf").glob("*/*.yaml")} - set(GROUPS))
    for group, beside in {**GROUPS, **dict.fromkeys(others, "")}.items():
        names = " ".join(f"`{path.stem}`" for path in sorted((ROOT / "conf" / group).glob("*.yaml")))
        lines.append(f"| `{group}` | {names}{f'; {beside}' if beside else ''} |")
    return "\n".join(lines)


def page() -> str:
    """The whole page."""
    return f"{INTRO}\n\n{table()}\n\n{OUTRO}\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"written: {PAGE.relative_to(ROOT)}")
