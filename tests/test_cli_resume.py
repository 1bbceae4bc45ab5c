"""``resume=RUN``: in place, as a fork, and from folders that nobody should trust."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import cli_driver
import pytest
import yaml
from cli_driver import CONF, Engine, files, run, run_folder, write

from ganrun.cli import resume, signature
from ganrun.cli.compose import composer
from ganrun.cli.overrides import readable
from ganrun.disk import identity, runs
from ganrun.ground import spell
from ganrun.ground.errors import BadInput

inside, engine = cli_driver.inside, cli_driver.engine  # fixtures

ODD = ["model=wgan", "optimizer.lr=1e-3", "optimizer.generator.lr=2e-3", "regularizer=[weight_clip,r1]", "name=study", "seed=3"]


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a run with a config far from the defaults was made in."""
    place = tmp_path_factory.mktemp("trained")
    run_folder(place, *ODD)
    return place


@pytest.fixture
def trained(once: Path, inside: Path) -> Path:
    """That run's folder, copied to where the test stands."""
    shutil.copytree(once, inside, dirs_exist_ok=True)
    return next((inside / "outputs" / "study").glob("wgan-*"))


def resumed(trained: Path, *overrides: str) -> dict[str, Any]:
    """What ``resume`` composes."""
    with composer() as found:
        start = resume.origin(trained, readable(overrides, found), found, "ganrun train")
        return signature.plain(found.compose([*start.overrides, *overrides]))


def test_init_from_takes_the_model_of_the_run_unless_a_key_says_otherwise(inside: Path, engine: Engine) -> None:
    model = ["model=resnet", "model.generator.width=7", "model.latent=5", "model.discriminator.norm=none"]
    assert run("train", *model, "loss=hinge", "optimizer.lr=1e-3").code == 0
    parent = engine.last
    init = f"init_from={spell.value(str(parent['folder']))}"
    answer = run("train", init, "dataset=ring8")  # which would choose model=mlp
    assert answer.code == 0
    assert answer.lines[0].startswith("note: the model is that of init_from, model='resnet'")
    config = engine.last["config"]
    assert config["model"] == parent["config"]["model"]
    assert (config["loss"]["name"], config["optimizer"]["generator"]["lr"]) == ("nonsaturating", 2e-4)  # and nothing else
    assert run("train", init, "model.latent=6").code == 0
    assert engine.last["config"]["model"] == {**parent["config"]["model"], "latent": 6}
    assert run("train", "-m", init, "seed=1,2").code == 0
    assert engine.last["config"]["model"] == parent["config"]["model"]
    for words in (["model=mlp"], ["experiment=dcgan"]):
        assert run("train", init, *words).code == 0
        assert engine.last["config"]["model"]["name"] == words[0].partition("=")[2]
        assert engine.last["config"]["model"]["latent"] != 5
    answer = run("train", "init_from=nowhere")
    assert (answer.code, len(answer.lines)) == (2, 1)
    assert answer.err.startswith("init_from=nowhere: ")


def rewrite(trained: Path, **changes: Any) -> None:
    config = yaml.safe_load((trained / "config.yaml").read_text())
    (trained / "config.yaml").write_text(yaml.safe_dump(config | changes))


def test_all_keys_come_from_the_run(trained: Path, engine: Engine) -> None:
    before = runs.read_config(trained)
    assert resumed(trained) == before
    assert run("train", f"resume={trained.relative_to(Path.cwd())}").code == 0
    assert engine.last["folder"] == trained
    assert engine.last["config"] == before | {"resume": str(trained)}


def test_neutral_keys_go_on_in_place(trained: Path, engine: Engine) -> None:
    line = ["every.log=3", "keep=1", "device=cpu", "device.threads=1", "metric=[fid]", "evaluation.num=9", "every.eval=2"]
    assert run("train", f"resume={trained}", *line).code == 0
    config = engine.last["config"]
    assert engine.last["folder"] == trained
    assert (config["every"]["log"], config["keep"], list(config["metric"]), config["device"]["name"]) == (3, 1, ["fid"], "cpu")
    assert identity.result_keys(config) == identity.result_keys(runs.read_config(trained))


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        (["seed=4", "optimizer.lr=1"], "optimizer.discriminator.lr, optimizer.lr, seed"),
        (["loss=hinge"], "loss.name"),
        (["n_critic=2"], "game.n_critic"),
        (["regularizer=[]"], "regularizer.r1, regularizer.weight_clip"),
        (["device.precision=bf16"], "device.precision"),
        (["plugins=[mine]"], "plugins"),
    ],
)
def test_a_key_that_changes_the_result_needs_fork(typed: list[str], named: str, trained: Path, engine: Engine) -> None:
    before = files(Path.cwd())
    answer = run("train", f"resume={trained}", *typed)
    assert answer.code == 2
    assert answer.lines == [f"resume={trained}: would change {named}; add fork=true to go on in a folder of its own"]
    assert (engine.calls, files(Path.cwd())) == ([], before)


def test_a_fork_goes_on_in_a_folder_of_its_own_beside_its_parent(trained: Path, engine: Engine) -> None:
    for _ in range(2):  # the same command finds the same fork
        assert run("train", f"resume={trained}", "fork=true", "steps=7").code == 0
    one, other = engine.calls
    assert one["folder"] == other["folder"] != trained
    assert one["folder"].parent == trained.parent
    assert (one["config"]["steps"], one["config"]["resume"], one["config"]["fork"]) == (7, str(trained), True)
    assert run("train", *ODD, "steps=7").code == 0
    assert engine.last["folder"] != one["folder"], "a run from nothing is another run"


def test_what_follows_another_key_goes_on_following_it(trained: Path) -> None:
    config = resumed(trained, "optimizer.lr=5", "n_critic=7")
    assert (config["optimizer"]["lr"], config["optimizer"]["discriminator"]["lr"]) == (5, 5)
    assert config["optimizer"]["generator"]["lr"] == 2e-3, "the run's own value stays"
    assert config["game"]["n_critic"] == 7


def test_a_typed_option_replaces_its_whole_group_and_nothing_else(trained: Path) -> None:
    before, config = runs.read_config(trained), resumed(trained, "optimizer=adam", "model=sngan")
    with composer() as found:
        fresh = signature.plain(found.compose(["optimizer=adam", "model=sngan"]))
    assert config["optimizer"] == fresh["optimizer"]
    assert config["model"] == fresh["model"]
    assert {key: config[key] for key in config if key not in ("optimizer", "model")} == {
        key: before[key] for key in before if key not in ("optimizer", "model")
    }


def test_a_sweep_of_forks(trained: Path, engine: Engine) -> None:
    assert run("train", f"resume={trained}", "fork=true", "-m", "seed=1,2", "optimizer=adam,sgd").code == 0
    assert len({call["folder"] for call in engine.calls}) == 4
    assert {call["config"]["loss"]["name"] for call in engine.calls} == {"wasserstein"}
    assert {call["config"]["optimizer"]["name"] for call in engine.calls} == {"adam", "sgd"}


def test_cfg_shows_the_resumed_config(trained: Path, engine: Engine) -> None:
    shown = run("train", f"resume={trained}", "every.log=3", "--cfg", "job", "--resolve")
    run("train", f"resume={trained}", "every.log=3")
    assert yaml.safe_load(shown.out) == engine.last["config"]


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["-m", "every.log=1,2"], "add fork=true"),
        (["fresh=true"], "choose one"),
        (["experiment=none"], "takes its keys from RUN"),
        (["stepz=3"], "Did you mean 'steps'?"),
        (["+new=3"], "there is no key 'new'"),
        (["fork=true", "optimizer=rmspop"], "Did you mean 'rmsprop'?"),
    ],
)
def test_what_cannot_go_together_is_said(typed: list[str], words: str, trained: Path, engine: Engine) -> None:
    answer = run("train", f"resume={trained}", *typed)
    assert (answer.code, len(answer.lines)) == (2, 1)
    assert words in answer.err
    assert engine.calls == []


def test_plugins_of_a_run_are_asked_for_and_never_taken_from_it(trained: Path, engine: Engine) -> None:
    rewrite(trained, plugins=["mine.losses"])
    for command in (["train", f"resume={trained}"], ["eval", str(trained)], ["sample", str(trained)]):
        for typed in ([], ["plugins=[other]"], ["plugins=[]"]):
            answer = run(*command, *typed)
            assert answer.code == 2
            assert "plugins=[mine.losses]" in answer.err
            assert "type it again" in answer.err
        assert run(*command, "plugins=[mine.losses]").code == 0
        assert engine.last["config"]["plugins"] == ["mine.losses"]


def test_a_users_component_resumes_with_and_without_its_yaml(inside: Path, engine: Engine) -> None:
    mine = write(
        inside,
        loss__mine="# Mine.\nname: mine\nmargin: 3.0\nscale: {a: 1, b: [x, 'y,z']}\n",
        regularizer__own="# @package regularizer.own\n# Own.\nname: own\nweight: 2.0\n",
    )
    run("train", "-cd", mine, "loss=mine", "loss.margin=2", "regularizer=[own,r1]", "plugins=[m]")
    before = engine.last
    for flags in (["-cd", str(mine)], []):
        assert run("train", *flags, f"resume={before['folder']}", "plugins=[m]").code == 0
        assert engine.last["config"] == before["config"] | {"resume": str(before["folder"])}
        assert engine.last["folder"] == before["folder"]


def test_a_run_of_an_older_ganrun_goes_on_without_the_keys_it_does_not_have(trained: Path, engine: Engine) -> None:
    config = yaml.safe_load((trained / "config.yaml").read_text())
    del config["optimizer"]["momentum"], config["optimizer"]["schedule"]["start"], config["keep"]
    (trained / "config.yaml").write_text(yaml.safe_dump(config))
    assert run("train", f"resume={trained}").code == 0
    assert engine.last["folder"] == trained
    assert "start" not in engine.last["config"]["optimizer"]["schedule"]
    assert engine.last["config"]["keep"] == 3


def test_keys_that_follow_others_may_be_missing_with_them(inside: Path, engine: Engine) -> None:
    assert run("train").code == 0
    folder = Path(engine.last["folder"])
    config = yaml.safe_load((folder / "config.yaml").read_text())
    optimizer = config["optimizer"]
    for part in (optimizer, optimizer["generator"], optimizer["discriminator"]):
        del part["betas_final"]
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    assert run("train", f"resume={folder}").code == 0
    assert engine.last["folder"] == folder
    assert "betas_final" not in engine.last["config"]["optimizer"]["generator"]


def test_changed_images_are_noticed(inside: Path, engine: Engine) -> None:
    (inside / "images").mkdir()
    (inside / "images" / "a.png").write_text("1")
    run("train", "dataset=folder", "dataset.root=images")
    trained = engine.last["folder"]
    (inside / "images").rename(inside / "moved")
    assert run("train", f"resume={trained}", "dataset.root=moved").code == 0
    assert engine.last["folder"] == trained
    (inside / "moved" / "b.png").touch()
    answer = run("train", f"resume={trained}", "dataset.root=moved")
    assert answer.code == 2
    assert "the files of the data set are not those of the run" in answer.err
    assert run("train", f"resume={trained}", "dataset.root=moved", "fork=true").code == 0


def test_the_fork_of_a_fork_and_its_resumption(trained: Path, engine: Engine) -> None:
    run("train", f"resume={trained}", "fork=true", "seed=8")
    fork = engine.last["folder"]
    assert run("train", f"resume={fork}").code == 0
    assert (engine.last["folder"], engine.last["config"]["fork"]) == (fork, False)
    run("train", f"resume={fork}", "fork=true", "seed=9")
    assert engine.last["folder"].parent == fork.parent
    assert len({trained, fork, engine.last["folder"]}) == 3


HOSTILE = {
    "not text": b"\xff\xfe\x00",
    "empty": b"",
    "a list": b"- 1\n",
    "one word": b"hello\n",
    "broken": b"a: [1\n",
    "a tag": b"steps: !!python/object/apply:os.system [touch pwned]\n",
    "another tag": b"steps: !!binary aGVsbG8=\n",
    "a key twice": b"steps: 1\nsteps: 2\n",
    "an alias": b"a: &x [1]\nsteps: *x\n",
    "a bomb": b"a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\n",
    "deep": b"a: " + b"[" * 3000 + b"]" * 3000,
    "wide": b"a: [" + b"1," * 30000 + b"1]",
    "huge": b"a: " + b"x" * 1_100_000,
    "a class path": b"loss: {_target_: os.system, name: hinge}\n",
    "an interpolation": b"seed: ${oc.env:HOME}\n",
    "a resolver": b"name: '${content:/}'\n",
    "an odd key": b"'a=b': 1\n",
    "a dotted key": b"'optimizer.lr': 1\n",
    "a number as key": b"1: 2\n",
    "a control character": b'name: "a\\nb"\n',
    "hydra": b"hydra: {run: {dir: /tmp/x}}\n",
    "an unknown key": b"stepz: 3\n",
    "a group that is none": b"loss: hinge\n",
    "no groups": b"steps: 3\n",
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_damaged_or_hostile_config_is_exit_two_and_nothing_is_run(case: str, inside: Path, engine: Engine) -> None:
    folder = inside / "run"
    folder.mkdir()
    (folder / "config.yaml").write_bytes(HOSTILE[case])
    before = files(inside)
    for command in (["train", "resume=run"], ["eval", "run"], ["sample", "run"]):
        answer = run(*command)
        assert (answer.code, len(answer.lines)) == (2, 1), answer.err
        assert "run/config.yaml" in answer.err
        assert "Traceback" not in answer.err
    assert (files(inside), engine.calls) == (before, [])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": "many"}, "must be a whole number"),
        ({"ema": 3}, "less than 1"),
        ({"every": {"log": -1}}, "at least 0"),
        ({"plugins": "os"}, "not a list"),
        ({"name": "../x"}, "1 to 100"),
        ({"hydra": {"callbacks": {"x": {"name": "y"}}}}, "'hydra' is not a key of a run"),
    ],
)
def test_a_runs_values_are_checked_like_typed_ones(changes: dict[str, Any], words: str, trained: Path, engine: Engine) -> None:
    rewrite(trained, **changes)
    for command in (["train", f"resume={trained}"], ["eval", trained], ["sample", trained]):
        answer = run(*command)
        assert (answer.code, len(answer.lines)) == (2, 1), answer.err
        assert words in answer.err
    assert engine.calls == []


def test_text_in_a_runs_config_is_text_whatever_it_looks_like(trained: Path) -> None:
    odd = "it's \"x\", [a]={b: c} \\' $ ; ~d +e # f"
    rewrite(trained, output=odd, dataset={"name": "digits", "size": None, "root": odd})
    assert resumed(trained)["output"] == odd
    assert resumed(trained)["dataset"] == {"name": "digits", "size": None, "root": odd}


@pytest.mark.parametrize("place", ["nowhere", "file", "empty", "pipe", "link"])
def test_a_folder_that_is_no_run_is_said(place: str, inside: Path, engine: Engine) -> None:
    (inside / "file").touch()
    for folder in ("empty", "pipe", "link"):
        (inside / folder).mkdir()
    os.mkfifo(inside / "pipe" / "config.yaml")
    (inside / "link" / "config.yaml").symlink_to(inside / "link" / "config.yaml")
    for command in (["train", f"resume={place}"], ["eval", place], ["sample", place]):
        answer = run(*command)
        assert (answer.code, len(answer.lines)) == (2, 1), answer.err
        assert place in answer.err
    assert engine.calls == []


def test_read_config_gives_back_what_the_engine_writes(trained: Path, engine: Engine) -> None:
    config = resumed(trained)
    (trained / "config.yaml").write_text(yaml.dump(config, Dumper=yaml.SafeDumper, sort_keys=False, allow_unicode=True))
    assert runs.read_config(trained) == config
    with pytest.raises(BadInput):
        runs.read_config(CONF)


# from which checkpoint


@pytest.fixture
def kept(trained: Path) -> Path:
    """The run with the manifests of three checkpoints, which are all that the command line asks for."""
    (trained / "checkpoints").mkdir(exist_ok=True)
    for step in (2, 4, 6):
        for ending in ("pt", "json"):
            (trained / "checkpoints" / f"step_{step:08d}.{ending}").write_text("{}")
    (trained / "run.json").write_text('{"step": 6}')
    return trained


def test_the_newest_checkpoints_file_goes_on_in_place(kept: Path, engine: Engine) -> None:
    assert run("train", f"resume={kept}/checkpoints/step_00000006.pt").code == 0
    assert (engine.last["folder"], engine.last["config"]["at"]) == (kept, None)


@pytest.mark.parametrize("file", [True, False])
def test_an_earlier_checkpoint_needs_a_fork_and_the_answer_shows_how(file: bool, kept: Path, engine: Engine) -> None:
    words = [f"resume={kept}/checkpoints/step_00000004.pt"] if file else [f"resume={kept}", "at=4"]
    refused = run("train", *words)
    assert refused.code == 2
    assert "gone on to step 6" in refused.err
    assert "at=4 fork=true" in refused.err
    assert not engine.calls


def test_a_checkpoints_file_and_at_are_one_fork_and_another_step_is_another(kept: Path, engine: Engine) -> None:
    file = f"resume={kept}/checkpoints/step_{{:08d}}.pt"
    lines = [file.format(4)], [f"resume={kept}", "at=4"], [file.format(4), "at=4"], [f"resume={kept}", "at=2"], [f"resume={kept}"]
    folders = []
    for line in lines:
        assert run("train", *line, "fork=true", "seed=8").code == 0
        folders.append(engine.last["folder"])
    assert [engine.calls[index]["config"]["at"] for index in range(-5, 0)] == [4, 4, 4, 2, None]
    assert folders[0] == folders[1] == folders[2]
    assert len(set(folders)) == 3


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["at=4"], "needs resume=RUN fork=true"),
        (["resume={run}", "at=6"], "at=6 fork=true"),
        (["resume={run}", "at=3"], "has checkpoints of the steps 2, 4, 6"),
        (["resume={run}", "at=3", "fork=true"], "has checkpoints of the steps 2, 4, 6"),
        (["resume={run}/checkpoints/step_00000003.pt"], "has checkpoints of the steps 2, 4, 6"),
        (["resume={run}/checkpoints/step_00000003.pt", "fork=true"], "has checkpoints of the steps 2, 4, 6"),
        (["resume={run}/checkpoints/step_00000002.pt", "at=4", "fork=true"], "names step 2"),
        (["resume={run}/config.yaml"], "neither a run folder nor a checkpoint"),
    ],
)
def test_a_step_that_cannot_be_gone_on_from_is_refused(line: list[str], said: str, kept: Path, engine: Engine) -> None:
    refused = run("train", *(word.format(run=kept) for word in line))
    assert (refused.code, said in refused.err) == (2, True), refused.err
    assert not engine.calls
    assert len(list(Path("outputs").glob("*/*"))) == 1


def test_a_config_that_is_a_folder_or_a_pipe_is_refused_like_any_that_is_damaged(inside: Path, engine: Engine) -> None:
    for place, make in ((inside / "one", Path.mkdir), (inside / "two", os.mkfifo)):
        place.mkdir()
        make(place / "config.yaml")
        for command in (["train", f"resume={place}"], ["eval", place], ["sample", place]):
            answer = run(*command)
            assert (answer.code, answer.lines) == (2, [f"{place / 'config.yaml'}: not a regular file"])


def test_a_players_own_kind_of_optimizer_comes_from_the_run_and_is_replaced_whole(inside: Path, engine: Engine) -> None:
    decay = ["optimizer.weight_decay=0.1", "optimizer.discriminator.weight_decay=0.1"]
    folder = run_folder(inside, *decay, "optimizer.discriminator.name=sgd", "optimizer.discriminator.momentum=0.9")
    before = runs.read_config(folder)
    assert before["optimizer"]["discriminator"]["momentum"] == 0.9
    assert resumed(folder) == before
    assert resumed(folder, "optimizer.discriminator.lr=1")["optimizer"]["discriminator"]["name"] == "sgd"
    own = resumed(folder, "optimizer.discriminator.name=adam")["optimizer"]
    assert own["discriminator"] == own["generator"]
    other = resumed(folder, "optimizer.discriminator.name=rmsprop")["optimizer"]["discriminator"]
    assert (other["name"], other["lr"], other["momentum"], "nesterov" in other) == ("rmsprop", 5e-5, 0.0, False)
    assert resumed(folder, "optimizer=rmsprop")["optimizer"]["discriminator"]["lr"] == 5e-5
    answer = run("train", f"resume={folder}", "optimizer.discriminator.name=adam")
    assert "optimizer.discriminator.name" in answer.err
    assert "add fork=true" in answer.err


def test_a_run_from_before_players_had_kinds_may_be_forked_with_one(trained: Path) -> None:
    found = resumed(trained, "optimizer.discriminator.name=sgd")["optimizer"]
    assert (found["discriminator"]["name"], found["discriminator"]["lr"]) == ("sgd", 1e-2)
    assert found["generator"] == runs.read_config(trained)["optimizer"]["generator"]
