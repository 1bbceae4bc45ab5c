"""``ganrun eval`` and ``ganrun sample``: the run's own config with the few keys that may differ."""

from __future__ import annotations

import shutil
from pathlib import Path

import cli_driver
import pytest
from cli_driver import CONF, Engine, files, run, run_folder, write

from ganrun.disk import runs

inside, engine = cli_driver.inside, cli_driver.engine  # fixtures


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a run was made in."""
    place = tmp_path_factory.mktemp("trained")
    run_folder(place, "model=wgan", "optimizer.lr=1e-3", "metric=[is,fid]", "evaluation.num=50")
    return place


@pytest.fixture
def trained(once: Path, inside: Path) -> Path:
    """That run's folder, copied to where the test stands."""
    shutil.copytree(once, inside, dirs_exist_ok=True)
    return next((inside / "outputs" / "default").glob("wgan-*"))


def test_eval_gets_the_runs_config(trained: Path, engine: Engine) -> None:
    assert run("eval", trained.relative_to(Path.cwd())).code == 0
    assert engine.last == {"target": trained, "config": runs.read_config(trained)}


def test_eval_takes_metrics_evaluation_device_and_the_datas_place(trained: Path, engine: Engine) -> None:
    before = runs.read_config(trained)
    assert run("eval", trained, "metric=[fid]", "evaluation.num=7", "evaluation.reference=held_out", "device=cpu").code == 0
    config = engine.last["config"]
    assert (list(config["metric"]), config["evaluation"]["num"], config["device"]["name"]) == (["fid"], 7, "cpu")
    rest = {key for key in before if key not in ("metric", "evaluation", "device")}
    assert {key: config[key] for key in rest} == {key: before[key] for key in rest}


def test_a_single_checkpoint_is_a_target(trained: Path, engine: Engine) -> None:
    checkpoint = trained / "checkpoints" / "step_00000001.pt"
    assert run("eval", checkpoint).code == 0
    assert engine.last["target"] == checkpoint
    assert run("sample", checkpoint).code == 0
    assert engine.last["target"] == checkpoint


def test_sample_passes_its_options_on_and_prints_where_the_samples_are(trained: Path, engine: Engine) -> None:
    answer = run("sample", trained)
    assert answer.out == "where/the/samples/are\n"
    plain = {"num": None, "seed": 0, "out": None, "raw": False, "labels": None, "separate": False}
    chosen = {"truncation": None, "interpolate": None, "class_grid": False, "source": None}
    chosen |= {"traverse": None, "arithmetic": None, "reject": None}
    assert engine.last == {"target": trained, "config": runs.read_config(trained), **plain, **chosen}
    line = ["--num", "3", "--seed", "4", "--out", "there", "--raw", "--separate", "--label", "1", "--label", "0", "device=cpu"]
    line += ["--truncation", "0.5", "--interpolate", "slerp", "--class-grid"]
    line += ["--traverse", "--along", "axes", "--arithmetic", "1 - 2", "--reject", "0.5"]
    assert run("sample", trained, *line).code == 0
    said = {"num": 3, "seed": 4, "out": Path("there"), "raw": True, "labels": [1, 0], "separate": True}
    said |= {
        "truncation": 0.5,
        "interpolate": "slerp",
        "class_grid": True,
        "traverse": "axes",
        "arithmetic": "1 - 2",
        "reject": 0.5,
    }
    assert {key: engine.last[key] for key in said} == said
    assert engine.last["config"]["device"]["name"] == "cpu"


@pytest.mark.parametrize(
    "typed", ["steps=3", "loss=hinge", "model.latent=3", "name=x", "dataset.size=16", "hydra.run.dir=x", "+steps=3"]
)
def test_other_keys_are_refused_with_those_that_are_allowed(typed: str, trained: Path, engine: Engine) -> None:
    assert run("eval", trained, typed).lines == [f"{typed}: ganrun eval takes metric, evaluation, device, plugins, dataset.root"]
    assert run("sample", trained, typed).lines == [f"{typed}: ganrun sample takes device, plugins, evaluation.standing"]
    assert run("eval", trained, typed).code == run("sample", trained, typed).code == 2
    assert engine.calls == []


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("metric=[fud]", "Did you mean 'fid'?"),
        ("evaluation.nm=3", "Did you mean 'evaluation.num'?"),
        ("evaluation.num=x", "must be a whole number"),
        ("evaluation.num=3,4", "several values need -m"),
        ("device=gpu", "Did you mean 'cuda'?"),
        ("metric._target_=x", "_target_ is refused"),
        ("+metric.foo=1", "there is no key 'metric.foo'"),
    ],
)
def test_mistakes_are_one_line(typed: str, words: str, trained: Path, engine: Engine) -> None:
    answer = run("eval", trained, typed)
    assert answer.code == 2
    assert len(answer.lines) == 1
    assert words in answer.err
    assert engine.calls == []


@pytest.mark.parametrize("target", ["config.yaml", "checkpoints", "checkpoints/manifest.json", "step_00000001.pt"])
def test_a_target_that_is_neither_a_run_nor_a_checkpoint_is_said(target: str, trained: Path, engine: Engine) -> None:
    (trained / "checkpoints" / "manifest.json").touch()
    (trained / "step_00000001.pt").touch()
    answer = run("eval", trained / target)
    assert (answer.code, len(answer.lines)) == (2, 1)
    assert engine.calls == []


def test_nothing_is_written_by_the_command_line_itself(trained: Path, engine: Engine) -> None:
    before = files(Path.cwd())
    run("eval", trained)
    run("sample", trained)
    assert files(Path.cwd()) == before


def test_a_users_metric_comes_by_its_folder(trained: Path, engine: Engine) -> None:
    mine = write(Path.cwd(), metric__own="# @package metric.own\n# Own.\nname: own\nk: 3\n")
    assert run("eval", trained, "metric=[fid,own]", "metric.own.k=4", "-cd", mine).code == 0
    assert engine.last["config"]["metric"]["own"] == {"name": "own", "k": 4}


@pytest.mark.parametrize("options", [["--num", "0"], ["--seed", "-1"], ["--label", "-1"], ["--num", "many"]])
def test_a_bad_number_is_exit_two(options: list[str], trained: Path, engine: Engine) -> None:
    assert run("sample", trained, *options).code == 2
    assert engine.calls == []


def table(*words: str | Path) -> list[str]:
    """The rows that ``ganrun diff`` shows, with single blanks."""
    answer = run("diff", *words)
    assert answer.code == 0, answer.err
    return [" ".join(line.split()) for line in answer.out.splitlines()]


def test_diff_shows_each_key_once_with_both_values_and_the_papers() -> None:
    said = run("diff", "sngan", "experiment=sngan n_critic=2 optimizer.lr=1e-3 regularizer=r1 every.log=9").out
    assert "(Miyato et al. 2018)" in said
    assert "Published values: pfnet-research/sngan_projection" in said
    assert max(map(len, said.splitlines())) <= 80
    counting, neutral = said.split("Without an effect on the result:")
    rows = [line.split() for line in counting.split("\n\n")[1].splitlines()]
    assert ["n_critic", "5", "2"] in rows
    assert ["optimizer.lr", "2e-4", "0.001"] in rows  # the players' follow it, as the game's n_critic follows the root's
    assert ["regularizer", "[spectral_norm]", "[r1]"] in rows
    assert ["regularizer.r1.every", "-", "1"] in rows
    assert {row[0].split(".")[0] for row in rows} == {"key", "n_critic", "optimizer", "regularizer"}
    assert [line.split() for line in neutral.splitlines()][2:] == [["every.log", "50", "9"]]


def test_diff_takes_any_two_of_experiments_overrides_files_and_runs(inside: Path, trained: Path, engine: Engine) -> None:
    same = "They are the same run: nothing differs that can change a result."
    assert same in table(trained, "model=wgan optimizer.lr=1e-3")
    assert same in table(trained / "config.yaml", trained / "checkpoints" / "step_00000001.pt")
    (inside / "kept.yaml").write_text(run("train", "experiment=lsgan", "--cfg", "job").out)
    assert same in table("kept.yaml", "lsgan")
    write(inside, experiment__own="# @package _global_\n# Mine.\ndefaults: [lsgan, _self_]\nseed: 3\n")
    rows = table("mine/experiment/own.yaml", "lsgan")
    assert rows[rows.index("key A B") + 1 :] == ["seed 3 0"]
    assert "seed 0 3" in table("lsgan", "own", "--config-dir", "mine")
    assert "model dcgan wgan" in table(CONF / "config.yaml", trained)
    assert engine.calls == []


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("sngam", "Did you mean experiment=sngan"),
        ("there/is/none", "there is no such run folder"),
        ("mine", "is no run folder: it has no config.yaml"),
        ("model=mlpp lss=3", "model=mlpp: there is no model 'mlpp'. Did you mean 'mlp'?\nlss=3: there is no key"),
        ("seed=1,2", "several values need -m"),
        ("resume=x", "is a run; give its folder alone"),
        ("b.yaml", "is no config of a run"),
        ("e.yaml", "stands in a folder DIR/experiment"),
    ],
)
def test_diff_says_what_a_word_is_not(word: str, said: str, inside: Path) -> None:
    (inside / "mine").mkdir()
    (inside / "b.yaml").write_text("a: 1\n")
    (inside / "e.yaml").write_text("# @package _global_\nseed: 1\n")
    answer = run("diff", word, "sngan")
    assert answer.code == 2
    assert said in answer.err
