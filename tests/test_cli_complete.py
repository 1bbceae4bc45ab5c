"""TAB: groups, options and keys, as bash (which splits words at ``=``) and as other shells ask for them."""

from __future__ import annotations

import shlex
from pathlib import Path

import cli_driver
import pytest
from cli_driver import CONF, finish, start, write

from ganrun.cli.complete import at, complete, files_at, folders_at, group_names, run_folders, theory_names
from ganrun.cli.schema import catalog

inside = cli_driver.inside  # fixture

LOSSES = list(catalog.files("loss", [CONF]))


@pytest.mark.parametrize(
    ("before", "incomplete", "expected"),
    [
        ([], "loss=w", ["loss=wasserstein"]),
        ([], "loss=", [f"loss={name}" for name in LOSSES]),
        (["loss", "="], "w", ["wasserstein"]),
        (["loss"], "", LOSSES),
        ([], "los", [f"loss={name}" for name in LOSSES]),
        ([], "m", ["metric=", "model="]),
        ([], "step", ["steps=2000"]),
        ([], "ever", [f"every.{key}" for key in ("checkpoint=500", "eval=0", "keep=0", "log=50", "sample=500")]),
        ([], "every.c", ["every.checkpoint=500"]),
        ([], "optimizer.l", ["optimizer.lr=2e-4"]),
        (["optimizer=rmsprop"], "optimizer.l", ["optimizer.lr=5e-5"]),
        (["optimizer", "=", "rmsprop"], "optimizer.a", ["optimizer.alpha=0.99"]),
        ([], "regularizer=[r1,spe", ["regularizer=[r1,spectral_norm", "regularizer=[r1,spectral_regularization"]),
        (["regularizer=[r1,weight_clip]"], "regularizer.w", ["regularizer.weight_clip.clip=0.01"]),
        ([], "hydra/launcher=j", ["hydra/launcher=joblib"]),
        ([], "hydra/l", ["hydra/launcher="]),
        ([], "zzz", []),
        ([], "steps=2", []),
    ],
)
def test_words_are_completed(before: list[str], incomplete: str, expected: list[str]) -> None:
    assert complete(before, incomplete) == expected


def test_a_group_alone_offers_all_its_options_and_a_name_not_chosen_twice() -> None:
    others = [name for name in catalog.files("regularizer", [CONF]) if name != "r1"]
    assert complete([], "regularizer=[r1,") == [f"regularizer=[r1,{name}" for name in others]


def test_nothing_typed_offers_groups_and_daily_keys() -> None:
    found = complete([], "")
    assert {f"{group}=" for group in catalog.GROUPS} <= set(found)
    assert "steps=2000" in found
    assert not any("." in word.split("=")[0] for word in found)


def test_the_users_own_options_are_offered(inside: Path) -> None:
    mine = write(inside, loss__mine="# Mine.\nname: mine\nmargin: 3.0\n")
    assert complete([], "loss=m", mine) == ["loss=mine", "loss=minimax"]
    assert complete(["loss=mine"], "loss.m", mine) == ["loss.margin=3.0"]


def ask(inside: Path, *words: str) -> list[str]:
    """What bash gets for TAB after the last of ``words``."""
    said = {"COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    answer = finish(start(inside, _GANRUN_COMPLETE="complete_bash", **said))
    return answer.out.split()


def test_bash_is_answered_by_the_command_itself(inside: Path) -> None:
    assert ask(inside, "ganrun", "train", "loss", "=", "w") == ["wasserstein"]
    evaluation = ask(inside, "ganrun", "eval", "RUN", "m")
    assert "metric=" in evaluation
    assert "model=" not in evaluation


def test_run_folders_and_groups_are_completed(inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        (inside / "outputs" / "default" / name).mkdir(parents=True)
        (inside / "outputs" / "default" / name / "config.yaml").touch()
    assert complete([], "resume=out") == ["resume=outputs/default/a", "resume=outputs/default/b"]
    assert complete([], "init_from=outputs/default/b") == ["init_from=outputs/default/b"]
    assert run_folders("outputs/default/a") == ["outputs/default/a"]
    assert group_names("lo") == ["loss"]
    (inside / "outputs" / "default" / "a" / "checkpoints").mkdir()
    checkpoint = inside / "outputs" / "default" / "a" / "checkpoints" / "step_00000010.pt"
    checkpoint.touch()
    assert run_folders("outputs/default/a/") == ["outputs/default/a/checkpoints/step_00000010.pt"]
    assert complete([], "resume=outputs/default/a/checkpoints/st") == ["resume=outputs/default/a/checkpoints/step_00000010.pt"]
    monkeypatch.setenv("HOME", str(inside))
    assert run_folders("~/outputs/default/b") == ["~/outputs/default/b"]


def test_folders_are_completed_where_a_key_names_one(inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("my images", "mine", ".hidden"):
        (inside / "data" / name).mkdir(parents=True)
    (inside / "data" / "my.txt").touch()
    assert complete([], "dataset.root=data/m") == ["dataset.root=data/mine/", "dataset.root=data/my images/"]
    assert complete([], "output=dat") == ["output=data/"]
    assert complete([], "dataset.root='data/my") == ["dataset.root='data/my images/"]
    monkeypatch.setenv("HOME", str(inside))
    assert folders_at("~/data/min") == ["~/data/mine/"]
    assert folders_at("nowhere/x") == []


def test_nothing_is_offered_that_is_no_value() -> None:
    found = complete([], "optimizer.") + complete([], "model.") + complete([], "evaluation.") + complete([], "")
    for word in found:
        value = word.partition("=")[2]
        assert value != "null", word
        assert "{" not in value, word
    assert "resume=" in found
    assert "evaluation.weights=" in found


def test_objectives_and_experiments_on_the_theory_are_completed() -> None:
    assert complete(["metric=[kid,fid]"], "objective=f") == ["objective=fid"]
    assert complete([], "objective=") == ["objective=fid", "objective=is"]
    from ganrun.theory.base import experiments

    assert theory_names("") == sorted(entry.name for entry in experiments())
    assert theory_names("kl") == [name for name in theory_names("") if name.startswith("kl")]


def test_values_that_the_files_name_are_offered_and_scores_of_the_metrics_that_are_chosen() -> None:
    assert complete([], "evaluation.reference=") == ["evaluation.reference=held_out", "evaluation.reference=train"]
    assert complete([], "fresh=t") == ["fresh=true"]
    assert complete([], "doctor.stop=[collapse,expl") == ["doctor.stop=[collapse,explosion"]
    assert complete(["metric=[kid,precision_recall]"], "objective=") == [
        "objective=kid",
        "objective=precision",
        "objective=recall",
    ]
    assert "objective=wasserstein" in complete(["dataset=ring8"], "objective=")  # its own metrics
    assert complete([], "steps=2") == []


def test_paths_are_spelt_for_bash_which_takes_them_as_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my (old) images").mkdir()
    (tmp_path / "my scores.jsonl").touch()
    assert at(files_at)("my") == ["my (old) images/", "my scores.jsonl"]  # zsh and fish quote for themselves
    monkeypatch.setenv("_GANRUN_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "ganrun sample RUN --out my")
    found = at(files_at)("my")
    assert [shlex.split(f"ganrun {word}")[1] for word in found] == ["my (old) images/", "my scores.jsonl"]
    assert at(folders_at)("my") == ["my\\ \\(old\\)\\ images/"]
    monkeypatch.setenv("COMP_WORDS", "ganrun sample RUN --out 'my")
    assert at(folders_at)("my") == ["my (old) images/"]
