"""ganrun: a config-driven command-line experiment runner for generative adversarial networks.

From Python::

    import ganrun
    images = ganrun.load("outputs/default/RUN").sample(64, seed=0)   # float32 (64, channels, height, width) in [0, 1]
    run = ganrun.train(["loss=hinge", "steps=500"])   # run.path, run.scores, run.scores_step
    table = ganrun.runs("outputs")   # a list of flat records, one a run, for pandas.DataFrame

``register`` enters a component of your own: docs/howto/write_loss.md.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from ganrun.disk.results import read_metrics, read_scores, read_signs
from ganrun.disk.results import read_runs as runs
from ganrun.ground.errors import GanrunError
from ganrun.ground.registry import register

if TYPE_CHECKING:
    from torch import nn

    from ganrun.disk.results import Run
    from ganrun.engine.sampling import Trained

__version__ = "0.1.0"
__all__ = [
    "GanrunError",
    "__version__",
    "load",
    "load_generator",
    "read_metrics",
    "read_scores",
    "read_signs",
    "register",
    "runs",
    "train",
]


def train(overrides: list[str], *, config_dir: str | Path | None = None, plugins: tuple[str, ...] = ()) -> Run:
    """Train one run, as ``ganrun train`` with these overrides does; the same call again goes on with it or finds it done.

    ``config_dir``: a folder of your own options. ``plugins``: modules of your own, imported here. Torch's own state is afterwards
    as it was. Raises ``GanrunError`` for what a person can put right; several values of a key are several calls.
    """
    from ganrun.cli.program import train as go

    return go(overrides, None if config_dir is None else Path(config_dir), plugins)


def load(
    run: str | Path, *, device: str = "auto", average: bool = True, best: bool = False, plugins: tuple[str, ...] = ()
) -> Trained:
    """The trained generator of a run folder, or of one checkpoint file in it. Needs no data set.

    ``average``: the running average of the generator (as scored), else its last weights. ``best``: the checkpoint with the best
    score, which ``keep_best`` kept, not the last. ``plugins``: the modules of your own that the run was trained with; nothing is
    imported unless you name it here. An installed plug-in that the run had and this Python lacks is warned of, by name. Call
    ``.sample(n, seed=...)``
    on what it returns. Raises ``ganrun.ground.errors.GanrunError`` for a damaged or foreign folder.
    """
    from ganrun.disk import runs
    from ganrun.engine.best import checkpoint
    from ganrun.engine.sampling import Trained
    from ganrun.ground.errors import BadInput

    target = checkpoint(run) if best else runs.place(run)
    folder = target.resolve().parent.parent if target.is_file() else target
    config = dict(runs.read_config(folder))
    for sentence in runs.lacking_plugins(folder):
        warnings.warn(sentence, stacklevel=2)
    missing = sorted(set(config.get("plugins") or []) - set(plugins))
    if missing:
        raise BadInput(f"{folder}: was trained with plugins={missing}. Name them again: load(..., plugins={tuple(missing)})")
    config["device"] = {**config["device"], "name": device}
    return Trained(target, config, raw=not average)


def load_generator(file: str | Path, *, device: str = "cpu") -> nn.Module:
    """A generator that ``ganrun export`` wrote: z (n, latent) to samples in the training range, in evaluation mode.

    A conditional one takes ``condition=``, labels int64 (n,). Raises ``ganrun.ground.errors.BadInput`` for another file.
    """
    from ganrun.engine.export import load

    return load(Path(file), device=device)
