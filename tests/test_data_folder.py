"""A folder of images: rules of decoding, hostile files, labels, splits, content digests, and streaming that equals memory."""

import os
import shlex
import struct
import threading
import zlib
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from ganrun.data import decode, streamed, working_size
from ganrun.data import decoded as decoded_images
from ganrun.data.base import ContentHash, Images, to_pixels
from ganrun.data.decode import ResizeRule, Unreadable
from ganrun.data.folder_names import draw as draw_of
from ganrun.data.folder_names import usual_share
from ganrun.data.streamed import StreamedImages
from ganrun.disk import image_folder
from ganrun.engine import assemble
from ganrun.ground import registry
from ganrun.ground.errors import BadInput
from ganrun.ground.registry import build


def make(root, **options):
    return build("dataset", {"name": "folder", "root": str(root), **options})


def picture(seed=0, height=8, width=8, channels=3):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def save(path, array=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = array if isinstance(array, Image.Image) else Image.fromarray((picture() if array is None else array).squeeze())
    image.save(path, **options)
    return path


def fill(root, count=6, folders=("",), size=8):
    """``count`` PNG images in each sub-folder, all different: {relative name: pixels}."""
    made = {}
    for place, folder in enumerate(folders):
        for number in range(count):
            name = f"{folder}/{number}.png" if folder else f"{number}.png"
            made[name] = picture(100 * place + number, size, size)
            save(root / name, made[name])
    return made


def decoded(path, size=8, resize="crop", channels=3):
    return decode.decode(str(path), ResizeRule(size, resize, channels))


def png_header(width, height):
    """A PNG that declares a size and holds no pixel at all."""
    head, body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0), b"IDAT" + zlib.compress(b"")
    chunks = (struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in (head, body))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def bmp_header(width, height):
    """A BMP that declares a size and holds no pixel at all."""
    return b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


# What is read


def test_images_come_in_the_order_of_their_names_with_every_pixel(tmp_path):
    made = fill(tmp_path, 5) | fill(tmp_path, 2, ("1deep/er", "3"))
    data = make(tmp_path, size=8)
    assert isinstance(data, Images)
    assert np.array_equal(data.pixels.numpy(), np.stack([made[name] for name in sorted(made)]))
    assert data.spec.shape == (3, 8, 8)
    assert data.labels is None
    assert data.held_out() is None
    assert data.traits == {"dataset.image", "dataset.achiral"}
    assert "crop to 8x8, Lanczos" in data.notes


@pytest.mark.parametrize(("suffix", "options"), [("bmp", {}), ("webp", {"lossless": True}), ("png", {})])
def test_each_lossless_format_gives_its_pixels(tmp_path, suffix, options):
    path = save(tmp_path / f"a.{suffix}", **options)
    assert np.array_equal(decoded(path).pixels, picture())


def test_jpeg_is_read_and_a_far_too_large_one_is_scaled_without_shifting(tmp_path):
    ramp = np.linspace(0, 255, 640).astype(np.uint8)[None, :, None].repeat(640, 0).repeat(3, 2)
    small = decoded(save(tmp_path / "a.jpeg", ramp, quality=95), size=16).pixels
    expected = ramp.reshape(16, 40, 16, 40, 3).mean((1, 3))
    assert np.abs(small.astype(float) - expected)[:, 1:-1].max() < 3
    blocks = picture(0, 16, 16, 1).repeat(40, 0).repeat(40, 1)
    path = save(tmp_path / "b.jpeg", blocks, quality=95)
    whole = np.asarray(Image.open(path).resize((16, 16), Image.Resampling.LANCZOS)).astype(int)
    assert np.abs(decoded(path, size=16, channels=1).pixels[..., 0] - whole).max() < 12  # the decoder keeps twice the size


def test_crop_takes_the_centre_pad_centres_on_black_and_stretch_takes_all(tmp_path):
    wide = np.zeros((8, 16, 3), dtype=np.uint8)
    wide[:, :4], wide[:, 4:12], wide[:, 12:] = (255, 0, 0), picture(), (0, 0, 255)
    path = save(tmp_path / "wide.png", wide)
    assert np.array_equal(decoded(path).pixels, picture())
    padded = decoded(path, size=16, resize="pad").pixels
    assert np.array_equal(padded[4:12], wide)
    assert padded[:4].max() == padded[12:].max() == 0
    wide[:, 4:12] = (0, 255, 0)
    stretched = decoded(save(tmp_path / "flat.png", wide), resize="stretch").pixels
    assert stretched.argmax(2).tolist() == [[0, 0, 1, 1, 1, 1, 2, 2]] * 8


def test_resizing_is_antialiased_lanczos(tmp_path):
    stripes = np.zeros((64, 64, 1), dtype=np.uint8)
    stripes[:, ::4] = 200
    small = decoded(save(tmp_path / "a.png", stripes), size=16, channels=1).pixels
    assert np.abs(small[2:-2, 2:-2].astype(int) - 50).max() <= 6
    noise = Image.fromarray(picture(3, 20, 20))
    expected = np.asarray(noise.resize((8, 8), Image.Resampling.LANCZOS))
    assert np.array_equal(decoded(save(tmp_path / "b.png", noise)).pixels, expected)


def test_a_very_long_image_makes_no_huge_intermediate(tmp_path):
    long = np.zeros((1, 60000, 1), dtype=np.uint8)
    path = save(tmp_path / "long.png", long)
    for resize in ("crop", "pad", "stretch"):
        assert decoded(path, size=64, resize=resize).pixels.shape == (64, 64, 3)


@pytest.mark.parametrize("tag", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, tag):
    """Each tag's meaning, by its definition: where row 0 and column 0 of the stored image lie on the true one."""
    upright = np.zeros((8, 8, 3), dtype=np.uint8)
    upright[0, 1:7], upright[1:7, 0] = (255, 0, 0), (0, 255, 0)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright.transpose(1, 0, 2)[::-1, ::-1],
        8: np.rot90(upright, -1),
    }[tag]
    exif = Image.Exif()
    exif[0x0112] = tag
    result = decoded(save(tmp_path / "a.png", np.ascontiguousarray(stored), exif=exif))
    assert np.array_equal(result.pixels, upright)
    assert result.remarks == (() if tag == 1 else ("turned as EXIF says",))


def test_a_broken_exif_block_does_not_cost_the_image(tmp_path):
    path = save(tmp_path / "a.png", exif=b"Exif\0\0garbage")
    assert np.array_equal(decoded(path).pixels, picture())


# Modes


def test_transparency_is_composited_on_black(tmp_path):
    rgba = np.concatenate((np.full((8, 8, 3), 200, dtype=np.uint8), np.full((8, 8, 1), 255, dtype=np.uint8)), 2)
    rgba[:, :4, 3] = 0
    rgba[0, 7, 3] = 128
    result = decoded(save(tmp_path / "a.png", rgba))
    assert (result.pixels[:, :4] == 0).all()
    assert (result.pixels[1:, 4:] == 200).all()
    assert result.pixels[0, 7, 0] in (100, 101)
    assert result.remarks == ("transparent, composited on black",)
    grey = Image.fromarray(rgba).convert("LA")
    assert np.array_equal(decoded(save(tmp_path / "la.png", grey)).pixels, result.pixels)
    opaque = decoded(save(tmp_path / "opaque.png", Image.fromarray(picture()).convert("RGBA")))
    assert opaque.remarks == ()
    assert np.array_equal(opaque.pixels, picture())


def test_a_palette_gives_its_colours_and_its_transparency(tmp_path):
    palette = Image.new("P", (8, 8))
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.paste(1, (0, 0, 8, 4))
    pixels = decoded(save(tmp_path / "p.png", palette)).pixels
    assert (pixels[:4] == (200, 100, 50)).all()
    assert (pixels[4:] == (10, 20, 30)).all()
    clear = decoded(save(tmp_path / "t.png", palette, transparency=1)).pixels
    assert (clear[:4] == 0).all()
    assert (clear[4:] == (10, 20, 30)).all()


def test_sixteen_bit_grey_is_scaled_by_its_full_range(tmp_path):
    values = np.zeros((8, 8), dtype=np.uint16)
    values[0, :6] = (0, 257, 65535, 128, 129, 255)
    result = decoded(save(tmp_path / "a.png", values), channels=1)
    assert result.pixels[0, :6, 0].tolist() == [0, 1, 255, 0, 1, 1]
    assert result.remarks == ("16-bit grey scaled by 1/257",)


def test_bilevel_and_cmyk_and_grey_are_converted(tmp_path):
    bilevel = decoded(save(tmp_path / "a.png", Image.fromarray(picture(channels=1)[..., 0] > 128)), channels=1).pixels
    assert np.array_equal(bilevel[..., 0], np.where(picture(channels=1)[..., 0] > 128, 255, 0))
    cmyk = decoded(save(tmp_path / "c.jpg", Image.new("CMYK", (8, 8), (255, 0, 0, 0)), quality=95))
    assert np.abs(cmyk.pixels.astype(int) - (0, 255, 255)).max() < 4
    assert cmyk.remarks == ("CMYK converted to RGB",)
    grey = decoded(save(tmp_path / "g.png"), channels=1).pixels[..., 0]
    assert np.abs(grey - picture() @ np.array([0.299, 0.587, 0.114])).max() < 1
    colour = decoded(save(tmp_path / "l.png", picture(channels=1))).pixels
    assert np.array_equal(colour, picture(channels=1).repeat(3, 2))


@pytest.mark.parametrize("mode", ["F", "LAB", "HSV", "YCbCr"])
def test_modes_without_a_rule_are_refused(mode):
    with pytest.raises(Unreadable, match=f"mode {mode} "):
        decode.to_mode(Image.new(mode, (2, 2)), "RGB")


def test_thirty_two_bit_pixels_are_refused():
    with pytest.raises(Unreadable, match="32-bit"):
        decode.to_mode(Image.fromarray(np.full((2, 2), 70000, dtype=np.int32)), "L")


def test_an_animation_gives_its_first_frame(tmp_path):
    frames = [Image.fromarray(picture(seed)) for seed in range(3)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    result = decoded(tmp_path / "a.png")
    assert np.array_equal(result.pixels, picture(0))
    assert result.remarks == ("animated, first frame taken",)


# Hostile and broken files


@pytest.mark.timeout(30)
def test_a_named_pipe_is_named_and_never_opened(tmp_path):
    fill(tmp_path)
    os.mkfifo(tmp_path / "fifo.png")
    with pytest.raises(BadInput, match=r"1 unreadable file: fifo\.png \(a named pipe \(FIFO\)\)"):
        make(tmp_path, size=8)
    assert len(make(tmp_path, size=8, on_error="skip")) == 6
    with pytest.raises(Unreadable, match="FIFO"):
        decoded(tmp_path / "fifo.png")


@pytest.mark.parametrize(("width", "height"), [(11000, 11000), (30000, 30000), (8001, 8000)])
@pytest.mark.parametrize("kind", [png_header, bmp_header])
def test_an_image_bomb_is_refused_from_its_header(tmp_path, width, height, kind):
    fill(tmp_path)
    (tmp_path / "bomb.png").write_bytes(kind(width, height))  # to decode it would fail otherwise: it has no pixels
    with pytest.raises(BadInput, match=r"bomb\.png \(.*more than 64 megapixels\)"):
        make(tmp_path, size=8)


def test_exactly_64_megapixels_pass_the_header_check(tmp_path):
    (tmp_path / "large.png").write_bytes(png_header(8000, 8000))
    with pytest.raises(Unreadable) as caught:
        decoded(tmp_path / "large.png")
    assert "megapixels" not in str(caught.value)


BROKEN = {
    "empty.png": b"",
    "text.png": b"this is no image",
    "header.png": png_header(8, 8),
    "truncated.jpg": None,
    "other.png": b"GIF89a\x01\x00\x01\x00\x00\x00\x00;",
    "animation.gif": b"GIF89a\x01\x00\x01\x00\x00\x00\x00;",
    "scan.tiff": b"II*\0",
}


def write_broken(root):
    for name, data in BROKEN.items():
        (root / name).write_bytes(data or b"")
    whole = save(root / "truncated.jpg", picture(0, 64, 64), quality=95).read_bytes()
    (root / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    os.symlink(root / "nowhere", root / "dangling.png")


def test_all_unreadable_files_are_named_at_once_and_can_be_left_out(tmp_path):
    made = fill(tmp_path)
    write_broken(tmp_path)
    with pytest.raises(BadInput) as caught:
        make(tmp_path, size=8)
    said = str(caught.value)
    assert "8 unreadable files" in said
    assert all(name in said for name in (*BROKEN, "dangling.png"))
    assert "dataset.on_error=skip" in said
    data = make(tmp_path, size=8, on_error="skip")
    assert np.array_equal(data.pixels.numpy(), np.stack([made[name] for name in sorted(made)]))
    assert any("left out: 8 unreadable files" in note and "truncated.jpg" in note for note in data.notes)


def test_the_first_twenty_unreadable_files_are_named_and_the_rest_counted(tmp_path):
    fill(tmp_path)
    for number in range(23):
        (tmp_path / f"bad{number:02d}.png").write_bytes(b"")
    with pytest.raises(BadInput, match=r"23 unreadable files: bad00\.png .*bad19\.png .* and 3 more") as caught:
        make(tmp_path, size=8)
    assert "bad20" not in str(caught.value)


JUNK = {
    "list.csv": "by their suffix no images",
    "README": "by their suffix no images",
    "Thumbs.db": "by their suffix no images",
    "a/0.txt": "by their suffix no images",
    "captions/0.json": "by their suffix no images",
    "logo.psd": "by their suffix no images",
    ".DS_Store": "hidden",
    ".hidden/a.png": "hidden",
    "a/._0.png": "hidden",
    "__MACOSX/a/0.png": "operating system",
    "b/@eaDir/0.png/SYNOPHOTO_THUMB_M.jpg": "operating system",
    "$RECYCLE.BIN/1.jpg": "operating system",
    "s/sample_step_00000002_seed_0_num_64.png": "ganrun wrote",
    "s/sample_step_00000002_seed_0_num_64/00000.png": "ganrun wrote",
    "figures/.ganrun": "ganrun wrote",
}


@pytest.mark.parametrize("name", JUNK)
def test_what_is_no_image_of_the_set_changes_nothing_and_is_named(tmp_path, name):
    fill(tmp_path, 3, ("a", "b"))
    before, plain = image_folder.digest(tmp_path), make(tmp_path, size=8)
    assert not any("left out" in remark for remark in plain.remarks)
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(b"x")
    if name.startswith("figures"):
        save(tmp_path / "figures" / "means.png")
    data = make(tmp_path, size=8)
    assert image_folder.digest(tmp_path) == before
    assert data.fingerprint() == plain.fingerprint()
    assert data.class_names == ("a", "b")
    assert data.notes == plain.notes
    assert any(remark.startswith("left out:") and JUNK[name] in remark for remark in data.remarks)


def test_what_is_left_out_is_counted_by_kind_with_examples_and_survives_every_wrapping(tmp_path):
    fill(tmp_path)
    for name in ("list.csv", "README", "x.txt", "y.txt", "z.txt"):
        (tmp_path / name).write_text("x")
    said = ("left out: 5 files, by their suffix no images (csv 1, no suffix 1, txt 3), such as README, list.csv, x.txt",)
    data = make(tmp_path, size=8)
    assert tuple(remark for remark in data.remarks if "left out" in remark) == said
    streamed_data = make(tmp_path, size=8, memory_gib=0.0)
    for other in (make(tmp_path, size=8, fraction=0.5), data.fitted(16), streamed_data, streamed_data.fitted(16)):
        assert said[0] in other.remarks


def test_an_image_under_another_suffix_is_left_out_with_a_warning(tmp_path):
    fill(tmp_path)
    os.rename(tmp_path / "0.png", tmp_path / "0")
    save(tmp_path / "1.jpg").rename(tmp_path / "1.jpg_large")
    (tmp_path / "notes.txt").write_text("x")
    (warning,) = [remark for remark in make(tmp_path, size=8).remarks if remark.startswith("warning")]
    assert "2 files of these hold an image all the same, such as 0, 1.jpg_large" in warning


RUN = ("config.yaml", "overrides.txt", "run.json", "metrics.jsonl", "train.log", "samples/step_00000000.png", "checkpoints/x.pt")


@pytest.mark.parametrize("missing", [(), ("config.yaml",), ("run.json", "metrics.jsonl"), ("checkpoints/x.pt", "train.log")])
@pytest.mark.parametrize("place", ["outputs/default/run", "run", "a/run", ""])
def test_a_run_folder_below_the_root_or_the_root_itself_is_no_data(tmp_path, place, missing):
    fill(tmp_path, 3, ("a", "b"))
    before = image_folder.digest(tmp_path)
    for name in RUN:
        if name not in missing:
            (tmp_path / place / name).parent.mkdir(parents=True, exist_ok=True)
            save(tmp_path / place / name) if name.endswith("png") else (tmp_path / place / name).write_text("x")
    assert image_folder.digest(tmp_path) == before
    data = make(tmp_path, size=8)
    assert len(data) == 6
    assert data.class_names == ("a", "b")
    assert any("ganrun wrote" in remark for remark in data.remarks)


def test_folders_of_a_run_that_was_only_begun_are_no_class(tmp_path):
    fill(tmp_path, 3, ("a", "b"))
    (tmp_path / "outputs" / "default" / "dcgan-folder-seed0-0123456789").mkdir(parents=True)
    assert make(tmp_path, size=8).class_names == ("a", "b")


@pytest.mark.parametrize(
    ("folders", "said"),
    [
        (("train/cat", "val/cat"), "warning: train, val look like the parts of a split"),
        (("Train", "TEST"), "warning: TEST, Train look like"),
        (("train2017", "val2017", "test2017"), "dataset.root={root}/train2017 takes one"),
        (("trainA", "trainB"), "look like the parts"),
        (("training_set", "test_set"), "look like the parts"),
        (("images/cat", "images/dog"), "note: all images lie in folders within images: dataset.root={root}/images takes"),
        (("train", "plane"), None),
        (("latest", "testimony"), None),
        (("train",), None),
    ],
)
def test_parts_of_a_split_are_asked_about(tmp_path, folders, said):
    fill(tmp_path, 2, folders)
    remarks = make(tmp_path, size=8).remarks
    doubts = [remark for remark in remarks if remark.startswith(("warning", "note"))]
    if said is None:
        assert not doubts
    else:
        assert said.format(root=tmp_path) in doubts[0]
    for labels in ("folders", "none") if len(folders) > 1 and said and "images" not in said else ("none",):
        assert not any(remark.startswith(("warning", "note")) for remark in make(tmp_path, size=8, labels=labels).remarks)


def test_the_override_that_takes_a_part_can_be_pasted(tmp_path):
    root = tmp_path / "my photos (1), a=b"
    fill(root, 2, ("train/cat", "train/dog", "val/cat", "val/dog"))
    (warning,) = [remark for remark in make(root, size=8).remarks if remark.startswith("warning")]
    (word,) = shlex.split(warning.partition("classes: ")[2].partition(" takes one")[0])
    from hydra.core.override_parser.overrides_parser import OverridesParser

    override = OverridesParser.create().parse_override(word)
    assert make(override.value(), size=8).class_names == ("cat", "dog")


ODD_NAMES = [
    b"cl\xe9",
    "漢字".encode(),
    "😀".encode(),
    "קט".encode(),
    b"a\nb",
    b"'#\"",
    b"tab\t",
    "\u202eevil".encode(),
    b"\\xe9",
]


def test_class_names_of_any_bytes_are_shown_in_valid_text_on_one_line(tmp_path):
    for number, name in enumerate(ODD_NAMES):
        folder = os.path.join(os.fsencode(tmp_path), name)
        os.mkdir(folder)
        for index in range(2):
            with open(os.path.join(folder, b"%d.png" % index), "wb") as file:
                Image.fromarray(picture(10 * number + index)).save(file, "PNG")
    data = make(tmp_path, size=8)
    assert len(set(data.class_names)) == len(ODD_NAMES)
    assert {"cl\\xe9", "漢字", "😀", "קט", "a\\x0ab", "\\u202eevil"} <= set(data.class_names)
    for text in (*data.class_names, *data.notes, *data.remarks):
        assert "\n" not in text.encode().decode()


def test_names_that_look_the_same_stay_two_classes_and_are_said(tmp_path):
    fill(tmp_path, 2, ("caf\u00e9", "cafe\u0301"))
    data = make(tmp_path, size=8)
    assert data.class_names == ("caf\u00e9", "caf\u00e9 (2)")
    assert any("look the same" in remark and "caf\u00e9 (2)" in remark for remark in data.remarks)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


LARGE = zlib.compress(b"A" * 3_000_000)
METADATA = {
    "text": chunk(b"zTXt", b"Comment\0\0" + LARGE),
    "plain": chunk(b"tEXt", b"Comment\0" + b"A" * 3_000_000),
    "xmp": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + LARGE),
    "icc": chunk(b"iCCP", b"profile\0\0" + LARGE),
    "many": 70 * chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"A" * 1_000_000)),
}


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("kind", METADATA)
def test_a_png_with_more_text_than_pillow_reads_is_read(tmp_path, kind, after):
    plain = save(tmp_path / "a.png").read_bytes()
    place = plain.index(b"IEND") - 4 if after else 33  # the header takes 33 bytes
    (tmp_path / "b.png").write_bytes(plain[:place] + METADATA[kind] + plain[place:])
    assert np.array_equal(decoded(tmp_path / "b.png").pixels, picture())


def test_a_png_with_large_text_is_still_refused_where_it_is_broken_or_a_bomb(tmp_path):
    plain = save(tmp_path / "a.png").read_bytes()
    whole = plain[:33] + METADATA["text"] + plain[33:]
    (tmp_path / "cut.png").write_bytes(whole[:-40])
    with pytest.raises(Unreadable):
        decoded(tmp_path / "cut.png")
    head = png_header(20_000, 20_000)
    (tmp_path / "bomb.png").write_bytes(head[:33] + METADATA["text"] + head[33:])
    with pytest.raises(Unreadable, match="megapixels"):
        decoded(tmp_path / "bomb.png")


def test_links_to_files_are_followed_and_links_to_folders_are_named(tmp_path):
    made = fill(tmp_path / "real", 3)
    fill(tmp_path / "set", 2)
    os.symlink(tmp_path / "real" / "2.png", tmp_path / "set" / "linked.png")
    data = make(tmp_path / "set", size=8)
    assert np.array_equal(data.pixels[-1].numpy(), made["2.png"])
    os.symlink(tmp_path / "set", tmp_path / "set" / "loop")
    with pytest.raises(BadInput, match=r"loop \(a link to a folder"):
        make(tmp_path / "set", size=8)


def test_an_empty_folder_and_a_single_image_are_refused_with_the_numbers(tmp_path):
    with pytest.raises(BadInput, match="no images, no files at all"):
        make(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(BadInput, match=r"no images, left out: 1 file, by their suffix no images .txt 1., such as notes.txt"):
        make(tmp_path)
    save(tmp_path / "only.png")
    with pytest.raises(BadInput, match="1 image to train on, at least 2 are needed"):
        make(tmp_path)
    save(tmp_path / "second.png")
    assert len(make(tmp_path)) == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"root": None}, r"needs dataset\.root=DIR"),
        ({"root": "/no/such/place"}, r"dataset\.root=/no/such/place: there is no such folder"),
        ({"root": __file__}, "it is a file"),
        ({"root": ["a"]}, "no such folder"),
        ({"resize": "corp"}, r"dataset\.resize=corp: Did you mean 'crop'"),
        ({"labels": "folder"}, "Did you mean 'folders'"),
        ({"on_error": "ignore"}, r"dataset\.on_error=ignore"),
        ({"channels": 4}, r"dataset\.channels=4"),
        ({"held_out": 1.0}, r"dataset\.held_out=1\.0"),
        ({"held_out": "some"}, r"dataset\.held_out=some: a share from 0 up to"),
        ({"held_out": True}, r"dataset\.held_out=True"),
        ({"size": 0}, r"dataset\.size=0"),
        ({"memory_gib": -1.0}, r"dataset\.memory_gib=-1\.0"),
    ],
)
def test_an_option_that_cannot_be_is_refused_by_name(tmp_path, options, said):
    fill(tmp_path)
    with pytest.raises(BadInput, match=said):
        build("dataset", {"name": "folder", "root": str(tmp_path), **options})


# Labels and splits


def test_labels_come_from_first_level_folders_and_classes_are_counted(tmp_path):
    fill(tmp_path, 2, ("cat", "dog/small", "dog/large"))
    data = make(tmp_path, size=8)
    assert data.class_names == ("cat", "dog")
    assert data.labels.tolist() == [0, 0, 1, 1, 1, 1]
    assert data.spec.classes == 2
    assert "6 images in 2 classes, 2 to 4 each: cat 2, dog 4" in data.notes
    assert make(tmp_path, size=8, labels="none").labels is None
    assert make(tmp_path, size=8, labels="folders").labels.tolist() == data.labels.tolist()


@pytest.mark.parametrize("folders", [("cat", "dog", ""), ("cat",)])
def test_without_two_folders_that_hold_all_images_there_are_no_labels(tmp_path, folders):
    fill(tmp_path, 2, folders)
    data = make(tmp_path, size=8)
    assert data.labels is None
    assert any(remark.startswith("no labels") for remark in data.remarks)
    with pytest.raises(BadInput, match=r"dataset\.labels=folders"):
        make(tmp_path, size=8, labels="folders")


def test_a_class_without_images_is_refused_with_the_counts(tmp_path):
    fill(tmp_path, 3, ("cat", "dog"))
    (tmp_path / "emu").mkdir()
    with pytest.raises(BadInput, match=r"no images to train on in emu .*cat 3, dog 3, emu 0"):
        make(tmp_path, size=8)
    assert len(make(tmp_path, size=8, labels="none")) == 6


def test_a_class_whose_images_are_all_unreadable_is_refused_too(tmp_path):
    fill(tmp_path, 3, ("cat", "dog"))
    (tmp_path / "emu").mkdir()
    (tmp_path / "emu" / "bad.png").write_bytes(b"")
    with pytest.raises(BadInput, match="no images to train on in emu"):
        make(tmp_path, size=8, on_error="skip")


def rows(data):
    return {bytes(row) for row in data.pixels.numpy()}


def test_the_held_out_share_follows_names_so_that_a_new_file_moves_no_other(tmp_path):
    fill(tmp_path, 100, ("a", "b"), size=4)
    before = make(tmp_path, size=4, held_out=0.2)
    assert 20 <= len(before.held_out()) <= 60
    assert len(before) + len(before.held_out()) == 200
    assert before.held_out().spec.classes == 2
    save(tmp_path / "a" / "new.png", picture(999, 4, 4))
    after = make(tmp_path, size=4, held_out=0.2)
    assert rows(before) <= rows(after)
    assert rows(before.held_out()) <= rows(after.held_out())
    more = make(tmp_path, size=4, held_out=0.3)
    assert rows(after.held_out()) < rows(more.held_out())


def test_a_held_out_share_that_leaves_too_few_images_is_refused(tmp_path):
    fill(tmp_path, 4)
    with pytest.raises(BadInput, match="held out, at least 2 are needed"):
        make(tmp_path, size=8, held_out=0.001)
    with pytest.raises(BadInput, match="to train on, at least 2 are needed"):
        make(tmp_path, size=8, held_out=0.999)


@pytest.mark.parametrize(
    ("count", "share"), [(0, 0), (249, 0), (250, 0.2), (2500, 0.2), (4000, 0.125), (5000, 0.1), (10**6, 0.1)]
)
def test_the_usual_share_is_none_of_a_few_images_and_a_tenth_of_many(count, share):
    assert usual_share(count) == share


def test_by_default_a_fifth_of_a_small_folder_is_held_out_and_the_log_says_so(tmp_path):
    fill(tmp_path, 250, size=2)
    usual, fifth, none = (make(tmp_path, size=2, **options) for options in ({}, {"held_out": 0.2}, {"held_out": 0.0}))
    assert 30 <= len(usual.held_out()) <= 70
    assert usual.fingerprint() == fifth.fingerprint()
    assert not rows(usual) & rows(usual.held_out())
    assert rows(usual) | rows(usual.held_out()) == rows(none)
    assert none.held_out() is None
    assert any(f"held out for scoring: {len(usual.held_out())} of 250 images" in note for note in usual.notes)
    (tmp_path / "0.png").unlink()
    few = make(tmp_path, size=2)
    assert few.held_out() is None
    assert any("nothing is held out (by default only of 250 images or more" in note for note in few.notes)
    assert not any("held out" in note for note in none.notes)


def test_the_usual_share_leaves_every_class_an_image_to_train_on(tmp_path):
    fill(tmp_path, 250, ("many",), size=2)
    lone = next(number for number in range(1000) if draw_of(f"one/{number}.png") < 0.1)
    save(tmp_path / "one" / f"{lone}.png", picture(1, 2, 2))
    data = make(tmp_path, size=2)
    assert int((data.labels == 1).sum()) == 1
    with pytest.raises(BadInput, match="no images to train on in one"):
        make(tmp_path, size=2, held_out=0.2)


# Content


def test_the_fingerprint_follows_pixels_and_not_the_path(tmp_path):
    for place in ("one", "two", "three"):
        fill(tmp_path / place)
    assert make(tmp_path / "one", size=8).fingerprint() == make(tmp_path / "two", size=8).fingerprint()
    changed = picture(3)
    changed[0, 0, 0] ^= 1
    save(tmp_path / "three" / "3.png", changed)
    assert make(tmp_path / "three", size=8).fingerprint() != make(tmp_path / "one", size=8).fingerprint()
    assert make(tmp_path / "one", size=16).fingerprint() != make(tmp_path / "one", size=8).fingerprint()


def test_the_content_digest_follows_names_and_sizes_and_nothing_else(tmp_path):
    one, two = tmp_path / "one", tmp_path / "elsewhere" / "two"
    for place in (one, two):
        (place / "sub").mkdir(parents=True)
        (place / "a.png").write_bytes(b"12")
        (place / "sub" / "b.png").write_bytes(b"345")
    first = image_folder.digest(one)
    assert len(first) == 64
    assert image_folder.digest(two) == first
    assert image_folder.digest(str(two) + os.sep) == first
    (two / ".hidden").write_text("x")
    os.mkfifo(two / "pipe")
    os.symlink(one, two / "link")
    assert image_folder.digest(two) == first
    (two / "a.png").write_bytes(b"21")
    assert image_folder.digest(two) == first
    (two / "a.png").write_bytes(b"123")
    larger = image_folder.digest(two)
    (two / "a.png").write_bytes(b"12")
    (two / "a.png").rename(two / "c.png")
    renamed = image_folder.digest(two)
    (two / "c.png").rename(two / "sub" / "a.png")
    moved = image_folder.digest(two)
    (two / "sub" / "b.png").unlink()
    fewer = image_folder.digest(two)
    assert len({first, larger, renamed, moved, fewer}) == 5
    assert image_folder.digest(None) is None
    assert image_folder.digest(tmp_path / "nowhere") == "missing"
    assert image_folder.digest(one / "a.png") == "missing"


def test_neighbouring_names_and_sizes_cannot_be_confused():
    assert image_folder._hash([("a", 12), ("b", 3)]) != image_folder._hash([("a1", 2), ("b", 3)])


def test_files_that_changed_since_the_run_began_are_refused(tmp_path):
    fill(tmp_path)
    digest = image_folder.digest(tmp_path)
    assert len(make(tmp_path, size=8, content=digest)) == 6
    save(tmp_path / "new.png")
    with pytest.raises(BadInput, match="images changed since"):
        make(tmp_path, size=8, content=digest)
    assert len(make(tmp_path, size=8, content=image_folder.digest(tmp_path))) == 7


# Streaming


@pytest.fixture
def both(tmp_path):
    """The same folder in memory and streamed, with an unreadable file, labels and a held-out part."""
    for number, mode in enumerate(("RGB", "L", "P", "RGBA")):
        for seed in range(6):
            image = Image.fromarray(picture(10 * number + seed, 9 + seed, 12)).convert(mode)
            save(tmp_path / "ab"[seed % 2] / f"{mode}{seed}.png", image)
    (tmp_path / "a" / "bad.png").write_bytes(b"")
    options = {"size": 8, "held_out": 0.3, "on_error": "skip"}
    return make(tmp_path, **options), make(tmp_path, **options, memory_gib=0.0), tmp_path


def same_batch(one, other, indices):
    one, other = one.batch(indices), other.batch(indices)
    assert torch.equal(one.x, other.x)
    assert one.x.stride() == other.x.stride()
    assert torch.equal(one.y, other.y)


def test_streaming_gives_what_memory_gives_bit_for_bit(both):
    memory, stream, _ = both
    assert isinstance(memory, Images)
    assert isinstance(stream, StreamedImages)
    assert "streamed from disk" in stream.notes
    assert set(stream.notes) - {"streamed from disk"} == set(memory.notes)
    for one, other in ((memory, stream), (memory.held_out(), stream.held_out()), (memory.fitted(16), stream.fitted(16))):
        assert len(one) == len(other)
        assert one.spec == other.spec
        assert one.class_names == other.class_names
        same_batch(one, other, torch.arange(len(one)).flip(0))
        assert one.fingerprint() == other.fingerprint()
    assert memory.fitted(16).fingerprint() != memory.fingerprint()
    assert memory.fitted(11).held_out().fingerprint() == stream.fitted(11).held_out().fingerprint()
    assert stream.fitted(16).notes[-1] == "padded with black from 8x8 to 16x16"
    assert stream.batch(torch.tensor([0])).x.is_contiguous(memory_format=torch.channels_last)
    with pytest.raises(BadInput, match="never cut"):
        stream.fitted(4)


def test_what_was_expected_is_not_decoded_again(both, monkeypatch):
    memory, stream, _ = both
    counts, lock = Counter(), threading.Lock()
    real = decode.decode

    def counting(path, rule):
        with lock:
            counts[path] += 1
        return real(path, rule)

    monkeypatch.setattr(streamed, "decode", counting)
    stream.expect(torch.tensor([3, 1, 2]))
    same_batch(memory, stream, torch.tensor([3, 1]))
    stream.expect(torch.tensor([0, 2]))
    same_batch(memory, stream, torch.tensor([2, 0]))
    assert sorted(counts.values()) == [1, 1, 1, 1]
    for start in range(8):  # expectations that nobody comes for are dropped
        stream.expect(torch.tensor([start]))
    assert sum(len(expected) for expected in stream._expected) <= 2
    same_batch(memory, stream, torch.tensor([5, 5, 7]))


def test_a_file_that_vanishes_while_streaming_is_named(both):
    _, stream, root = both
    os.unlink(stream.paths[1])
    stream.expect(torch.tensor([1]))
    with pytest.raises(BadInput, match=os.path.basename(stream.paths[1])):
        stream.batch(torch.tensor([0, 1]))
    assert root.exists()


def test_only_sets_larger_than_the_limit_stream(tmp_path):
    fill(tmp_path, 4)
    size = 4 * 8 * 8 * 3 / 2**30
    assert isinstance(make(tmp_path, size=8, memory_gib=size), Images)
    assert isinstance(make(tmp_path, size=8, memory_gib=size * 0.99), StreamedImages)


def test_a_grey_folder_has_one_channel(tmp_path):
    fill(tmp_path)
    data = make(tmp_path, size=8, channels=1, memory_gib=0.0)
    assert data.spec.shape == (1, 8, 8)
    assert (
        to_pixels(data.batch(torch.tensor([2])).x).tolist()
        == make(tmp_path, size=8, channels=1).pixels[2:3].permute(0, 3, 1, 2).tolist()
    )


# The working size


def of_size(root, height, width, count=3):
    for number in range(count):
        bright = 200 + picture(number, height, width) // 5  # no black anywhere
        save(root / f"{number}.png", Image.fromarray(bright))
    return root


SIZES = {  # (height, width): what each family takes them at
    (28, 28): {"mlp": 28, "dcgan": 32, "resnet": 32, "modern": 32, "unet": 28},
    (32, 32): {"mlp": 32, "dcgan": 32, "resnet": 32, "modern": 32, "unet": 32},
    (41, 50): {"mlp": 41, "dcgan": 32, "unet": 41},
    (100, 80): {"mlp": 64, "dcgan": 64, "unet": 64},
    (1, 1): {"mlp": 1, "dcgan": 8, "unet": 2},
}


@pytest.mark.parametrize(
    ("height", "width", "family", "size"), [(*side, *each) for side in SIZES for each in SIZES[side].items()]
)
def test_the_working_size_follows_the_images_and_the_family(tmp_path, height, width, family, size):
    legal = registry.build("model", {"name": family}).legal_size
    of_size(tmp_path, height, width)
    data = build("dataset", {"name": "folder", "root": str(tmp_path)}, legal)
    assert data.spec.shape == (3, size, size)
    assert data.pixels.min() >= 150  # no black frame
    assert data.fitted(legal(size)) is data
    long, short = max(height, width), min(height, width)
    assert any(f"{long}x{short} pixels on median are worked on at {size}x{size}; dataset.size=" in note for note in data.notes)


@pytest.mark.parametrize(("asked", "fit", "size"), [(50, "resize", 64), (16, "resize", 16), (50, "pad", 50), (None, "pad", 28)])
def test_a_size_that_the_family_cannot_make_is_resized_unless_asked(tmp_path, asked, fit, size):
    legal = registry.build("model", {"name": "dcgan"}).legal_size
    of_size(tmp_path, 28, 28)
    data = build("dataset", {"name": "folder", "root": str(tmp_path), "size": asked, "fit": fit}, legal)
    assert data.spec.shape[1] == size
    assert any("dataset.size=50 is no size of this model" in note for note in data.notes) == (asked == 50 and fit == "resize")
    assert (data.fitted(legal(size)).pixels.min() == 0) == (fit == "pad")


def test_the_working_size_is_that_of_the_median_and_of_a_fixed_sample(tmp_path, monkeypatch):
    for number, side in enumerate((9, 12, 20, 40, 60)):
        save(tmp_path / f"{number}.png", picture(number, side, side + number))
    save(tmp_path / "bad.png").write_bytes(b"no image")
    data = make(tmp_path, on_error="skip")
    assert data.spec.shape[1] == 20
    names = sorted(path.name for path in tmp_path.iterdir())
    monkeypatch.setattr(working_size, "MEASURED", 3)
    chosen = working_size.measured([working_size.Files(str(tmp_path), names)])
    assert chosen == working_size.measured([working_size.Files(str(tmp_path), names[::-1])])
    assert len(chosen) <= 3


def test_no_pixel_is_read_to_find_the_size(tmp_path):
    (tmp_path / "a.png").write_bytes(png_header(30, 20))
    assert decode.dimensions(str(tmp_path / "a.png")) == (30, 20)
    assert decode.dimensions(str(tmp_path / "a.png"), "left") == (15, 20)
    assert working_size.working_size(None, "resize", lambda n: n, [working_size.Files(str(tmp_path), ["a.png"])])[0] == 20


def test_fit_is_one_of_two_words(tmp_path):
    fill(tmp_path, 3)
    with pytest.raises(BadInput, match=r"dataset\.fit=padd: Did you mean 'pad'"):
        make(tmp_path, fit="padd")


@pytest.mark.parametrize("halves", [True, False])
def test_both_sides_of_a_translation_have_one_working_size(tmp_path, halves):
    legal = registry.build("model", {"name": "unet"}).legal_size
    if halves:
        of_size(tmp_path, 20, 40)
        options = {"name": "paired_folder"}
    else:
        of_size(tmp_path / "trainA", 20, 30)
        of_size(tmp_path / "trainB", 24, 20)
        options = {"name": "unpaired_folder"}
    data = build("dataset", {**options, "root": str(tmp_path)}, legal)
    assert data.spec.shape == data.spec.source == (3, 20, 20)
    assert sum("on median are worked on at 20x20" in note for note in data.notes) == 1
    assert (all_x(data) > 0).all()
    assert (all_x(data.sources()) > 0).all()


def all_x(data):
    return data.batch(torch.arange(len(data))).x


WAYS = [({"size": 50}, "resized to 64x64"), ({"size": 20, "fit": "pad"}, "padded with black from 20x20")]


@pytest.mark.parametrize(("given", "notes"), WAYS)
def test_a_run_gives_the_data_set_the_sizes_of_its_family(tmp_path, given, notes):
    of_size(tmp_path, 40, 40)
    family = registry.build("model", {"name": "dcgan"})
    data = assemble.load_data({"dataset": {"name": "folder", "root": str(tmp_path), **given}}, family)
    assert any(notes in note for note in data.notes)
    assert any("padded with" in note for note in data.notes) == ("fit" in given)


# ---------------------------------------------------------------- decoded images are kept


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A cache of its own that keeps folders of any size, and a count of what is decoded."""
    monkeypatch.setenv("GANRUN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(decoded_images, "LEAST", 1)
    monkeypatch.setattr(decoded_images, "COMPARED", 1)
    plain, seen = decode.decode, []
    monkeypatch.setattr(decode, "decode", lambda path, rule: (seen.append(path), plain(path, rule))[1])
    return SimpleNamespace(seen=seen, files=lambda: sorted((tmp_path / "cache").glob("decoded-*")))


def start(kept, root, **options):
    """(the data set, how many files were decoded for it)."""
    kept.seen.clear()
    dataset = make(root, **options)
    dataset.fingerprint()
    return dataset, len(kept.seen)


def same(one, other):
    sides = [(one, other), (one.held_out(), other.held_out())]
    assert one.notes == other.notes
    for left, right in sides[: 1 if one.held_out() is None else 2]:
        assert left.fingerprint() == right.fingerprint()
        every = torch.arange(len(left))
        assert torch.equal(left.batch(every).x, right.batch(every).x)
        assert (left.labels is None and right.labels is None) or torch.equal(left.labels, right.labels)


@pytest.mark.parametrize("options", [{}, {"memory_gib": 0.0}, {"channels": 1, "resize": "pad"}], ids=["kept", "streamed", "grey"])
def test_a_second_start_decodes_a_few_files_and_is_the_same(tmp_path, kept, options):
    fill(tmp_path / "images", 20, ("a", "b"), size=12)
    (tmp_path / "images/a/bad.png").write_bytes(b"no image")
    options = {"held_out": 0.3, "on_error": "skip", "size": 8, **options}
    first, count = start(kept, tmp_path / "images", **options)
    assert count == 41
    second, count = start(kept, tmp_path / "images", **options)
    assert count == 2  # one of each part
    same(first, second)
    assert second.fingerprint() == fingerprint_of(second)
    assert second.remarks == first.remarks


def fingerprint_of(dataset):
    """The fingerprint from the pixels alone."""
    digest = ContentHash()
    pixels = to_pixels(dataset.batch(torch.arange(len(dataset))).x).permute(0, 2, 3, 1).contiguous()
    digest.add(pixels)
    return digest.close(tuple(pixels.shape), dataset.labels)


@pytest.mark.parametrize("change", ["content", "same size and date", "name", "added", "rule", "labels"])
def test_what_differs_is_decoded_anew(tmp_path, kept, change):
    root = tmp_path / "images"
    for number in range(6):  # bitmaps: as many bytes whatever they show
        save(root / f"{number % 2}/{number}.bmp", picture(number))
    start(kept, root, size=8, held_out=0)
    options, path = {"size": 8, "held_out": 0}, root / "0/2.bmp"
    before = path.stat()
    if change == "content":
        save(path, picture(99))
    elif change == "same size and date":
        save(path, picture(99))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert path.stat().st_size == before.st_size
    elif change == "name":
        path.rename(root / "0/8.bmp")
    elif change == "added":
        save(root / "1/9.bmp", picture(9))
    elif change == "rule":
        options["size"] = 6
    else:
        options["labels"] = "none"
    found, count = start(kept, root, **options)
    assert count == len(found)
    kept.files()[0].parent.rename(tmp_path / "elsewhere")
    same(found, make(root, **options))


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[:-1], lambda data: data + b"?", lambda data: b"", lambda data: data[:-9] + b"\0wrong\0\0\0",
     lambda data: data.replace(b'"kept": [0', b'"kept": [1'), lambda data: data[:40]],
)  # fmt: skip
def test_a_damaged_file_of_decoded_images_is_said_and_made_again(tmp_path, kept, damage):
    fill(tmp_path / "images", 9)
    first, _ = start(kept, tmp_path / "images", held_out=0)
    (path,) = kept.files()
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    second, count = start(kept, tmp_path / "images", held_out=0)
    assert count >= 9
    same(first, second)
    assert any(f"{path}: damaged" in remark for remark in second.remarks)
    assert path.read_bytes() == whole
    assert start(kept, tmp_path / "images", held_out=0)[0].remarks == first.remarks


@pytest.mark.parametrize("memory_gib", [4.0, 0.0])
def test_a_file_of_other_images_under_the_right_name_is_noticed(tmp_path, kept, memory_gib):
    options = {"held_out": 0, "size": 8, "memory_gib": memory_gib}
    fill(tmp_path / "one")
    for number in range(6):
        save(tmp_path / f"two/{number}.png", picture(500 + number))
    start(kept, tmp_path / "one", **options)
    (one,) = kept.files()
    right, _ = start(kept, tmp_path / "two", **options)
    (two,) = set(kept.files()) - {one}
    two.write_bytes(one.read_bytes())
    found, _ = start(kept, tmp_path / "two", **options)
    same(right, found)
    assert "is another image" in str(found.remarks)


def test_the_files_of_decoded_images_are_bounded_and_one_that_cannot_be_written_is_said(tmp_path, kept, monkeypatch):
    for name in "abc":
        fill(tmp_path / name, size=8 + ord(name) - ord("a"))
        start(kept, tmp_path / name, held_out=0, size=8)
    monkeypatch.setattr(decoded_images, "MOST", 2.5 * kept.files()[0].stat().st_size)
    fill(tmp_path / "d", size=7)
    start(kept, tmp_path / "d", held_out=0, size=8)
    assert len(kept.files()) == 2
    assert start(kept, tmp_path / "d", held_out=0, size=8)[1] == 1
    (tmp_path / "file").touch()
    monkeypatch.setenv("GANRUN_CACHE", str(tmp_path / "file"))
    found, count = start(kept, tmp_path / "d", held_out=0, size=8)
    assert count == 6
    assert "could not be kept" in str(found.remarks)


def test_small_files_are_decoded_without_threads_and_in_order(tmp_path, monkeypatch):
    fill(tmp_path, 12)
    paths = [str(tmp_path / f"{number}.png") for number in range(12)]
    rule = ResizeRule(8, "crop", 3)
    alone = [result.pixels for result in decode.decode_all(paths, rule)]
    monkeypatch.setattr(decode, "SMALL", 0)
    for one, other in zip(alone, decode.decode_all(paths, rule), strict=True):
        assert np.array_equal(one, other.pixels)
