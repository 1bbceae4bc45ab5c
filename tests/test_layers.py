"""Imports point down, the command line starts without torch, and the engine names no technique."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import CONF

import ganrun

ROOT = Path(ganrun.__file__).parent
COMPONENTS = ("data", "networks", "losses", "regularizers", "optimizers", "metrics", "signs", "diseases", "trackers")
RANK = {"ground": 0, "disk": 1, **dict.fromkeys(COMPONENTS, 2), "games": 3, "theory": 4, "engine": 4, "cli": 5}
WITHOUT_FILES = ("losses", "regularizers", "networks", "optimizers", "games", "signs")  # these compute and touch no file
MODULES = sorted(path for path in ROOT.rglob("*.py") if "__pycache__" not in path.parts)


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room(module: str) -> str:
    """The package directly under ganrun that a module belongs to; "" for ganrun itself."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """(module, whether it is imported as soon as this one is) for everything that a module imports anywhere."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    late = {
        inner
        for outer in ast.walk(tree)
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef)
        or (isinstance(outer, ast.If) and "TYPE_CHECKING" in ast.dump(outer.test))
        for inner in ast.walk(outer)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node not in late) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative imports hide where they point"
            assert node.module
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                is_module = (ROOT.parent / inner.replace(".", "/")).with_suffix(".py").exists() or (
                    ROOT.parent / inner.replace(".", "/")
                ).is_dir()
                yield inner if is_module else node.module, node not in late


def ours(path: Path) -> Iterator[tuple[str, bool]]:
    return ((module, early) for module, early in imports(path) if module.split(".")[0] == "ganrun")


EDGES = [(name_of(path), module) for path in MODULES for module, _ in ours(path)]


def test_every_package_has_its_place_in_the_layers() -> None:
    packages = {path.name for path in ROOT.iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    assert packages == set(RANK)


def test_imports_point_down() -> None:
    for module, imported in EDGES:
        here, there = room(module), room(imported)
        if here not in RANK or there not in RANK or here == there:
            continue  # ganrun's own front door, or a room's inside
        assert RANK[there] < RANK[here], f"{module} imports {imported}"


def test_what_computes_a_step_knows_nothing_of_the_run_on_disk() -> None:
    for module, imported in EDGES:
        if room(module) in WITHOUT_FILES:
            assert room(imported) != "disk", f"{module} imports {imported}"


def test_component_packages_do_not_import_each_other() -> None:
    for module, imported in EDGES:
        if room(module) in COMPONENTS and room(imported) in COMPONENTS:
            assert room(module) == room(imported), f"{module} imports {imported}"


def test_components_of_one_package_share_their_base_and_helpers_but_not_each_other() -> None:
    registered = {name_of(path) for path in MODULES if "\n@register(" in path.read_text(encoding="utf-8")}
    for module, imported in EDGES:
        if room(module) in ("losses", "regularizers") and module in registered:
            assert imported not in registered, f"{module} imports {imported}"


def test_only_games_and_the_one_assembler_know_networks_losses_and_regularizers() -> None:
    for module, imported in EDGES:
        if room(imported) in ("networks", "losses", "regularizers", "optimizers") and room(module) != room(imported):
            allowed = module == "ganrun.engine.assemble" or (room(module) == "games" and room(imported) != "optimizers")
            assert allowed, f"{module} imports {imported}"


def test_optimizers_stand_alone() -> None:
    for module, imported in EDGES:
        if room(module) == "optimizers":
            assert room(imported) in ("ground", "optimizers"), f"{module} imports {imported}"


def test_losses_and_regularizers_see_duels_and_never_a_game_or_a_family() -> None:
    for module, imported in EDGES:
        if room(module) in ("losses", "regularizers"):
            assert room(imported) in ("ground", room(module)), f"{module} imports {imported}"


def test_the_ground_knows_nothing_above_it() -> None:
    for path in MODULES:
        if room(name_of(path)) == "ground":
            assert all(room(module) in ("ground", "") for module, _ in ours(path)), path


@pytest.mark.parametrize("statement", ["import ganrun", "import ganrun.cli.app", "import ganrun.ground.errors"])
def test_starting_imports_no_torch(statement: str) -> None:
    heavy = ("torch", "torchvision", "torchmetrics", "numpy", "PIL")
    code = f"import sys; {statement}; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_no_module_of_the_command_line_imports_torch_when_it_is_imported() -> None:
    names = [name_of(path) for path in MODULES if room(name_of(path)) == "cli"]
    code = f"import importlib, sys; [importlib.import_module(name) for name in {names!r}]; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "False"


def technique_names() -> set[str]:
    names = {path.stem for group in ("loss", "regularizer", "model", "game") for path in (CONF / group).glob("*.yaml")}
    names |= {"acgan", "reacgan", "matching_aware", "per_class"}  # conditions whose names are no plain English words
    return names - {"none"}


@pytest.mark.parametrize("path", [path for path in MODULES if room(name_of(path)) == "engine"], ids=lambda path: path.stem)
def test_the_engine_names_no_technique(path: Path) -> None:
    words = set(re.findall(r"[a-z0-9]+(?:_[a-z0-9]+)*", path.read_text(encoding="utf-8").replace("Sequence", "").lower()))
    assert not words & technique_names()


def test_the_names_that_the_engine_must_not_say_are_really_looked_for() -> None:
    assert {
        "hinge",
        "wasserstein",
        "r1",
        "gradient_penalty",
        "spectral_norm",
        "weight_clip",
        "dcgan",
        "adversarial",
    } <= technique_names()


def test_modules_are_of_readable_size() -> None:
    for path in MODULES:
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= 400, f"{path}: {lines} lines"
