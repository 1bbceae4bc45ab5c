"""Make ganrun/data/digits.npz from the copy of the UCI handwritten digits that scikit-learn bundles.

    pip install scikit-learn && python scripts/make_digits.py

``images`` uint8 (1797, 8, 8) keeps the published values 0..16; ``labels`` uint8 (1797,); ``held_out`` uint16 (360,) are the
sorted indices that are never trained on: of each class the 36 images whose index, in words, has the smallest SHA-256.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np

TARGET = Path(__file__).resolve().parent.parent / "ganrun" / "data" / "digits.npz"
HELD_OUT_PER_CLASS = 36


def arrays() -> dict[str, np.ndarray]:
    """The three arrays of the file."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images, labels = bunch.images.astype(np.uint8), bunch.target.astype(np.uint8)
    if not np.array_equal(images, bunch.images) or images.max() != 16:
        raise SystemExit("the digits are not whole numbers 0..16: this is not the data set that ganrun ships")
    return {"images": images, "labels": labels, "held_out": held_out(labels)}


def held_out(labels: np.ndarray) -> np.ndarray:
    """Sorted indices of the held-out images: uint16 of shape (10 * 36,)."""
    chosen: list[int] = []
    for label in range(10):
        members = np.flatnonzero(labels == label).tolist()
        members.sort(key=lambda index: hashlib.sha256(f"digit {index}".encode()).digest())
        chosen += members[:HELD_OUT_PER_CLASS]
    return np.array(sorted(chosen), dtype=np.uint16)


def main() -> None:
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET
    np.savez_compressed(target, **arrays())
    print(f"{target}: {target.stat().st_size} bytes, sha256 {hashlib.sha256(target.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main()
