"""Odd surroundings at the door: a folder that is gone, flags that there are not, plug-ins that are broken or missing."""

from __future__ import annotations

import json
import os
import sys
import types
from contextlib import suppress
from pathlib import Path
from typing import Any

import cli_driver
import pytest
from cli_driver import Engine, run, write
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.errors import HydraException
from hydra.plugins.sweeper import Sweeper
from omegaconf import OmegaConf

import ganrun
from ganrun.cli import app, compose, job, launch, study, sweep, sweep_configs
from ganrun.disk import runs
from ganrun.disk.run_folder import RunFolder
from ganrun.ground import registry
from ganrun.ground.errors import BadInput, Stopped

inside, engine = cli_driver.inside, cli_driver.engine  # fixtures


def test_a_removed_current_folder_is_one_sentence_and_absolute_paths_work(inside: Path, engine: Engine) -> None:
    assert run("train", f"output={inside / 'o'}").code == 0
    folder = engine.last["folder"]
    (inside / "gone").mkdir()
    os.chdir(inside / "gone")
    (inside / "gone").rmdir()
    answer = run("sample", folder)
    assert (answer.code, answer.lines) == (
        0,
        ["warning: the current folder has been removed; only absolute paths have a meaning"],
    )
    refused = run("train")
    assert refused.code == 2
    assert refused.lines[-1].startswith("the current folder has been removed: cd to another one")
    assert run("train", f"output={inside / 'o'}", "seed=1").code == 0
    os.chdir(inside)


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        (["train", "--stpes", "100"], "steps=100"),
        (["train", "--step=100"], "steps=100"),
        (["train", "-steps", "10"], "steps=10"),
        (["train", "--loss", "hinge"], "loss=hinge"),
        (["train", "--lr=1"], "optimizer.lr=1"),
        (["eval", "RUN", "--devic", "cpu"], "device=cpu"),
        (["sample", "RUN", "--sede", "1"], "--seed"),
    ],
)
def test_a_flag_that_there_is_not_names_the_override_or_flag_that_is_meant(line: list[str], meant: str) -> None:
    answer = run(*line)
    assert answer.code == 2
    assert meant in answer.err


def test_values_that_name_one_run_twice_are_done_once_and_said(inside: Path, engine: Engine) -> None:
    answer = run("train", "-m", "seed=0,0,1", "optimizer.lr=2e-4,0.0002", "regularizer=[r1,r2],[r2,r1]")
    assert answer.code == 0
    assert [call["config"]["seed"] for call in engine.calls] == [0, 1]
    assert sum("is done once" in said for said in answer.lines) == 3


def test_jobs_that_are_one_run_by_different_keys_are_named_and_wait_for_each_other(
    inside: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[Any] = []
    engine.act = lambda config, folder: waits.append(json.loads(os.environ[job.TWINS])) or 1.0
    answer = run("train", "-m", "n_critic=1,2", "game.n_critic=2", "seed=0,1")
    assert answer.code == 0
    assert [line.partition(" are one run")[0] for line in answer.lines if line.startswith("note")] == [
        "note: jobs 0 (n_critic=1 seed=0), 2 (n_critic=2 seed=0)",
        "note: jobs 1 (n_critic=1 seed=1), 3 (n_critic=2 seed=1)",
    ]
    assert waits[0] == {"2": 0, "3": 1}
    folders = [call["folder"] for call in engine.calls]
    assert folders[:2] == folders[2:]
    assert len(set(folders)) == 2


def test_a_job_waits_for_its_twin_to_report_or_to_stay_away(inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = inside / "ledger"
    for key, value in {job.LEDGER: str(ledger), job.TWINS: '{"3": 1}'}.items():
        monkeypatch.setenv(key, value)
    waited: list[float] = []

    def report(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 2:
            ledger.write_text('{"job": 1, "status": "done"}\n')

    monkeypatch.setattr(job.time, "sleep", report)
    job._wait_for_twin(3, inside / "run")
    assert len(waited) == 2
    job._wait_for_twin(1, inside / "run")
    ledger.unlink()
    monkeypatch.setattr(job, "START", -1.0)  # it never begins
    held = RunFolder(inside / "run")
    held.open()
    assert not held.is_free()
    monkeypatch.setattr(job.time, "sleep", lambda seconds: held.close())  # unless it is at work
    job._wait_for_twin(3, inside / "run")
    assert held.is_free()
    Path(f"{ledger}{job.STOP}").touch()
    with pytest.raises(Stopped):
        job._wait_for_twin(3, inside / "run")


def test_a_sweep_over_the_length_goes_from_the_shortest_run_up(inside: Path, engine: Engine) -> None:
    answer = run("train", "-m", "steps=300,100", "seed=1,0")
    assert answer.code == 0
    assert answer.lines[0].startswith("note: steps=300,100: done from the fewest steps up")
    assert [(call["config"]["steps"], call["config"]["seed"]) for call in engine.calls] == [
        (100, 1),
        (100, 0),
        (300, 1),
        (300, 0),
    ]


def test_a_sweep_in_a_file_is_checked_and_read_as_one_that_is_typed(inside: Path, engine: Engine) -> None:
    texts = {
        "good": "sweeper: {params: {name: 1.10, seed: '0,0,1', steps: '9,5'}}",
        "bad": "sweeper: {params: {sed: '0,1', loss: 'hing,lsgan', steps: 'x,5', batch_size: [4, 8]}}",
        "itself": "mode: MULTIRUN, sweeper: {params: {seed: '3,4'}}",
    }
    heads = "# @package _global_\n# X.\n"
    mine = write(inside, **{f"experiment__{name}": f"{heads}hydra: {{{text}}}\n" for name, text in texts.items()})
    answer = run("train", "-m", "-cd", mine, "experiment=good", "seed=2,2")
    assert answer.code == 0
    assert "stands twice" in answer.err
    done = [(call["config"]["name"], call["config"]["seed"], call["config"]["steps"]) for call in engine.calls]
    assert done == [("1.10", 2, 5), ("1.10", 2, 9)]
    bad = run("train", "-m", "-cd", mine, "experiment=bad")
    typed = ("sed=0,1", "loss=hing,lsgan", "steps=x,5", "batch_size=[4,8]")
    assert (bad.code, [line.partition(":")[0] for line in bad.lines]) == (2, list(typed))
    assert all(line.endswith("(in hydra.sweeper.params)") for line in bad.lines)
    engine.calls.clear()
    alone = run("train", "-cd", mine, "experiment=good")
    assert alone.lines == ["note: hydra.sweeper.params: name=1.10 seed=0,0,1 steps=9,5 in a file is a sweep, which needs -m"]
    assert run("train", "-cd", mine, "experiment=itself").err.endswith("sweep: 2 done\n")
    assert [call["config"]["seed"] for call in engine.calls] == [0, 3, 4]


def test_folders_of_hydras_search_path_are_read_as_a_persons_own(inside: Path, engine: Engine) -> None:
    mine = write(inside, loss__broken="a: [1\n", loss__mine="# Mine.\nname: hinge\n", loss__latin="# X.\nname: hinge\n")
    (mine / "loss" / "latin.yaml").write_bytes("# fünf\nname: hinge\n".encode("latin-1"))
    root = inside / "roots" / "own.yaml"
    root.parent.mkdir()
    root.write_text("defaults: [config, _self_]\nhydra: {searchpath: ['file://mine']}\n")
    kinds = {"broken": "line 2", "latin": "is not UTF-8"}
    for words, names in ((["hydra.searchpath=[file://mine]"], ["broken"]), (["-cd", "roots", "-cn", "own"], list(kinds))):
        assert run("train", *words, "loss=mine").code == 0
        assert engine.last["config"]["loss"]["name"] == "hinge"
        for name in names:
            answer = run("train", *words, f"loss={name}")
            assert (answer.code, len(answer.lines)) == (2, 1)
            assert f"mine/loss/{name}.yaml: " in answer.err
            assert kinds[name] in answer.err
    for words, said in {"[file://gone]": "there is no such folder as gone", "mine": "must be a list of folders"}.items():
        answer = run("train", f"hydra.searchpath={words}")
        assert (answer.code, answer.lines) == (2, [f"hydra.searchpath={words}: {said}" + answer.err.strip().partition(said)[2]])


def test_a_launcher_that_is_not_installed_names_its_package(inside: Path) -> None:
    answer = run("train", "-m", "hydra/launcher=rq", "seed=0,1")
    assert (answer.code, len(answer.lines)) == (2, 1)
    assert 'pip install "hydra-rq-launcher"' in answer.err


def test_a_broken_plug_in_of_hydras_is_named_with_its_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    code = compile("def act():\n    raise RuntimeError('no\\nlicence')\n", "/x/hydra_plugins/hydra_bad/__init__.py", "exec")
    module = types.ModuleType("bad")
    exec(code, module.__dict__)
    monkeypatch.setattr(compose.Plugins, "instance", staticmethod(module.act))
    with (
        pytest.raises(BadInput, match=r"the Hydra plug-in hydra_bad cannot be imported .RuntimeError: no licence"),
        compose.searching(None),
    ):
        pass
    with pytest.raises(AssertionError) as caught:
        exec(compile("assert not True", __file__, "exec"))
    assert compose.in_words(caught.value).startswith("AssertionError: ")


def test_a_system_without_fcntl_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with pytest.raises(SystemExit, match="ganrun runs on Unix"):
        app.main()


def test_a_plug_in_joined_by_the_entry_point_is_loaded_recorded_and_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tmp_path / "site"
    (made / "ganrun_extra-1.2.dist-info").mkdir(parents=True)
    (made / "ganrun_extra-1.2.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: ganrun-extra\nVersion: 1.2\n")
    (made / "ganrun_extra-1.2.dist-info" / "entry_points.txt").write_text("[ganrun.plugins]\nmine = ganrun_extra_of_a_test\n")
    (made / "ganrun_extra_of_a_test.py").write_text("LOADED = True\n")
    monkeypatch.syspath_prepend(str(made))
    assert registry.installed_plugins() == {"ganrun-extra": "1.2"}
    registry.load_plugins([])
    assert sys.modules.pop("ganrun_extra_of_a_test").LOADED
    (tmp_path / "run.json").write_text(json.dumps({"installed_plugins": registry.installed_plugins()}))
    assert runs.lacking_plugins(tmp_path) == []
    (made / "ganrun_extra_of_a_test.py").write_text("raise KeyError('x')\n")
    with pytest.raises(BadInput, match=r"the installed plug-in ganrun-extra 1.2 .* cannot be imported: KeyError: 'x'"):
        registry.load_plugins([])
    monkeypatch.undo()
    (note,) = runs.lacking_plugins(tmp_path)
    assert "ganrun-extra 1.2" in note
    assert "pip install ganrun-extra==1.2" in note
    monkeypatch.setattr(runs, "read_config", lambda folder: {"plugins": ["mine"]})
    with pytest.warns(UserWarning, match="ganrun-extra==1.2"), pytest.raises(BadInput, match="Name them again"):
        ganrun.load(tmp_path)


def test_a_remedy_is_an_override_that_a_shell_takes_whole() -> None:
    for group, config, remedy in (
        ("game", {"name": "infogan", "categories": [], "continuous": 0}, "Try 'game.categories=[10]'"),
        (
            "regularizer",
            {"name": "spectral_regularization", "mode": "dynamic", "index": 3},
            "Try regularizer.spectral_regularization.index=null",
        ),
        ("model", {"name": "mlp", "generator": {"dropout_always": True}}, "Try model.generator.dropout=0.5"),
        ("model", {"name": "mlp", "discriminator": {"norm": "instance"}}, "Try model.discriminator.norm=layer"),
    ):
        with pytest.raises(BadInput) as refused:
            registry.build(group, config)
        assert str(refused.value).endswith(remedy)


def test_a_tilde_that_the_shell_has_left_is_home(inside: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(inside / "home"))
    (inside / "home" / "mine").mkdir(parents=True)
    asked: list[launch.Command] = []
    monkeypatch.setattr(launch, "train", lambda command: asked.append(command) or 0)
    assert run("train", "--config-dir=~/mine").code == 0
    assert asked[0].config_dir == inside / "home" / "mine"


def test_optuna_with_an_sqlalchemy_that_it_cannot_use_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "optuna" / "storages"
    place.mkdir(parents=True)
    made = {"error": None}
    try:
        exec(compile("assert None", str(place / "storage.py"), "exec"))
    except AssertionError as error:
        made["error"] = error
    versions = {"optuna": "2.10.1", "sqlalchemy": "2.1.9"}
    monkeypatch.setattr(compose.metadata, "version", versions.__getitem__)
    said = compose.known_cause(made["error"])
    assert 'Optuna 2.10.1 cannot keep a study with SQLAlchemy 2.1.9: pip install "ganrun[optuna]"' in said
    versions["sqlalchemy"] = "1.4.54"
    assert compose.known_cause(made["error"]) == ""


def ledger_of(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "jobs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_jobs_that_never_report_stand_in_the_table_as_lost_and_those_that_never_begin_too(
    inside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    began = [{"job": number, "process": 1, "host": "x", "varied": f"seed={number}"} for number in (0, 1)]
    done = {"job": 0, "folder": "outputs/x/y", "status": "done", "code": 0, "varied": "seed=0", "outcome": "objective fid 1"}
    jobs = {0: "seed=0", 1: "seed=1", 2: "seed=2"}
    rows = sweep.close(ledger_of(inside, *began, done), jobs)
    assert [(row["job"], row["status"]) for row in rows] == [(0, "done"), (1, "lost"), (2, "not begun")]
    assert list(inside.iterdir()) == []
    assert sweep.summary(rows) == 1
    said = capsys.readouterr().err.splitlines()
    assert said[-1] == "sweep: 1 done, 1 lost, 1 not begun; the same command goes on with what is missing"
    assert [line.split()[:3] for line in said[1:4]] == [["0", "done", "seed=0"], ["1", "lost", "seed=1"], ["2", "not", "begun"]]
    assert sweep.summary(rows[:1]) == 0


def test_jobs_that_still_work_are_waited_for_where_a_launcher_gives_up(
    inside: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here = sweep.socket.gethostname()
    began = [{"job": number, "process": of, "host": here, "varied": ""} for number, of in ((0, os.getpid()), (1, 2**22 + 1))]
    path = ledger_of(inside, *began, {"job": 2, "process": os.getpid(), "host": "elsewhere", "varied": ""})
    waited: list[float] = []

    def report(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            with open(path, "a") as file:
                file.write('{"job": 0, "status": "done"}\n')

    monkeypatch.setattr(sweep.time, "sleep", report)
    sweep.wait_for_others(path)
    assert len(waited) == 3
    assert capsys.readouterr().err == "note: a job was lost; waiting for those that still work: 0\n"


class Trial:
    """What ganrun reads of Optuna's."""

    def __init__(self, number: int, value: float | None) -> None:
        self.number, self.values, self.params = number, [value], {"optimizer.lr": number / 10}
        self.state = type("State", (), {"name": "FAIL" if value is None else "COMPLETE"})


def test_a_kept_study_gets_the_trials_that_it_lacks_and_no_more(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    held: list[Trial] = []
    monkeypatch.setattr(study, "trials", lambda name, storage: held)

    def asked(**changed: Any) -> list[str] | None:
        sweeper = {
            "_target_": "hydra_plugins.hydra_optuna_sweeper.x",
            "storage": "sqlite:///s",
            "study_name": "s",
            "n_trials": 4,
        }
        return study.overrides(OmegaConf.create({"hydra": {"sweeper": {**sweeper, "sampler": {"seed": 5}, **changed}}}))

    assert asked() == []  # the first command
    held += [Trial(0, 0.5), Trial(1, None), Trial(2, 0.25)]
    assert asked() == ["hydra.sweeper.n_trials=2", "hydra.sweeper.sampler.seed=8"]
    assert asked(sampler={"seed": None}) == ["hydra.sweeper.n_trials=2"]
    assert "the study s has 2 of 4 trials already" in capsys.readouterr().err
    assert asked(n_trials=2) is None
    lines = capsys.readouterr().err.splitlines()
    assert [line.split() for line in lines[2:4]] == [["2", "optimizer.lr=0.2", "0.25"], ["0", "optimizer.lr=0.0", "0.5"]]
    assert asked(storage=None) == asked(_target_=job.BASIC_SWEEPER) == []
    assert asked(study_name=None) == []
    assert "the study has no name" in capsys.readouterr().err


@pytest.mark.long
def test_a_killed_worker_of_submitit_loses_its_own_job_and_the_same_command_goes_on(inside: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    line = ["train", "-m", "hydra/launcher=submitit_local", "hydra.launcher.timeout_min=5"]
    answer = cli_driver.finish(cli_driver.start(inside, *line, "seed=17,1,2"))
    assert answer.code == 1
    assert "sweep: 2 done, 1 lost; the same command goes on with what is missing" in answer.err
    assert "hydra_submitit_launcher gave up (UncompletedJobError" in answer.lines[-1]
    again = cli_driver.finish(cli_driver.start(inside, *line, "seed=3,4"))
    assert (again.code, again.lines[-1]) == (0, "sweep: 2 done")


@pytest.mark.long
def test_a_killed_worker_of_joblib_is_lost_and_every_job_stands_in_the_table(inside: Path) -> None:
    line = ["train", "-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "seed=1,17,2,3"]
    answer = cli_driver.finish(cli_driver.start(inside, *line))
    assert answer.code == 1
    table = [line.split()[:2] for line in answer.lines if line[:1].isdigit()]
    assert [number for number, _ in table] == ["0", "1", "2", "3"]
    assert ["1", "lost"] in table
    assert "the same command goes on with what is missing" in answer.err
    assert "gave up (TerminatedWorkerError" in answer.lines[-1]


@pytest.mark.long
def test_optuna_goes_on_with_a_study_in_sqlite_by_the_same_command(inside: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    if compose._version("sqlalchemy") >= compose.Version("2"):
        pytest.skip("Optuna 2 keeps no study with SQLAlchemy 2: pip install 'ganrun[optuna]'")
    line = ["train", "-m", "hydra/sweeper=optuna", "hydra.sweeper.storage=sqlite:///study.db", "hydra.sweeper.study_name=s"]
    line += ["hydra.sweeper.sampler.seed=0", "seed=range(20,40)"]
    path = os.pathsep.join([str(inside / ".stand_in"), *filter(None, [os.environ.get("PYTHONPATH")])])
    lines = [[*line, f"hydra.sweeper.n_trials={count}"] for count in (2, 3, 3)]
    answers = [cli_driver.finish(cli_driver.start(inside, *words, PYTHONPATH=path)) for words in lines]
    assert [answer.code for answer in answers] == [0, 0, 0]
    assert answers[0].lines[-1] == "sweep: 2 done"
    assert answers[1].lines[-1] == "sweep: 1 done"
    assert "all trials are done" in answers[2].lines[-1]
    trained = [line for answer in answers for line in answer.lines if line.startswith("TRAINS")]
    assert len(set(trained)) == 3


# the configs of a sweep's jobs

SWEPT = (
    ["dataset=ring8", "seed=1", "optimizer.lr=1e-3"],
    ["dataset=ring8", "seed=2", "optimizer.lr=2e-3"],
    ["dataset=ring8", "seed=2", "optimizer.lr=null"],
    ["dataset=digits", "seed=2"],
    ["dataset=digits", "seed=3"],
    ["dataset=digits", "seed=4", "name=a-b"],
    ["dataset=digits", "seed=5", "name='1.10'"],
    ["experiment=wgan_gp", "n_critic=2"],
    ["experiment=wgan_gp", "n_critic=3"],
    ["regularizer=[r1,gradient_penalty]", "regularizer.r1.weight=1"],
    ["regularizer=[r1,gradient_penalty]", "regularizer.r1.weight=2.5"],
    ["optimizer.betas=[0.1,0.9]"],
    ["optimizer.betas=[0.2,0.9]"],
    ["optimizer.discriminator.name=sgd", "optimizer.discriminator.lr=1e-3"],
    ["optimizer.discriminator.name=adam", "optimizer.discriminator.lr=1e-3"],
    ["optimizer.discriminator.name=sgd", "optimizer.discriminator.lr=2e-3"],
    ["every={log: 5}", "every.log=7"],
    ["every={log: 6}", "every.log=8"],
    ["steps=${seed}", "seed=3"],
    ["steps=${seed}", "seed=4"],
    ["+hydra.job.env_set.A=1", "seed=3"],
    ["+hydra.job.env_set.A=1", "seed=4"],
)


def test_configs_of_jobs_that_are_composed_once_are_those_that_hydra_composes() -> None:
    with compose.composer() as found:
        master, plain = found.compose([]), ConfigLoaderImpl.load_sweep_config
        composed: list[list[str]] = []
        jobs = sweep_configs.Jobs(lambda loader, master, texts: (composed.append(texts), plain(loader, master, texts))[1])
        for texts in SWEPT:
            jobs.check(found.loader, master, texts)  # leaves no trace in what comes
        for texts in SWEPT:
            made, expected = jobs.config(found.loader, master, texts), plain(found.loader, master, texts)
            assert OmegaConf.to_container(made, resolve=False) == OmegaConf.to_container(expected, resolve=False), texts
            assert made._get_flag("struct") == expected._get_flag("struct")
            made.seed = 999  # the caller's own
    once = [texts for texts in SWEPT if composed.count(texts) == 0]
    assert [texts[-1] for texts in once] == [
        "optimizer.lr=2e-3", "optimizer.lr=null", "seed=3", "name='1.10'", "n_critic=3", "regularizer.r1.weight=2.5",
        "optimizer.discriminator.lr=2e-3", "seed=4",
    ]  # fmt: skip


def test_a_value_that_no_key_takes_is_refused_as_hydra_does() -> None:
    with compose.composer() as found:
        master, plain = found.compose([]), ConfigLoaderImpl.load_sweep_config
        jobs = sweep_configs.Jobs(plain)
        for ask in (jobs.check, jobs.config):
            with pytest.raises(HydraException, match="nothing_of_the_kind"):
                ask(found.loader, master, ["nothing_of_the_kind=1"])


def test_after_a_sweep_hydra_is_as_it_was() -> None:
    before = ConfigLoaderImpl.load_sweep_config, Sweeper.validate_batch_is_legal
    with suppress(KeyError), sweep_configs.composed_once():
        assert ConfigLoaderImpl.load_sweep_config is not before[0]
        raise KeyError
    assert (ConfigLoaderImpl.load_sweep_config, Sweeper.validate_batch_is_legal) == before
