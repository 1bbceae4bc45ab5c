"""Checkpoints: plain tensors and plain values, whole or absent, verified before they are believed.

A checkpoint is ``step_00001000.pt`` and its manifest ``step_00001000.json`` (size and SHA-256). Saving: temporary file,
fsync, manifest, rename the data, rename the manifest (the commit), fsync the folder, prune. Loading: the newest whose
size and hash agree with its manifest, else the next older, with a word on it; read with ``weights_only=True``, never
otherwise.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
from torch import Tensor

from ganrun.disk import fault_injection, runs, storage
from ganrun.ground.errors import NoCheckpoint

FORMAT = 1
PLAIN = (bool, int, float, str, bytes, type(None))


def check_types(state: Any, where: str = "state") -> None:
    """Raise ``TypeError`` for anything that could be saved but not be loaded again with ``weights_only=True``."""
    if type(state) in (dict, list, tuple):
        entries = state.items() if isinstance(state, dict) else enumerate(state)
        for key, entry in entries:
            if type(key) not in (str, int):
                raise TypeError(f"{where}: key {key!r} is a {type(key).__name__}; use str or int")
            check_types(entry, f"{where}.{key}")
    elif type(state) not in (*PLAIN, Tensor):
        raise TypeError(f"{where} is a {type(state).__name__}; use tensors and plain values")


def leaves(state: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """All entries of a nested state as ``(path, value)``, in a fixed order."""
    if isinstance(state, dict):
        for key in sorted(state, key=str):
            yield from leaves(state[key], f"{where}/{key}")
    elif isinstance(state, list | tuple):
        for index, entry in enumerate(state):
            yield from leaves(entry, f"{where}/{index}")
    else:
        yield where, state


def digest(state: Any) -> str:
    """SHA-256 (hex) over every entry of a state: equal digests, bit-identical states."""
    total = hashlib.sha256()
    for where, value in leaves(state):
        total.update(where.encode())
        if isinstance(value, Tensor):
            plain = value.detach().cpu().contiguous()
            total.update(f"{plain.dtype}{tuple(plain.shape)}".encode())
            total.update(plain.view(-1).view(torch.uint8).numpy().tobytes() if plain.numel() else b"")
        else:
            total.update(repr(value).encode())
    return total.hexdigest()


def demand_sound(state: Mapping[str, Any]) -> None:
    """Raise ``NoCheckpoint`` for a state with weights or averages that are not finite, or with moments that are no numbers."""
    for path, part in state.items():
        kind = path.split("/")[0]
        if kind not in ("players", "averages", "optimizers"):
            continue
        for where, entry in leaves(part, path):
            broken = isinstance(entry, Tensor) and (entry.isnan() if kind == "optimizers" else ~entry.isfinite()).any()
            if broken:
                raise NoCheckpoint(f"{where} holds NaN or Inf, which ganrun never saves")


def demand_kept(state: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Raise ``NoCheckpoint`` where run.json tells of the end of the run and this is not the state it ended with."""
    done = facts.get("status") == "done" and facts.get("step") == state["step"]
    if done and facts.get("digest", "") not in ("", digest(state)):
        raise NoCheckpoint("is not the state that the run ended with: it does not have the digest that run.json says")


def save(
    folder: Path,
    step: int,
    state: Mapping[str, Any],
    keep: int,
    *,
    run: str | None = None,
    each: int = 0,
    pins: Collection[int] = (),
) -> Path:
    """Commit ``state`` as the checkpoint of ``step`` and prune all but the ``keep`` newest. Returns its path.

    ``run``: the identity of the run, for the manifest. ``each``: every checkpoint of a multiple of so many steps stays for good.
    ``pins``: as for ``prune``.

    Raises ``StorageFailed`` when the disk is full or the folder cannot be written; older checkpoints stay intact.
    """
    state = dict(state)
    check_types(state)
    path = folder / f"step_{step:08d}.pt"

    fault_injection.point("before_write")
    size = sum(entry.nbytes for _, entry in leaves(state) if isinstance(entry, Tensor))
    temporary, written_as = storage.stream_temporary(path, lambda file: torch.save(state, cast(Any, file)), size)
    manifest = {"format": FORMAT, "step": step, "bytes": written_as.size, "sha256": written_as.sha256}
    manifest |= {} if run is None else {"run": run}
    written = [temporary]
    try:
        fault_injection.point("before_manifest")
        written.append(storage.write_temporary(path.with_suffix(".json"), json.dumps(manifest).encode()))
        fault_injection.point("before_commit")
        with storage.storage_errors(path):
            os.replace(written[0], path)
            fault_injection.point("between_renames")
            os.replace(written[1], path.with_suffix(".json"))
            storage.sync_folder(folder)
    finally:
        for temporary in written:
            temporary.unlink(missing_ok=True)
    fault_injection.point("after_commit")
    _forget_superseded(path, state)
    prune(folder, keep, each, pins)
    fault_injection.point("after_save")
    return path


def _forget_superseded(path: Path, state: Mapping[str, Any]) -> None:
    """Remove what a run left that makes lost rows again, once the same state has been made again."""
    twin = path.with_name(f"{path.name}.superseded")
    if not twin.is_file():
        return
    with contextlib.suppress(Exception):  # whatever lies there, it only stays
        if digest(torch.load(twin, map_location="cpu", weights_only=True)) == digest(state):
            twin.unlink()
            path.with_name(f"{path.stem}.json.superseded").unlink(missing_ok=True)


def prune(folder: Path, keep: int, each: int = 0, pins: Collection[int] = ()) -> None:
    """Remove all but the ``keep`` newest checkpoints, the manifest of each first, and older data that lost its manifest.

    Those whose step is a multiple of ``each`` stay (0: none does for that). For each step in ``pins`` the newest checkpoint that
    is no later stays, else the oldest there is.
    """
    fault_injection.point("before_prune")
    promised = _by_step(folder, ".json")
    pinned = {runs.at_or_before(promised, pin) for pin in pins if promised}
    with storage.storage_errors(folder):
        for step in [step for step in list(promised)[keep:] if step not in pinned and not (each and step and step % each == 0)]:
            promised.pop(step).unlink(missing_ok=True)
            fault_injection.point("mid_prune")
        for step, path in _by_step(folder, ".pt").items():
            if step < max(promised, default=0) and step not in promised:
                path.unlink(missing_ok=True)


def retire(folder: Path, step: int, word: str = "unusable") -> list[Path]:
    """Rename what was promised for later than ``step`` and proved unusable to ``NAME.unusable``, so that it counts no more.

    ``word``: another ending, for those that are left for another reason.
    """
    found = [path for promised, path in _by_step(folder, ".json").items() if promised > step]
    with storage.storage_errors(folder):
        for path in found:
            for file in (path, path.with_suffix(".pt")):
                if file.exists():
                    os.replace(file, file.with_name(f"{file.name}.{word}"))
    return found


def _by_step(folder: Path, suffix: str) -> dict[int, Path]:
    """The files ``step_NUMBER<suffix>`` in ``folder`` by their step, newest first."""
    found = {int(path.stem[5:]): path for path in folder.glob(f"step_*{suffix}") if re.fullmatch(r"step_\d+", path.stem)}
    return dict(sorted(found.items(), reverse=True))


def read(path: Path, run: str | None = None) -> dict[str, Any]:
    """The state in one checkpoint file, verified against its manifest; ``NoCheckpoint`` says what is wrong with it.

    ``run``: the identity of the run that the folder is of; a manifest that holds another one is another run's.
    """
    if not path.with_suffix(".json").is_file():  # opening a named pipe would wait for ever
        raise NoCheckpoint(f"{path}: has no manifest beside it, so it cannot be trusted")
    try:
        manifest = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        size, wanted, version = manifest["bytes"], manifest["sha256"], manifest["format"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise NoCheckpoint(f"{path}: its manifest is damaged") from error
    if version != FORMAT:
        raise NoCheckpoint(f"{path}: format {version} is not this version's, {FORMAT}")
    if run is not None and manifest.get("run", run) != run:
        raise NoCheckpoint(f"{path}: is a checkpoint of another run: its manifest does not hold the identity that run.json says")
    try:
        if not path.is_file() or path.stat().st_size != size:
            raise NoCheckpoint(f"{path}: is missing, or not {size} bytes long as its manifest says")
        with open(path, "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != wanted:
                raise NoCheckpoint(f"{path}: its content does not have the SHA-256 that its manifest says")
            state = _decoded(path, file, size)
    except OSError as error:
        raise NoCheckpoint(f"{path}: cannot be read ({error.strerror})") from error
    if not isinstance(state, dict) or not isinstance(state.get("step"), int):
        raise NoCheckpoint(f"{path}: is not a checkpoint of ganrun: it holds no step")
    if path.stem != f"step_{state['step']:08d}":
        raise NoCheckpoint(f"{path}: holds step {state['step']}, not what its name says")
    return state


def _decoded(path: Path, file: BinaryIO, size: int) -> Any:
    """What the open file of ``size`` bytes holds, read from it piece by piece."""
    try:
        file.seek(0)
        with zipfile.ZipFile(file) as archive:  # what torch.save writes: nothing packed, so no bomb to unpack
            if sum(entry.file_size for entry in archive.infolist()) > size:
                raise ValueError("packed")
        file.seek(0)
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the unpickler says of a hostile or foreign file
        raise NoCheckpoint(f"{path}: is not a checkpoint of plain tensors and values, so it was not loaded") from error


def newest(
    folder: Path,
    warn: Callable[[str], None],
    *,
    run: str | None = None,
    accept: Callable[[dict[str, Any]], None] = lambda state: None,
    until: int | None = None,
) -> dict[str, Any] | None:
    """The newest usable state in ``folder``; None where no checkpoint was ever committed.

    A single one without a manifest is a first save that was cut short. Each unusable checkpoint is said through ``warn``.
    ``NoCheckpoint`` if there are some and none is usable. ``run``: as for ``read``. ``accept`` raises ``NoCheckpoint`` for a
    state that the asker has no use for. ``until``: only those of no later step; None too where there is no such one.
    """
    promised, written = _by_step(folder, ".json"), _by_step(folder, ".pt")
    if not promised and len(written) <= 1:
        return None
    reasons = []
    for step in sorted({*promised, *written}, reverse=True):
        if until is not None and step > until:
            continue
        path = written.get(step) or promised[step].with_suffix(".pt")
        try:
            state = read(path, run)
            try:
                accept(state)
            except NoCheckpoint as error:
                raise NoCheckpoint(f"{path}: {error}") from error
            return state
        except NoCheckpoint as error:
            reasons.append(str(error))
            warn(f"warning: checkpoint not usable, trying the next older one: {error}")
    if until is not None and not reasons:
        return None
    raise NoCheckpoint(
        f"{folder}: none of {len(reasons)} checkpoints is usable, and a run is never started over silently.\n"
        + "\n".join(reasons)
        + "\nfresh=true sets the folder aside and starts again"
    )
