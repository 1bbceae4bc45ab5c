"""Virtual batch normalization.  Salimans et al. 2016, "Improved Techniques for Training GANs".

Each sample is normalized with the statistics of a reference batch, chosen once, and of itself: with r reference samples, mean
mu and mean square s of their maps and mu_i, s_i of its own, its mean is (r mu + mu_i) / (r + 1), and so its mean square. The
reference samples are normalized with mu and s alone. So no sample depends on the rest of its batch, in training as in
sampling, and the gradient runs through the reference batch, which always has the weights of now.

The reference batch is REFERENCE latents in a buffer, which pass through the generator ahead of every batch. Where more numbers
than the latent enter, as a label's code does, they are one-hot codes in turn.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from ganrun.ground.errors import BadInput
from ganrun.ground.spec import Latent, Port
from ganrun.ground.traits import Rule

REFERENCE = 64
LATENTS_NEEDED = Rule("its reference batch is of latents, and here the generator reads images", "model.generator.norm=batch")


class VirtualNorm(nn.Module):
    """Normalizes (n, channels, ...) whose first REFERENCE rows are the reference batch, with learned scale and shift."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        positions = tuple(range(2, x.ndim))
        means = x.mean(positions, keepdim=True) if positions else x
        squares = (x - means).square()
        variances = squares.mean(positions, keepdim=True) if positions else squares
        mean, variance = pooled(means[:REFERENCE], variances[:REFERENCE])
        own = 1 / (REFERENCE + 1)
        apart = means[REFERENCE:] - mean  # variances about the common mean: no difference of large squares
        mean = torch.cat((mean.expand(REFERENCE, *mean.shape[1:]), mean + own * apart))
        mixed = (1 - own) * (variance + (own * apart).square()) + own * (variances[REFERENCE:] + ((1 - own) * apart).square())
        variance = torch.cat((variance.expand(REFERENCE, *variance.shape[1:]), mixed))
        normal = (x - mean) * (variance + 1e-5).rsqrt()
        shape = (-1, *[1] * len(positions))
        return normal * self.weight.view(shape) + self.bias.view(shape)


def pooled(means: Tensor, variances: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of all rows together, from those of each row."""
    mean = means.mean(0, keepdim=True)
    return mean, (variances + (means - mean).square()).mean(0, keepdim=True)


class Referenced(nn.Module):
    """A generator that shows its normalizations the reference batch ahead of every batch."""

    reference: Tensor

    def __init__(self, network: nn.Module, reference: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("reference", reference)

    def forward(self, *inputs: Tensor) -> Tensor:
        given = torch.cat([entry.flatten(1) for entry in inputs], 1)
        x: Tensor = self.network(torch.cat((self.reference.to(given.dtype), given)))
        return x[REFERENCE:]


def referenced(network: nn.Module, inputs: tuple[Port, ...], latent: Latent) -> nn.Module:
    """``network``, with a reference batch if any of its normalizations is virtual."""
    if not any(isinstance(module, VirtualNorm) for module in network.modules()):
        return network
    if any(port.kind == "data" for port in inputs):
        raise BadInput(f"model.generator.norm=virtual: {LATENTS_NEEDED.why}. Try {LATENTS_NEEDED.override}")
    return Referenced(network, reference_batch(sum(port.shape[0] for port in inputs), latent))


def virtual_refusals(norm: str) -> dict[str, Rule]:
    """What a family with this normalization in its generator cannot stand beside."""
    return {"game.translates": LATENTS_NEEDED} if norm == "virtual" else {}


def reference_batch(size: int, latent: Latent) -> Tensor:
    """REFERENCE rows of ``size`` numbers: latents first, then one-hot codes in turn. Drawn from torch's default generator."""
    rows = latent.draw(REFERENCE, torch.default_generator)[:, :size]
    more = size - rows.shape[1]
    codes = one_hot(torch.arange(REFERENCE) % more, more).to(rows.dtype) if more else rows[:, :0]
    return torch.cat((rows, codes), 1)
