"""The generated pages are up to date, their links lead somewhere, and the README is short."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import CONF, compose_config, one_in

ROOT = CONF.parent


@pytest.fixture(scope="module")
def made() -> Any:
    spec = importlib.util.spec_from_file_location("techniques_page", ROOT / "scripts" / "techniques_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    path = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = path
    return module


def test_the_page_of_techniques_is_the_one_that_the_components_make(made: Any) -> None:
    page = (ROOT / "docs" / "techniques.md").read_text(encoding="utf-8")
    assert page == made.page(), "docs/techniques.md is out of date: make docs"


def test_every_component_has_a_row_with_its_source(made: Any) -> None:
    page = (ROOT / "docs" / "techniques.md").read_text(encoding="utf-8")
    for group in ("loss", "game", "condition", "regularizer", "model"):
        for name in made.component_names(group):
            row = next(line for line in page.splitlines() if line.startswith(f"| [`{name}`](../ganrun/"))
            assert re.search(r"\b(19|20)\d\d\b", row.split("|")[3]), row


def test_the_readme_is_short_and_says_the_same_in_both_languages() -> None:
    english, chinese = ((ROOT / page).read_text(encoding="utf-8") for page in ("README.md", "README.zh.md"))
    assert max(len(page.splitlines()) for page in (english, chinese)) <= 120
    chinese = chinese.replace("(docs/zh/", "(docs/")  # a page that there is in Chinese, too
    for typed in (
        r"(?m)^((?:ganrun|make) \S.*?)(?:   | #|$)",
        r"(?m)^\w+ = .*?\)(?=  |$)",
        r"`make [\w-]+`",
        r"\]\((docs/[^)]+)\)",
    ):
        assert re.findall(typed, english) == re.findall(typed, chinese) != []


def test_what_was_measured_is_of_techniques_that_there_are(made: Any) -> None:
    seen = yaml.safe_load((ROOT / "docs" / "measured.yaml").read_text(encoding="utf-8"))["seen"]
    for name in seen:
        group, _, option = name.partition("=")
        if group in made.GROUPS:
            assert option in made.component_names(group), name


def test_every_link_of_the_docs_leads_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (page.parent / Path(target)).exists(), f"{page.name}: {target}"


def test_the_site_builds_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("material", reason="the site needs mkdocs-material")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    made = subprocess.run(
        build, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stdout + made.stderr
    for page in tmp_path.rglob("*.html"):
        loaded = re.findall(
            r"<(?:script|img|link|iframe)\b[^>]*?(?:src|href)=\"?(?:https?:)?//[^>]*", page.read_text(encoding="utf-8")
        )
        assert not loaded, f"{page.name}: {loaded}"
    assert (tmp_path / "source/ganrun/networks/dcgan.py.txt").is_file()  # where the page of techniques leads


@pytest.fixture(scope="module")
def planted() -> Any:
    spec = importlib.util.spec_from_file_location("planted", ROOT / "scripts" / "planted.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["planted"] = module
    spec.loader.exec_module(module)
    return module


def test_the_page_of_the_doctor_is_the_one_that_the_diseases_make() -> None:
    spec = importlib.util.spec_from_file_location("doctor_page", ROOT / "scripts" / "doctor_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    path = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = path
    assert module.page() == module.PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("chunk", one_in(4, range(4)))
def test_every_planted_fault_still_applies(planted: Any, chunk: int) -> None:
    faults = yaml.safe_load((ROOT / "tests" / "mutations.yaml").read_text(encoding="utf-8"))
    assert len(faults) >= 30
    for fault in faults[chunk::4]:
        entry = planted.pin(fault) if "file" in fault else fault
        planted.plant(entry)
        for test in [fault["tests"]] if isinstance(fault["tests"], str) else fault["tests"]:
            assert (ROOT / test.split("::")[0]).exists(), fault["name"]


BEFORE = """
class Loss:
    def d(self, duel):
        # a remark
        return relu(1 - duel.real_verdict.score).mean() + relu(1 + duel.fake_verdict.score).mean()
"""


@pytest.mark.parametrize(
    "present",
    [
        BEFORE,
        BEFORE.replace("real_verdict", "real_output").replace("duel", "match"),  # names changed
        BEFORE.replace("class Loss", "class Margin").replace("def d(", "def discriminator_loss("),  # the symbol itself
        BEFORE.replace("+ relu(1", "+ (\n            relu(1").replace(").mean()\n", ").mean())\n"),  # the layout
    ],
)
def test_a_planted_fault_survives_renaming_and_layout(planted: Any, tmp_path: Path, present: str) -> None:
    file = tmp_path / "ganrun" / "losses" / "hinge.py"
    file.parent.mkdir(parents=True)
    file.write_text(BEFORE, encoding="utf-8")
    old = "relu(1 - duel.real_verdict.score)"
    text = {"name": "n", "file": "ganrun/losses/hinge.py", "old": old, "new": old.replace("1 - ", "-"), "tests": "tests/x.py"}
    entry = planted.pin(text, tmp_path)
    assert entry["symbol"] == "ganrun/losses/hinge.py::Loss.d"
    moved = tmp_path / "ganrun" / "losses" / "margin.py" if "Margin" in present else file
    file.unlink()
    moved.write_text(present, encoding="utf-8")
    path, made = planted.plant(entry, tmp_path)
    assert path == moved.relative_to(tmp_path)
    assert "1 - " not in made
    assert made.count("1 + ") == 1
    assert made.replace("relu(-", "relu(1 - ") == planted.ast.unparse(planted.ast.parse(present)) + "\n"


def test_a_planted_fault_that_fits_nowhere_is_said(planted: Any, tmp_path: Path) -> None:
    file = tmp_path / "ganrun" / "a.py"
    file.parent.mkdir()
    file.write_text("x = 1 + y\nz = 1 + w\n", encoding="utf-8")
    entry = {"name": "n", "symbol": "ganrun/a.py", "old": "2 + y", "new": "y", "tests": []}
    with pytest.raises(planted.NotPlanted, match="nothing"):
        planted.plant(entry, tmp_path)
    with pytest.raises(planted.NotPlanted, match="2 places"):
        planted.plant(entry | {"old": "1 + gone"}, tmp_path)


@pytest.mark.parametrize("page", ["keys", "tips", "options", "metrics", "python"])
def test_a_page_is_the_one_that_its_script_makes(page: str) -> None:
    spec = importlib.util.spec_from_file_location(f"{page}_page", ROOT / "scripts" / f"{page}_page.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.PAGE.read_text(encoding="utf-8") == script.page(), "make docs writes it anew"


def test_what_a_tip_says_to_type_can_be_typed() -> None:
    groups = yaml.safe_load((ROOT / "benchmarks" / "tips.yaml").read_text(encoding="utf-8"))
    for tip in (tip for group in groups.values() for tip in group["tips"]):
        for words in re.split(r", (?![^\[]*\])", tip["do"]):
            if "=" in words and not words.startswith("ganrun"):
                assert compose_config(*words.split()), tip["tip"]
