"""The English names of the numbers 0 to 999 as rows of characters: a small set of discrete sequences, made by rule.

Every name is padded with blanks to ``length`` characters; x is one-hot, (n, length, vocabulary), the vocabulary being the
blank and the letters that occur. The label is the digit of hundreds. A tenth of the names is held out. Sequences of 32
characters are those of the language experiment of Gulrajani et al. 2017.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ganrun.data.base import Dataset
from ganrun.data.selection import select
from ganrun.ground import rng
from ganrun.ground.errors import BadInput
from ganrun.ground.registry import register
from ganrun.ground.spec import Batch, Spec

TEENS = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
ONES = f"zero one two three four five six seven eight nine {TEENS}".split()
TENS = ["zero", "ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
HELD_OUT = 100


def name_of(number: int) -> str:
    """The English name of 0 <= number < 1000: "three hundred and seven"."""
    if number < 20:
        return ONES[number]
    if number < 100:
        return TENS[number // 10] + (f" {ONES[number % 10]}" if number % 10 else "")
    return f"{ONES[number // 100]} hundred" + (f" and {name_of(number % 100)}" if number % 100 else "")


class Sequences(Dataset):
    """Rows of characters: ``codes`` int64 (n, length) into the alphabet of ``spec``, labels int64 (n,)."""

    labels: Tensor

    def __init__(self, codes: Tensor, labels: Tensor, spec: Spec, note: str, held_out: Sequences | None = None) -> None:
        self.codes, self.labels, self.spec, self.notes, self._held_out = codes, labels, spec, (note,), held_out
        self.class_names = tuple(str(label) for label in range(spec.classes or 0))

    def __len__(self) -> int:
        return len(self.codes)

    def batch(self, indices: Tensor, device: torch.device | str = "cpu") -> Batch:
        x = one_hot(self.codes[indices].to(device), self.spec.shape[1]).to(torch.get_default_dtype())
        return Batch(x, self.labels[indices].to(device))

    def held_out(self) -> Sequences | None:
        return self._held_out

    def fingerprint(self) -> str:
        digest = hashlib.sha256(f"{tuple(self.codes.shape)} {self.spec.alphabet}".encode())
        digest.update(self.codes.numpy().data)
        digest.update(self.labels.numpy().data)
        return digest.hexdigest()

    def card(self) -> Mapping[str, Any]:
        return {**super().card(), "alphabet": self.spec.alphabet}


@register("dataset", "number_names")
def number_names(*, length: int = 32, classes: list[int | str] | None = None, fraction: float = 1.0) -> Dataset:
    """Names of at most ``length`` characters; all 1000 fit into 32."""
    if not isinstance(length, int) or isinstance(length, bool) or not 5 <= length <= 256:
        raise BadInput(f"dataset.length={length}: must be a whole number of characters from 5 to 256")
    names = [name_of(number) for number in range(1000)]
    alphabet = "".join(sorted(set("".join(names))))
    fitting = [number for number in range(1000) if len(names[number]) <= length]
    codes = torch.tensor([[alphabet.index(letter) for letter in names[number].ljust(length)] for number in fitting])
    labels = torch.tensor(fitting) // 100
    labels -= labels.min()
    order = torch.randperm(len(fitting), generator=rng.generator("dataset", "number_names"))
    count = min(HELD_OUT, len(fitting) // 4)
    note = f"{len(fitting)} names of numbers, padded with blanks to {length} characters"
    spec = Spec("tokens", (length, len(alphabet)), int(labels.max()) + 1, alphabet=alphabet)
    held, kept = (rows.sort().values for rows in (order[:count], order[count:]))
    whole = Sequences(codes[kept], labels[kept], spec, note, Sequences(codes[held], labels[held], spec, note))
    return select(whole, classes, fraction)
