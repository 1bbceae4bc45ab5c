"""What extractors do to images before they look at them."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import interpolate

from ganrun.ground.errors import BadInput


def rgb(pixels: Tensor, extractor: str) -> Tensor:
    """Grey images (n, 1, h, w) repeated to three channels, RGB as they are; ``BadInput`` for other channel counts."""
    check_channels(pixels.shape[1], extractor)
    return pixels.expand(-1, 3, -1, -1) if pixels.shape[1] == 1 else pixels


def check_channels(channels: int, extractor: str) -> None:
    """Raise ``BadInput`` unless the images are grey or RGB."""
    if channels not in (1, 3):
        raise BadInput(f"evaluation.extractor={extractor}: reads grey or RGB images, not {channels} channels")


def to_size(pixels: Tensor, side: int) -> Tensor:
    """Images in float32, in their own range, resized to ``side`` x ``side``: bilinear, antialiased when they shrink."""
    x = pixels.float()
    if x.shape[-2:] == (side, side):
        return x
    return interpolate(x, size=(side, side), mode="bilinear", antialias=True)


def centre(pixels: Tensor, side: int) -> Tensor:
    """The central ``side`` x ``side`` pixels: what padding to a larger size left in the middle."""
    top, left = (pixels.shape[-2] - side) // 2, (pixels.shape[-1] - side) // 2
    return pixels[..., top : top + side, left : left + side]
