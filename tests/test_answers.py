"""Scores are those of the question: metrics, options, samples, extractor, reference, seed, average, checkpoint, baselines."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import driver
import pytest

import ganrun
from ganrun.cli import diagnosis
from ganrun.cli.listing import show_runs
from ganrun.disk import runs
from ganrun.disk.rows import Rows
from ganrun.engine import assemble
from ganrun.engine import run as engine
from ganrun.engine.answers import Question, find
from ganrun.engine.compare import Entry
from ganrun.engine.score_runs import scores_of
from ganrun.ground import registry
from ganrun.ground.errors import BadInput
from ganrun.ground.objective import Objective, Outcome, choose

CARD = {
    "metric": "fid",
    "samples": 60,
    "seed": 0,
    "average": True,
    "reference": {"fingerprint": "f", "split": "train"},
    "extractor": {"name": "classifier", "weights_sha256": "aa"},
    "versions": {"torch": "2.0"},
}


def row(step: int = 2, value: float = 1.0, metric: str = "fid", baselines: bool = False, **card: Any) -> dict[str, Any]:
    entries = {metric: {"value": value, "card": {**copy.deepcopy(CARD), "metric": metric, **card}}}
    return {"step": step, "scores": entries, **({"baselines": {"held_out": entries, "noise": entries}} if baselines else {})}


def asked(metric: str = "fid", baselines: bool | None = False, **card: Any) -> Question:
    return Question({metric: {**copy.deepcopy(CARD), "metric": metric, **card}}, baselines)


# ---------------------------------------------------------------- rows


@pytest.mark.parametrize(
    "other",
    [
        {"samples": 61},
        {"seed": 1},
        {"average": False},
        {"reference": {"fingerprint": "f", "split": "held_out"}},
        {"reference": {"fingerprint": "other", "split": "train"}},
        {"extractor": {"name": "classifier", "weights_sha256": "bb"}},
        {"subset_size": 10},
    ],
)
def test_a_row_answers_only_its_own_question(other: dict[str, Any]) -> None:
    assert find([row(**other)], 2, asked()).missing == (["fid"] if "subset_size" not in other else [])
    assert find([row()], 2, asked(**other)).missing == ["fid"]
    assert find([row(**other)], 2, asked(**other)).missing == []


def test_the_newest_answer_of_the_step_counts_and_no_other_step() -> None:
    rows = [row(value=1.0), row(value=2.0), row(value=3.0, samples=9), row(step=1, value=4.0), row(step=3, value=5.0)]
    assert find(rows, 2, asked()).scores["fid"]["value"] == 2.0
    assert find(rows, 4, asked()).missing == ["fid"]


def test_answers_of_several_rows_are_put_together_in_the_order_asked() -> None:
    rows = [row(value=1.0), row(value=2.0, metric="kid")]
    question = Question({**asked("kid").cards, **asked("is").cards, **asked("fid").cards})
    found = find(rows, 2, question)
    assert (list(found.scores), found.missing) == (["kid", "fid"], ["is"])
    whole = found.with_row(row(value=3.0, metric="is"), question)
    assert {name: entry["value"] for name, entry in whole.scores.items()} == {"kid": 2.0, "is": 3.0, "fid": 1.0}
    assert list(whole.scores) == ["kid", "is", "fid"]


def test_baselines_are_part_of_the_question_and_shown_only_where_asked_for() -> None:
    plain, full = row(value=1.0), row(value=2.0, baselines=True)
    assert find([plain], 2, asked(baselines=True)).missing == ["fid"]
    assert set(find([full, plain], 2, asked(baselines=True)).baselines) == {"held_out", "noise"}
    assert find([full], 2, asked()).baselines == {}
    assert find([plain], 2, asked(baselines=None)).missing == []  # asked for neither way: shown where they are
    assert set(find([full], 2, asked(baselines=None)).baselines) == {"held_out", "noise"}
    assert find([{**plain, "baselines": 3}], 2, asked(baselines=True)).missing == ["fid"]


def test_a_failed_entry_answers_nothing_and_versions_only_where_they_are_asked_for() -> None:
    failed = row()
    failed["scores"]["fid"] |= {"value": None, "failed": True}
    assert find([failed], 2, asked()).missing == ["fid"]
    newer = asked(versions={"torch": "3.0"})
    assert find([row()], 2, newer).missing == []
    assert find([row()], 2, newer, strict=True).missing == ["fid"]


# ---------------------------------------------------------------- the objective

DIRECTIONS = {"is": {"is": True}, "precision_recall": {"precision": True, "recall": True}, "kid": {"kid": False, "kid_std": None}}


def test_the_objective_is_the_first_value_of_the_first_metric_or_the_one_that_is_named() -> None:
    assert choose(None, DIRECTIONS) == Objective("is", "is", True)
    assert choose(None, dict(reversed(DIRECTIONS.items()))) == Objective("kid", "kid", False)
    assert choose("recall", DIRECTIONS) == Objective("recall", "precision_recall", True)
    assert choose("precision_recall", DIRECTIONS) == Objective("precision", "precision_recall", True)
    assert choose(None, {}) is None
    assert choose(None, DIRECTIONS, {"is": "no logits"}) == Objective("precision", "precision_recall", True)


@pytest.mark.parametrize(
    ("name", "metrics", "lacking", "why"),
    [
        ("rcall", DIRECTIONS, {}, "objective=rcall: is no value of metric=.*Did you mean 'recall'"),
        ("kid_std", DIRECTIONS, {}, "objective=kid_std: neither more nor less of it is better.*kid"),
        ("fid", {}, {}, "objective=fid: nothing is scored with metric=none"),
        ("is", DIRECTIONS, {"is": "no logits"}, "objective=is: will have no value: no logits"),
    ],
)
def test_an_objective_that_cannot_be_is_refused(name: str, metrics: Any, lacking: Any, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        choose(name, metrics, lacking)


def test_sweepers_minimise_and_the_line_says_the_direction() -> None:
    more, less = Outcome(Objective("is", "is", True), 8.5, 7), Outcome(Objective("fid", "fid", False), 12.3, 7)
    assert (more.to_minimise, less.to_minimise) == (-8.5, 12.3)
    assert str(more) == "objective is 8.5 at step 7, higher is better"
    assert str(less) == "objective fid 12.3 at step 7, lower is better"
    none = Outcome(Objective("is", "is", True), None, 7, "no logits")
    assert (none.to_minimise, str(none)) == (None, "objective is has no value at step 7 (no logits)")
    assert str(Outcome(Objective("is", "is", True), 0.0, 1).to_minimise) == "0.0"


@pytest.mark.parametrize("name", registry.names("metric"))
def test_every_metric_says_the_direction_of_its_first_value(name: str) -> None:
    metric = registry.build("metric", {"name": name})
    assert next(iter(metric.directions.values())) is metric.higher_is_better
    assert isinstance(metric.higher_is_better, bool)


# ---------------------------------------------------------------- whole runs

WORDS = [
    "dataset=ring8",
    "dataset.num=500",
    "steps=2",
    "every.sample=0",
    "model.generator.width=8",
    "device.threads=1",
    "device=cpu",
]
WORDS += ["model.discriminator.width=8", "evaluation.num=60"]


@pytest.fixture
def train(tmp_path: Path, compose, capsys):
    """``train(["modes"], num=70)`` runs the same run with other neutral keys; what it said, and its outcome."""
    base = compose(*WORDS)

    def call(
        metrics: list[str],
        *,
        every: int = 0,
        sweep: bool = False,
        objective: str | None = None,
        steps: int = 2,
        looks: int = 0,
        **evaluation: Any,
    ):
        chosen = {name: {"name": name} for name in metrics}
        config = {**base, "metric": chosen, "evaluation": {**base["evaluation"], **evaluation}, "objective": objective}
        config |= {"every": {**base["every"], "eval": every}, "steps": steps}
        config |= {"doctor": {**base["doctor"], "every": looks}} if looks else {}
        outcome = engine.train(config, tmp_path / "run", overrides=[], sweep=sweep)
        return capsys.readouterr().err, outcome

    return call


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "run" / "scores.jsonl").read_text().splitlines()]


def names(row: dict[str, Any]) -> set[str]:
    return {entry["card"]["metric"] for entry in row["scores"].values()}


def test_a_finished_run_scores_what_is_asked_for_and_only_that(train, tmp_path: Path) -> None:
    assert "scores at" not in train([])[0]
    said, _ = train(["modes", "log_density"])
    assert all(word in said for word in ("scores at step 2", "log_density", "high_quality"))
    assert [names(row) for row in rows(tmp_path)] == [{"modes", "log_density"}]

    said, _ = train(["spectra", "modes"])  # one is there already
    assert [word in said for word in ("spectra", "high_quality", "log_density")] == [True, True, False]
    assert [names(row) for row in rows(tmp_path)][1:] == [{"spectra"}]

    for other in ({"num": 70}, {"average": False}, {"seed": 3}):
        train(["modes"], **other)
    found = rows(tmp_path)[2:]
    assert [names(row) for row in found] == [{"modes"}] * 3
    assert [row["scores"]["modes"]["card"]["samples"] for row in found] == [70, 60, 60]
    train(["log_density", "modes"])  # and nothing is scored twice
    assert len(rows(tmp_path)) == 5
    said, _ = train(["modes"], baselines=True)
    assert "noise" in said
    assert set(rows(tmp_path)[-1]["baselines"]) == {"held_out", "noise"}


def test_the_objective_of_a_finished_run_is_the_one_that_is_asked_for(train, tmp_path: Path) -> None:
    _, outcome = train(["modes", "log_density"], sweep=True)
    values = {name: entry["value"] for name, entry in rows(tmp_path)[0]["scores"].items()}
    assert (outcome.objective.name, outcome.value) == ("high_quality", values["high_quality"])
    _, outcome = train(["log_density", "modes"], sweep=True)
    assert (outcome.objective.name, outcome.to_minimise) == ("log_density", -values["log_density"])
    _, outcome = train(["spectra"], sweep=True)  # a newer row of another metric
    assert outcome.objective.name == "spectra"
    _, outcome = train(["modes", "log_density"], objective="reverse_kl", sweep=True)
    assert str(outcome) == f"objective reverse_kl {values['reverse_kl']:.6g} at step 2, lower is better"
    assert len(rows(tmp_path)) == 2
    with pytest.raises(BadInput, match="objective=fid: is no value of metric=modes"):
        train(["modes"], objective="fid")


def test_a_shorter_run_is_part_of_the_longer_one_and_is_answered_for(train, tmp_path: Path) -> None:
    train(["modes"])
    train(["modes"], steps=3)
    folder, before = tmp_path / "run", rows(tmp_path)
    written = {name: (folder / name).read_bytes() for name in ("config.yaml", "metrics.jsonl")}
    said, outcome = train(["modes"])  # by its row
    assert "already done" in said
    assert "which has gone on to step 3" in said
    assert (outcome.step, outcome.value) == (2, before[0]["scores"]["high_quality"]["value"])
    assert rows(tmp_path) == before
    said, _ = train(["spectra"])  # by its checkpoint
    assert "scores at step 2" in said
    assert f"ganrun sample {folder}/checkpoints/step_00000002.pt" in " ".join(said.replace("│", "").split())
    assert [row["step"] for row in rows(tmp_path)] == [2, 3, 2]
    with pytest.raises(BadInput, match=r"steps=1: .* already at step 3, .* so modes cannot be scored there. Type steps=3"):
        train(["modes"], steps=1)
    assert {name: (folder / name).read_bytes() for name in written} == written
    facts = json.loads((folder / "run.json").read_text())
    assert (facts["status"], facts["step"], facts["budget"]["steps"]) == ("done", 3, 3)
    _, outcome = train(["spectra"], steps=3)
    assert outcome.step == 3


def test_a_finish_that_was_cut_short_scores_again_and_takes_no_row_of_another_step(train, tmp_path: Path) -> None:
    train(["modes"], every=1)
    path = tmp_path / "run" / "scores.jsonl"
    lines = path.read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2]
    facts = json.loads((path.parent / "run.json").read_text())
    (path.parent / "run.json").write_text(json.dumps({**facts, "status": "running"}))
    path.write_text(lines[0] + "\n" + lines[1][:40])  # killed while it wrote
    train(["modes"], every=1)
    again = rows(tmp_path)
    assert [row["step"] for row in again] == [1, 2]
    assert again[1]["scores"] == json.loads(lines[1])["scores"]


def of_another_run(path: Path) -> None:
    """Put the rows of another run, whose folder has another identity, in the place of a file's own."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.unlink()
    for line in lines:
        for entry in line.get("scores", {}).values():
            entry["value"] = 77.0
        Rows(path, "scores" if "scores" in line else None, "f" * 64).append(line)


def test_rows_that_were_copied_from_another_run_are_no_answers(train, tmp_path: Path) -> None:
    train(["modes"], looks=1)
    run, (own,) = tmp_path / "run", rows(tmp_path)
    digits = driver.facts(run)["identity"][:10]
    readers = {"metrics": ganrun.read_metrics, "scores": ganrun.read_scores, "signs": ganrun.read_signs}
    for name, read in readers.items():
        path = run / f"{name}.jsonl"
        assert {json.loads(line)["run_id"] for line in path.open()} == {digits}
        assert read(run)
        assert not {"run_id", "checksum"} & {key for row in read(run) for key in row}
        of_another_run(path)
        with pytest.warns(UserWarning, match=rf"(\d) of \1 rows of .*{name}.jsonl are of another run"):
            assert read(run) == []
    (record,) = ganrun.runs(tmp_path)
    assert "1 of 1 rows of" in record["remarks"]
    assert not [key for key in record if key.startswith("scores.")]
    assert "signs.jsonl are of another run" in " ".join(diagnosis.read(run).remarks)
    listed = " ".join(" ".join(show_runs(tmp_path, 80)).split())
    assert "scores.jsonl are of another run, as their run_id says, and left out" in listed
    assert "77" not in listed.replace(str(tmp_path), "")

    said, outcome = train(["modes"], looks=1)
    for name in readers:
        assert f"{name}.jsonl are of another run" in said
        assert (run / f"{name}.jsonl.damaged-1").exists()
    assert outcome.value == own["scores"]["high_quality"]["value"]
    assert [row["scores"] for row in rows(tmp_path)] == [own["scores"]]


def test_eval_and_a_shorter_run_say_that_rows_are_of_another_run(train, tmp_path: Path) -> None:
    train(["modes"])
    train(["modes"], steps=3)
    run, said = tmp_path / "run", []
    of_another_run(run / "scores.jsonl")
    assert "2 of 2 rows of" in train(["modes"])[0]  # answered by the checkpoint of step 2
    assert [row["scores"]["high_quality"]["value"] == 77 for row in rows(tmp_path)] == [True, True, False]
    config = {**runs.read_config(run), "metric": {"modes": {"name": "modes"}}}
    found = scores_of(Entry(run, config, 0), tmp_path / "mine.jsonl", said.append)
    assert found["high_quality"]["value"] != 77
    assert "2 of 3 rows of" in said[0]
    (row,) = map(json.loads, (tmp_path / "mine.jsonl").open())
    assert (row["run"], row["run_id"]) == (str(run), driver.facts(run)["identity"][:10])
    shutil.copy(tmp_path / "mine.jsonl", run / "scores.jsonl")  # they are this run's
    assert Rows(run / "scores.jsonl", "scores", driver.facts(run)["identity"]).remarks() == []


def test_a_score_that_was_changed_by_hand_is_no_answer(train, tmp_path: Path) -> None:
    train(["modes"])
    path = tmp_path / "run" / "scores.jsonl"
    own = json.loads(path.read_text())
    for change in ({"value": 1.0}, {"card": {**own["scores"]["high_quality"]["card"], "samples": 70}}):
        entry = {**own["scores"]["high_quality"], **change}
        path.write_text(json.dumps({**own, "scores": {**own["scores"], "high_quality": entry}}) + "\n")
        said, _ = train(["modes"])
        assert "1 of 1 rows of" in said
        assert "scores.jsonl were changed after they were written" in said
        assert [row["scores"] for row in rows(tmp_path)] == [own["scores"]]
    del own["run_id"], own["checksum"]  # as versions before the keys wrote it
    path.write_text(json.dumps(own) + "\n")
    assert "rows of" not in train(["modes"])[0]
    assert rows(tmp_path) == [own]


def test_metrics_keep_the_order_in_which_they_are_typed(compose) -> None:
    for typed in (["kid", "is"], ["is", "kid"], ["fid", "is", "kid"]):
        config = compose(f"metric=[{','.join(typed)}]", "metric.is.splits=1")
        assert list(assemble.build(config).metrics) == typed


def test_the_default_objective_in_the_plane_tells_runs_apart(compose) -> None:
    for name in ("ring8", "grid25", "swiss_roll", "two_gaussians", "parallel_lines", "gauss1200"):
        chosen = compose(f"dataset={name}")["metric"]
        directions = {key: registry.build("metric", options).directions for key, options in chosen.items()}
        found = choose(None, directions)
        assert getattr(found, "name", None) in ("wasserstein", "high_quality"), name
