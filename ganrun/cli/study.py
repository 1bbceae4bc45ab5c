"""A search whose study is kept: how many of its trials are still to come, so that the same command goes on with it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig

from ganrun.ground import terminal_text

NOT_CONTINUED = "note: the study has no name, so no other command finds it: hydra.sweeper.study_name=NAME\n"


def overrides(composed: DictConfig) -> list[str] | None:
    """What lets Optuna go on with the study that a search keeps under a name; None where that has all of its trials.

    ``n_trials`` counts the study's trials, those before this command too, but for such as failed or were cut off. A sampler with
    a seed gets another one, else it would ask for the first trials once more.
    """
    sweeper = composed.hydra.sweeper
    if "optuna" not in str(sweeper._target_) or not sweeper.get("storage"):
        return []
    if not sweeper.get("study_name"):
        sys.stderr.write(NOT_CONTINUED)
        return []
    held = trials(str(sweeper.study_name), str(sweeper.storage))
    done = [trial for trial in held if trial.state.name == "COMPLETE"]
    if not held:
        return []
    sys.stderr.write(f"note: the study {sweeper.study_name} has {len(done)} of {sweeper.n_trials} trials already\n")
    if len(done) >= sweeper.n_trials:
        show(done)
        return None
    seed = (sweeper.get("sampler") or {}).get("seed")
    again = [] if seed is None else [f"hydra.sweeper.sampler.seed={int(seed) + len(held)}"]
    return [f"hydra.sweeper.n_trials={sweeper.n_trials - len(done)}", *again]


def trials(name: str, storage: str) -> list[Any]:
    """The trials of a kept study; none where it is yet to be made, or cannot be read, which is said when the search begins."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return list(optuna.load_study(study_name=name, storage=storage).trials)
    except Exception:
        return []


def show(done: Sequence[Any]) -> None:
    """The trials of a study, the best first; of several objectives, by the first."""
    rows = []
    for trial in sorted(done, key=lambda trial: trial.values):
        settings = " ".join(f"{key}={value}" for key, value in trial.params.items())
        rows.append(((str(trial.number),), (settings or "-",), (", ".join(f"{value:.6g}" for value in trial.values),)))
    head = (("trial",), ("settings",), ("objective, minimised",))
    sys.stderr.write("\n".join(terminal_text.blocks([head, *rows], terminal_text.width())) + "\n")
    sys.stderr.write("note: all trials are done; a larger hydra.sweeper.n_trials goes on\n")
