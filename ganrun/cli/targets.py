"""``ganrun eval``, ``sample``, ``export``, ``probe``: a trained run's own config, with the few keys that may differ."""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganrun.cli import resume, settings, signature
from ganrun.cli.complete import ALLOWED, is_allowed
from ganrun.cli.compose import composer, errors_for_people
from ganrun.cli.overrides import readable
from ganrun.cli.schema import catalog, check
from ganrun.disk import runs
from ganrun.ground.errors import BadInput

VIDEOS = (".mp4", ".gif")


@dataclass(frozen=True)
class Film:
    """A moving picture: its file, how many frames it has, and how many are shown in a second."""

    file: Path
    frames: int = 120
    fps: int = 24


@dataclass(frozen=True)
class Sampling:
    """How many samples, from which seed, where to, and of what."""

    num: int | None
    seed: int
    out: Path | None
    raw: bool  # the generator's present weights, not their running average
    labels: list[int] | None
    separate: bool  # one PNG each, too
    truncation: float | None = None  # the largest |z_i|
    interpolate: str | None = None  # slerp | linear: rows of walks
    class_grid: bool = False  # a row for each class
    traverse: str | None = None  # auto | codes | sefa | axes | numbers of the latent: rows along these
    arithmetic: str | None = None  # a sum of samples or of classes
    reject: float | None = None  # the share of candidates that D keeps from being samples
    source: Path | None = None  # a folder of images to translate
    video: Film | None = None  # a walk as a moving picture, in place of one picture


def evaluate(
    target: Path,
    words: Sequence[str],
    config_dir: Path | None,
    out: Path | None = None,
    reference: str | None = None,
    *,
    best: bool = False,
) -> None:
    """Score a run folder, or one checkpoint of it; with further ones among ``words``, compare them all.

    ``best``: of each run the checkpoint that ``keep_best`` kept.
    """
    target = chosen(target, best)
    overrides = [word for word in words if not runs.is_meant(word)]
    if len(overrides) < len(words):
        others = [chosen(runs.place(word), best) for word in words if runs.is_meant(word)]
        return compare([target, *others], overrides, config_dir, out, reference)
    if reference is not None:
        raise BadInput(f"--reference {reference}: is for several runs: ganrun eval RUN RUN ... --reference RUN")
    target, config = prepare(target, overrides, config_dir, ALLOWED["eval"], "eval")
    from ganrun.engine import score_run

    score_run.evaluate(target, config, out=out)


def compare(
    targets: Sequence[Path], overrides: Sequence[str], config_dir: Path | None, out: Path | None, reference: str | None = None
) -> None:
    """Scores of several runs: mean and interval over seeds for each setting, and differences from the ``reference``: one of the
    runs, or a setting's number; the first by default."""
    prepared = [prepare(target, overrides, config_dir, ALLOWED["eval"], "eval") for target in targets]
    found, groups = settings.grouped([config for _, config in prepared])
    chosen = settings.reference_of(reference, [target for target, _ in prepared], groups, len(found))
    from ganrun.engine import compare as engine
    from ganrun.engine import score_runs

    entries = [engine.Entry(target, config, int(config["seed"])) for target, config in prepared]
    score_runs.compare_runs(entries, settings.titles(found), settings.differing(found), groups, reference=chosen, out=out)


def chosen(target: Path, best: bool) -> Path:
    """``target``, or with ``--best`` the checkpoint of it that ``keep_best`` kept."""
    from ganrun.engine.best import checkpoint

    return checkpoint(target) if best else target


def direction(traverse: bool, along: str | None) -> str | None:
    """What ``--traverse --along`` asks for, None without."""
    if along is not None and not traverse:
        raise BadInput(f"--along {along}: says along what --traverse goes. Add --traverse")
    return (along or "auto") if traverse else None


def sample(target: Path, overrides: Sequence[str], config_dir: Path | None, options: Sampling) -> Path:
    """Generate from a run folder, or one checkpoint of it; where the samples are."""
    target, config = prepare(target, overrides, config_dir, ALLOWED["sample"], "sample")
    if options.video is not None:
        return _film(target, config, options, options.video)
    from ganrun.engine import sample_run

    asked = {key: value for key, value in vars(options).items() if key != "video"}
    made: Path = sample_run.sample(target, config=config, **asked)
    return made


def film(file: Path | None, frames: int | None, fps: int | None) -> Film | None:
    """What ``--video`` and its options ask for; ``BadInput`` for a file that cannot be written in this Python."""
    if file is None:
        for flag, value in (("--frames", frames), ("--fps", fps)):
            if value is not None:
                raise BadInput(f"{flag} {value}: is an option of --video FILE")
        return None
    if file.suffix.lower() not in VIDEOS:
        raise BadInput(f"--video {file}: its name must end with {' or '.join(VIDEOS)}")
    if file.suffix.lower() == ".mp4" and importlib.util.find_spec("imageio_ffmpeg") is None:
        raise BadInput(
            f'--video {file}: needs imageio-ffmpeg, which is not installed: pip install "ganrun[video]". '
            "FILE.gif needs nothing more"
        )
    return Film(file, frames or Film.frames, fps or Film.fps)


def _film(target: Path, config: dict[str, Any], options: Sampling, asked: Film) -> Path:
    """Write the moving picture that is asked for."""
    others = ("out", "separate", "class_grid", "traverse", "arithmetic", "reject", "source")
    given = [f"--{'input' if key == 'source' else key.replace('_', '-')}" for key in others if getattr(options, key)]
    if given:
        raise BadInput(
            f"--video {asked.file}: is a walk from sample to sample, in a file of its own; leave out {', '.join(given)}"
        )
    num = 8 if options.num is None else options.num
    if asked.frames < num:
        raise BadInput(f"--frames {asked.frames}: the walk goes through {num} samples (--num), so it has as many frames at least")
    from ganrun.engine import video

    made, note = video.video(
        target,
        asked.file,
        config,
        num=num,
        frames=asked.frames,
        fps=asked.fps,
        **{key: getattr(options, key) for key in ("seed", "raw", "labels", "truncation", "interpolate")},
    )
    sys.stderr.write(f"note: {note}\n")
    if asked.file.suffix.lower() == ".gif" and 100 % asked.fps:
        sys.stderr.write(
            f"note: a GIF counts in hundredths of a second: {100 / video.hundredths(asked.fps):.3g} pictures a second\n"
        )
    return made


def export(
    target: Path, overrides: Sequence[str], config_dir: Path | None, out: Path | None, raw: bool, role: str, form: str
) -> tuple[Path, str]:
    """Write a generator in the format ``form``: where it is, and a few lines of Python that use it."""
    target, config = prepare(target, overrides, config_dir, ALLOWED["export"], "export")
    from ganrun.engine.export import exported

    made: tuple[Path, str] = exported(target, out, config, raw=raw, role=role, form=form)
    return made


def probe(target: Path, overrides: Sequence[str], config_dir: Path | None, labels: int, seed: int) -> None:
    """Fit a linear probe on the discriminator's features and its controls; show a table."""
    target, config = prepare(target, overrides, config_dir, ALLOWED["probe"], "probe")
    from rich.table import Table

    from ganrun.engine.probe import probe as fit
    from ganrun.engine.progress import console

    table = Table("features", "accuracy", "numbers a sample", title=f"linear probe, {labels} labels")
    for name, found in fit(target, config, labels=labels, seed=seed).items():
        table.add_row(name, f"{found['accuracy']:.4f}", str(int(found["features"])))
    console.print(table)


def invert(target: Path, words: Sequence[str], config_dir: Path | None, source: Path | None, **options: Any) -> Path:
    """Look for images in a run's generator; show a table. Where the picture is. ``words``: overrides, and image files."""
    overrides = [word for word in words if "=" in word and not Path(word).expanduser().exists()]
    places = [Path(word).expanduser() for word in words if word not in overrides] + ([] if source is None else [source])
    target, config = prepare(target, overrides, config_dir, ALLOWED["invert"], "invert")
    from rich.table import Table

    from ganrun.engine.invert import invert as search
    from ganrun.engine.progress import console

    found = search(target, places, config, **options)
    named = "class" in found["images"][0]
    table = Table("image", "error", "PSNR, dB", *(["class"] if named else []), title=f"nearest samples at step {found['step']}")
    rows = [(entry["image"], entry["error"], str(entry.get("class", ""))) for entry in found["images"]]
    for name, error, label in [*rows, ("mean", found["mean"], ""), ("the run's own samples", found["own"], "")]:
        table.add_row(name, f"{error:.3g}", f"{-10 * math.log10(max(error, 1e-12)):.1f}", *([label] if named else []))
    console.print(table)
    made: Path = found["path"]
    return made


def prepare(
    target: Path, overrides: Sequence[str], config_dir: Path | None, allowed: Sequence[str], command: str
) -> tuple[Path, dict[str, Any]]:
    """(absolute target, the run's config with ``overrides``); every mistake as ``BadInput``, before torch."""
    signature.forget()
    folder, target = runs.locate(target)
    catalog.places(config_dir)  # a folder that is not there is said first
    with errors_for_people(), composer(config_dir) as found:
        refused = [
            f"{text}: ganrun {command} takes {', '.join(allowed)}{'; nor is there such a run folder' if '/' in text else ''}"
            for text in overrides
            if not is_allowed(text, allowed)
        ]
        if refused:
            raise BadInput("\n".join(refused))
        typed = readable(overrides, found)
        start = resume.origin(folder, typed, found, (command, target))
        report = check.verify(overrides, found, found.folders, multirun=False, given=start.overrides, origin=str(folder))
        if report.mistakes:
            raise BadInput("\n".join(report.mistakes))
        for note in report.notes:
            sys.stderr.write(f"{note}\n")
        config = signature.plain(found.compose([*start.overrides, *(entry.spelt for entry in typed)]))
    kept = {key: start.config[key] for key in resume.OWN if key in start.config and key != "plugins"}
    return target, config | kept
