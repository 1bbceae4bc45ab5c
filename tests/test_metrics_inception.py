"""The Inception extractor against torch-fidelity, and against files that are missing, wrong or hostile."""

from __future__ import annotations

import hashlib
import os
import sys
import urllib.error
from pathlib import Path
from unittest import mock

import pytest
import torch

from ganrun.data.base import Images, to_range
from ganrun.engine import scoring
from ganrun.ground.errors import BadInput
from ganrun.ground.registry import build
from ganrun.metrics import inception, weights
from ganrun.metrics.choose import choose_extractor

definition = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
COUNT = 32


class Payload:
    """A pickle that makes a folder when it is read without care."""

    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (self.marker,)


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    """A file of random Inception weights, scaled so that signals reach the end and classes differ."""
    with (
        torch.random.fork_rng(devices=[]),
        mock.patch.object(definition, "load_state_dict_from_url", return_value={}),
        mock.patch.object(definition.FeatureExtractorInceptionV3, "load_state_dict"),
    ):
        network = definition.FeatureExtractorInceptionV3("random", ["2048"])
    source = torch.Generator().manual_seed(0)
    for name, entry in network.state_dict().items():
        if name.endswith("conv.weight"):
            entry.normal_(0, (2 / entry[0].numel()) ** 0.5, generator=source)
        elif name == "fc.weight":
            entry.normal_(0, 0.5, generator=source)
        elif name.endswith(("bn.weight", "running_var")):
            entry.uniform_(0.7, 1.3, generator=source)
        elif entry.is_floating_point():
            entry.normal_(0, 0.2, generator=source)
    with torch.inference_mode():  # random features differ little from image to image: let the classes see the differences
        common = torch.nn.functional.normalize(network(blobs(4, 0))[0].mean(0), dim=0)
    weight = network.state_dict()["fc.weight"]
    weight -= torch.outer(weight @ common, common)
    path = tmp_path_factory.mktemp("inception") / "random.pth"
    torch.save(network.state_dict(), path)
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def blobs(count: int, seed: int, channels: int = 3) -> torch.Tensor:
    """uint8 images (n, channels, 16, 16): smooth coloured blobs, of another brightness for another seed."""
    source = torch.Generator().manual_seed(seed)
    x = torch.rand(count, channels, 4, 4, generator=source) * (1 - 0.3 * seed)
    return (torch.nn.functional.interpolate(x, size=(16, 16), mode="bicubic").clamp(0, 1) * 255).round().to(torch.uint8)


def images(pixels: torch.Tensor) -> Images:
    return Images(pixels.permute(0, 2, 3, 1))


def evaluation(file: Path, **changes) -> dict:
    return {
        "num": None,
        "reference": "train",
        "extractor": "inception",
        "weights": str(file),
        "weights_sha256": sha256(file),
        "average": True,
        "baselines": False,
        "batch_size": 16,
        "seed": 0,
        **changes,
    }


def scores(file: Path, fake: torch.Tensor, real: torch.Tensor) -> dict:
    metrics = {"is": build("metric", {"name": "is", "splits": 2}), "fid": build("metric", {"name": "fid"})}
    return scoring.score(metrics, to_range(fake), images(real), evaluation=evaluation(file))


@pytest.mark.long  # torch-fidelity takes the eigenvalues of a general 2048 x 2048 matrix: half a minute
def test_scores_with_equal_weights_agree_with_torch_fidelity(file):
    import torch_fidelity

    class Fixed(torch.utils.data.Dataset):
        def __init__(self, pixels):
            self.pixels = pixels

        def __len__(self):
            return len(self.pixels)

        def __getitem__(self, index):
            return self.pixels[index]

    fake, real = blobs(COUNT, 0), blobs(COUNT - 4, 1)
    found = scores(file, fake, real)
    expected = torch_fidelity.calculate_metrics(
        input1=Fixed(fake), input2=Fixed(real), isc=True, fid=True, isc_splits=2, cuda=False, cache=False, batch_size=16,
        feature_extractor_weights_path=str(file), save_cpu_ram=True, verbose=False,
    )  # fmt: skip
    assert expected["inception_score_mean"] > 1.1  # the classes do differ
    assert found["is"].values["is"] == pytest.approx(expected["inception_score_mean"], rel=1e-3)
    assert found["is"].values["is_std"] == pytest.approx(expected["inception_score_std"], rel=1e-3)
    assert found["fid"].values["fid"] == pytest.approx(expected["frechet_inception_distance"], rel=1e-3)
    assert len(found["fid"].remarks) == 2
    assert "N=32 <= 2048 feature dimensions" in found["fid"].remarks[0]


def test_scores_agree_with_torch_fidelitys_functions_on_its_own_features(file):
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_isc import isc_features_to_metric

    fake, real = blobs(12, 0), blobs(10, 1)
    before = torch.get_rng_state()
    found = scores(file, fake, real)
    assert torch.equal(torch.get_rng_state(), before)
    theirs = definition.FeatureExtractorInceptionV3("theirs", ["2048", "logits_unbiased"], str(file))
    with torch.inference_mode():
        (features, logits), (real_features, _) = theirs(fake), theirs(real)
    expected = isc_features_to_metric(logits, splits=2)
    assert expected["inception_score_mean"] > 1.1
    assert found["is"].values["is"] == pytest.approx(expected["inception_score_mean"], rel=1e-3)
    assert found["is"].values["is_std"] == pytest.approx(expected["inception_score_std"], rel=1e-3)
    # all 2048 features span the same distance in the 22 dimensions that the samples lie in, where theirs is quick
    basis = torch.linalg.qr(torch.cat((features, real_features)).double().T).Q
    sides = [fid_features_to_statistics(side.double() @ basis) for side in (features, real_features)]
    expected = fid_statistics_to_metric(*sides, verbose=False)
    assert found["fid"].values["fid"] == pytest.approx(expected["frechet_inception_distance"], rel=1e-3)
    card = found["fid"].card["extractor"]
    assert card["weights_sha256"] == sha256(file)
    assert card["published weights"] is False


def test_features_and_unbiased_logits_are_torch_fidelitys(file, monkeypatch):
    monkeypatch.setattr(inception, "PIECE", 2)
    extractor = choose_extractor("inception", images(blobs(2, 0)), weights=str(file), weights_sha256=sha256(file).upper())
    theirs = definition.FeatureExtractorInceptionV3("theirs", ["2048", "logits_unbiased"], str(file))
    pixels = blobs(3, 0)
    with torch.inference_mode():
        for mine, expected in zip(extractor(pixels), theirs(pixels), strict=True):
            assert (mine - expected).norm() <= 1e-4 * expected.norm()
        grey = pixels[:, :1]
        assert torch.equal(extractor(grey)[0], extractor(grey.repeat(1, 3, 1, 1))[0])
    assert not extractor.training


def test_a_file_other_than_the_published_one_is_refused_with_its_hash(file):
    with pytest.raises(BadInput) as error:
        choose_extractor("inception", images(blobs(2, 0)), weights=str(file))
    assert f"evaluation.weights_sha256={sha256(file)}" in str(error.value)
    assert inception.PUBLISHED in str(error.value)
    with pytest.raises(BadInput, match="its SHA-256 is"):
        choose_extractor("inception", images(blobs(2, 0)), weights=str(file), weights_sha256="0" * 64)
    with pytest.raises(BadInput, match="64 hexadecimal digits"):
        choose_extractor("inception", images(blobs(2, 0)), weights=str(file), weights_sha256="6726825d")


def test_the_published_hash_has_the_prefix_that_its_name_states():
    assert definition.URL_INCEPTION_V3.endswith(f"-{inception.PUBLISHED[:8]}.pth")


@pytest.mark.parametrize("trusted", [True, False])
def test_a_hostile_pickle_is_never_run(tmp_path, trusted):
    hostile = tmp_path / "weights.pth"
    hostile.write_bytes(weights.encode(Payload(str(tmp_path / "ran"))))
    with pytest.raises(BadInput, match=r"evaluation\.weights"):
        choose_extractor(
            "inception", images(blobs(2, 0)), weights=str(hostile), weights_sha256=sha256(hostile) if trusted else None
        )
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"no weights at all", weights.encode({"a": torch.zeros(2)}), weights.encode([1, 2])])
def test_a_file_of_something_else_is_refused(tmp_path, content):
    other = tmp_path / "weights.pth"
    other.write_bytes(content)
    with pytest.raises(BadInput, match=r"evaluation\.weights=.*not (a file|the)"):
        choose_extractor("inception", images(blobs(2, 0)), weights=str(other), weights_sha256=sha256(other))


def test_a_missing_file_a_folder_and_a_pipe_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "absent.pth", tmp_path, tmp_path / "pipe"):
        with pytest.raises(BadInput, match="there is no such file"):
            choose_extractor("inception", images(blobs(2, 0)), weights=str(path))


def test_without_a_network_the_message_says_what_works(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    def offline(*arguments, **options):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(BadInput) as error:
        choose_extractor("inception", images(blobs(2, 0)), say=lambda line: None)
    for word in ("evaluation.extractor=classifier", "evaluation.extractor=band_energies", "evaluation.weights=FILE", "6726825d"):
        assert word in str(error.value)


def test_a_download_of_other_bytes_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    def wrong(url, path, hash_prefix, progress):
        Path(path).write_bytes(weights.encode(Payload(str(tmp_path / "ran"))))

    monkeypatch.setattr(torch.hub, "download_url_to_file", wrong)
    with pytest.raises(BadInput, match="remove it"):
        choose_extractor("inception", images(blobs(2, 0)), say=lambda line: None)
    assert not (tmp_path / "ran").exists()


def test_without_torch_fidelity_the_message_says_what_to_install(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    with pytest.raises(BadInput, match=r"ganrun\[inception\]"):
        choose_extractor("inception", images(blobs(2, 0)), weights=str(file), weights_sha256=sha256(file))
