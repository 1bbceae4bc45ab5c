"""What ``ganrun sample`` does with a trained run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ganrun.disk import checkpoint
from ganrun.disk.image_folder import SAMPLED
from ganrun.engine import handout, pictures, sampling, sources
from ganrun.engine.choice import Wish
from ganrun.ground.errors import BadInput


def sample(
    target: Path,
    *,
    num: int | None,
    seed: int,
    out: Path | None,
    config: Mapping[str, Any],
    raw: bool = False,
    labels: list[int] | None = None,
    separate: bool = False,
    truncation: float | None = None,
    interpolate: str | None = None,
    class_grid: bool = False,
    traverse: str | None = None,
    arithmetic: str | None = None,
    reject: float | None = None,
    source: Path | None = None,
) -> Path:
    """Write ``num`` samples (64 unless told) of a trained run as a picture, and each for itself if asked.

    ``source``: a folder of images for the run to translate, one sample each. Returns the picture's path: each request has a
    name of its own, and nothing that is there is overwritten.
    """
    trained = sampling.Trained(target, config, raw=raw)
    given = None if source is None else own_images(source, trained, config)
    asked, num = num, (64 if given is None else len(given.source)) if num is None else num
    wish = Wish(num, seed, labels or None, truncation, interpolate, class_grid, traverse, arithmetic, reject)
    table = wish.table() is not None
    if given is not None and (asked is not None or table or reject is not None):
        raise BadInput(
            "--input: makes one translation of each image; leave out --num, --reject and whatever arranges samples in rows"
        )
    starts = trained.starts(num, given, interpolate=interpolate, class_grid=class_grid)
    choice = trained.choose(wish)
    x = trained.make(choice, seed=seed, starts=starts)
    if choice.note:
        sampling.print_warning(f"note: {choice.note}")
    if asked is not None and len(x) != asked:
        sampling.print_warning(f"note: --num {asked}: makes {len(x)} samples, as many as fill rows of equal length")
    group = (len(labels) if labels else int(trained.spec.classes or 1)) if trained.game.condition.uses_labels else 1
    columns = choice.columns or pictures.across(len(x), group)
    title = f"{config['dataset']['name']} at step {trained.step}, seed {seed}"
    if starts is not None and not table:
        picture = pictures.beside(x, trained.spec, starts.source, starts.target, title)
    else:
        picture = pictures.picture_of(x, trained.spec, columns=columns, table=table, title=title)
    standing = config["evaluation"].get("standing", 0)
    request = {
        "run": trained.folder.resolve().name,
        "step": trained.step,
        "seed": seed,
        "num": num,
        "raw": raw,
        "labels": labels or None,
        "truncation": truncation,
        "interpolate": interpolate,
        "class_grid": class_grid,
        **({"traverse": traverse} if traverse else {}),
        **({"arithmetic": arithmetic} if arithmetic else {}),
        **({"standing": standing} if standing else {}),
        **({"reject": reject} if reject is not None else {}),
        "input": None if source is None else source.resolve().name,
    }
    exact = {"weights": trained.digest, "precision": trained.runtime.precision, **({} if given is None else vars(given))}
    out, stem = out or trained.folder / "samples", handout.name(spoken(request), {**request, "exact": checkpoint.digest(exact)})
    files = {".png": lambda: pictures.png(picture, json.dumps(request))}
    if trained.spec.kind == "tokens":
        files[".txt"] = lambda: pictures.text_of(x, trained.spec)
    if separate:
        names = starts.names if starts is not None else ()
        files |= {f"/{end}": make for end, make in pictures.pieces(x, trained.spec, names).items()}
    return out / f"{handout.write(out, stem, files)}.png"


def spoken(request: Mapping[str, Any]) -> list[str]:
    """The words of a file's name that tell this request from the usual one: ``step_00002000 seed_0 num_64 raw label_3``."""
    words = [f"{SAMPLED}{request['step']:08d}", f"seed_{request['seed']}", f"num_{request['num']}"]
    for key, entry in request.items():
        if key in ("raw", "class_grid") and entry:
            words.append(key)
        elif key == "labels" and entry:
            words.append("label_" + "_".join(map(str, entry)))
        elif key == "traverse":
            words.append("traverse" if entry == "auto" else f"traverse_{entry}")
        elif key == "reject":
            words.append(f"reject_{entry:g}")
        elif key == "arithmetic":
            words.append("sum_" + entry.replace(" ", "").replace("+", "_plus_").replace("-", "_minus_").replace("*", "x"))
        elif key in ("truncation", "interpolate", "standing", "input") and entry is not None:
            words.append(f"{key}_{entry}")
    return words


def own_images(source: Path, trained: sampling.Trained, config: Mapping[str, Any]) -> sources.Sources:
    """A person's own images as sources; ``BadInput`` for a run that has no use for them."""
    if not sources.translates(trained.game):
        raise BadInput(f"--input {source}: this run makes samples from noise and translates nothing. Leave --input out")
    return sources.read_folder(source, trained.spec, config["dataset"])
