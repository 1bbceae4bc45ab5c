"""What a folder of files holds, by names and sizes: read without opening a single file.

A run on a folder of images is named by this content instead of the folder's path, so the same files give the same run
wherever they lie, and an added, removed or resized file gives another. Hidden files (``.DS_Store``) do not count; links
to files count as the files they point to; links to folders are not followed, so no loop can trap the reader.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass, field

MISSING = "missing"

SPECIAL = (
    (stat.S_ISFIFO, "a named pipe (FIFO)"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISDIR, "a link to a folder, which is not followed"),
)


@dataclass
class Listing:
    """``files``: (name relative to the root with ``/``, bytes) of regular files, sorted; ``others``: {name: why not}.

    ``folders`` are the names of the visible first-level sub-folders, sorted.
    """

    files: list[tuple[str, int]] = field(default_factory=list)
    others: dict[str, str] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)


def expand(root: str | os.PathLike[str]) -> str:
    """``root`` as a string, with a leading ``~`` as the home folder."""
    return os.path.expanduser(os.fspath(root))


def listing(root: str | os.PathLike[str]) -> Listing:
    """Everything below ``root``, whatever its depth."""
    found = Listing()
    waiting = [("", expand(root))]
    while waiting:
        prefix, folder = waiting.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            found.others[prefix or "."] = f"a folder that cannot be read ({error.strerror})"
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            name = prefix + entry.name
            if entry.is_dir(follow_symlinks=False):
                waiting.append((name + "/", entry.path))
                if not prefix:
                    found.folders.append(entry.name)
            else:
                _enter(found, name, entry.path)
    found.files.sort(key=lambda file: os.fsencode(file[0]))
    return found


def digest(root: str | os.PathLike[str] | None) -> str | None:
    """SHA-256 (hex) of the sorted relative names and sizes of the regular files below ``root``.

    None for no root, ``"missing"`` where there is no such folder.
    """
    if root is None:
        return None
    if not os.path.isdir(expand(root)):
        return MISSING
    total = hashlib.sha256()
    for name, size in listing(root).files:
        total.update(os.fsencode(name) + b"\0%d\0" % size)  # no name holds a NUL, so no two lists read alike
    return total.hexdigest()


def why_not_regular(mode: int) -> str | None:
    """What a file of this ``st_mode`` is, in words, or None for a regular file."""
    if stat.S_ISREG(mode):
        return None
    return next((words for test, words in SPECIAL if test(mode)), "not a regular file")


def _enter(found: Listing, name: str, path: str) -> None:
    try:
        status = os.stat(path)
    except OSError as error:
        found.others[name] = f"a file that cannot be reached ({error.strerror})"
        return
    why = why_not_regular(status.st_mode)
    if why is None:
        found.files.append((name, status.st_size))
    else:
        found.others[name] = why
