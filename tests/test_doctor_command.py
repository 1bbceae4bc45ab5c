"""``ganrun doctor``: words, JSON, exit codes, and what can still be said of a damaged folder."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import driver
import pytest
import yaml
from conftest import compose_config
from test_doctor_diseases import SICK, rows
from typer.testing import CliRunner

from ganrun.cli import trial
from ganrun.cli.app import app
from ganrun.ground.finding import Remedy


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
    assert remedy["overrides"] == [
        "regularizer=[dragan,lecam,r1]",
        "regularizer.dragan.weight=3",
        "regularizer.lecam.weight=0.02",
    ]
    assert "regularizer.dragan.weight=3" in remedy["command"]
    # what an experiment left of a regularizer that was replaced is none of the run's
    other = make(tmp_path / "other", (6, {}), (10, SICK["collapse"]), overrides=("experiment=digits", "regularizer=[lecam]"))
    (finding,) = [entry for entry in json.loads(ask("--json", other)[1])[0]["findings"] if entry["disease"] == "collapse"]
    assert ["regularizer=[lecam,r1]"] in [entry["overrides"] for entry in finding["remedies"]]
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


def trained(folder: Path, *words: str) -> Path:
    """A run that calls itself collapsed from its fourth look on."""
    named = ("doctor.every=1", "doctor.samples=16", "disease=[collapse]", "disease.collapse.spread=100", "device.threads=1")
    done = driver.train(driver.config("points", *named, "every.checkpoint=1", "steps=8", "regularizer=none", *words), folder)
    assert done.code == 0, done.said
    return folder


def test_try_compares_forks_of_one_checkpoint_that_differ_in_the_remedy_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make(tmp_path / "run", (6, {}), (10, SICK["collapse"]))
    lines: list[list[str]] = []
    monkeypatch.setattr(trial, "_folder", lambda line: tmp_path / f"fork-{'r1' in ' '.join(line)}")

    def train(command: Any) -> None:
        lines.append(command.overrides)
        sys.stderr.write("a panel of the fork's own")
        helped = any("r1" in word for word in command.overrides)
        make(tmp_path / f"fork-{helped}", (6, {}), (6, {} if helped else {**SICK["collapse"], "gap": 0.4}))

    monkeypatch.setattr(trial.launch, "train", train)
    code, said = ask(run, "--try", "device.threads=1")
    assert code == 7
    unchanged, remedy = lines
    assert remedy == [*unchanged, "regularizer=[r1]"]
    assert {"fork=true", "name=collapse-300-600", "steps=600", "doctor.every=15", "device.threads=1"} <= set(unchanged)
    assert any(word.startswith("resume=") and "step_00000300.pt" in word for word in unchanged)
    flat = " ".join(said.split())
    assert "tried against collapse: forks of 300 steps from step 300" in flat
    assert "unchanged gap 0.4; done; batch_statistics, collapse" in flat
    assert "helps regularizer=[r1]: gap 0.02; done; nothing found that stands" in flat
    assert "one pair, on one seed" in flat
    assert "doctor: fork 1 of 2: unchanged doctor: fork 2 of 2: regularizer=[r1]" in flat
    assert "a panel" not in said
    assert "collapse: not tried, since it needs a new run: pack=2" in flat


@pytest.mark.long
def test_try_forks_from_before_the_onset_with_remedies_and_without_and_compares(tmp_path: Path) -> None:
    run = trained(tmp_path / "run")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    code, said = ask(run, "--try", "--steps", 8, "--json", "device.threads=1")
    assert code == 7, said
    (tried,) = json.loads(said[said.index("[\n") :])[0]["trials"]
    assert (tried["disease"], tried["start"], tried["steps"], tried["outcome"]) == ("collapse", 3, 8, "gap")
    unchanged, remedy = tried["arms"]
    assert unchanged["overrides"] == []
    assert any(word.startswith("regularizer=[") for word in remedy["overrides"])
    assert tried["remarks"] == ["not tried, since it needs a new run: pack=2"]
    for arm in tried["arms"]:
        facts = driver.facts(Path(arm["run"]))
        assert (facts["status"], facts["step"], facts["parent"]["step"]) == ("done", 11, 3)
        gaps = [json.loads(line)["gap"] for line in (Path(arm["run"]) / "signs.jsonl").open()]
        assert arm["value"] == sorted(gaps[-3:])[1]
        assert Path(arm["run"]).is_relative_to(tmp_path / "run-try")
    assert remedy["verdict"] in ("better", "worse", "no better")  # the condition holds whatever the samples are
    # the fork unchanged is the run itself: the same data, the same noise, the same bits
    rows = [
        {json.loads(line)["step"]: json.loads(line) for line in (path / "metrics.jsonl").open()}
        for path in (run, Path(unchanged["run"]))
    ]
    assert {key: value for key, value in rows[0][8].items() if key != "time"}.items() <= rows[1][8].items() or 8 not in rows[1]
    assert all(path.read_bytes() == content for path, content in before.items())  # the run is as it was
    again = ask(run, "--try", "--steps", 8, "device.threads=1")[1]
    assert again.count("already done") == 2
    assert "one pair, on one seed" in " ".join(again.split())


def test_looks_at_checkpoints_count_from_the_first_and_are_said_to_be_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ganrun.engine import retrace

    run = make(tmp_path / "run", (1, {}))
    (run / "signs.jsonl").unlink()
    assert "--looks looks at its checkpoints" in " ".join(ask(run)[1].split())
    monkeypatch.setattr(retrace, "look_back", lambda run, config: (rows((3, SICK["collapse"])), ["no look at step 9: torn"]))
    code, said = ask(run, "--looks", "device.threads=1")
    flat = " ".join(said.split())
    assert code == 7
    assert "3 looks, each one step after a checkpoint that is kept" in flat
    assert "no look at step 9: torn" in flat
    assert "mode collapse: the samples are nearly one and the same, since step 50" in flat
    monkeypatch.setattr(retrace, "look_back", lambda run, config: (rows((2, SICK["collapse"])), []))
    code, said = ask(run, "--looks")
    assert code == 0
    assert "to watch, not yet persistent: mode collapse" in " ".join(said.split())
    assert "2 looks: too few for persistence" in " ".join(said.split())
    monkeypatch.setattr(retrace, "look_back", lambda run, config: ([], []))
    assert "--looks: no checkpoint is kept to look at" in " ".join(ask(run, "--looks")[1].split())


@pytest.mark.parametrize("flag", ["--looks", "--deep"])
def test_where_data_or_checkpoints_are_gone_that_is_one_sentence_and_the_rest_is_said(flag: str, tmp_path: Path) -> None:
    run = make(tmp_path / "run", (6, {}), (10, SICK["collapse"]))
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["dataset"] = {"name": "folder", "root": str(tmp_path / "gone")}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    if flag == "--looks":
        (run / "signs.jsonl").unlink()
    code, said = ask(run, flag)
    flat = " ".join(said.split())
    assert f"note: {flag}: " in flat
    assert flag == "--deep" or "there is no such folder" in flat  # the empty checkpoints of this folder are noticed first
    assert code == (0 if flag == "--looks" else 7)
    assert ("no look was taken" if flag == "--looks" else "mode collapse: the samples are nearly one") in flat


def test_deep_scores_by_the_metrics_that_the_run_allows_and_says_which_it_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ganrun.cli import diagnosis
    from ganrun.engine import assemble, score_run

    run = make(tmp_path / "run", (12, {}), overrides=("dataset=ring8",))
    asked: list[Any] = []

    def evaluate(target: Path, config: Any, *, fitting: bool) -> dict[str, Any]:
        asked.append(config)
        parts = assemble.build(config)
        dataset = assemble.load_data(config, parts.family)
        said = assemble.leave_out_misfits(parts, dataset)
        assert fitting
        assert any("metric=class_modes" in sentence for sentence in said)
        assemble.verify(parts, dataset)
        return {name: {"value": 1.0} for name in parts.metrics} | {"spectra.layer": {"value": 2.0}}

    monkeypatch.setattr(score_run, "evaluate", evaluate)
    code, said = ask(run, "--deep")
    flat = " ".join(said.split())
    assert code == 0, said
    assert "deep" in flat
    assert "duality_gap 1" in flat
    assert "modes 1" in flat
    assert "spectra.layer" not in flat
    assert "class_modes" not in flat
    (config,) = asked
    assert set(config["metric"]) == set(diagnosis.DEEP)
    assert config["evaluation"]["num"] == 10_000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--from", 3, "--to", 2), "--from 3 --to 2: must be steps of the run in this order, from 1 to 600"),
        (("--to", 9999), "--from 1 --to 9999: must be steps of the run"),
        (("--sign", "ranks", "--sign", "rnk"), "--sign rnk: there is no such sign. Did you mean 'rank'"),
        (("--to", 9, "lr=3"), "lr=3: ganrun replay takes device, plugins, dataset.root"),
    ],
)
def test_a_stretch_that_is_none_is_refused(words: tuple[object, ...], message: str, tmp_path: Path) -> None:
    run = make(tmp_path / "run", (12, {}))
    done = CliRunner().invoke(app, ["replay", str(run), *map(str, words)])
    assert done.exit_code == 2
    assert message in " ".join(done.output.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--steps", 8), "--steps: goes with --try"),
        (("--try", "steps=3"), "steps=3: ganrun doctor takes device, plugins, dataset.root"),
        (("device.threads=1",), "overrides are for --try, --looks and --deep"),
        (("--try", "--steps", 0), "should be greater than or equal to 1"),
    ],
)
def test_what_cannot_be_tried_is_refused_before_anything_trains(words: tuple[object, ...], message: str, tmp_path: Path) -> None:
    run = make(tmp_path / "run", (6, {}), (10, SICK["collapse"]))
    code, said = ask(run, *words)
    assert code == 2
    assert message in " ".join(said.split())
    assert not (tmp_path / "run-try").exists()


def test_a_run_without_checkpoints_and_one_whose_rates_fall_say_what_can_be_tried(tmp_path: Path) -> None:
    bare = make(tmp_path / "bare", (6, {}), (10, SICK["collapse"]))
    for path in (bare / "checkpoints").glob("*"):
        path.unlink()
    code, said = ask(bare, "--try")
    assert code == 7
    assert "no checkpoint is kept to fork from" in " ".join(said.split())
    falling = make(
        tmp_path / "falling", (6, {}), (10, SICK["collapse"]), overrides=("optimizer.schedule.name=linear", "steps=900")
    )
    code, said = ask(falling, "--try", "--steps", 50)
    assert code == 2
    assert "the learning rate falls over the run's 900 steps, so forks from step 300 take 600" in " ".join(said.split())


def test_an_outcome_is_judged_in_its_own_direction_and_a_fork_that_diverged_is_worse() -> None:
    remedy = Remedy(("x=1",), "why")

    def verdict(base: float | None, value: float | None, *, rises: bool = False, standing: tuple[str, ...] = ()) -> str:
        made = trial.Trial("dropping", 0, 10, "gap", rises)
        arm = trial.Arm(remedy, Path(), "done", value, standing)
        made.arms.extend([trial.Arm(None, Path(), "done", base, ("dropping",)), arm])
        return made.verdict(arm)

    assert verdict(0.4, 0.1) == "helps"
    assert verdict(0.4, 0.1, standing=("dropping",)) == "better"
    assert verdict(0.4, 0.1, standing=("collapse",)) == "helps"
    assert verdict(0.4, 0.39) == "no better"
    assert verdict(0.1, 0.4) == "worse"
    assert verdict(0.1, 0.4, rises=True) == "helps"
    assert verdict(0.4, 0.1, rises=True) == "worse"
    assert verdict(0.4, None) == "worse"
    assert verdict(None, 0.4) == "helps"
    assert verdict(None, None) == "no better"


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
