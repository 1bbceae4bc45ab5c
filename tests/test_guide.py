"""The guide does what it says: its own components train, its course composes and runs, its notebook runs."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import CONF

from ganrun.cli.compose import composer
from ganrun.cli.schema import check

DOCS = CONF.parent / "docs"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
QUICK = ["steps=2", "batch_size=8", "device=cpu", "device.threads=1", "every.sample=0", "doctor.every=1", "evaluation.num=64"]
PAGES = sorted(page.name for page in (DOCS / "howto").glob("write_*.md"))
IN_TURN = """
import json, sys, ganrun
for name, typed in json.loads(sys.argv[1]).items():
    run = ganrun.train(typed, config_dir="my_conf")
    print(name, run.path, run.status, *run.scores)
"""


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """(language, text) of each fenced block."""
    yield from BLOCK.findall(page.read_text(encoding="utf-8"))


def typed(page: Path) -> list[str]:
    """The lines of a page's blocks that are typed into a terminal, without what is said behind them."""
    lines = [line for language, text in blocks(page) if not language for line in text.replace("\\\n", " ").splitlines()]
    return [re.split(r"\s{2,}#?|\s+#", line)[0] for line in lines if re.match(r"(ganrun|make|python) ", line)]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The pages' own components in one folder, each trained for two steps as its page says: what was printed, by page."""
    folder = tmp_path_factory.mktemp("written")
    commands = {}
    for page in PAGES:
        for language, text in blocks(DOCS / "howto" / page):
            if language in ("python", "yaml"):
                path, body = re.fullmatch(r"# (\S+)\n(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_text(body, encoding="utf-8")
        line = next(line for line in typed(DOCS / "howto" / page) if line.startswith("ganrun train --config-dir my_conf"))
        unscored = [] if page == "write_metric.md" else ["metric=none"]
        commands[page] = [*shlex.split(line)[4:], *QUICK, *unscored]
    here = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), str(CONF.parent)])}
    command = [sys.executable, "-c", IN_TURN, json.dumps(commands)]
    ran = subprocess.run(command, cwd=folder, env=here, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return {line.split()[0]: line for line in ran.stdout.splitlines() if line.startswith("write_")}


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_writes_trains_with_its_own_command(written: dict[str, str], page: str) -> None:
    assert written[page].split()[2] == "done", written


def test_the_metric_of_ones_own_is_scored(written: dict[str, str]) -> None:
    assert written["write_metric.md"].endswith(" mean_gap")


def test_the_examples_of_the_python_page_run_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    import ganrun
    from ganrun.engine.export import export

    monkeypatch.chdir(tmp_path)
    short = {"steps=20": "steps=2", '"seed=1"': '"seed=1", "device=cpu", "device.threads=1", "metric.wasserstein.subset_size=20"'}
    names: dict[str, object] = {}
    for language, text in blocks(DOCS / "reference" / "python.md"):
        if language != "python":
            continue
        if "generator.safetensors" in text:
            export(names["run"].path, tmp_path / "generator.safetensors", names["trained"].config)  # type: ignore[attr-defined]
        for long, quick in short.items():
            text = text.replace(long, quick)
        exec(compile(text, "python.md", "exec"), names)
    assert isinstance(names["images"], torch.Tensor)
    assert names["value"] == names["best"]["scores.wasserstein"]  # type: ignore[index]
    assert {"train", "load", "load_generator", "runs", "GanrunError"} <= set(ganrun.__all__)


@pytest.mark.long
def test_the_tour_runs(tmp_path: Path) -> None:
    client = pytest.importorskip("nbclient", reason="the tour needs nbclient and ipykernel")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    tour = nbformat.read(DOCS / "tour.ipynb", 4)
    (first,) = [cell for cell in tour.cells if "STEPS = 200" in cell.source]
    first.source = first.source.replace("STEPS = 200", "STEPS = 2")
    client.NotebookClient(tour, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert "hinge" in tour.cells[-2].outputs[0].text  # the mistake is answered with the nearest valid word


LESSONS = sorted(page.name for page in (DOCS / "learn").glob("[0-9]*.md"))


@pytest.fixture(scope="module")
def mistakes() -> Iterator[Callable[[str], list[str]]]:
    """What is wrong with a command to train, by the schema."""
    with composer() as found:

        def named(command: str) -> list[str]:
            words = shlex.split(command.replace("--cfg job", ""))[2:]
            overrides = [word for word in words if not word.startswith("-")]
            return check.verify(overrides, found, [CONF], multirun="-m" in words).mistakes

        yield named


@pytest.mark.parametrize("lesson", LESSONS)
def test_a_lesson_has_the_same_commands_and_pictures_in_both_languages(lesson: str, mistakes: Callable[[str], list[str]]) -> None:
    english, chinese = DOCS / "learn" / lesson, DOCS / "zh" / "learn" / lesson
    assert list(blocks(english)) == list(blocks(chinese))
    names = [
        re.findall(r"!\[[^]]*\]\([./]*(?:learn/)?([^)]+)\)", page.read_text(encoding="utf-8")) for page in (english, chinese)
    ]
    assert names[0] == names[1] != []
    trained = [line for line in typed(english) if line.startswith("ganrun train")]
    assert 1 <= len(trained) <= 4
    assert [mistakes(line) for line in trained] == [[]] * len(trained)


def test_pictures_of_the_course_are_small() -> None:
    assert {picture.name for picture in (DOCS / "learn" / "img").iterdir() if picture.stat().st_size > 60 * 1024} == set()


PLACED = re.compile(r"RUN|DIR|FILE|\.\.\.|my/images|my_conf|plugins=|hydra/|\$|<")  # the reader's own


@pytest.mark.long
def test_what_the_pages_say_to_train_can_be_typed(mistakes: Callable[[str], list[str]]) -> None:
    pages = [DOCS.parent / "README.md", *(page for page in DOCS.rglob("*.md") if "learn" not in page.parts)]
    lines = {line for page in pages for line in typed(page) if re.match(r"ganrun train ", line) and not PLACED.search(line)}
    assert len(lines) > 20
    wrong = {line: said for line in sorted(lines) if (said := mistakes(line))}
    assert not wrong


@pytest.mark.long
@pytest.mark.parametrize("lesson", LESSONS)
def test_every_command_of_a_lesson_runs(lesson: str, tmp_path: Path) -> None:
    here = os.environ | {"PYTHONPATH": str(CONF.parent), "OMP_NUM_THREADS": "1"}
    for line in typed(DOCS / "learn" / lesson):
        words = [hit for word in shlex.split(line) for hit in (sorted(map(str, tmp_path.glob(word))) if "*" in word else [word])]
        command = [sys.executable, "-m", *words]
        ran = subprocess.run(command, cwd=tmp_path, env=here, capture_output=True, text=True, check=False)
        stands = 7 if words[1] == "doctor" else 0
        assert ran.returncode in (0, stands), f"{line}\n{ran.stdout}{ran.stderr}"
