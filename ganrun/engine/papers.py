"""What a run folder says of its run: config.yaml, overrides.txt and the lasting part of run.json, bound to each other.

run.json holds the identity of the run and the SHA-256 of config.yaml; every manifest holds the identity. Whatever changes
config.yaml promises the new hash beside the old one first, so that a kill between two writes leaves a folder that reads well.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

import ganrun
from ganrun.data.base import Dataset
from ganrun.disk import identity, runs, storage
from ganrun.disk.run_folder import RunFolder, keep_damaged, now
from ganrun.ground import registry
from ganrun.ground.errors import BadInput, GanrunError, Stopped
from ganrun.ground.runtime import Runtime, environment


def introduce(folder: RunFolder, config: Mapping[str, Any], overrides: list[str]) -> None:
    """Write config.yaml and overrides.txt once, and bind run.json to them; what is damaged is written again from ``config``.

    ``identity.verify`` must have passed: then ``config`` is that of the run.
    """
    facts = folder.facts()
    if folder.config.exists():
        try:
            held = runs.read_config(folder.path)
        except BadInput as error:
            kept = keep_damaged(folder.config)
            folder.log(f"warning: {error}\nwritten again from this command; {kept.name} keeps the file as it was")
        else:
            if "identity" not in facts:  # a folder of an earlier version, or one whose first process was killed here
                folder.note(**_seals(held), config_sha256=runs.digest(folder.config.read_bytes()))
            return
    elif runs.has_begun(folder.path):
        folder.log(f"warning: {folder.config} was missing; written again from this command")
    text = _text(config)
    storage.write(folder.overrides, "".join(f"{entry}\n" for entry in overrides))
    folder.note(**_seals(config), config_sha256=runs.digest(text.encode()))
    storage.write(folder.config, text)  # last: it says that all are there


def describe(
    folder: RunFolder, config: Mapping[str, Any], dataset: Dataset, plugins: Mapping[str, str], runtime: Runtime
) -> float:
    """Write what the run works on and with to run.json; the seconds that were spent on it before.

    Another environment than that in which the run started is said; ``BadInput`` where its data are others.
    """
    facts = folder.facts()
    present = {"ganrun": ganrun.__version__, "commit": commit(), **environment(runtime)}
    held = facts.get("environment", present)
    changed = [f"{key}: {held.get(key)} before, {present[key]} now" for key in present if held.get(key) != present[key]]
    spec = json.loads(json.dumps(asdict(dataset.spec)))
    data = {
        "spec": {key: value for key, value in spec.items() if value is not None or key == "classes"},
        "class_names": list(dataset.class_names or []),
        **dataset.card(),
    }
    if facts.get("data", data).get("fingerprint") != data["fingerprint"]:
        raise BadInput(f"{folder.path}: the data set has changed since this run started; use fork=true or fresh=true")
    if changed:
        folder.log("warning: this run started elsewhere, so its bits may differ: " + "; ".join(changed))
    facts.setdefault("created", now())
    facts.setdefault("environment", present)
    facts["data"] = facts.get("data", data)
    facts["plugins"] = plugins
    facts["installed_plugins"] = registry.installed_plugins()
    facts.setdefault("budget", {"steps": int(config["steps"]), "batch_size": int(config["batch_size"])})
    if changed:
        facts["environments_later"] = [*facts.get("environments_later", []), {"at": now(), **present}]
    folder.note(**facts)
    return float(facts.get("seconds", 0.0))


def set_steps(folder: RunFolder, steps: int) -> None:
    """Let config.yaml, overrides.txt and run.json say that the run has ``steps`` steps; how many it had stays on record."""
    held, facts = runs.read_config(folder.path), folder.facts()
    before, text = facts["budget"]["steps"], _text({**held, "steps": steps})
    if before != steps:
        folder.note(
            config_sha256_next=runs.digest(text.encode()),
            earlier_steps=[*facts.get("earlier_steps", []), before],
            budget={**facts["budget"], "steps": steps},
            digest=None,
            ended=None,
            status="running",
        )
        folder.log(f"this run had steps={before}; now it has steps={steps}")
    if held["steps"] != steps:
        words = folder.overrides.read_text(encoding="utf-8").splitlines() if folder.overrides.exists() else []
        words = [word for word in words if not word.startswith("steps=")] + [f"steps={steps}"]
        storage.write(folder.overrides, "".join(f"{word}\n" for word in words))
        storage.write(folder.config, text)
    if before != steps or held["steps"] != steps or "config_sha256_next" in facts:
        folder.note(config_sha256=runs.digest(folder.config.read_bytes()), config_sha256_next=None)


def _seals(config: Mapping[str, Any]) -> dict[str, str]:
    """The entries of run.json that say which run this is."""
    try:
        return {"identity": identity.identity(config), "family": identity.family(config)}
    except BadInput:  # a fork of an earlier version whose parent is gone: it counts by itself
        return _seals({**config, "fork": False, "init_from": None})


def _text(config: Mapping[str, Any]) -> str:
    """``config`` as YAML."""
    return yaml.dump(json.loads(json.dumps(config)), Dumper=yaml.SafeDumper, sort_keys=False, allow_unicode=True)


def commit() -> str | None:
    """The commit of the checkout that this code runs from, with ``-dirty`` where ganrun/ or conf/ differ from it: other files
    (results, pages) cannot change a run. None for an installed package."""
    here = Path(ganrun.__file__).resolve().parent.parent
    if not (here / ".git").exists():
        return None
    try:
        name, changed = (
            subprocess.run(["git", "-C", str(here), *words], capture_output=True, text=True, timeout=5, check=True).stdout.strip()
            for words in (("rev-parse", "--short=12", "HEAD"), ("status", "--porcelain", "--", "ganrun", "conf"))
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{name}-dirty" if changed else name


def note_failure(folder: RunFolder, error: GanrunError) -> None:
    """Leave word in the run folder; the command line shows the error itself."""
    with contextlib.suppress(GanrunError):  # a full disk takes no note of itself
        folder.write(str(error) if isinstance(error, Stopped) else f"stopped: {error}")
        folder.note(status=type(error).__name__.lower(), ended=now())
