"""``ganrun.train``: a run from a person's own program, checked and composed as ``ganrun train`` does it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ganrun.cli import launch, signature
from ganrun.cli.compose import composer, errors_for_people
from ganrun.cli.overrides import readable
from ganrun.disk import identity, results
from ganrun.ground import spell
from ganrun.ground.errors import BadInput


def train(overrides: Sequence[str], config_dir: Path | None, plugins: Sequence[str]) -> results.Run:
    """Train one run in this process; what it has reached. Raises the errors of ``ganrun.ground.errors``."""
    if isinstance(overrides, str):
        raise BadInput(f"ganrun.train({overrides!r}): takes a list of overrides: ganrun.train([{overrides!r}])")
    typed = [str(text) for text in overrides]
    if plugins:
        typed.append(f"plugins={spell.names(plugins)}")
    command = launch.Command(typed, config_dir=config_dir)
    signature.forget()
    launch.fits(command)
    with errors_for_people(), composer(config_dir) as found:
        swept = [entry.text for entry in readable(typed, found) if entry.override.is_sweep_override()]
        if swept or "hydra.mode=MULTIRUN" in typed:
            raise BadInput(
                f"{', '.join(swept) or 'hydra.mode=MULTIRUN'}: ganrun.train trains one run. Call it once for each value, as in "
                "[ganrun.train([f'seed={seed}']) for seed in range(3)], or sweep with: ganrun train -m"
            )
        composed = found.compose(launch.prepare(command, typed, found))
        config, folder = signature.plain(composed), Path(str(composed.hydra.run.dir)).absolute()
    identity.verify(config, folder)
    signature.refuse_another_length(config, folder)
    from ganrun.engine import run  # imports torch, which takes seconds

    run.train(config, folder, overrides=typed)
    return results.run_of(folder)
