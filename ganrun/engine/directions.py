"""Directions of the latent space that change the sample most: closed-form factorization, SeFa (Shen and Zhou 2021).

A generator's first layer maps z to A z + b. A step along n changes that by A n, so the directions that change it most are the
eigenvectors of A^T A with the largest eigenvalues; no sample is made and nothing is learned. A is read from the network by what
it does: the layers whose inputs hold numbers of z as they are, stacked, at the unit vectors less at zero. So a condition's
label, a normalization of weights and BigGAN's hierarchical z, whose parts enter at several layers, need nothing of their own.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ganrun.engine import assemble
from ganrun.engine.ema import EMA
from ganrun.games.base import Game
from ganrun.ground.errors import BadInput
from ganrun.ground.matrices import Modulation, is_weighted


def factorized(game: Game, averages: Mapping[str, EMA], label: int | None) -> tuple[Tensor, Tensor]:
    """(directions (size, size), one a row, of length one, and their eigenvalues (size,)), both float64, largest first.

    Of the leading numbers of z that are noise. The sign is such that the largest entry is positive. ``label``: for a network of
    its own for each class. Raises ``BadInput`` for a generator none of whose layers reads z.
    """
    matrix = first_layers(game, averages, label)[:, : game.latent_law.noise_size].double()
    values, vectors = torch.linalg.eigh(matrix.T @ matrix)
    found = vectors.flip(1).T
    signs = found.gather(1, found.abs().argmax(1, keepdim=True)).sign()
    return found * signs, values.flip(0).clamp_min(0)


def first_layers(game: Game, averages: Mapping[str, EMA], label: int | None) -> Tensor:
    """A: (outputs of all layers that read z, size), float32."""
    size, device = game.latent_law.size, next(game.players["generator"].parameters()).device
    probes = torch.randn(2, size, generator=torch.Generator().manual_seed(0))
    z = torch.cat((torch.zeros(1, size), torch.eye(size), probes)).to(device)
    labels = None if label is None else torch.full((len(z),), label, device=device)
    caught: list[Tensor] = []

    def catch(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        rows = inputs[0].flatten(1)
        if len(rows) == len(z) and _holds(rows[-2:], z[-2:]):
            outputs = output.flatten(1)
            caught.append((outputs[1 : 1 + size] - outputs[:1]).T.float().cpu())

    with assemble.performing(game, averages):
        modules = list(game.players["generator"].modules())
        hooks = [entry.register_forward_hook(catch) for entry in modules if is_weighted(entry) or isinstance(entry, Modulation)]
        try:
            game.generate(z, labels)
        finally:
            for hook in hooks:
                hook.remove()
    if not caught:
        raise BadInput("along=sefa: no layer of this generator reads the latent as it is. Try --along axes")
    return torch.cat(caught)


def _holds(rows: Tensor, z: Tensor) -> bool:
    """Whether what differs between two rows is nothing but numbers of their latents."""
    moving = rows[0] != rows[1]
    return bool(moving.any()) and all(bool(torch.isin(row[moving], latent).all()) for row, latent in zip(rows, z, strict=True))
