"""``ganrun doctor``: words, JSON, exit codes, and what can still be said of a damaged folder."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import compose_config
from test_doctor_diseases import SICK, rows
from typer.testing import CliRunner

from ganrun.cli.app import app


def make(folder: Path, *parts: tuple[int, dict[str, Any]], overrides: tuple[str, ...] = (), **facts: Any) -> Path:
    """A run folder that was never trained, with looks."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(compose_config(*overrides)))), encoding="utf-8")
    looks = rows(*parts)
    (folder / "signs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in looks), encoding="utf-8")
    step = looks[-1]["step"] if looks else 0
    (folder / "run.json").write_text(json.dumps({"status": "done", "step": step, **facts}), encoding="utf-8")
    for kept in (100, 300, 500):
        (folder / "checkpoints" / f"step_{kept:08d}.pt").touch()
    return folder


def ask(*words: object, width: int = 80) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["doctor", *map(str, words)], env={"COLUMNS": str(width)})
    return done.exit_code, done.output


def test_a_finding_has_its_evidence_onset_consequences_remedies_and_code_7(tmp_path: Path) -> None:
    run = make(tmp_path / "run", (6, {}), (10, {**SICK["weak_discriminator"], "starved": 0.5}))
    code, said = ask(run)
    assert code == 7
    flat = " ".join(said.split())
    assert (
        "doctor: the discriminator is too weak: it does not tell real from fake, since step 350 (after 300), named at 450" in flat
    )
    assert "it ranks 10 % of real-fake pairs rightly (half is guessing)" in flat
    assert "held in 10 of 10 looks since" in flat
    assert "with it" in said
    assert "mode dropping" in said
    assert "not known" in said
    (first, *_) = [line.split("try", 1)[1].strip() for line in said.splitlines() if line.strip().startswith("try")]
    words = shlex.split(first)
    assert "fork=true" in words
    assert any(word.startswith("resume=") and word.endswith("step_00000300.pt") for word in words)  # from before the onset


def test_a_remedy_that_adds_to_the_regularizers_keeps_the_values_of_those_that_are_there(tmp_path: Path) -> None:
    held = ("regularizer=[lecam,dragan]", "regularizer.dragan.weight=3", "regularizer.lecam.weight=0.02")
    run = make(tmp_path / "run", (6, {}), (10, SICK["collapse"]), overrides=held)
    _, said = ask("--json", run)
    (finding,) = [entry for entry in json.loads(said)[0]["findings"] if entry["disease"] == "collapse"]
    (remedy,) = [entry for entry in finding["remedies"] if any("r1" in word for word in entry["overrides"])]
    assert remedy["overrides"] == ["regularizer=[dragan,lecam,r1]", "regularizer.dragan.weight=3", "regularizer.lecam.weight=0.02"]
    assert "regularizer.dragan.weight=3" in remedy["command"]
    config = compose_config(*remedy["overrides"])  # it composes, and the values are those of the run
    assert {name: entry["weight"] for name, entry in config["regularizer"].items()} == {"dragan": 3, "lecam": 0.02, "r1": 10.0}


def test_nothing_found_is_never_called_healthy_and_says_what_was_silent(tmp_path: Path) -> None:
    run = make(tmp_path / "run", (12, {}))
    kept = [
        {key: value for key, value in json.loads(line).items() if key != "auc_held_out"} for line in (run / "signs.jsonl").open()
    ]
    (run / "signs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept))
    code, said = ask(run)
    assert code == 0
    assert "nothing found that stands" in said
    assert "healthy" not in said.lower()
    assert "overfit (no look has auc_held_out)" in " ".join(said.split())


def test_what_is_over_and_what_is_to_watch_is_said(tmp_path: Path) -> None:
    run = make(tmp_path / "run", (5, {}), (5, SICK["collapse"]), (8, {}), (1, SICK["dead_output"]))
    code, said = ask(run)
    flat = " ".join(said.split())
    assert code == 0
    assert "over since step 600: mode collapse" in flat
    assert "to watch, not yet persistent: the generator's output is dead" in flat


def test_json_holds_everything_and_a_checkpoint_the_looks_up_to_it(tmp_path: Path) -> None:
    run = make(tmp_path / "run", (6, {}), (10, SICK["collapse"]))
    code, said = ask("--json", run)
    (case,) = json.loads(said)
    assert code == 7
    assert case["looks"] == 16
    (finding,) = [entry for entry in case["findings"] if entry["explained_by"] is None]
    assert finding["disease"] == "collapse"
    assert finding["thresholds"] == {"spread": 0.15}
    assert finding["evidence"]["values"] == {"spread": 0.03}
    assert all(set(entry) >= {"overrides", "why", "record", "fork", "command"} for entry in finding["remedies"])
    code, said = ask("--json", run / "checkpoints" / "step_00000300.pt")
    assert code == 0
    assert json.loads(said)[0]["looks"] == 6


def test_several_runs_end_with_a_table(tmp_path: Path) -> None:
    sick = make(tmp_path / "sick", (6, {}), (10, SICK["collapse"]))
    well = make(tmp_path / "well", (12, {}))
    code, said = ask(sick, well, width=200)
    assert code == 7
    assert "collapse since 350" in said
    assert "nothing" in said


def test_a_run_that_diverged_stands(tmp_path: Path) -> None:
    code, said = ask(make(tmp_path / "run", (12, {}), status="diverged"))
    assert code == 7
    assert "NaN or Inf" in said


@pytest.mark.parametrize(
    ("spoil", "words", "wanted"),
    [
        (lambda run: (run / "signs.jsonl").unlink(), "no look was taken", 0),
        (lambda run: (run / "signs.jsonl").open("a").write('{"step": 4\n'), "1 of 13 rows", 0),
        (lambda run: (run / "run.json").write_text("{"), "is damaged", 0),
        (lambda run: (run / "config.yaml").unlink(), "The looks alone are judged", 0),
    ],
    ids=["no looks", "a torn row", "run.json", "no config"],
)
def test_a_damaged_folder_gets_one_sentence_and_what_can_still_be_said(
    tmp_path: Path, spoil: Any, words: str, wanted: int
) -> None:
    run = make(tmp_path / "run", (12, {}))
    spoil(run)
    code, said = ask(run)
    assert code == wanted
    assert words in " ".join(said.split())
    assert "Traceback" not in said


def test_a_folder_that_is_none_is_said(tmp_path: Path) -> None:
    code, said = ask(tmp_path / "gone")
    assert code == 2
    assert "there is no such run folder" in said


def test_a_run_of_before_there_were_diseases_is_read_with_all_of_them(tmp_path: Path) -> None:
    run = make(tmp_path / "run", (6, {}), (10, SICK["collapse"]))
    config = yaml.safe_load((run / "config.yaml").read_text())
    del config["disease"], config["doctor"]
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert ask(run)[0] == 7


def test_thresholds_are_those_of_the_run(tmp_path: Path) -> None:
    run = make(tmp_path / "run", (6, {}), (10, {"spread": 0.1}), overrides=("disease.collapse.spread=0.05",))
    assert ask(run)[0] == 0
