"""The presets of papers: each composes, says what it is, and trains at the smallest widths on the data it names."""

from __future__ import annotations

import pytest
from conftest import CONF, compose_config, make_trainer
from matrix import smallest

EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml") if path.stem != "none")
NEEDED = {
    "dcgan", "wgan", "wgan_gp", "sngan", "lsgan", "dragan", "ebgan", "unrolled", "veegan", "madgan", "mrgan", "pacgan", "cgan",
    "acgan", "projection", "pix2pix", "cyclegan", "improved_gan", "spectral_regularization", "r3gan",
}  # fmt: skip


def test_the_presets_of_the_field_are_there() -> None:
    assert set(EXPERIMENTS) >= NEEDED


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_preset_trains(name: str) -> None:
    config = compose_config(f"experiment={name}")
    pack = config["pack"]
    made = make_trainer({**config, "model": smallest(config["model"]), "batch_size": 4 * pack})
    made.trainer.advance()
    made.trainer.check()
    made.trainer.check_weights()


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("wgan", "optimizer.generator.lr", 5e-5),
        ("wgan", "regularizer.weight_clip.clip", 0.01),
        ("wgan_gp", "regularizer.gradient_penalty.weight", 10.0),
        ("wgan_gp", "game.n_critic", 5),
        ("sngan", "optimizer.discriminator.betas", [0.0, 0.9]),
        ("sngan", "loss.name", "hinge"),
        ("dcgan", "model.prior", "uniform"),
        ("dcgan", "batch_size", 128),
        ("lsgan", "optimizer.lr", 1e-3),
        ("dragan", "optimizer.betas", [0.5, 0.9]),
        ("dragan", "model.discriminator.norm", "none"),
        ("ebgan", "regularizer.pulling_away.weight", 0.1),
        ("unrolled", "game.steps", 5),
        ("unrolled", "optimizer.generator.lr", 1e-3),
        ("unrolled", "optimizer.discriminator.lr", 1e-4),
        ("pacgan", "game.pack", 2),
        ("veegan", "game.deviation", "learned"),
        ("veegan", "model.latent", 254),
        ("veegan", "optimizer.lr", 1e-3),
        ("cgan", "game.condition", "concat"),
        ("acgan", "game.condition", "acgan"),
        ("projection", "game.condition", "projection"),
        ("pix2pix", "game.weight", 100.0),
        ("cyclegan", "game.cycle", 10.0),
        ("cyclegan", "loss.name", "lsgan"),
        ("cyclegan", "optimizer.schedule.start", 0.5),
        ("improved_gan", "loss.name", "feature_matching"),
        ("r3gan", "regularizer.r2.weight", 0.05),
        ("r3gan", "loss.name", "rpgan"),
    ],
)
def test_a_preset_has_the_papers_settings(name: str, key: str, value: object) -> None:
    place = compose_config(f"experiment={name}")
    for part in key.split("."):
        place = place[part]
    assert place == value
