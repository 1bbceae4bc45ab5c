"""Which extractor scores a data set, and with which options.

``auto``: Inception where its weights are named, else the classifier for labelled images (and parts and stacks of such), else
energies of bands.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ganrun.ground import registry
from ganrun.ground.errors import BadInput
from ganrun.metrics.base import Data, Extractor


def resolve(name: str, dataset: Data, weights: str | None) -> str:
    """The extractor that ``evaluation.extractor=name`` means for ``dataset``."""
    if name != "auto":
        return name
    if weights is not None:
        return "inception"
    return "classifier" if (dataset.judged.spec.classes or 0) >= 2 else "band_energies"


def choose_extractor(
    name: str,
    dataset: Data,
    *,
    weights: str | None = None,
    weights_sha256: str | None = None,
    device: torch.device | str = "cpu",
    say: Callable[[str], None] = print,
) -> Extractor:
    """The prepared extractor ``name`` (or what ``auto`` means) on ``device``.

    ``BadInput`` for an unknown name, for weights that the extractor does not read, and for whatever it cannot do.
    """
    if weights_sha256 is not None and weights is None:
        raise BadInput("evaluation.weights_sha256: names the hash of a local file; give evaluation.weights=FILE too")
    name = resolve(name, dataset, weights)
    options: dict[str, Any] = {"name": name}
    try:
        component = registry.lookup("extractor", name)
    except BadInput as error:
        raise BadInput(f"evaluation.{error}") from error
    if weights is not None:
        if "weights" not in registry.options(component):
            raise BadInput(f"evaluation.weights={weights}: evaluation.extractor={name} reads no weights; inception does")
        options |= {"weights": weights, "weights_sha256": weights_sha256}
    extractor: Extractor = registry.build("extractor", options)
    extractor.prepare(dataset, torch.device(device), say)
    return extractor
