"""``ganrun report``: what stands on the page, what it escapes, what it shows of damaged, moved and running folders; drawings."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import html
import html.parser
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import compose_config
from PIL import Image
from test_doctor_command import make
from test_doctor_diseases import SICK
from typer.testing import CliRunner

from ganrun.cli.app import app
from ganrun.cli.report import command, curves, images, page, several_page
from ganrun.cli.report.curves import Line, Panel, Span
from ganrun.cli.report.held import Held, read
from ganrun.data.base import Images
from ganrun.disk.rows import rows_of_scores
from ganrun.disk.run_folder import RunFolder
from ganrun.engine import clouds, exhibits
from ganrun.engine.run import train
from ganrun.ground.errors import BadInput

SMALL = ("steps=4", "batch_size=8", "device=cpu", "device.threads=1", "every={log: 1, sample: 2, eval: 0, checkpoint: 2}")
HOSTILE = """<script>alert(1)</script> "quoted" 'and' & <img src=x onerror=alert(1)>"""


class Page(html.parser.HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside != "style":
            (self.scripts if self._inside == "script" else self.words).append(data)

    def of(self, tag: str) -> list[dict[str, str]]:
        return [held for name, held in self.tags if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def page_of(*words: object, **asked: Any) -> tuple[str, Page]:
    *_, path = [*command.report([str(word) for word in words], **asked)][:1]
    text = Path(path).read_text(encoding="utf-8")
    return text, Page(text)


def picture(path: Path, colour: int = 99) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (40, 40), colour).save(path)


def told(folder: Path, *parts: Any, losses: int = 6, **facts: Any) -> Path:
    """A run folder that was never trained: looks, losses, two pictures."""
    run = make(folder, *(parts or ((6, {}),)), **facts)
    rows = [
        {"step": 50 * step + 1, "images": 1, "discriminator/loss": 1.0 / (step + 1), "generator/loss": float(step)}
        for step in range(losses)
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for step in (0, 200):
        picture(run / "samples" / f"step_{step:08d}.png", step)
    (run / "overrides.txt").write_text("loss=hinge\nname=it's mine\n")
    return run


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "digits"
    train(
        compose_config("dataset=digits", "model=mlp", "condition=concat", "metric=none", *SMALL),
        folder,
        overrides=["dataset=digits", "steps=4"],
    )
    card = {"metric": "fid", "extractor": {"name": "classifier"}, "samples": 360}
    score = {"value": 12.5, "std": 0.5, "card": card}
    rows_of_scores(RunFolder(folder)).append({"step": 4, "scores": {"fid": score}, "baselines": {"held_out": {"fid": score}}})
    return folder


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "ring"
    train(compose_config("dataset=ring8", "metric=none", *SMALL), folder, overrides=["dataset=ring8", "steps=4"])
    return folder


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages whose drawings are not drawn: most of the time that a page takes."""
    monkeypatch.setattr(page, "svg", lambda panel: f'<svg role="img" aria-label="{html.escape(panel.words)}"></svg>')


# the page as a whole


def check(text: str, found: Page) -> None:
    """What holds for every page: nothing from outside, ids that exist once, a text for every picture, one script of ours."""
    assert text.startswith("<!doctype html>")
    assert len(text.encode()) < 5_000_000
    ids = [held["id"] for _, held in found.tags if "id" in held]
    assert len(ids) == len(set(ids))
    named = [held[key] for _, held in found.tags for key in ("for", "aria-labelledby") if key in held]
    named += [held["href"][1:] for _, held in found.tags if held.get("href", "").startswith("#")]
    named += re.findall(r"url\(#([^)]+)\)", text)
    assert set(named) <= set(ids)
    for tag, held in found.tags:
        for key in ("src", "href", "srcset", "action", "data", "poster", "xlink:href"):
            assert key not in held or held[key].startswith(("data:", "#")), (tag, held)
        assert not any(key.startswith("on") for key in held), (tag, held)
    assert not re.search(r"url\((?!#)|@import", text)
    assert {tag for tag, _ in found.tags}.isdisjoint({"iframe", "object", "embed", "base", "form"})
    for held in found.of("img"):
        assert held["alt"]
    for held in found.of("svg"):
        assert held["role"] == "img"
        assert held["aria-label"]
    (script,) = found.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [held["content"] for held in found.of("meta") if held.get("http-equiv") == "Content-Security-Policy"]
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert any(held.get("name") == "viewport" for held in found.of("meta"))


def test_a_run_on_images_shows_all_that_it_has(digits: Path) -> None:
    text, found = page_of(digits, "device=cpu")
    check(text, found)
    assert "done" in found.text
    assert "at step 4 of 4" in found.text
    for title in ("Latent walk", "Classes", "Real beside generated", "Nearest training images", "Spectra of the discriminator"):
        assert title in found.text
    assert "Not shown" not in found.text
    assert "dataset=digits steps=4" in found.text  # the command
    assert len([held for held in found.of("div") if held.get("data-name", "").startswith("step ")]) == 3
    assert "12.5 ±0.5 11.52 to 13.48 12.5 ±0.5 classifier, N=360" in found.text
    assert '"fid"' in found.text  # its card
    assert "The discriminator's loss" in found.text
    assert "digits (1437 samples of 1 x 8 x 8 numbers, 10 classes)" in found.text


def test_a_run_on_points_of_the_plane_shows_density_and_field_at_each_kept_checkpoint(ring: Path) -> None:
    text, found = page_of(ring, "device=cpu")
    check(text, found)
    alts = [held["alt"] for held in found.of("img") if "discriminator's score" in held["alt"]]
    assert [alt.rpartition(" ")[2] for alt in alts] == ["0", "2", "4"]
    assert "From the checkpoints that are kept, of steps 0, 2, 4" in found.text


@pytest.mark.usefixtures("undrawn")
def test_a_field_that_lacks_something_says_what_and_why(ring: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exhibits, "why_no_score", lambda game: "it judges pairs")
    monkeypatch.setattr(exhibits.clouds, "field", lambda *words: Image.new("L", (9, 9)))
    _, found = page_of(ring, "device=cpu")
    assert found.text.count("The score is left out: it judges pairs.") == 1
    for options, said in (({"pack": 2}, "packs"), ({"judges_samples": False}, "something else")):
        game = SimpleNamespace(
            **{"judges_samples": True, "pack": 1, "roles": lambda: {"discriminator": ((None,), ())}, **options}
        )
        monkeypatch.undo()
        assert said in str(exhibits.why_no_score(game))  # type: ignore[arg-type]


def test_files_alone_need_no_torch(ring: Path, tmp_path: Path) -> None:
    words = ["report", str(ring), "--files-only", "--out", "x.html"]
    code = f"import sys; from ganrun.cli.app import app; app({words!r}, standalone_mode=False); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found = Page((tmp_path / "x.html").read_text())
    assert "Left out, as --files-only asks." in found.text


def test_findings_stand_on_the_time_axis_with_evidence_and_remedies(tmp_path: Path) -> None:
    run = told(tmp_path / "run", (6, {}), (10, {**SICK["weak_discriminator"], "starved": 0.5}))
    text, found = page_of(run, files_only=True)
    check(text, found)
    assert "Since step 350, after 300; named at 450; it stands." in found.text
    assert "held in 10 of 10 looks since" in found.text
    assert any("Findings on the time axis" in held["aria-label"] for held in found.of("svg"))
    assert "fork=true" in found.text
    assert "ganrun doctor" in found.text


# what comes from the folder is text


def test_whatever_a_folder_holds_is_text_on_the_page(tmp_path: Path) -> None:
    run = told(
        tmp_path / HOSTILE.replace("/", "_"),
        status=HOSTILE,
        environment={HOSTILE: HOSTILE},
        data={"notes": [HOSTILE], "spec": {"shape": [HOSTILE]}},
    )
    (run / "overrides.txt").write_text(f"name={HOSTILE}\n")
    (run / "train.log").write_text(f"2026-01-01T00:00:00+00:00 stopped: {HOSTILE}\n")
    rows = [{"step": step, f"{HOSTILE}/$x^{{": 1.0 + step, "a/$broken$_{": float("nan")} for step in range(3)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    card = {"metric": HOSTILE, HOSTILE: HOSTILE}
    score = {"value": 1.0, "std": 0.1, "card": card, "remarks": [HOSTILE]}
    (run / "scores.jsonl").write_text(
        json.dumps({"step": 3, "scores": {HOSTILE: score}, "baselines": {HOSTILE: {HOSTILE: score}}}) + "\n"
    )
    text, found = page_of(run)
    check(text, found)
    assert len(found.of("script")) == 1
    assert not [held for held in found.of("img") if not held["src"].startswith("data:")]
    assert found.text.count("<script>alert(1)") >= 6
    shown = next(line for line in found.words if " train " in line and "name=" in line)
    assert f"name={HOSTILE}" in shlex.split(shown)
    other = told(tmp_path / "other", status="done")
    text, found = page_of(run, other, out=tmp_path / "both.html")
    check(text, found)
    assert len(found.of("script")) == 1


# where it stands


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("diverged", "replay"),
        ("storagefailed", "Make room"),
        ("stopped", "goes on, bit for bit"),
        ("stopped by doctor", "doctor.stop=[]"),
        ("badinput", "Mend what its last words name"),
        ("running", "it was killed"),
        ("done", "steps="),
    ],
)
def test_what_to_type_next_follows_from_where_it_stands(tmp_path: Path, status: str, said: str) -> None:
    run = told(tmp_path / "run", (0, {}), losses=0, status=status)
    words = ("begins", "stopped: NaN in r1 at step 7", "and more")
    (run / "train.log").write_text("".join(f"2026-01-01T00:00:00+00:00 {said}\n" for said in words))
    _, found = page_of(run, files_only=True)
    head = found.text[: found.text.index("Samples over training")]
    assert said in head
    assert ("NaN in r1 at step 7" in found.text) == (status != "done")
    if status not in ("diverged", "done"):
        assert "loss=hinge" in head  # the command that began it
        assert shlex.quote("name=it's mine") in head


def test_a_run_that_trains_now_is_said_to(tmp_path: Path) -> None:
    run = told(tmp_path / "run", (0, {}), losses=0, status="running")
    with open(run / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _, found = page_of(run, files_only=True)
    assert "A process trains it now" in found.text


# damaged and moved folders


@pytest.mark.usefixtures("undrawn")
def test_of_a_damaged_folder_the_rest_is_shown_and_what_is_lost_is_said(tmp_path: Path) -> None:
    run = told(tmp_path / "run", status="done")
    (run / "config.yaml").write_text("a: [")
    (run / "run.json").write_text("{")
    (run / "samples" / "step_00000200.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    with open(run / "metrics.jsonl", "a") as file:
        file.write("nonsense\n{}\n")
    done = CliRunner().invoke(app, ["report", str(run), "--out", str(tmp_path / "x.html")])
    assert done.exit_code == 0, done.output
    text = (tmp_path / "x.html").read_text()
    found = Page(text)
    check(text, found)
    for said in ("config.yaml", "run.json", "is no whole PNG", "2 of 8 rows of", "Its config is lost"):
        assert said in found.text
    assert "config.yaml" in done.stderr  # on the terminal too
    assert [held["data-name"] for held in found.of("div") if "data-name" in held] == ["step 0"]
    for lost in ("signs.jsonl", "metrics.jsonl", "run.json", "config.yaml", "overrides.txt"):
        (run / lost).unlink()
        check(*page_of(run))
    shutil.rmtree(run / "samples")
    with pytest.raises(BadInput, match="nothing in this folder can be shown"):
        page_of(run)


@pytest.mark.usefixtures("undrawn")
def test_links_out_of_a_folder_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    picture(secret / "step_00000001.png")
    run = told(tmp_path / "run", (0, {}), losses=0)
    (run / "samples" / "step_00000300.png").symlink_to(secret / "step_00000001.png")
    assert "step 300" not in page_of(run, files_only=True)[1].text
    shutil.rmtree(run / "samples")
    (run / "samples").symlink_to(secret)
    assert not page_of(run, files_only=True)[1].of("img")
    (run / "train.log").symlink_to("/etc/passwd")
    (run / "samples").unlink()
    picture(run / "samples" / "step_00000001.png")
    _, found = page_of(run, files_only=True)
    assert "root:" not in found.text
    assert "train.log: not a regular file" in found.text


@pytest.mark.usefixtures("undrawn")
def test_a_copied_folder_without_its_data_or_checkpoints_says_what_is_missing(digits: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere" / "a copy"
    shutil.copytree(digits, copy)
    for file in (copy / "checkpoints").iterdir():
        if file.suffix == ".pt":
            file.write_bytes(b"broken")
    text, found = page_of(copy, "device=cpu")
    check(text, found)
    assert "Not shown:" in found.text
    assert str(copy) in found.text
    shutil.rmtree(copy / "checkpoints")
    assert "there is no checkpoint in the folder" in page_of(copy)[1].text


# mistakes


@pytest.mark.usefixtures("undrawn")
def test_mistakes_are_named_all_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = told(tmp_path / "runs" / "right-seed0")
    (tmp_path / "empty").mkdir()
    kept = run / "checkpoints" / "step_00000100.pt"
    done = CliRunner().invoke(app, ["report", "runs/right-sed0", "empty", str(kept)])
    assert done.exit_code == 2
    assert "Did you mean runs/right-seed0?" in done.stderr
    assert "empty: holds no run folder" in done.stderr
    assert "is a checkpoint; a report is of its run" in done.stderr
    done = CliRunner().invoke(app, ["report", "runs", "loss=hinge"])
    assert done.exit_code == 2
    assert "loss=hinge: ganrun report takes device, plugins, dataset.root" in done.stderr


@pytest.mark.usefixtures("undrawn")
def test_nothing_that_it_did_not_write_is_written_over(tmp_path: Path) -> None:
    run = told(tmp_path / "run", (0, {}), losses=0)
    for words in (["--out", str(run / "config.yaml")], ["--gif", str(run / "samples" / "step_00000000.png")]):
        done = CliRunner().invoke(app, ["report", str(run), "--files-only", *words])
        assert done.exit_code == 2, done.output
    other = tmp_path / "other.gif"
    Image.new("L", (3, 3)).save(other)
    with pytest.raises(BadInput, match="did not write it"):
        page_of(run, gif=other, files_only=True)
    with pytest.raises(BadInput, match="is a folder"):
        page_of(run, out=tmp_path, files_only=True)
    first, _ = page_of(run, files_only=True)  # beside the run, and again over itself
    assert page_of(run, files_only=True)[0].splitlines()[:5] == first.splitlines()[:5]
    assert (run / "report.html").exists()
    done = CliRunner().invoke(app, ["report", str(run), "--files-only", "--out", "/proc/nowhere/x.html"])
    assert done.exit_code == 4


# the moving picture


def test_the_moving_picture_has_a_frame_a_picture_with_its_step_above(tmp_path: Path) -> None:
    run, made = told(tmp_path / "run", (0, {}), losses=0), tmp_path / "new" / "training.gif"
    picture(run / "samples" / "step_00000100.png", 100)
    (run / "samples" / "step_00000150.png").write_bytes(b"broken")
    for _ in range(2):  # again, over its own
        assert [*command.report([str(run)], gif=made, files_only=True)][1] == made
    with Image.open(made) as moving:
        assert moving.n_frames == 3
        shown, lengths = [], []
        for place in range(3):
            moving.seek(place)
            shown.append(np.asarray(moving.convert("L")))
            lengths.append(moving.info["duration"])
    assert [int(frame[-1, -1]) for frame in shown] == [0, 100, 200]
    assert shown[0].shape == (68, 40)
    assert all((frame[:28] < 128).any() for frame in shown)  # words
    assert lengths[-1] > lengths[0]
    other = told(tmp_path / "other", (0, {}), losses=0)
    with pytest.raises(BadInput, match="is of one run"):
        page_of(run, other, gif=made)
    shutil.rmtree(other / "samples")
    with pytest.raises(BadInput, match="has no picture"):
        page_of(other, gif=tmp_path / "z.gif", files_only=True)


# drawings and numbers


def test_a_thinned_line_keeps_its_ends_and_its_extremes() -> None:
    values = np.random.default_rng(0).normal(size=5000).tolist()
    values[1234], values[4321] = 99.0, -99.0
    found = curves.thinned(Line("x", range(5000), values))
    assert len(found.xs) <= curves.MOST + 2
    assert (found.xs[0], found.xs[-1]) == (0, 4999)
    assert (max(found.ys), min(found.ys)) == (99.0, -99.0)
    assert [values[x] for x in found.xs] == list(found.ys)


def test_a_drawing_has_words_for_those_who_cannot_see_it_and_the_colours_of_the_page() -> None:
    panel = Panel('a <b> & "c"', [Line("x", [1, 2, 3], [5.0, float("nan"), 2.0]), Line("$y_{", [1], [1.0])], spans=[Span("s", 1)])
    text = curves.svg(panel)
    assert "x: from 5 at step 1 to 2 at step 3, between 2 and 5." in text
    assert "a &lt;b&gt; &amp; &quot;c&quot;" in text
    assert "currentColor" in text
    assert "$y_{" in text
    assert "http" not in text
    assert curves.INK not in text


@pytest.mark.parametrize("values", [[], [float("nan")] * 3, [0.0] * 3, [1e-9, 1e9, 1.0], [-1e300, 1e300, float("inf")]])
def test_any_numbers_can_be_drawn(values: list[float]) -> None:
    assert curves.svg(Panel("x", [Line("x", range(len(values)), values)])).startswith("<svg")


def test_a_picture_that_is_too_large_is_made_to_fit() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (300, 300, 3), dtype=np.uint8))
    for room in (300_000, 60_000, 8_000):
        shown = images.embedded(noise, "noise", room=room)
        assert len(base64.b64decode(shown.source.partition(",")[2])) <= room


def test_means_and_intervals_over_seeds_are_those_of_the_t_law() -> None:
    from scipy import stats

    values = [[1.0, 4.0, 9.0], [2.0, 4.5, 7.0], [4.0, 5.0, 8.0]]
    runs = [Held(Path("x"), losses=[{"step": step, "d/loss": row[step]} for step in range(3)]) for row in values]
    runs[0].losses.append({"step": 3, "d/loss": 1.0})  # a step that the others have not reached
    line = several_page._mean("1", runs, "losses", "d/loss")
    assert list(line.xs) == [0, 1, 2]
    for place in range(3):
        column = [row[place] for row in values]
        low, high = stats.t.interval(0.95, 2, np.mean(column), stats.sem(column))
        assert (line.ys[place], line.low[place], line.high[place]) == pytest.approx((np.mean(column), low, high))


def test_samples_that_are_copies_are_found_among_the_training_images(monkeypatch: pytest.MonkeyPatch) -> None:
    source = np.random.default_rng(1)
    pixels = torch.from_numpy(source.integers(0, 255, (40, 8, 8, 1), dtype=np.uint8))
    other = Images(torch.from_numpy(source.integers(0, 255, (20, 8, 8, 1), dtype=np.uint8)), None)
    data = Images(pixels, None, held_out=other)
    run: Any = SimpleNamespace(spec=data.spec, dataset=data, game=SimpleNamespace(traits=()))
    shown: list[torch.Tensor] = []
    monkeypatch.setattr(
        exhibits.pictures, "grid", lambda pixels, columns, at_least: shown.append(pixels) or Image.new("L", (1, 1))
    )
    monkeypatch.setattr(exhibits, "_made", lambda trained, wish: data.batch(torch.arange(40).flip(0)).x)
    found = exhibits._nearest(run)
    assert found is not None
    assert "100.0% lie nearer to a training image" in found.caption
    assert "66.7% are due to their numbers" in found.caption
    rows = shown[0].unflatten(0, (8, 4))
    assert torch.equal(rows[:, 0], rows[:, 1])  # the nearest one of a copy is what it was copied from
    assert not torch.equal(rows[:, 0], rows[:, 2])
    flat = pixels.flatten(1).double()
    distances = (flat[39] - flat).norm(dim=1)
    assert torch.equal(shown[0].unflatten(0, (8, 4))[0, 2].flatten(), pixels[distances.argsort()[1]].flatten())
    monkeypatch.setattr(exhibits, "_made", lambda trained, wish: other.batch(torch.arange(20)).x)
    found = exhibits._nearest(run)
    assert found is not None
    assert " 0.0% lie nearer" in found.caption


def test_the_field_has_density_and_score_where_they_are() -> None:
    real = torch.tensor([[-1.0, -1.0], [1.0, 1.0]])
    peak = torch.tensor([0.8, 0.4], dtype=torch.float64)

    def density(x: torch.Tensor) -> torch.Tensor:
        return -(x - peak).square().sum(1) / (2 * 0.15**2)

    grey = np.asarray(clouds.field(torch.empty(0, 2), real, density, None, "x").convert("L"), dtype=float)[40:478, 86:530]
    y, x = np.unravel_index(grey.argmin(), grey.shape)
    right = x / grey.shape[1], 1 - y / grey.shape[0]
    assert right == pytest.approx((0.5 + 0.8 / 3, 0.5 + 0.4 / 3), abs=0.05)
    scored = np.asarray(clouds.field(torch.empty(0, 2), real, None, lambda x: x[:, 0], "x"), dtype=float)[100:400, 90:500]
    warm = scored[:, :, 0] - scored[:, :, 2]  # red above blue where the score is high
    assert warm[:, -60:].mean() > 10 > warm[:, :60].mean()
    flipped = np.asarray(clouds.field(torch.empty(0, 2), real, None, lambda x: x[:, 1], "x"), dtype=float)[60:460, 90:500]
    warm = flipped[:, :, 0] - flipped[:, :, 2]
    assert warm[:40].mean() > 10 > warm[-40:].mean()


def test_all_that_can_be_read_of_a_run_is_read(digits: Path) -> None:
    held = read(digits)
    assert held.status == "done"
    assert list(held.pictures) == [0, 2, 4]
    assert [row["step"] for row in held.losses] == [1, 2, 3, 4]
    ((step, scores),) = held.scores()
    assert step == 4
    assert list(scores) == ["fid"]
    assert [note[:17] for note in held.notes] == ["no look was taken"]


def sweep(above: Path, values: dict[str, list[float]], **card: Any) -> Path:
    """Runs of two losses over seeds, with these FIDs; ``card``: what differs on the card of the last one."""
    for loss, scores in values.items():
        for seed, value in enumerate(scores):
            run = told(above / f"{loss}{seed}", (0, {}), losses=2, status="stopped" if (loss, seed) == ("hinge", 0) else "done")
            (run / "config.yaml").write_text(json.dumps(compose_config(f"loss={loss}", f"seed={seed}", f"every.log={10 + seed}")))
            last = card if (loss, seed) == (list(values)[-1], len(scores) - 1) else {}
            score = {"value": value, "card": {"metric": "fid", "samples": 360, "seed": seed, **last}}
            (run / "scores.jsonl").write_text(json.dumps({"step": 300, "scores": {"fid": score}}) + "\n")
    return above


def heads_of(text: str) -> list[str]:
    return [html.unescape(head) for head in re.findall(r'<th scope="col"[^>]*>([^<]*)</th>', text)]


@pytest.mark.usefixtures("undrawn")
def test_several_runs_have_the_keys_that_differ_and_are_not_ranked_where_that_is_not_decided(tmp_path: Path) -> None:
    above = sweep(tmp_path / "sweep", {"hinge": [10.0, 12.0, 11.0], "lsgan": [12.0, 11.5, 12.5]})
    text, found = page_of(above)
    check(text, found)
    assert (above / "report.html").exists()
    heads = heads_of(text)
    assert heads[:8] == ["run", "loss", "seed", "step", "status", "fid", "scores of step", "findings that stand"]
    assert heads[8:] == ["setting", "fid (lower is better)"]
    assert "6 runs of 2 settings: 1 stopped, 5 done." in found.text
    assert len(found.of("img")) == 6
    assert "1 of them did not come to their end" in found.text
    assert "11 ±2.5 (n=3)" in found.text
    assert "difference +1 ±3.3 (n=3, paired) not decided; about" in found.text
    assert "more seeds would" in found.text
    assert "fid : which setting is best is not decided" in found.text
    assert "hinge: best" not in found.text


@pytest.mark.usefixtures("undrawn")
def test_what_is_decided_is_said_and_the_reference_can_be_chosen(tmp_path: Path) -> None:
    above = sweep(tmp_path / "sweep", {"hinge": [10.0, 12.0, 11.0], "lsgan": [20.0, 22.1, 21.0]})
    _, found = page_of(above)
    assert "fid : best is loss=hinge, decided from every other setting." in found.text
    assert "loss=hinge (3 seeds, reference)" in found.text
    _, found = page_of(above, reference="2")
    assert "loss=lsgan (3 seeds, reference)" in found.text
    with pytest.raises(BadInput, match="--reference 3"):
        page_of(above, reference="3")
    with pytest.raises(BadInput, match="is for several runs"):
        page_of(above / "hinge0", reference="1")


@pytest.mark.usefixtures("undrawn")
def test_scores_under_different_cards_have_columns_of_their_own(tmp_path: Path) -> None:
    above = sweep(tmp_path / "sweep", {"hinge": [10.0, 12.0], "lsgan": [12.0, 11.5]}, samples=500)
    text, found = page_of(above)
    assert [head for head in heads_of(text) if head.startswith("fid (card")][:2] == ["fid (card 1)", "fid (card 2)"]
    assert "card 2: samples=500" in found.text
    cells = [held.get("data-value") for held in found.of("td") if "data-value" in held]
    assert "11.5" in cells


@pytest.mark.usefixtures("undrawn")
def test_a_damaged_run_among_several_is_shown_as_far_as_it_can_be(tmp_path: Path) -> None:
    above = sweep(tmp_path / "sweep", {"hinge": [10.0, 12.0], "lsgan": [12.0, 11.5]})
    (above / "lsgan1" / "config.yaml").write_text("a: [")
    text, found = page_of(above)
    check(text, found)
    assert "4 runs of 3 settings" in found.text
    assert "lsgan1: " in found.text
    assert "config lost" in found.text
