"""The data sets' yaml files: they choose what points need, the command line wins, and they agree with the signatures."""

import inspect
from pathlib import Path

import pytest
from conftest import one_in
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from ganrun.disk import image_folder
from ganrun.ground import registry

CONF = Path(__file__).resolve().parent.parent / "conf"
NAMES = sorted(path.stem for path in (CONF / "dataset").glob("*.yaml"))


@pytest.fixture(autouse=True)
def _content_resolver():
    """The one that the command line registers, unless it has already."""
    ours = not OmegaConf.has_resolver("content")
    if ours:
        OmegaConf.register_new_resolver("content", image_folder.digest)
    yield
    if ours:
        OmegaConf.clear_resolver("content")


def composed(*overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", overrides=list(overrides))


def test_every_data_set_has_a_yaml_file_and_the_other_way_round():
    ours = [name for name in registry.names("dataset") if registry.lookup("dataset", name).__module__.startswith("ganrun.")]
    assert ours == NAMES


@pytest.mark.parametrize("name", one_in(3, NAMES))
def test_the_yaml_file_states_every_option_with_its_default(name):
    written = OmegaConf.to_container(composed(f"dataset={name}").dataset, resolve=True)
    assert written.pop("name") == name
    options = registry.options(registry.lookup("dataset", name))
    assert written == options
    assert list(written) == list(options)
    assert inspect.Parameter.empty not in options.values()


@pytest.mark.parametrize(("name", "metric"), [("ring8", "modes"), ("grid25", "modes"), ("swiss_roll", "log_density")])
def test_points_choose_their_model_and_metric_and_the_command_line_wins(name, metric):
    config = composed(f"dataset={name}")
    assert config.model.name == "mlp"
    assert list(config.metric) == ["wasserstein", metric]
    assert config.loss.name == composed().loss.name
    typed = composed("model=dcgan", f"dataset={name}", "metric=[is,fid]", "dataset.num=7")
    assert typed.model.name == "dcgan"
    assert set(typed.metric) == {"is", "fid"}
    assert typed.dataset.num == 7
    recipe = composed("model=wgan", f"dataset={name}")
    assert (recipe.model.name, recipe.loss.name, recipe.n_critic) == ("wgan", "wasserstein", 5)
    assert list(recipe.metric) == ["wasserstein", metric]


def test_images_leave_the_model_and_the_metrics_alone():
    config = composed("dataset=mnist")
    assert config.model == composed().model
    assert config.metric == composed().metric


def test_a_folder_stands_for_its_content(tmp_path):
    (tmp_path / "a.png").write_bytes(b"123")
    assert composed("dataset=folder").dataset.content is None
    assert composed("dataset=folder", f"dataset.root={tmp_path}").dataset.content == image_folder.digest(tmp_path)
    assert composed("dataset=folder", f"dataset.root={tmp_path}/none").dataset.content == "missing"
