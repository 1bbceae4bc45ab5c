"""Mistakes of a command line: all at once, one line each with the nearest names, exit 2, nothing on the disk."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import cli_driver
import pytest
from cli_driver import CONF, Engine, files, run, write
from conftest import one_in
from hydra.core.hydra_config import HydraConfig

from ganrun.cli import job, signature
from ganrun.cli.compose import composer
from ganrun.cli.schema import check
from ganrun.ground.errors import BadInput, nearest

inside, engine = cli_driver.inside, cli_driver.engine  # fixtures


def mistakes(*overrides: str, multirun: bool = False) -> list[str]:
    with composer() as found:
        return check.verify(overrides, found, [CONF], multirun=multirun).mistakes


def test_three_mistakes_are_three_lines_and_nothing_is_written(inside: Path, engine: Engine) -> None:
    answer = run("train", "loss=wassersten", "stepz=3", "batch_size=x")
    assert answer.code == 2
    assert answer.lines == [
        "loss=wassersten: there is no loss 'wassersten'. Did you mean 'wasserstein'?",
        "stepz=3: there is no key 'stepz'. Did you mean 'steps'?",
        "batch_size=x: must be a whole number",
    ]
    assert (files(inside), engine.calls, answer.out) == (set(), [], "")


ONE_MISTAKE = {
    "lr=1": "Did you mean 'optimizer.lr'",
    "optimizer.lrr=1": "Did you mean 'optimizer.lr'?",
    "every.chekpoint=1": "Did you mean 'every.checkpoint'?",
    "+loss.foo=1": "there is no key 'loss.foo'",
    "++loss.foo=1": "there is no key 'loss.foo'",
    "+steps=3": "write steps=VALUE, without '+'",
    "~steps": "write steps=VALUE",
    "~loss": "a run needs a loss",
    "+regularizer=r1": "write regularizer=[...]",
    "loss.name=hinge": "choose another one with loss=",
    "steps.foo=1": "'steps' has no keys",
    "loss@other=hinge": "write loss=",
    "loss=[hinge]": "takes the name of one loss",
    "loss={name: hinge}": "takes the name of one loss",
    "loss=null": "a run needs a loss",
    "regularizer=null": "write regularizer=none",
    "regularizer=[r1,spectralnorm]": "Did you mean 'spectral_norm'",
    "regularizer.r1.weight=3": "r1 is not chosen; add regularizer=[r1]",
    "experiment=non": "Did you mean 'none'",
    "wgan": "Did you mean experiment=wgan or model=wgan?",
    "betas=[0.5, 0.9": "cannot be read",
    "loss=hinge,lsgan": "several values need -m",
    "regularizer=r1,spectral_norm": "regularizer=[r1,spectral_norm]",
    "optimizer.betas=0.5,0.9": "a list is 'optimizer.betas=[0.5,0.9]'",
    "seed=range(1,4)": "several values need -m",
    "steps=1e5": "write steps=100000",
    "steps=many": "must be a whole number",
    "steps=null": "must be a whole number",
    "steps=true": "must be a whole number",
    "steps=[1]": "must be a whole number",
    "game.n_critic=2.0": "write n_critic=2",
    "optimizer.lr=fast": "must be a number",
    "optimizer.lr=true": "must be a number",
    "evaluation.average=1": "must be true or false",
    "model.generator.norm=null": "must be text",
    "optimizer.betas=0.5": "must be a list",
    "optimizer.betas=[a,b]": "must be a number, at 'a'",
    "every=5": "every.log",
    "every={log: x}": "must be a whole number",
    "every={lug: 5}": "Did you mean 'every.log'?",
    "evaluation.num=many": "must be a whole number",
    "plugins=mine": "must be a list, such as [mine]",
    "plugins=[../mine]": "module names",
    "steps=0": "at least 1",
    "batch_size=0": "at least 1",
    "accumulate=0": "at least 1",
    "accumulate=3": "cannot be cut into 3 equal parts",
    "n_critic=0": "at least 1",
    "ema=1": "less than 1",
    "ema=-0.1": "at least 0",
    "seed=-1": "at least 0",
    "keep=0": "at least 1",
    "every.log=-1": "at least 0",
    "evaluation.num=1": "at least 2",
    "evaluation.reference=test": "must be one of train, held_out",
    "name=../x": "1 to 100",
    "name=a/b": "1 to 100",
    "name=..": "1 to 100",
    "loss._target_=os.system": "_target_ is refused",
    "+loss._target_=os.system": "_target_ is refused",
    "++a={b: {_target_: x}}": "_target_ is refused",
    "every={_target_: x}": "_target_ is refused",
    "hydra/launcher=jobli": "Did you mean 'joblib'?",
    "device=gpu": "Did you mean 'cuda'?",
    "hydra/lancher=joblib": "Did you mean 'hydra/launcher'",
    "hydra.sweeep.dir=x": "Did you mean 'hydra.sweep'",
}


TOGETHER = [text for text in ONE_MISTAKE if not text.startswith(("loss", "accumulate", "regularizer"))]


@functools.cache
def of_all_together() -> list[str]:
    return mistakes(*TOGETHER)


def test_each_mistake_of_a_long_line_has_its_line_in_the_order_typed() -> None:
    assert [line.partition(":")[0] for line in of_all_together()] == [text.partition(":")[0] for text in TOGETHER]


@pytest.mark.parametrize("typed", ONE_MISTAKE)
def test_one_mistake_is_one_line(typed: str) -> None:
    found = mistakes(typed) if typed not in TOGETHER else [of_all_together()[TOGETHER.index(typed)]]
    assert len(found) == 1, found
    assert found[0].startswith(f"{typed}:") or typed == "accumulate=3"
    assert ONE_MISTAKE[typed] in found[0]


ON_THE_WAY = [
    (["optimizer.lr=${nowhere}"], "'nowhere' not found"),
    (["optimizer.lr=${nowhere}", "-m"], "'nowhere' not found"),
    (["optimizer.lr=${nowhere}", "--cfg", "job", "--resolve"], "'nowhere' not found"),
    (["name=${oc.env:GANRUN_TEST_NAME}"], "gives ../x: holds 1 to 100"),
    (["name=${oc.env:GANRUN_TEST_NAME}", "-m"], "gives ../x: holds 1 to 100"),
    (["fork=true"], "needs resume=RUN"),
    (["resume=a,b", "-m"], "takes one value"),
]


@pytest.mark.parametrize(("typed", "words"), ON_THE_WAY)
def test_what_only_shows_when_all_is_put_together_is_one_line_too(
    typed: list[str], words: str, inside: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GANRUN_TEST_NAME", "../x")
    answer = run("train", *typed)
    assert (answer.code, len(answer.lines)) == (2, 1), answer.err
    assert words in answer.err
    assert {path for path in files(inside) if ".sweep" not in path and path != "outputs"} == set()
    assert engine.calls == []


FINE = [
    "optimizer.lr=1",
    "optimizer.betas=[0,0.9]",
    "optimizer.betas.0=.1",
    "name=2026",
    "objective=3",
    "steps=100_000",
    "every={log: 5}",
    "every.log=0",
    "evaluation.num=null",
    "evaluation.num=2",
    "device.threads=3",
    "dataset.size=null",
    "dataset.size=16",
    "ema=0",
    "regularizer=[]",
    "~regularizer",
    "metric=none",
    "accumulate=4",
    "optimizer.generator.lr=${n_critic}",
    "plugins=[]",
    "regularizer=[r1,spectral_norm]",
    "model=wgan",
    "dataset=ring8",
    "hydra.run.dir=elsewhere",
    "hydra.job.name=x",
]


def test_no_false_alarm() -> None:
    choices = [text for text in FINE if text.startswith(("model=", "dataset=", "regularizer=", "~", "metric="))]
    assert mistakes(*(text for text in FINE if text not in choices)) == []
    for text in choices:
        assert mistakes(text) == []


def test_mistakes_stand_in_the_order_typed_and_once() -> None:
    typed = ["seed=-1", "loss=hing", "steps=x", "+a=1", "model.latent=2.5", "regularizer=[rr,spectral_nrm]"]
    found = mistakes(*typed)
    assert [line.split(":")[0] for line in found] == [*typed, typed[-1]]


def test_a_misspelt_option_brings_no_further_alarm_about_its_keys() -> None:
    assert len(mistakes("loss=lsgn", "loss.a=1")) == 1


def test_a_group_chosen_twice_is_said() -> None:
    assert mistakes("model=wgan", "model=sngan") == ["model=sngan: model is chosen twice, by model=wgan too"]


FOLDERS = "dataset=folder, dataset=paired_folder, dataset=unpaired_folder"
OF_ANOTHER_OPTION = {
    "dataset.root=my/images": f"in dataset=digits. It belongs to {FOLDERS}: dataset=folder dataset.root=my/images",
    "+dataset.root='a b'": f"in dataset=digits. It belongs to {FOLDERS}: dataset=folder 'dataset.root='\"'\"'a b'\"'\"''",
    "dataset.source=left": "dataset=paired_folder, dataset=unpaired_folder: dataset=paired_folder dataset.source=left",
    "game.inner_lr=1": "in game=adversarial. It belongs to game=unrolled: game=unrolled game.inner_lr=1",
    "dataset.rooot=x": "there is no key 'dataset.rooot'. Valid here:",
    "~dataset.root": f"in dataset=digits. It belongs to {FOLDERS}",
    "model.dropout=0.5": "'model.discriminator.dropout'? It belongs to model=translator, model=unet: ",
}


@pytest.mark.parametrize("typed", OF_ANOTHER_OPTION)
def test_a_key_of_another_option_leads_to_it(typed: str) -> None:
    (sentence,) = mistakes(typed)
    assert OF_ANOTHER_OPTION[typed] in sentence


def test_a_key_of_many_options_names_some_and_how_many_more() -> None:
    (sentence,) = mistakes("dataset=ring8", "dataset.size=16")
    assert re.search(r"in dataset=ring8\. It belongs to dataset=\w+, dataset=\w+, dataset=\w+ and \d+ more$", sentence)


def test_another_word_for_a_name_counts_only_where_the_name_is_valid() -> None:
    assert nearest("Metal", ["cpu", "cuda", "mps"]) == ["mps"]
    assert nearest("gpu", ["cpu"]) == ["cpu"]


def test_the_values_of_a_sweep_are_checked_one_by_one_and_combinations_named() -> None:
    assert mistakes("seed=1,2,x", multirun=True) == ["seed=1,2,x: must be a whole number"]
    assert mistakes("loss=hinge,lsgan", "loss.a=0.5", multirun=True) == [
        "loss.a=0.5: there is no key 'loss.a' in loss=hinge. It belongs to loss=lsgan, loss=lsgan_pearson: "
        "loss=lsgan loss.a=0.5 (with loss=hinge)"
    ]
    assert mistakes("loss=lsgan,lsgn", multirun=True)[0].endswith("Did you mean 'lsgan'?")
    assert mistakes("batch_size=10,12", "accumulate=2,3", multirun=True) == [
        "accumulate=3: batch_size=10 cannot be cut into 3 equal parts"
    ]
    assert "no loss matches" in mistakes("loss=glob(zz*)", multirun=True)[0]
    for fine in ("loss=glob(h*)", "regularizer=none,r1,[r1,spectral_norm]", "seed=range(0,5)"):
        assert mistakes(fine, multirun=True) == []


def test_a_sweep_is_checked_before_its_first_job(inside: Path, engine: Engine) -> None:
    answer = run("train", "-m", "loss=hinge,lsgan,hnge", "seed=1,2")
    assert (answer.code, len(answer.lines)) == (2, 1)
    assert (files(inside), engine.calls) == (set(), [])


def test_a_sweep_written_in_a_file_is_checked_too(inside: Path, engine: Engine) -> None:
    text = "# @package _global_\n# Sweeps.\nhydra: {sweeper: {params: {%s: '1,2'}}}\n"
    mine = write(inside, experiment__good=text % "seed", experiment__bad=text % "sead")
    answer = run("train", "-cd", mine, "-m", "experiment=bad")
    assert answer.code == 2
    assert answer.err.startswith("sead=1,2: there is no key 'sead'. Did you mean 'seed'")
    assert engine.calls == []
    assert run("train", "-cd", mine, "-m", "experiment=good").code == 0
    assert [call["config"]["seed"] for call in engine.calls] == [1, 2]


def test_composing_once_is_enough_for_a_hundred_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    composed = []
    with composer() as found:
        compose = found.compose
        monkeypatch.setattr(found, "compose", lambda overrides: composed.append(overrides) or compose(overrides))
        seeds = ",".join(map(str, range(100)))
        assert not check.verify([f"seed={seeds}", "loss=hinge,lsgan"], found, [CONF], multirun=True).mistakes
    assert len(composed) == 2


def test_hydras_own_flags_are_hydras_own_errors_on_one_line(inside: Path) -> None:
    for arguments, words in {
        ("-m", "--cfg", "job"): "exclude each other",
        ("--resolve",): "go with --cfg",
        ("--config-name", "nowhere"): "Cannot find primary config 'nowhere'",
        ("--config-dir", "nowhere"): "there is no such folder",
        ("-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=x"): "n_jobs",
        ("--cfg", "job", "-p", "nowhere"): "'nowhere' not found",
        ("--", "--experimental-rerun=x"): "flags go before",
    }.items():
        answer = run("train", *arguments)
        assert (answer.code, len((answer.err + answer.out).strip().splitlines())) == (2, 1), answer.err
        assert words in answer.err + answer.out
    assert files(inside) == set()


FILES = {
    "typo in a root key": ("experiment__x", "# @package _global_\n# X.\nstepz: 3\n", "Did you mean 'steps'?"),
    "typo in a group": ("experiment__x", "# @package _global_\n# X.\noptimizer: {lrr: 3}\n", "Did you mean 'optimizer.lr'?"),
    "typo in a stack": (
        "experiment__x",
        "# @package _global_\n# X.\ndefaults: [override /regularizer: r1]\nregularizer: {r1: {weigth: 3}}\n",
        "Did you mean 'regularizer.r1.weight'?",
    ),
    "wrong type": ("experiment__x", "# @package _global_\n# X.\nsteps: many\n", "must be a whole number"),
    "out of bounds": ("experiment__x", "# @package _global_\n# X.\nema: 2\n", "less than 1"),
    "no such option": ("experiment__x", "# @package _global_\n# X.\ndefaults: [override /loss: hing]\n", "loss/hing"),
    "no header": ("experiment__x", "# X.\nsteps: 3\n", "# @package _global_"),
    "no header, choices": ("experiment__x", "# X.\ndefaults: [override /loss: hinge]\n", "# @package _global_"),
    "a class path": ("experiment__x", "# @package _global_\n# X.\nloss: {_target_: os.system}\n", "never runs a class path"),
    "plugins": ("experiment__x", "# @package _global_\n# X.\nplugins: [os]\n", "belongs on the command line"),
    "resume": ("experiment__x", "# @package _global_\n# X.\nresume: there\n", "belongs on the command line"),
    "broken yaml": ("experiment__x", "# @package _global_\nsteps: [\n", "x.yaml"),
    "typo of a recipe": (
        "model__x",
        "# @package _global_\n# X.\ndefaults: [dcgan@model, _self_]\nbatchsize: 3\n",
        "model=x: writes batchsize=3, there is no such key. Did you mean 'batch_size'",
    ),
    "typo of a recipe in a group": (
        "model__x",
        "# @package _global_\n# X.\ndefaults: [dcgan@model, _self_]\noptimizer: {lrr: 3}\n",
        "Did you mean 'optimizer.lr'?",
    ),
}


@pytest.mark.parametrize("case", one_in(2, FILES))
def test_a_mistake_in_a_users_own_file_is_one_line_too(case: str, inside: Path, engine: Engine) -> None:
    name, text, words = FILES[case]
    group = name.partition("__")[0]
    answer = run("train", "--config-dir", write(inside, **{name: text}), f"{group}=x")
    assert (answer.code, len(answer.lines)) == (2, 1), answer.err
    assert words in answer.err
    assert (files(inside), engine.calls) == (set(), [])


def test_an_experiments_values_go_with_the_option_that_they_are_for_and_that_is_said(inside: Path, engine: Engine) -> None:
    mine = write(inside, experiment__x="# @package _global_\n# X.\noptimizer: {betas: [0.1, 0.2], lr: 0.5}\n")
    assert run("train", "-cd", mine, "experiment=x").err == ""
    assert engine.last["config"]["optimizer"]["generator"]["betas"] == [0.1, 0.2]
    answer = run("train", "-cd", mine, "experiment=x", "optimizer=rmsprop")
    assert answer.code == 0
    left = "optimizer.betas, optimizer.lr for optimizer=adam; with optimizer=rmsprop that is left out"
    assert answer.err == f"note: experiment=x sets {left}\n"
    assert (engine.last["config"]["optimizer"]["lr"], "betas" in engine.last["config"]["optimizer"]) == (5e-5, False)


def test_a_papers_name_in_another_group_leads_to_its_experiment(inside: Path) -> None:
    said = "there is no optimizer 'lsgan'. The settings of a paper are an experiment: experiment=lsgan"
    assert run("train", "optimizer=lsgan").err == f"optimizer=lsgan: {said}\n"


OF_COMPONENTS = {
    "model.generator.norm=bach": "must be one of batch, layer, instance, group, virtual, none. Did you mean 'batch'?",
    "model.discriminator.norm=virtual": "must be one of batch, layer, instance, group, none",
    "model.latent=0": "must be at least 1",
    "regularizer.r1.weight=-1": "must be at least 0",
    "regularizer.r1.every=0": "must be at least 1",
    "regularizer.r1.at=smple": "must be one of sample, input. Did you mean 'sample'?",
    "optimizer.schedule.name=cosin": "must be one of constant, linear, cosine, exponential. Did you mean 'cosine'?",
    "optimizer.schedule.start=1": "must be at least 0 and less than 1",
    "optimizer.betas=[0.5,1]": "must be at least 0 and less than 1, at 1",
    "optimizer.discriminator.betas=[0.5]": "must be a list of 2 entries",
    "optimizer.generator.lr=-1": "must be at least 0",
    "dataset.fraction=0": "must be above 0 and at most 1",
    "dataset.size=big": "must be a whole number, or null",
    "game.gain=fre": "Did you mean 'free'?",
    "game.n_critic=0": "must be at least 1",
    "metric.is.splits=0": "must be at least 1",
    "device.threads=0": "must be at least 1, or null",
    "doctor.stop=[colapse]": "'colapse' must be one of average_lag",
    "evaluation.extractor=clasifier": "Did you mean 'classifier'?",
    "disease.collapse.spread=x": "must be a number",
    "ema=nan": "must be a finite number",
}


def test_mistakes_in_the_options_of_components_are_named_all_at_once() -> None:
    found = mistakes("regularizer=r1", *OF_COMPONENTS)
    assert [line.partition(":")[0] for line in found] == list(OF_COMPONENTS)
    assert [line for line, words in zip(found, OF_COMPONENTS.values(), strict=True) if words not in line] == []


def test_an_experiments_values_are_held_against_the_bounds_too(tmp_path: Path) -> None:
    text = "# @package _global_\n# X.\ndefaults:\n  - override /regularizer: r1\nregularizer: {r1: {weight: -1}}\nema: 2\n"
    answer = run("train", "experiment=x", "-cd", write(tmp_path, experiment__x=text), "--cfg", "job")
    assert answer.lines == [
        "experiment=x: ema=2 must be at least 0 and less than 1",
        "experiment=x: regularizer.r1.weight=-1 must be at least 0",
    ]


def test_a_plug_in_may_add_a_schedule_that_the_comment_does_not_name() -> None:
    assert mistakes("optimizer.schedule.name=cyclic", "plugins=[mine]") == []
    assert len(mistakes("optimizer.schedule.name=cyclic")) == 1


def test_values_that_a_sweeper_chose_are_held_against_the_bounds_in_the_job() -> None:
    with composer() as found:
        for overrides, wrong in (
            (["ema=2", "regularizer=r1", "regularizer.r1.weight=-1"], ["ema=2:", "regularizer.r1.weight=-1:"]),
            ([], []),
        ):
            composed = found.compose(overrides)
            HydraConfig.instance().set_config(composed)
            try:
                job._refuse_values(signature.plain(composed))
                said = []
            except BadInput as error:
                said = str(error).splitlines()
            assert [line.split(" ")[0] for line in said] == wrong


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("experment=digits", "Did you mean 'experiment'?"),
        ("cuda=true", "Did you mean 'device=cuda'?"),
        ("metric=FID", "Did you mean 'fid'?"),
        ("run", "A value with blanks stands in quotes: 'KEY=my value'"),
    ],
)
def test_what_a_newcomer_types_leads_on(typed: str, said: str) -> None:
    (mistake,) = mistakes(typed)
    assert mistake.endswith(said)


def test_an_interval_needs_a_sweeper_that_searches(inside: Path, engine: Engine) -> None:
    answer = run("train", "-m", "optimizer.lr=interval(1e-4,1e-2)")
    assert (answer.code, len(answer.lines)) == (2, 1)
    assert "needs hydra/sweeper=optuna" in answer.err


def test_a_players_keys_are_those_of_its_own_kind_of_optimizer() -> None:
    place = "optimizer.discriminator"
    having = f"Valid here: lr, momentum, momentum_final, name, nesterov, weight_decay. It belongs to {place}.name=adam"
    typed = [f"{place}.name=sgd", f"{place}.betas=[0,0.9]", f"{place}.momentum=-1", f"{place}.momentun=0.9", "steps=0"]
    assert mistakes(*typed) == [
        f"{typed[1]}: there is no key '{place}.betas' with {place}.name=sgd. {having}",
        f"{typed[2]}: must be at least 0",
        f"{typed[3]}: there is no key '{place}.momentun' with {place}.name=sgd. "
        f"Did you mean '{place}.momentum' or '{place}.momentum_final'?",
        "steps=0: must be at least 1",
    ]
    assert mistakes(*typed[:1], f"{place}.momentum=0.9", f"{place}.nesterov=true", "optimizer.generator.betas=[0,0.9]") == []


def test_a_kind_of_optimizer_that_is_none_is_named_with_the_nearest_and_hides_no_other_mistake() -> None:
    name, wrong = "optimizer.discriminator.name=sgdd", "optimizer.discriminator.momentun=0.9"
    found = mistakes(name, wrong, "optimizer.discriminator.momentum=0.9", "optimizer.generator.name=ttur")
    assert found[0] == f"{name}: must be one of adam, rmsprop, sgd. Did you mean 'sgd'?"
    assert found[1].startswith(f"{wrong}: there is no key")
    assert "Did you mean 'optimizer.discriminator.momentum'" in found[1]
    assert found[2:] == ["optimizer.generator.name=ttur: must be one of adam, rmsprop, sgd"]


def test_in_a_sweep_over_kinds_each_key_must_fit_each_kind() -> None:
    momentum = "optimizer.discriminator.momentum=0.9"
    assert mistakes("optimizer.discriminator.name=sgd,rmsprop", momentum, multirun=True) == []
    found = mistakes("optimizer.discriminator.name=adam,sgd", momentum, multirun=True)
    assert len(found) == 1
    assert "For the discriminator alone: optimizer.discriminator.name=rmsprop" in found[0]
    assert found[0].endswith("(with optimizer.discriminator.name=adam)")
    assert len(mistakes("optimizer.discriminator.name=adam,sgd")) == 1  # without -m


def test_a_file_may_choose_a_players_kind_and_its_keys_are_checked(tmp_path: Path) -> None:
    text = "# @package _global_\n# Mine.\noptimizer:\n  discriminator: {name: sgd, NAME: 0.9}\n"
    mine = write(tmp_path, experiment__mine=text.replace("NAME", "momentum"), experiment__wrong=text.replace("NAME", "momentun"))
    with composer(mine) as found:
        config = signature.plain(found.compose(["experiment=mine"]))["optimizer"]["discriminator"]
        assert (config["name"], config["lr"], config["momentum"], "betas" in config) == ("sgd", 1e-2, 0.9, False)
        own = signature.plain(found.compose(["experiment=mine", "optimizer.discriminator.name=adam"]))["optimizer"]
        assert own["discriminator"] == own["generator"]
        wrong = check.verify(["experiment=wrong"], found, [mine, CONF], multirun=False).mistakes
        assert check.verify(["experiment=mine"], found, [mine, CONF], multirun=False).mistakes == []
    assert len(wrong) == 1
    assert wrong[0].startswith(
        "experiment=wrong: writes optimizer.discriminator.momentun=0.9, there is no such key. Did you mean"
    )
