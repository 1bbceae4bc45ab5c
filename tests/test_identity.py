"""A run folder is the run that its config, its identity and its hashes say: for every command, wherever the folder lies."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import driver
import pytest
import torch
import yaml
from conftest import one_in

from ganrun.disk import checkpoint, identity, runs
from ganrun.disk.run_folder import RunFolder
from ganrun.ground import registry
from ganrun.ground.errors import BadInput, GanrunError
from ganrun.optimizers.base import schedule

NAME = "points"
WORDS = [*driver.CONFIGS[NAME], *driver.TINY, "every={log: 1, sample: 0, eval: 0, checkpoint: 2}", "steps=6", "dataset.num=200"]


def command(*words: str | Path, cwd: Path, **options: Any) -> driver.Outcome:
    return driver.start("command", *(str(word) for word in words), cwd=cwd, **options).wait()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run in a folder that hydra.run.dir names."""
    place = tmp_path_factory.mktemp("identity")
    done = command("train", *WORDS, "hydra.run.dir=rd", cwd=place)
    assert done.code == 0, done.said
    return place / "rd"


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "rd"))


def rewrite(run: Path, **changes: Any) -> None:
    path = run / "config.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes, sort_keys=False))


def earlier_version(run: Path) -> None:
    """The folder as versions before the hashes wrote it."""
    facts = driver.facts(run)
    for key in ("identity", "family", "config_sha256"):
        del facts[key]
    (run / "run.json").write_text(json.dumps(facts))
    for path in (run / "checkpoints").glob("*.json"):
        manifest = json.loads(path.read_text())
        del manifest["run"]
        path.write_text(json.dumps(manifest))


# a folder of another run


def test_a_named_folder_goes_on_with_its_own_run_and_with_no_other(run: Path, tmp_path: Path) -> None:
    here = ("hydra.run.dir=rd",)
    assert "already done" in command("train", *WORDS, *here, "every.log=3", cwd=tmp_path).said
    assert "already done" in command("train", "resume=rd", cwd=tmp_path).said
    before = driver.contents(run)
    for words in (["seed=2", "ema=0.5"], ["batch_size=4"], ["resume=rd", "fork=true", "steps=9"], ["init_from=rd"]):
        refused = command("train", *([] if "resume=rd" in words else WORDS), *here, *words, cwd=tmp_path)
        assert refused.code == 2, refused.said
        assert "rd: holds " in refused.said
        assert "fresh=true" in refused.said
    assert "seed is 0 there and 2 here" in command("train", *WORDS, *here, "seed=2", cwd=tmp_path).said
    assert driver.contents(run) == before
    refused = command("train", "resume=rd", "hydra.run.dir=other", cwd=tmp_path)
    assert (refused.code, "leave hydra.run.dir out" in refused.said) == (2, True)


def test_a_sweep_into_one_folder_trains_one_run_and_names_what_differs(tmp_path: Path) -> None:
    sweep = command("train", "-m", *WORDS, "seed=0,1", "hydra.sweep.dir=s", "hydra.sweep.subdir=one", cwd=tmp_path)
    assert sweep.code == 1
    assert "holds another run: seed is 0 there and 1 here" in sweep.said
    assert runs.read_config(tmp_path / "s" / "one")["seed"] == 0


def test_a_root_config_without_folders_finds_its_run_again_and_one_with_a_pinned_folder_resumes_elsewhere(tmp_path: Path) -> None:
    mine, text = tmp_path / "mine", (driver.ROOT / "conf" / "config.yaml").read_text()
    mine.mkdir()
    (mine / "alone.yaml").write_text(text[: text.index("\nhydra:")] + "\n")
    (mine / "pinned.yaml").write_text("defaults: [config, _self_]\nhydra: {run: {dir: pinned}}\n")
    for name in ("alone", "pinned"):
        flags = ("-cd", "mine", "-cn", name)
        assert command("train", *flags, *WORDS, cwd=tmp_path).code == 0
        assert "already done" in command("train", *flags, *WORDS, cwd=tmp_path).said
    (folder,) = (tmp_path / "outputs" / "default").iterdir()
    assert not (folder / ".hydra").exists()
    for flags in ([], ["-cd", "mine", "-cn", "pinned"]):
        resumed = command("train", *flags, f"resume={folder}", cwd=tmp_path)
        assert "already done" in resumed.said
        assert str(folder) in resumed.said.replace("\n", "") or folder.name[:20] in resumed.said
    refused = command("train", "-cd", "mine", "-cn", "pinned", *WORDS, "seed=5", cwd=tmp_path)
    assert (refused.code, "pinned: holds another run" in refused.said) == (2, True)


def test_fresh_sets_no_folder_aside_that_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("mine")
    refused = command("train", *WORDS, "hydra.run.dir=thesis", "fresh=true", cwd=tmp_path)
    assert (refused.code, "holds no run" in refused.said) == (2, True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis"]


# config.yaml, run.json and checkpoints belong together


def damaged(run: Path, damage: str) -> None:
    facts = driver.facts(run)
    if damage == "an edited seed":
        rewrite(run, seed=9)
    elif damage == "an emptied config":
        (run / "config.yaml").write_text("")
    elif damage == "no config":
        (run / "config.yaml").unlink()
    elif damage == "no run.json":
        (run / "run.json").unlink()
    elif damage == "another identity":
        (run / "run.json").write_text(json.dumps(facts | {"identity": "0" * 64}))


DAMAGE = {
    "an edited seed": ("config.yaml: was changed after the run began", 2),
    "an emptied config": ("config.yaml: damaged", 2),
    "no config": ("it has no config.yaml", 2),
    "no run.json": ("run.json: is missing", 2),
    "another identity": ("is a checkpoint of another run", 5),
}
COMMANDS = {
    "resume": ["train", "resume=rd"],
    "fork": ["train", "resume=rd", "fork=true", "steps=9"],
    "init_from": ["train", *WORDS, "init_from=rd"],
    "eval": ["eval", "rd", "metric=modes"],
    "sample": ["sample", "rd"],
    "export": ["export", "rd"],
}


@pytest.mark.parametrize(("line", "damage"), one_in(4, itertools.product(COMMANDS, DAMAGE)))
def test_damage_to_what_a_run_says_of_itself_is_noticed_by_every_command(
    line: str, damage: str, run: Path, tmp_path: Path
) -> None:
    import ganrun

    words, code = DAMAGE[damage]
    damaged(run, damage)
    volatile = ("train.log", "run.json", ".lock")
    before = driver.contents(run, *volatile)
    outcome = command(*COMMANDS[line], cwd=tmp_path)
    assert (outcome.code, words in outcome.said) == (code, True), outcome.said
    with pytest.raises(GanrunError, match=words.partition(":")[2].strip() or words):
        ganrun.load(run)
    assert driver.contents(run, *volatile) == before


@pytest.mark.parametrize("damage", one_in(2, ["an edited seed", "an emptied config", "no config"]))
def test_the_command_that_began_a_run_writes_its_config_again(damage: str, run: Path, tmp_path: Path) -> None:
    good = (run / "config.yaml").read_bytes()
    damaged(run, damage)
    bad = (run / "config.yaml").read_bytes() if damage != "no config" else None
    again = command("train", *WORDS, "hydra.run.dir=rd", cwd=tmp_path)
    assert (again.code, "written again" in again.said) == (0, True), again.said
    assert (run / "config.yaml").read_bytes() == good
    assert bad is None or (run / "config.yaml.damaged-1").read_bytes() == bad
    assert command("sample", "rd", cwd=tmp_path).code == 0


def test_a_folder_of_an_earlier_version_is_read_and_sealed_when_it_goes_on(run: Path, tmp_path: Path) -> None:
    whole = {key: driver.facts(run)[key] for key in ("identity", "family", "config_sha256")}
    earlier_version(run)
    for line in (["sample", "rd"], ["train", "resume=rd"]):
        assert command(*line, cwd=tmp_path).code == 0
    assert whole.items() <= driver.facts(run).items()
    rewrite(run, seed=9)
    assert command("sample", "rd", cwd=tmp_path).code == 2


def test_a_folder_named_by_an_earlier_version_is_found_by_the_same_command(tmp_path: Path) -> None:
    given = driver.config(NAME, "output=" + str(tmp_path))
    from ganrun.cli import signature

    new = signature.run_folder(given)
    old = new.with_name(new.name[:-10] + identity.of_earlier_versions(given)[:10])
    assert old != new
    old.mkdir(parents=True)
    (old / "config.yaml").write_text("seed: 0\n")
    assert signature.run_folder(given) == old
    new.mkdir()
    assert signature.run_folder(given) == new


# checkpoints


def altered(run: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """The newest checkpoint, changed and committed as a whole one; in a run that has not ended, so no digest tells."""
    RunFolder(run).note(status="stopped", digest=None)
    state = checkpoint.read(run / "checkpoints" / "step_00000006.pt")
    checkpoint.save(run / "checkpoints", 6, change(state), 3, run=driver.facts(run)["identity"])


def broken(state: dict[str, Any]) -> dict[str, Any]:
    player = state["players/generator"]
    first = next(iter(player))
    return {**state, "players/generator": {**player, first: torch.full_like(player[first], float("nan"))}}


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], dict[str, Any]], str]] = {
    "an extra key": (lambda state: {**state, "players/critic": {}}, "players/critic: unexpected"),
    "an extra entry": (
        lambda state: {**state, "players/generator": {**state["players/generator"], "more": torch.ones(1)}},
        "more is unexpected",
    ),
    "NaN": (broken, "holds NaN or Inf"),
    "a lost moment": (lambda state: {**state, "optimizers/generator": {}}, "is missing"),
}


@pytest.mark.parametrize("change", one_in(2, CHANGES))
def test_every_command_judges_a_checkpoint_alike_and_takes_the_older_one_loudly(change: str, run: Path, tmp_path: Path) -> None:
    digest = driver.final_digest(run)
    altered(run, CHANGES[change][0])
    newest = run / "checkpoints" / "step_00000006.pt"
    for line in (["sample", "rd"], ["export", "rd"]):
        outcome = command(*line, cwd=tmp_path)
        assert (outcome.code, CHANGES[change][1] in outcome.said) == (0, True), outcome.said
        assert "trying the next older one" in outcome.said
    assert command("sample", newest, cwd=tmp_path).code == 5
    outcome = command("train", "resume=rd", cwd=tmp_path)
    assert (outcome.code, CHANGES[change][1] in outcome.said) == (0, True), outcome.said
    assert "going on from step 4" in outcome.said
    assert driver.final_digest(run) == digest


def test_a_checkpoint_that_is_not_the_state_a_run_ended_with_is_passed_over(run: Path, tmp_path: Path) -> None:
    digest, facts = driver.final_digest(run), driver.facts(run)
    altered(run, lambda state: {**state, "players/generator": {k: v + 1 for k, v in state["players/generator"].items()}})
    RunFolder(run).note(status="done", digest=facts["digest"])
    assert "not the state that the run ended with" in command("sample", "rd", cwd=tmp_path).said
    assert command("train", "resume=rd", cwd=tmp_path).code == 0
    assert driver.final_digest(run) == digest


# rows


@pytest.mark.parametrize(
    ("place", "lost", "restarts"),
    one_in(2, [(3, b"{torn", 2), (4, b'{"step": 2}', 4), (5, b"\xff", 4)]),
    ids=["in the middle", "out of order", "the last"],
)
def test_a_damaged_row_is_made_again_from_a_checkpoint_before_it(
    place: int, lost: bytes, restarts: int, run: Path, tmp_path: Path, trained: Path
) -> None:
    shutil.rmtree(run)
    done = command("train", *WORDS, "keep=9", "hydra.run.dir=rd", cwd=tmp_path)
    assert done.code == 0
    lines = (run / "metrics.jsonl").read_bytes().splitlines()
    lines[place] = lost
    (run / "metrics.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    again = command("train", "resume=rd", cwd=tmp_path)
    assert again.code == 0
    assert f"training anew from the checkpoint of step {restarts}" in again.said
    driver.assert_identical(run, trained)
    assert not list(run.rglob("*.superseded"))
    assert "already done" in command("train", "resume=rd", cwd=tmp_path).said


# temporary files


def test_opening_a_folder_deletes_its_own_temporary_files_and_no_other(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.open()
    folder.close()
    own = ["run.json.tmp.12", "config.yaml.tmp.7", "checkpoints/step_00000003.pt.tmp.4", "samples/step_00000003.png.tmp.4"]
    others = ["notes.tmp.txt", "samples/best.tmp.png", "run.json.tmp.old", "mine.json.tmp.12", "checkpoints/best.pt.tmp.1"]
    (tmp_path / "deep").mkdir()
    for name in [*own, *others, "deep/run.json.tmp.12"]:
        (tmp_path / name).write_text("x")
    folder.open()
    folder.close()
    assert not any((tmp_path / name).exists() for name in own)
    assert all((tmp_path / name).exists() for name in [*others, "deep/run.json.tmp.12"])


# steps


def test_only_the_constant_schedule_gives_the_same_rate_in_a_longer_run() -> None:
    registry.discover("schedule")
    options = {"warmup": 3, "start": 0.0}
    for name in registry.names("schedule"):
        final = 0.0 if name == identity.STEADY else 0.1
        short, long = (schedule({"name": name, "final": final, **options}, steps) for steps in (10, 20))
        same = all(short(step) == long(step) for step in range(10))
        assert same != identity.depends_on_steps({"optimizer": {"schedule": {"name": name}}}), name


def test_a_damaged_config_is_no_reason_to_believe_another_command(run: Path, tmp_path: Path) -> None:
    (run / "config.yaml").write_text("")
    with pytest.raises(BadInput, match="damaged"):
        identity.verify(driver.config(NAME, "seed=3"), run)
