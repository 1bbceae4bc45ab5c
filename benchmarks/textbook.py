"""The plain loop that ganrun is compared with, as tutorials and most GAN libraries write it.

Networks are plain layers in torch's default layout (NCHW); the discriminator step makes fakes with a graph and cuts it
with ``detach``; the generator step computes the discriminator's gradients and throws them away; real and fake batches
are judged apart; Adam as it comes; losses are read with ``item`` in every step. No running average, no NaN check.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm
from torch.optim import Adam


def nonsaturating_d(real: Tensor, fake: Tensor) -> Tensor:
    ones, zeros = torch.ones_like(real), torch.zeros_like(fake)
    with_logits = functional.binary_cross_entropy_with_logits
    return with_logits(real, ones) + with_logits(fake, zeros)


def nonsaturating_g(fake: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(fake, torch.ones_like(fake))


def hinge_d(real: Tensor, fake: Tensor) -> Tensor:
    return functional.relu(1 - real).mean() + functional.relu(1 + fake).mean()


def hinge_g(fake: Tensor) -> Tensor:
    return -fake.mean()


def dcgan(latent: int = 100, width: int = 64) -> tuple[nn.Module, nn.Module]:
    """The 32x32 networks of Radford et al. 2016, three channels."""

    def up(wide: int, narrow: int, *shape: int) -> list[nn.Module]:
        return [nn.ConvTranspose2d(wide, narrow, *shape, bias=False), nn.BatchNorm2d(narrow), nn.ReLU(True)]

    def down(narrow: int, wide: int) -> list[nn.Module]:
        return [nn.Conv2d(narrow, wide, 4, 2, 1, bias=False), nn.BatchNorm2d(wide), nn.LeakyReLU(0.2, inplace=True)]

    generator = nn.Sequential(
        nn.Unflatten(1, (latent, 1, 1)),
        *up(latent, 4 * width, 4),
        *up(4 * width, 2 * width, 4, 2, 1),
        *up(2 * width, width, 4, 2, 1),
        nn.ConvTranspose2d(width, 3, 4, 2, 1),
        nn.Tanh(),
    )
    discriminator = nn.Sequential(
        nn.Conv2d(3, width, 4, 2, 1),
        nn.LeakyReLU(0.2, inplace=True),
        *down(width, 2 * width),
        *down(2 * width, 4 * width),
        nn.Conv2d(4 * width, 1, 4),
        nn.Flatten(0),
    )
    return generator, discriminator


class Up(nn.Module):
    """norm, ReLU, nearest x2, conv, norm, ReLU, conv, beside a shortcut of nearest x2 and a 1x1 convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm_in, self.conv_in = nn.BatchNorm2d(width), nn.Conv2d(width, width, 3, padding=1)
        self.norm_out, self.conv_out = nn.BatchNorm2d(width), nn.Conv2d(width, width, 3, padding=1)
        self.shortcut = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = functional.interpolate(functional.relu(self.norm_in(x)), scale_factor=2)
        hidden = self.conv_out(functional.relu(self.norm_out(self.conv_in(hidden))))
        return hidden + self.shortcut(functional.interpolate(x, scale_factor=2))


class Down(nn.Module):
    """ReLU (not on pixels), conv, ReLU, conv, averages of 2x2 if it halves, beside a shortcut that does the same."""

    def __init__(self, inputs: int, width: int, *, halves: bool = True, first: bool = False) -> None:
        super().__init__()
        self.halves, self.first = halves, first
        self.conv_in, self.conv_out = nn.Conv2d(inputs, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, width, 1) if halves else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.conv_in(x if self.first else functional.relu(x))
        hidden, x = self.conv_out(functional.relu(hidden)), self.shortcut(x)
        return functional.avg_pool2d(hidden, 2) + functional.avg_pool2d(x, 2) if self.halves else hidden + x


class SumPool(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x).sum((2, 3))


def sngan(latent: int = 128, width_g: int = 256, width_d: int = 128) -> tuple[nn.Module, nn.Module]:
    """The 32x32 residual networks of Miyato et al. 2018, three channels, spectral normalization in the discriminator."""
    generator = nn.Sequential(
        nn.Linear(latent, width_g * 16),
        nn.Unflatten(1, (width_g, 4, 4)),
        *(Up(width_g) for _ in range(3)),
        nn.BatchNorm2d(width_g),
        nn.ReLU(),
        nn.Conv2d(width_g, 3, 3, padding=1),
        nn.Tanh(),
    )
    discriminator = nn.Sequential(
        Down(3, width_d, first=True),
        Down(width_d, width_d),
        Down(width_d, width_d, halves=False),
        Down(width_d, width_d, halves=False),
        SumPool(),
        nn.Linear(width_d, 1),
        nn.Flatten(0),
    )
    for module in list(discriminator.modules()):
        if isinstance(module, nn.Conv2d | nn.Linear):
            spectral_norm(module)
    return generator, discriminator


def mlp(latent: int = 256, width: int = 128) -> tuple[nn.Module, nn.Module]:
    """Two hidden layers each, for points in the plane."""
    generator = nn.Sequential(nn.Linear(latent, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2))
    discriminator = nn.Sequential(
        nn.Linear(2, width), nn.LeakyReLU(0.2), nn.Linear(width, width), nn.LeakyReLU(0.2), nn.Linear(width, 1), nn.Flatten(0)
    )
    return generator, discriminator


@dataclass
class Textbook:
    """Networks, losses and the loop. ``data``: uint8 pixels (n, height, width, 3) or float32 points (n, 2)."""

    generator: nn.Module
    discriminator: nn.Module
    loss_d: Callable[[Tensor, Tensor], Tensor]
    loss_g: Callable[[Tensor], Tensor]
    data: Tensor
    batch_size: int
    latent: int
    betas: tuple[float, float]

    def __post_init__(self) -> None:
        self.adam_d = Adam(self.discriminator.parameters(), lr=2e-4, betas=self.betas)
        self.adam_g = Adam(self.generator.parameters(), lr=2e-4, betas=self.betas)

    def take(self, rows: Tensor) -> Tensor:
        """A batch, as ToTensor and Normalize(0.5, 0.5) make it."""
        if self.data.dtype != torch.uint8:
            return self.data[rows]
        pixels = self.data[rows].permute(0, 3, 1, 2).contiguous()
        return pixels.float().div(255).sub(0.5).div(0.5)

    def advance(self) -> None:
        """One step on random rows and fresh latents."""
        rows = torch.randint(len(self.data), (self.batch_size,))
        self.play(self.take(rows), torch.randn(self.batch_size, self.latent), torch.randn(self.batch_size, self.latent))

    def play(self, real: Tensor, z_d: Tensor, z_g: Tensor) -> tuple[float, float]:
        """One discriminator and one generator update; the two losses."""
        self.adam_d.zero_grad()
        fake = self.generator(z_d).detach()
        loss_d = self.loss_d(self.discriminator(real), self.discriminator(fake))
        loss_d.backward()
        self.adam_d.step()

        self.adam_g.zero_grad()
        loss_g = self.loss_g(self.discriminator(self.generator(z_g)))
        loss_g.backward()
        self.adam_g.step()
        return loss_d.item(), loss_g.item()
