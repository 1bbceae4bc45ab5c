"""Features of the real data on disk: found again by what they follow from, and only whole."""

from __future__ import annotations

import os

import pytest
import torch

from ganrun.disk import cache
from ganrun.engine import scoring
from ganrun.ground.registry import build
from ganrun.metrics import fid, reference

plain = fid.moments

EVALUATION = {
    "num": None,
    "reference": "train",
    "extractor": "random_conv",
    "weights": None,
    "weights_sha256": None,
    "average": True,
    "baselines": False,
    "batch_size": 250,
    "seed": 7,
}


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setenv("GANRUN_CACHE", str(tmp_path / "cache"))


def digits():
    return build("dataset", {"name": "digits", "size": None})


def score(said: list[str], dataset=None, **changes):
    dataset = digits() if dataset is None else dataset
    x = dataset.held_out().batch(torch.arange(100)).x
    return scoring.score(
        {"fid": build("metric", {"name": "fid"})}, x, dataset, evaluation={**EVALUATION, **changes}, say=said.append
    )["fid"].values


def kept(what: str = "[0-9a-f]") -> list:
    """The files of features; of ``what`` else follows from them."""
    return sorted(
        path for path in cache.cache_folder().glob(f"reference-{what}*.pt") if what == "moments" or "moments" not in path.name
    )


def test_the_second_score_reads_what_the_first_has_kept_and_is_the_same_to_the_bit(monkeypatch):
    said: list[str] = []
    first = score(said)
    assert "not kept yet" in said[0]
    sizes = []
    plain = scoring.in_chunks
    monkeypatch.setattr(scoring, "in_chunks", lambda m, p, s, d: (sizes.append(len(p)), plain(m, p, s, d))[1])
    assert score(said) == first
    assert "read from" in said[1]
    assert sum(sizes) == 100  # the generated ones alone
    assert len(kept()) == 1


@pytest.mark.parametrize("changes", [{"extractor": "classifier"}, {"reference": "held_out"}, {"batch_size": 200}])
def test_anything_else_that_counts_has_a_file_of_its_own(changes):
    said: list[str] = []
    score(said)
    score(said, **changes)
    assert len(kept()) == 2
    assert all("not kept yet" in line for line in said)


def test_other_data_have_files_of_their_own():
    said: list[str] = []
    score(said)
    other = digits()
    other.pixels = 16 - other.pixels
    score(said, other)
    assert len(kept()) == 2


def test_other_weights_and_other_code_have_other_names(monkeypatch, tmp_path):
    extractor, device = build("extractor", {"name": "random_conv"}), torch.device("cpu")
    rows = torch.arange(5)
    name = reference.name_of(extractor, "f", rows, 250, device)
    assert name == reference.name_of(build("extractor", {"name": "random_conv"}), "f", rows, 250, device)
    extractor.digest = "0" * 64
    assert reference.name_of(extractor, "f", rows, 250, device) != name
    extractor = build("extractor", {"name": "random_conv"})
    changed = tmp_path / "images.py"
    changed.write_text("other code")
    monkeypatch.setattr(reference.images, "__file__", str(changed))
    assert reference.name_of(extractor, "f", rows, 250, device) != name


def test_moments_are_read_in_place_of_the_features_they_come_from(monkeypatch):
    said: list[str] = []
    first = score(said)
    (moments,), (features,) = kept("moments"), kept()
    assert moments.stat().st_size < features.stat().st_size
    features.write_bytes(b"nobody reads this")
    monkeypatch.setattr(fid, "moments", lambda *parts: plain(*parts) if len(parts[0]) == 100 else pytest.fail("computed again"))
    assert score(said) == first
    assert f"moments of 1437 real samples: read from {moments}" in said


def test_damaged_moments_are_said_and_made_again_from_the_features():
    said: list[str] = []
    first = score(said)
    (moments,) = kept("moments")
    held = moments.read_bytes()
    moments.write_bytes(held[:-7] + b"changed")
    assert score(said) == first
    assert f"{moments}: damaged, not used (its content is not what its name says)" in said
    assert "features of 1437 real samples: read from" in said[-1]
    assert kept("moments")[0].read_bytes() == held


def test_a_metric_that_reads_features_gets_those_on_disk_and_the_labels():
    dataset = digits()
    extractor = scoring.choose_extractor("random_conv", dataset, say=[].append)
    bench = scoring.bench_of({}, dataset, EVALUATION, torch.device("cpu"), [].append)
    bench = scoring.dataclasses.replace(bench, extractor=extractor, reads=frozenset({"labels", "features"}))
    samples = []
    for _ in range(2):
        samples.append(scoring._real(bench, dataset))
        scoring._kept.clear()
    kept()[0].write_bytes(b"")
    samples.append(scoring._real(bench, dataset))
    for sample in samples:
        assert sample.x is None
        assert torch.equal(sample.labels, dataset.labels)
        assert torch.equal(sample.features, samples[0].features)
    assert kept()[0].stat().st_size > 0


@pytest.mark.parametrize("damage", [lambda data: data[:-100], lambda data: b"", lambda data: data[:60] + b"?" + data[61:]])
def test_a_damaged_file_is_said_and_made_again(damage):
    said: list[str] = []
    first = score(said)
    (path,) = kept()
    path.write_bytes(damage(path.read_bytes()))
    kept("moments")[0].unlink()
    assert score(said) == first
    assert "damaged, not used" in said[1]
    assert "not kept yet" in said[2]
    assert score(said) == first
    assert "read from" in said[3]


def test_a_file_of_another_length_is_not_used():
    said: list[str] = []
    features = (torch.zeros(5, 2), None)
    reference.keep("reference-x", features, said.append)
    assert reference.load("reference-x", 6, said.append) is None
    assert "holds 5 samples, not 6" in said[0]
    found = reference.load("reference-x", 5, said.append)
    assert found is not None
    assert torch.equal(found[0], features[0])


def test_a_cache_that_cannot_be_written_does_no_harm(tmp_path, monkeypatch):
    said: list[str] = []
    first = score(said)
    (tmp_path / "file").touch()
    monkeypatch.setenv("GANRUN_CACHE", str(tmp_path / "file"))
    assert score(said) == first
    assert "could not be kept" in said[-1]


def test_the_samples_themselves_are_still_read_where_a_metric_wants_them(monkeypatch):
    dataset = digits()
    bench = scoring.bench_of({}, dataset, EVALUATION, torch.device("cpu"), [].append)
    extractor = scoring.choose_extractor("random_conv", dataset, say=[].append)
    for _ in range(2):
        full = scoring.dataclasses.replace(bench, extractor=extractor, reads=frozenset({"x", "features"}))
        sample = scoring._real(full, dataset)
        assert sample.x.shape[0] == sample.features.shape[0] == 1437
        assert torch.equal(sample.x, dataset.batch(torch.arange(1437)).x)
        scoring._kept.clear()
    assert len(kept()) == 1


def test_what_was_not_used_for_longest_makes_room(monkeypatch, tmp_path):
    found, said = (torch.zeros(1000, 8), None), []
    for age, name in enumerate(("reference-c", "reference-a", "reference-b"), 1):
        reference.keep(name, found, said.append)
        os.utime(next(cache.cache_folder().glob(f"{name}-*")), (age, age))
    other = cache.cache_folder() / "weights-of-something.pt"
    other.write_bytes(bytes(10**6))
    assert reference.load("reference-c", 1000, said.append) is not None  # oldest by age, and used just now
    monkeypatch.setattr(reference, "MOST", 3.5 * kept()[0].stat().st_size)
    reference.keep("reference-d", found, said.append)
    assert [path.name[:11] for path in kept()] == ["reference-b", "reference-c", "reference-d"]
    monkeypatch.setattr(reference, "MOST", 1)
    reference.keep("reference-e", found, said.append)
    assert [path.name[:11] for path in kept()] == ["reference-e"]
    assert other.exists()


def test_a_file_that_another_process_deletes_meanwhile_is_no_failure():
    said: list[str] = []
    cache.cache_folder().mkdir(parents=True, exist_ok=True)
    (cache.cache_folder() / "reference-gone.pt").symlink_to("nowhere")  # listed, and not there when it is looked at
    reference.keep("reference-here", (torch.zeros(10, 8), None), said.append)
    assert said == []
