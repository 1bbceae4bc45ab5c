"""The readable part of a run folder's name: what differs from the defaults, bounded; and folders of earlier names."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest
from conftest import compose_config

from ganrun.cli import naming, signature
from ganrun.cli.schema import catalog

CONF = [catalog.conf_dir()]


def words(*overrides: str) -> str:
    return signature.leaf(compose_config(*overrides)).rpartition("-seed")[0]


@pytest.mark.parametrize("group", ["dataset", "model"])
def test_a_default_run_of_any_data_set_or_recipe_is_called_by_its_three_words(group: str) -> None:
    for name in catalog.files(group, CONF):
        config = compose_config(f"{group}={name}", *(["dataset.root=x"] if "folder" in name else []))
        if config[group]["name"] == name:
            expected = "-".join(config[part]["name"] for part in naming.ALWAYS)
            assert signature.leaf(config).rpartition("-seed")[0] == expected, name


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ("regularizer=r1", "dcgan-nonsaturating-digits-r1"),
        ("regularizer=[spectral_norm,r1] condition=concat", "dcgan-nonsaturating-digits-concat-r1-spectral_norm"),
        ("model=wgan regularizer=none", "wgan-wasserstein-digits-no_regularizer"),
        ("game=unrolled dataset=ring8", "mlp-nonsaturating-ring8-unrolled"),
        ("optimizer.lr=1e-4 batch_size=32", "dcgan-nonsaturating-digits-batch_size_32-lr_0.0001"),
        ("optimizer.discriminator.lr=4e-4", "dcgan-nonsaturating-digits-discriminator.lr_0.0004"),
        ("optimizer=rmsprop n_critic=5 pack=2", "dcgan-nonsaturating-digits-rmsprop-n_critic_5-pack_2"),
        ("optimizer.discriminator.name=sgd", "dcgan-nonsaturating-digits-discriminator_sgd"),
        ("optimizer=ttur", "dcgan-nonsaturating-digits-lr_0.0001-betas_0_0.9-discriminator.lr_0.0004"),
        ("regularizer=r1 regularizer.r1.weight=1", "dcgan-nonsaturating-digits-r1-r1.weight_1"),
        ("device.precision=bf16 dataset.classes=[0,4]", "dcgan-nonsaturating-digits-precision_bf16-classes_0_4"),
        ("steps=7 every.log=1 metric=is keep=9 plugins=[x] output=y name=z device=cpu", "dcgan-nonsaturating-digits"),
    ],
)
def test_what_differs_is_said(overrides: str, expected: str) -> None:
    assert words(*overrides.split()) == expected


def test_the_name_is_bounded_and_plain_and_says_how_much_it_leaves_out() -> None:
    found = words("condition=projection", "regularizer=[r1,r2,orthogonal]", "n_critic=5", "ema=0.5", "optimizer.lr=3e-4")
    assert found == "dcgan-nonsaturating-digits-projection-orthogonal-r1-r2-n_critic_5-and-2-more"
    config = compose_config("dataset=folder", "dataset.root=x")
    config["dataset"]["classes"] = ["großer Hund", "a/b", "=;(" * 40]
    name = signature.leaf(config)
    assert re.fullmatch(r"[A-Za-z0-9._-]+", name)
    assert len(name.rpartition("-seed")[0]) <= naming.LONGEST
    long = copy.deepcopy(config)
    for group in naming.ALWAYS:
        long[group]["name"] = "x" * 100
    assert len(signature.leaf(long)) <= 120


def test_a_persons_own_options_are_named_and_their_values_left_out() -> None:
    config = compose_config("regularizer=r1")
    config["loss"] = {"name": "mine", "margin": 3}
    config["regularizer"]["own"] = {"name": "own", "weight": 2}
    assert signature.leaf(config).startswith("dcgan-mine-digits-own-r1-seed0-")


def test_a_run_under_an_earlier_name_is_found_by_its_signature(tmp_path: Path) -> None:
    config = compose_config("regularizer=r1", f"output={tmp_path}", "seed=4")
    new = signature.run_folder(config)
    assert new.name == signature.leaf(config)
    digits = new.name.rpartition("-")[2]
    for other in (f"mlp-seed4-{digits}.aside-1", f"mlp-seed14-{digits}", "mlp-seed4-0123456789", f"empty-seed4-{digits}"):
        (new.parent / other).mkdir(parents=True)
        if "empty" not in other:
            (new.parent / other / "config.yaml").touch()
    assert signature.run_folder(config) == new
    old = new.parent / f"dcgan-nonsaturating-digits-seed4-{digits}"
    old.mkdir()
    (old / "config.yaml").touch()
    assert signature.run_folder(config) == old
    new.mkdir()
    assert signature.run_folder(config) == new
