"""What a family of networks is, and the layers that families share."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ganrun.ground.errors import BadInput, suggestion
from ganrun.ground.spec import Latent, Port
from ganrun.ground.traits import Rule
from ganrun.networks.parts.virtual_norm import VirtualNorm

IMAGES_ONLY = Rule("its convolutions make images, and this data set has none", "model=mlp")
NO_TOKENS = Rule("its generator makes numbers, and tokens are rows of probabilities", "model=sequence")
FEATURES = frozenset({"discriminator.features"})  # outputs carry a vector of features, of num_features numbers
NORMS = ("batch", "layer", "instance", "group", "none")
GENERATOR_NORMS = (*NORMS, "virtual")


class Family:
    """Makes the networks that a game asks for.

    ``make(role, inputs=, outputs=)`` returns a module for a role in full words. What it makes follows from the first
    output's kind: "data" a generator, which maps its inputs to a tensor of that shape; "score" a discriminator, which maps
    them to a ``DiscriminatorOutput`` and says in ``num_features`` how many features that has (0: none); "code" an
    encoder, which maps them to a vector of that shape.
    """

    latent: Latent
    noisy = True  # its generators take a latent even where they are given a source
    traits: frozenset[str] = frozenset()
    needs: Mapping[str, Rule] = {}
    refuses: Mapping[str, Rule] = {}

    def legal_size(self, size: int) -> int:
        """The smallest image size, at least ``size``, that this family can make."""
        return size

    def make(self, role: str, *, inputs: tuple[Port, ...], outputs: tuple[Port, ...]) -> nn.Module:
        makers = {"data": self.generator, "score": self.discriminator, "code": self.encoder}
        try:
            return makers[outputs[0].kind](inputs, outputs)
        except NotImplementedError:
            made = {"data": "images or points", "score": "scores", "code": "codes"}[outputs[0].kind]
            raise BadInput(
                f"model={type(self).__name__.lower()}: this family makes no {role}: no network with {made} as output"
            ) from None

    def generator(self, inputs: tuple[Port, ...], outputs: tuple[Port, ...]) -> nn.Module:
        raise NotImplementedError

    def discriminator(self, inputs: tuple[Port, ...], outputs: tuple[Port, ...]) -> nn.Module:
        raise NotImplementedError

    def encoder(self, inputs: tuple[Port, ...], outputs: tuple[Port, ...]) -> nn.Module:
        raise NotImplementedError


def norm_traits(norm: str, role: str = "discriminator") -> frozenset[str]:
    """What a normalization means for whoever differentiates the network sample by sample."""
    if norm == "batch":
        return frozenset({f"{role}.batch_norm", f"{role}.batch_coupled"})
    return frozenset()


def check_norm(key: str, norm: str, norms: tuple[str, ...] = NORMS) -> None:
    """Raise ``BadInput`` unless ``norm`` is one of ``norms``."""
    if norm not in norms:
        what = "a discriminator has no reference batch" if norm in GENERATOR_NORMS else "there is no such normalization"
        raise BadInput(f"{key}={norm}: {what}. {suggestion(norm, norms)}")


def norm2d(norm: str, channels: int) -> nn.Module:
    """A normalization of feature maps of shape (n, channels, height, width), with learned scale and shift."""
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    if norm == "layer":
        return nn.GroupNorm(1, channels)
    if norm == "instance":
        return nn.InstanceNorm2d(channels, affine=True)
    if norm == "group":
        return nn.GroupNorm(math.gcd(8, channels), channels)
    if norm == "virtual":
        return VirtualNorm(channels)
    return nn.Identity()


def norm1d(norm: str, features: int) -> nn.Module:
    """A normalization of vectors of shape (n, features), with learned scale and shift."""
    if norm == "batch":
        return nn.BatchNorm1d(features)
    if norm == "layer":
        return nn.LayerNorm(features)
    if norm == "group":
        groups = next(count for count in (8, 4, 2, 1) if count == 1 or (features % count == 0 and features >= 4 * count))
        return nn.GroupNorm(groups, features)  # of at least four numbers: one alone would always become zero
    if norm == "instance":
        raise BadInput("norm=instance: a vector has no positions to normalize over. Try norm=layer")
    if norm == "virtual":
        return VirtualNorm(features)
    return nn.Identity()


def power_of_two(size: int, least: int = 8) -> int:
    """The smallest power of two that is at least ``size`` and ``least``."""
    return max(least, 1 << max(size - 1, 0).bit_length())


def image_size(role: str, ports: tuple[Port, ...]) -> tuple[int, int]:
    """(channels, size) of ``ports`` as one square power-of-two image (see ``as_image``); ``BadInput`` otherwise."""
    images = [port.shape for port in ports if port.is_image]
    if not images or any(shape[1:] != images[0][1:] for shape in images):
        raise BadInput(f"this family's {role} takes images of one size, not {[port.shape for port in ports]}. Try model=mlp")
    height, width = images[0][1:]
    channels = sum(port.shape[0] for port in ports)
    if height != width or power_of_two(height) != height:
        raise BadInput(f"this family makes square images of a power of two from 8, not {height}x{width}. Try dataset.size=32")
    return channels, height


def flat_size(ports: tuple[Port, ...]) -> int:
    """Numbers in all ``ports`` together."""
    return sum(math.prod(port.shape) for port in ports)


def as_image(inputs: tuple[Tensor, ...]) -> Tensor:
    """All inputs as channels of one image, a code (n, size) as that many constant ones: shape (n, channels, height, width)."""
    if len(inputs) == 1:
        return inputs[0]
    place = next(entry.shape[2:] for entry in inputs if entry.ndim == 4)
    return torch.cat([entry if entry.ndim == 4 else entry[:, :, None, None].expand(-1, -1, *place) for entry in inputs], 1)


def flatten(inputs: tuple[Tensor, ...]) -> Tensor:
    """All inputs as one vector a sample: shape (n, numbers)."""
    return torch.cat([entry.flatten(1) for entry in inputs], 1) if len(inputs) > 1 else inputs[0].flatten(1)
