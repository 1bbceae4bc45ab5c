"""Names that came from a disk, as text that can be shown and written anywhere."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

INVISIBLE = ("Cc", "Cs", "Zl", "Zp")  # control characters, line ends, halves of characters
TURNS_LINES = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # would reorder the line that they stand in


def printable(name: str) -> str:
    """``name`` on one line of valid Unicode: bytes that are not UTF-8 as ``\\xe9``, control characters as ``\\x0a``, composed.

    ``name`` is as Python decodes file names, with a surrogate for each byte that is not UTF-8.
    """
    return "".join(map(_escaped, unicodedata.normalize("NFC", name)))


def distinct(names: Iterable[str]) -> tuple[str, ...]:
    """``names`` in their order, each as ``printable`` and all different: a second one that looks the same gets " (2)"."""
    found: dict[str, None] = {}
    for name in names:
        text = shown = printable(name)
        number = 1
        while shown in found:
            number += 1
            shown = f"{text} ({number})"
        found[shown] = None
    return tuple(found)


def _escaped(sign: str) -> str:
    code = ord(sign)
    if 0xDC80 <= code <= 0xDCFF:  # how Python holds a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if unicodedata.category(sign) in INVISIBLE or sign in TURNS_LINES:
        return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
    return sign
