"""The command line: ``ganrun train | eval | sample | invert | export | probe | compare | doctor | replay | diff ...``.

Typer declares the commands and Hydra's flags; Hydra composes. Nothing here imports torch or Hydra before a command
needs it, so ``--help`` and a misspelt flag answer at once.
"""

from __future__ import annotations

import importlib.util
import sys
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from ganrun.cli import comparing, complete, exporting, looking, reporting, unknown
from ganrun.cli.arguments import (
    Best,
    ConfigDir,
    Overrides,
    Reference,
    Target,
    answering,
    file_option,
    home,
    hydra_option,
    out_option,
)
from ganrun.ground import terminal, terminal_text
from ganrun.ground.errors import BadInput

app = typer.Typer(
    name="ganrun",
    help="Train, score and sample generative adversarial networks. Start with: ganrun train, ganrun list",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Cfg(StrEnum):
    job = "job"
    hydra = "hydra"
    all = "all"


class Info(StrEnum):
    all = "all"
    config = "config"
    defaults = "defaults"
    defaults_tree = "defaults-tree"
    plugins = "plugins"
    searchpath = "searchpath"


COMPARED = "An experiment, overrides in one word such as 'model=wgan loss=hinge', a config file, or a run folder."


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"ganrun {metadata.version('ganrun')}")
        raise typer.Exit()


@app.callback()
def common(
    version: Annotated[bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=_version)] = False,
) -> None:
    pass


@app.command(cls=unknown.Command)
def train(
    overrides: Overrides = None,
    multirun: Annotated[
        bool, hydra_option("--multirun", "-m", help="Sweep: one run for each combination, as in -m seed=0,1")
    ] = False,
    cfg: Annotated[Cfg | None, hydra_option("--cfg", "-c", help="Show the config that would run, and stop.")] = None,
    resolve: Annotated[bool, hydra_option("--resolve", help="With --cfg: interpolations resolved.")] = False,
    package: Annotated[str | None, hydra_option("--package", "-p", help="With --cfg: only this part.")] = None,
    info: Annotated[Info | None, hydra_option("--info", help="Show how Hydra composes, and stop.")] = None,
    config_dir: ConfigDir = None,
    config_name: Annotated[str, hydra_option("--config-name", "-cn", help="The root config's name.")] = "config",
    hydra_help: Annotated[bool, hydra_option("--hydra-help", help="Hydra's own page.")] = False,
) -> None:
    """Train a run, or many with -m. The same command again goes on where it stopped.

    [bold]ganrun train model=wgan loss=wasserstein[/bold]      the WGAN of the paper
    [bold]ganrun train -m seed=0,1,2 loss=hinge,lsgan[/bold]   a sweep of six runs
    [bold]ganrun train resume=RUN[/bold]                       go on with a run folder
    """
    with answering():
        from ganrun.disk import signals

        inspecting = cfg is not None or info is not None or hydra_help
        if not inspecting:
            signals.install()  # before torch, whose import takes seconds: an early signal is not a plain kill
        from ganrun.cli import launch

        command = launch.Command(
            overrides=overrides or [],
            multirun=multirun,
            cfg=cfg.value if cfg else None,
            resolve=resolve,
            package=package,
            info=info.value if info else None,
            config_dir=config_dir,
            config_name=config_name,
            hydra_help=hydra_help,
        )
        code = launch.train(command)
    if code:
        raise typer.Exit(code)


@app.command("eval", cls=unknown.Command)
def evaluate(
    target: Target,
    overrides: Overrides = None,
    out: Annotated[
        Path | None,
        out_option("FILE|DIR", "Where scores go; by default RUN/scores.jsonl."),
    ] = None,
    reference: Reference = None,
    best: Best = False,
    config_dir: ConfigDir = None,
) -> None:
    """Score a run folder. Overrides: metric, evaluation, device, plugins, dataset.root.

    [bold]ganrun eval RUN RUN ...[/bold]   compare: mean and interval over seeds by setting, differences from a reference
    """
    with answering():
        from ganrun.cli import targets

        targets.evaluate(target, overrides or [], config_dir, out, reference, best=best)


@app.command(cls=unknown.Command)
def sample(
    target: Target,
    overrides: Overrides = None,
    num: Annotated[int | None, typer.Option("--num", "-n", min=1, help="How many samples; 64 by default.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Sample i is a function of the seed and i.")] = 0,
    out: Annotated[
        Path | None,
        out_option("DIR", "Where to; within RUN by default."),
    ] = None,
    separate: Annotated[bool, typer.Option("--separate", help="One PNG each, too.")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="The generator's present weights, not their running average.")] = False,
    label: Annotated[
        list[int] | None, typer.Option("--label", min=0, help="Class of a conditional run; may be repeated.")
    ] = None,
    truncation: Annotated[
        float | None, typer.Option("--truncation", help="No latent number above this: less variety, fewer bad samples.")
    ] = None,
    interpolate: Annotated[
        str | None, typer.Option("--interpolate", metavar="slerp|linear", help="Rows of 8 that walk from sample to sample.")
    ] = None,
    class_grid: Annotated[bool, typer.Option("--class-grid", help="A row for each class, the same latents in each.")] = False,
    traverse: Annotated[
        bool, typer.Option("--traverse", help="Rows along directions of the latent: what each of them changes.")
    ] = False,
    along: Annotated[
        str | None,
        typer.Option(
            "--along",
            metavar="codes|sefa|axes|0,3,5",
            help="Of --traverse: InfoGAN's codes, the first layer's main directions (both by default), or numbers of the latent.",
        ),
    ] = None,
    reject: Annotated[
        float | None,
        typer.Option("--reject", metavar="SHARE", help="Leave out the share of samples that the discriminator finds least real."),
    ] = None,
    arithmetic: Annotated[
        str | None,
        typer.Option(
            "--arithmetic", metavar="SUM", help='Of samples of the seed, "3 - 5 + 0.5*8", or of classes, "label 3 - label 5".'
        ),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--input",
            "-i",
            metavar="DIR",
            callback=home,
            autocompletion=complete.at(complete.folders_at),
            help="Your own images, for a run that translates.",
        ),
    ] = None,
    video: Annotated[
        Path | None,
        file_option(
            "--video",
            "FILE",
            "A walk through --num samples (8) and back, as FILE.mp4 or FILE.gif; a run with labels: one for each class.",
        ),
    ] = None,
    frames: Annotated[int | None, typer.Option("--frames", min=2, help="Of --video: its pictures; 120 by default.")] = None,
    fps: Annotated[
        int | None, typer.Option("--fps", min=1, max=120, help="Of --video: pictures a second; 24 by default.")
    ] = None,
    best: Best = False,
    config_dir: ConfigDir = None,
) -> None:
    """Generate samples from a run folder; no data set is needed. Overrides: device, plugins, evaluation.standing."""
    with answering():
        from ganrun.cli import targets

        options = targets.Sampling(
            num=num,
            seed=seed,
            out=out,
            raw=raw,
            labels=label or None,
            separate=separate,
            truncation=truncation,
            interpolate=interpolate,
            class_grid=class_grid,
            traverse=targets.direction(traverse, along),
            arithmetic=arithmetic,
            reject=reject,
            source=source,
            video=targets.film(video, frames, fps),
        )
        typer.echo(targets.sample(targets.chosen(target, best), overrides or [], config_dir, options))


@app.command(cls=unknown.Command)
def invert(
    target: Target,
    images: Annotated[
        list[str] | None,
        typer.Argument(metavar="IMAGE", help="Image files or folders; by default held-out images of the run's data."),
    ] = None,
    source: Annotated[
        Path | None, typer.Option("--input", "-i", metavar="DIR", callback=home, help="A folder of images, or one image.")
    ] = None,
    num: Annotated[int | None, typer.Option("--num", "-n", min=1, help="How many held-out images; 16 by default.")] = None,
    starts: Annotated[int, typer.Option("--starts", min=1, help="Latents to start from.")] = 8,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Steps of Adam from each.")] = 300,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Which latents.")] = 0,
    label: Annotated[list[int] | None, typer.Option("--label", min=0, help="The classes to try; all by default.")] = None,
    out: Annotated[Path | None, out_option("DIR", "Where to; within RUN by default.")] = None,
    raw: Annotated[bool, typer.Option("--raw", help="The generator's present weights, not their running average.")] = False,
    best: Best = False,
    config_dir: ConfigDir = None,
) -> None:
    """Find the latents whose samples are nearest to images: what the generator can make. Overrides: device, plugins."""
    with answering():
        from ganrun.cli import targets

        options = {"labels": label or None, "num": num, "starts": starts, "steps": steps, "seed": seed, "out": out, "raw": raw}
        typer.echo(targets.invert(targets.chosen(target, best), images or [], config_dir, source, **options))


app.command(cls=unknown.Command)(exporting.export)


@app.command(cls=unknown.Command)
def probe(
    target: Target,
    overrides: Overrides = None,
    labels: Annotated[int, typer.Option("--labels", min=10, help="Labelled training samples that the probe may see.")] = 1000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Which of them.")] = 0,
    best: Best = False,
    config_dir: ConfigDir = None,
) -> None:
    """Name classes from the discriminator's features, beside raw pixels and an untrained one. Overrides: device, plugins."""
    with answering():
        from ganrun.cli import targets

        targets.probe(targets.chosen(target, best), overrides or [], config_dir, labels, seed)


app.command(cls=unknown.Command)(comparing.compare)
app.command(cls=unknown.Command)(looking.doctor)
app.command(cls=unknown.Command)(looking.replay)
app.command(cls=unknown.Command)(reporting.report)


@app.command(cls=unknown.Command)
def diff(
    one: Annotated[str, typer.Argument(metavar="A", help=COMPARED, autocompletion=complete.at(complete.compared))],
    other: Annotated[str, typer.Argument(metavar="B", help="The same.", autocompletion=complete.at(complete.compared))],
    config_dir: ConfigDir = None,
) -> None:
    """Show in which keys two experiments, command lines, config files or run folders differ, with their papers.

    [bold]ganrun diff sngan wgan_gp[/bold]   two papers' settings
    [bold]ganrun diff sngan RUN[/bold]       what a run did otherwise
    """
    with answering():
        from ganrun.cli import differences

        for line in differences.show(one, other, config_dir, terminal_text.width()):
            typer.echo(line)


@app.command(cls=unknown.Command)
def theory(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Only these experiments; all by default.", autocompletion=complete.theory_names),
    ] = None,
    out: Annotated[
        Path,
        out_option("DIR", "Where figures go."),
    ] = Path("outputs/theory"),
    page: Annotated[
        Path | None,
        file_option("--page", "FILE", "Write all as a Markdown page, too."),
    ] = None,
    names_only: Annotated[bool, typer.Option("--list", help="Show the names, and stop.")] = False,
) -> None:
    """Compute what the theory claims and compare. Ends with 1 if a verdict is FAIL."""
    with answering():
        from rich.console import Console

        from ganrun.cli import theory as claims

        if names_only:
            claims.show(Console())
        elif not claims.run(names or [], out, page, Console()):
            raise typer.Exit(1)


@app.command("list", cls=unknown.Command)
def list_components(
    group: Annotated[
        str | None,
        typer.Argument(
            metavar="GROUP|runs",
            help="A group, such as loss; one option, such as loss=hinge; a key, such as every; or runs.",
            autocompletion=complete.group_names,
        ),
    ] = None,
    option: Annotated[
        str | None,
        typer.Argument(metavar="[OPTION|PATH]", help="One option of the group; with runs: the folder, by default outputs."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="With runs: the records of ganrun.runs, as JSON.")] = False,
    config_dir: ConfigDir = None,
) -> None:
    """Everything there is to choose, one line each with its options; * marks the default.

    [bold]ganrun list regularizer=r1[/bold]   every key of one option: its meaning, default, values and source
    [bold]ganrun list runs[/bold]             every run: status, step, scores, findings, size on disk
    """
    with answering():
        from ganrun.cli import listing

        columns = terminal_text.width() if sys.stdout.isatty() else 10**6
        if as_json and group != "runs":
            raise BadInput("--json: goes with ganrun list runs")
        if as_json:
            typer.echo(listing.runs_as_json(Path(option or "outputs")))
            return
        if group == "runs":
            for line in listing.show_runs(Path(option or "outputs"), columns):
                typer.echo(line)
            return
        from rich.console import Console

        listing.show(group, option, config_dir, Console(), columns)


def main() -> None:
    """The entry point ``ganrun``."""
    if importlib.util.find_spec("fcntl") is None:
        sys.exit("ganrun runs on Unix (Linux, macOS; on Windows inside WSL): this Python has no fcntl, which locks run folders")
    terminal.install()
    app(prog_name="ganrun")
