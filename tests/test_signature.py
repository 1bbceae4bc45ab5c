"""The run folder's name: equal for runs that must give the same bits, different for all others."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import compose_config
from omegaconf import OmegaConf

from ganrun.cli import signature
from ganrun.disk import identity, image_folder
from ganrun.ground.errors import BadInput

NEUTRAL = {
    "steps",
    "name",
    "resume",
    "at",
    "init_from_partial",
    "every.keep",
    "fresh",
    "fork",
    "every.log",
    "every.sample",
    "every.eval",
    "every.checkpoint",
    "keep",
    "keep_best",
    "output",
    "n_critic",
    "condition",
    "pack",
    "device.name",
    "device.threads",
    "dataset.root",
    "dataset.memory_gib",
}


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    return compose_config("dataset=folder", "regularizer=[r1,gradient_penalty]")


def leaves(entry: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(entry, dict) and entry:
        for key, value in entry.items():
            yield from leaves(value, (*path, key))
    else:
        yield path, entry


def changed(config: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    other = copy.deepcopy(config)
    held = other
    for key in path[:-1]:
        held = held[key]
    held[path[-1]] = value
    return other


def test_every_key_changes_the_signature_unless_it_cannot_change_the_result(config: dict[str, Any]) -> None:
    before = signature.signature(config)
    for path, value in leaves(config):
        dotted = ".".join(path)
        other: Any = "other"
        if isinstance(value, bool):
            other = not value
        elif isinstance(value, int | float):
            other = value + 1
        elif isinstance(value, list):
            other = [*value, "x"]
        if dotted in ("fork", "resume", "init_from", "objective"):
            continue
        same = signature.signature(changed(config, path, other)) == before
        assert same == (dotted in NEUTRAL or path[0] in ("evaluation", "metric", "disease", "doctor", "condition", "tracker")), (
            dotted
        )


def test_the_signature_is_ten_digits_of_the_sha256_of_sorted_json(config: dict[str, Any]) -> None:
    text = json.dumps({"science": identity.counted(config)}, sort_keys=True, separators=(",", ":"))
    assert signature.signature(config) == hashlib.sha256(text.encode()).hexdigest()[:10]


def test_whole_floats_count_as_integers_and_true_does_not_count_as_one(config: dict[str, Any]) -> None:
    path = ("regularizer", "r1", "weight")
    ten, ten_too = changed(config, path, 10), changed(config, path, 10.0)
    assert signature.signature(ten) == signature.signature(ten_too)
    assert signature.signature(changed(config, path, 10.5)) != signature.signature(ten)
    one = signature.signature(changed(config, path, 1))
    assert one != signature.signature(changed(config, path, True))


def test_neither_the_order_of_keys_nor_that_of_plugins_counts_and_no_plugin_is_no_key(config: dict[str, Any]) -> None:
    turned = {key: dict(reversed(entry.items())) if isinstance(entry, dict) else entry for key, entry in reversed(config.items())}
    assert signature.signature(turned) == signature.signature(config)
    one, other = ({**config, "plugins": plugins} for plugins in (["a", "b"], ["b", "a"]))
    assert signature.signature(one) == signature.signature(other) != signature.signature(config)
    without = {key: entry for key, entry in config.items() if key != "plugins"}
    assert signature.signature(without) == signature.signature(config)


def test_a_stack_entry_without_a_name_is_idle_and_does_not_count(config: dict[str, Any]) -> None:
    idle = copy.deepcopy(config)
    idle["regularizer"]["weight_clip"] = {"clip": 3}
    assert signature.signature(idle) == signature.signature(config)
    idle["regularizer"]["weight_clip"]["name"] = "weight_clip"
    assert signature.signature(idle) != signature.signature(config)


def test_the_folder_is_readable_and_lies_under_output_and_name(config: dict[str, Any]) -> None:
    found = signature.run_folder({**config, "output": "there", "name": "study-1", "seed": 4})
    assert found.parent == Path("there/study-1")
    words, _, digits = found.name.rpartition("-")
    assert words == "dcgan-nonsaturating-folder-gradient_penalty-r1-seed4"
    assert len(digits) == 10
    assert int(digits, 16) >= 0


@pytest.mark.parametrize("name", ["..", ".", ".hidden", "", "a/b", "../x", "/etc", "a b", "a\nb", "x" * 101, "é", "~"])
def test_a_name_that_is_not_one_plain_part_of_a_path_is_refused(name: str, config: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="name="):
        signature.run_folder({**config, "name": name})
    with pytest.raises(BadInput, match=r"model\.name="):
        signature.run_folder({**config, "model": {"name": name}})


@pytest.mark.parametrize("name", ["default", "a.b", "2026", 2026, "x" * 100, "A_b-c"])
def test_plain_names_are_taken(name: object, config: dict[str, Any]) -> None:
    assert signature.run_folder({**config, "name": name}).parent.name == str(name)


def test_resume_goes_on_in_the_run_and_a_fork_in_a_folder_that_also_tells_its_parent(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    parents = []
    for seed in (1, 2):
        parents.append(tmp_path / f"run{seed}")
        parents[-1].mkdir()
        (parents[-1] / "config.yaml").write_text(yaml.safe_dump({**config, "seed": seed}))
    one, other = (str(parent) for parent in parents)
    assert signature.run_folder({**config, "resume": one}) == parents[0]
    scratch = signature.run_folder(config)
    fork = signature.run_folder({**config, "resume": one, "fork": True})
    assert fork.parent == scratch.parent
    assert len({scratch, fork, signature.run_folder({**config, "resume": other, "fork": True})}) == 3
    moved = tmp_path / "moved"
    parents[0].rename(moved)
    assert signature.run_folder({**config, "resume": str(moved), "fork": True}) == fork


def test_differing_names_the_keys_that_differ_by_value_or_by_being_there() -> None:
    one = {"a": 1, "b": {"c": [1, 2], "d": 1.0}, "e": None}
    assert identity.differing(one, {"a": 1.0, "b": {"c": [1, 2], "d": 1}, "e": None}) == []
    assert identity.differing(one, {"a": True, "b": {"c": [2, 1], "d": 1}, "f": None}) == ["a", "b.c", "e", "f"]


def test_a_folder_of_images_counts_by_names_and_sizes_wherever_it_lies(tmp_path: Path) -> None:
    node = OmegaConf.create({"dataset": {"root": None, "content": "${content:${.root}}"}})
    assert node.dataset.content is None
    signature.forget()
    seen = []
    for name, text in (("here", "abc"), ("there", "abc"), ("longer", "abcd")):
        (tmp_path / name / "inner").mkdir(parents=True)
        (tmp_path / name / "inner" / "a.png").write_text(text)
        node.dataset.root = str(tmp_path / name)
        seen.append(node.dataset.content)
        assert seen[-1] == image_folder.digest(tmp_path / name)
    assert seen[0] == seen[1] != seen[2]
    node.dataset.root = str(tmp_path / "nowhere")
    assert node.dataset.content == image_folder.MISSING


def test_each_command_looks_at_the_folder_afresh(tmp_path: Path) -> None:
    node = OmegaConf.create({"root": str(tmp_path), "content": "${content:${.root}}"})
    signature.forget()
    before = node.content
    (tmp_path / "new.png").touch()
    assert node.content == before
    signature.forget()
    assert node.content != before


def test_the_run_that_gave_the_first_weights_counts_by_its_config_not_by_its_place(
    config: dict[str, Any], tmp_path: Path
) -> None:
    for name, seed in (("one", 1), ("again", 1), ("two", 2)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(f"seed: {seed}\nname: {name}\n")
    one, again, two = (signature.signature({**config, "init_from": str(tmp_path / name)}) for name in ("one", "again", "two"))
    assert one == again != two != signature.signature(config)
    with pytest.raises(BadInput, match="nowhere"):
        signature.signature({**config, "init_from": str(tmp_path / "nowhere")})
