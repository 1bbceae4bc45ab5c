"""The generated page is up to date, and the README names what there is."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import CONF

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


def test_the_readme_names_every_option_of_the_groups(made: Any) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for group in ("game", "condition", "loss", "regularizer", "dataset"):
        for name in made.component_names(group):
            assert f"`{name}`" in readme, f"{group}={name}"


def test_what_was_measured_is_of_techniques_that_there_are(made: Any) -> None:
    seen = yaml.safe_load((ROOT / "docs" / "measured.yaml").read_text(encoding="utf-8"))["seen"]
    for name in seen:
        group, _, option = name.partition("=")
        if group in made.GROUPS:
            assert option in made.component_names(group), name


def test_every_link_of_the_docs_leads_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (page.parent / Path(target)).exists(), f"{page.name}: {target}"


def test_every_planted_fault_still_applies() -> None:
    faults = yaml.safe_load((ROOT / "tests" / "mutations.yaml").read_text(encoding="utf-8"))
    assert len(faults) >= 30
    for fault in faults:
        assert (ROOT / fault["file"]).read_text(encoding="utf-8").count(fault["old"]) == 1, fault["name"]
        for test in [fault["tests"]] if isinstance(fault["tests"], str) else fault["tests"]:
            assert (ROOT / test.split("::")[0]).exists(), fault["name"]
