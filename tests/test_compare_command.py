"""``ganrun compare``: which runs are meant, what is left out, and the table as CSV, JSON, LaTeX, Markdown and a figure."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import yaml
from cli_driver import run
from conftest import compose_config

from ganrun.cli import comparing
from ganrun.disk import gather, runs
from ganrun.engine import compare, paper_figure, paper_table
from ganrun.engine.decide import Estimate
from ganrun.ground import registry
from ganrun.ground.errors import BadInput
from ganrun.metrics import declared

CARD = {"metric": "fid", "samples": 100, "seed": 0, "extractor": {"name": "classifier", "weights_sha256": "aa"}}
FID = {"hinge": (10.0, 11.0, 12.5), "lsgan": (20.0, 21.5, 22.0)}


def make(
    folder: Path, *, scores: Mapping[str, float | None], step: int = 10, card: Mapping[str, Any] = CARD, **changes: Any
) -> Path:
    """A run folder as a finished run leaves it, without checkpoints."""
    config = {**compose_config("dataset=ring8", "steps=10"), **changes}
    folder.mkdir(parents=True)
    text = yaml.safe_dump(config, sort_keys=False)
    (folder / "config.yaml").write_text(text)
    facts = {"status": "done", "step": step, "config_sha256": runs.digest(text.encode()), "findings": [{"disease": "collapse"}]}
    (folder / "run.json").write_text(json.dumps(facts))
    add(folder, scores, step, card)
    return folder


def add(folder: Path, scores: Mapping[str, float | None], step: int = 10, card: Mapping[str, Any] = CARD) -> None:
    metrics = {"is": "is", "fid": "fid"}
    held = {name: {"value": value, "card": {**card, "metric": metrics.get(name, name)}} for name, value in scores.items()}
    with open(folder / "scores.jsonl", "a") as file:
        file.write(json.dumps({"step": step, "scores": held}) + "\n")


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two losses by three seeds, told apart by FID and not by IS, in outputs/s."""
    monkeypatch.chdir(tmp_path)
    for (loss, values), seed in itertools.product(FID.items(), range(3)):
        scores = {"is": 2.0 + seed * (1 if loss == "hinge" else -0.5), "fid": values[seed]}
        make(tmp_path / "outputs" / "s" / f"{loss}-{seed}", scores=scores, loss={"name": loss}, seed=seed)
    return Path("outputs/s")


def test_the_numbers_are_scipys_and_json_has_them_in_full_with_the_cards(sweep: Path) -> None:
    found = json.loads(run("compare", sweep, "--json").out)
    assert [setting["keys"] for setting in found["settings"]] == [{"loss": "hinge"}, {"loss": "lsgan"}]
    (fid,) = [score for score in found["scores"] if score["name"] == "fid"]
    assert (fid["card"], fid["higher_is_better"]) == (CARD, False)
    for result, values in zip(fid["results"], FID.values(), strict=True):
        low, high = scipy.stats.t.interval(0.95, 2, np.mean(values), scipy.stats.sem(values))
        assert (result["mean"] - result["half_width"], result["mean"] + result["half_width"]) == pytest.approx((low, high))
        assert list(result["values"].values()) == list(values)
    gap = fid["results"][1]["difference"]
    assert gap["p"] == pytest.approx(scipy.stats.ttest_rel(FID["lsgan"], FID["hinge"]).pvalue)
    assert (gap["verdict"], fid["results"][0]["best"], fid["results"][1]["best"]) == ("worse", True, False)
    other = found["scores"][0]["results"][1]["difference"]
    assert (other["decided"], "more seed" in other["verdict"], other["more_seeds"] > 0) == (False, True, True)


def test_csv_is_read_back_with_every_digit_and_markdown_and_latex_mark_the_best(sweep: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(run("compare", sweep, "--csv").out)))
    assert [(row["loss"], row["score"], row["seeds"]) for row in rows] == [
        (loss, score, "3") for score in ("is", "fid") for loss in ("hinge", "lsgan")
    ]
    assert float(rows[2]["mean"]) == np.mean(FID["hinge"])
    markdown = run("compare", sweep, "--markdown").out
    assert "| loss | seeds | is ↑ | fid ↓ |" in markdown
    assert "| hinge | 3 | 3.0 ± 2.5 | **11.2 ± 3.1** |" in markdown
    (line,) = [line for line in markdown.splitlines() if line.startswith("| lsgan") and "worse" in line]
    assert re.fullmatch(
        r"\| lsgan \| 3 \| -1.5 ± 3.7 \(not decided; about \d+ more seeds would\) \| \+10.0 ± 1.2 \(worse\) \|", line
    )
    latex = run("compare", sweep, "--latex").out
    assert r"hinge & 3 & $3.0 \pm 2.5$ & \textbf{\boldmath $11.2 \pm 3.1$} \\" in latex
    assert latex.count(r"\begin{tabular}{lrrr}") + latex.count(r"\begin{tabular}{llrr}") == 2
    assert latex.count(r"\toprule") == latex.count(r"\bottomrule") == 2


HOSTILE = ["a_b & c% $x$ #1 {z} ~^ \\end{tabular}", "[r1]*", "a|b\nc", "<i>&amp;`*_", "=1+1"]


@pytest.mark.parametrize("words", HOSTILE)
def test_latex_and_markdown_set_any_text_as_it_stands(words: str) -> None:
    """Undone by rules written anew, what is escaped is what was there, in one line, and no special character is left bare."""
    once = " ".join(words.split())
    made = paper_table.latex(words)
    names = {"textbackslash": "\\", "textasciicircum": "^", "textasciitilde": "~", "textless": "<", "textgreater": ">"}
    names["textbar"] = "|"
    undone, bare, place = "", made, 0
    while place < len(made):
        word = re.compile(r"\\(text\w+)\{\}|\\([{}$&#%_])|\{([\[\]*])\}|([^\\{}$&#%_^~<>|\[\]*])").match(made, place)
        assert word, f"{made[place:]} would be a command"
        undone += names[word[1]] if word[1] else word[2] or word[3] or word[4]
        place = word.end()
    assert (undone, "\n" in bare) == (once, False)
    cell = paper_table._markdown(words)
    assert re.sub(r"\\([\\`*_\[\]<>|&~$])", r"\1", cell) == once
    assert not re.search(r"(?<!\\)(\\\\)*[|<`]", re.sub(r"\\\\", "", cell)) or words.count("\\")


@pytest.mark.parametrize(
    ("mean", "half", "shown"),
    [
        (12.9374, 0.3149, "12.94 ± 0.31"),
        (1234.56, 21.4, "1235 ± 21"),
        (1234.56, 214.0, "1235 ± 214"),
        (0.00012345, 0.0000021, "0.0001234 ± 0.0000021"),
        (1.5e-12, 2e-13, "1.5e-12 ± 2e-13"),
        (-0.5, None, "-0.5"),
        (5.0, 0.0, "5"),
    ],
)
def test_a_mean_is_rounded_to_the_second_digit_of_its_interval(mean: float, half: float | None, shown: str) -> None:
    assert paper_table.rounded(Estimate(mean, half, 3), "±") == shown


def test_powers_of_ten_are_set_as_such_in_latex() -> None:
    assert paper_table.latex_number(r"1.2e-05 \pm 2.1e+02") == r"$1.2\times 10^{-5} \pm 2.1\times 10^{2}$"


def test_parents_sweeps_patterns_checkpoints_and_runs_are_meant_alike_and_each_run_once(sweep: Path) -> None:
    everything = gather.gather([str(sweep)]).targets
    assert len(everything) == 6
    for words in (["outputs"], ["."], ["outputs/s/*"], ["outputs/**/run.json", "outputs"], [*map(str, everything), "outputs/s"]):
        if words[0].endswith("json"):
            with pytest.raises(BadInput, match="fits this pattern"):
                gather.gather(words)
            continue
        assert sorted(path.resolve() for path in gather.gather(words).targets) == sorted(path.resolve() for path in everything)
    (Path("outputs/.sweep/s")).mkdir(parents=True)
    assert len(gather.gather(["outputs/.sweep/s"]).targets) == 6
    assert [path.name for path in gather.gather(["outputs/s/*hinge*"]).targets] == ["hinge-0", "hinge-1", "hinge-2"]


def test_all_words_that_mean_no_run_are_named_at_once_with_the_nearest(sweep: Path) -> None:
    Path("empty").mkdir()
    answer = run("compare", "outputs/t", "outputs/z*", "empty", sweep)
    assert (answer.code, len(answer.lines)) == (2, 3)
    assert "outputs/t: there is no such folder" in answer.lines[0]
    assert "outputs/z*: no run folder" in answer.lines[1]
    assert answer.lines[2] == "empty: holds no run folder"
    assert "Did you mean outputs/s/hinge-0" in run("compare", "outputs/s/hinge0").err


def test_what_is_left_out_is_named_and_a_run_named_itself_is_refused(sweep: Path) -> None:
    (sweep / "hinge-0" / "config.yaml").write_text("seed: [")
    (sweep / "hinge-1" / "scores.jsonl").unlink()
    make(sweep / "old.aside-1", scores={"fid": 1.0}, loss={"name": "hinge"})
    make(sweep / "behind", scores={"fid": 1.0}, step=5, loss={"name": "lsgan"}, seed=7)
    found = comparing.compared(["outputs"])
    assert [sorted(entry.target.name for entry in entries) for entries in found.settings] == [
        ["lsgan-0", "lsgan-1", "lsgan-2"],
        ["hinge-2"],
    ]
    said = "\n".join(found.notes)
    for words in (
        "hinge-0/config.yaml: ",
        "hinge-1: no scores yet",
        "behind: scored last at an earlier step than step 10",
        "aside-1",
    ):
        assert words in said
    with pytest.raises(BadInput, match=r"config\.yaml"):
        comparing.compared(["outputs", str(sweep / "hinge-0")])


def test_copies_of_a_run_count_once_and_two_that_differ_are_refused(sweep: Path) -> None:
    make(Path("outputs/copy"), scores={"is": 2.0, "fid": 10.0}, loss={"name": "hinge"})
    found = comparing.compared(["outputs/s", "outputs/copy"])
    assert [len(entries) for entries in found.settings] == [3, 3]
    assert any("outputs/copy: the same run as outputs/s/hinge-0" in note for note in found.notes)
    make(Path("outputs/other"), scores={"is": 2.0, "fid": 99.0}, loss={"name": "hinge"})
    with pytest.raises(BadInput, match=r"hinge-0 and outputs/other: are of one setting and seed=0"):
        comparing.compared(["outputs/s", "outputs/other"])


def test_scores_of_unlike_cards_stand_apart_and_the_newest_of_each_counts(sweep: Path) -> None:
    add(sweep / "hinge-0", {"fid": 5.0}, card={**CARD, "samples": 900})
    add(sweep / "hinge-0", {"fid": 6.0}, card={**CARD, "samples": 900})
    add(sweep / "hinge-2", {"fid": 13.0}, card={**CARD, "seed": 5})  # other samples, and no other card
    add(sweep / "hinge-2", {"fid": 12.5})
    found = comparing.compared([str(sweep)])
    assert list(found.columns) == ["is", "fid (card 1)", "fid (card 2)"]
    held = [found.columns[name].values["loss=hinge"] for name in ("fid (card 1)", "fid (card 2)")]
    assert held == [{0: 10.0, 1: 11.0, 2: 12.5}, {0: 6.0}]
    assert any("samples=100" in note and "samples=900" in note for note in found.notes)


def test_the_reference_may_be_a_number_or_a_run_and_another_is_refused(sweep: Path) -> None:
    assert (
        comparing.compared([str(sweep)], "2").reference == comparing.compared([str(sweep)], str(sweep / "lsgan-1")).reference == 1
    )
    with pytest.raises(BadInput, match="2 settings"):
        comparing.compared([str(sweep)], "3")


def test_only_the_scores_named_are_compared_and_judged(sweep: Path) -> None:
    found = comparing.compared([str(sweep)], scores=["fid"])
    assert (list(found.columns), found.judged) == (["fid"], 1)
    answer = run("compare", sweep, "--score", "fdi", "--score", "kid")
    assert (answer.code, len(answer.lines)) == (2, 2)
    assert "--score fdi: no run has it. Did you mean 'fid'?" in answer.err


def test_equal_values_are_no_reason_to_run_more_seeds(sweep: Path) -> None:
    for folder in sorted(sweep.iterdir()):
        add(folder, {"modes": 8.0})
    assert compare.verdict(comparing.compared([str(sweep)]).differences["modes"]["loss=lsgan"], True) == (
        "not decided: no difference at all"
    )


@pytest.mark.parametrize("kind", paper_figure.KINDS)
def test_the_figure_is_of_its_kind_shows_all_and_is_the_same_twice(sweep: Path, kind: str) -> None:
    files = [Path(f"{name}.{kind}") for name in ("one", "two")]
    for file in files:
        assert run("compare", sweep, "--figure", file).code == 0
    data = files[0].read_bytes()
    assert data == files[1].read_bytes()
    assert data.startswith({"pdf": b"%PDF", "png": b"\x89PNG", "svg": b"<?xml"}[kind])
    if kind == "svg":
        shown = re.findall(r">\s*([^<>]+?)\s*<", data.decode())
        for words in (
            "loss=hinge",
            "loss=lsgan",
            "fid (lower is better)",
            "is (higher is better)",
            "a seed",
            "2 settings at step 10",
        ):
            assert words in shown


def test_another_kind_of_figure_and_two_formats_are_refused_before_anything_is_read(sweep: Path) -> None:
    assert "its ending must be .pdf, .png or .svg" in run("compare", "nowhere", "--figure", "x.pgn").err
    assert run("compare", sweep, "--csv", "--json").err.strip() == "--csv --json: one of them at a time"


def test_comparing_imports_no_torch(sweep: Path) -> None:
    code = "import sys; from ganrun.cli import app; sys.argv = ['ganrun', 'compare', 'outputs', '--figure', 'f.svg']\n"
    code += "try: app.main()\nfinally: print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "False"


def test_what_the_source_declares_of_a_metric_is_what_the_metric_says() -> None:
    for name in sorted(path.stem for path in (Path(__file__).parent.parent / "conf" / "metric").glob("*.yaml")):
        if name == "none":
            continue
        said, made = declared.directions(name), registry.build("metric", {"name": name}).directions
        assert {key: said[key] for key in made} == dict(made), name
        assert next(iter(said)).partition("_")[0] == next(iter(made)).partition("_")[0]
