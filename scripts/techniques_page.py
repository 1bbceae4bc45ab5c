"""Writes docs/techniques.md from what there is: ``make docs``.

Names and sentences come from conf/, formulas and sources from the modules' docstrings, options from the yaml files, rules
from the components' traits, counts from the matrix of the tests, and figures from docs/measured.yaml, which
benchmarks/techniques.py measures. A test holds that the committed page is the one that this makes.
"""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

from ganrun.cli import describe, published  # noqa: E402
from ganrun.ground import registry  # noqa: E402

PAGE, MEASURED = ROOT / "docs" / "techniques.md", ROOT / "docs" / "measured.yaml"
GROUPS = {
    "loss": "Losses",
    "game": "Games",
    "condition": "Conditions",
    "regularizer": "Regularizers and input techniques",
    "model": "Families of networks",
    "dataset": "Data sets",
    "metric": "Metrics",
    "optimizer": "Optimizers",
    "schedule": "Learning-rate schedules",
}
PARTS = """
| part | on the command line | source |
|---|---|---|
| packing | `pack=2` | Lin et al. 2018 |
| minibatch discrimination | `model.discriminator.minibatch=discrimination` | Salimans et al. 2016 |
| minibatch standard deviation | `model.discriminator.minibatch=stddev` | Karras et al. 2018 |
| virtual batch normalization | `model.generator.norm=virtual` | Salimans et al. 2016 |
| self-attention | `model.generator.attention=8`, `model.discriminator.attention=8` (the map's size) | Zhang et al. 2019 |
| dropout in the generator | `model.generator.dropout=0.5`, at sampling too with `dropout_always=true` | Isola et al. 2017 |
| upsampling | `model.generator.upsample=transposed`, `nearest`, `pixel_shuffle` | Odena et al. 2016; Shi et al. 2016 |
| initialisation | `model.generator.init=orthogonal` (or normal, xavier, uniform) | Saxe et al. 2014; Brock et al. 2019 |
| shared class embedding, hierarchical z | `condition=shared` | Brock et al. 2019 |
| two time scales | `optimizer=ttur`, or `optimizer.discriminator.lr=4e-4` | Heusel et al. 2017 |
| an optimizer of another kind for a player | `optimizer.discriminator.name=sgd` | Chintala et al. 2016 |
| average of the generator | `ema=0.999` | Yazici et al. 2019 |
| critic updates | `n_critic=5` | Arjovsky et al. 2017 |
| lazy terms | `regularizer.r1.every=16` | Karras et al. 2020 |
| truncation | `ganrun sample RUN --truncation 0.7` | Brock et al. 2019 |
| interpolation | `ganrun sample RUN --interpolate slerp` | White 2016 |
| class grid | `ganrun sample RUN --class-grid` | |
| latent walk as a video | `ganrun sample RUN --video FILE.mp4` | |
| latent traversal | `ganrun sample RUN --traverse --along axes`; `codes` of `game=infogan` | Chen et al. 2016 |
| closed-form directions (SeFa) | `ganrun sample RUN --traverse --along sefa` | Shen and Zhou 2021 |
| discriminator rejection sampling | `ganrun sample RUN --reject 0.8` | Azadi et al. 2019 |
| inversion: the latent of an image | `ganrun invert RUN --input DIR` | Zhu et al. 2016; Creswell and Bharath 2019 |
| arithmetic on latents or classes | `ganrun sample RUN --arithmetic "3 - 5 + 8"` | Radford et al. 2016 |
| fine-tuning | `init_from=RUN` | |
| probe of the discriminator | `ganrun probe RUN` | Radford et al. 2016 |
"""


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")
    print(f"written: {PAGE.relative_to(ROOT)}")


def page() -> str:
    measured = yaml.safe_load(MEASURED.read_text(encoding="utf-8")) if MEASURED.exists() else {}
    figures = yaml.safe_load((ROOT / "benchmarks" / "techniques.yaml").read_text(encoding="utf-8"))["figures"]
    for name, figure in figures.items():
        if name in measured.get("seen", {}):
            measured["seen"][name]["sentence"] += f"; the picture: {figure}"
    lines = ["# Techniques", "", *intro(measured)]
    for group, title in GROUPS.items():
        lines += ["", f"## {title}", "", *table(group, measured)]
        if group == "model":
            lines += ["", "### Parts of networks, and training tools", *PARTS.splitlines(), *seen_parts(measured)]
    lines += ["", "## Experiments", "", *experiments(), "", *rules(), "", *matrix()]
    return "\n".join(lines).rstrip() + "\n"


def intro(measured: dict[str, Any]) -> list[str]:
    about = measured.get("about", {})
    said = [
        "Every row is one word on the command line: `ganrun train loss=hinge regularizer=spectral_norm`. This page is written by",
        "`make docs` from the components themselves; formulas stand in full in the modules that are linked.",
    ]
    if about:
        said += ["", f"What was seen: {about['what']} ({about['machine']}, {about['date']})."]
    return said


def table(group: str, measured: dict[str, Any]) -> list[str]:
    lines = ["| name | what it is | source | tests | seen |", "|---|---|---|---|---|"]
    for name in component_names(group):
        component = registry.lookup(group, name)
        module = sys.modules[component.__module__]
        path = Path(inspect.getfile(module)).relative_to(ROOT)
        source = "; ".join(describe.named_sources((module.__doc__ or "") + (component.__doc__ or ""), titles=False))
        seen = measured.get("seen", {}).get(f"{group}={name}", {}).get("sentence", "")
        cells = [f"[`{name}`](../{path})", sentence(group, name, component), source, tests(group, name, path.stem), seen]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return lines


def seen_parts(measured: dict[str, Any]) -> list[str]:
    found = {name: entry for name, entry in measured.get("seen", {}).items() if name.split("=")[0] not in GROUPS}
    if not found:
        return []
    return ["", "| part | seen |", "|---|---|", *(f"| `{name}` | {entry['sentence']} |" for name, entry in found.items())]


def component_names(group: str) -> list[str]:
    return [name for name in registry.names(group) if registry.lookup(group, name).__module__.startswith("ganrun.")]


def sentence(group: str, name: str, component: Any) -> str:
    path = ROOT / "conf" / group / f"{name}.yaml"
    if not path.exists():
        return (component.__doc__ or "").strip().split("\n\n")[0].replace("\n", " ")
    return described(path)


def described(path: Path) -> str:
    lines = path.read_text(encoding="utf-8").splitlines()
    line = lines[1] if lines[0].startswith("# @package") else lines[0]
    return re.sub(r" \([^()]*\d{4}[^()]*\)", "", line.removeprefix("# "))


def tests(group: str, name: str, module: str) -> str:
    """Test files that speak of a component by name."""
    words = {f'"{name}"', f"{group}={name}", f"ganrun.{registry.PACKAGES[group].split('.', 1)[1]}.{module} "}
    found = []
    for path in sorted((ROOT / "tests").glob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        generic = (
            path.stem in ("test_components", "test_layers", "test_catalog", "test_loop", "test_ground") or "_cli_" in path.stem
        )
        if not generic and any(word in text for word in words):
            found.append(path.stem.removeprefix("test_"))
    return ", ".join(found[:4])


def experiments() -> list[str]:
    lines = [
        "`ganrun train experiment=NAME`: the settings of the papers, on data that ship with ganrun; `dataset=cifar10` and the",
        "like replace the data alone. What else differs is held by a test (`conf/published.yaml`); in brackets is",
        "the paper's value and why ours is another.",
        "",
        "| name | what it is | differs from the paper in | the paper's values are from |",
        "|---|---|---|---|",
    ]
    for path in sorted((ROOT / "conf" / "experiment").glob("*.yaml")):
        if path.stem != "none":
            told = published.differences(path.stem).replace("|", "\\|")
            cells = [f"[`{path.stem}`](../conf/experiment/{path.name})", lines_of(path), told, published.sources(path.stem)]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def lines_of(path: Path) -> str:
    return path.read_text(encoding="utf-8").splitlines()[1].removeprefix("# ")


def rules() -> list[str]:
    import test_matrix

    lines = [
        "## What cannot stand together",
        "",
        "Refusals follow from traits alone. These are all the rules there are; each message ends with an override that makes the",
        "run legal, and a test applies it.",
        "",
        "| because | try |",
        "|---|---|",
    ]
    return lines + [f"| {rule.why} | `{rule.override}` |" for rule in sorted(test_matrix.rules(), key=lambda rule: rule.why)]


def matrix() -> list[str]:
    import matrix as every

    found = every.product()
    total = found.legal + found.refused
    lines = [
        "## The matrix",
        "",
        f"{total:,} combinations of a loss, up to two regularizers, a game, a condition, a pack, a family, a part and",
        f"data are classified by the rules: {found.legal:,} legal, {found.refused:,} refused. {len(every.covering())} of the",
        f"legal ones hold all {len(found.pairs):,} pairs of choices that are legal together; each of them is trained two",
        "steps, saved, trained two more and resumed to the same bits by `make test-matrix`; some fifty, which hold every choice",
        "twice, by `make test`.",
        "",
        "| factor | values |",
        "|---|---|",
    ]
    for factor, names in found.values.items():
        if factor != "other":
            label = "regularizers (up to two)" if factor == "one" else factor
            lines.append(f"| {label} | {', '.join(name for name in names if not name.startswith('toy'))} |")
    return lines


if __name__ == "__main__":
    main()
