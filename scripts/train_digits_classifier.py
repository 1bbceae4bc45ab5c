"""Make ganrun/metrics/digits_classifier.pt: the network that scores the digits, trained on their training split alone.

    python scripts/train_digits_classifier.py

Half a minute on one core. Prints the held-out accuracy and the two hashes to be pinned in ganrun/metrics/classifier.py.
The same torch and processor give the same file; others may differ in the last bits, which is why the file is shipped.
"""

from __future__ import annotations

import dataclasses
import hashlib
import sys
from pathlib import Path

import torch

from ganrun.ground.registry import build
from ganrun.metrics import training, weights
from ganrun.metrics.classifier import SHIPPED, labels_digest

LARGEST_FILE = 150_000  # bytes


def main() -> None:
    torch.set_num_threads(1)
    digits = build("dataset", {"name": "digits", "size": None})
    trained = training.train(digits, torch.device("cpu"), blur=True)  # so that it reads enlarged digits too
    data = weights.encode(dataclasses.asdict(trained))
    if trained.accuracy < 0.98 or len(data) > LARGEST_FILE:
        raise SystemExit(f"not good enough to ship: accuracy {trained.accuracy:.4f}, {len(data)} bytes")
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else SHIPPED
    target.write_bytes(data)
    print(f"{target}: {len(data)} bytes, {trained.accuracy:.2%} of {trained.held_out} held-out digits right")
    print(f"SHIPPED_SHA256 = {hashlib.sha256(data).hexdigest()}")
    print(f"DIGITS_LABELS = {labels_digest(digits.batch(torch.arange(len(digits))).y)}")


if __name__ == "__main__":
    main()
