"""The FID Inception network: 2048 pooled features and 1008 logits without their bias term, as published FID and IS use.

The architecture and the resizing (bilinear to 299x299 as TensorFlow 1 did it) are torch-fidelity's (Obukhov et al. 2020);
the weights are the 2015 ones, converted. The file is hashed, then decoded as plain tensors only; torch-fidelity, which
would unpickle any file, gets to see nothing but bytes written here from those tensors. Each batch norm is folded into
its convolution and the layout is channels_last: twice as fast, and equal to 1e-6.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import io
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ganrun.ground.errors import BadInput
from ganrun.ground.registry import register
from ganrun.metrics import weights as files
from ganrun.metrics.base import Data, Extractor
from ganrun.metrics.images import rgb

PIECE = 32  # images that the network holds at a time on a CPU: 250 take 3.4 GiB and are no faster
PUBLISHED = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"  # SHA-256 of the published file
OFFLINE = (
    "the FID Inception weights are not on this machine and cannot be downloaded ({why}). Without a network: "
    "evaluation.extractor=classifier (labelled images), evaluation.extractor=band_energies (any images, without IS), "
    "or evaluation.weights=FILE with a copy of {name}"
)


@register("extractor", "inception")
class Inception(Extractor):
    """Inception v3 of FID: ``weights`` is a local file (None: the published one, downloaded once)."""

    name = "inception"
    num_features = 2048
    published = True
    has_logits = True

    def __init__(self, *, weights: str | None = None, weights_sha256: str | None = None) -> None:
        super().__init__()
        if weights_sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", str(weights_sha256)):
            raise BadInput(f"evaluation.weights_sha256={weights_sha256}: a SHA-256 has 64 hexadecimal digits")
        self.weights = weights
        self.expected = PUBLISHED if weights_sha256 is None else weights_sha256.lower()

    def prepare(self, dataset: Data, device: torch.device, say: Callable[[str], None]) -> None:
        definition = _library()
        if self.weights is None:
            path, key = _downloaded(definition.URL_INCEPTION_V3, say), "the FID Inception weights"
        else:
            path, key = Path(self.weights).expanduser(), "evaluation.weights"
        data, found = files.read(path, key)
        if found != self.expected:
            remedy = "remove it and try again" if self.weights is None else f"if you trust it: evaluation.weights_sha256={found}"
            raise BadInput(f"{key}={path}: its SHA-256 is {found}, not {self.expected}; {remedy}")
        self.network = _network(definition, files.decode(data, f"{key}={path}"), f"{key}={path}")
        super().prepare(dataset, device, say)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        images = rgb(pixels, self.name).contiguous(memory_format=torch.channels_last)
        found = [self.network(piece) for piece in images.split(PIECE if images.device.type == "cpu" else len(images))]
        features, logits = (torch.cat(side) for side in zip(*found, strict=True))
        return features, logits

    def card(self) -> Mapping[str, Any]:
        return {
            "name": self.name,
            "features": self.num_features,
            "weights_sha256": self.expected,
            "published weights": self.expected == PUBLISHED,
            "resize": "bilinear to 299x299 as in TensorFlow 1; grey as RGB",
            "logits": "1008, without bias",
            "library": f"torch-fidelity {importlib.metadata.version('torch-fidelity')}",
        }


def _library() -> Any:
    try:
        return importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")
    except ModuleNotFoundError as error:
        raise BadInput('evaluation.extractor=inception: needs torch-fidelity; pip install "ganrun[inception]"') from error


def _downloaded(url: str, say: Callable[[str], None]) -> Path:
    """The published file, where torch-fidelity keeps it too; fetched if it is not there."""
    name = url.rpartition("/")[2]
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if not path.exists():
        say(f"downloading the FID Inception weights to {path}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), hash_prefix=PUBLISHED, progress=False)
        except (OSError, RuntimeError) as error:  # no network, no room, or other bytes than published
            raise BadInput(f"evaluation.extractor=inception: {OFFLINE.format(why=error, name=name)}") from error
    return path


def _network(definition: Any, state: Any, where: str) -> nn.Module:
    """torch-fidelity's network with ``state``, batch norms folded, in eval mode, channels_last."""
    if not isinstance(state, Mapping) or not all(isinstance(entry, Tensor) for entry in state.values()):
        raise BadInput(f"{where}: not the weights of a network")
    plain = io.BytesIO(files.encode(dict(state)))
    with torch.random.fork_rng(devices=[]):  # building it draws weights that are overwritten at once
        try:
            network = definition.FeatureExtractorInceptionV3("ganrun", ["2048", "logits_unbiased"], plain)
        except RuntimeError as error:
            raise BadInput(f"{where}: not the FID Inception weights ({str(error).splitlines()[0]})") from error
    for block in network.modules():
        if isinstance(block, definition.BasicConv2d):
            block.conv, block.bn = fuse_conv_bn_eval(block.conv, block.bn), nn.Identity()
    return network.to(memory_format=torch.channels_last)
