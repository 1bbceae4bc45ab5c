"""Convolutions that change a map's size by two.

``transposed``: a 4x4 transposed convolution of stride 2 (Radford et al. 2016), which may leave a checkerboard.
``nearest``: nearest neighbours, then a 3x3 convolution (Odena et al. 2016, "Deconvolution and Checkerboard Artifacts").
``pixel_shuffle``: a 3x3 convolution to four times the channels, which become a 2x2 square each (Shi et al. 2016).

Nearest x2 then a 3x3 convolution is one 4x4 transposed convolution of stride 2, a 3x3 convolution then averaging is one 4x4
convolution of stride 2: same parameters and functions, fewer operations.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from ganrun.ground.errors import BadInput, suggestion

UPSAMPLINGS = ("transposed", "nearest", "pixel_shuffle")


def spread(weight: Tensor) -> Tensor:
    """The full convolution of each 3x3 kernel with a 2x2 kernel of ones: (o, i, 3, 3) to (o, i, 4, 4)."""
    rows = functional.pad(weight, (0, 0, 0, 1)) + functional.pad(weight, (0, 0, 1, 0))
    return functional.pad(rows, (0, 1)) + functional.pad(rows, (1, 0))


class UpConv(nn.Conv2d):
    """Nearest x2, then a 3x3 convolution, as one transposed convolution."""

    def forward(self, x: Tensor) -> Tensor:
        kernel = spread(self.weight.flip(2, 3)).transpose(0, 1)
        return functional.conv_transpose2d(x, kernel, self.bias, stride=2, padding=1)


class DownConv(nn.Conv2d):
    """A 3x3 convolution, then 2x2 averages, as one strided convolution."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, spread(self.weight) / 4, self.bias, stride=2, padding=1)


class ShuffleConv(nn.Conv2d):
    """A 3x3 convolution to 4 x ``outputs`` channels, then each four as a 2x2 square."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True) -> None:
        super().__init__(inputs, 4 * outputs, 3, padding=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return functional.pixel_shuffle(super().forward(x), 2)


def upsampling(kind: str, inputs: int, outputs: int, *, bias: bool = True) -> nn.Module:
    """A convolution from (n, inputs, h, w) to (n, outputs, 2h, 2w)."""
    if kind == "transposed":
        return nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=bias)
    if kind == "nearest":
        return UpConv(inputs, outputs, 3, padding=1, bias=bias)
    return ShuffleConv(inputs, outputs, bias=bias)


def check_upsampling(kind: str) -> None:
    """Raise ``BadInput`` unless ``kind`` is one of the ways."""
    if kind not in UPSAMPLINGS:
        raise BadInput(f"upsample={kind}: there is no such way. {suggestion(kind, UPSAMPLINGS)}")
