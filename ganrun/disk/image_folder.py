"""What a folder of images holds, by names and sizes: read without opening a single file.

A run on a folder of images is named by this content instead of the folder's path, so the same images give the same run
wherever they lie, and an added, removed or resized image gives another. What counts, and what is read, is this:

- a file whose suffix is one of ``SUFFIXES`` (in any case) is an image; it must be a good one, or the reader refuses it;
- a file whose suffix is one of ``REFUSED`` shows a picture that is not read here: it is named as a trouble, and so are named
  pipes, sockets and links that lead nowhere under the name of an image, links to folders and folders that cannot be read;
- any other file (``Thumbs.db``, captions, lists) is no image: left out, and named;
- hidden files and folders, folders that an operating system or a storage device keeps (``__MACOSX``, ``@eaDir``), and what
  ganrun itself has written (run folders, pictures of samples, figures) are left out, and named.

Links to files count as the files they point to; links to folders are not followed, so no loop can trap the reader.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

MISSING = "missing"
SUFFIXES = ("png", "jpg", "jpeg", "jpe", "jfif", "webp", "bmp")
REFUSED = ("gif", "tif", "tiff", "avif", "heic", "heif", "jp2", "ppm", "pgm", "pbm", "pnm", "tga")
SYSTEM = (  # in lower case: macOS, Synology, QNAP, Windows, Linux
    "__macosx",
    "@eadir",
    "#recycle",
    "#snapshot",
    "@recycle",
    "$recycle.bin",
    "system volume information",
    "lost+found",
)
OF_A_RUN = {"config.yaml", "overrides.txt", "run.json", "metrics.jsonl", "train.log", ".lock", "checkpoints", "samples"}
ENOUGH_OF_A_RUN = 4  # of these names: some may have been removed
SAMPLED = "sample_step_"  # how the names begin of what `ganrun sample` writes
MARK = ".ganrun"  # a folder that holds this was filled by ganrun

SPECIAL = (
    (stat.S_ISFIFO, "a named pipe (FIFO)"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISDIR, "a link to a folder, which is not followed"),
)


@dataclass
class Listing:
    """What lies below a folder, by names relative to it with ``/``.

    ``files``: (name, bytes) of the images, sorted. ``troubles``: {name: why it cannot be read}. ``others``: files that are no
    images. ``hidden``, ``system``, ``own``: hidden files and folders, those of operating systems, those that ganrun wrote.
    ``folders``: the first-level sub-folders with images or troubles, sorted; ``empty``: those with nothing in them at all.
    """

    files: list[tuple[str, int]] = field(default_factory=list)
    troubles: dict[str, str] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    system: list[str] = field(default_factory=list)
    own: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)


def expand(root: str | os.PathLike[str]) -> str:
    """``root`` as a string, with a leading ``~`` as the home folder."""
    return os.path.expanduser(os.fspath(root))


def suffix(name: str) -> str:
    """What follows the last dot of a file's name, in lower case; empty for none."""
    return os.path.splitext(name)[1][1:].lower()


def listing(root: str | os.PathLike[str]) -> Listing:
    """Everything below ``root``, whatever its depth."""
    found = Listing()
    waiting = [("", expand(root))]
    while waiting:
        prefix, folder = waiting.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            found.troubles[prefix.rstrip("/") or "."] = f"a folder that cannot be read ({error.strerror})"
            continue
        names = {entry.name for entry in entries}
        if prefix and (MARK in names or _is_run(names)):
            found.own.append(prefix.rstrip("/"))
            continue
        if not entries and prefix.count("/") == 1:
            found.empty.append(prefix[:-1])
        for entry in entries:
            name, is_folder = prefix + entry.name, entry.is_dir(follow_symlinks=False)
            if entry.name.startswith(SAMPLED) or (is_folder and entry.name == "samples" and _is_run(names)):
                found.own.append(name)
            elif entry.name.startswith("."):
                found.hidden.append(name)
            elif is_folder and entry.name.lower() in SYSTEM:
                found.system.append(name)
            elif is_folder:
                waiting.append((name + "/", entry.path))
            else:
                _enter(found, name, entry.path)
    found.files.sort(key=lambda file: os.fsencode(file[0]))
    for names_of_kind in (found.others, found.hidden, found.system, found.own):
        names_of_kind.sort(key=os.fsencode)
    inside = {name.split("/", 1)[0] for name in (*(name for name, _ in found.files), *found.troubles) if "/" in name}
    found.folders = sorted(inside)
    found.empty.sort()
    return found


def digest(root: str | os.PathLike[str] | None) -> str | None:
    """SHA-256 (hex) of the sorted relative names and sizes of the images below ``root``.

    None for no root, ``"missing"`` where there is no such folder.
    """
    if root is None:
        return None
    if not os.path.isdir(expand(root)):
        return MISSING
    return _hash(listing(root).files)


def earlier_digest(root: str | os.PathLike[str]) -> str:
    """As ``digest`` of ganrun 0.1, in which every visible regular file counted: the name of runs that it began."""
    found: list[tuple[str, int]] = []
    waiting = [("", expand(root))]
    while waiting:
        prefix, folder = waiting.pop()
        entries: list[os.DirEntry[str]] = []
        with contextlib.suppress(OSError):
            entries = [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                waiting.append((f"{prefix}{entry.name}/", entry.path))
            elif entry.is_file():
                found.append((prefix + entry.name, entry.stat().st_size))
    return _hash(sorted(found, key=lambda file: os.fsencode(file[0])))


def why_not_there(root: str | os.PathLike[str]) -> str | None:
    """Why no images can be read below ``root``, as far as its listing shows; None where there are some."""
    place = expand(root)
    looked = f"(looked for {os.path.abspath(place)})"
    if not os.path.isdir(place):
        return f"{'it is a file, not a folder' if os.path.exists(place) else 'there is no such folder'} {looked}"
    found = listing(place)
    if found.files:
        return None
    if "." in found.troubles:
        return f"it is {found.troubles['.']} {looked}"
    return f"it holds no images {looked}"


def why_not_regular(mode: int) -> str | None:
    """What a file of this ``st_mode`` is, in words, or None for a regular file."""
    if stat.S_ISREG(mode):
        return None
    return next((words for test, words in SPECIAL if test(mode)), "not a regular file")


def _hash(files: Iterable[tuple[str, int]]) -> str:
    total = hashlib.sha256()
    for name, size in files:
        total.update(os.fsencode(name) + b"\0%d\0" % size)  # no name holds a NUL, so no two lists read alike
    return total.hexdigest()


def _is_run(names: Collection[str]) -> bool:
    """True for the names in a folder that a run lives in."""
    return len(OF_A_RUN.intersection(names)) >= ENOUGH_OF_A_RUN


def _enter(found: Listing, name: str, path: str) -> None:
    kind = suffix(name)
    try:
        status = os.stat(path)
    except OSError as error:
        if kind in SUFFIXES + REFUSED or not kind:  # without a suffix, it may be a link to a folder of images that is gone
            found.troubles[name] = f"a file that cannot be reached ({error.strerror})"
        else:
            found.others.append(name)
        return
    why = why_not_regular(status.st_mode)
    if stat.S_ISDIR(status.st_mode):
        found.troubles[name] = str(why)
    elif kind in REFUSED:
        found.troubles[name] = f"{kind} files are not accepted"
    elif kind not in SUFFIXES:
        found.others.append(name)
    elif why is None:
        found.files.append((name, status.st_size))
    else:
        found.troubles[name] = why
